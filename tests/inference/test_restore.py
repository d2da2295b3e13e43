from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from paucis.inference.restore import restore
from paucis.inference.sliding import Slab


def cut(volume, sizes):
    start = 0
    for size in sizes:
        stop = min(start + size, volume.shape[1])
        if start < stop:
            yield Slab(start, stop, {"probabilities": volume[:, start:stop]})
            start = stop


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((20, 9, 11), (47, 14, 8)),
        ((47, 14, 8), (20, 9, 11)),
        ((20, 9, 11), (20, 9, 11)),
        ((3, 5, 5), (100, 5, 5)),
        ((100, 5, 5), (3, 6, 4)),
        ((1, 8, 8), (1, 13, 17)),
        ((1, 4, 4), (7, 4, 4)),
        ((33, 4, 4), (32, 4, 4)),
    ],
)
@pytest.mark.parametrize("depth", [32, 5])
@pytest.mark.parametrize("step", [1, 4, 13])
def test_streamed_interpolation_equals_that_of_the_whole_volume(source, target, depth, step):
    volume = torch.rand(3, *source, generator=torch.Generator().manual_seed(0))
    expected = functional.interpolate(volume[None], size=target, mode="trilinear", align_corners=False)[0]
    parts = list(restore(cut(volume, [step] * source[0]), source, target, depth=depth))
    assert [part.start for part in parts] == list(range(0, target[0], depth))
    assert parts[-1].stop == target[0]
    result = torch.cat([part.maps["probabilities"] for part in parts], 1)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_equal_shapes_pass_through_unchanged():
    volume = torch.rand(2, 9, 4, 5)
    parts = list(restore(cut(volume, [4, 4, 4]), (9, 4, 5), (9, 4, 5)))
    assert len(parts) == 1
    assert torch.equal(parts[0].maps["probabilities"], volume)


def test_no_more_slices_are_asked_for_than_an_output_slab_needs():
    asked = []

    def source():
        for index in range(100):
            asked.append(index)
            yield Slab(index, index + 1, {"probabilities": torch.zeros(1, 1, 2, 2)})

    stream = restore(source(), (100, 2, 2), (200, 2, 2), depth=10)
    next(stream)
    assert len(asked) <= 6  # output slice 9 lies at 4.25: slices 0 to 5
