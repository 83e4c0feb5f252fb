#!/usr/bin/env bash
# Runs the fast tests, or those given, on a read-only copy of this clone, in an environment with everything at once that
# they must not depend on:
#   ports of Dask and of coordinators taken, no network, no git and no .git, no home directory, a folder for temporary
#   files with blanks and other letters in its name, no UTF-8 locale, another time zone, umask 077, variables of jax, XLA
#   and terminals set, and no right to override file permissions.
#
#   tests/hostile_environment.sh [--user] [pytest arguments]
#
# --user: as user 65534 without rights (started by root). A Python below a private folder, as /root, is made readable.
# ASCII=1: Python's UTF-8 mode off too, so that all text without a named encoding is ASCII.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
as_user=
if [ "${1:-}" = --user ]; then as_user=1; shift; fi
if [ -z "${HOSTILE_NETWORK:-}" ]; then
  if unshare --net --mount true 2>/dev/null; then
    HOSTILE_NETWORK=off exec unshare --net --mount "$0" ${as_user:+--user} "$@"
  fi
  if [ -n "$as_user" ]; then
    echo "--user needs root, and the right to make namespaces (unshare)" >&2
    exit 2
  fi
  echo "note: the network stays on, as this user may not turn it off" >&2
fi
scratch=$(mktemp -d /tmp/hostile.XXXXXX)
listener=
trap '[ -z "$listener" ] || kill "$listener" || true; chmod -R u+w "$scratch/clone"; rm -rf --one-file-system "$scratch"' EXIT

clone=$scratch/clone
mkdir "$clone"
tar -C "$root" --exclude=./.git --exclude=./.venv '--exclude=./.venv-*' --exclude=./runs --exclude=./evidence --exclude=__pycache__ --exclude=.pytest_cache -cf - . |
  tar -C "$clone" -xf -
ln -s "${BONEMET_SHARED:-$root/../shared}" "$scratch/shared"
mkdir "$scratch/bin"
for folder in /usr/local/bin /usr/bin /bin; do cp -s "$folder"/* "$scratch/bin" 2>/dev/null || true; done
rm -f "$scratch"/bin/git*
chmod -R a+rX,a-w "$clone"
temporary="$scratch/Tëmp ordner"
mkdir -m 700 "$temporary"

# The loopback device of a new network is down.
[ -z "${HOSTILE_NETWORK:-}" ] || "$python" - <<'PYTHON'
import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    request = struct.pack("16sh14x", b"lo", 0)
    flags = struct.unpack("16sh14x", fcntl.ioctl(control, 0x8913, request))[1]
    fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", flags | 1))
PYTHON
"$python" - 8786 8787 7070 7071 1234 <<'PYTHON' &
import socket, sys, time
taken = [socket.create_server(("", int(port))) for port in sys.argv[1:]]
time.sleep(86400)
PYTHON
listener=$!

rights=()
if [ "$(id -u)" = 0 ]; then
  if [ -n "$as_user" ]; then
    chmod 711 "$scratch"
    chown 65534:65534 "$temporary"
    rights=(setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all)
    if ! "${rights[@]}" env "$python" -c pass 2>/dev/null; then
      base=$("$python" -c "import sys; print(sys.base_prefix)")
      point=$(mktemp -d /tmp/python.XXXXXX)  # not in the folder that is deleted at the end
      mount -o bind,ro "$base" "$point"
      mount -t tmpfs -o mode=755 tmpfs "/$(cut -d / -f 2 <<< "$base")"
      mkdir -p "$base"
      mount -o bind,ro "$point" "$base"
      umount "$point"
      rmdir "$point"
    fi
  else
    rights=(setpriv --inh-caps=-all --bounding-set=-dac_override,-dac_read_search)
  fi
fi
ascii=()
if [ -n "${ASCII:-}" ]; then ascii=(PYTHONUTF8=0 PYTHONCOERCECLOCALE=0); fi
umask 077
cd "$clone"
"${rights[@]}" env -i PATH="$(dirname "$python"):$scratch/bin" HOME=/nonexistent/home TMPDIR="$temporary" LC_ALL=C \
  TZ=Pacific/Chatham TERM=dumb COLUMNS=40 NO_COLOR=1 FORCE_COLOR=1 PYTHONWARNINGS=always MPLBACKEND=nothing \
  XLA_FLAGS=--xla_force_host_platform_device_count=3 JAX_ENABLE_X64=1 JAX_DEBUG_NANS=1 OMP_NUM_THREADS=1 \
  DASK_SCHEDULER_ADDRESS=tcp://127.0.0.1:8786 BONEMET_SHARED="${BONEMET_SHARED:-$scratch/shared}" \
  BONEMET_WATCHDOG_S=never "${ascii[@]}" \
  PYTHONPATH="$clone" "$python" -m pytest "$@"
