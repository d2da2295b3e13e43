"""Several datasets as one, for a pretraining on the images of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from paucis.data.case import Dataset
from paucis.data.layouts.listing import refuse_twice
from paucis.data.split import Split
from paucis.errors import PaucisError


def joined(parts: Sequence[Dataset]) -> Dataset:
    """The cases of all datasets, one dataset after the other.

    A name that several of them have gets that of its folder before it (``drive_21``).

    Raises:
        PaucisError: other channels than the first one's, or names that are twice even so.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts[1:]:
        if len(part.channels) != len(first.channels):
            ours, theirs = (", ".join(each.channels) for each in (first, part))
            raise PaucisError(
                f"{first.root} and {part.root} cannot be pretrained on together: the channels are {ours}, and {theirs}"
            )
    cases = []
    for part, names in zip(parts, _names(parts), strict=True):
        for case in part.cases:
            alone = case.group in ("", case.name)
            cases.append(replace(case, name=names[case.name], group=names[case.name] if alone else case.group))
    refuse_twice((case.name for case in cases), first.root)
    return Dataset(first.root, first.layout, tuple(cases), first.channels, (), ())


def joined_split(parts: Sequence[Dataset], splits: Sequence[Split]) -> Split:
    """The roles of the joined dataset's cases, of a split of each dataset on its own."""
    if len(parts) == 1:
        return splits[0]
    both = list(zip(splits, _names(parts), strict=True))

    def of(role: str) -> Iterator[str]:
        return (names[name] for split, names in both for name in getattr(split, role))

    return Split(tuple(of("labeled")), tuple(of("unlabeled")), tuple(of("val")), tuple(of("test")))


def _names(parts: Sequence[Dataset]) -> list[dict[str, str]]:
    """The new name of each case of each dataset, by its old one."""
    counts = Counter(case.name for part in parts for case in part.cases)
    folders = [part.root.resolve().name for part in parts]
    if len(set(folders)) < len(folders):  # drive/images and chase_db1/images
        folders = [f"{part.root.resolve().parent.name}_{name}" for part, name in zip(parts, folders, strict=True)]
    return [
        {case.name: case.name if counts[case.name] == 1 else f"{folder}_{case.name}" for case in part.cases}
        for part, folder in zip(parts, folders, strict=True)
    ]
