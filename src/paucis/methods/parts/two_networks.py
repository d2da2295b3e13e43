"""Two networks that teach each other: what all methods with two students share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from paucis.batch import Task
from paucis.methods.base import Build, Method, Prediction
from paucis.methods.parts.supervision import SupervisedOptions
from paucis.options import option


@dataclass(frozen=True)
class TwoNetworksOptions(SupervisedOptions):
    """The second network, and which one predicts."""

    second: str | None = option(None, "name of the second network; none = of the configured kind")
    predict: Literal["first", "second", "mean"] = option(
        "first", "network that is validated and predicts, or the mean of both networks' probabilities"
    )


class TwoNetworks(Method):
    """A method with two networks of different random weights; a subclass says in ``step`` what they learn.

    Args:
        build: makes a freshly initialised network.
        task: the task.
        options: with the fields of ``TwoNetworksOptions``.
    """

    def __init__(self, build: Build, task: Task, options: TwoNetworksOptions) -> None:
        super().__init__(build, task, options)
        self.network = build()
        self.second = build(self.second_network(task, options))

    @classmethod
    def second_network(cls, task: Task, options: TwoNetworksOptions) -> str | None:
        """Name of the second network; None for the configured kind."""
        return options.second

    def predict(self, images: Tensor) -> Prediction:
        """Probabilities of the chosen network, or the mean of both with each as a member."""
        if self.options.predict != "mean":
            network = self.network if self.options.predict == "first" else self.second
            return Prediction({"probabilities": network(images).logits.float().softmax(1)})
        members = {
            name: network(images).logits.float().softmax(1)
            for name, network in (("first", self.network), ("second", self.second))
        }
        return Prediction({"probabilities": (members["first"] + members["second"]) / 2}, members=members)
