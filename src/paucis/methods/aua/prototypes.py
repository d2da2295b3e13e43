"""Class prototypes of a trained network's features: the stage that gathers them, and the contrast against them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.batch import IGNORE, Batch, Task
from paucis.losses.prototype_contrast import prototype_contrastive
from paucis.methods.base import Build, Clock, Method, Phase, StepResult
from paucis.methods.parts.decoders import decoder_sites
from paucis.methods.parts.prototypes import Prototypes
from paucis.networks.base import Network
from paucis.networks.blocks import resize_to


class PrototypeEstimation(Method):
    """Mean and variance of each class over the labeled crops, by a network that is trained no further (Eq. 13).

    Nothing is drawn but the crops. The network is in eval mode throughout.

    Args:
        build: not used: the network is there.
        task: the task.
        options: ``covariance``, ``prototype_features``.
        network: what gives the features; copied.
    """

    uses_unlabeled = False

    def __init__(self, build: Build, task: Task, options: Any, network: Network) -> None:
        super().__init__(build, task, options)
        # takes a gradient in name only: training on several processes refuses a module without any
        self.network = deepcopy(network).requires_grad_(True)
        self.prototypes = Prototypes(task.classes, decoder_sites(network)[-1].channels, options.covariance)

    def train(self, mode: bool = True) -> PrototypeEstimation:
        """The network stays in eval mode."""
        super().train(mode)
        self.network.eval()
        return self

    @torch.no_grad()
    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Adds the labeled images' vectors to the statistics."""
        assert batch.labeled is not None
        features = self.network(batch.labeled.images).decoder[-1]
        rows, labels = rows_of(features, batch.labeled.labels, unit=self.options.prototype_features == "unit")
        self.prototypes.update(rows, labels)
        return StepResult({}, {"classes_seen": self.prototypes.seen.sum()})


def rows_of(features: Tensor, labels: Tensor, *, unit: bool = True) -> tuple[Tensor, Tensor]:
    """The feature vector of every voxel with its label, in the same order.

    Args:
        features: (B, C, *size); interpolated to the labels' size.
        labels: (B, *spatial).
        unit: whether the vectors are brought to length 1.

    Returns:
        (N, C) in float32 and (N,), N the voxels of all images.
    """
    features = resize_to(features.float(), labels.shape[1:])
    features = F.normalize(features, dim=1) if unit else features
    return features.movedim(1, -1).flatten(0, -2), labels.flatten()


def prototype_loss(rows: Tensor, labels: Tensor, prototypes: Prototypes, temperature: float, *, unit: bool) -> Tensor:
    """The contrast of vectors against the classes that have a prototype; those of other classes are left out.

    Args:
        rows: (N, C) vectors of length 1.
        labels: (N,) class indices or ``IGNORE``.
        prototypes: no gradient passes to them.
        temperature: of the contrast.
        unit: whether they are statistics of unit vectors; if not, each class's mean and variances are brought to
            length 1, as in the published code.

    Returns:
        a scalar; 0, still with a gradient, where fewer than two classes have a prototype.
    """
    seen = prototypes.seen
    means, variances = prototypes.means[seen].to(rows), prototypes.variances[seen].to(rows)
    if len(means) < 2:
        return rows.sum() * 0.0
    if not unit:
        means, variances = F.normalize(means, dim=-1), F.normalize(variances, dim=-1)
    places = torch.full((IGNORE + 1,), IGNORE, device=labels.device)
    places[: len(seen)][seen] = torch.arange(len(means), device=labels.device)
    return prototype_contrastive(rows, places[labels], means, variances, temperature)
