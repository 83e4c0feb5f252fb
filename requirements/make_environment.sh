#!/usr/bin/env bash
# Makes the virtual environment $1 with the Python named in $2, or with the newest supported one found; keeps one that is
# there. Says which Python it is.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1 given=${2:-}
describe() { "$1" -c 'import platform, sys; print(f"Python {platform.python_version()} ({sys.executable})")'; }
if [ -x "$folder/bin/python" ]; then
  version=$(requirements/find_python.sh "$folder/bin/python" >/dev/null && describe "$folder/bin/python")
  if [ -n "$given" ]; then
    wanted=$(describe "$(requirements/find_python.sh "$given")")
    if [ "${version%% (*}" != "${wanted%% (*}" ]; then
      echo "$folder holds ${version%% (*}, not ${wanted%% (*}: run \`make clean\` first" >&2
      exit 1
    fi
  fi
  echo "using $version"
  exit
fi
python=$(requirements/find_python.sh "$given")
if [ "$("$python" -c 'import sys; print(sys.version_info >= (3, 13))')" = True ] && ! command -v cc >/dev/null; then
  echo "Python 3.13 needs a C compiler, to build ecos (of scikit-survival): install gcc, or add PYTHON=python3.12" >&2
  exit 1
fi
if command -v uv >/dev/null; then uv venv --quiet --python "$python" "$folder"; else "$python" -m venv "$folder"; fi
echo "using $(describe "$folder/bin/python")"
