"""Segment medical images from few labels, know where the model is unsure, and choose which scan to label next.

``paucis.train``, ``paucis.predict``, ``paucis.evaluate``, ``paucis.report``, ``paucis.suggest`` and ``paucis.check`` do
what the commands of the same names do. They are imported on first use, so that ``import paucis`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from paucis.workflows.check import check_dataset as check
    from paucis.workflows.discover import discover
    from paucis.workflows.evaluate import evaluate
    from paucis.workflows.locate import locate
    from paucis.workflows.predict import predict
    from paucis.workflows.pretrain import pretrain
    from paucis.workflows.report.making import report
    from paucis.workflows.suggest import suggest
    from paucis.workflows.train import train

__all__ = ["check", "discover", "evaluate", "locate", "predict", "pretrain", "report", "suggest", "train"]

_LAZY = {
    "check": ("paucis.workflows.check", "check_dataset"),
    "discover": ("paucis.workflows.discover", "discover"),
    "evaluate": ("paucis.workflows.evaluate", "evaluate"),
    "locate": ("paucis.workflows.locate", "locate"),
    "predict": ("paucis.workflows.predict", "predict"),
    "pretrain": ("paucis.workflows.pretrain", "pretrain"),
    "report": ("paucis.workflows.report.making", "report"),
    "suggest": ("paucis.workflows.suggest", "suggest"),
    "train": ("paucis.workflows.train", "train"),
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module 'paucis' has no attribute '{name}'")
