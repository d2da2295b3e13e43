"""What every network shows the same way: its sites, its features, and where it can be changed from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.registry import Registry, nearest

NETWORKS: Registry[Network] = Registry("network", "paucis.networks")
register = NETWORKS.register


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

    ``forward(maps, size)`` returns ``(decoder_maps, logits)``; ``size`` is the spatial size of the input image.
    """

    def forward(self, maps: Sequence[Tensor], size: Sequence[int]) -> tuple[tuple[Tensor, ...], Tensor]:
        raise NotImplementedError


class Network(nn.Module):
    """A segmentation network of an encoder and a decoder.

    A subclass builds ``self.encoder_`` parts and ``self.decoder`` (a ``Decoder``) as it likes, fills ``sites`` and
    passes every map that has a site through ``self.at(name, map)``: that is where inserted blocks act and taps read.
    Sites are called ``encoder.0`` (finest) ... and ``decoder.0`` (coarsest) ...; ``decoder.N`` of the largest N is
    the layer before the head.

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
        return tuple(max(site.stride[axis] for site in self.sites.values()) for axis in range(self.task.ndim))

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """Encoder maps, fine to coarse."""
        raise NotImplementedError

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Decoder maps, coarse to fine, and logits of spatial size ``size``."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Features:
        maps = self.encode(images)
        decoded, logits = self.decode(maps, images.shape[2:])
        return Features(tuple(maps), decoded, logits)

    def new_decoder(self, **options: Any) -> Decoder:
        """A further decoder on the same encoder, freshly initialised (CCT, MC-Net, UGPCL, URPC)."""
        raise NotImplementedError

    def insert(self, site: str, block: nn.Module) -> None:
        """Puts a block, which keeps shape and channels, where the map of ``site`` passes.

        Raises:
            PaucisError: no such site; the nearest one is suggested.
        """
        key = self._known(site).replace(".", "/")  # a ModuleDict key must not hold a dot
        previous = self.inserted[key] if key in self.inserted else None
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
        import torch

        record = {self._known(site): torch.empty(0) for site in sites}
        self._taps.append(record)
        try:
            yield record
        finally:
            self._taps[:] = [tap for tap in self._taps if tap is not record]

    def _known(self, site: str) -> str:
        if site not in self.sites:
            raise PaucisError(
                f"network '{self.name}' has no site '{site}'{nearest(site, list(self.sites))} "
                f"(sites: {', '.join(self.sites)})"
            )
        return site


Initialize = Callable[[nn.Module], None]
