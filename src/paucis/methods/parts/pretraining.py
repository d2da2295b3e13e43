"""What all pretrainings share: they learn from unlabeled images alone, and predict nothing."""

from __future__ import annotations

from torch import Tensor

from paucis.errors import PaucisError
from paucis.methods.base import Method, Prediction


class Pretraining(Method):
    """A method that prepares a network for others to start from (``paucis pretrain``).

    Its network is that of ``networks()[0]``; the head that would predict classes is there and is never trained.
    """

    uses_labeled = False
    pretrains = True

    def predict(self, images: Tensor) -> Prediction:
        """Always raises ``PaucisError``: there is nothing that it learnt to predict."""
        raise PaucisError(
            f"a run of '{self.name}' is a pretraining and predicts no classes: start a training from it with "
            "paucis train DATASET --init RUN"
        )
