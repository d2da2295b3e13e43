from __future__ import annotations

import math
import os
import time

import pytest

from paucis.errors import PaucisError
from paucis.evaluation import processes
from paucis.evaluation.processes import over


def refuse(item: int) -> int:
    raise PaucisError(f"item {item} is bad")


def test_the_same_results_in_order_with_processes_and_without() -> None:
    items = list(range(1, 12))
    assert (
        list(over(math.factorial, items, 0)) == list(over(math.factorial, items, 2)) == list(map(math.factorial, items))
    )


def test_work_is_handed_to_processes_only_when_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    where = list(over(os.getpgid, [0] * 4))
    assert len(where) == 4
    monkeypatch.setattr(processes, "_WORTH", 0.0)
    monkeypatch.setattr(processes, "cores", lambda: 2)
    first, *others = over(_process, range(4))
    assert first == os.getpid()
    assert os.getpid() not in others


def _process(item: int) -> int:
    time.sleep(0.01)
    return os.getpid()


@pytest.mark.parametrize("workers", [0, 1, None])
def test_what_the_work_raises_is_raised_here(workers: int | None) -> None:
    with pytest.raises(PaucisError, match="item 1 is bad"):
        list(over(refuse, [1, 2], workers))


def test_a_killed_process_costs_no_result() -> None:
    assert list(over(_die_elsewhere, [os.getpid()] * 3, 1)) == [True] * 3


def _die_elsewhere(home: int) -> bool:
    if os.getpid() != home:
        os._exit(9)
    return True
