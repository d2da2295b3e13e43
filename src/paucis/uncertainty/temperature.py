"""One temperature for all probabilities: softer or sharper, with the same winner."""

from __future__ import annotations

import torch
from torch import Tensor


def tempered(probabilities: Tensor, temperature: float, dim: int = 0) -> Tensor:
    """``softmax(log p / T)``: what a softmax of logits over T gives, from its probabilities at T = 1.

    Args:
        probabilities: summing to 1 over ``dim``.
        temperature: T > 0; above 1 is less sure. The largest stays the largest.
        dim: of the classes.

    Returns:
        Probabilities of the same shape in float32.

    Reference: C. Guo, G. Pleiss, Y. Sun, K. Weinberger: On calibration of modern neural networks. ICML, 2017.

    *Deviations*: of averaged probabilities (windows, views, runs) there are no logits; their logarithms stand in, as
    in calibrating an ensemble as a whole (R. Rahaman, A. Thiery: Uncertainty quantification and deep ensembles.
    NeurIPS, 2021).
    """
    p = probabilities.float()
    if temperature == 1:
        return p
    return (p.clamp_min(torch.finfo(torch.float32).tiny).log() / temperature).softmax(dim)
