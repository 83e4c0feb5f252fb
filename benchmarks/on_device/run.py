"""`benchmarks/device.sh --out DIR [--minutes 8] [--quick] [--checks NAME ...]`: one accelerator in a few minutes.

Checks run one after another, the most valuable first, each in a process of its own, until the time is up; those left
are listed as not run. Nothing is fetched. --quick: toy sizes, to see that it runs, also without an accelerator.

DIR gets at most five files of at most 16 MiB: records.jsonl (benchmarks/record.schema.json), facts.json (device,
versions, and of every check how it ended), summary.md, log.txt, trace.tar.gz (a profile of three steps).

Exit codes: 0 every check that ran to its end passed; 1 one failed, took far too long or gave wrong numbers; 2 usage.
"""

import argparse
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import outputs
from benchmarks.on_device.plan import CHECKS

ROOT = Path(__file__).parents[2]
#: For the summary, and for a process to end.
_RESERVE_S = 8
#: A check that takes so many times what it should is ended.
_PATIENCE = 3
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MAX_BYTES = 16 * 2**20
_LOG_BYTES = 2**20


def main(argv: Sequence[str] | None = None) -> int:
    """Run the checks, write the files; returns the exit code."""
    parser = argparse.ArgumentParser("benchmarks/device.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--out", type=outputs.local_path, required=True, help="folder for the results, new or empty")
    parser.add_argument("--minutes", type=_minutes, default=8, help="time for everything")
    parser.add_argument("--quick", action="store_true", help="toy sizes")
    parser.add_argument("--checks", nargs="+", choices=list(CHECKS), default=list(CHECKS), help="these alone")
    args = parser.parse_args(argv)
    deadline = time.monotonic() + 60 * args.minutes
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        print(f"error: not an empty folder; {args.out}; give another --out", file=sys.stderr)
        return 2
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"error: the folder cannot be made ({error.strerror}); {args.out}; give another --out", file=sys.stderr)
        return 2
    ended: dict[str, dict[str, Any]] = {}
    try:
        with tempfile.TemporaryDirectory() as scratch, (args.out / "log.txt").open("wb") as log:
            for name in dict.fromkeys(args.checks):
                left = deadline - _RESERVE_S - time.monotonic()
                ended[name] = run_in_time(name, args.quick, left, Path(scratch), args.out, log)
                with contextlib.suppress(OSError):  # nobody reads it
                    print(f"{name:<20} {_describe(ended[name])}", flush=True)
    finally:  # also when asked to end: what was measured stays
        handle_endings(lambda *_: None)
        left_out = {name: {"status": "not run", "reason": "ended before"} for name in args.checks if name not in ended}
        write_results(args.out, ended | left_out, args.quick)
    return 1 if any(one["status"] in ("failed", "wrong") for one in ended.values()) else 0


def run_in_time(name: str, quick: bool, left: float, scratch: Path, out: Path, log: Any) -> dict[str, Any]:
    """`run_check` with so many seconds left, unless they are too few; one that takes far too long has failed."""
    expected = CHECKS[name].seconds
    least, most = 5 if quick else expected / 2, _PATIENCE * expected
    if left < least:
        return {"status": "not run", "reason": f"{max(left, 0):.0f} s left, at least {least:.0f} wanted"}
    ended = run_check(name, quick, min(left, most), scratch, out, log)
    if ended["status"] == "stopped" and most < left:
        return {"status": "failed", "reason": f"it took more than {most:.0f} s"}
    return ended


