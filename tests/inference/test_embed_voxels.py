from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from paucis.batch import Task
from paucis.inference.embedding import embed_voxels
from paucis.methods.base import Method


class Known(Method):
    """Features of a pixel: its own intensity, twice it, and the mean of its window."""

    def __init__(self, task: Task) -> None:
        super().__init__(lambda *_: None, task, None)
        self.windows: list[Tensor] = []

    def embed(self, images: Tensor) -> Tensor:
        self.windows.append(images)
        mean = images.flatten(2).mean(2).view(len(images), 1, *[1] * self.task.ndim).expand_as(images)
        return torch.cat([images, 2 * images, mean], 1)


@pytest.mark.parametrize(
    ("patch", "size"),
    [((4, 6), (3, 9, 13)), ((4, 6), (2, 3, 5)), ((3, 4, 6), (7, 4, 20)), ((5, 6, 7), (2, 3, 20))],
)
def test_every_voxel_gets_the_features_of_itself_in_a_window_that_holds_it(
    patch: tuple[int, ...], size: tuple[int, int, int]
) -> None:
    image = np.random.default_rng(0).normal(size=(1, *size)).astype(np.float32)
    method = Known(Task(len(patch), 1, 2, patch))
    voxels = np.stack(np.unravel_index(np.random.default_rng(1).permutation(image.size)[:50], size), 1)
    features = embed_voxels(image, voxels, method, method.task)
    own = image[0][tuple(voxels.T)]
    assert np.array_equal(features[:, 0], own)
    assert np.array_equal(features[:, 1], 2 * own)
    assert all(window.shape[2:] == patch for window in method.windows)
    means = {round(float(window.mean()), 4) for window in method.windows}
    assert {round(float(value), 4) for value in features[:, 2]} == means


def test_windows_without_a_voxel_are_not_computed() -> None:
    method = Known(Task(2, 1, 2, (4, 4)))
    embed_voxels(
        np.zeros((1, 5, 16, 16), np.float32), np.array([[1, 0, 0], [1, 3, 3], [4, 15, 15]]), method, method.task
    )
    assert len(method.windows) == 2
    assert embed_voxels(np.zeros((1, 5, 16, 16), np.float32), np.zeros((0, 3), int), method, method.task).size == 0
