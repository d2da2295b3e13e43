"""Files of a folder, and which of them make one case."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from paucis.data import formats
from paucis.data.case import Case
from paucis.errors import PaucisError

_NUMBERED = re.compile(r"^(.+)_(\d{4})$")


def list_scans(folder: Path, suffixes: Sequence[str] = formats.SUFFIXES) -> list[Path]:
    """Files of a known format right in ``folder``, sorted by name; hidden ones (macOS' ``._*``) left out."""
    if not folder.is_dir():
        return []
    return sorted(
        (file for file in folder.iterdir() if not file.name.startswith(".") and formats.suffix(file) in suffixes),
        key=lambda file: formats.bare(file),
    )


def channel_groups(files: Iterable[Path], channels: int | None = None) -> dict[str, tuple[Path, ...]]:
    """Files by case: ``CASE_0000.ext``, ``CASE_0001.ext`` ... are the channels of CASE where that can be.

    It can be where every file has such a number and every case has the numbers 0 to C-1, the same C for all
    (``channels``, where given). Else each file is a case: ``IMG_0012.png`` and ``IMG_0014.png`` are two pictures.

    Raises:
        PaucisError: two files would make cases of one name.
    """
    files = list(files)
    numbered = [_NUMBERED.match(formats.bare(file)) for file in files]
    groups: dict[str, dict[int, Path]] = {}
    for file, match in zip(files, numbered, strict=True):
        if match:
            groups.setdefault(match[1], {})[int(match[2])] = file
    counts = {tuple(sorted(group)) for group in groups.values()}
    count = channels or max((len(numbers) for numbers in counts), default=0)
    whole = all(numbered) and counts == {tuple(range(count))} and sum(map(len, groups.values())) == len(files)
    if whole and (channels or len(groups) > 1 or count <= 4):
        return {name: tuple(group[index] for index in range(count)) for name, group in groups.items()}
    refuse_twice((formats.bare(file) for file in files), files[0].parent if files else Path())
    return {formats.bare(file): (file,) for file in files}


def to_cases(groups: Mapping[str, tuple[Path, ...]], labels: Mapping[str, Path] | None = None) -> list[Case]:
    """A case for every group of files, with its label where ``labels`` has one of its name."""
    return [Case(name, images, (labels or {}).get(name), group=name) for name, images in groups.items()]


def refuse_twice(names: Iterable[str], where: Path) -> None:
    """Raises:
    PaucisError: a name occurs twice.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise PaucisError(
            f"{where} has {len(twice)} names twice, such as '{twice[0]}': rename or remove one file of each"
        )


def unique_names(files: Sequence[Path], where: Path) -> list[str]:
    """A name for each file: its stem; its folder's name, or both, where stems repeat (``CASE/mri_norm2.h5``).

    Raises:
        PaucisError: even both repeat.
    """
    stems = [formats.stem(file) for file in files]
    repeated = {stem for stem, count in Counter(stems).items() if count > 1}
    names = [file.parent.name if stem in repeated else stem for file, stem in zip(files, stems, strict=True)]
    if len(set(names)) == len(files):
        return names
    both = [f"{file.parent.name}_{stem}" for file, stem in zip(files, stems, strict=True)]
    refuse_twice(both, where)
    return both
