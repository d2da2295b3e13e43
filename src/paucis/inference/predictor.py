"""One scan through one run or an ensemble of runs: mask, uncertainty maps and scores on the scan's own grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paucis.batch import Task
from paucis.data.case import Geometry, Volume
from paucis.data.field import prepare_field
from paucis.data.grid import Trace, orient, unorient
from paucis.data.plan import Plan
from paucis.data.preparation import prepare
from paucis.errors import PaucisError
from paucis.inference.options import MAPS, PredictOptions
from paucis.inference.restore import restore
from paucis.inference.sampling import SAMPLES, SampledVolumes, Spread, check_samples, uncertainty
from paucis.inference.scores import CaseScores, ClassScore
from paucis.inference.sliding import Maps, Slab
from paucis.inference.views import DISAGREEMENT
from paucis.inference.windows import MEMBER, check_channels, method_slabs
from paucis.methods.base import Method
from paucis.uncertainty.entropy import entropy, mutual_information
from paucis.uncertainty.temperature import tempered

Array = NDArray[Any]
Allocate = Callable[[str, tuple[int, ...], Any], Array]
"""Makes the array that holds a map: (name, shape, dtype); a memory map where the map is large."""


class Member(Protocol):
    """A trained run as prediction sees it; the method is in eval mode, on its device."""

    @property
    def plan(self) -> Plan: ...
    @property
    def task(self) -> Task: ...
    @property
    def method(self) -> Method: ...
    @property
    def device(self) -> torch.device: ...
    def autocast(self) -> AbstractContextManager[Any]: ...


@dataclass
class CasePrediction:
    """What was predicted of a scan, in its file's axes.

    Attributes:
        mask: (Z, Y, X) class indices.
        maps: by name, (Z, Y, X) or (k, Z, Y, X) float32 (probabilities float16); ``entropy``, and of several draws
            ``expected_entropy`` and ``mutual_information``, are shares of ln K, in [0, 1].
        members: mask of each named answer, ``NAME`` or with several runs ``RUN-NAME`` (RUN counts from 1).
        scores: one row per class.
        unit: of the volumes in ``scores`` and ``spread``, ``mL`` or ``pixels``.
        geometry: of the scan.
        samples: (S, Z, Y, X) class indices of each sample; None where none were asked for.
        spread: of each class's volume over the samples, or over the runs of an ensemble; empty without.
    """

    mask: Array
    maps: dict[str, Array]
    members: dict[str, Array]
    scores: list[ClassScore]
    unit: str
    geometry: Geometry
    samples: Array | None = None
    spread: list[Spread] = field(default_factory=list)


def check_ensemble(members: Sequence[Member]) -> None:
    """Raises PaucisError when the members do not predict the same classes of the same images."""
    first = members[0]
    for other in members[1:]:
        if list(other.plan.classes) != list(first.plan.classes):
            shown = [", ".join(member.plan.classes) for member in (first, other)]
            raise PaucisError(f"the runs of an ensemble need equal classes: one has {shown[0]}, another {shown[1]}")
        if list(other.plan.values) != list(first.plan.values):
            shown = [", ".join(map(str, member.plan.values)) for member in (first, other)]
            raise PaucisError(f"the runs of an ensemble need equal mask values: one has {shown[0]}, another {shown[1]}")
        if other.task.channels != first.task.channels:
            raise PaucisError(
                "the runs of an ensemble need the same image channels: "
                f"one has {first.task.channels}, another {other.task.channels}"
            )


def predict_case(
    members: Sequence[Member],
    volume: Volume,
    options: PredictOptions | None = None,
    *,
    allocate: Allocate | None = None,
    field: NDArray[np.bool_] | None = None,
) -> CasePrediction:
    """Predicts one scan; memory holds the image, the mask, the maps asked for and a slab per member.

    The probabilities are the mean over members, softened by ``predict.temperature``. Mutual information is that between
    members plus the mean of that between the draws (views, passes with dropout) of each member, which by the chain rule
    is that between all draws of all members; what remains of the entropy is expected entropy. With
    ``predict.samples`` the draws are the method's own samples, and entropy is that of their mean.

    Args:
        members: runs; several are an ensemble, whose plans may differ in spacing and patch.
        volume: the scan in its file's axes.
        options: windows, views and maps.
        allocate: makes the arrays of the maps; in memory by default.
        field: (Z, Y, X) in the file's axes, the field of view, outside of which all is background; None for all.

    Raises:
        PaucisError: channels, classes or orientation do not fit.
    """
    options = options or PredictOptions()
    check_ensemble(members)
    check_samples(members, options.samples, options.dropout)
    trace, slabs = _slabs(members, volume, options, field)
    result = _Result(members[0].task.classes, trace, volume.geometry, options, allocate or _in_memory, len(members))
    for parts in slabs:
        result.add(parts[0], [part.maps for part in parts])
    return result.finish()


def probability_slabs(
    members: Sequence[Member], volume: Volume, options: PredictOptions
) -> tuple[Trace, Iterator[tuple[Slab, Tensor]]]:
    """The probabilities of a scan, mean over members, before any temperature, range by range of its oriented grid.

    Returns:
        How the oriented grid lies, and pairs of a slab (for its place) and probabilities (K, z, Y, X).

    Raises:
        PaucisError: as ``predict_case``.
    """
    check_ensemble(members)
    trace, slabs = _slabs(members, volume, replace(options, samples=0, maps=()))
    return trace, ((parts[0], _mean([part.maps["probabilities"] for part in parts])) for parts in slabs)


def _slabs(
    members: Sequence[Member], volume: Volume, options: PredictOptions, field: NDArray[np.bool_] | None = None
) -> tuple[Trace, Iterator[tuple[Slab, ...]]]:
    """One slab of every member at a time, on the scan's oriented grid."""
    for member in members:
        check_channels(volume.array, member.task)
    prepared = _prepared(members, volume)
    _check_orientation([trace for _, trace in prepared])
    streams = [
        _stream(member, image, trace, options, field) for member, (image, trace) in zip(members, prepared, strict=True)
    ]
    return prepared[0][1], zip(*streams, strict=True)


