"""Entropy, mutual information and confidence of probabilities, and of stacks of samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def entropy(probabilities: Tensor, *, normalized: bool = False) -> Tensor:
    """``-sum p log p`` over dimension 1, with 0 log 0 = 0 and a finite gradient there.

    Args:
        probabilities: (B, K, *spatial), summing to 1 over dimension 1.
        normalized: divides by ln K, so that 1 is the largest value; False leaves nats.

    Returns:
        (B, *spatial) in float32.
    """
    p = _full(probabilities)
    result = -(p * p.clamp_min(torch.finfo(p.dtype).tiny).log()).sum(1)
    return result / math.log(max(p.shape[1], 2)) if normalized else result


def predictive_entropy(samples: Tensor, *, normalized: bool = False) -> Tensor:
    """Entropy of the mean over samples: all the uncertainty there is.

    Args:
        samples: (S, B, K, *spatial) probabilities.
        normalized: divides by ln K.

    Returns:
        (B, *spatial).
    """
    return entropy(_full(samples).mean(0), normalized=normalized)


def expected_entropy(samples: Tensor, *, normalized: bool = False) -> Tensor:
    """Mean over samples of their entropy: the uncertainty that stays when the sample is known (aleatoric).

    Args:
        samples: (S, B, K, *spatial) probabilities.
        normalized: divides by ln K.

    Returns:
        (B, *spatial).
    """
    return torch.stack([entropy(sample, normalized=normalized) for sample in samples]).mean(0)


def mutual_information(samples: Tensor, *, normalized: bool = False) -> Tensor:
    """Predictive minus expected entropy: how much the samples disagree (epistemic). Never negative.

    Args:
        samples: (S, B, K, *spatial) probabilities.
        normalized: divides by ln K.

    Returns:
        (B, *spatial).

    Reference:
        N. Houlsby et al.: Bayesian active learning for classification and preference learning. arXiv:1112.5745, 2011.
    """
    difference = predictive_entropy(samples, normalized=normalized) - expected_entropy(samples, normalized=normalized)
    return difference.clamp_min(0.0)


def confidence(probabilities: Tensor) -> Tensor:
    """The largest probability over dimension 1: (B, K, *spatial) to (B, *spatial)."""
    return _full(probabilities).amax(1)


def _full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
