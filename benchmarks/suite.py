"""Every benchmark one after another, each in a process of its own: neither memory nor jax's settings are handed on."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import ROOT, append_records
from benchmarks.record import Record, load_records
from benchmarks.summary import print_table


def run_all(names: Sequence[str], flags: Sequence[str], out: Path | None) -> int:
    """Run them with these flags, print one table; returns the exit code, 1 where one failed.

    out: JSON-lines file to which each benchmark's records go as soon as it is done.
    """
    records: list[Record] = []
    failed: dict[str, str] = {}
    for i, name in enumerate(names, 1):
        print(f"{i}/{len(names)} {name} ...", end=" ", file=sys.stderr, flush=True)
        began = time.monotonic()
        found, reason = run_one(name, flags)
        told = f"FAILED: {reason}" if reason else f"{len(found)} numbers"
        print(f"{told}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if reason:
            failed[name] = reason
        if out is not None:
            append_records(out, found)
        records += found
    print_table(records, failed)
    return 1 if failed else 0


def run_one(name: str, flags: Sequence[str]) -> tuple[list[Record], str]:
    """Records of one benchmark in a new process; its last words where it failed, else an empty text."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "records.jsonl"
        command = [sys.executable, "-m", "benchmarks", name, "--json", str(out), *flags]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              encoding="utf-8")
        if done.returncode == 0:
            return load_records([out]), ""
    said = done.stderr.strip().splitlines()
    return [], said[-1].removeprefix("error: ") if said else f"exit code {done.returncode}"