def _mean(probabilities: Sequence[Tensor]) -> Tensor:
    return probabilities[0] if len(probabilities) == 1 else torch.stack(list(probabilities)).mean(0)


def _prepared(members: Sequence[Member], volume: Volume) -> list[tuple[Array, Trace]]:
    """The scan as each member's plan wants it; members with equal plans share it."""
    done: list[tuple[Plan, tuple[Array, Trace]]] = []
    result = []
    for member in members:
        found = next((ready for plan, ready in done if plan == member.plan), None)
        if found is None:
            found = prepare(volume, member.plan)
            done.append((member.plan, found))
        result.append(found)
    return result


def _stream(
    member: Member, image: Array, trace: Trace, options: PredictOptions, field: NDArray[np.bool_] | None
) -> Iterator[Slab]:
    planned = method_slabs(
        image,
        member.method,
        member.task,
        options,
        autocast=member.autocast,
        device=member.device,
        field=None if field is None else prepare_field(field, trace),
    )
    restored = restore(planned, trace.prepared, trace.oriented)
    return restored if field is None else (_within(slab, orient(field, trace)) for slab in restored)


def _within(slab: Slab, field: NDArray[np.bool_]) -> Slab:
    """The slab with background where the oriented field of view ends: in every answer, and in samples."""
    inside = torch.from_numpy(np.ascontiguousarray(field[slab.start : slab.stop]))
    maps, classes = dict(slab.maps), len(slab.maps["probabilities"])
    for name, values in slab.maps.items():
        if name in ("probabilities", SAMPLES) or name.startswith(MEMBER):
            here = inside.to(values.device)
            maps[name] = values * here
            maps[name][::classes] += ~here  # samples lie one after another
    return Slab(slab.start, slab.stop, maps)


def _check_orientation(traces: Sequence[Trace]) -> None:
    first = traces[0]
    for other in traces[1:]:
        if tuple(other.axes) != tuple(first.axes) or tuple(other.flips) != tuple(first.flips):
            raise PaucisError(
                "the runs of an ensemble must slice the scan along the same axis: predict them one by one"
            )


def _in_memory(name: str, shape: tuple[int, ...], dtype: Any) -> Array:
    return np.zeros(shape, dtype)