def run_check(name: str, quick: bool, seconds: float, scratch: Path, out: Path, log: Any) -> dict[str, Any]:
    """One check in a process of its own, ended after so many seconds; how it ended."""
    folder = scratch / name
    folder.mkdir()
    command = [sys.executable, "-m", "benchmarks.on_device.run_one", name, str(folder), *["--quick"] * quick]
    # Programs compiled for one check are there for the next; jax leaves PyTorch its part of the memory.
    env = os.environ | {"BONEMET_CACHE_DIR": str(scratch / "cache"), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    log.write(f"--- {name}\n".encode())
    log.flush()
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        code: int | None = process.wait(seconds)
    except subprocess.TimeoutExpired:
        code = None
    finally:  # the device is free for the next check, or for others
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    ended: dict[str, Any] = {"seconds": round(time.monotonic() - began, 1)}
    if (folder / "found.json").is_file():
        found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
        with (out / "records.jsonl").open("a", encoding="utf-8") as records:
            records.writelines(json.dumps(record, sort_keys=True) + "\n" for record in found["records"])
        if "missing" in found:
            return {"status": "not run", "reason": found["missing"]}
        wrong = found["facts"].get("passed") is False
        ended |= {"status": "wrong" if wrong else "done", "n_records": len(found["records"]), **found["facts"]}
        _pack_trace(folder / "trace", out / "trace.tar.gz")
    elif code is None:
        ended |= {"status": "stopped", "reason": "time was up"}
    else:
        ended |= {"status": "failed", "reason": _last_line(Path(log.name)) or f"exit code {code}"}
    return ended


def handle_endings(handler: Callable[[int, Any], None]) -> None:
    """Call this when the process is asked to end; inside another program its own handlers stay."""
    if __name__ == "__main__":
        for number in _ENDING:
            signal.signal(number, handler)


def _leave(number: int, _frame: Any) -> None:
    sys.exit(128 + number)


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is out of range; give a number above 0")
    return minutes


def _pack_trace(folder: Path, target: Path) -> None:
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    with tarfile.open(target, "w:gz") as archive:
        archive.add(folder, "trace")
    if target.stat().st_size > _MAX_BYTES:
        target.unlink()
        print("the profile is larger than 16 MiB and was left out", file=sys.stderr)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines and not lines[-1].startswith("--- ") else ""


def write_results(out: Path, ended: dict[str, dict[str, Any]], quick: bool) -> None:
    """facts.json and summary.md; the log is cut to its end."""
    facts = {"quick": quick, "device": _describe_device(), "checks": ended}
    (out / "facts.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    device = facts["device"]
    lines = [f"# {device.get('count', '?')} x {device.get('kind', 'unknown device')}", "",
             ", ".join(f"{name} {version}" for name, version in device.get("versions", {}).items()), "",
             "| check | how it ended |", "|---|---|"]
    lines += [f"| {name} | {_describe(one)} |" for name, one in ended.items()]
    if quick:
        lines += ["", "Toy sizes: these are no results."]
    (out / "summary.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    log = out / "log.txt"
    if log.stat().st_size > _LOG_BYTES:
        log.write_bytes(b"(cut)\n" + log.read_bytes()[-_LOG_BYTES:])


def _describe_device() -> dict[str, Any]:
    """Device and versions, asked in another process: this one never holds the device."""
    code = ("import json; from bonemet_jax.telemetry.device import describe_device, cpu_model; "
            "from bonemet_jax.versions import PACKAGES, find_versions; versions = find_versions((*PACKAGES, 'torch')); "
            "print(json.dumps({**describe_device(), 'cpu': cpu_model(), 'versions': versions}))")
    try:
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                              encoding="utf-8", timeout=60, check=False)  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": "the device did not answer within 60 s"}
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"error": done.stderr[-500:]}


def _describe(ended: dict[str, Any]) -> str:
    status = ended["status"]
    if status in ("not run", "stopped", "failed"):
        return f"{status}: {ended['reason']}"
    known = {name: value for name, value in ended.items() if name not in ("status", "n_records", "seconds")}
    figures = ", ".join(f"{name} {_format(value)}" for name, value in known.items() if value is not None)
    return f"{status} in {ended['seconds']} s" + (f": {figures}" if figures else "")


def _format(value: Any) -> str:
    if isinstance(value, dict):
        return f"({', '.join(f'{name} {_format(one)}' for name, one in value.items())})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    handle_endings(_leave)
    raise SystemExit(main())
