"""What a training step of every method takes beside plain supervision, and what of it its networks do not.

    python benchmarks/method_steps.py --ndim 2
    python benchmarks/method_steps.py --ndim 3 --methods ugpcl aua multicure

Each method runs in a process of its own, on the same batch and the same small network, without augmentation, in the
arithmetic that ``train`` would choose; of a method with several stages the last that moves weights. A step is forward,
losses, backward and update of all its phases; its time is the median. Then the calls that it made of its networks and
their parts (teachers, second networks, repeated looks) are made again alone, with a backward pass where they had one:
``rest`` is the share of the step that this leaves, the losses, what they prepare, views and the update. Memory is the
growth of the process over what it held before the first step (on a GPU what was allocated).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map
from training_step import held

from paucis.batch import Annotated, Batch, Task
from paucis.engine import devices
from paucis.engine.loop import place
from paucis.methods.base import METHODS, Clock, Method
from paucis.networks import guard_convolutions, make
from paucis.networks.base import Decoder, Network
from paucis.networks.staged import Stages

SIZES = {2: (96, 96), 3: (32, 64, 32)}
COUNTS = {2: 8, 3: 2}
LEFT_OUT = ("classification",)  # needs a table of image labels


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ndim", type=int, choices=(2, 3), default=2)
    parser.add_argument("--methods", nargs="+", help="default: all that train a segmentation")
    parser.add_argument("--features", type=int, default=8, help="of the U-Net's first level")
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--method", help=argparse.SUPPRESS)
    return parser.parse_args()


def task_of(ndim: int) -> Task:
    return Task(ndim, 1, 4, SIZES[ndim], (1.0,) * ndim, ((2,) * ndim,) * 4, tuple(range(ndim)))


def batch_of(task: Task) -> Batch:
    """Labeled, unlabeled, pseudo-labeled and reference crops of blobs."""
    torch.manual_seed(0)
    count = COUNTS[task.ndim]
    coarse = torch.randint(0, task.classes, (2 * count, 1, *(side // 16 for side in task.patch))).float()
    classes = nn.functional.interpolate(coarse, size=task.patch, mode="nearest").squeeze(1).long()
    images = classes.unsqueeze(1) + torch.randn(2 * count, 1, *task.patch)
    valid = torch.ones(count, *task.patch, dtype=torch.bool)
    return Batch(
        Annotated(images[:count], classes[:count]),
        images[count:],
        Annotated(images[count:], classes[count:], torch.ones(count, *task.patch)),
        references=(classes == 1).unsqueeze(1).float(),
        valid=valid,
        cases=tuple(f"case_{number}" for number in range(2 * count)),
        numbers=torch.arange(count),
        total=count,
    )


def built(name: str, task: Task, features: int) -> Method:
    """The method as its last stage that moves weights, those before it as they were drawn."""
    kind = METHODS.get(name)
    options = kind.Options()

    def build(network: str | None = None, **given: Any) -> Network:
        plain = {"features": features, "normalization": "instance"}
        return make(network or "unet", task, given if network else plain | given)

    earlier: dict[str, Method] = {}
    for stage in kind.stages(options):
        earlier[stage.name] = stage.make(build, task, earlier)
        if stage.gradient:
            last = earlier[stage.name]
    return last.requires_grad_(True) if not any(p.requires_grad for p in last.parameters()) else last


def measure(options: argparse.Namespace) -> dict[str, float]:
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    task, device = task_of(options.ndim), devices.resolve(options.device)
    method, batch = built(options.method, task, options.features).to(device).train(), batch_of(task)
    order = devices.memory_format("auto", device, task.ndim)
    place(method, device, order)
    guard_convolutions(method)
    batch = batch.map(lambda tensor: tensor.to(device))
    optimizers = [torch.optim.SGD(phase.parameters, 1e-3, 0.9) for phase in method.phases]
    calls: list[tuple[nn.Module, Any, bool]] = []
    inside = [0]  # a part of a network counts within the network, and once

    def enter(module: nn.Module, given: Any) -> None:
        if not inside[0]:
            calls.append((module, tree_map(_cut, given), torch.is_grad_enabled()))
        inside[0] += 1

    def leave(*_: Any) -> None:
        inside[0] -= 1

    networks = [module for module in method.modules() if isinstance(module, (Network, Stages, Decoder))]
    hooks = [network.register_forward_pre_hook(enter) for network in networks]
    hooks += [network.register_forward_hook(leave) for network in networks]
    autocast = devices.autocast(devices.precision("auto", device), device)

    def step(number: int) -> None:
        clock = Clock(80 + number, 100)  # ramps have risen
        with autocast:
            results = []
            for phase, optimizer in zip(method.phases, optimizers, strict=True):
                result = method.step(batch, clock, phase)
                results.append(result)
                optimizer.zero_grad(set_to_none=True)
                result.total.backward()
                optimizer.step()
        with torch.no_grad():
            method.after_step(clock, results[0])

    before = held(device)
    step(0)
    memory = held(device) - before
    for hook in hooks:
        hook.remove()
    whole = timed(lambda: step(1), options.steps, device)

    def replay() -> None:
        for module, given, graded in calls:
            with torch.set_grad_enabled(graded), autocast:
                out = module(*given)
            out = getattr(out, "logits", out)
            last = (
                out if isinstance(out, Tensor) else [map_ for map_ in tree_leaves(out) if isinstance(map_, Tensor)][-1]
            )
            if graded and last.requires_grad:
                last.float().square().mean().backward()

    alone = timed(replay, options.steps, device)
    return {"seconds": whole, "rest": max(0.0, 1 - alone / whole), "megabytes": memory, "calls": len(calls)}


def _cut(value: Any) -> Any:
    """A tensor off its graph, taking a gradient where it had one."""
    return value.detach().requires_grad_(value.requires_grad) if isinstance(value, Tensor) else value


def timed(work: Any, steps: int, device: torch.device) -> float:
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:] or times)


def main() -> None:
    options = arguments()
    if options.method:
        print(json.dumps(measure(options)))
        return
    names = options.methods or [n for n in METHODS.names() if not METHODS.get(n).pretrains and n not in LEFT_OUT]
    print(f"{options.ndim}D, {SIZES[options.ndim]}, U-Net of {options.features} features, {options.threads} thread(s)")
    print(f"{'method':22s} {'ms/step':>8s} {'times':>6s} {'MiB':>6s} {'times':>6s} {'rest':>6s} {'network calls':>14s}")
    base: dict[str, float] = {}
    for name in ["supervised", *(name for name in names if name != "supervised")]:
        ran = subprocess.run([sys.executable, *sys.argv, "--method", name], capture_output=True, text=True)
        if ran.returncode:
            print(f"{name:22s} {ran.stderr.strip().splitlines()[-1]}", flush=True)
            continue
        row = json.loads(ran.stdout.splitlines()[-1])
        base = base or row
        print(
            f"{name:22s} {1000 * row['seconds']:8.1f} {row['seconds'] / base['seconds']:6.2f} {row['megabytes']:6.0f} "
            f"{row['megabytes'] / base['megabytes']:6.2f} {100 * row['rest']:4.0f} % {row['calls']:14.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
