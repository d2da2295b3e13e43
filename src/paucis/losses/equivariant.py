"""The equivariant loss: the encoder must know how an image was turned."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from paucis.losses.precision import full, no_autocast


def equivariance_loss(logits: Tensor, turns: Tensor) -> Tensor:
    """Mean over images of the cross-entropy between the predicted and the true turn.

    With every image present in each of its C turns this is ``1/C sum_i CE(p(f(G_i(x))), i)``, averaged over images.

    Args:
        logits: (N, C), predicted turn of each turned image.
        turns: (N,) index of the turn that was applied, 0 to C - 1.

    Returns:
        a scalar in float32.

    Reference:
        T. Wang et al.: Uncertainty-guided pixel contrastive learning for semi-supervised medical image segmentation.
        IJCAI 2022, Eq. 12; R. Dangovski et al.: Equivariant contrastive learning. ICLR 2022.
    """
    with no_autocast(logits):
        return F.cross_entropy(full(logits), turns.to(logits.device))
