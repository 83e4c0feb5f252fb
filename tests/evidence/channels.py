"""Channels at accelerator speed, the sharded records, and the input pipeline."""

from collections.abc import Callable

from tests.evidence.harness import Show, demo, figures, lint, run_benchmark, run_pytest, said, tests


def install(show: Show) -> str:
    """The locked requirements install with nothing but python3.11 and make; PyTorch as a peer beside them."""
    seconds = show.ok("make install").seconds
    show.ok("make peers")
    return f"installed in {seconds:.0f} s"


def lbp(show: Show) -> str:
    """`exact`: every pixel equals scikit-image; `fast`: 0.1 % of a real slice differ at most; flips permuted."""
    held = run_pytest(show, "tests/channels/test_lbp.py tests/channels/test_lbp_real_ct.py "
                      "tests/channels/test_lbp_code.py")
    return held + said(show, "lbp-[a-z-]+: ")


def hog(show: Show) -> str:
    """Features and picture within 1e-6 of the maximum, both modes; flips; float images."""
    held = run_pytest(show, "tests/channels/test_oriented_gradients.py tests/channels/test_hog_picture.py "
                      "tests/channels/test_hog_real_ct.py")
    return held + said(show, "hog-[a-z-]+: ")


def on_device(show: Show) -> str:
    """Channels computed in the step equal the recorded ones: HOG within 1e-6, LBP up to ties, counted."""
    return run_pytest(show, "tests/channels/test_stack.py") + said(show, "on the device against precomputed")


def speed(show: Show) -> str:
    """LBP + HOG per core-second against scikit-image, goal 60x; parity, growth, memory, distance from bandwidth."""
    return figures(run_benchmark(show, "channels"))


def builder(show: Show) -> str:
    """Same bytes from any number of workers and after any kill; TFDS's own test of its builder."""
    return run_pytest(show, "tests/bonemet_ct")


def stream(show: Show) -> str:
    """100,000 phantoms at 160x200 and 2,000 at 400x500 through the build: images/s, disk, memory."""
    return figures(run_benchmark(show, "build"))


def two_modes(show: Show) -> str:
    """resident = stream bit for bit, two epochs, 1, 2, 4, 8 devices; one training in both; scan = loop."""
    return run_pytest(show, "tests/input_pipeline/test_stream.py tests/input_pipeline/test_shards.py "
                      "tests/input_pipeline/test_wire.py tests/input_pipeline/test_resident.py "
                      "tests/input_pipeline/test_choose.py tests/train/test_modes.py")


def input_cost(show: Show) -> str:
    """Wait share beside the ResNet50 step and beside a sum; images/s per core beside PyTorch and tf.data."""
    return figures(run_benchmark(show, "input"))


def corruption(show: Show) -> str:
    """Flipped bits, truncations, missing, doubled and swapped shards: named before training, exit 4."""
    held = run_pytest(show, "tests/input_pipeline/test_corruption.py tests/input_pipeline/test_records.py "
                      "tests/end_to_end/test_study.py")
    return held + said(show, r"\d+/\d+ (?:bit flips|truncations) named")


def leakage(show: Show) -> str:
    """Near-duplicates and patients in two splits: exit 7."""
    held = run_pytest(show, "tests/cohort/test_near_duplicates.py tests/cohort/test_folds.py "
                      "tests/end_to_end/test_leakage.py")
    return held + said(show, r"seed \d+, |slices \S+ mm apart")


SHOWS: dict[str, Callable[[Show], str]] = {
    work.__name__: work
    for work in (install, lbp, hog, on_device, speed, builder, stream, two_modes, input_cost, corruption, leakage, demo,
                 tests, lint)
}
