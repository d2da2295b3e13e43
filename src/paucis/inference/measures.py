"""Figures of a probability map: entropy, and mutual information between members."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor


def entropy(probabilities: Tensor, dim: int = 0) -> Tensor:
    """Predictive entropy as a share of its largest value: ``-sum_k p_k ln p_k / ln K``, in [0, 1].

    Args:
        probabilities: class probabilities along ``dim`` (K classes).
        dim: the class axis; it is reduced.
    """
    classes = max(probabilities.shape[dim], 2)
    return (torch.special.entr(probabilities.clamp(0, 1)).sum(dim) / log(classes)).clamp(0, 1)


def mutual_information(members: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Disagreement of an ensemble: entropy of the mean minus mean of the entropies, over ln K, in [0, 1].

    Args:
        members: probabilities of each member, equal shapes.
        dim: the class axis; it is reduced.

    Reference:
        Depeweg et al., *Decomposition of Uncertainty in Bayesian Deep Learning*, ICML 2018; the ensemble's form is
        in Malinin & Gales, *Predictive Uncertainty Estimation via Prior Networks*, NeurIPS 2018.
    """
    mean = sum(members[1:], members[0]) / len(members)
    expected = sum((entropy(member, dim) for member in members[1:]), entropy(members[0], dim)) / len(members)
    return (entropy(mean, dim) - expected).clamp(min=0)
