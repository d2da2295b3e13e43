"""From images without labels to a network that others start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paucis.workflows.hooks import Hooks
from paucis.workflows.recipes import find
from paucis.workflows.train import PRETRAIN, Trained, run

METHOD = "ld"


def pretrain(
    images: str | Path | Sequence[str | Path] | None = None,
    *,
    out: str | Path,
    method: str | None = None,
    network: str | None = None,
    init: str | Path | None = None,
    recipe: str | None = None,
    resume: bool = False,
    stage: str | None = None,
    from_stage: str | None = None,
    options: Mapping[str, Any] | None = None,
    hooks: Hooks | None = None,
) -> Trained:
    """Pretrains a network on unlabeled images.

    No label is opened. Of a dataset, the images of all training cases are used, labeled or not; cases that are held
    out for validation and testing (as ``train`` with the same ``data.*`` holds them out) are left alone, of several
    datasets those of each.

    Args:
        images: any folder of images, or a dataset, or several of them; may be left out with ``resume``.
        out: the run folder; must not hold a run unless ``resume``.
        method: registry name of a method that pretrains; ``ld`` when neither this nor a recipe says otherwise.
        network: registry name.
        init: run folder or weights file to start the network from.
        recipe: name or file of a recipe.
        resume: go on with the run in ``out``.
        stage: of the method's stages, the one to train; those before it must be finished.
        from_stage: of the run in ``out``, the stage from which all is trained anew.
        options: dotted key to value, such as ``{"train.steps": 300}``.
        hooks: how to follow along.

    Raises:
        PaucisError: anything the user can mend, in one line.
    """
    named = method or (find(recipe).values.get("method") if recipe else None)
    asked = {
        "method": named if named or resume or from_stage is not None else METHOD,
        "network": network,
        "init": None if init is None else str(Path(init).absolute()),
        **(options or {}),
    }
    folders = [] if images is None else [images] if isinstance(images, str | Path) else list(images)
    return run(
        folders[0] if folders else None,
        out=out,
        values={name: value for name, value in asked.items() if value is not None},
        recipe=recipe,
        resume=resume,
        stage=stage,
        from_stage=from_stage,
        hooks=hooks or Hooks(),
        command=PRETRAIN,
        also=folders[1:],
    )
