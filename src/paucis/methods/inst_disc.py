"""InstDisc: every image is a class of its own, known by a vector that is kept of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from paucis.batch import Batch, Task
from paucis.errors import PaucisError
from paucis.losses.directions import unit
from paucis.losses.info_nce import instance_discrimination
from paucis.methods.base import Build, Clock, Phase, StepResult, register
from paucis.methods.parts.image_views import EncodedImages, ImageViewOptions, ImageViews
from paucis.methods.parts.memory import gathered
from paucis.methods.parts.pretraining import Pretraining
from paucis.networks.base import Network
from paucis.options import option

_SEED = 0


@dataclass(frozen=True)
class InstDiscOptions(ImageViewOptions):
    """Options of InstDisc; defaults of the paper and its code."""

    dim: int = option(128, "length of an image's vector", minimum=2)
    temperature: float = option(0.07, "of the similarity of images", minimum=1e-3)
    momentum: float = option(0.5, "share of an image's vector kept when it is seen again", minimum=0.0, maximum=1.0)


class ImageBank(nn.Module):
    """A vector of length 1 for every image of the run, in a buffer: saved and resumed with the method.

    How many images there are is known from the first batch on; until they are seen, their vectors point anywhere,
    the same way in every process.

    Args:
        dim: length of a vector, D.
    """

    vectors: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(0, dim))

    def begin(self, total: int) -> None:
        """Makes room for so many images, once.

        Raises:
            PaucisError: a single image, or another number than before.
        """
        if len(self.vectors) == total:
            return
        if len(self.vectors):
            raise PaucisError(f"the run began with {len(self.vectors)} images and has {total} now: start a new one")
        if total < 2:
            raise PaucisError("method 'inst_disc' tells images apart and there is only one: add images")
        drawn = torch.randn(total, self.vectors.shape[1], generator=torch.Generator().manual_seed(_SEED))
        self.vectors = unit(drawn).to(self.vectors)

    @torch.no_grad()
    def update(self, vectors: Tensor, numbers: Tensor, keep: float) -> None:
        """``b = unit(keep b + (1 - keep) v)`` for the images of all processes.

        Args:
            vectors: (N, D) of length 1; an image that is there more than once counts with the mean of its vectors.
            numbers: (N,) int64.
            keep: share of the old vector.
        """
        vectors, numbers = gathered(vectors.detach().to(self.vectors)), gathered(numbers)
        same = (numbers.unsqueeze(1) == numbers).to(vectors)
        mean = same @ vectors / same.sum(1, keepdim=True)
        self.vectors.index_copy_(0, numbers, unit(keep * self.vectors[numbers] + (1 - keep) * mean))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        saved = state_dict.get(f"{prefix}vectors")
        if saved is not None and saved.shape[1:] == self.vectors.shape[1:]:
            self.vectors = self.vectors.new_zeros(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)


@register("inst_disc")
class InstDisc(Pretraining):
    """Pretraining of the encoder: each image is told from all others of the run by the vectors kept of them.

    ``P(i | v) = exp(v . b_i / T) / sum_k exp(v . b_k / T)``, b_k the moving average of the vectors that image k had
    when it was seen. In 2D an image is a slice, in 3D a case, of which crops are taken. The bank is the same in every
    process; the decoder stays as it was drawn.

    Reference:
        Z. Wu et al.: Unsupervised feature learning via non-parametric instance discrimination. CVPR 2018.

    Deviations:
        The softmax is over all images, exactly, in place of noise-contrastive estimation for millions of them. No
        proximal regularization: the moving average slows the vectors down. Views are those of ``simclr``.
    """

    Options = InstDiscOptions

    def __init__(self, build: Build, task: Task, options: InstDiscOptions) -> None:
        super().__init__(build, task, options)
        self.encoded = EncodedImages(build(), options.dim, "linear")
        self.bank = ImageBank(options.dim)
        self.views = ImageViews(task, options)

    def networks(self) -> tuple[Network, ...]:
        """The network whose encoder is trained."""
        return (self.encoded.network,)

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The classification of the unlabeled images as themselves."""
        assert batch.unlabeled is not None
        assert batch.numbers is not None
        self.bank.begin(batch.total)
        vectors = unit(self.encoded(self.views(batch.unlabeled)).float())
        loss = instance_discrimination(vectors, self.bank.vectors, batch.numbers, self.options.temperature)
        agreement = (vectors.detach() * self.bank.vectors[batch.numbers]).sum(1).mean()
        return StepResult(
            {"instance": loss}, {"agreement": agreement}, memory={"vectors": vectors, "numbers": batch.numbers}
        )

    def after_step(self, clock: Clock, result: StepResult) -> None:
        """The vectors of this step's images move."""
        self.bank.update(result.memory["vectors"], result.memory["numbers"], self.options.momentum)
