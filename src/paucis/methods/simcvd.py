"""SimCVD: two dropout views of a network with distance maps are contrasted slice by slice and voxel by voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paucis.batch import Batch, Task
from paucis.losses.consistency import squared_difference
from paucis.losses.paired_contrast import paired_contrast
from paucis.losses.signed_distance import distance_loss
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, StepResult, register
from paucis.methods.parts.distance import DistanceHead, DistanceOptions
from paucis.methods.parts.ema import EmaTeacher
from paucis.methods.parts.monte_carlo import noisy
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.unlabeled import first, parts, risen, valid_unlabeled
from paucis.networks.base import Features, Network
from paucis.options import option

_CELLS = 16


@dataclass(frozen=True)
class SimCVDOptions(DistanceOptions):
    """Weights from memory and a third-party summary of the paper: unverified."""

    ce: float = option(0.5, "weight of the cross-entropy on labels", minimum=0.0)
    dice: float = option(0.5, "weight of the Dice loss on labels", minimum=0.0)
    distance: float = option(0.1, "weight of the squared difference of distance maps on labels", minimum=0.0)
    contrast: float = option(0.5, "weight of the contrast of slices", minimum=0.0)
    pairwise: float = option(0.1, "weight of the contrast of the encoder's voxels", minimum=0.0)
    temperature: float = option(0.5, "of both contrasts", minimum=1e-3)
    voxels: int = option(256, "encoder voxels of an image that are contrasted, drawn at random", minimum=2)
    width: int = option(128, "length of a slice's vector; its hidden layer has twice as many", minimum=1)
    slices: int = option(0, "axis along which a volume is cut into slices", choices=(0, 1, 2))
    decay: float = option(0.999, "share of the teacher's weights kept in a step", minimum=0.0, maximum=1.0)
    noise: float = option(0.1, "standard deviation of the noise on the teacher's images", minimum=0.0)
    noise_limit: float = option(0.2, "largest noise in absolute value", minimum=0.0)


class View(NamedTuple):
    """What a branch sees in a batch of images.

    Attributes:
        features: of the network.
        maps: (B, K - 1, *spatial) signed distances.
        vectors: (slices of the batch, width).
    """

    features: Features
    maps: Tensor
    vectors: Tensor


class Branch(nn.Module):
    """A network, its distance head, and the projection of slices.

    Args:
        network: which segments.
        classes: K.
        width: length of a slice's vector.
        axis: spatial axis of the slices, in 3D.
    """

    def __init__(self, network: Network, classes: int, width: int, axis: int) -> None:
        super().__init__()
        self.network = network
        self.axis = axis
        self.head = DistanceHead(network, classes)
        inputs = network.task.channels * _CELLS**2
        self.project = nn.Sequential(nn.Linear(inputs, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def forward(self, images: Tensor) -> View:
        """Features, distance maps and a vector of every slice of image plus distance map."""
        features: Features = self.network(images)
        maps: Tensor = self.head(features)
        shapes = images + maps.mean(1, keepdim=True)
        if shapes.ndim == 5:
            shapes = shapes.movedim(2 + self.axis, 1).flatten(0, 1)
        return View(features, maps, self.project(F.adaptive_avg_pool2d(shapes, _CELLS).flatten(1)))


@register("simcvd")
class SimCVD(Method):
    """Student and moving-average teacher, each with a distance head; their dropout masks make two views.

    ``L = L_sup + 0.1 * mean (s - s_label)^2 + 0.5 * L_contrast + 0.1 * L_pairwise + w(t) * mean (p_u - p'_u)^2``.
    ``L_contrast``: distance map plus image, cut into slices, each projected to a vector, which finds the
    teacher's vector of the same slice among those of all slices of the batch. ``L_pairwise``: each voxel of the
    deepest encoder map finds the teacher's voxel of the same place among those of its image. The network should have
    dropout, as V-Net does. The teacher passes no gradient.

    Reference:
        C. You et al.: SimCVD: Simple contrastive voxel-wise representation distillation for semi-supervised medical
        image segmentation. IEEE Transactions on Medical Imaging 2022.

    Deviations:
        Unverified: no public code is known, and weights, temperature, decay, the axis of the slices, the projection
        (a mean over 16 x 16 cells, two linear layers) and both denominators (which contain the positive pair) are
        from memory and a third-party summary. Vectors are brought to length 1. Of the encoder's voxels a random share
        is compared, since all pairs need memory that grows with the square. With several foreground classes the mean
        of their maps is added to the image; in 2D an image is one slice. Voxels on padding are not counted in the
        supervised and consistency losses.
    """

    Options = SimCVDOptions

    def __init__(self, build: Build, task: Task, options: SimCVDOptions) -> None:
        super().__init__(build, task, options)
        self.student = Branch(build(), task.classes, options.width, options.slices)
        self.teacher = EmaTeacher(self.student, options.decay, buffers="own")

    def networks(self) -> tuple[Network, ...]:
        """The student's network."""
        return (self.student.network,)

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Both supervised losses, both contrasts, and the consistency."""
        labeled, unlabeled = parts(batch)
        count, options, images = len(labeled.images), self.options, torch.cat([labeled.images, unlabeled])
        own: View = self.student(images)
        theirs: View = self.teacher(noisy(images, options.noise, options.noise_limit))
        logits, target = own.features.logits, theirs.features.logits[count:].float().softmax(1)
        consistency = squared_difference(logits[count:].float().softmax(1), target, valid_unlabeled(batch))
        factor = risen(options, clock)
        distance = distance_loss(own.maps[:count], labeled.labels, absent=options.absent)
        contrast = paired_contrast(own.vectors, theirs.vectors, options.temperature)
        pairwise = self._pairwise(own.features.encoder[-1], theirs.features.encoder[-1])
        return StepResult(
            {
                "supervised": supervised_loss(logits[:count], labeled, options),
                "distance": options.distance * distance,
                "contrast": options.contrast * contrast,
                "pairwise": options.pairwise * pairwise,
                "consistency": factor * consistency,
            },
            {"consistency_weight": factor, "disagreement": consistency.detach()},
            Aligned(first(own.features, count), labeled.labels),
        )

    def after_step(self, clock: Clock, result: StepResult) -> None:
        """The teacher follows the student."""
        self.teacher.update(self.student, clock.step)

    def _pairwise(self, own: Tensor, theirs: Tensor) -> Tensor:
        own, theirs = (each.flatten(2).transpose(1, 2) for each in (own, theirs))
        places = torch.randperm(own.shape[1], device=own.device)[: self.options.voxels]
        return paired_contrast(own[:, places], theirs[:, places], self.options.temperature)
