#!/usr/bin/env bash
# A CI job's part in benchmarks, for any CI system.
#   benchmarks/ci.sh gates                 programs compiled for CPU and H100 held to their budgets; no device needed
#   benchmarks/ci.sh timed DEVICE [BASE]   gpu, tpu or cpu: the whole set, exports, and HEAD against the revision BASE
# Writes runs/bench: records.jsonl, summary.md, lower.json, higher.json, verdicts.jsonl, *.svg. Ends with the first
# failure's exit code; of a comparison 1 says regressed, 10 undecided.
set -euo pipefail
cd "$(dirname "$0")/.."
make install
bench=(.venv/bin/python -m benchmarks)
out=runs/bench
mkdir -p "$out"

gates() {
  "${bench[@]}" gate --target cpu8
  # Compilers for targets that are not here; nothing of CUDA comes along.
  .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps jax-cuda12-plugin==0.10.2 jax-cuda12-pjrt==0.10.2
  "${bench[@]}" gate --target h100x8 --programs train evaluate
}

timed() {
  local device=$1 base=${2:-}
  # The set at full size on the accelerator, whose locked packages replace the CPU's.
  if [[ $device != cpu ]]; then
    .venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r "requirements/$device.lock"
  fi
  "${bench[@]}" all --device "$device" --json "$out/records.jsonl"
  "${bench[@]}" export --to markdown "$out/records.jsonl" -o "$out/summary.md"
  "${bench[@]}" export --to github --better lower "$out/records.jsonl" -o "$out/lower.json"
  "${bench[@]}" export --to github --better higher "$out/records.jsonl" -o "$out/higher.json"
  "${bench[@]}" plot "$out/records.jsonl" -o "$out"
  if [[ $base =~ [1-9a-f] ]]; then
    local flags=(--rounds 13 --device "$device" --metric step_time_s --json "$out/verdicts.jsonl")
    "${bench[@]}" compare "$base" HEAD step_time "${flags[@]}"
  fi
}

"$@"
