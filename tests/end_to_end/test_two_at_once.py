"""Two processes on one run directory: one works, the other waits or is told who does; the result is that of one."""

import time
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.small_run import digest_results, start


@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.slow),
                               pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_two_runs_at_once_are_one(n: int, tmp_path: Path) -> None:
    """At random delays, the second with --wait every other time."""
    random, began = np.random.default_rng(n), time.monotonic()
    alone = start("run", tmp_path / "alone")
    assert alone.communicate() and alone.returncode == 0
    seconds, wanted = time.monotonic() - began, digest_results(tmp_path / "alone")
    told: list[str] = []
    for i in range(n):
        run, waits = tmp_path / f"run_{i}", i % 2 == 0
        first = start("run", run)
        time.sleep(random.uniform(0, 0.9 * seconds) if i else 0)
        second = start("run", run, *["--wait"] * waits)
        outputs = [process.communicate() for process in (first, second)]
        codes = [first.returncode, second.returncode]
        assert not [text for output in outputs for text in output if "Traceback" in text], outputs
        # Started together, either may be the first; one that starts after the other has finished has nothing to do.
        assert 0 in codes and set(codes) <= ({0} if waits and first.returncode == 0 else {0, 75}), (codes, outputs)
        refused = [err.strip().splitlines()[-1] for (_, err), code in zip(outputs, codes, strict=True) if code == 75]
        assert all("another process works on this run (" in line and str(run) in line for line in refused), refused
        assert digest_results(run) == wanted
        told.append("75" if refused else "waited" if any("waiting: " in err for _, err in outputs) else "in turn")
    print(f"two runs at once, {n} times: {', '.join(f'{told.count(end)} {end}' for end in sorted(set(told)))}; "
          f"{len(wanted)} files equal to those of a lone run, 0 tracebacks")
