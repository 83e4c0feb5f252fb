"""Settings that threads share, permission to act on the process, and streams that several threads replace at once."""

import contextvars
import io
import logging
import os
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from bonemet_jax.cli import main
from bonemet_jax.cli.streams import GuardedStreams
from bonemet_jax.cli.verb_report import choose_device
from bonemet_jax.process_state import (
    SharedChange,
    change_environment,
    change_meanwhile,
    has_process_control,
    make_quiet,
    process_control,
    restoring,
)


def test_overlapping_blocks_change_once_and_the_last_one_undoes() -> None:
    events: list[str] = []

    def change() -> object:
        events.append("made")
        return lambda: events.append("undone")

    shared = SharedChange(change)  # type: ignore[arg-type]
    shared.__enter__()
    shared.__enter__()
    shared.__exit__()
    assert events == ["made"]
    shared.__exit__()
    with shared:
        pass
    assert events == ["made", "undone"] * 2


def test_environment_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BONEMET_A", "1")
    monkeypatch.delenv("BONEMET_B", raising=False)
    restore = change_environment({"BONEMET_A": "2", "BONEMET_B": "2"})
    assert (os.environ["BONEMET_A"], os.environ["BONEMET_B"]) == ("2", "2")
    restore()
    assert os.environ["BONEMET_A"] == "1" and "BONEMET_B" not in os.environ
    change_environment({"BONEMET_A": "2"}, replace=False)
    assert os.environ["BONEMET_A"] == "1"


def test_changes_last_until_the_command_ends_and_none_is_made_outside() -> None:
    quiet, logger = make_quiet("bonemet.test"), logging.getLogger("bonemet.test")
    change_meanwhile(quiet)
    assert not logger.disabled
    with pytest.raises(ValueError, match="an error"), restoring():
        change_meanwhile(quiet)
        change_meanwhile(quiet)
        assert logger.disabled
        raise ValueError("an error")
    assert not logger.disabled


def test_control_is_of_the_thread_that_asked() -> None:
    def ask() -> bool:
        return has_process_control()

    with process_control(), ThreadPoolExecutor(1) as pool:
        assert has_process_control() and not pool.submit(ask).result()
    assert not contextvars.Context().run(ask)


def test_streams_that_threads_guard_at_once_are_put_back() -> None:
    before = sys.stdout, sys.stderr
    one, two = GuardedStreams(), GuardedStreams()
    one.__enter__()
    two.__enter__()
    one.__exit__()
    print("still printed")
    two.__exit__()
    assert (sys.stdout, sys.stderr) == before


def test_a_broken_stream_of_the_caller_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be no file at all, as in a notebook."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    stream = Full()
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["info"]) == 5
    assert sys.stdout is stream


@pytest.mark.parametrize(("argv", "code"), [(["info"], 0), (["--help"], 0), (["run", "--help"], 0), (["nothing"], 2)])
def test_commands_of_several_threads(argv: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def take() -> tuple[object, ...]:
        return (sys.stdout, sys.stderr, logging.root.manager.disable, list(warnings.filters), dict(os.environ),
                threading.active_count())

    before = take()
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: main(argv), range(40)))
    assert codes == [code] * 40 and take() == before
    assert any(capsys.readouterr())


def test_an_unexpected_error_is_raised_and_all_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        logging.getLogger().setLevel(logging.getLogger().level)
        raise ZeroDivisionError

    monkeypatch.setattr("bonemet_jax.cli.info.collect_info", fail)
    before = sys.stdout, logging.root.manager.disable, list(warnings.filters)
    with pytest.raises(ZeroDivisionError):
        main(["info"])
    assert (sys.stdout, logging.root.manager.disable, list(warnings.filters)) == before


def test_calls_for_other_devices_that_overlap_restore_what_was_before(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    before = jax.config.values["jax_platforms"]
    inside, left = threading.Event(), threading.Event()

    def call(device: str, first: bool) -> None:
        with restoring():
            choose_device(device)
            if first:
                inside.set()
                left.wait(30)
        if not first:
            left.set()

    threads = [threading.Thread(target=call, args=("tpu", True)), threading.Thread(target=call, args=("cpu", False))]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    for thread in threads:
        thread.join(30)
    assert "JAX_PLATFORMS" not in os.environ and jax.config.values["jax_platforms"] == before
