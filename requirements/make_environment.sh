#!/usr/bin/env bash
# make_environment.sh FOLDER DEVICE [PYTHON]: makes a virtual environment for the packages of requirements/DEVICE.lock,
# with the Python named or the newest supported one found; keeps one that is there. Says which Python it is.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1 device=$2 given=${3:-}
describe() { "$1" -c 'import platform, sys; print(f"Python {platform.python_version()} ({sys.executable})")'; }
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }
needs_compiler() { grep -q "^ecos==" "requirements/$device.lock" && ! command -v cc > /dev/null; }
again="remove it with \`rm -rf $(printf %q "$folder")\`, then run the same command again"

if [ -e "$folder/bin/python" ] || [ -L "$folder/bin/python" ]; then
  version=$(version_of "$folder/bin/python" 2> /dev/null) || { echo "$folder holds no working Python: $again" >&2; exit 1; }
  if ! requirements/find_python.sh "$folder/bin/python" > /dev/null 2>&1; then
    echo "$folder holds Python $version, which is not supported: $again" >&2
    exit 1
  fi
  if [ -n "$given" ]; then
    wanted=$(requirements/find_python.sh "$given")
    wanted=$(version_of "$wanted")
    if [ "$version" != "$wanted" ]; then
      echo "$folder holds Python $version, not $wanted: $again" >&2
      exit 1
    fi
  fi
  for stamp in "$folder"/.installed-*; do
    other=${stamp##*/.installed-}
    if [ -e "$stamp" ] && [ "$other" != "$device" ]; then
      echo "$folder holds the packages of DEVICE=$other, and both sets do not go together: $again" >&2
      exit 1
    fi
  done
  python=$folder/bin/python
  echo "using $(describe "$python")"
else
  # Python 3.13 has to build ecos, of scikit-survival; without a compiler an older one is taken, where there is one.
  if [ -z "$given" ] && needs_compiler && python=$(PASS_OVER=3.13 requirements/find_python.sh 2> /dev/null); then
    echo "note: Python 3.13, if there is one, is passed over: it needs a C compiler here"
  else
    python=$(requirements/find_python.sh "$given")
  fi
fi
if [ "$device" = cuda13 ] && [ "$(version_of "$python")" = 3.11 ]; then
  echo "DEVICE=cuda13 needs Python 3.12 or 3.13; use one of them (PYTHON=), or DEVICE=cuda12" >&2
  exit 1
fi
if [ "$(version_of "$python")" = 3.13 ] && needs_compiler; then
  echo "Python 3.13 needs a C compiler, to build ecos (of scikit-survival): install gcc, or add PYTHON=python3.12" >&2
  exit 1
fi
[ "$python" = "$folder/bin/python" ] && exit
if command -v uv > /dev/null; then uv venv --quiet --python "$python" "$folder"; else "$python" -m venv "$folder"; fi
echo "using $(describe "$folder/bin/python")"
