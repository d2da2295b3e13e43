"""Answers that depend on the whole scan, and the field of view that everything keeps to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from paucis.inference.predictor import _within
from paucis.inference.sampling import SAMPLES
from paucis.inference.sliding import Slab
from paucis.inference.surveys import answered, surveyed
from paucis.inference.windows import MEMBER
from paucis.methods.base import Prediction


class Mean:
    """Answers every voxel with the mean of the whole scan; counts what it was shown."""

    def __init__(self) -> None:
        self.voxels = 0

    def survey(self, images: Tensor) -> Tensor:
        self.voxels += images[:, 0].numel()
        return images

    def summary(self, maps: Tensor, inside: Tensor) -> Tensor:
        return torch.stack([(maps[:, 0] * inside).sum(), inside.sum()])[None]

    def answer(self, images: Tensor, summary: Tensor | None) -> Prediction:
        assert summary is not None
        return Prediction({"probabilities": torch.full_like(images, float(summary[0, 0] / summary[0, 1]))})


@pytest.mark.parametrize(
    ("size", "patch"), [((1, 30, 22), (1, 16, 16)), ((9, 14, 11), (4, 8, 8)), ((1, 6, 5), (1, 8, 8))]
)
def test_every_voxel_of_the_field_counts_once_however_windows_overlap(
    size: tuple[int, int, int], patch: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(0)
    image, field = rng.random((1, *size), np.float32), (rng.random(size) > 0.3).astype(np.uint8)
    method = Mean()
    total = surveyed(image, method, patch, field=field)
    assert method.voxels >= image.size
    assert total[0].tolist() == pytest.approx([image[0][field > 0].sum(), field.sum()], rel=1e-4)
    everywhere = surveyed(image, method, patch)
    assert everywhere[0].tolist() == pytest.approx([image.sum(), image.size], rel=1e-4)
    slabs = list(answered(image, method, patch, field=field))
    found = torch.cat([slab.maps["probabilities"] for slab in slabs], 1)
    assert found.shape == (1, *size)
    assert torch.allclose(found, torch.tensor(image[0][field > 0].mean()), atol=1e-4)


def test_outside_the_field_everything_is_background_and_other_maps_stay() -> None:
    field = np.zeros((4, 3, 3), bool)
    field[2:, :2] = True
    part = torch.rand(3, 2, 3, 3)
    maps = {"probabilities": part, f"{MEMBER}second": part.flip(0), SAMPLES: torch.rand(6, 2, 3, 3), "own": part[:1]}
    done = _within(Slab(1, 3, {name: values.clone() for name, values in maps.items()}), field)
    inside = torch.tensor(field[1:3])
    for name in ("probabilities", f"{MEMBER}second"):
        assert torch.equal(done.maps[name][:, inside], maps[name][:, inside])
        assert bool((done.maps[name][0][~inside] == 1).all())
        assert bool((done.maps[name][1:][:, ~inside] == 0).all())
    drawn = done.maps[SAMPLES].reshape(2, 3, 2, 3, 3)
    assert bool((drawn[:, 0][:, ~inside] == 1).all()), "of every sample"
    assert bool((drawn[:, 1:][:, :, ~inside] == 0).all())
    assert torch.equal(done.maps["own"], maps["own"])
