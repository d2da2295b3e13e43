"""Contrast of vectors with class prototypes: each class a normal distribution with a mean and a variance."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from paucis.batch import IGNORE
from paucis.losses.precision import full, no_autocast


def prototype_contrastive(
    features: Tensor,
    labels: Tensor,
    means: Tensor,
    variances: Tensor,
    temperature: float = 100.0,
    *,
    ignore_index: int = IGNORE,
) -> Tensor:
    """``mean_i CE(l_i, y_i) + f_i' V_{y_i} f_i / (2 t^2)`` with ``l_ik = f_i . m_k / t + f_i' V_k f_i / (2 t^2)``.

    The expectation of the pixel contrast over normally distributed classes, at a cost of N * K instead of N^2. Means
    and variances are taken as they are given; detach them where they must not move.

    Args:
        features: (N, D) vectors of length 1.
        labels: (N,) class index of each; ``ignore_index`` is not counted.
        means: (K, D), m.
        variances: (K, D) diagonals, or (K, D, D) covariances, V.
        temperature: t > 0. At the published 100 the cross-entropy stays within 0.01 of ln K: nearly no gradient.
        ignore_index: label of vectors left out.

    Returns:
        a scalar in float32; 0, still with a gradient, where nothing is counted.

    Reference:
        S. Li et al.: Semantic distribution-aware contrastive adaptation for semantic segmentation. arXiv:2105.05013;
        H. Wu, X. Li, K.-T. Cheng: Exploring feature representation learning for semi-supervised medical image
        segmentation. arXiv 2021, Eq. 12.

    Deviations:
        Eq. 12 as printed has the variance term outside the mean and unscaled: here as its derivation and the
        published code have it.
    """
    with no_autocast(features):
        f, m, v = full(features), full(means), full(variances)
        spread = f.square() @ v.T if v.ndim == 2 else ((f @ v) * f).sum(-1).T
        spread = spread / (2 * temperature**2)
        logits = f @ m.T / temperature + spread
        counted = labels.ne(ignore_index)
        own = spread.gather(1, labels.long().where(counted, 0).unsqueeze(1)).squeeze(1)
        losses = F.cross_entropy(logits, labels.long(), ignore_index=ignore_index, reduction="none") + own * counted
        return losses.sum() / counted.sum().clamp(min=1)
