#!/usr/bin/env bash
# What one accelerator shows in a few minutes, on a machine without network:
#   benchmarks/device.sh --out DIR [--minutes 8] [--quick] [--checks NAME ...]
# PYTHON names the interpreter (python3); WHEELS a folder of pure-Python wheels that it lacks (tyro, say), which are
# unpacked for this run alone. See benchmarks/on_device/run.py.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
if [ -n "${WHEELS:-}" ]; then
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$WHEELS"/*.whl
  export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONSAFEPATH=1  # nothing of the folder it is called from is imported
if [ -z "${WHEELS:-}" ]; then exec "$python" -m benchmarks.on_device.run "$@"; fi
"$python" -m benchmarks.on_device.run "$@" &
trap 'kill -TERM $! 2> /dev/null' TERM HUP INT
code=0
wait $! || code=$?
while kill -0 $! 2> /dev/null; do wait $! || code=$?; done
exit "$code"
