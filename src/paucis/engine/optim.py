"""Optimizers and learning-rate schedules with the field's keys. The rate is a function of the step: nothing to save."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from paucis.engine.config import OptimizerOptions
from paucis.methods.base import Clock, Phase
from paucis.options import build


def phase_options(phase: Phase, stage: Mapping[str, Any], given: Mapping[str, Any]) -> OptimizerOptions:
    """The optimizer options of a phase: defaults, then the stage's, then the phase's own, then the user's.

    What the user gave (``optimizer.*``) goes to the ``main`` phase only: a discriminator keeps its paper's settings.
    """
    asked = {key.partition(".")[2]: value for key, value in given.items() if key.startswith("optimizer.")}
    main = phase.name == "main"
    return build(OptimizerOptions, {**stage, **phase.optimizer, **(asked if main else {})}, "optimizer.")


def make_optimizer(parameters: list[nn.Parameter], options: OptimizerOptions) -> torch.optim.Optimizer:
    """The optimizer over ``parameters``."""
    rate_, decay = options.rate, options.weight_decay
    if options.kind == "sgd":
        nesterov = options.nesterov and options.momentum > 0
        return torch.optim.SGD(parameters, rate_, momentum=options.momentum, nesterov=nesterov, weight_decay=decay)
    if options.kind == "adam":
        return torch.optim.Adam(parameters, rate_, betas=options.betas, weight_decay=decay)
    return torch.optim.AdamW(parameters, rate_, betas=options.betas, weight_decay=decay)


def rate(options: OptimizerOptions, clock: Clock) -> float:
    """The learning rate of the step at hand."""
    return options.rate * _share(options, clock)


def set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Gives every parameter group the learning rate ``value``."""
    for group in optimizer.param_groups:
        group["lr"] = value


def _share(options: OptimizerOptions, clock: Clock) -> float:
    warm = options.warmup * clock.total
    if clock.step < warm:
        return (clock.step + 1) / (warm + 1)
    done = (clock.step - warm) / max(clock.total - warm, 1)
    course: float = {
        "constant": 1.0,
        "poly": (1.0 - done) ** options.power,
        "step": options.factor ** math.floor(done / options.every),
        "halving": 0.5 ** math.floor(done / options.every),
        "cosine": 0.5 * (1.0 + math.cos(math.pi * done)),
    }[options.schedule]
    return max(course, options.floor)
