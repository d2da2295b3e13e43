"""Two streams of crops, labeled and unlabeled: batch k is a pure function of (seed, rank, world, k)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from paucis.batch import IGNORE, Annotated, Batch, Task
from paucis.data.cached import CachedCase
from paucis.data.processes import single_threaded
from paucis.data.shapes import ShapePrior

LABELED, UNLABELED, PSEUDO, REFERENCES = range(4)
ORDER, PLACE = range(2)


class PseudoLabeled(Protocol):
    """An unlabeled case with what an earlier stage predicted for it, on the planned grid."""

    @property
    def case(self) -> CachedCase:
        """Its image."""

    @property
    def labels(self) -> Any:
        """(Z, Y, X) class indices, ``IGNORE`` where nothing is said; any array that is sliced like NumPy's."""

    @property
    def confidence(self) -> Any:
        """(Z, Y, X) in [0, 1], likewise."""


class Draw(NamedTuple):
    """What one crop of a batch is to be.

    Attributes:
        number: index of its unit in its stream.
        case: index in its stream.
        slice: Z of the slice in 2D, else -1.
        aimed: the crop must hold a voxel of a class.
        rng: for the rest.
    """

    number: int
    case: int
    slice: int
    aimed: bool
    rng: np.random.Generator


class Window(NamedTuple):
    """A crop: where it starts in its case and how much it takes of it (Z, Y, X), and where that lies in the patch."""

    start: tuple[int, ...]
    size: tuple[int, ...]
    inside: tuple[slice, ...]


class BatchStream(Dataset[Batch]):
    """Item k is the whole k-th batch, however many workers read it and wherever a run was resumed.

    Each stream walks through permutations of its units, a new one every epoch, drawn from the seed and shared by all
    ranks, which take turns: two ranks together see what one with twice the batch would. Units are the slices of all
    cases in 2D, every slice equally likely, and the cases in 3D. A guaranteed share of the labeled crops holds a
    voxel of a class drawn from those present in its case (in 2D the slice is then drawn anew within the case); the
    others lie anywhere. A case smaller than the patch is padded on both sides: image 0, label ``IGNORE``, ``valid``
    False.

    Args:
        task: patch and dimensions.
        labeled: cases with labels; may be empty.
        unlabeled: cases whose labels are never opened; None for methods that do not use them.
        batch_size: labeled crops of a batch, on this rank.
        unlabeled_batch_size: unlabeled crops of a batch on this rank, and pseudo-labeled ones.
        foreground: share of labeled crops that surely hold a class, in [0, 1] (``data.foreground``).
        seed: of all draws.
        rank: of this process.
        world: number of processes.
        pseudo: cases with pseudo-labels; None without.
        shapes: reference masks, of which each unlabeled crop brings one in two positions; None without.
    """

    def __init__(
        self,
        task: Task,
        labeled: Sequence[CachedCase],
        unlabeled: Sequence[CachedCase] | None = None,
        *,
        batch_size: int,
        unlabeled_batch_size: int = 0,
        foreground: float = 0.33,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        pseudo: Sequence[PseudoLabeled] | None = None,
        shapes: ShapePrior | None = None,
    ) -> None:
        self.task = task
        self.patch = (1,) * (3 - task.ndim) + tuple(task.patch)
        self.labeled = list(labeled)
        self.unlabeled = [_blind(case) for case in unlabeled or ()]
        self.pseudo = list(pseudo or ())
        self.shapes = shapes
        self.sizes = (batch_size, unlabeled_batch_size, unlabeled_batch_size)
        self.foreground = foreground
        self.seed = seed % 2**32
        self.rank = rank
        self.world = world
        streams = (self.labeled, self.unlabeled, [item.case for item in self.pseudo])
        self.units = tuple(_units(cases, task.ndim) for cases in streams)
        for case in self.labeled:
            if case.label_path is None:
                raise ValueError(f"case '{case.name}' has no label and cannot be in the labeled stream")

    def __getitem__(self, k: int) -> Batch:
        """The k-th batch of this rank."""
        draws = [self._draws(stream, k) for stream in (LABELED, UNLABELED, PSEUDO)]
        labeled = [self._labeled(draw) for draw in draws[LABELED]]
        unlabeled = [self._unlabeled(draw) for draw in draws[UNLABELED]]
        pseudo = [self._pseudo(draw) for draw in draws[PSEUDO]]
        return Batch(
            labeled=Annotated(*map(_stack, zip(*labeled, strict=True))) if labeled else None,
            unlabeled=_stack([image for image, _ in unlabeled]) if unlabeled else None,
            pseudo=Annotated(*map(_stack, zip(*pseudo, strict=True))) if pseudo else None,
            references=_stack(self._references(k)) if self.shapes is not None and unlabeled else None,
            valid=_stack([valid for _, valid in unlabeled]) if unlabeled else None,
            cases=tuple(
                [self.labeled[draw.case].name for draw in draws[LABELED]]
                + [self.unlabeled[draw.case].name for draw in draws[UNLABELED]]
            ),
            numbers=torch.tensor([draw.number for draw in draws[UNLABELED]]) if unlabeled else None,
            total=len(self.units[UNLABELED]),
        )

    def _draws(self, stream: int, k: int) -> list[Draw]:
        units, size = self.units[stream], self.sizes[stream]
        if len(units) == 0:
            return []
        draws = []
        for index in range((k * self.world + self.rank) * size, (k * self.world + self.rank + 1) * size):
            epoch, place = divmod(index, len(units))
            number = int(_permutation(self.seed, stream, epoch, len(units))[place])
            case, z = units[number]
            share = self.foreground if stream == LABELED else 0.0
            aimed = int((index + 1) * share + 1e-9) > int(index * share + 1e-9)
            rng = np.random.default_rng([self.seed, stream, PLACE, index])
            draws.append(Draw(number, int(case), int(z), aimed, rng))
        return draws

    def _references(self, k: int) -> list[NDArray[np.float32]]:
        """Two positions each of as many reference masks as there are unlabeled crops, in permutations of the masks."""
        assert self.shapes is not None
        size, drawn = self.sizes[UNLABELED], []
        for index in range((k * self.world + self.rank) * size, (k * self.world + self.rank + 1) * size):
            epoch, place = divmod(index, len(self.shapes))
            number = int(_permutation(self.seed, REFERENCES, epoch, len(self.shapes))[place])
            rng = np.random.default_rng([self.seed, REFERENCES, PLACE, index])
            drawn += [self.shapes.draw(number, rng) for _ in range(2)]
        return drawn

    def _labeled(self, draw: Draw) -> tuple[NDArray[Any], ...]:
        case = self.labeled[draw.case]
        window = self._window(case, draw, _voxel_of_a_class(case, draw.rng) if draw.aimed else None)
        crop = case.crop(window.start, window.size)
        assert crop.label is not None
        label = np.where(_field(case, window), crop.label.astype(np.int64), IGNORE)
        return self._pad(crop.image, window, 0), self._pad(label, window, IGNORE)

    def _unlabeled(self, draw: Draw) -> tuple[NDArray[Any], ...]:
        case = self.unlabeled[draw.case]
        window = self._window(case, draw)
        image = case.crop(window.start, window.size).image
        return self._pad(image, window, 0), self._pad(_field(case, window), window, False)

    def _pseudo(self, draw: Draw) -> tuple[NDArray[Any], ...]:
        item = self.pseudo[draw.case]
        window = self._window(item.case, draw)
        z, y, x = (slice(first, first + n) for first, n in zip(window.start, window.size, strict=True))
        image = item.case.image[:, z, y, x]
        label = np.asarray(item.labels[z, y, x], np.int64)
        weight = np.asarray(item.confidence[z, y, x], np.float32)
        return self._pad(image, window, 0), self._pad(label, window, IGNORE), self._pad(weight, window, 0)

    def _window(self, case: CachedCase, draw: Draw, voxel: NDArray[np.int32] | None = None) -> Window:
        """Where the crop lies in its case; ``voxel`` (z, y, x) is inside it, at a random place."""
        start, size, inside = [], [], []
        for axis, (length, wanted) in enumerate(zip(case.shape, self.patch, strict=True)):
            low, high = 0, max(length - wanted, 0)
            if voxel is not None:
                low, high = max(0, int(voxel[axis]) - wanted + 1), min(int(voxel[axis]), high)
            elif axis == 0 and draw.slice >= 0:
                low = high = draw.slice
            taken, before = min(length, wanted), max(wanted - length, 0) // 2
            start.append(int(draw.rng.integers(min(low, high), high + 1)))
            size.append(taken)
            inside.append(slice(before, before + taken))
        return Window(tuple(start), tuple(size), tuple(inside))

    def _pad(self, array: NDArray[Any], window: Window, fill: float) -> NDArray[Any]:
        """The crop at the size of the patch, without Z in 2D."""
        full = np.full((*array.shape[:-3], *self.patch), fill, array.dtype)
        z, y, x = window.inside
        full[..., z, y, x] = array
        return full if self.task.ndim == 3 else full[..., 0, :, :]


