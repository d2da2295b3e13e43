"""Which input voxels the convolutions and pools of a network let a feature vector see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from paucis.errors import PaucisError
from paucis.networks import reach_rules  # noqa: F401  (says what torch's functions do to a Reach)
from paucis.networks.base import Network
from paucis.networks.reach import Reach, TooSmallError, UnknownReachError
from paucis.registry import nearest

_ENLARGEMENTS = 6


class Field(NamedTuple):
    """The receptive fields of all vectors of a layer, per spatial axis, in input voxels.

    Attributes:
        size: voxels that a vector sees, those beyond the image's border included.
        stride: from the field of one vector to that of the next.
        offset: centre of the first vector's field; voxel 0 has its centre at 0, so that fields of an even size are
            centred between two voxels.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: tuple[float, ...]


def receptive_fields(network: nn.Module, layers: Sequence[str], input_size: Sequence[int]) -> dict[str, Field]:
    """Size, stride and position of the theoretical receptive fields of a network's layers.

    For a plain row of layers this is ``r = 1 + sum_l (k_l - 1) prod_{t<l} s_t`` (Eq. 5 of the paper of patch-dragsaw
    contrastive regularization); here it is found by running the network on intervals of voxels, so that dilation,
    uneven padding and branches of any form are right too. What mixes voxels but is neither convolution nor pool does
    not count: normalization, the mean over an image in squeeze blocks, attention, blocks put in by ``insert``.

    Args:
        network: a ``Network``, or any other module with convolutions. It is left as it was.
        layers: names of sites; of submodules (``encoder.stages.2``) where ``network`` is no ``Network``.
        input_size: of the image in voxels; the network must accept it, and its multiples by 2 where the image is so
            small that a layer has a single vector.

    Returns:
        the fields by layer, in the order of ``layers``.

    Raises:
        PaucisError: no such layer; or one whose vectors do not have equal fields at equal distances, such as a layer
            after an enlargement in the decoder.
    """
    fields: dict[str, list[tuple[int, int, float]]] = {layer: [] for layer in layers}
    for axis in range(len(input_size)):
        for layer, found in _along(network, layers, list(input_size), axis).items():
            fields[layer].append(found)
    return {layer: Field(*map(tuple, zip(*found, strict=True))) for layer, found in fields.items()}


def _along(network: nn.Module, layers: Sequence[str], size: list[int], axis: int) -> dict[str, tuple[int, int, float]]:
    try:
        for _ in range(_ENLARGEMENTS):
            try:
                maps = _run(network, layers, _coordinates(_channels(network), size, axis))
                return {layer: _read(layer, maps[layer], axis, len(size)) for layer in layers}
            except TooSmallError:
                size = [2 * side for side in size]
    except (UnknownReachError, RuntimeError, TypeError, ValueError) as error:
        raise PaucisError(
            f"the receptive field of {', '.join(layers)} cannot be found ({error}): choose layers before that"
        ) from error
    raise PaucisError(f"the receptive field of {', '.join(layers)} cannot be found: there is a single vector always")


def _coordinates(channels: int, size: Sequence[int], axis: int) -> Tensor:
    """Two images, of each voxel's coordinate along ``axis`` and of its negative."""
    coordinate = torch.arange(size[axis], dtype=torch.float32)
    shape = [1] * (len(size) + 1)
    shape[axis + 1] = size[axis]
    both = torch.stack([coordinate, -coordinate]).view(2, *shape)
    return both.expand(2, channels, *size).as_subclass(Reach)


def _run(network: nn.Module, layers: Sequence[str], images: Tensor) -> dict[str, Tensor]:
    with torch.no_grad(), _undisturbed(network):
        if isinstance(network, Network):
            with network.tap(layers) as maps:
                if all(layer.startswith("encoder.") for layer in layers):
                    network.encode(images)
                else:
                    network(images)
            return maps
        return _hooked(network, layers, images)


class _ReachedError(Exception):
    """All layers asked for have been passed: the rest of the network need not run."""


def _hooked(network: nn.Module, layers: Sequence[str], images: Tensor) -> dict[str, Tensor]:
    modules, maps, handles = dict(network.named_modules()), dict[str, Tensor](), []

    def record(layer: str, output: Any) -> None:
        while isinstance(output, tuple | list):
            output = output[-1]
        maps[layer] = output
        if len(maps) == len(set(layers)):
            raise _ReachedError

    for layer in layers:
        if layer not in modules:
            raise PaucisError(f"the network has no layer '{layer}'{nearest(layer, list(modules))}")
        handles.append(modules[layer].register_forward_hook(lambda _, __, out, layer=layer: record(layer, out)))
    try:
        network(images)
    except _ReachedError:
        return maps
    finally:
        for handle in handles:
            handle.remove()
    passed = [layer for layer in layers if layer not in maps]
    raise PaucisError(f"the network's layer '{passed[0]}' takes no part in its forward pass: choose another")


@contextmanager
def _undisturbed(network: nn.Module) -> Iterator[None]:
    """In evaluation mode and without inserted blocks, then as before."""
    modes = {module: module.training for module in network.modules()}
    blocks = {module: module.inserted for module in modes if isinstance(module, Network)}
    network.eval()
    for part in blocks:
        part.inserted = nn.ModuleDict()
    try:
        yield
    finally:
        for part, inserted in blocks.items():
            part.inserted = inserted
        for module, mode in modes.items():
            module.training = mode


def _channels(network: nn.Module) -> int:
    if isinstance(network, Network):
        return network.task.channels
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            return module.in_channels
    raise PaucisError("the network has no convolution, so that no receptive field can be found")


def _read(layer: str, reach: Tensor, axis: int, ndim: int) -> tuple[int, int, float]:
    """Size, stride and offset along ``axis`` of a map of lowest coordinates and negated highest ones."""
    if not isinstance(reach, Reach) or reach.dim() != ndim + 2:
        raise UnknownReachError(f"'{layer}' is no map of {ndim} spatial axes")
    values = reach.as_subclass(Tensor).movedim(axis + 2, -1).flatten(2, -2) if ndim > 1 else reach[:, :, None]
    low, high = values[0].amin((0, 1)), -values[1].amin((0, 1))
    if low.isinf().all():
        raise UnknownReachError(f"'{layer}' has lost the position along axis {axis}")
    if low.numel() < 2:
        raise TooSmallError
    stride, size = low[1] - low[0], high[0] - low[0] + 1
    even = torch.arange(low.numel()) * stride
    if not (torch.equal(low, low[0] + even) and torch.equal(high, high[0] + even) and stride > 0):
        raise UnknownReachError(f"the vectors of '{layer}' do not have equal fields at equal distances")
    return int(size), int(stride), float(low[0] + high[0]) / 2
