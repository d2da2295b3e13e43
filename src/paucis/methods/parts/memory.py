"""A memory of feature vectors: the latest of each class, the same in every process."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn

from paucis.batch import IGNORE


class MemoryQueue(nn.Module):
    """A ring buffer per class: the latest ``capacity`` vectors of it, and how many there are.

    Everything lies in buffers: it is saved and resumed with the method. Places that were never written hold zeros
    and are never given out as samples. No value is looked at by the host: adding to it and reading it never waits for
    a GPU.

    Args:
        classes: number of classes, K.
        capacity: vectors kept of each class.
        dim: length of a vector, D.
    """

    vectors: Tensor
    written: Tensor

    def __init__(self, classes: int, capacity: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(classes, capacity, dim))
        self.register_buffer("written", torch.zeros(classes, dtype=torch.long))

    @property
    def filled(self) -> Tensor:
        """How many vectors there are of each class: (K,)."""
        return self.written.clamp(max=self.vectors.shape[1])

    def bank(self) -> tuple[Tensor, Tensor]:
        """Every place: vectors (K * capacity, D), and labels (K * capacity,), ``IGNORE`` where nothing was written."""
        classes, capacity, _ = self.vectors.shape
        places = torch.arange(capacity, device=self.vectors.device)
        labels = torch.arange(classes, device=self.vectors.device).unsqueeze(1)
        labels = torch.where(places < self.filled.unsqueeze(1), labels, IGNORE)
        return self.vectors.flatten(0, 1), labels.flatten()

    def rows(self, label: int) -> Tensor:
        """The vectors of a class, the oldest first: (filled, D)."""
        capacity, written = self.vectors.shape[1], int(self.written[label])
        if written <= capacity:
            return self.vectors[label, :written]
        return self.vectors[label].roll(-(written % capacity), 0)

    @torch.no_grad()
    def add(self, vectors: Tensor, labels: Tensor) -> None:
        """Appends vectors, of all processes in the order of their ranks; the oldest of a full class go.

        Args:
            vectors: (N, D); N is the same in every process.
            labels: (N,) class of each; a vector labeled ``IGNORE`` is not kept.
        """
        vectors, labels = gathered(vectors.detach().to(self.vectors)), gathered(labels.to(self.written))
        classes, capacity, dim = self.vectors.shape
        mine = labels.unsqueeze(1) == torch.arange(classes, device=labels.device)  # (N, K)
        arriving = mine.sum(0)
        order = (mine.cumsum(0) * mine).sum(1) - 1  # of a vector among the arriving ones of its class
        label = labels.clamp(0, classes - 1)
        kept = mine.any(1) & (order >= arriving[label] - capacity)
        place = torch.where(kept, label * capacity + (self.written[label] + order) % capacity, classes * capacity)
        room = torch.cat([self.vectors.flatten(0, 1), self.vectors.new_zeros(1, dim)])  # the last place is thrown away
        self.vectors.copy_(room.index_copy_(0, place, vectors)[:-1].view_as(self.vectors))
        self.written.add_(arriving)


def gathered(tensor: Tensor) -> Tensor:
    """The tensors of all processes, one after another by rank; ``tensor`` itself where there is one process.

    Args:
        tensor: of the same shape in every process; no gradient passes.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return tensor
    tensor = tensor.contiguous()
    parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, tensor)
    return torch.cat(parts)


def of_others(rows: Tensor, counted: Tensor) -> Tensor | None:
    """The counted rows of all other processes, as further negatives; None where there is one process.

    Args:
        rows: (N, D), N the same in every process; no gradient passes.
        counted: (N,) bool.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return None
    kept = gathered(counted.to(torch.uint8)).bool()
    begin = distributed.get_rank() * len(rows)
    kept[begin : begin + len(rows)] = False
    return gathered(rows)[kept]
