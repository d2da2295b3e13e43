"""ImageNet weights where a library offers them, and a plain word where they cannot be had."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from paucis.networks.base import NetworkOptions
from paucis.options import option

T = TypeVar("T")
logger = logging.getLogger(__name__)

_PATIENCE = 5.0
_FILES = ("model.safetensors", "pytorch_model.bin")
_said: set[str] = set()


@dataclass(frozen=True)
class PretrainedOptions(NetworkOptions):
    """Options of a network whose encoder a library offers with ImageNet weights."""

    pretrained: str = option("none", "weights the encoder starts from", choices=("none", "imagenet"))


def with_imagenet(make: Callable[[bool], T], wanted: str, encoder: str, repository: str) -> T:
    """An encoder with ImageNet weights, or with random ones where those cannot be had; a warning says so once.

    Args:
        make: builds the encoder, with downloaded weights when given True.
        wanted: the option ``pretrained``; ``none`` never looks for weights.
        encoder: its name, for the warning.
        repository: where the model hub keeps the weights; looked for in the local cache first.
    """
    if wanted == "none":
        return make(False)
    if cached(repository) or reachable():
        try:
            return make(True)
        except Exception as error:  # whatever the download throws, training can go on without it
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    else:
        reason = "they are not in the local cache and the model hub cannot be reached"
    if encoder not in _said:
        _said.add(encoder)
        logger.warning(
            "no ImageNet weights for %s (%s): its encoder starts at random (network.weights=FILE reads a file of them)",
            encoder,
            reason,
        )
    return make(False)


def cached(repository: str) -> bool:
    """True where the model hub's local cache holds the repository's weights."""
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(repository, file), str) for file in _FILES)


def reachable() -> bool:
    """True where the model hub answers within seconds; the libraries' own retries would take minutes."""
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    from huggingface_hub.constants import ENDPOINT

    answers: list[bool] = []

    def ask() -> None:
        try:
            with urlopen(Request(ENDPOINT, method="HEAD"), timeout=_PATIENCE):
                answers.append(True)
        except HTTPError:
            answers.append(True)  # an answer, if not a welcome
        except (URLError, OSError, ValueError):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)  # a name server that never answers outlasts the timeout
    thread.start()
    thread.join(_PATIENCE)
    return answers == [True]
