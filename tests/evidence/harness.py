"""Runs one must-show after another in a fresh clone, one log each, and ends with a table."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Done:
    """One finished command."""

    code: int
    seconds: float
    peak_gib: float
    out: str


@dataclass
class Show:
    """One must-show: `work` runs commands through this object and returns its figures, or raises AssertionError."""

    name: str
    clone: Path
    log: Path

    def command(
        self, argv: Sequence[str] | str, timeout: float = 3000, kill_when: Callable[[], bool] | None = None
    ) -> Done:
        """Run a command in the clone, log it, and return code, wall seconds, peak memory of its tree and output."""
        argv = ["bash", "-c", argv] if isinstance(argv, str) else list(argv)
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"\n$ {' '.join(argv)}\n")
            log.flush()
            mark = log.tell()
            start = time.perf_counter()
            process = subprocess.Popen(
                argv, cwd=self.clone, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True, env=_clean_environment(self.clone),
            )
            watch = _Watch(process, kill_when, start + timeout)
            code = process.wait()
            seconds = time.perf_counter() - start
            watch.join()
            log.write(f"# exit {code}, {seconds:.1f} s, peak {watch.peak_gib:.2f} GiB\n")
        with open(self.log, encoding="utf-8", errors="replace") as log:
            log.seek(mark)
            return Done(code, seconds, watch.peak_gib, log.read())

    def ok(self, argv: Sequence[str] | str, **options: float) -> Done:
        """`command` that must exit with 0."""
        done = self.command(argv, **options)
        assert done.code == 0, f"exit {done.code}: {done.out.strip().splitlines()[-2:]}"
        return done


def run_pytest(show: Show, arguments: str) -> str:
    """Tests that must pass, slow ones too; returns their closing line, and what was skipped and why."""
    done = show.ok(f".venv/bin/python -m pytest -v -rA -s -m '' {arguments}")
    closing = next(row for row in reversed(done.out.splitlines()) if "passed" in row)
    skipped = [row for row in done.out.splitlines() if row.startswith("SKIPPED")]
    return closing.strip("= ") + "".join(f"; {row}" for row in skipped)


def said(show: Show, pattern: str) -> str:
    """Figures that tests print: from the pattern to the end of its line, each once."""
    found = re.findall(rf"(?:{pattern}).*", show.log.read_text())
    return "".join(f"; {figure}" for figure in dict.fromkeys(found))


def run_benchmark(show: Show, name: str) -> list[dict[str, Any]]:
    """Records of one benchmark after a fresh run."""
    file = show.clone / "runs" / "bench" / f"{name}.jsonl"
    file.unlink(missing_ok=True)
    show.ok(f".venv/bin/python -m benchmarks {name} --json {file}")
    return [json.loads(line) for line in file.read_text().splitlines()]


def figures(records: Sequence[dict[str, Any]]) -> str:
    """One phrase a record: what, of which network, how much, between what, how often."""

    def one(record: dict[str, Any]) -> str:
        between = "" if record["ci95"] is None else " [{:.4g}, {:.4g}]".format(*record["ci95"])
        value = record["median"] if record["ratio"] is None else record["ratio"]
        network = record["parameters"].get("network", "")
        return f"{record['metric']} {network} {value:.4g}{between} {record['unit']} (n {record['n']})"

    return "; ".join(one(record) for record in records)


def demo(show: Show) -> str:
    """make demo: ends with the path of report.html."""
    done = show.ok("make demo")
    last = next(row for row in reversed(done.out.splitlines()) if row and not row.startswith("#"))
    assert last.endswith("report.html"), last
    return f"{done.seconds:.0f} s, peak {done.peak_gib:.2f} GiB, {last}"


def tests(show: Show) -> str:
    """make test: green, <= 12 min."""
    done = show.ok("make test")
    assert done.seconds <= 720, f"{done.seconds:.0f} s"
    closing = next(row for row in reversed(done.out.splitlines()) if "passed" in row)
    return f"{closing.strip('= ')}; {done.seconds:.0f} s"


def lint(show: Show) -> str:
    """ruff, pyrefly and the import contracts."""
    return f"clean, {show.ok('make lint').seconds:.0f} s"


def _clean_environment(clone: Path) -> dict[str, str]:
    """This environment less what an outer make has put in: a make inside would talk about its folders."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return {**kept, "PATH": f"{clone}/.venv/bin:{os.environ['PATH']}"}


