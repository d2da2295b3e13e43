"""Adversarial images: a small step in the direction that raises a network's loss most."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.batch import IGNORE
from paucis.methods.parts.modes import evaluating
from paucis.networks.base import Network


def adversarial_images(network: Network, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """``x + epsilon * sd(x) * sign(grad_x CE(p(x), y))``, detached.

    The network is asked in eval mode: no normalization statistics move and no dropout acts; its parameters get no
    gradient.

    Args:
        network: whose loss is raised.
        images: (B, C, *spatial).
        labels: (B, *spatial) class indices; ``IGNORE`` is not counted.
        epsilon: length of the step, in standard deviations of each image's channels.

    Reference:
        I. Goodfellow, J. Shlens, C. Szegedy: Explaining and harnessing adversarial examples. ICLR 2015.
    """
    images = images.detach()
    with evaluating(network), torch.enable_grad():
        seen = images.clone().requires_grad_()
        logits = network(seen).logits.float()
        # a sum, not a mean: the sign is the same, and small gradients survive half precision
        loss = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, seen)
    deviation = images.std(tuple(range(2, images.ndim)), correction=0, keepdim=True)
    return images + epsilon * deviation * gradient.sign()
