"""Sharpening: soft pseudo-labels of lower entropy."""

from __future__ import annotations

import torch
from torch import Tensor

from paucis.losses.precision import full, no_autocast


def sharpen(probabilities: Tensor, temperature: float, *, per_class: bool = False) -> Tensor:
    """``p^(1/T) / sum_k p_k^(1/T)``: the same order of classes, further apart. Not detached here.

    Args:
        probabilities: (B, K, *spatial), summing to 1 over dimension 1.
        temperature: T > 0; 1 changes nothing, towards 0 the largest class becomes 1.
        per_class: ``p^(1/T) / (p^(1/T) + (1 - p)^(1/T))`` for every class on its own. The same for two classes; for
            more, the result does not sum to 1.

    Returns:
        (B, K, *spatial) in float32: p^10 has no place in half precision.

    Reference:
        D. Berthelot et al.: MixMatch. NeurIPS 2019; per class: Y. Wu et al.: Semi-supervised left atrium segmentation
        with mutual consistency training. MICCAI 2021.
    """
    with no_autocast(probabilities):
        p = full(probabilities)
        smallest = torch.finfo(p.dtype).tiny
        logs = p.clamp_min(smallest).log()  # powers as logarithms: nothing underflows
        if not per_class:
            return (logs / temperature).softmax(1)
        return ((logs - (1 - p).clamp_min(smallest).log()) / temperature).sigmoid()