@dataclass
class _Result:
    """The mask and maps of a case, filled slab by slab on its oriented grid."""

    classes: int
    trace: Trace
    geometry: Geometry
    options: PredictOptions
    allocate: Allocate
    members: int = 1
    maps: dict[str, Array] = field(default_factory=dict)
    masks: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scores = CaseScores(self.classes, self.geometry)
        self.draws = self.options.samples or (self.members if self.members > 1 else 0)
        self.volumes = SampledVolumes(self.draws, self.classes, self.geometry)

    def add(self, where: Slab, parts: list[Maps]) -> None:
        """Reduces one slab of every member."""
        probabilities = [part["probabilities"] for part in parts]
        mean = tempered(_mean(probabilities), self.options.softness)
        confidence, mask = mean.max(0)
        if SAMPLES in parts[0]:
            drawn = parts[0][SAMPLES].reshape(self.options.samples, self.classes, *mean.shape[1:])
            computed = self._of_samples(where, drawn)
        else:
            computed = self._of_probabilities(mean, parts, probabilities)
        computed["confidence"] = confidence
        self.scores.add(mask, mean, computed["entropy"])
        self._put(self.masks, "", where, mask, np.uint8)
        for name, values in computed.items():
            if name in self.options.maps:
                self._put(self.maps, name, where, values, np.float32)
        if "probabilities" in self.options.maps:
            self._put(self.maps, "probabilities", where, mean, np.float16)
        self._own(where, parts)

    def finish(self) -> CasePrediction:
        """Everything in the file's axes."""
        masks = {name: unorient(mask, self.trace) for name, mask in self.masks.items()}
        maps = {name: unorient(values, self.trace) for name, values in self.maps.items()}
        samples = masks.pop(SAMPLES, None)
        spread = self.volumes.table() if self.draws else []
        unit = self.scores.unit
        return CasePrediction(masks.pop(""), maps, masks, self.scores.table(), unit, self.geometry, samples, spread)

    def _of_probabilities(self, mean: Tensor, parts: list[Maps], probabilities: list[Tensor]) -> dict[str, Tensor]:
        """The entropy of the mean and, of several draws, what of it stems from each alone and from their disagreement.

        The two add up to the entropy. A temperature changes the entropy and leaves the share of each.
        """
        if len(parts) > 1:
            self.volumes.add(torch.stack([each.argmax(0) for each in probabilities]))
        spread = entropy(mean[None], normalized=True)[0].clamp(0, 1)
        if not self.options.splits or not (len(parts) > 1 or DISAGREEMENT in parts[0]):
            return {"entropy": spread}
        between = mutual_information(torch.stack(probabilities)[:, None], normalized=True)[0]
        views = [part[DISAGREEMENT][0] for part in parts if DISAGREEMENT in part]
        information = between + sum(views, torch.zeros_like(between)) / len(parts)
        if self.options.softness != 1:
            information = information * spread / entropy(_mean(probabilities)[None], normalized=True)[0].clamp(min=1e-9)
        information = torch.minimum(information, spread)
        return {"entropy": spread, "expected_entropy": spread - information, "mutual_information": information}

    def _of_samples(self, where: Slab, samples: Tensor) -> dict[str, Tensor]:
        """What a method's samples say of uncertainty; their masks and volumes are kept."""
        masks = samples.argmax(1)
        self.volumes.add(masks)
        self._put(self.masks, SAMPLES, where, masks, np.uint8)
        softened = tempered(samples, self.options.softness, dim=1)
        return {name: values.clamp(0, 1) for name, values in uncertainty(softened).items()}

    def _own(self, where: Slab, parts: list[Maps]) -> None:
        """The method's further maps, averaged over the members that have them, and masks of its named answers."""
        further: dict[str, list[Tensor]] = {}
        for number, part in enumerate(parts, 1):
            for name, values in part.items():
                if name.startswith(MEMBER):
                    label = name[len(MEMBER) :] if len(parts) == 1 else f"{number}-{name[len(MEMBER) :]}"
                    self._put(self.masks, label, where, values.argmax(0), np.uint8)
                elif name not in ("probabilities", DISAGREEMENT, SAMPLES):
                    further.setdefault(name, []).append(values)
        for name, several in further.items():
            values = torch.stack(several).mean(0)
            name = f"method_{name}" if name in MAPS else name
            self._put(self.maps, name, where, values[0] if values.shape[0] == 1 else values, np.float32)

    def _put(self, group: dict[str, Array], name: str, where: Slab, values: Tensor, dtype: Any) -> None:
        if name not in group:
            shape = (*values.shape[:-3], *self.trace.oriented)
            group[name] = self.allocate(name, tuple(map(int, shape)), dtype)
        group[name][..., where.start : where.stop, :, :] = values.cpu().numpy()
