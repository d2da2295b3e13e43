"""How the last convolution begins, and how fast supervision then learns: loss after a few steps for several draws.

    python benchmarks/first_weights.py Task04_Hippocampus --steps 60
    python benchmarks/first_weights.py ACDC --steps 150 data.dims=2 data.size=96,96 train.batch_size=8 labels=7 \\
        "data.group=(patient[0-9]+)" augment.rotate90_probability=0.5 augment.rotation=20

Forms: ``drawn``, by Kaiming's rule like the other convolutions, with PyTorch's bias; ``even``, as networks begin now,
with weights of mean 0 for each class; ``zeros``. All else, crops too, is equal. Printed: the loss of the first step and
means of thirds of the training.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paucis.data.sampling import BatchStream
from paucis.engine.config import resolve
from paucis.engine.runs import RunFolder, builder, method_options
from paucis.engine.seeds import seed_step
from paucis.methods.base import METHODS, Clock
from paucis.options import parse_overrides
from paucis.views.augment import BaseAugmentation
from paucis.workflows.hooks import Hooks
from paucis.workflows.preparing import prepare

FORMS = ("drawn", "even", "zeros")
SETTINGS = {"network.features": 8, "network.normalization": "instance", "train.batch_size": 2, "labels": 4}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS)
    return parser.parse_args()


def begin(head: Any, form: str, draw: int) -> None:
    """Overwrites what the network made of its head; ``even`` is left."""
    inputs = head.weight[0].numel()
    generator = torch.Generator().manual_seed(100 + draw)
    with torch.no_grad():
        if form == "drawn":
            head.weight.normal_(std=(2 / inputs) ** 0.5, generator=generator)
            head.bias.uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)
        elif form == "zeros":
            nn.init.zeros_(head.weight)


def losses(options: argparse.Namespace, form: str, draw: int, out: Path) -> list[float]:
    values = {**SETTINGS, **parse_overrides(options.overrides), "method": "supervised", "network": "unet"}
    config = resolve(options.dataset.absolute(), {**values, "train.steps": options.steps}, (), None)
    material, plan = prepare(RunFolder(out), config, Hooks())
    task, kind = plan.task(), METHODS.get("supervised")
    torch.manual_seed(draw)
    method = kind(builder(config, task), task, method_options(config))
    begin(method.networks()[0].decoder.head, form, draw)
    optimizer = torch.optim.AdamW(method.parameters(), lr=config.optimizer.rate, weight_decay=0.01)
    size = config.train.batch_size or plan.batch_size
    stream = BatchStream(
        labeled=material.labeled,
        unlabeled=[],
        task=task,
        batch_size=size,
        unlabeled_batch_size=size,
        foreground=config.data.foreground,
        seed=0,
    )
    augmentation, found = BaseAugmentation(task, config.augment), []
    for step in range(options.steps):
        generator = seed_step(0, "train", 0, step)
        with torch.no_grad():
            batch = augmentation(stream[step], generator)
        with torch.autocast("cpu", torch.bfloat16):
            result = method.step(batch, Clock(step, options.steps), method.phases[0])
        optimizer.zero_grad()
        result.total.backward()
        optimizer.step()
        torch.clear_autocast_cache()
        found.append(float(result.total.detach()))
    return found


def main() -> None:
    options = arguments()
    third = max(options.steps // 3, 1)
    for form in options.forms:
        for draw in range(options.draws):
            with tempfile.TemporaryDirectory() as out:
                found = losses(options, form, draw, Path(out) / "run")
            parts = [sum(found[i : i + third]) / third for i in (0, third, options.steps - third)]
            print(
                f"{form} {draw}: first {found[0]:.3f}, thirds " + ", ".join(f"{part:.3f}" for part in parts), flush=True
            )


if __name__ == "__main__":
    main()
