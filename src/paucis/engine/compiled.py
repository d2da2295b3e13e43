"""``torch.compile`` for a method's networks, giving way to the plain network with one warning where it fails."""

from __future__ import annotations

import logging
from copy import deepcopy
from typing import Any

import torch

from paucis.methods.base import Method

log = logging.getLogger(__name__)


def compile_networks(method: Method) -> None:
    """Compiles the forward pass of every network of ``method``."""
    for network in method.networks():
        network.forward = _Compiled(network.forward)  # type: ignore[method-assign]


class _Compiled:
    """Calls the compiled function until compiling fails once, then the plain one."""

    def __init__(self, plain: Any) -> None:
        self.plain = plain
        self.fast: Any = torch.compile(plain)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """The plain function of the copied network: the compiled one has the original's weights and mode."""
        return deepcopy(self.plain, memo)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.fast is not None:
            try:
                return self.fast(*args, **kwargs)
            except Exception as error:  # compilers fail in many ways; the plain network says if it is the input
                self.fast = None
                result = self.plain(*args, **kwargs)
                log.warning("torch.compile failed (%s); going on without it", str(error).strip().splitlines()[0])
                return result
        return self.plain(*args, **kwargs)
