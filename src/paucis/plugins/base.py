"""The contract of a plug-in: something any method can carry, as a block in its networks or a loss on its features."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from paucis.batch import Task
from paucis.methods.base import Aligned, Clock, Method
from paucis.registry import Registry

PLUGINS: Registry[Plugin] = Registry("plugin", "paucis.plugins")
register = PLUGINS.register


class Plugin(nn.Module):
    """Changes a method's networks (``attach``), adds a loss (``loss``), or both.

    Its own parameters are trained with the method's first phase. What must stay at inference is inserted into the
    networks and travels with their weights; the plug-in itself is rebuilt and attached when a run is loaded.

    Args:
        task: the task.
        options: an instance of the class's ``Options``.
    """

    name: ClassVar[str]
    Options: ClassVar[type[Any]]

    def __init__(self, task: Task, options: Any) -> None:
        super().__init__()
        self.task = task
        self.options = options

    def attach(self, method: Method) -> None:
        """Called once after the method is built and before its weights are loaded."""

    def loss(self, aligned: Aligned, clock: Clock) -> dict[str, Tensor]:
        """Named, weighted losses from features and labels of the same geometry.

        Args:
            aligned: features of annotated images and their labels; ``encoder.N`` and ``decoder.N`` of a network are
                ``aligned.features.encoder[N]`` and ``.decoder[N]``.
            clock: where training stands.
        """
        return {}
