from __future__ import annotations

import weakref
from itertools import product

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import paucis.torchvision_guard  # noqa: F401
from paucis.inference.sliding import slabs, starts, window_weights

PATCH = (6, 8, 10)


def ramped(windows):
    """Maps that depend on the voxel and on its place in the window."""
    ramp = torch.linspace(0, 1, windows[0, 0].numel()).view(windows.shape[2:])
    return {"probabilities": torch.cat([windows[:, :1] * ramp, windows[:, :1] + ramp], 1), "own": windows[:, -1:] ** 2}


def joined(parts, name="probabilities"):
    parts = list(parts)
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    return torch.cat([part.maps[name] for part in parts], 1)


def naive(image, patch, step, weights):
    size = image.shape[1:]
    total, count = torch.zeros(2, *size), torch.zeros(size)
    for corner in product(*(starts(*axis) for axis in zip(size, patch, step, strict=True))):
        place = (slice(None), *(slice(c, c + p) for c, p in zip(corner, patch, strict=True)))
        total[place] += ramped(torch.from_numpy(image[place])[None])["probabilities"][0] * weights
        count[place[1:]] += weights
    return total / count


def image_of(shape, channels=2):
    return np.random.default_rng(0).normal(size=(channels, *shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [(17, 19, 23), (6, 8, 10), (7, 8, 31), (40, 9, 11)])
@pytest.mark.parametrize("weighting", ["gaussian", "uniform"])
def test_slabs_equal_a_naive_full_buffer(shape, weighting):
    image = image_of(shape)
    result = joined(slabs(image, PATCH, ramped, weighting=weighting, batch=3))
    expected = naive(image, PATCH, (3, 4, 5), window_weights(PATCH, weighting))
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("weighting", "mode"), [("gaussian", "gaussian"), ("uniform", "constant")])
@pytest.mark.parametrize("shape", [(17, 19, 23), (5, 20, 7), (6, 8, 10)])
@pytest.mark.parametrize("overlap", [0.5, 0.25])
def test_slabs_equal_monai(shape, weighting, mode, overlap):
    from monai.inferers import sliding_window_inference

    image = image_of(shape)
    expected = sliding_window_inference(
        torch.from_numpy(image)[None], PATCH, 4, lambda w: ramped(w)["probabilities"], overlap=overlap, mode=mode
    )[0]
    result = joined(slabs(image, PATCH, ramped, overlap=overlap, weighting=weighting, batch=4))
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_fixed_strides_are_those_of_the_literature():
    size, patch, stride = 50, 16, 7  # as in the test code for the left atrium: ceil((w - p) / s) + 1 windows
    count = int(np.ceil((size - patch) / stride)) + 1
    assert starts(size, patch, stride) == [min(stride * i, size - patch) for i in range(count)]
    image = image_of((17, 19, 23))
    result = joined(slabs(image, PATCH, ramped, stride=(2, 5, 3), weighting="uniform"))
    torch.testing.assert_close(result, naive(image, PATCH, (2, 5, 3), torch.ones(PATCH)), atol=1e-5, rtol=1e-5)


def test_the_windows_of_slices_hold_many_slices_a_batch():
    image, seen = image_of((21, 16, 16), 1), []

    def predict(windows):
        seen.append(windows.shape)
        return {"probabilities": windows}

    result = joined(slabs(image, (1, 16, 16), predict, batch=8))
    assert seen == [(8, 1, 16, 16), (8, 1, 16, 16), (5, 1, 16, 16)]
    np.testing.assert_allclose(result.numpy(), image, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 19, 23), (17, 3, 4), (2, 2, 2)])
def test_images_smaller_than_the_patch_keep_their_voxels(shape):
    image = image_of(shape)
    result = joined(slabs(image, PATCH, ramped), "own")
    np.testing.assert_allclose(result[0].numpy(), image[-1] ** 2, atol=1e-5)


class Recorded:
    """An image that is made where it is read, and remembers how much was read at once."""

    def __init__(self, depth: int) -> None:
        self.shape = (1, depth, 24, 24)
        self.most = 0
        self.reads = 0

    def __getitem__(self, key):
        z = range(self.shape[1])[key[1]]
        self.most, self.reads = max(self.most, len(z)), self.reads + 1
        return np.broadcast_to(np.sin(np.array(z, np.float32))[None, :, None, None], (1, len(z), 24, 24))


class LiveBytes(TorchDispatchMode):
    """Bytes of the tensor storages that are alive, and the most there ever were."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in self.live:
                    self.live[storage.data_ptr()] = storage.nbytes()
                    weakref.finalize(storage, self.live.pop, storage.data_ptr(), None)
        self.peak = max(self.peak, sum(self.live.values()))
        return out


def peak_of(depth):
    image = Recorded(depth)
    with LiveBytes() as memory:
        slices = 0
        for slab in slabs(image, (8, 16, 16), lambda w: {"probabilities": torch.cat([w, 1 - w], 1)}):
            np.testing.assert_allclose(
                slab.maps["probabilities"][0, :, 0, 0], np.sin(np.arange(slab.start, slab.stop)), atol=1e-5
            )
            slices += slab.stop - slab.start
            del slab
    assert slices == depth
    return memory.peak, image


def test_memory_does_not_grow_with_the_length_of_the_volume():
    short, _ = peak_of(32)
    long, image = peak_of(512)
    assert short >= 3 * 8 * 24 * 24 * 4  # the sums and their weight are seen
    assert long <= short * 1.05
    assert image.most == 8  # a window's depth is the most that is read at once
    assert image.reads == len(starts(512, 8, 4))  # and every depth is read once


def test_a_memory_map_is_read_without_being_loaded(tmp_path):
    image = np.lib.format.open_memmap(tmp_path / "image.npy", "w+", np.float32, (1, 20, 9, 9))
    image[:] = image_of((20, 9, 9), 1)
    result = joined(slabs(np.load(tmp_path / "image.npy", mmap_mode="r"), (8, 8, 8), lambda w: {"probabilities": w}))
    np.testing.assert_allclose(result.numpy(), image, atol=1e-5)


def test_half_precision_maps_are_summed_in_single_precision():
    image = np.full((1, 40, 8, 8), 0.1, np.float32)
    result = joined(slabs(image, (8, 8, 8), lambda w: {"probabilities": w.bfloat16()}, overlap=0.75))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torch.full_like(result, float(torch.tensor(0.1).bfloat16())))
