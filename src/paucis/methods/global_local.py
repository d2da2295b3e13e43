"""Global and local contrast: first the encoder tells images apart, then the decoder the regions of an image."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import cast

import torch
from torch import Tensor, nn

from paucis.batch import Batch, Task
from paucis.errors import PaucisError
from paucis.losses.paired_contrast import paired_contrast
from paucis.methods.base import Build, Clock, Method, Phase, Setting, Stage, StepResult, register
from paucis.methods.parts.image_views import intensity_changes
from paucis.methods.parts.pretraining import Pretraining
from paucis.methods.simclr import SimCLR, SimCLROptions, needs_others
from paucis.networks.base import Network
from paucis.networks.blocks import conv
from paucis.networks.local_head import freeze_beyond
from paucis.options import option
from paucis.views.compose import Compose

GLOBAL, LOCAL = "global", "local"


@dataclass(frozen=True)
class GlobalLocalOptions(SimCLROptions):
    """Options of global and local contrast; defaults of the paper and its code."""

    blocks: int = option(3, "blocks of the decoder that are pretrained; all where it has fewer", minimum=1)
    regions: int = option(
        13, "regions of each image that are told apart in a step; all where there are fewer", minimum=2
    )
    side: int = option(3, "of a region, in voxels of the decoder's map", minimum=1)
    share: float = option(0.5, "of the steps for the encoder, the rest is for the decoder", minimum=0.01, maximum=0.99)


class GlobalContrast(SimCLR):
    """The first stage: that of ``simclr`` with a projection of two layers without normalization."""

    name = "global_local"
    head = "mlp"


@register("global_local")
class GlobalLocal(Pretraining):
    """Pretraining of encoder and decoder, in two stages.

    - ``global``: two views of an image find each other among all images of the batch, by the encoder (``simclr``).
    - ``local``: the encoder stays still. Two versions of an image that differ in intensities alone pass the first
      blocks of the decoder; a region of one version finds the same region of the other among the regions of the image.

    This is the second stage.

    Args:
        build: makes a freshly initialised network.
        task: the task; its classes are not used.
        options: of both stages.
        before: the first stage, whose network is gone on from.

    Reference:
        K. Chaitanya et al.: Contrastive learning of global and local features for medical image segmentation with
        limited annotations. NeurIPS 2020.

    Deviations:
        Positives and negatives are drawn at random (the paper's G^R and L^R): the variants that match slices of
        volumes by their place need volumes in one position. All other drawn regions of the other version are
        negatives. Views of the first stage are those of ``simclr``.
    """

    Options = GlobalLocalOptions

    def __init__(
        self, build: Build, task: Task, options: GlobalLocalOptions, before: GlobalContrast | None = None
    ) -> None:
        super().__init__(build, task, options)
        self.network = build()
        if before is not None:
            self.network.load_state_dict(before.encoded.network.state_dict())
        self.site = decoder_block(self.network, options.blocks)
        freeze_beyond(self.network, self.site)
        for part in self.network.encoder_parts():
            part.requires_grad_(False)
        channels = self.network.sites[self.site].channels
        self.project = nn.Sequential(
            conv(task.ndim, channels, channels, 1), nn.ReLU(), conv(task.ndim, channels, options.dim, 1)
        )
        self.changes = Compose(*intensity_changes(task, options))

    def train(self, mode: bool = True) -> GlobalLocal:
        """Sets the mode; the encoder stays in eval mode."""
        super().train(mode)
        for part in self.network.encoder_parts():
            part.eval()
        return self

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The contrast of regions of the unlabeled images."""
        assert batch.unlabeled is not None
        with self.network.tap([self.site]) as maps:
            self.network(torch.cat([self._changed(batch.unlabeled), self._changed(batch.unlabeled)]))
        found = regions(self.project(maps[self.site]), self.options.side)
        if found.shape[1] < 2:
            raise PaucisError(
                f"a map of {'x'.join(map(str, maps[self.site].shape[2:]))} voxels at '{self.site}' has one region: "
                "lower method.side, or raise method.blocks or data.patch"
            )
        first, second = found[:, torch.randperm(found.shape[1])[: self.options.regions].to(found.device)].chunk(2)
        both = [paired_contrast(*pair, self.options.temperature) for pair in ((first, second), (second, first))]
        alike = torch.cosine_similarity(first.detach().float(), second.detach().float(), dim=2).mean()
        return StepResult({"regions": torch.stack(both).mean()}, {"agreement": alike})

    @classmethod
    def stages(cls, options: GlobalLocalOptions) -> tuple[Stage, ...]:
        """``global``, then ``local``."""

        def begin(build: Build, task: Task, earlier: dict[str, Method]) -> Method:
            return GlobalContrast(build, task, options)

        def go_on(build: Build, task: Task, earlier: dict[str, Method]) -> Method:
            return cls(build, task, options, cast(GlobalContrast, earlier[GLOBAL]))

        return Stage(GLOBAL, begin, options.share), Stage(LOCAL, go_on, 1 - options.share, continues=True)

    @classmethod
    def check(cls, setting: Setting, options: GlobalLocalOptions) -> list[str]:
        """Adds: a single image, which has no negatives."""
        return [*super().check(setting, options), *needs_others(cls.name, setting)]

    def _changed(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            params = self.changes.sample(len(images), images.shape[2:], torch.default_generator)
            return self.changes.image(images, params)


def decoder_block(network: Network, blocks: int) -> str:
    """The site of the map that so many blocks of the decoder make, or the last one's."""
    found = sorted((site for site in network.sites if site.startswith("decoder.")), key=lambda site: int(site[8:]))
    return found[min(blocks, len(found)) - 1]


def regions(maps: Tensor, side: int) -> Tensor:
    """The regions of a map side by side, each as one vector: (B, D, *size) to (B, regions, D * voxels).

    Args:
        maps: what is left over at the far ends is not used.
        side: of a region in voxels; the whole length of an axis where that is shorter.
    """
    sides = [min(side, size) for size in maps.shape[2:]]
    counts = [size // each for size, each in zip(maps.shape[2:], sides, strict=True)]
    for axis, (number, each) in enumerate(zip(counts, sides, strict=True)):
        maps = maps.narrow(2 + axis, 0, number * each)
    split = maps.reshape(*maps.shape[:2], *(size for pair in zip(counts, sides, strict=True) for size in pair))
    cells, inner = [2 + 2 * axis for axis in range(len(sides))], [3 + 2 * axis for axis in range(len(sides))]
    return split.permute(0, *cells, 1, *inner).reshape(len(maps), prod(counts), -1)
