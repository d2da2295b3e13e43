"""What a reader finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paucis.datasets.scan import Scan


@dataclass(frozen=True)
class Found:
    """The scans of a source, and what the source itself says of them.

    Attributes:
        scans: in no particular order.
        classes: name to value, where a file of the source tells it.
        channels: names, where a file of the source tells them.
    """

    scans: list[Scan]
    classes: Mapping[str, int] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
