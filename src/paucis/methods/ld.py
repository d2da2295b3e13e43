"""LD: local discrimination, pretraining on unlabeled images by telling their patches and regions apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.batch import Batch, Task
from paucis.losses.hypersphere_mixup import hypersphere_mixup, hypersphere_target
from paucis.losses.joint_discrimination import paired_discrimination
from paucis.losses.region_discrimination import cluster_entropy, region_discrimination, region_prototypes
from paucis.methods.base import Build, Clock, Method, Phase, Setting, Stage, StepResult, register
from paucis.methods.parts.memory import of_others
from paucis.methods.parts.patch_views import LocalViewOptions, LocalViews, patch_grids
from paucis.methods.parts.pretraining import Pretraining
from paucis.methods.parts.unlabeled import cannot_mix, valid_unlabeled
from paucis.networks.blocks import resize_to
from paucis.networks.local_head import ClusteringBranch, EmbeddingBranch, branch_site, freeze_beyond
from paucis.options import option
from paucis.views.base import uniform
from paucis.views.mixing import halves
from paucis.views.orientations import OrientationParams

PATCHES, REGIONS = "patches", "regions"


@dataclass(frozen=True)
class LDOptions(LocalViewOptions):
    """Options of local discrimination; defaults of the paper and its code."""

    site: str = option(
        "auto",
        "where the branches sit; auto = before the last convolutions of vgg_unet, as published, else the last decoder "
        "map; or a site of the network, such as decoder.3",
    )
    dim: int = option(32, "length of a voxel's vector", minimum=2)
    clusters: int = option(16, "clusters of voxels", minimum=2)
    temperature: float = option(0.1, "of the similarity of patches", minimum=1e-3)
    region_temperature: float = option(0.2, "of the similarity of regions to prototypes", minimum=1e-3)
    mixup: float = option(1.0, "weight of hypersphere mixup", minimum=0.0)
    mix: tuple[float, float] = option(
        (0.2, 0.8), "least and largest share of the first image", minimum=0.0, maximum=1.0
    )
    regions: float = option(10.0, "weight of region discrimination", minimum=0.0)
    joint: bool = option(True, "joint probability of regions; false = cross-entropy alone, as the published code")
    entropy: float = option(0.1, "weight of the entropy of the clustering", minimum=0.0)
    warmup: float = option(
        0.2,
        "share of the steps on patches alone, before regions are told apart too; 1 = never",
        minimum=0.0,
        maximum=1.0,
    )


class Seen(NamedTuple):
    """What the network makes of the views of B images and of M mixtures.

    Attributes:
        first: (B, D, *grid) vectors of the patches of the first view.
        second: (B, D, *grid) of the second, turned back.
        mixed: (M, D, *grid) of the mixtures; None where there are none.
        vectors: (2B, D, *size) of every voxel of both views.
        clusters: (2B, C, *size) of every voxel, or None in the first stage.
    """

    first: Tensor
    second: Tensor
    mixed: Tensor | None
    vectors: Tensor
    clusters: Tensor | None


@register("ld")
class LocalDiscrimination(Pretraining):
    """Pretraining on unlabeled images: patches find their other view, regions their prototype.

    - ``patches``: ``L = L_Pd + L_Hm`` (Eq. 27). Two views of an image, the second turned, are cut into a grid of
      patches; each patch finds its partner among all patches of all views, by the joint probability. A mixture of
      two images has the mixture of their vectors as partner.
    - ``regions``: ``L = L_Pd + L_Hm + 10 L_Rd + 0.1 L_entropy`` (Eq. 28), with a branch that clusters voxels; each
      region of each view finds its cluster's prototype, the mean over the views of the batch.

    It predicts nothing: its network is what other methods start from. Negatives are those of all processes.

    Args:
        build: makes a freshly initialised network.
        task: the task; its classes are not used.
        options: of both stages.
        clustered: whether the clustering branch is there (the second stage).
        before: the first stage, whose network and vectors are gone on from.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440.

    Deviations:
        Patches of which more than half shows no image are not counted. Both images of a mixture have views of their
        own; images are mixed in halves of the batch. Color and contrast change in the terms of ``paucis.views``, hue
        does not. The last weights are used: there is no validation by the loss.
    """

    Options = LDOptions

    def __init__(
        self,
        build: Build,
        task: Task,
        options: LDOptions,
        clustered: bool = True,
        before: LocalDiscrimination | None = None,
    ) -> None:
        super().__init__(build, task, options)
        self.network = build()
        self.site = branch_site(self.network, options.site)
        freeze_beyond(self.network, self.site)
        channels = self.network.sites[self.site].channels
        self.embedding = EmbeddingBranch(task.ndim, channels, options.dim)
        self.clustering = ClusteringBranch(task.ndim, channels, options.clusters) if clustered else None
        self.views = LocalViews(task, options)
        if before is not None:
            self.network.load_state_dict(before.network.state_dict())
            self.embedding.load_state_dict(before.embedding.state_dict())

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The losses of Eq. 27 or 28."""
        options, images, valid = self.options, batch.unlabeled, valid_unlabeled(batch)
        assert images is not None
        one, two = halves(len(images))
        low, high = options.mix
        share = uniform((len(one),), low, high, torch.default_generator).to(images) if options.mixup else None
        first, second, turns = self.views(images)
        grid = self.views.drawn(clock.step)
        seen = self._see(first, second, turns, None if share is None else _mixture(first, one, two, share), grid)
        shown = self.views.counted(valid, grid)  # (B, patches)
        rows, partners = _rows(seen.first), _rows(seen.second)  # Eq. 3 or 25
        others = of_others(torch.cat([rows, partners]).detach(), shown.flatten().repeat(2))
        losses = {  # Eq. 4-8
            "patches": paired_discrimination(
                rows, partners, options.temperature, counted=shown.flatten(), others=others
            )
        }
        if share is not None and seen.mixed is not None:  # Eq. 13-18
            losses["mixup"] = options.mixup * self._mixup(seen, one, two, share, shown)
        monitors: dict[str, Tensor | float] = {"agreement": (rows.detach() * partners.detach()).sum(1).mean()}
        if seen.clusters is not None:
            kept = torch.cat([valid, self.views.turning.labels(valid, turns, fill=0)])
            kept = resize_to(kept.unsqueeze(1).float(), seen.clusters.shape[2:])
            regions, prototypes = region_prototypes(seen.vectors, seen.clusters * kept)  # Eq. 9-10
            losses["regions"] = options.regions * region_discrimination(  # Eq. 11-12
                regions, prototypes, options.region_temperature, options.joint
            )
            losses["entropy"] = options.entropy * cluster_entropy(seen.clusters, kept.squeeze(1))  # Eq. 29
            monitors["clusters_used"] = _perplexity(seen.clusters.detach())
            self._guide(seen.clusters, kept, turns, losses, monitors)
        return StepResult(losses, monitors)

    def embed(self, images: Tensor) -> Tensor:
        """The vector (B, D, *spatial) of every voxel."""
        feature = self._feature(images)
        return F.normalize(resize_to(self.embedding(feature), images.shape[2:]), dim=1, eps=1e-6)

    def cluster(self, images: Tensor) -> Tensor:
        """The shares (B, C, *spatial) of every voxel in the clusters; the second stage alone has them."""
        assert self.clustering is not None
        return resize_to(self.clustering(self._feature(images)), images.shape[2:])

    @classmethod
    def stages(cls, options: LDOptions) -> tuple[Stage, ...]:
        """``patches`` and ``regions``; either alone where ``warmup`` is 1 or 0. Rates start anew in the second."""

        def begin(build: Build, task: Task, earlier: dict[str, Method]) -> Method:
            return cls(build, task, options, clustered=False)

        def go_on(build: Build, task: Task, earlier: dict[str, Method]) -> Method:
            return cls(build, task, options, before=cast(LocalDiscrimination | None, earlier.get(PATCHES)))

        stages = []
        if options.warmup > 0:
            stages.append(Stage(PATCHES, begin, options.warmup, optimizer=_adam(every=0.5)))
        if options.warmup < 1:
            continues = options.warmup > 0
            stages.append(Stage(REGIONS, go_on, 1 - options.warmup, optimizer=_adam(every=0.125), continues=continues))
        return tuple(stages)

    @classmethod
    def check(cls, setting: Setting, options: LDOptions) -> list[str]:
        """Adds: a single image a step with mixup, and patches that do not fit."""
        problems = super().check(setting, options)
        if options.mixup:
            problems += cannot_mix(cls.name, setting)
        if options.mix[0] > options.mix[1]:
            problems.append("method.mix names the least share first: write it as 0.2,0.8")
        try:
            patch_grids(setting.task, options)
        except ValueError as error:
            problems.append(str(error))
        return problems

    def _guide(
        self,
        clusters: Tensor,
        kept: Tensor,
        turns: OrientationParams,
        losses: dict[str, Tensor],
        monitors: dict[str, Tensor | float],
    ) -> None:
        """What a prior of shape adds to the losses of both views' clusters (2B, C, *size), ``kept`` (2B, 1, *size)."""

    def _feature(self, images: Tensor) -> Tensor:
        with self.network.tap([self.site]) as maps:
            self.network(images)
        return maps[self.site]

    def _see(
        self,
        first: Tensor,
        second: Tensor,
        turns: OrientationParams,
        mixed: Tensor | None,
        grid: tuple[int, ...],
    ) -> Seen:
        """One pass of everything (Eq. 2): views and mixtures share their normalization statistics."""
        count = len(first)
        feature = self._feature(torch.cat([first, second] if mixed is None else [first, second, mixed]))
        vectors = self.embedding(feature)
        pooled = self.views.pool(vectors, grid)
        return Seen(
            pooled[:count],
            self.views.turning.invert(pooled[count : 2 * count], turns),
            pooled[2 * count :] if mixed is not None else None,
            vectors[: 2 * count],
            None if self.clustering is None else self.clustering(feature[: 2 * count]),
        )

    def _mixup(self, seen: Seen, one: Tensor, two: Tensor, share: Tensor, shown: Tensor) -> Tensor:
        assert seen.mixed is not None
        patches = seen.first.detach().flatten(2).mT  # (B, patches, D)
        target = hypersphere_target(patches[one], patches[two], share.reshape(-1, 1, 1)).flatten(0, 1)
        mixed, counted = _rows(seen.mixed), (shown[one] & shown[two]).flatten()
        others = of_others(torch.cat([mixed.detach(), target]), counted.repeat(2))
        return hypersphere_mixup(mixed, target, self.options.temperature, counted=counted, others=others)


def _mixture(images: Tensor, one: Tensor, two: Tensor, share: Tensor) -> Tensor:
    share = share.reshape(-1, *[1] * (images.ndim - 1)).to(images)
    return share * images[one] + (1 - share) * images[two]


def _rows(pooled: Tensor) -> Tensor:
    """(B, D, *grid) as (B * patches, D), an image's patches together."""
    return pooled.flatten(2).mT.flatten(0, 1)


def _perplexity(clusters: Tensor) -> Tensor:
    """How many clusters share the voxels, were they equally large."""
    share = clusters.flatten(2).mean((0, 2))
    used: Tensor = torch.special.entr(share).sum().exp()
    return used


def _adam(every: float) -> dict[str, object]:
    return {"kind": "adam", "rate": 1e-3, "weight_decay": 0.0, "schedule": "halving", "every": every}
