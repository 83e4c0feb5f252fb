#!/usr/bin/env bash
# Do the locks still resolve on the Pythons and platforms they are for, and does the index still serve every file whose
# hash they hold? Nothing is installed, and nothing fetched but metadata. Where no index can be reached nothing is
# checked, and this says so.
set -euo pipefail
cd "$(dirname "$0")"
uv=$(command -v uv || echo ../.venv/bin/uv)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

list_hashes() { grep -o 'sha256:[0-9a-f]\{64\}' | sort -u; }

check() {  # LOCK PYTHON PLATFORM
  local lock=$1 target=(--python-version "$2" --python-platform "$3")
  if ! "$uv" pip install --dry-run --quiet "${target[@]}" --target "$scratch/nothing" --require-hashes -r "$lock.lock" \
      2> "$scratch/errors"; then
    cat "$scratch/errors" >&2
    if grep -q "client error (Connect)" "$scratch/errors"; then
      echo "requirements/$lock.lock NOT CHECKED on Python $2: no index can be reached" >&2
      return
    fi
    echo "requirements/$lock.lock does not resolve on Python $2, $3; make lock" >&2
    exit 1
  fi
  echo "requirements/$lock.lock resolves on Python $2, $3"
}

for lock in cpu core cuda12 tpu; do
  for python in 3.11 3.12 3.13; do check "$lock" "$python" x86_64-manylinux_2_31; done
done
for python in 3.12 3.13; do check cuda13 "$python" x86_64-manylinux_2_31; done
check core 3.13 aarch64-manylinux_2_31
check cpu 3.13 aarch64-manylinux_2_31
check cuda13 3.13 aarch64-manylinux_2_31

for lock in cpu core cuda12 cuda13 tpu; do
  oldest=$([ "$lock" = cuda13 ] && echo 3.12 || echo 3.11)
  if ! sed '/--hash=/d; s/ \\$//' "$lock.lock" |
      "$uv" pip compile - --quiet --no-deps --universal --generate-hashes --python-version "$oldest" \
      2> "$scratch/errors" > "$scratch/answer"; then
    cat "$scratch/errors" >&2
    grep -q "client error (Connect)" "$scratch/errors" && continue
    exit 1
  fi
  list_hashes < "$scratch/answer" > "$scratch/served"
  list_hashes < "$lock.lock" > "$scratch/locked"
  if comm -23 "$scratch/locked" "$scratch/served" | grep .; then
    echo "requirements/$lock.lock: the index does not serve these files; make lock" >&2
    exit 1
  fi
  echo "requirements/$lock.lock: $(grep -c '==' "$lock.lock") packages, $(wc -l < "$scratch/locked") files by hash"
done
