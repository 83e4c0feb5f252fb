"""A step that never ends ends the process; steps that are merely slow, compile or save do not."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from bonemet_jax.train.watchdog import Watchdog


def test_a_stuck_step_leaves_its_stacks_and_exits_75(tmp_path: Path) -> None:
    code = f"""
        import time
        from pathlib import Path
        from bonemet_jax.process_state import process_control
        from bonemet_jax.train.watchdog import Watchdog
        with process_control():
            dog = Watchdog(Path({str(tmp_path)!r}), floor_s=0.5)
        dog.place = "fold 1, epoch 2"
        def stuck_device():
            time.sleep(60)
        with dog, dog.watching():
            dog.begin_step("training", 1)
            dog.beat()
            dog.begin_step("training", 2)
            stuck_device()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=50)
    assert done.returncode == 75
    last = done.stderr.splitlines()[-1]
    assert last.startswith("bonemet: fold 1, epoch 2, training step 2 is not finished after ")
    (stacks,) = tmp_path.glob("stacks_*.txt")
    assert "stuck_device" in stacks.read_text()
    assert "stuck_device" in done.stderr
    assert str(stacks) in last


def test_a_library_call_reports_a_stuck_step_once_and_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its caller owns the process."""
    dog = Watchdog(tmp_path, floor_s=0.2)
    with dog, dog.watching():
        dog.begin_step("training", 1)
        dog.beat()
        dog.begin_step("training", 2)
        time.sleep(2)
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("bonemet: ")]
    assert len(told) == 1 and "training step 2 is not finished after " in told[0]
    assert len(list(tmp_path.glob("stacks_*.txt"))) == 1


def test_the_deadline_is_five_steps_of_its_kind_and_none_before_the_first() -> None:
    dog = Watchdog(floor_s=0.01)
    with dog.watching():
        began = time.monotonic()
        dog.begin_step("training", 1)
        assert dog.deadline_s() is None
        time.sleep(0.1)
        dog.beat()
        deadline_s = dog.deadline_s()
        assert deadline_s is not None and 5 * 0.1 <= deadline_s <= 5 * (time.monotonic() - began)
        dog.begin_step("evaluation", 1)
        assert dog.deadline_s() is None


@pytest.mark.parametrize("what", ["compiles", "saves"])
def test_time_that_is_no_step_does_not_count(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expired: list[float] = []
    dog = Watchdog(is_excused=lambda: what == "compiles", floor_s=0.2)
    monkeypatch.setattr(dog, "_expire", expired.append)
    with dog:
        with dog.watching():
            dog.begin_step("training", 1)
            dog.beat()
            if what == "compiles":
                time.sleep(0.8)
        time.sleep(0.8)
    assert not expired
