"""Matplotlib figures as SVG that takes its colors and fonts from the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from paucis.evaluation.reliability.pictures import COLORS

LINES = COLORS[:6]
"""Colors of lines; the seventh is that of the text."""

_THEMED = {color: f"var(--line{number})" for number, color in enumerate(LINES, 1)} | {
    "#000000": "var(--ink)",
    "#999999": "var(--soft)",
    "#bfbfbf": "var(--faint)",
}
"""Colors that the page's style sets, for light and for dark."""


@contextmanager
def drawing(width: float, height: float) -> Iterator[Any]:
    """A Matplotlib figure of so many inches, drawn with the report's settings within the block."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 8, "axes.titlesize": 9, "axes.labelsize": 8, "axes.unicode_minus": False}):
        yield Figure(figsize=(width, height), layout="constrained")


def svg(figure: Any, name: str, meaning: str) -> str:
    """A figure as an SVG element for a page.

    Args:
        figure: of Matplotlib.
        name: of the figure, another for every figure of a page: its inner references are made from it.
        meaning: what a reader hears who does not see it.
    """
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    whole = text.getvalue()
    inside = whole[whole.index(">", whole.index("<svg")) + 1 :]
    box = re.search(r'viewBox="([^"]+)"', whole)
    assert box is not None
    inside = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>", "", inside, flags=re.S)
    for color, variable in _THEMED.items():
        inside = inside.replace(color, variable)
    used = set(re.findall(r"#([\w-]+)", inside))
    inside = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", inside)
    inside = re.sub(r"\n\s*", "\n", inside)
    return f'<svg class="chart" viewBox="{box[1]}" role="img" aria-label="{_quoted(meaning)}">{inside}'


def plain(axes: Any) -> None:
    """No frame above and on the right, a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#bfbfbf", linewidth=0.4)
    axes.tick_params(labelsize=7)


def thin(x: Sequence[float], y: Sequence[float], most: int = 300) -> tuple[list[float], list[float]]:
    """A curve of ``most`` points at most, means of neighbors."""
    import numpy as np

    if len(x) <= most:
        return list(x), list(y)
    parts = np.array_split(np.arange(len(x)), most)
    return [float(np.mean(np.asarray(x)[part])) for part in parts], [
        float(np.mean(np.asarray(y)[part])) for part in parts
    ]


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
