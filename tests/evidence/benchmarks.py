"""Benchmarks: the whole set with its table, programs for devices that are not here, both gates, records and exports."""

import json
from collections.abc import Callable
from typing import Any

from tests.evidence.harness import Show, lint, run_pytest, tests

_PYTHON = ".venv/bin/python"
_BENCH = f"{_PYTHON} -m benchmarks"


def install(show: Show) -> str:
    """The locked requirements, PyTorch, and the compilers for targets that are not here."""
    seconds = show.ok("make install").seconds
    show.ok("make peers")
    show.ok("make compilers")
    return f"installed in {seconds:.0f} s"


def quick(show: Show) -> str:
    """The whole set within 15 minutes, one table."""
    done = show.ok(f"{_BENCH} --quick --device cpu --json runs/bench/quick.jsonl", timeout=1800)
    n = len((show.clone / "runs" / "bench" / "quick.jsonl").read_text().splitlines())
    assert done.seconds <= 15 * 60, f"{done.seconds:.0f} s"
    widest = max(map(len, done.out[done.out.index("BENCHMARK") :].splitlines()))
    return f"{n} records in {done.seconds:.0f} s, table of {widest} columns"


def records(show: Show) -> str:
    """Every record of that run fits its schema; each export is read by what it is made for."""
    told = show.ok(f"{_PYTHON} -m pip install -q check-jsonschema && .venv/bin/check-jsonschema --builtin-schema "
                   "vendor.github-workflows .github/workflows/benchmarks.yml").out  # fmt: skip
    show.ok(f"{_PYTHON} -c \"import json, jsonschema; s = json.load(open('benchmarks/record.schema.json')); "
            "[jsonschema.validate(json.loads(r), s) for r in open('runs/bench/quick.jsonl')]\"")  # fmt: skip
    for to, out in (("github", "lower.json"), ("markdown", "summary.md"), ("pyperf", "pyperf.json")):
        show.ok(f"{_BENCH} export --to {to} runs/bench/quick.jsonl -o runs/bench/{out}")
    show.ok(f"{_PYTHON} -m pyperf stats -q runs/bench/pyperf.json")
    names = ("record", "export", "ci")
    held = run_pytest(show, " ".join(f"tests/benchmarks/test_{name}.py" for name in names))
    return f"{held}; workflow {told.strip().splitlines()[-1]}; pyperf reads its file"


def h100(show: Show) -> str:
    """ResNet101 at 400x500x4 in bfloat16 for eight H100s: as its budget says, and what that is."""
    return _compile(show, "h100x8", "--programs train evaluate")


def v5e(show: Show) -> str:
    """A short network for four v5e within five minutes."""
    return _compile(show, "v5e-4", "", limit_s=300)


def faults(show: Show) -> str:
    """Five planted faults, five names; the CPU's budget holds."""
    return run_pytest(show, "-m slow tests/benchmarks/test_gate.py -k 'faults_are_named or cpu_holds' --timeout 1200")


def statistical_gate(show: Show) -> str:
    """A 1.2x slowdown caught 20 of 20 times; false alarms in 200 trials without one."""
    done = show.command(f"{_BENCH} compare --self-test", timeout=1800)
    assert done.code == 0, done.out
    return "; ".join(done.out.strip().splitlines()[1:])


def numerics(show: Show) -> str:
    """What lowers the traffic is the plain network in float64, and PyTorch's; how it rounds in bfloat16."""
    return run_pytest(show, "tests/models/test_layers.py tests/models/test_moments.py tests/models/test_norm.py "
                      "tests/models/test_lowering.py") + "; " + run_pytest(
        show, "-m 'slow or not slow' tests/models/test_parity.py -k accelerators --timeout 1200")  # fmt: skip


def export(show: Show) -> str:
    """`bonemet export` read back without the package; the locks for GPU and TPU resolved by dry run."""
    show.ok("make check-locks")
    return run_pytest(show, "tests/readout/test_export.py tests/test_locks.py")


def _compile(show: Show, target: str, flags: str, limit_s: float = 1800) -> str:
    done = show.ok(f"{_BENCH} aot --target {target} {flags} --json runs/bench/{target}.json", timeout=3600)
    assert done.seconds <= limit_s, f"{done.seconds:.0f} s"
    compared = show.ok(f"{_BENCH} gate --target {target} {flags} --figures runs/bench/{target}.json").out
    gate = next(line for line in compared.splitlines() if line.startswith("gate:"))
    told = _load(show, f"runs/bench/{target}.json")["programs"]["train"]
    figures = told[min(told, key=int)]
    counts = figures["convolutions"]
    n = sum(counts[role] for role in ("forward", "input gradient", "weight gradient"))
    ceilings = [line for line in done.out.splitlines() if line.startswith("Ceiling")]
    return (f"{n} convolutions, {counts['grouped']} grouped, alias {figures['memory']['alias']:,} = state "
            f"{figures['state_bytes']:,}; {'; '.join(line.partition(' (')[0] for line in ceilings)}; {gate}; "
            f"{done.seconds:.0f} s")  # fmt: skip


def _load(show: Show, name: str) -> Any:
    return json.loads((show.clone / name).read_text())


SHOWS: dict[str, Callable[[Show], str]] = {
    "install": install, "lint": lint, "quick": quick, "records": records, "h100": h100, "v5e": v5e, "faults": faults,
    "statistical_gate": statistical_gate, "numerics": numerics, "export": export, "tests": tests,
}  # fmt: skip
