"""Trust, part 2: a run's files belong together, and statistics decide as R does."""

from collections.abc import Callable

from tests.evidence.harness import Show, demo, lint, run_pytest, said, tests


def install(show: Show) -> str:
    """The locked requirements, and R with its package survival, from apt-get if it is missing."""
    seconds = show.ok("make install").seconds
    found = show.ok("Rscript -e 'library(survival)' 2>&1 || (apt-get update && apt-get install -y r-cran-survival)")
    version = show.ok("Rscript -e 'cat(\"survival\", as.character(packageVersion(\"survival\")))'").out.split("\n")[0]
    return f"installed in {seconds + found.seconds:.0f} s; R's {version.strip()}"


def statistics_cases(show: Show) -> str:
    """The shared statistics cases: every row gives what its table says; further cases of each class pass."""
    held = run_pytest(show, "--timeout 1800 tests/end_to_end/test_shared_statistics.py "
                      "tests/end_to_end/test_shared_table_cases.py")
    others = run_pytest(show, "tests/stats tests/cli/test_statistics.py tests/cli/test_statistics_cells.py "
                       "--deselect tests/stats/test_r_survival.py")
    return f"{held}{said(show, 'case ')}; other members: {others}"


def r_survival(show: Show) -> str:
    """24 data sets of R's survival, each also with times perturbed by rounding: within 1e-8."""
    return run_pytest(show, "--timeout 1800 tests/stats/test_r_survival.py") + said(show, "R survival: ")


def swaps(show: Show) -> str:
    """Every file of a run exchanged for another run's, for each command: refused, or without influence."""
    tests = "tests/study tests/end_to_end/test_swaps.py"
    return run_pytest(show, f"-n 2 --capture=fd --timeout 3600 {tests}") + said(show, "swaps of ")


def two_runs(show: Show) -> str:
    """Two runs at once, 20 times: one result, equal to a lone run's; the other waits or exits 75."""
    return run_pytest(show, "--timeout 3600 tests/end_to_end/test_two_at_once.py") + said(show, "two runs at once, ")


def longer(show: Show) -> str:
    """A finished training goes on for more epochs, and equals a longer one bit for bit."""
    return run_pytest(show, "tests/train/test_longer.py tests/end_to_end/test_longer_run.py")


SHOWS: dict[str, Callable[[Show], str]] = {
    work.__name__: work
    for work in (install, statistics_cases, r_survival, swaps, two_runs, longer, tests, demo, lint)
}
