"""The training engine: parity with PyTorch, wrappers, folds side by side, speed, reliability, many hosts."""

from collections.abc import Callable

from tests.evidence.harness import Show, demo, figures, lint, run_benchmark, run_pytest, said, tests


def install(show: Show) -> str:
    """The locked requirements, and PyTorch and genuine weights as peers beside them."""
    seconds = show.ok("make install").seconds
    show.ok("make peers")
    show.ok("make genuine-weights")
    return f"installed in {seconds:.0f} s"


def parity(show: Show) -> str:
    """Same weights in PyTorch and here: float64 1e-8, ten Adam steps 1e-5, float32 beside PyTorch's; 400x500 too."""
    return run_pytest(show, "tests/models/test_parity.py --timeout 3000") + said(show, r"resnet\d+ ")


def genuine(show: Show) -> str:
    """A ResNet152's genuine weights give PyTorch's pooled features on a real slice."""
    return run_pytest(show, "tests/models/test_genuine_weights.py tests/models/test_pretrained.py "
                      "tests/cli/test_weights.py --timeout 1200")


def wrappers(show: Show) -> str:
    """jit, shard_map, pmap on 8 virtual devices = 1; folds in one program = sequential; collectives; the remainder."""
    return run_pytest(show, "tests/train/test_parallel.py tests/train/test_waves.py tests/train/test_members.py "
                      "tests/train/test_step.py --timeout 1200") + said(show, "jit|shard_map|pmap|folds")


def step_time(show: Show) -> str:
    """Beside PyTorch on the CPU, goal 1.25x."""
    return figures(run_benchmark(show, "step_time"))


def compile_time(show: Show) -> str:
    """Scanned blocks against unrolled, goal 0.4x cold; warm start 0.15x."""
    return figures(run_benchmark(show, "compile"))


def folds(show: Show) -> str:
    """Core-seconds of folds in one program against one after another."""
    return figures(run_benchmark(show, "folds"))


def dispatch(show: Show) -> str:
    """An empty step on the real parameter tree, goal 3 ms."""
    return figures(run_benchmark(show, "dispatch"))


def reliability(show: Show) -> str:
    """Kills, SIGTERM, damage, values that are not finite, with their counts."""
    names = ("checkpoint", "loop", "preemption", "restore", "resume", "finishing", "numerics", "transfers", "modes")
    held = run_pytest(show, " ".join(f"tests/train/test_{name}.py" for name in names) + " --timeout 3000")
    return held + said(show, r"\d+/\d+(?! in )\b:? ")


def many_hosts(show: Show) -> str:
    """Two processes = one; losing one makes the other leave within 45 s, naming it."""
    return run_pytest(show, "tests/train/test_many_hosts.py tests/train/test_watchdog.py --timeout 3000") + said(
        show, r"\d+/\d+(?! in )\b:? ")


SHOWS: dict[str, Callable[[Show], str]] = {
    work.__name__: work
    for work in (install, parity, genuine, wrappers, step_time, compile_time, folds, dispatch, reliability, many_hosts,
                 demo, tests, lint)
}
