"""What can be wrong with a dataset once its scans have been looked at; nothing is opened here."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from paucis.data.case import Case, Dataset
from paucis.data.corners import corner_distance
from paucis.data.facts import CaseFacts
from paucis.data.layouts import ignored
from paucis.data.problems import Problem

__all__ = ["Problem", "check"]

_SLICE = re.compile(r"_slice_\d+$")


def check(dataset: Dataset, facts: Mapping[str, CaseFacts], tolerance_mm: float = 0.01) -> list[Problem]:
    """Every problem of a dataset, in the order of its cases, then those that concern several cases.

    Args:
        dataset: its cases; label values are compared where ``dataset.values`` are known.
        facts: of its cases by name (``paucis.data.facts.gather``); cases without facts are passed over.
        tolerance_mm: how far corners of image and label may lie apart. Pictures have no place in space to compare.

    Returns:
        Errors, where training would fail or learn from wrong data, and warnings.
    """
    known = [(case, facts[case.name]) for case in dataset.cases if case.name in facts]
    allowed = {*dataset.values, *ignored(dataset)} if dataset.values else None
    problems: list[Problem] = []
    for case, fact in known:
        problems += _label_grid(case, fact, tolerance_mm)
        problems += _label_values(case, fact, allowed)
        problems += _intensities(case, fact)
    problems += _unlike(known, dataset)
    problems += _duplicates(known, _roles(dataset))
    problems += _patients(dataset)
    problems += _absent_classes(known, dataset)
    problems += _slices_beside_volumes(dataset)
    return problems


def _label_grid(case: Case, fact: CaseFacts, tolerance_mm: float) -> Iterator[Problem]:
    if fact.label_shape is None or fact.label_geometry is None:
        return
    file = str(case.label)
    if fact.label_shape != fact.shape:
        sizes = f"{_size(fact.label_shape)} voxels, its image {_size(fact.shape)} ({case.images[0].name})"
        yield Problem("error", file, f"the mask has {sizes}", "resample the mask to the image's grid")
    elif fact.geometry.physical and fact.label_geometry.physical:
        apart = corner_distance(fact.geometry, fact.label_geometry, fact.shape)
        if apart > tolerance_mm:
            message = f"the mask lies up to {apart:.3g} mm from its image {case.images[0].name}"
            yield Problem("error", file, message, "resample the mask to the image's grid, or mend its header")


def _label_values(case: Case, fact: CaseFacts, allowed: set[int] | None) -> Iterator[Problem]:
    unknown = sorted(set(fact.label_counts or ()) - allowed) if allowed else []
    if unknown and fact.label_counts:
        voxels = sum(fact.label_counts[value] for value in unknown)
        shown = ", ".join(map(str, unknown[:5])) + (" ..." if len(unknown) > 5 else "")
        message = f"unknown label values {shown} in {voxels} voxels"
        yield Problem("error", str(case.label), message, "name them in dataset.json 'labels', or mend the mask")


def _intensities(case: Case, fact: CaseFacts) -> Iterator[Problem]:
    file = str(case.images[0])
    if fact.nonfinite:
        yield Problem("error", file, f"{fact.nonfinite} voxels are NaN or infinite", "replace them, by 0 for example")
    flat = [index for index, summary in enumerate(fact.intensity) if summary["min"] == summary["max"]]
    if flat:
        where = f"channel {', '.join(map(str, flat))} is" if fact.channels > 1 else "the image is"
        yield Problem("warning", file, f"{where} constant: there is nothing to see", "leave the case out")


def _unlike(known: list[tuple[Case, CaseFacts]], dataset: Dataset) -> Iterator[Problem]:
    """Cases of another kind than most: channels, pictures among volumes."""
    if not known:
        return
    dims = Counter(fact.geometry.dims for _, fact in known).most_common(1)[0][0]
    channels = Counter(fact.channels for _, fact in known).most_common(1)[0][0]
    if channels != len(dataset.channels):
        message = f"images have {channels} channels, the dataset names {len(dataset.channels)}"
        yield Problem("error", str(dataset.root), message, "mend 'channel_names' in dataset.json, or add the channels")
    for case, fact in known:
        file = str(case.images[0])
        if fact.channels != channels:
            message = f"{fact.channels} channels, where most images have {channels}"
            yield Problem("error", file, message, "convert all images to the same channels")
        if fact.geometry.dims != dims:
            kinds = ("a picture among volumes", "a volume among pictures")
            yield Problem("error", file, kinds[dims == 2], "make one dataset of pictures and one of volumes")


def _duplicates(known: list[tuple[Case, CaseFacts]], roles: Mapping[str, set[str]]) -> Iterator[Problem]:
    """The same image twice: an error where one copy is trained on and the other scored."""
    copies: dict[str, list[tuple[Case, CaseFacts]]] = defaultdict(list)
    for case, fact in known:
        copies[fact.content].append((case, fact))
    for group in copies.values():
        first, _ = group[0]
        for case, fact in group[1:]:
            message, level = f"the same image as case '{first.name}'", "warning"
            together = {frozenset((one, other)) for one in roles[first.name] for other in roles[case.name]}
            if {frozenset(pair) for pair in (("train", "val"), ("train", "test"), ("val", "test"))} & together:
                message, level = f"{message}, in another role", "error"
            elif (case.label is None) != (first.label is None):
                message += ", once with and once without a label"
            elif fact.label_content != group[0][1].label_content:
                message += ", with another label"
            yield Problem(
                "error" if level == "error" else "warning", str(case.images[0]), message, "remove one of the two"
            )


def _roles(dataset: Dataset) -> dict[str, set[str]]:
    """Case name to its roles in the first fold of the shipped split, else to the role its layout gives."""
    roles: dict[str, set[str]] = {case.name: {case.role} if case.role else set() for case in dataset.cases}
    if dataset.split:
        roles = {case.name: set() for case in dataset.cases}
        for role, names in dataset.split[0].items():
            for name in names:
                roles.setdefault(name, set()).add(role)
    return roles


def _patients(dataset: Dataset) -> Iterator[Problem]:
    """Patients, and cases, in two roles of one split."""
    groups = {case.name: case.group or case.name for case in dataset.cases}
    splits = dataset.split or (_by_role(dataset),)
    told = set()
    for fold in splits:
        seen: dict[str, tuple[str, str]] = {}
        for role, names in fold.items():
            for name in names:
                group = groups.get(name, name)
                other, holder = seen.setdefault(group, (role, name))
                if other != role and group not in told:
                    told.add(group)
                    message = f"patient '{group}' is in {other} ('{holder}') and in {role} ('{name}')"
                    yield Problem("error", str(dataset.root), message, "give all scans of a patient one role")


def _by_role(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    roles: dict[str, list[str]] = defaultdict(list)
    for case in dataset.cases:
        if case.role:
            roles[case.role].append(case.name)
    return {role: tuple(names) for role, names in roles.items()}


def _absent_classes(known: list[tuple[Case, CaseFacts]], dataset: Dataset) -> Iterator[Problem]:
    counts = [fact.label_counts for _, fact in known if fact.label_counts is not None]
    if not counts:
        return
    held: set[int] = set().union(*counts)
    for name, value in list(zip(dataset.classes, dataset.values, strict=True))[1:]:
        if value not in held:
            message = f"class '{name}' (value {value}) is in none of the {len(counts)} labels"
            yield Problem("warning", str(dataset.root), message, "add a label that shows it, or drop the class")


def _slices_beside_volumes(dataset: Dataset) -> Iterator[Problem]:
    names = {case.name for case in dataset.cases}
    both = [name for name in names if _SLICE.search(name) and _SLICE.sub("", name) in names]
    if both:
        message = f"{len(both)} slices lie beside the volumes they come from: their voxels count twice"
        yield Problem("warning", str(dataset.root), message, "keep slices or volumes, or add train_slices.list")


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
