from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paucis.networks import DeformableConv, deformable

PLAIN = {2: nn.Conv2d, 3: nn.Conv3d}
SIZES = {2: (7, 5), 3: (4, 6, 5)}


def displaced(layer: DeformableConv, spread: float = 0.3) -> DeformableConv:
    nn.init.normal_(layer.offset.weight, std=spread)
    nn.init.normal_(layer.offset.bias, std=spread)
    return layer


def naive(layer: DeformableConv, image: Tensor, offsets: Tensor) -> Tensor:
    """One image, position by position, tap by tap, corner by corner."""
    dims, size = image.dim() - 1, tuple(image.shape[1:])
    output = layer.bias.detach().reshape(-1, *[1] * dims).repeat(1, *offsets.shape[1:]).clone()
    taps = list(itertools.product(*map(range, layer.kernel)))
    for place in itertools.product(*map(range, offsets.shape[1:])):
        for number, tap in enumerate(taps):
            moved = offsets[(slice(number * dims, (number + 1) * dims), *place)].tolist()
            at = [
                place[a] * layer.stride[a] - layer.padding[a] + tap[a] * layer.dilation[a] + moved[a]
                for a in range(dims)
            ]
            value = torch.zeros(len(image), dtype=image.dtype)
            for corner in itertools.product((0, 1), repeat=dims):
                voxel = [math.floor(at[a]) + corner[a] for a in range(dims)]
                weight = math.prod(1 - abs(at[a] - voxel[a]) for a in range(dims))
                if all(0 <= voxel[a] < size[a] for a in range(dims)):
                    value += weight * image[(slice(None), *voxel)]
            output[(slice(None), *place)] += layer.weight.detach()[(slice(None), slice(None), *tap)] @ value
    return output


