"""What every network shows the same way: its sites, its features, and where it can be changed from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.networks.shallow_conv import guard_convolutions
from paucis.options import option
from paucis.registry import Registry, nearest

NETWORKS: Registry[Network] = Registry("network", "paucis.networks")
register = NETWORKS.register


At = Callable[[str, Tensor], Tensor]
"""Given the name of a site and its map, gives the map to go on with."""


def unchanged(site: str, feature: Tensor) -> Tensor:
    """The map itself: no block is inserted and nothing is read."""
    return feature


@dataclass(frozen=True)
class NetworkOptions:
    """What every network can be told."""

    weights: str | None = option(None, "file of initial weights (safetensors or torch), of all or of the encoder only")


class Site(NamedTuple):
    """A named place in a network where a feature map passes.

    Attributes:
        channels: of the map.
        stride: input voxels per map voxel along each axis.
    """

    channels: int
    stride: tuple[int, ...]


class Features(NamedTuple):
    """What a forward pass gives.

    Attributes:
        encoder: maps of the encoder, fine to coarse.
        decoder: maps of the decoder, coarse to fine; ``decoder[-1]`` is the layer before the head, at its own stride.
        logits: (B, K, *spatial) at the size of the input.
    """

    encoder: tuple[Tensor, ...]
    decoder: tuple[Tensor, ...]
    logits: Tensor


class Decoder(nn.Module):
    """From encoder maps (fine to coarse) to decoder maps (coarse to fine) and logits at the input's size.

    ``forward(maps, size)`` returns ``(decoder_maps, logits)``; ``size`` is the spatial size of the input image. The
    network passes its ``at`` as a third argument for its own decoder; a further decoder has no sites in the network.

    Attributes:
        sites: the decoder's sites by name, in the order in which they pass.
    """

    sites: dict[str, Site]

    def forward(
        self, maps: Sequence[Tensor], size: Sequence[int], at: At = unchanged
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        raise NotImplementedError


class Network(nn.Module):
    """A segmentation network of an encoder and a decoder.

    A subclass builds ``self.encoder_`` parts and ``self.decoder`` (a ``Decoder``) as it likes, fills ``sites`` and
    passes every map that has a site through ``self.at(name, map)``: that is where inserted blocks act and taps read.
    Sites are called ``encoder.0`` (finest) ... and ``decoder.0`` (coarsest) ...; ``decoder.N`` of the largest N is
    the layer before the head. ``fusion.N`` is the map between a skip connection and the convolutions of
    ``decoder.N``; further sites may have names of their own. A block at ``encoder.N`` acts on all that follows, the
    skip connection included.

    Args:
        task: channels, classes, ndim and patch.
        options: an instance of the class's ``Options``.
    """

    name: ClassVar[str]
    Options: ClassVar[type[Any]]
    dims: ClassVar[tuple[int, ...]] = (2, 3)

    def __init__(self, task: Task, options: Any) -> None:
        super().__init__()
        if task.ndim not in self.dims:
            raise PaucisError(
                f"network '{self.name}' works in {' and '.join(f'{d}D' for d in self.dims)}, "
                f"and the plan of this dataset is {task.ndim}D: choose another with network=NAME"
            )
        self.task = task
        self.options = options
        self.sites: dict[str, Site] = {}
        self.inserted = nn.ModuleDict()
        self._taps: list[dict[str, Tensor]] = []

    @property
    def multiple(self) -> tuple[int, ...]:
        """Every axis of an input must be a multiple of this."""
        return tuple(
            max((site.stride[axis] for site in self.sites.values()), default=1) for axis in range(self.task.ndim)
        )

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """Encoder maps, fine to coarse."""
        raise NotImplementedError

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Decoder maps, coarse to fine, and logits of spatial size ``size``."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Features:
        """Features and logits of a batch of images (B, C, *spatial).

        Raises:
            PaucisError: the images' dimensions, channels or size do not suit the network.
        """
        self._suits(images)
        maps = self.encode(images)
        decoded, logits = self.decode(maps, images.shape[2:])
        return Features(tuple(maps), decoded, logits)

    def new_decoder(self, **options: Any) -> Decoder:
        """A further decoder on the same encoder, freshly initialised (CCT, MC-Net, UGPCL, URPC)."""
        raise NotImplementedError

    def encoder_parts(self) -> list[nn.Module]:
        """The modules that the network consists of besides its decoder and inserted blocks."""
        return [part for name, part in self.named_children() if name not in ("decoder", "inserted")]

    def insert(self, site: str, block: nn.Module) -> None:
        """Puts a block, which keeps shape and channels, where the map of ``site`` passes.

        Raises:
            PaucisError: no such site; the nearest one is suggested.
        """
        guard_convolutions(block)
        key = self._known(site).replace(".", "/")  # a ModuleDict key must not hold a dot
        previous = self.inserted[key] if key in self.inserted else None  # noqa: SIM401  (no get in a ModuleDict)
        self.inserted[key] = block if previous is None else nn.Sequential(previous, block)

    def at(self, site: str, feature: Tensor) -> Tensor:
        """The map of a site after its inserted block; recorded for every open tap."""
        key = site.replace(".", "/")
        if key in self.inserted:
            feature = self.inserted[key](feature)
        for tap in self._taps:
            if site in tap:
                tap[site] = feature
        return feature

    @contextmanager
    def tap(self, sites: Sequence[str]) -> Iterator[dict[str, Tensor]]:
        """Within the block, the dict holds the maps at ``sites`` of the last forward pass.

        Raises:
            PaucisError: no such site.
        """
        record = {self._known(site): torch.empty(0) for site in sites}
        self._taps.append(record)
        try:
            yield record
        finally:
            self._taps[:] = [tap for tap in self._taps if tap is not record]

    def _suits(self, images: Tensor) -> None:
        given = tuple(images.shape)
        if len(given) != self.task.ndim + 2 or given[1] != self.task.channels:
            wanted = "x".join(["batch", str(self.task.channels), *("size",) * self.task.ndim])
            raise PaucisError(f"network '{self.name}' takes images of shape {wanted}, and got {_by(given)}")
        if any(size % divisor for size, divisor in zip(given[2:], self.multiple, strict=True)):
            raise PaucisError(
                f"network '{self.name}' takes sizes that are multiples of {_by(self.multiple)}, and got an image of "
                f"{_by(given[2:])}: change the patch in the plan accordingly"
            )

    def _known(self, site: str) -> str:
        if site not in self.sites:
            raise PaucisError(
                f"network '{self.name}' has no site '{site}'{nearest(site, list(self.sites))} "
                f"(sites: {', '.join(self.sites)})"
            )
        return site


def _by(sizes: Sequence[int]) -> str:
    return "x".join(str(size) for size in sizes)
