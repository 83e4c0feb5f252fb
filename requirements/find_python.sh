#!/usr/bin/env bash
# Prints the newest supported Python that can make an environment here, or, with a name or path given, that one. Prints
# nothing on standard output, and one line on standard error, when there is none. Versions in PASS_OVER are not looked for.
set -euo pipefail
SUPPORTED="3.13 3.12 3.11"

# A name on PATH is not enough: version managers leave names there that run nothing.
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
can_make_environments() { command -v uv >/dev/null || "$1" -c 'import ensurepip, venv' 2>/dev/null; }

given=${1:-}
if [ -n "$given" ]; then
  version=$(version_of "$given") || { echo "PYTHON=$given does not run" >&2; exit 1; }
  case " $SUPPORTED " in *" $version "*) ;; *)
    echo "PYTHON=$given is Python $version; use one of ${SUPPORTED// /, }" >&2; exit 1 ;;
  esac
  can_make_environments "$given" ||
    { echo "PYTHON=$given has no module venv; install it (Debian: python$version-venv) or uv" >&2; exit 1; }
  command -v "$given"
  exit
fi
without_venv=
for version in $SUPPORTED; do
  case " ${PASS_OVER:-} " in *" $version "*) continue ;; esac
  for name in "python$version" python3 python; do
    [ "$(version_of "$name" || true)" = "$version" ] || continue
    if can_make_environments "$name"; then command -v "$name"; exit; fi
    without_venv=${without_venv:-$version}
  done
done
if [ -n "$without_venv" ]; then
  echo "Python $without_venv has no module venv: install it (Debian: python$without_venv-venv) or uv" >&2
else
  echo "no Python of ${SUPPORTED// /, } on PATH: install one, or name it: make PYTHON=/path/to/python3.12" >&2
fi
exit 1
