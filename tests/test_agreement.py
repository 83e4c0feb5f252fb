"""Processes that ask the same questions stop at the same one, whoever wanted to and however far each was."""

import threading

import pytest

from bonemet_jax.agreement import Agreement


class _Store:
    """A key-value store as jax's, in this process."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def key_value_set(self, key: str, value: str) -> None:
        assert key not in self._values
        self._values[key] = value

    def key_value_dir_get(self, prefix: str) -> list[tuple[str, str]]:
        return [(key, value) for key, value in self._values.items() if key.startswith(prefix)]


def ask(agreement: Agreement, n: int) -> None:
    for _ in range(n):
        assert not agreement.stops(False)


@pytest.mark.parametrize("passed", [(0, 0, 0), (5, 3, 4), (3, 9, 0)])
def test_all_stop_at_the_question_of_the_one_ahead(passed: tuple[int, ...]) -> None:
    store = _Store()
    all_of_them = [Agreement(store, i, len(passed)) for i in range(len(passed))]
    for agreement, n in zip(all_of_them, passed, strict=True):
        ask(agreement, n)
    wanting = threading.Thread(target=lambda: stopped.append(all_of_them[1].stops(True)), daemon=True)
    stopped: list[bool] = []
    wanting.start()
    while wanting.is_alive():
        for agreement in all_of_them:
            agreement.exchange()
    assert stopped == [passed[1] == max(passed)]
    for agreement, n, extra in zip(all_of_them, passed, (0, 1, 0), strict=True):
        agreement.exchange()
        ask(agreement, max(0, max(passed) - n - extra))
        assert agreement.stops(False) and agreement.stops(False)


def test_nobody_stops_where_nobody_wants_to() -> None:
    store = _Store()
    first, second = (Agreement(store, i, 2) for i in range(2))
    for _ in range(4):
        first.exchange()
        ask(first, 1)
        ask(second, 2)
        second.exchange()
    assert store.key_value_dir_get("") == []
