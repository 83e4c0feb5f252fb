#!/usr/bin/env bash
# Do the locks for accelerators still resolve, and does the index still serve every file whose hash they hold? Nothing is
# installed, and nothing fetched but metadata. Where no index can be reached nothing is checked, and this says so.
set -euo pipefail
cd "$(dirname "$0")"
uv=$(command -v uv || echo ../.venv/bin/uv)
target=(--python-version 3.11 --python-platform x86_64-manylinux_2_31)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

list_hashes() { grep -o 'sha256:[0-9a-f]\{64\}' | sort -u; }

for lock in gpu tpu; do
  if ! "$uv" pip install --dry-run --quiet "${target[@]}" --target "$scratch/nothing" --require-hashes -r $lock.lock \
      2> "$scratch/errors"; then
    cat "$scratch/errors" >&2
    if grep -q "client error (Connect)" "$scratch/errors"; then
      echo "requirements/$lock.lock NOT CHECKED: no index can be reached" >&2
      continue
    fi
    echo "requirements/$lock.lock does not resolve; make lock" >&2
    exit 1
  fi
  sed '/--hash=/d; s/ \\$//' $lock.lock |
    "$uv" pip compile - --quiet --no-deps --generate-hashes "${target[@]}" | list_hashes > "$scratch/served"
  list_hashes < $lock.lock > "$scratch/locked"
  if comm -23 "$scratch/locked" "$scratch/served" | grep .; then
    echo "requirements/$lock.lock: the index does not serve these files; make lock" >&2
    exit 1
  fi
  echo "requirements/$lock.lock resolves: $(grep -c '==' $lock.lock) packages, $(wc -l < "$scratch/locked") files by hash"
done
