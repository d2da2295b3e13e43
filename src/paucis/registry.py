"""Names to classes: a dict filled by a decorator, by entry points and by ``module:Name``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from paucis.errors import PaucisError

T = TypeVar("T")


def nearest(name: str, allowed: list[str]) -> str:
    """A hint such as ``; did you mean 'vnet'?``, or nothing when no name is near."""
    close = get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


class Registry(Generic[T]):
    """The things of one kind that go by a name.

    Args:
        kind: what they are, in the singular, for messages and for the entry-point group ``paucis.<kind>s``.
        package: the package whose modules register themselves when imported; it is imported on first use, so that
            listing names costs nothing before.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._entries: dict[str, type[T]] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator: makes the class known under ``name``.

        Raises:
            PaucisError: another module has taken the name.
        """

        def decorate(cls: type[T]) -> type[T]:
            taken = self._entries.get(name)
            if taken is not None and taken.__module__ != cls.__module__:
                raise PaucisError(
                    f"the {self.kind} name '{name}' is taken by {taken.__module__}: give the one in {cls.__module__} "
                    "another name"
                )
            cls.name = name  # type: ignore[attr-defined]
            self._entries[name] = cls
            return cls

        return decorate

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._load()
        return sorted(self._entries)

    def get(self, name: str) -> type[T]:
        """The class called ``name``, or the one at ``module:Name``.

        Raises:
            PaucisError: no such name (the nearest one is suggested), or the module cannot be imported.
        """
        self._load()
        if name in self._entries:
            return self._entries[name]
        if ":" in name:
            module, _, attribute = name.partition(":")
            try:
                found: type[T] = getattr(importlib.import_module(module), attribute)
            except (ImportError, AttributeError) as error:
                raise PaucisError(f"{self.kind} '{name}' cannot be imported: {error}") from error
            if not hasattr(found, "name"):
                found.name = name  # type: ignore[attr-defined]
            return found
        raise PaucisError(
            f"unknown {self.kind} '{name}'{nearest(name, self.names())} (`paucis {self.kind}s` lists all)"
        )

    def __iter__(self) -> Iterator[tuple[str, type[T]]]:
        for name in self.names():
            yield name, self._entries[name]

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        importlib.import_module(self.package)
        for point in entry_points(group=f"paucis.{self.kind}s"):
            try:
                self.register(point.name)(point.load())
            except ImportError as error:
                raise PaucisError(f"{self.kind} '{point.name}' of {point.value} cannot be imported: {error}") from error
