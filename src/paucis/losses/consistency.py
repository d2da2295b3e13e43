"""How far two predictions of the same image are apart, over the voxels that show real image."""

from __future__ import annotations

from torch import Tensor

from paucis.losses.precision import full, no_autocast


def masked_mean(values: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean of ``values`` over the voxels where ``valid`` holds, and over channels.

    Args:
        values: (B, *spatial) or (B, channels, *spatial).
        valid: (B, *spatial) bool, or a weight per voxel; None counts all.

    Returns:
        a scalar; 0, still with a gradient, where no voxel is valid.
    """
    if valid is None:
        return values.mean()
    weight = valid.to(values)
    if values.ndim == valid.ndim + 1:
        weight = weight.unsqueeze(1)
    channels = values.numel() // max(weight.numel(), 1)
    return (values * weight).sum() / (weight.sum() * channels).clamp(min=1e-6)  # far from overflow under a loss scale


def squared_difference(probabilities: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean of ``(p - q)^2`` over voxels and classes. Neither side is detached here.

    Args:
        probabilities: (B, K, *spatial).
        target: (B, K, *spatial).
        valid: (B, *spatial) bool or weights; None counts all voxels.

    Reference:
        A. Tarvainen, H. Valpola: Mean teachers are better role models. NeurIPS 2017.
    """
    with no_autocast(probabilities):
        return masked_mean((full(probabilities) - full(target)).square(), valid)


def symmetric_divergence(logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over voxels of ``(KL(p|q) + KL(q|p)) / 2``, in nats. Neither side is detached here.

    Args:
        logits: (B, K, *spatial), p before the softmax over dimension 1.
        target: (B, K, *spatial), q before the softmax.
        valid: (B, *spatial) bool or weights; None counts all voxels.
    """
    with no_autocast(logits):
        log_p, log_q = full(logits).log_softmax(1), full(target).log_softmax(1)
        # KL(p|q) + KL(q|p) = sum (p - q)(log p - log q)
        return masked_mean(0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1), valid)
