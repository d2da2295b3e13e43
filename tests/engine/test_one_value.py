"""A pass of one image whose deepest map is one voxel: batch normalization has nothing to take a mean of."""

from __future__ import annotations

from pathlib import Path

import pytest

from paucis.errors import PaucisError
from paucis.workflows.train import train

OPTIONS = {
    "network": "vnet",
    "network.filters": 2,
    "data.patch": "16,16,16",
    "data.workers": 0,
    "train.steps": 2,
    "train.workers": 0,
    "validation.cases": 1,
}


@pytest.mark.parametrize(("method", "batch"), [("supervised", 1), ("bcp", 2)])
def test_it_is_refused_in_one_line_and_enough_images_are_not(
    method: str, batch: int, phantoms: Path, tmp_path: Path
) -> None:
    """BCP pastes the halves of a batch into each other: of two images it passes one at a time."""
    options = {**OPTIONS, "train.batch_size": batch}
    with pytest.raises(PaucisError, match=r"a single value.*train\.batch_size") as refused:
        train(phantoms, out=tmp_path / "few", method=method, labels=4, options=options)
    assert "\n" not in str(refused.value)
    train(phantoms, out=tmp_path / "more", method=method, labels=4, options={**options, "train.batch_size": 2 * batch})
    group = {**options, "network.normalization": "group"}
    train(phantoms, out=tmp_path / "group", method=method, labels=4, options=group)
