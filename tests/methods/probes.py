"""What tests of a method's losses look at: their values late in training, and whom their gradients reach."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine import LATE, TOTAL
from paucis.batch import Batch
from paucis.methods.base import Clock, Method, StepResult

torch.set_num_threads(1)


def look(method: Method, batch: Batch, phase: int = 0, step: int = LATE, seed: int = 5) -> StepResult:
    """One phase's losses in train mode; nothing moves."""
    method.train()
    torch.manual_seed(seed)
    return method.step(batch, Clock(step, TOTAL), method.phases[phase])


def figures(result: StepResult) -> dict[str, float]:
    """The losses as numbers."""
    return {name: float(loss.detach()) for name, loss in result.losses.items()}


def reaches(loss: Tensor, *modules: nn.Module) -> bool:
    """Whether a loss has a gradient other than 0 in any parameter of the modules."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    if not loss.requires_grad:
        return False
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients)


def snapshot(module: nn.Module) -> Tensor:
    """All parameters in a row, copied."""
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()]).clone()
