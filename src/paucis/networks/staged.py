"""Networks whose encoder is a row of stages, each feeding the next, and whose decoder joins their maps again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from paucis.batch import Task
from paucis.networks.base import At, Decoder, Network, Site, unchanged
from paucis.networks.blocks import resize_to
from paucis.options import build


class Stages(nn.ModuleList):
    """An encoder: one module per map, fine to coarse, the output of one being the input of the next.

    Args:
        stages: each module with the site (channels, stride) of its output.
    """

    def __init__(self, stages: Iterable[tuple[nn.Module, Site]]) -> None:
        modules, sites = zip(*stages, strict=True)
        super().__init__(modules)
        self.sites: tuple[Site, ...] = sites


class Level(NamedTuple):
    """One level of a ``SkipDecoder``.

    Attributes:
        up: enlarges the coarser map.
        block: acts on the joined map.
        stride: of the level, in input voxels.
        joined: channels after the skip connection joined; None for a level without skip connection.
        channels: of the level's output.
        join: ``add`` or ``concat``.
    """

    up: nn.Module
    block: nn.Module
    stride: tuple[int, ...]
    joined: int | None
    channels: int
    join: str = "concat"


class SkipDecoder(Decoder):
    """The decoder of a U-shaped network: enlarge, join the encoder's map, convolve; then the head.

    Sites: ``decoder.N`` after a level, ``fusion.N`` between its skip connection and its convolutions.

    Args:
        levels: coarse to fine.
        head: from the last level's map to one channel per class; its output is resized to the image where the last
            level is coarser.
    """

    def __init__(self, levels: Sequence[Level], head: nn.Module) -> None:
        super().__init__()
        self.ups = nn.ModuleList(level.up for level in levels)
        self.blocks = nn.ModuleList(level.block for level in levels)
        self.head = head
        self.joins = tuple(None if level.joined is None else level.join for level in levels)
        self.sites = {
            f"fusion.{i}": Site(level.joined, level.stride)
            for i, level in enumerate(levels)
            if level.joined is not None
        } | {f"decoder.{i}": Site(level.channels, level.stride) for i, level in enumerate(levels)}

    def forward(
        self, maps: Sequence[Tensor], size: Sequence[int], at: At = unchanged
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        current, skips, decoded = maps[-1], list(maps[:-1]), []
        for index, (up, block, join) in enumerate(zip(self.ups, self.blocks, self.joins, strict=True)):
            current = up(current)
            if join is not None:
                skip = skips.pop()
                current = current + skip if join == "add" else torch.cat((current, skip), 1)
                current = at(f"fusion.{index}", current)
            current = at(f"decoder.{index}", block(current))
            decoded.append(current)
        return tuple(decoded), resize_to(self.head(current), size)


class StagedNetwork(Network):
    """A network of ``Stages`` and a decoder that is built from its options.

    A subclass implements ``build_encoder`` and ``build_decoder``.
    """

    def __init__(self, task: Task, options: Any) -> None:
        super().__init__(task, options)
        self.encoder = self.build_encoder()
        self.decoder = self.build_decoder(options)
        self.sites = {f"encoder.{i}": site for i, site in enumerate(self.encoder.sites)} | self.decoder.sites

    def build_encoder(self) -> Stages:
        """The encoder of ``self.task`` and ``self.options``."""
        raise NotImplementedError

    def build_decoder(self, options: Any) -> Decoder:
        """A decoder for the maps of ``self.encoder``."""
        raise NotImplementedError

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        maps: list[Tensor] = []
        current = images
        for index, stage in enumerate(self.encoder):
            current = self.at(f"encoder.{index}", stage(current))
            maps.append(current)
        return tuple(maps)

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> tuple[tuple[Tensor, ...], Tensor]:
        decoded: tuple[tuple[Tensor, ...], Tensor] = self.decoder(maps, size, self.at)
        return decoded

    def new_decoder(self, **options: Any) -> Decoder:
        """A further decoder on the same encoder, freshly initialised.

        Args:
            **options: options of the network that differ for this decoder, such as ``upsampling="nearest"``.
        """
        return self.build_decoder(build(type(self.options), {**asdict(self.options), **options}, "new_decoder."))
