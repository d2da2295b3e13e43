"""From a method to the function that predicts windows, whatever its dimensions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.inference.dropout import with_dropout
from paucis.inference.options import PredictOptions
from paucis.inference.sampling import SAMPLES, draw
from paucis.inference.sliding import ArrayLike, Maps, Slab, WindowPredict, slabs, triple
from paucis.inference.surveys import surveyed
from paucis.inference.views import with_flips
from paucis.methods.base import Method, Prediction
from paucis.methods.parts.surveying import Surveying
from paucis.networks.shown import observe

MEMBER = "member:"
"""Prefix of the map that holds the probabilities of one of a method's named answers."""

BLOCK = "block_"
"""Prefix of the map that a block inserted into a network shows."""

Autocast = Callable[[], AbstractContextManager[Any]]
Answer = Callable[[Tensor], Prediction]


def window_predict(
    method: Method,
    task: Task,
    options: PredictOptions,
    autocast: Autocast = nullcontext,
    answer: Answer | None = None,
) -> WindowPredict:
    """What ``slabs`` calls: windows (N, C, *patch) through a method, with dropout and mirrored if asked.

    Gradients are off; the method's mode is left as it is.

    Args:
        method: in eval mode, on its device.
        task: of the method.
        options: flips, passes with dropout, and which maps are wanted.
        autocast: makes the context that chooses the arithmetic.
        answer: what is asked about windows; the method's ``predict`` by default.
    """

    def ask(windows: Tensor) -> Maps:
        with torch.no_grad(), autocast():
            prediction, shown = _predicted(method, answer or method.predict, windows, options)
            drawn = {SAMPLES: draw(method, windows, options.samples)} if options.samples else {}
        maps = {name: values.float() for name, values in prediction.additive.items()}
        if "own" not in options.maps:
            maps = {"probabilities": maps["probabilities"]}
        if "members" in options.maps:
            maps |= {f"{MEMBER}{name}": values.float() for name, values in prediction.members.items()}
        return maps | shown | drawn

    predict: WindowPredict = ask
    if options.dropout:
        predict = with_dropout(predict, method, options.dropout, disagreement=options.splits)
    if options.flips and task.flips:
        predict = with_flips(predict, task.flips, disagreement=options.splits)
    return predict


def _predicted(method: Method, answer: Answer, windows: Tensor, options: PredictOptions) -> tuple[Prediction, Maps]:
    """The method's answer, and the maps of its networks' inserted blocks if asked for."""
    if "blocks" not in options.maps:
        return answer(windows), {}
    prediction, found = observe(method, lambda: answer(windows), windows.shape[2:])
    if not found:
        raise PaucisError("predict.maps=blocks: the run has no UAFS blocks; train it with --plug uafs")
    return prediction, {f"{BLOCK}{site}": values for site, values in found.items()}


def method_slabs(
    image: ArrayLike,
    method: Method,
    task: Task,
    options: PredictOptions,
    *,
    autocast: Autocast = nullcontext,
    device: torch.device | str = "cpu",
    field: ArrayLike | None = None,
) -> Iterator[Slab]:
    """A method's maps of a prepared image (C, Z, Y, X), slab by slab on the planned grid.

    A method that looks at all of a scan first does so within ``field`` (Z, Y, X), the field of view.
    """
    patch = triple((*(1,) * (3 - task.ndim), *task.patch))
    answer: Answer | None = None
    if isinstance(method, Surveying) and method.looks_first:
        summary = surveyed(image, method, patch, field=field, overlap=options.overlap, autocast=autocast, device=device)
        answer = partial(method.answer, summary=summary)
    return slabs(
        image,
        patch,
        window_predict(method, task, options, autocast, answer),
        overlap=options.overlap,
        stride=options.strides(patch, task.ndim),
        weighting=options.weighting,
        batch=options.batch,
        device=device,
    )


def segment(
    image: ArrayLike,
    method: Method,
    task: Task,
    options: PredictOptions | None = None,
    *,
    autocast: Autocast = nullcontext,
    device: torch.device | str = "cpu",
) -> NDArray[np.uint8]:
    """Class indices (Z, Y, X) of a prepared image, on the planned grid (validation during training, for one).

    Args:
        image: (C, Z, Y, X) as ``prepare`` gives it.
        method: in eval mode, on ``device``.
        task: of the method.
        options: overlap, weighting, batch, flips; no maps are kept.

    Raises:
        PaucisError: the image has other channels than the task.
    """
    check_channels(image, task)
    options = options or PredictOptions(maps=())
    mask = np.zeros(triple(image.shape[1:]), np.uint8)
    for slab in method_slabs(image, method, task, options, autocast=autocast, device=device):
        mask[slab.start : slab.stop] = slab.maps["probabilities"].argmax(0).byte().cpu().numpy()
    return mask


def check_channels(image: ArrayLike, task: Task) -> None:
    """Raises PaucisError when an image (C, Z, Y, X) has other channels than the task."""
    if image.shape[0] != task.channels:
        raise PaucisError(
            f"has {image.shape[0]} channel(s), and the run was trained on {task.channels}: give scans of the same kind"
        )
