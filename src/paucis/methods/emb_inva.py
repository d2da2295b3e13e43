"""EmbInva: two views of an image recognize each other, and no other image takes them for its own."""

from __future__ import annotations

from torch import Tensor

from paucis.losses.joint_discrimination import paired_discrimination
from paucis.methods.base import register
from paucis.methods.simclr import SimCLR


@register("emb_inva")
class EmbInva(SimCLR):
    """Pretraining of the encoder: the joint probability of invariant and spread-out vectors of images.

    ``L = -mean_i [log P(i | x_i') + sum_{j != i} log(1 - P(i | x_j))]`` over both views of all images of the batch,
    the vectors from one linear layer. Negatives are the images of all processes; the decoder stays as it was drawn.

    Reference:
        M. Ye et al.: Unsupervised embedding learning via invariant and spreading instance feature. CVPR 2019.

    Deviations:
        The mean over rows in place of the sum, both views ask and are asked, and keys pass no gradient: all as in
        the published code. Views are those of ``simclr``.
    """

    head = "linear"

    def contrast(self, first: Tensor, second: Tensor, others: Tensor | None) -> Tensor:
        """The joint discrimination of both views."""
        return paired_discrimination(first, second, self.options.temperature, others=others)
