"""Everything a run can be told, from defaults, a recipe and dotted overrides to one resolved, saved configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paucis.data.options import DataOptions
from paucis.errors import PaucisError
from paucis.methods.base import METHODS
from paucis.networks.base import NETWORKS
from paucis.options import build, convert, option
from paucis.plugins.base import PLUGINS
from paucis.registry import nearest
from paucis.views.augment import AugmentOptions


@dataclass(frozen=True)
class TrainOptions:
    """Length, batches and machine use of a training (``train.*``)."""

    steps: int = option(2000, "batches to train on, over all stages", minimum=1)
    batch_size: int | None = option(None, "labeled crops a step, over all processes; none = as planned", minimum=1)
    unlabeled_batch_size: int | None = option(None, "unlabeled crops a step; none = as many as labeled", minimum=1)
    workers: int | None = option(None, "loader processes per training process; none = as the machine allows", minimum=0)
    devices: int | None = option(None, "processes on this machine; none = every visible GPU, or one CPU", minimum=1)
    nodes: int = option(1, "machines, when started by torchrun or SLURM", minimum=1)
    precision: str = option(
        "auto",
        "arithmetic of forward passes; auto = bf16 where the hardware is good at it",
        choices=("auto", "32", "bf16", "16"),
    )
    memory_format: str = option("auto", "order of tensors in memory", choices=("auto", "contiguous", "channels_last"))
    compile: bool = option(False, "compile the networks (falls back with one warning)")
    frozen: float | None = option(
        None,
        "share of the steps in which the encoder stays as --init gave it, its normalization too; none = half where "
        "--init is a pretraining, else 0",
        minimum=0.0,
        maximum=1.0,
    )
    taken: str = option("all", "what of --init is taken over", choices=("all", "encoder"))
    clip: float | None = option(12.0, "largest norm of a phase's gradient; none = no limit", minimum=0.0)
    log_every: int = option(10, "steps between two rows of training.csv", minimum=1)


@dataclass(frozen=True)
class OptimizerOptions:
    """How parameters move (``optimizer.*``); schedules scale to the stage's steps."""

    kind: str = option("adamw", "which optimizer", choices=("sgd", "adam", "adamw"))
    rate: float = option(2e-3, "learning rate at the start (at its peak, with warm-up)", minimum=0.0)
    momentum: float = option(0.9, "of SGD", minimum=0.0, maximum=1.0)
    nesterov: bool = option(False, "Nesterov's form of SGD's momentum")
    betas: tuple[float, float] = option((0.9, 0.999), "of Adam and AdamW")
    weight_decay: float = option(0.01, "pull of the weights to zero", minimum=0.0)
    schedule: str = option(
        "poly", "course of the learning rate", choices=("constant", "poly", "step", "cosine", "halving")
    )
    power: float = option(0.9, "exponent of the poly schedule", minimum=0.0)
    floor: float = option(0.0, "share of the rate below which no schedule goes", minimum=0.0, maximum=1.0)
    warmup: float = option(0.0, "share of the steps in which the rate rises linearly", minimum=0.0, maximum=1.0)
    every: float = option(0.4, "share of the steps between two drops (step and halving)", minimum=1e-6, maximum=1.0)
    factor: float = option(0.1, "of a drop in the step schedule", minimum=0.0, maximum=1.0)


@dataclass(frozen=True)
class CheckpointOptions:
    """Saving (``checkpoint.*``)."""

    every: int = option(200, "steps between two checkpoints", minimum=1)


@dataclass(frozen=True)
class ValidationOptions:
    """Looking at the validation cases (``validation.*``)."""

    every: int | None = option(None, "steps between two validations; none = five in a run", minimum=1)
    overlap: float = option(0.25, "of neighbouring windows, as a share of the patch", minimum=0.0, maximum=0.9)
    cases: int | None = option(None, "look at the first so many validation cases only; none = all", minimum=1)


SECTIONS: dict[str, type[Any]] = {
    "data": DataOptions,
    "augment": AugmentOptions,
    "train": TrainOptions,
    "optimizer": OptimizerOptions,
    "checkpoint": CheckpointOptions,
    "validation": ValidationOptions,
}


