"""The first stage of AUA: a stochastic student and teacher, and contrast of voxels near the labels' boundaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paucis.batch import Batch, Task
from paucis.losses.energy_distance import generalized_energy_distance
from paucis.losses.segmentation import dice_loss
from paucis.losses.stochastic import stochastic_nll
from paucis.losses.supervised_contrast import supervised_contrastive
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, Prediction, StepResult
from paucis.methods.parts.boundary import boundary_sets
from paucis.methods.parts.decoders import decoder_sites
from paucis.methods.parts.ema import EmaTeacher
from paucis.methods.parts.monte_carlo import noisy
from paucis.methods.parts.student_teacher import TeacherOptions
from paucis.methods.parts.unlabeled import ConsistencyOptions, first, parts, risen, valid_unlabeled
from paucis.networks.base import Features, Network
from paucis.networks.blocks import resize_to
from paucis.networks.stochastic_head import LowRankNormal, StochasticNetwork
from paucis.options import option


@dataclass(frozen=True)
class AuaOptions(ConsistencyOptions, TeacherOptions):
    """Options of all stages; ``ce`` and ``dice`` are those of the retraining."""

    dice_background: bool = option(False, "whether the Dice loss counts the background as a class")
    consistency: float = option(0.15, "largest weight of the energy distance of student and teacher", minimum=0.0)
    likelihood: float = option(0.5, "stage 1: weight of the labels' likelihood under the samples", minimum=0.0)
    likelihood_dice: float = option(
        0.5, "stage 1: weight of the mean's Dice loss; the paper's equations have none", minimum=0.0
    )
    rank: int = option(8, "maps along which the logits of an image vary together", minimum=1)
    samples: int = option(6, "samples of student and of teacher in a step, in pairs about the mean", minimum=1)
    noise: float = option(0.1, "standard deviation of the noise on the teacher's images", minimum=0.0)
    noise_limit: float = option(0.2, "largest noise in absolute value", minimum=0.0)
    boundary: float = option(
        0.09,
        "weight of the boundary-aware contrast; 0 = off. Published: 0.09, and 0.01 to 0.03 for 5 % labels",
        minimum=0.0,
    )
    boundary_temperature: float = option(0.07, "of the boundary-aware contrast", minimum=1e-4)
    boundary_anchors: int = option(2048, "largest number of contrasted voxels of an image", minimum=2)
    boundary_radius: int = option(1, "voxels from the boundary, on both sides of it", minimum=1)
    projection: int = option(16, "channels of the projection whose vectors are contrasted", minimum=1)
    estimation: float = option(
        0.2, "share of the training that estimates prototypes; none where no loss uses them", minimum=0.01, maximum=0.9
    )
    retraining: float = option(
        0.4, "share of the training that retrains with pseudo-labels; 0 = stage 1 alone", minimum=0.0, maximum=0.9
    )
    pseudo: float = option(1.0, "stage 2: weight of the supervised loss on pseudo-labels", minimum=0.0)
    pseudo_labels: Literal["online", "windows"] = option(
        "online", "of each crop when it is trained on, or of whole scans by sliding window before stage 2 begins"
    )
    pseudo_threshold: float = option(
        0.0, "confidence from which on a pseudo-label counts; 0 = all, as published", minimum=0.0, maximum=1.0
    )
    pseudo_weights: bool = option(False, "whether pseudo-labels count by their confidence")
    prototype: float = option(0.1, "weight of the prototype-aware contrast; 0 = off", minimum=0.0)
    prototype_temperature: float = option(100.0, "of it; at the published 100 it has nearly no gradient", minimum=1e-4)
    prototype_contrast: Literal["prototypes", "pixels"] = option(
        "prototypes", "voxels against normal distributions (Eq. 12), or against each other (Eq. 11, for small crops)"
    )
    prototype_pixels: int = option(2048, "largest number of voxels of all images against each other", minimum=2)
    prototype_classes: Literal["all", "foreground"] = option(
        "all", "classes whose voxels are contrasted; the published code leaves out those of the background"
    )
    prototype_features: Literal["unit", "raw"] = option(
        "unit", "vectors whose mean and variance are taken; raw: means and variances are brought to length 1 after it"
    )
    prototype_update: bool = option(False, "whether stage 2 goes on adding its labeled images to the prototypes")
    covariance: Literal["diagonal", "full"] = option("diagonal", "of the prototypes: variances, or full covariances")

    @property
    def uses_prototypes(self) -> bool:
        """Whether a loss of stage 2 needs them."""
        return self.prototype > 0 and self.prototype_contrast == "prototypes"


class BoundaryContrast(nn.Module):
    """Contrast by class of random voxels near the labels' boundaries (Eq. 10).

    Three layers, the same for every voxel, project the features; only the chosen voxels are projected.

    Args:
        channels: of the features.
        options: width, temperature, number of anchors, radius.
    """

    def __init__(self, channels: int, options: AuaOptions) -> None:
        super().__init__()
        self.options = options
        width = options.projection
        self.projection = nn.Sequential(
            nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """The mean over the images that have a boundary; 0, with a gradient, where none has.

        Args:
            features: (B, C, *size).
            labels: (B, *spatial) class indices.
        """
        options = self.options
        features = resize_to(features, labels.shape[1:]).flatten(2)
        losses = [
            self._contrast(features[index][:, places].T, labels[index].flatten()[places])
            for index, places in boundary_sets(labels, options.boundary_anchors, options.boundary_radius)
        ]
        if not losses:
            return self._contrast(features[0, :, :1].T, labels.flatten()[:1])
        return torch.stack(losses).mean()

    def _contrast(self, rows: Tensor, labels: Tensor) -> Tensor:
        vectors = F.normalize(self.projection(rows).float(), dim=1)
        return supervised_contrastive(vectors, labels, self.options.boundary_temperature)


class AleatoricConsistency(Method):
    """A stochastic student learns from labels, from its moving average, and from contrast along boundaries.

    ``L = L_sup + lambda_g GED(p_s, p_t) + lambda_c L_BCL`` (Eq. 9 and 14) with ``L_sup`` the likelihood of the labels
    under samples of the logits (Eq. 3-5) and the Dice loss of the mean. The teacher sees noisy images.
    """

    Options = AuaOptions

    def __init__(self, build: Build, task: Task, options: AuaOptions) -> None:
        super().__init__(build, task, options)
        network = build()
        channels = decoder_sites(network)[-1].channels
        self.student = StochasticNetwork(network, channels, options.rank)
        self.teacher = EmaTeacher(
            self.student, options.decay, options.warmup, buffers=options.teacher_buffers, mode=options.teacher_mode
        )
        self.contrast = BoundaryContrast(channels, options) if options.boundary else None

    def networks(self) -> tuple[Network, ...]:
        """The student's network."""
        return (self.student.network,)

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The losses of Eq. 14."""
        labeled, unlabeled = parts(batch)
        count, options = len(labeled.images), self.options
        features, logits = self.student(torch.cat([labeled.images, unlabeled]))  # Eq. 5
        own: LowRankNormal = logits.of(slice(count))
        likelihood = stochastic_nll(own.sample(options.samples), labeled.labels)  # Eq. 3-4
        result = StepResult(
            {"likelihood": options.likelihood * likelihood},
            aligned=Aligned(first(features, count), labeled.labels),
        )
        if options.likelihood_dice:
            result.losses["dice"] = options.likelihood_dice * dice_loss(
                own.mean,
                labeled.labels,
                include_background=options.dice_background,
                squared=options.dice_squared,
            )
        if self.contrast is not None:
            near = self.contrast(features.decoder[-1][:count], labeled.labels)  # Eq. 10
            result.losses["boundary"] = options.boundary * near
        if options.consistency:
            self._agree(result, logits.of(slice(count, None)), unlabeled, valid_unlabeled(batch), clock)
        return result

    def after_step(self, clock: Clock, result: StepResult) -> None:
        """The teacher follows the student."""
        self.teacher.update(self.student, clock.step)

    def predict(self, images: Tensor) -> Prediction:
        """Probabilities of the mean."""
        features: Features = self.reported.network(images)
        return Prediction({"probabilities": features.logits.float().softmax(1)})

    @property
    def code_length(self) -> int:
        """The rank."""
        return int(self.options.rank)

    def sample(self, images: Tensor, codes: Tensor) -> Tensor:
        """Probabilities of the logits that the codes stand for, without the noise of single voxels."""
        return sampled(self.reported, images, codes)

    @property
    def reported(self) -> StochasticNetwork:
        """The network that predicts and makes pseudo-labels: student or teacher."""
        return self.student if self.options.predict == "student" else cast(StochasticNetwork, self.teacher.network)

    def _agree(self, result: StepResult, student: LowRankNormal, images: Tensor, valid: Tensor, clock: Clock) -> None:
        """Adds the energy distance between samples of student and teacher (Eq. 6-8), padding left out."""
        options, number = self.options, self.options.samples
        _, teacher = self.teacher(noisy(images, options.noise, options.noise_limit))
        seen = valid.unsqueeze(1)
        sides: list[Any] = [side.sample(number).softmax(2) * seen for side in (student, teacher)]
        distance = generalized_energy_distance(*sides).mean()
        factor = risen(options, clock)
        result.losses["consistency"] = factor * distance
        result.monitors |= {"consistency_weight": factor, "energy_distance": distance.detach()}


def sampled(network: StochasticNetwork, images: Tensor, codes: Tensor) -> Tensor:
    """Probabilities (S, B, K, *spatial) of images for codes (S, r)."""
    _, logits = network(images)
    drawn: LowRankNormal = logits
    return drawn.coherent(codes).softmax(2)
