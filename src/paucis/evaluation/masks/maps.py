"""The maps that ``predict`` wrote beside its masks."""

from __future__ import annotations

import json
from pathlib import Path

from paucis.errors import PaucisError

UNCERTAINTY = ("entropy", "confidence", "expected_entropy", "mutual_information")
"""Maps of one meaning for every method, in [0, 1]; of confidence, 1 is sure."""


def find_maps(folder: Path) -> dict[str, dict[str, Path]]:
    """Map files by case and name, as the folder's manifest lists them.

    Raises:
        PaucisError: it has no manifest, or a damaged one.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise PaucisError(f"{path}: is missing: give a folder that `paucis predict` wrote")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(case["name"]): {str(name): folder / place for name, place in (case.get("maps") or {}).items()}
            for case in content["cases"]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PaucisError(f"{path} is not as `paucis predict` writes it ({error!r}): predict again") from error
