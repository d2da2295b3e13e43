"""Weights from a file into a network: all of them, or those that fit, with an account of the rest."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from paucis.errors import PaucisError

logger = logging.getLogger(__name__)

_CONTAINERS = ("state_dict", "model_state_dict", "model", "network", "net", "weights")
_ENOUGH = 0.2
_LISTED = 4


class LoadReport(NamedTuple):
    """What became of a file's tensors.

    Attributes:
        loaded: names in the network that took a tensor of the file.
        missing: names in the network for which the file has nothing that fits; they keep their values.
        unexpected: names in the file that were not used, with both shapes where these differ.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def load_weights(network: nn.Module, path: str | Path, *, without: str | None = None) -> LoadReport:
    """Loads weights of the whole network or of a part such as its encoder.

    Names may have another prefix in the file (``module.``, ``student.``) or none where the network has one
    (``encoder.``): the pair of prefixes under which most tensors fit by name and shape is taken.

    Args:
        network: changed in place.
        path: a safetensors file, or a torch file of tensors (possibly inside a checkpoint's ``state_dict``); it is
            read without executing anything from it.
        without: names in the network that begin so are left as they are (``decoder.``).

    Raises:
        PaucisError: no such file, not a file of weights, or hardly a tensor of it fits the network.
    """
    given = read_tensors(path)
    own = {k: value for k, value in network.state_dict().items() if without is None or not k.startswith(without)}
    strip, start, fitting = _fitting(given, own)
    if max(len(fitting) / max(len(given), 1), len(fitting) / max(len(own), 1)) < _ENOUGH:
        raise PaucisError(
            f"network.weights={path} does not fit the network: {len(fitting)} of its {len(given)} tensors have a name "
            f"and shape known there (file: {_some(given)}; network: {_some(own)})"
        )
    network.load_state_dict({name: given[key] for name, key in fitting.items()}, strict=False)
    used = set(fitting.values())
    unused = {key: start + key[len(strip) :] if key.startswith(strip) else "" for key in given if key not in used}
    report = LoadReport(
        tuple(fitting),
        tuple(name for name in own if name not in fitting),
        tuple(key + _shapes(given[key], own.get(name)) for key, name in unused.items()),
    )
    _log(report, path)
    return report


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Name to tensor of a safetensors or torch file.

    Raises:
        PaucisError: no such file, or it holds no tensors by name, or more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise PaucisError(f"network.weights={path}: no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what it cannot read it also warns
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise many kinds for a damaged file
        raise PaucisError(
            f"network.weights={path} is damaged or not a file of plain tensors ({_first_line(error)}): save the "
            "network's state_dict() as safetensors"
        ) from error
    tensors = _tensors(content)
    if not tensors:
        raise PaucisError(f"network.weights={path} holds no tensors by name: save the network's state_dict()")
    return tensors


def _tensors(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, dict):
        return {}
    direct = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    named = [_tensors(content[name]) for name in _CONTAINERS if name in content]
    return max([*named, direct], key=len)


def _fitting(given: dict[str, Tensor], own: dict[str, Tensor]) -> tuple[str, str, dict[str, str]]:
    best: tuple[str, str, dict[str, str]] = ("", "", {})
    starts = _prefixes(own, 2)
    for strip in _prefixes(given, 3):
        rests = [(key, key[len(strip) :]) for key in given if key.startswith(strip)]
        for start in starts:
            found = {
                start + rest: key
                for key, rest in rests
                if start + rest in own and own[start + rest].shape == given[key].shape
            }
            if len(found) > len(best[2]):
                best = (strip, start, found)
    return best


def _prefixes(names: Iterable[str], depth: int) -> list[str]:
    found = {""}
    for name in names:
        parts = name.split(".")[:-1]
        found |= {".".join(parts[:count]) + "." for count in range(1, min(depth, len(parts)) + 1)}
    return sorted(found, key=lambda prefix: (prefix.count("."), prefix))


def _shapes(given: Tensor, own: Tensor | None) -> str:
    return "" if own is None else f" ({tuple(given.shape)}, the network has {tuple(own.shape)})"


def _log(report: LoadReport, path: str | Path) -> None:
    total = len(report.loaded) + len(report.missing)
    line = f"network.weights={path}: {len(report.loaded)} of the network's {total} tensors loaded"
    if not report.missing and not report.unexpected:
        logger.info(line)
        return
    logger.warning(
        "%s; random stay: %s; not used from the file: %s", line, _some(report.missing), _some(report.unexpected)
    )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    rest = len(listed) - _LISTED
    return (", ".join(listed[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")) or "none"


def _first_line(error: Exception) -> str:
    """What is wrong; torch's advice to load it with all that it might execute is left out."""
    text = str(error).strip().splitlines()
    return text[0].partition(". In PyTorch")[0] if text else type(error).__name__