@dataclass(frozen=True)
class Config:
    """A resolved configuration.

    ``given`` holds what was asked for by key, before defaults; ``also`` further datasets, of a pretraining.
    """

    dataset: str
    method: str = "supervised"
    network: str = "unet"
    labels: str | None = None
    init: str | None = None
    seed: int = 0
    device: str = "auto"
    recipe: str | None = None
    also: tuple[str, ...] = ()
    data: DataOptions = field(default_factory=DataOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    checkpoint: CheckpointOptions = field(default_factory=CheckpointOptions)
    validation: ValidationOptions = field(default_factory=ValidationOptions)
    method_options: dict[str, Any] = field(default_factory=dict)
    network_options: dict[str, Any] = field(default_factory=dict)
    plugs: dict[str, dict[str, Any]] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As plain data for ``config.json``."""
        return dataclasses.asdict(self)


SCALARS = {"method": str, "network": str, "labels": str | None, "init": str | None, "seed": int, "device": str}


def resolve(
    dataset: str | Path,
    values: Mapping[str, Any],
    plugs: tuple[str, ...] = (),
    recipe: str | None = None,
    also: tuple[str, ...] = (),
) -> Config:
    """The configuration that ``values`` ask for.

    Args:
        dataset: folder of the dataset.
        values: dotted key to value (``{"train.steps": "300", "network": "vnet"}``); later stages override nothing
            silently, every unknown key is refused.
        plugs: names of the plug-ins to carry.
        recipe: name of the recipe the values came from, for the record.
        also: folders of further datasets, of a pretraining.

    Raises:
        PaucisError: an unknown key, a wrong type or value, an unknown method, network or plug-in.
    """
    sections: dict[str, dict[str, Any]] = {name: {} for name in [*SECTIONS, "method", "network"]}
    plugged: dict[str, dict[str, Any]] = {name: {} for name in plugs}
    scalars: dict[str, Any] = {}
    for key, value in values.items():
        head, _, rest = key.partition(".")
        if not rest and head in SCALARS:
            scalars[head] = convert(value, SCALARS[head], key)
        elif head == "plug" and rest.count(".") == 1 and rest.split(".")[0] in plugged:
            name, _, name_option = rest.partition(".")
            plugged[name][name_option] = value
        elif rest and head in sections:
            sections[head][rest] = value
        else:
            raise PaucisError(_unknown(key, plugged))
    config = Config(
        dataset=str(dataset),
        recipe=recipe,
        also=also,
        given=dict(values),
        **scalars,
        **{name: build(kind, sections[name], f"{name}.") for name, kind in SECTIONS.items()},
    )
    method, network = METHODS.get(config.method), NETWORKS.get(config.network)
    return dataclasses.replace(
        config,
        method_options=dataclasses.asdict(build(method.Options, sections["method"], "method.")),
        network_options=dataclasses.asdict(build(network.Options, sections["network"], "network.")),
        plugs={
            name: dataclasses.asdict(build(PLUGINS.get(name).Options, given, f"plug.{name}."))
            for name, given in plugged.items()
        },
    )


def from_dict(values: dict[str, Any]) -> Config:
    """The configuration of a saved ``config.json``."""
    read = {**values, "also": tuple(values.get("also", ()))}
    for name, kind in SECTIONS.items():
        read[name] = build(kind, read[name], f"{name}.")
    return Config(**read)


def _unknown(key: str, plugged: Mapping[str, Any]) -> str:
    head = key.split(".")[0]
    if head == "plug":
        return f"'{key}' is no option of a plug-in that is carried: write plug.NAME.OPTION and carry it by --plug NAME"
    names = [f"{name}.{f.name}" for name, kind in SECTIONS.items() for f in dataclasses.fields(kind)]
    sections = ", ".join([*SCALARS, *(f"{name}.*" for name in [*SECTIONS, "method", "network", "plug.NAME"])])
    hint = nearest(key, [*names, *SCALARS]) or nearest(head, [*SECTIONS, *SCALARS])
    return f"unknown option '{key}'{hint} (there are: {sections})"
