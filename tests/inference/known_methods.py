"""Methods whose answer is a known function of the image, so that every result can be computed by hand."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from paucis.batch import Task
from paucis.data.intensity import Normalization
from paucis.data.plan import Plan
from paucis.methods.base import Method, Prediction


class Pointwise(Method):
    """Logits are ``sharpness * (0, x, -x)`` of the first channel: no voxel sees its neighbors."""

    def __init__(self, task: Task, sharpness: float = 1.0, extra: bool = False) -> None:
        nn.Module.__init__(self)
        self.task = task
        self.sharpness = sharpness
        self.extra = extra
        self.seen: list[tuple[int, ...]] = []

    def probabilities(self, images: Tensor) -> Tensor:
        x = images[:, :1]
        factors = torch.tensor([0.0, 1.0, -1.0])[: self.task.classes].view(1, -1, *[1] * (images.ndim - 2))
        return (self.sharpness * factors * x).softmax(1)

    def predict(self, images: Tensor) -> Prediction:
        self.seen.append(tuple(images.shape))
        p = self.probabilities(images)
        additive = {"probabilities": p}
        if self.extra:
            additive["aleatoric"] = images[:, :1] ** 2
            return Prediction(additive, members={"auxiliary": p.flip(1)})
        return Prediction(additive)


class Positional(Pointwise):
    """Adds a ramp over the window to the logits: the answer depends on where the window lies and is not symmetric."""

    def probabilities(self, images: Tensor) -> Tensor:
        ramp = torch.linspace(-1, 1, images.shape[-1])
        if self.task.ndim == 3:
            ramp = ramp + torch.linspace(-2, 2, images.shape[2]).view(-1, 1, 1)
        return super().probabilities(images + ramp)


def plan_of(ndim=3, *, spacing=None, patch=None, channels=1, classes=3, values=None, **changes) -> Plan:
    """A plan that leaves intensities as they are."""
    patch = patch or (16,) * ndim
    given = {
        "ndim": ndim,
        "channels": tuple(f"c{i}" for i in range(channels)),
        "classes": ("background", "bright", "dark")[:classes],
        "values": values or tuple(range(classes)),
        "orientation": "LPS",
        "slice_axis": 0 if ndim == 2 else None,
        "spacing": spacing or (1.0,) * ndim,
        "size": None,
        "normalization": (Normalization("none"),) * channels,
        "median_shape": (1, *patch)[-3:],
        "patch": patch,
        "strides": ((1,) * ndim,),
        "batch_size": 2,
        "flips": tuple(range(ndim)),
    }
    return Plan(**{**given, **changes})


def member_of(plan: Plan, kind=Pointwise, **options) -> SimpleNamespace:
    """A trained run, as far as prediction looks at it."""
    task = plan.task()
    return SimpleNamespace(
        plan=plan, task=task, method=kind(task, **options), device=torch.device("cpu"), autocast=nullcontext
    )
