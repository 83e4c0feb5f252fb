"""Time by reason: the parts are the whole, and nothing counts twice."""

from types import SimpleNamespace

import pytest

from bonemet_jax.telemetry import goodput
from bonemet_jax.telemetry.goodput import TimeAccount


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The account's clock."""
    clock = Clock()
    monkeypatch.setattr(goodput, "time", SimpleNamespace(perf_counter=clock.perf_counter))
    return clock


def test_shares_of_each_reason(clock: Clock) -> None:
    account = TimeAccount()
    with account.during("compile"):
        clock.now += 2.0
    account.add("step", 5.0)
    clock.now += 8.0
    assert account.summarize() == {
        "seconds": 10.0, "goodput": 0.5,
        "badput": {"validation": 0.0, "compile": 0.2, "data_wait": 0.0, "checkpoint": 0.0, "restore": 0.0,
                   "profile": 0.0, "other": 0.3},
    }  # fmt: skip
    assert (account.seconds("compile"), account.seconds("step"), account.seconds("restore")) == (2.0, 5.0, 0.0)


def test_parts_are_the_whole(clock: Clock) -> None:
    account = TimeAccount()
    for reason, seconds in (("step", 1.7), ("validation", 0.4), ("step", 2.9), ("data_wait", 0.05)):
        with account.during(reason):  # type: ignore[arg-type]
            clock.now += seconds
    clock.now += 0.3
    told = account.summarize()
    assert told["goodput"] == round(4.6 / 5.35, 4)
    assert told["goodput"] + sum(told["badput"].values()) == pytest.approx(1, abs=4e-4)


def test_one_within_another_is_refused(clock: Clock) -> None:
    account = TimeAccount()
    with account.during("checkpoint"):
        clock.now += 1.0
        with pytest.raises(RuntimeError, match="seconds of restore would count twice"), account.during("restore"):
            pass
        clock.now += 1.0
    assert account.seconds("checkpoint") == 2.0 and account.seconds("restore") == 0.0


def test_a_block_that_fails_counts_and_the_next_may_begin(clock: Clock) -> None:
    account = TimeAccount()
    with pytest.raises(ValueError, match="stop"), account.during("restore"):
        clock.now += 3.0
        raise ValueError("stop")
    with account.during("restore"):
        clock.now += 1.0
    assert account.seconds("restore") == 4.0