@pytest.mark.parametrize(
    "geometry",
    [{}, {"stride": 2}, {"dilation": 2}, {"padding": 0}, {"kernel_size": 1}, {"bias": False}],
    ids=str,
)
@pytest.mark.parametrize("dims", [2, 3])
def test_without_offsets_it_is_an_ordinary_convolution(dims: int, geometry: dict[str, Any]) -> None:
    given = {"kernel_size": 3, **geometry}
    layer = DeformableConv(dims, 3, 4, **given)
    plain = PLAIN[dims](3, 4, **{"padding": layer.padding, **given})
    plain.load_state_dict({name: value for name, value in layer.state_dict().items() if "offset" not in name})
    images = torch.randn(2, 3, *(size + 3 for size in SIZES[dims]), requires_grad=True)
    wanted, given_by = plain(images), layer(images)
    torch.testing.assert_close(given_by, wanted, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(wanted)
    (image_gradient,) = torch.autograd.grad((wanted * weight).sum(), images, retain_graph=True)
    gradients = torch.autograd.grad((wanted * weight).sum(), list(plain.parameters()))
    own = [parameter for name, parameter in layer.named_parameters() if "offset" not in name]
    found = torch.autograd.grad((given_by * weight).sum(), own)
    for one, other in zip(gradients, found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    frozen = layer.deform(images, torch.zeros(2, dims * math.prod(layer.kernel), *wanted.shape[2:]))
    (other,) = torch.autograd.grad((frozen * weight).sum(), images)
    torch.testing.assert_close(image_gradient, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("geometry", [{}, {"stride": 2, "dilation": 2, "padding": 1}], ids=str)
@pytest.mark.parametrize("dims", [2, 3])
def test_it_equals_the_loop_over_taps_and_corners(dims: int, geometry: dict[str, Any]) -> None:
    size = {2: (5, 4), 3: (3, 4, 5)}[dims]
    layer = DeformableConv(dims, 2, 3, 3, **geometry).double()
    image = torch.randn(1, 2, *size, dtype=torch.float64)
    offsets = 1.5 * torch.randn_like(layer.offset(image))  # some leave the image
    with torch.no_grad():
        torch.testing.assert_close(layer.deform(image, offsets)[0], naive(layer, image[0], offsets[0]))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_whole_offset_reads_the_voxel_it_leads_to(dims: int) -> None:
    layer = DeformableConv(dims, 1, 1, 1, bias=False)
    nn.init.ones_(layer.weight)
    images = torch.randn(1, 1, *SIZES[dims])
    offsets = torch.zeros(1, dims, *SIZES[dims])
    offsets[:, -1] = 1.0  # the last axis comes last
    shifted = layer.deform(images, offsets)
    torch.testing.assert_close(shifted[..., :-1], images[..., 1:])
    assert torch.equal(shifted[..., -1], torch.zeros_like(shifted[..., -1]))


@pytest.mark.parametrize("dims", [2, 3])
def test_gradients_are_those_of_finite_differences(dims: int) -> None:
    layer = DeformableConv(dims, 2, 2, 3).double()
    size = {2: (3, 4), 3: (2, 3, 2)}[dims]
    images = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    offsets = 0.8 * torch.randn_like(layer.offset(images))
    offsets = (offsets + 0.05 * (offsets - offsets.round()).sign()).detach()  # off the grid, where there is a kink
    far = (offsets - offsets.round()).abs() < 0.02
    offsets = torch.where(far, offsets + 0.1, offsets).requires_grad_(True)

    def function(image: Tensor, moved: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        layer_ = torch.func.functional_call  # the layer's own parameters are replaced
        return layer_(_Deform(layer), {"layer.weight": weight, "layer.bias": bias}, (image, moved))

    assert torch.autograd.gradcheck(function, (images, offsets, layer.weight, layer.bias), fast_mode=True)


class _Deform(nn.Module):
    def __init__(self, layer: DeformableConv) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, images: Tensor, offsets: Tensor) -> Tensor:
        return self.layer.deform(images, offsets)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_chunks_and_memory_order_change_nothing(monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    layer = displaced(DeformableConv(3, 3, 4, 3))
    images = torch.randn(2, 3, 5, 4, 6)
    results = []
    for at_once, order in ((2**30, torch.contiguous_format), (500, torch.channels_last_3d)):
        monkeypatch.setitem(deformable._AT_ONCE, "cpu", at_once)
        given = images.contiguous(memory_format=order if layout == "channels_last" else torch.contiguous_format)
        given = given.requires_grad_(True)
        output = layer(given)
        results.append((output, *torch.autograd.grad(output.square().sum(), [given, *layer.parameters()])))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_offsets_are_zero_at_first_and_learn() -> None:
    layer = DeformableConv(2, 2, 2, 3)
    assert not layer.offset.weight.any()
    assert not layer.offset.bias.any()
    layer(torch.randn(1, 2, 6, 5)).square().sum().backward()
    assert float(layer.offset.weight.grad.abs().sum()) > 0
    assert float(layer.offset.bias.grad.abs().sum()) > 0


def test_wild_offsets_give_zeros_and_finite_gradients() -> None:
    layer = DeformableConv(3, 2, 3, 3, bias=False)
    images = torch.randn(1, 2, 3, 4, 5, requires_grad=True)
    offsets = torch.full((1, 81, 3, 4, 5), 1e12, requires_grad=True)
    output = layer.deform(images, offsets)
    output.sum().backward()
    assert torch.equal(output, torch.zeros_like(output))
    assert torch.equal(images.grad, torch.zeros_like(images))
    assert torch.equal(offsets.grad, torch.zeros_like(offsets))


def test_bfloat16_is_near_float32_forward_and_backward() -> None:
    layer = displaced(DeformableConv(3, 8, 8, 3), 0.05)
    images = torch.randn(1, 8, 4, 6, 5).contiguous(memory_format=torch.channels_last_3d).requires_grad_(True)
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = layer(images)
        assert output.dtype == (torch.bfloat16 if enabled else torch.float32)
        gradients = torch.autograd.grad(output.float().square().mean(), [images, *layer.parameters()])
        results.append([output.float(), *gradients])
    for one, other in zip(*results, strict=True):
        assert F.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.99


def test_a_frozen_layer_passes_the_gradient_on() -> None:
    layer = displaced(DeformableConv(2, 2, 2, 3)).requires_grad_(False)
    images = torch.randn(1, 2, 6, 5, requires_grad=True)
    layer(images).sum().backward()
    assert float(images.grad.abs().sum()) > 0
    with torch.no_grad():
        assert not layer(images).requires_grad
