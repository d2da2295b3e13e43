"""The temperature that a run was calibrated to, kept in its folder with what it holds for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from paucis.engine.files import read_json
from paucis.engine.runs import Run
from paucis.errors import PaucisError
from paucis.files import write_json
from paucis.inference.options import PredictOptions
from paucis.methods.base import Method

FILE = "temperature.json"
SAVED = "saved"


def fingerprint(method: Method) -> str:
    """A digest of the weights: a temperature holds for them alone."""
    found = hashlib.sha256()
    for name, tensor in sorted(method.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def save(run: Run, options: PredictOptions, content: dict[str, Any]) -> Path:
    """Writes ``temperature.json`` to the run: what was found, the weights and the way of predicting it holds for."""
    path = run.folder.path / FILE
    write_json(path, {**content, "predict": _way(options), "weights": fingerprint(run.method)})
    return path


def resolved(options: PredictOptions, members: Sequence[Run]) -> PredictOptions:
    """The options with a number for ``predict.temperature=saved``.

    Raises:
        PaucisError: the run was not calibrated, was trained since, or was calibrated for another way of predicting; or
            there are several runs, of which no single one's temperature holds.
    """
    if options.temperature != SAVED:
        options.softness  # noqa: B018  (refuses what is no number before any scan is read)
        return options
    if len(members) > 1:
        raise PaucisError(
            "predict.temperature=saved is that of one run: calibrate the ensemble (paucis calibrate RUN DATASET --also "
            "RUN) and give the number it prints"
        )
    run = members[0]
    path = run.folder.path / FILE
    if not path.is_file():
        raise PaucisError(f"{run.folder.path} has no saved temperature: run `paucis calibrate` on it first")
    content = read_json(path)
    try:
        value, way, weights = float(content["temperature"]), dict(content["predict"]), str(content["weights"])
    except (KeyError, TypeError, ValueError) as error:
        raise PaucisError(f"{path} is not as `paucis calibrate` writes it ({error!r}): calibrate again") from error
    if weights != fingerprint(run.method):
        raise PaucisError(f"{path} is of other weights: calibrate again (or take the same --weights)")
    differing = [name for name, told in _way(options).items() if way.get(name) != told]
    if differing:
        name = differing[0]
        raise PaucisError(f"{path} holds for predict.{name}={way.get(name)}: predict so, or calibrate again")
    return replace(options, temperature=repr(value))


def _way(options: PredictOptions) -> dict[str, Any]:
    """What of prediction changes how sure the probabilities are."""
    return {"flips": options.flips, "dropout": options.dropout}
