"""From images without labels, and masks of such shapes from elsewhere, to a network that segments them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paucis.data.options import MASKS, field_kind
from paucis.engine.runs import RunFolder
from paucis.methods.shape_guided import collapse
from paucis.workflows.hooks import Hooks
from paucis.workflows.recipes import find
from paucis.workflows.shape_course import ShapeCourse, draw_course, read_course
from paucis.workflows.train import DISCOVER, Trained, run

METHOD, NETWORK = "shape_guided", "vgg_unet"
PICTURE = "shapes.png"


@dataclass(frozen=True)
class Discovered:
    """What a shape-guided training left.

    Attributes:
        trained: the run folder, whether it is finished, its stages.
        picture: the curve of the target channel's share, in the run folder; None before the first figures.
        target: share of the voxels that the target channel took in the last tenth of its training, or None.
        shapes: share that reference masks took, or None.
        told_apart: share of maps and masks that the discriminator took for what they are: 0.5 where it cannot tell. Of
            seeds that differ in nothing else, the one with the least has come closest to the shapes.
        collapse: what is wrong with the target's share, in one line, or None.
    """

    trained: Trained
    picture: Path | None
    target: float | None
    shapes: float | None
    told_apart: float | None
    collapse: str | None


def discover(
    images: str | Path | None = None,
    *,
    shapes: str | Path | None = None,
    out: str | Path,
    field: str | Path | None = None,
    network: str | None = None,
    init: str | Path | None = None,
    recipe: str | None = None,
    resume: bool = False,
    stage: str | None = None,
    from_stage: str | None = None,
    options: Mapping[str, Any] | None = None,
    hooks: Hooks | None = None,
) -> Discovered:
    """Learns to segment what has the shapes of reference masks, without any label.

    Images of the training cases are used, as ``pretrain`` uses them. ``RUN/shapes.png`` shows the share of the images
    that is found beside that of the masks: a channel that stays empty or full has found nothing.

    Args:
        images: any folder of images, or a dataset; may be left out with ``resume``.
        shapes: folder of reference masks; may be left out with ``resume``.
        out: the run folder; must not hold a run unless ``resume``.
        field: field of view: ``auto``, or a folder of masks named like the images; None for whole images.
        network: registry name; ``vgg_unet`` when neither this nor a recipe says otherwise.
        init: run folder or weights file to start the network from, such as a pretraining by ``ld``.
        recipe: name or file of a recipe.
        resume: go on with the run in ``out``.
        stage: of the method's stages, the one to train; those before it must be finished.
        from_stage: of the run in ``out``, the stage from which all is trained anew.
        options: dotted key to value, such as ``{"train.steps": 300}``.
        hooks: how to follow along.

    Raises:
        PaucisError: anything the user can mend, in one line.
    """
    given, going_on = dict(options or {}), resume or from_stage is not None
    wanted = find(recipe).values if recipe else {}
    named = network or given.get("network") or wanted.get("network")
    folder = field if field is None or field_kind(str(field)) != MASKS else Path(field).expanduser().absolute()
    asked = {
        "method": wanted.get("method") if recipe or going_on else METHOD,
        "network": named if named or going_on else NETWORK,
        "init": None if init is None else str(Path(init).absolute()),
        "data.shapes": None if shapes is None else str(Path(shapes).expanduser().absolute()),
        "data.field": None if folder is None else str(folder),
    }
    values = {**{name: value for name, value in asked.items() if value is not None}, **given}
    trained = run(
        images,
        out=out,
        values=values,
        recipe=recipe,
        resume=resume,
        stage=stage,
        from_stage=from_stage,
        hooks=hooks or Hooks(),
        command=DISCOVER,
    )
    return _described(trained)


def _described(trained: Trained) -> Discovered:
    folder = RunFolder(trained.folder)
    course: ShapeCourse | None = read_course(folder.training_file)
    if course is None:
        return Discovered(trained, None, None, None, None, None)
    picture = trained.folder / PICTURE
    draw_course(picture, course)
    target, shapes, apart = course.last()
    wrong = collapse(target, shapes, float(folder.config().method_options["penalty"]))
    return Discovered(trained, picture, target, shapes, apart, wrong)
