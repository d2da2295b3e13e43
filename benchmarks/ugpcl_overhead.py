"""What UGPCL's losses add to the forward and backward pass of its encoder and two decoders.

    python benchmarks/ugpcl_overhead.py                      # the small U-Net of the suite acdc-ugpcl
    python benchmarks/ugpcl_overhead.py --published --batch 4 4

These passes are timed in turn, again and again, so that whatever else the machine does falls on all alike:

- bare: both decoders' logits, their mean as the loss, gradients of everything;
- supervised: the same with both decoders' supervised loss;
- whole: ``UGPCL.step`` with every loss, its backward pass, and the memory;
- without contrast, consistency, turns: the whole less one part.

Seconds are of the processor with one thread (those of other processes do not count), and of the clock on a GPU.
Printed are medians, and medians over rounds of what each pass takes more than the bare and the supervised one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from paucis.batch import Annotated, Batch, Task
from paucis.methods.base import METHODS, Clock, Method
from paucis.methods.ugpcl import UGPCL
from paucis.networks import make

Pass = Callable[[], Tensor]
PARTS = {
    "without contrast": {"contrastive": "none"},
    "without consistency": {"consistency": 0.0},
    "without turns": {"equivariance": 0.0},
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--published", action="store_true", help="ResNet-50 at 224x224, width 96, embeddings of 256")
    parser.add_argument("--size", type=int, help="side of the images")
    parser.add_argument("--batch", type=int, nargs=2, default=(8, 8), help="labeled and unlabeled images")
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def made(task: Task, given: argparse.Namespace, **options: object) -> UGPCL:
    """UGPCL with a memory that is full."""
    torch.manual_seed(0)
    name = "resnet50_unet" if given.published else "unet"
    network = {} if given.published else {"features": 16, "depth": 5, "normalization": "batch"}
    small = {} if given.published else {"transformer_width": 24, "dim": 64}
    kind = METHODS.get("ugpcl")
    method = kind(lambda *_: make(name, task, network), task, kind.Options(**{**small, **options}))
    assert isinstance(method, UGPCL)
    if method.contrast is not None:
        queue = method.contrast.queue
        queue.vectors.copy_(torch.nn.functional.normalize(torch.randn_like(queue.vectors), dim=-1))
        queue.written.fill_(queue.vectors.shape[1])
    return method.to(given.device).train()


def batch_of(task: Task, given: argparse.Namespace) -> Batch:
    """Noise whose labels are smooth blobs."""
    labeled, unlabeled = given.batch
    images = torch.randn(labeled + unlabeled, task.channels, *task.patch)
    coarse = torch.rand(labeled, 1, 4, 4) * task.classes
    labels = torch.nn.functional.interpolate(coarse, size=task.patch, mode="bilinear").squeeze(1).long()
    batch = Batch(Annotated(images[:labeled], labels), images[labeled:], None)
    return batch.map(lambda tensor: tensor.to(given.device))


def bare(method: UGPCL, batch: Batch) -> Tensor:
    """The mean of both decoders' logits."""
    return sum((logits.float().mean() for logits in _logits(method, batch)), torch.zeros(()))


def supervised(method: UGPCL, batch: Batch) -> Tensor:
    """The supervised loss of both decoders."""
    cnn, transformer = _logits(method, batch)
    count = len(batch.labeled.images)
    return method._supervised(cnn[:count], transformer[:count], batch.labeled)


def whole(method: UGPCL, batch: Batch) -> Tensor:
    """All losses, and the memory."""
    clock = Clock(50, 100)
    result = method.step(batch, clock, method.phases[0])
    method.after_step(clock, result)
    return result.total


def _logits(method: UGPCL, batch: Batch) -> tuple[Tensor, Tensor]:
    features = method.network(torch.cat([batch.labeled.images, batch.unlabeled]))
    return features.logits, method.transformer(features.encoder, features.logits.shape[2:])[1]


def seconds(method: Method, loss: Pass, device: str) -> float:
    """One forward and backward pass."""
    method.zero_grad(set_to_none=True)
    clock = time.process_time if device == "cpu" else time.perf_counter
    _wait(device)
    began = clock()
    loss().backward()
    _wait(device)
    return clock() - began


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    side = given.size or (224 if given.published else 96)
    task = Task(2, 3 if given.published else 1, given.classes, (side, side), (1.0, 1.0))
    batch, method = batch_of(task, given), made(task, given)
    passes: dict[str, tuple[UGPCL, Pass]] = {
        "bare": (method, lambda: bare(method, batch)),
        "supervised": (method, lambda: supervised(method, batch)),
        "whole": (method, lambda: whole(method, batch)),
    }
    for name, options in PARTS.items():
        less = made(task, given, **options)
        passes[name] = (less, lambda less=less: whole(less, batch))
    rounds: list[dict[str, float]] = []
    for number in range(given.rounds + 1):
        taken = {name: seconds(model, loss, given.device) for name, (model, loss) in passes.items()}
        if number:  # the first warms up
            rounds.append(taken)
    backbone = "ResNet-50" if given.published else "small U-Net"
    images = f"{side}x{side}, batch {given.batch[0]}+{given.batch[1]}, {given.classes} classes"
    print(f"{backbone}, {images}, {given.device}, {given.threads} thread(s), {given.rounds} rounds")
    print(f"{'':20} {'seconds':>8} {'over bare':>10} {'over supervised':>16}")
    for name in passes:
        over = [statistics.median(100 * (taken[name] / taken[base] - 1) for taken in rounds) for base in passes][:2]
        print(f"{name:20} {statistics.median(taken[name] for taken in rounds):8.3f} {over[0]:+9.1f}% {over[1]:+15.1f}%")


if __name__ == "__main__":
    main()
