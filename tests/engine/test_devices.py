from __future__ import annotations

import pytest
import torch

from paucis.engine import devices
from paucis.engine.seeds import derive, seed_step
from paucis.errors import PaucisError


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(PaucisError, match="cuda' is not there"):
        devices.resolve("cuda")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(PaucisError, match="not known"):
        devices.resolve("gpu0")


def test_sixteen_bit_floats_need_a_gpu() -> None:
    with pytest.raises(PaucisError, match="needs a GPU"):
        devices.precision("16", torch.device("cpu"))


def test_seeds_differ_by_every_part_and_stay_the_same() -> None:
    assert derive(0, "train", 0, 1) == derive(0, "train", 0, 1)
    assert (
        len({derive(0, "train", 0, 1), derive(1, "train", 0, 1), derive(0, "train", 1, 1), derive(0, "train", 0, 2)})
        == 4
    )


def test_what_a_step_draws_depends_on_the_step_alone() -> None:
    first = seed_step(3, "train", 0, 5)
    drawn = torch.rand(2), torch.rand(2, generator=first)
    torch.rand(100)
    second = seed_step(3, "train", 0, 5)
    assert torch.equal(drawn[0], torch.rand(2))
    assert torch.equal(drawn[1], torch.rand(2, generator=second))
