#!/usr/bin/env bash
# A CI job's part in benchmarks, for any CI system.
#   benchmarks/ci.sh gates                 programs compiled for CPU and H100 held to their budgets; no device needed
#   benchmarks/ci.sh timed DEVICE [BASE]   cuda12, cuda13, tpu or cpu: the whole set, exports, and HEAD against BASE
# Writes runs/bench anew: records.jsonl, summary.md, lower.json, higher.json, verdicts.jsonl, *.svg. A failure stops
# nothing that can go on without it; ends with the first one's exit code. Of a comparison 1 says regressed, 10 undecided.
set -euo pipefail
if [[ ! "$*" =~ ^(gates$|timed\ (cuda12|cuda13|tpu|cpu)(\ |$)) ]]; then
  echo "usage: benchmarks/ci.sh gates | timed cuda12|cuda13|tpu|cpu [BASE]" >&2
  exit 2
fi
cd "$(dirname "$0")/.."
# On an accelerator the whole set runs at full size.
lock=$([[ $1 = timed ]] && echo "$2" || echo cpu)
make install DEVICE="$lock"
bench=(.venv/bin/python -m benchmarks)
out=runs/bench
rm -rf "$out"
mkdir -p "$out"
failed=0

try() {
  local code=0
  "$@" || code=$?
  [[ $failed != 0 ]] || failed=$code
}

gates() {
  try "${bench[@]}" gate --target cpu8
  # Compilers for targets that are not here; nothing of CUDA comes along.
  make compilers COMPILERS=jax-cuda12-p
  try "${bench[@]}" gate --target h100x8 --programs train evaluate
}

timed() {
  local device=${1/cuda*/gpu} base=${2:-}
  try "${bench[@]}" all --device "$device" --json "$out/records.jsonl"
  [[ -s $out/records.jsonl ]] || return 0
  try "${bench[@]}" export --to markdown "$out/records.jsonl" -o "$out/summary.md"
  try "${bench[@]}" export --to github --better lower "$out/records.jsonl" -o "$out/lower.json"
  try "${bench[@]}" export --to github --better higher "$out/records.jsonl" -o "$out/higher.json"
  try "${bench[@]}" plot "$out/records.jsonl" -o "$out"
  # The revision before the first push of a branch is written as zeros.
  if [[ $base =~ [1-9a-f] ]]; then
    local flags=(--rounds 13 --device "$device" --metric step_time_s --json "$out/verdicts.jsonl")
    try "${bench[@]}" compare "$base" HEAD step_time "${flags[@]}"
  fi
}

"$@"
exit "$failed"
