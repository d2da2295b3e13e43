"""Classification: the class of a whole image is told from the encoder's features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.batch import Batch, Task
from paucis.data.image_labels import read_image_labels
from paucis.errors import PaucisError
from paucis.losses.precision import full, no_autocast
from paucis.methods.base import Build, Clock, Phase, Setting, StepResult, register
from paucis.methods.parts.image_views import EncodedImages
from paucis.methods.parts.pretraining import Pretraining
from paucis.networks.base import Network
from paucis.options import option

_NEEDED = "method 'classification' learns from labels of whole images: name a table with method.labels=FILE.csv"


@dataclass(frozen=True)
class ClassificationOptions:
    """Options of classification."""

    labels: str | None = option(
        None,
        "table (CSV) of file names and classes: one column of classes, or several of 0 and 1",
        file=True,
    )


@register("classification")
class Classification(Pretraining):
    """Supervised pretraining of the encoder by labels of whole images: softmax, or a sigmoid for each of several.

    The mean of the deepest map goes through one layer. The loss is the cross-entropy, or the mean binary
    cross-entropy where the table has several columns. A slice, or a crop, of a volume has the label of the volume. The
    decoder stays as it was drawn; masks are not looked at.

    Reference:
        the comparator "Supervised" of H. Chen et al.: Unsupervised local discrimination for medical images.
        arXiv:2108.09440, Table 2, of which the paper says no more than that it is by classification labels.
    """

    Options = ClassificationOptions

    def __init__(self, build: Build, task: Task, options: ClassificationOptions) -> None:
        super().__init__(build, task, options)
        if options.labels is None:
            raise PaucisError(_NEEDED)
        self.known = read_image_labels(options.labels)
        self.encoded = EncodedImages(build(), len(self.known.classes), "linear")

    def networks(self) -> tuple[Network, ...]:
        """The network whose encoder is trained."""
        return (self.encoded.network,)

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The cross-entropy of the images' classes."""
        assert batch.unlabeled is not None
        logits: Tensor = self.encoded(batch.unlabeled)
        names = batch.cases[len(batch.cases) - len(logits) :]
        wanted = torch.tensor([self.known.rows[name] for name in names], device=logits.device)
        with no_autocast(logits):
            logits = full(logits)
            if self.known.several:
                loss = F.binary_cross_entropy_with_logits(logits, wanted.float())
                right = (logits.detach() > 0) == wanted.bool()
            else:
                loss = F.cross_entropy(logits, wanted[:, 0])
                right = logits.detach().argmax(1) == wanted[:, 0]
        return StepResult({"classification": loss}, {"accuracy": right.float().mean()})

    @classmethod
    def check(cls, setting: Setting, options: ClassificationOptions) -> list[str]:
        """Adds: no table, images without a row in it, one class."""
        found = super().check(setting, options)
        if options.labels is None:
            return [*found, _NEEDED]
        table = read_image_labels(options.labels)
        return [*found, *(table.problems(setting.cases) if setting.cases else [])]
