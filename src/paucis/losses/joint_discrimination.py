"""The joint probability of telling a vector's partner from all others, without ever taking any of them for it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from paucis.losses.directions import unit
from paucis.losses.precision import full, no_autocast

_AT_ONCE = 2**20
"""Similarities held at once, 4 MiB each of a handful of tensors: on a CPU five times as fast as four times as many."""


def joint_discrimination(
    queries: Tensor,
    keys: Tensor,
    temperature: float = 0.1,
    exclude: Tensor | None = None,
    *,
    rows: Tensor | None = None,
) -> Tensor:
    """Mean over rows i of ``-log q_ii - sum_{j != i} log(1 - q_ij)``, ``q_i`` the softmax of ``cos / T`` over all keys.

    It is the negative logarithm of the probability to recognize key i and to take no other key for it, all these
    taken as independent (Eq. 6-8). ``log(1 - q_ij)`` is ``logsumexp`` over the keys but j minus that over all keys:
    finite and exact where a key takes all of the probability, and nothing is clamped. Memory does not grow with
    N x M: beyond a million similarities they are computed in chunks of rows, once more in the backward pass.

    Args:
        queries: (N, D) of any length; they are brought to length 1.
        keys: (M, D) likewise, M >= N: key i is the positive of row i, every other key a negative of it, those beyond
            N of all rows (keys of other processes). The caller detaches them where they are not to move.
        temperature: T > 0.
        exclude: (N, M) bool, pairs that are left out of softmax and sum; a row's own positive always counts.
        rows: (N,) bool, the rows that count; None for all.

    Returns:
        a scalar in float32; 0, still with a gradient, where no row counts.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440, Eq. 3-8.

    Deviations:
        the mean over rows, as the published code has it, instead of the sum. The code computes ``log(1 - q)`` from a
        clamped difference, which is not a number where q rounds to 1.
    """
    with no_autocast(queries):
        x = unit(full(queries))
        y = unit(full(keys)).to(x)
        if len(x) == 0:
            return x.sum() + y.sum() * 0.0
        positive = torch.arange(len(x), device=x.device)
        return _mean(chunked_terms(x, y, positive, temperature, exclude), rows)


def paired_discrimination(
    first: Tensor,
    second: Tensor,
    temperature: float = 0.1,
    *,
    counted: Tensor | None = None,
    others: Tensor | None = None,
) -> Tensor:
    """``joint_discrimination`` in its published form: two views of N things are 2N rows, each the other's positive.

    All 2N vectors but the row itself are keys, and keys pass no gradient. With two vectors, each twice and orthogonal
    to the other, it is 1.8e-4 at T = 0.1; with 512 such vectors 0.0897.

    Args:
        first: (N, D) vectors of one view.
        second: (N, D) vectors of the other.
        temperature: T > 0.
        counted: (N,) bool; what is False is neither row nor key.
        others: (K, D) further negatives, such as those of other processes.

    Returns:
        a scalar in float32; 0, still with a gradient, where nothing is counted.
    """
    count = len(first)
    keys = [second.detach(), first.detach(), *([] if others is None else [others.detach()])]
    rows = torch.arange(2 * count, device=first.device)
    exclude = torch.zeros(2 * count, sum(map(len, keys)), dtype=torch.bool, device=first.device)
    exclude[rows, (rows + count) % (2 * count)] = True  # a row is no key of its own
    twice = None
    if counted is not None:
        twice = torch.cat([counted, counted])
        exclude[:, : 2 * count] |= ~twice
    return joint_discrimination(torch.cat([first, second]), torch.cat(keys), temperature, exclude, rows=twice)


def chunked_terms(
    queries: Tensor, keys: Tensor, positive: Tensor, temperature: float, exclude: Tensor | None = None
) -> Tensor:
    """The loss of each row: (N,).

    Args:
        queries: (N, D) of length 1.
        keys: (M, D) of length 1.
        positive: (N,) index of each row's positive.
        temperature: T > 0.
        exclude: (N, M) bool, pairs that are left out.
    """
    size = max(1, _AT_ONCE // max(len(keys), 1))
    if size >= len(queries):
        return _terms(queries, keys, positive, temperature, exclude)
    parts = []
    for begin in range(0, len(queries), size):
        some = slice(begin, begin + size)
        left_out = None if exclude is None else exclude[some]
        part: Tensor = checkpoint(
            _terms,
            *(queries[some], keys, positive[some], temperature, left_out),
            use_reentrant=False,
            preserve_rng_state=False,
        )
        parts.append(part)
    return torch.cat(parts)


def _terms(queries: Tensor, keys: Tensor, positive: Tensor, temperature: float, exclude: Tensor | None) -> Tensor:
    similar, own = queries @ keys.T / temperature, positive.unsqueeze(1)
    lowest = torch.finfo(similar.dtype).min / 4  # not infinite: a row without negatives keeps a finite gradient
    if exclude is not None:
        similar = similar.masked_fill(exclude.scatter(1, own, False), lowest)
    # only the likeliest key can have q > 1/2: it is treated by itself, and 1 - q of the others loses no digits
    likeliest = similar.argmax(1, keepdim=True)
    top = similar.gather(1, likeliest)
    rest = similar.scatter(1, likeliest, lowest).logsumexp(1, keepdim=True)
    total = F.softplus(rest - top)  # logsumexp over all keys, less the top
    right = similar.gather(1, own) - top - total
    q = (similar - top - total).exp().scatter(1, likeliest, 0.0).scatter(1, own, 0.0)
    not_wrong = torch.log1p(-q).sum(1, keepdim=True)
    not_likeliest = torch.where(likeliest == own, 0.0, rest - top - total)
    return -(right + not_wrong + not_likeliest).squeeze(1)


def _mean(terms: Tensor, rows: Tensor | None) -> Tensor:
    if rows is None:
        return terms.mean()
    return torch.where(rows, terms, 0.0).sum() / rows.sum().clamp(min=1)
