"""Several noisy passes of one network over the same images, batched."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from paucis.networks.base import Features


def noisy(images: Tensor, deviation: float, limit: float) -> Tensor:
    """Images with Gaussian noise that is cut off at ``limit``.

    Args:
        images: (B, C, *spatial).
        deviation: standard deviation of the noise, in the images' units; 0 for none.
        limit: largest noise in absolute value.
    """
    if deviation == 0.0:
        return images
    return images + (torch.randn_like(images) * deviation).clamp(-limit, limit)


@torch.no_grad()
def noisy_passes(
    network: Callable[[Tensor], Features],
    images: Tensor,
    passes: int,
    deviation: float,
    limit: float,
    at_once: int = 2,
) -> Tensor:
    """Probabilities of several passes, each with noise of its own, without gradient.

    The network's dropout acts where the network is in train mode. Normalization over the batch then sees the images
    of ``at_once`` passes together.

    Args:
        network: gives features and logits.
        images: (B, C, *spatial).
        passes: number of passes, S.
        deviation: standard deviation of the noise.
        limit: largest noise in absolute value.
        at_once: passes in one batch; fewer need less memory.

    Returns:
        (S, B, K, *spatial) in float32.
    """
    samples: list[Tensor] = []
    for begin in range(0, passes, at_once):
        count = min(at_once, passes - begin)
        repeated = images.repeat(count, *[1] * (images.ndim - 1))
        probabilities = network(noisy(repeated, deviation, limit)).logits.float().softmax(1)
        samples.extend(probabilities.chunk(count))
    return torch.stack(samples)