#: Times that a sample took: reading the memory of large processes must not slow down what is timed.
_MOST_WATCHING = 50


class _Watch(threading.Thread):
    """Samples the memory of a process tree (proportional set size, so shared pages count once) and kills on demand."""

    def __init__(self, process: subprocess.Popen, kill_when: Callable[[], bool] | None, deadline: float) -> None:
        super().__init__(daemon=True)
        self.process, self.kill_when, self.deadline, self.peak_gib = process, kill_when, deadline, 0.0
        self.start()

    def run(self) -> None:
        while self.process.poll() is None:
            began = time.perf_counter()
            self.peak_gib = max(self.peak_gib, sum(map(_pss_kib, _tree(self.process.pid))) / 2**20)
            seconds = time.perf_counter() - began
            if time.perf_counter() > self.deadline or (self.kill_when is not None and self.kill_when()):
                os.killpg(self.process.pid, signal.SIGKILL)
            time.sleep(0.5 if self.kill_when is not None else max(0.5, _MOST_WATCHING * seconds))


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += children.get(pid, [])
    return found


def _pss_kib(pid: int) -> int:
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(row.split()[1]) for row in rows if row.startswith("Pss:")), 0)


@dataclass(frozen=True)
class Verdict:
    """Line of the closing table."""

    name: str
    ok: bool
    seconds: float
    figures: str


def run_issue(shows: dict[str, Callable[[Show], str]], root: Path, out: Path, only: Sequence[str]) -> bool:
    """Clone `root` at HEAD, install it, run every must-show, print and store the table; True when all hold."""
    out.mkdir(parents=True, exist_ok=True)
    clone = out / "clone"
    if not only:
        shutil.rmtree(clone, ignore_errors=True)
    if not clone.exists():
        subprocess.run(["git", "clone", "--quiet", str(root), str(clone)], check=True)
    _link_shared(root, out)
    verdicts = []
    for name, work in shows.items():
        if not only or name in only:
            verdicts.append(_one(name, work, clone, out))
            rows = [dataclasses.asdict(v) for v in verdicts]
            (out / "table.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(_table(verdicts))
    return all(v.ok for v in verdicts)


def _link_shared(root: Path, out: Path) -> None:
    """The clone lies deeper than the checkout: tell it where the real data are, when they are."""
    shared = Path(os.environ.get("BONEMET_SHARED", root.parent / "shared"))
    if shared.is_dir():
        os.environ["BONEMET_SHARED"] = str(shared.resolve())


def _one(name: str, work: Callable[[Show], str], clone: Path, out: Path) -> Verdict:
    log = out / f"{name}.log"
    log.write_text("")
    print(f"{name} ...  (log {log})", flush=True)
    start = time.perf_counter()
    try:
        figures, ok = work(Show(name, clone, log)), True
    except Exception as error:
        figures, ok = f"{type(error).__name__}: {error}", False
    verdict = Verdict(name, ok, time.perf_counter() - start, " ".join(figures.split()))
    print(f"{name} {'holds' if ok else 'FAILS'} after {verdict.seconds:.0f} s: {verdict.figures}", flush=True)
    return verdict


def _table(verdicts: list[Verdict]) -> str:
    width = max(len(v.name) for v in verdicts)
    rows = [f"{v.name:<{width}}  {'holds' if v.ok else 'FAILS'}  {v.seconds:6.0f} s  {v.figures}" for v in verdicts]
    return "\n".join(["", *rows, f"{sum(v.ok for v in verdicts)} of {len(verdicts)} hold"])
