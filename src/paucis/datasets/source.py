"""The folder that a publisher's archives were unpacked into: its files, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from paucis.data.problems import Problem
from paucis.errors import PaucisError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".rar", ".7z", ".z01")
_SKIPPED = ("__MACOSX",)


class Source:
    """Files below a folder, found by their names, however deep an archive was unpacked.

    Attributes:
        root: the folder; its files are never changed.
        problems: what readers found missing or wrong, file by file.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser()
        if not self.root.is_dir():
            raise PaucisError(f"{root} is not a folder: name the one that the dataset was unpacked into")
        self.problems: list[Problem] = []
        self.files = sorted(_walk(self.root))

    def match(self, pattern: str) -> Iterator[tuple[Path, re.Match[str]]]:
        """Files whose path below the root (with ``/``) ends in the pattern, and the match; in the order of paths."""
        wanted = re.compile(rf"(?:^|/){pattern}$", re.IGNORECASE)
        for path in self.files:
            found = wanted.search(path.relative_to(self.root).as_posix())
            if found:
                yield path, found

    def by_name(self, pattern: str, group: int | str = 1) -> dict[str, Path]:
        """Files by a group of their match; two files of one name are a problem, the first is kept."""
        found: dict[str, Path] = {}
        for path, match in self.match(pattern):
            name = match[group]
            if name in found:
                self.wrong(path, f"'{name}' is there twice, also as {found[name]}", "remove one of them")
            else:
                found[name] = path
        return found

    def wrong(self, file: Path | str, message: str, remedy: str) -> None:
        """Notes a problem."""
        self.problems.append(Problem("error", str(file), message, remedy))

    def unpaired(self, images: Iterable[str], labels: dict[str, Path], files: dict[str, Path]) -> None:
        """Notes every image without its label."""
        for name in images:
            if name not in labels:
                self.wrong(files[name], "its label is missing", "add the labels of the same release")

    def archives(self) -> list[Path]:
        """Archives that still want to be unpacked."""
        return [path for path in self.files if path.name.lower().endswith(ARCHIVES)]


def _walk(root: Path) -> Iterator[Path]:
    for path in root.iterdir():
        if path.name.startswith(".") or path.name in _SKIPPED:
            continue
        if path.is_dir():
            yield from _walk(path)
        elif path.is_file():
            yield path