def loader(stream: BatchStream, start: int, total: int, workers: int) -> DataLoader[Batch]:
    """Batches ``start`` to ``total - 1`` of a stream, in order.

    Args:
        stream: the batches.
        start: the first one; that of the checkpoint when a run is resumed.
        total: how many batches the whole run has.
        workers: loader processes; 0 reads in this one. The batches are the same whatever the number.
    """
    return DataLoader(
        stream,
        batch_size=None,
        sampler=range(start, total),
        num_workers=workers,
        worker_init_fn=single_threaded,
        pin_memory=torch.cuda.is_available(),
    )


def _stack(arrays: Sequence[NDArray[Any]]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


def _blind(case: CachedCase) -> CachedCase:
    return replace(case, label_path=None, positions_path=None)


def _units(cases: Sequence[CachedCase], ndim: int) -> NDArray[np.int64]:
    """Rows (case, slice): what one epoch visits once each."""
    if ndim == 3:
        return np.array([(index, -1) for index in range(len(cases))], np.int64).reshape(-1, 2)
    return np.array([(index, z) for index, case in enumerate(cases) for z in range(case.shape[0])], np.int64).reshape(
        -1, 2
    )


def _field(case: CachedCase, window: Window) -> NDArray[np.bool_]:
    """Where a crop lies in the field of view of its case."""
    if case.field is None:
        return np.ones(window.size, bool)
    z, y, x = (slice(first, first + length) for first, length in zip(window.start, window.size, strict=True))
    inside: NDArray[np.bool_] = case.field[z, y, x] > 0
    return inside


@lru_cache(maxsize=16)
def _permutation(seed: int, stream: int, epoch: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, stream, ORDER, epoch]).permutation(length)


def _voxel_of_a_class(case: CachedCase, rng: np.random.Generator) -> NDArray[np.int32] | None:
    """A voxel (z, y, x) of a class drawn from those the case has; None where it has none."""
    rows = case.positions
    if rows is None or len(rows) == 0:
        return None
    present = np.unique(rows[:, 0])
    first, last = np.searchsorted(rows[:, 0], rng.choice(present) + np.array([0, 1]))
    voxel: NDArray[np.int32] = rows[rng.integers(first, last), 1:]
    return voxel
