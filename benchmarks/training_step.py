"""A training step of ours beside the same network in a plain PyTorch loop, and what share of the machine it reaches.

    python benchmarks/training_step.py --what vnet
    python benchmarks/training_step.py --what unet2d --profile

Three sides do the same work (forward, cross-entropy and Dice loss, backward, SGD) from the same weights, each in a
process of its own: ``plain`` is a loop in float32, ``bf16`` the same loop under autocast, ``paucis`` the shipped engine
as ``train`` runs it, without augmentation. A step's time is the median. Rates are counted from the shapes of
convolutions and products; the machine's rate is that of a bf16 (float32 where there is none) product of two square
matrices, measured in the same process. Memory is the growth of the process over what it held before the first step (on
a GPU what was allocated). ``--profile`` adds which operations our step's time goes to.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from paucis.batch import Annotated, Batch, Task
from paucis.engine import devices
from paucis.losses.segmentation import segmentation_loss
from paucis.networks import make

SIDES = ("plain", "bf16", "paucis")
WORK: dict[str, dict[str, Any]] = {
    "vnet": {"network": "vnet", "options": {}, "batch": 2, "size": (64, 64, 64), "classes": 2},
    "la": {"network": "vnet", "options": {}, "batch": 4, "size": (112, 112, 80), "classes": 2},
    "unet2d": {
        "network": "unet",
        "options": {"features": 16, "normalization": "batch", "depth": 4},
        "batch": 16,
        "size": (128, 128),
        "classes": 4,
    },
    "unet2d-instance": {
        "network": "unet",
        "options": {"features": 16, "normalization": "instance", "depth": 4},
        "batch": 16,
        "size": (128, 128),
        "classes": 4,
    },
    "unet3d": {"network": "unet", "options": {}, "batch": 2, "size": (64, 64, 64), "classes": 4},
    "small3d": {"network": "unet", "options": {"features": 8}, "batch": 2, "size": (32, 64, 32), "classes": 3},
    "small2d": {"network": "unet", "options": {"features": 8}, "batch": 8, "size": (96, 96), "classes": 4},
}
GROUPS = {
    "convolutions": ("convolution", "conv", "matmul", "mm", "addmm", "bmm"),
    "normalization": ("batch_norm", "instance_norm", "group_norm", "native_norm"),
    "copies and layout": ("copy_", "clone", "contiguous", "to_copy", "cat", "fill_", "zero_", "slice_backward"),
    "activation, addition": ("relu", "add", "threshold", "dropout", "bernoulli", "mul", "div"),
    "up-sampling, pooling": ("upsample", "pool"),
    "loss": ("softmax", "nll_loss", "cross_entropy", "sum", "one_hot", "scatter", "exp", "log", "pow"),
    "optimizer": ("foreach", "sgd", "adam"),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--what", choices=WORK, default="vnet")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="ours with train.compile")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def work(name: str) -> tuple[Task, Callable[[], Any], Batch]:
    """The task, what makes its network, and a batch of smooth blobs."""
    what = WORK[name]
    ndim, size = len(what["size"]), what["size"]
    task = Task(ndim, 1, what["classes"], size, (1.0,) * ndim, ((2,) * ndim,) * 4)
    torch.manual_seed(0)
    images = torch.randn(what["batch"], 1, *size)
    coarse = torch.randint(0, what["classes"], (what["batch"], 1, *(side // 16 for side in size))).float()
    labels = torch.nn.functional.interpolate(coarse, size=size, mode="nearest")[:, 0].long()
    return (
        task,
        lambda: make(what["network"], task, what["options"]),
        Batch(Annotated(images + labels[:, None], labels)),
    )


def plain(options: argparse.Namespace) -> Callable[[], None]:
    """The loop that anyone would write."""
    _, build, batch = work(options.what)
    device = torch.device(options.device)
    network, part = build().to(device).train(), batch.map(lambda tensor: tensor.to(device)).labeled
    optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=options.side == "bf16"):
            logits = network(part.images).logits
        loss = segmentation_loss(logits.float(), part.labels)
        loss.backward()
        optimizer.step()

    return step


def measure_plain(options: argparse.Namespace) -> dict[str, Any]:
    step, device = plain(options), torch.device(options.device)
    before, times = held(device), []
    with FlopCounterMode(display=False) as counter:
        step()
    for _ in range(options.steps):
        start = time.perf_counter()
        step()
        wait(device)
        times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times), "megabytes": held(device) - before, "flop": counter.get_total_flops()}


def measure_paucis(options: argparse.Namespace) -> dict[str, Any]:
    """Through the engine's own loop on Lightning's trainer; the time is that between ends of steps."""
    from lightning.pytorch import Callback, Trainer
    from torch.utils.data import DataLoader

    from paucis.engine.allocation import keep_freed_memory
    from paucis.engine.compiled import compile_networks
    from paucis.engine.loop import Loop, place
    from paucis.methods.base import METHODS
    from paucis.networks import guard_convolutions
    from paucis.views.augment import AugmentOptions, BaseAugmentation

    task, build, batch = work(options.what)
    device = devices.resolve(options.device)
    if device.type == "cpu":
        keep_freed_memory()
    kind = METHODS.get("supervised")
    method = kind(build, task, kind.Options())
    place(method, device, devices.memory_format("auto", device, task.ndim))
    guard_convolutions(method)
    if options.compile:
        compile_networks(method)
    loop = Loop(
        method,
        [],
        BaseAugmentation(task, AugmentOptions(off=True)),
        stage="main",
        start=0,
        total=options.steps + 2,
        seed=0,
        gradient=True,
        optimizer={},
        given={},
        clip=None,
        order="auto",
    )
    ends: list[float] = []
    level: list[float] = []

    class Watch(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            if not level:
                level.append(held(device))

        def on_train_batch_end(self, *_: Any) -> None:
            wait(device)
            ends.append(time.perf_counter())

    trainer = Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=1,
        precision=devices.precision("auto", device),
        max_epochs=1,
        logger=False,
        callbacks=[Watch()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=10**9,
    )
    feed = DataLoader([batch] * (options.steps + 2), batch_size=None)
    found: dict[str, Any] = {}
    if options.profile:
        with torch.profiler.profile() as profile:
            trainer.fit(loop, feed)
        found["shares"] = shares(profile)
    else:
        trainer.fit(loop, feed)
    times = [b - a for a, b in pairwise(ends[1:])]
    return found | {"seconds": statistics.median(times), "megabytes": held(device) - level[0]}


def shares(profile: Any) -> list[tuple[str, float]]:
    """Share of the time within operations, by group, largest first."""
    spent: dict[str, float] = defaultdict(float)
    for event in profile.key_averages():
        if not event.key.startswith("aten::"):
            continue
        name = event.key.removeprefix("aten::")
        group = next((g for g, words in GROUPS.items() if any(word in name for word in words)), "other: " + name)
        spent[group] += event.self_cpu_time_total + getattr(event, "self_device_time_total", 0)
    total = sum(spent.values())
    return sorted(((g, s / total) for g, s in spent.items() if s / total > 0.005), key=lambda item: -item[1])


def machine_rate(device: torch.device) -> float:
    """FLOP/s of a product of two square matrices in the arithmetic that ``train`` would choose."""
    dtype = torch.bfloat16 if devices.fast_bf16(device) else torch.float32
    size = 8192 if device.type == "cuda" else 2048
    one = torch.randn(size, size, device=device, dtype=dtype)
    times = []
    for _ in range(8):
        start = time.perf_counter()
        one @ one
        wait(device)
        times.append(time.perf_counter() - start)
    return float(2 * size**3 / min(times))


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def held(device: torch.device) -> float:
    """The largest amount of memory so far, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    with suppress(OSError):  # the system's own figure begins with what the program that started this one held
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def side(options: argparse.Namespace) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    found = measure_paucis(options) if options.side == "paucis" else measure_plain(options)
    return found | {"rate": machine_rate(torch.device(options.device))}


def main() -> None:
    options = arguments()
    if options.side:
        print(json.dumps(side(options)))
        return
    found: dict[str, dict[str, Any]] = {}
    for name in options.sides:
        command = [sys.executable, *sys.argv, "--side", name]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            sys.exit(ran.stderr)
        found[name] = json.loads(ran.stdout.splitlines()[-1])
    chip = torch.cuda.get_device_name() if options.device.startswith("cuda") else _processor()
    print(f"{options.what}: {WORK[options.what]}\n{chip}, {options.threads} threads, PyTorch {torch.__version__}")
    flop = next((row["flop"] for row in found.values() if "flop" in row), float("nan"))
    base = found.get("plain", next(iter(found.values())))
    print(f"{'side':8s} {'ms/step':>9s} {'times as fast':>14s} {'GFLOP/s':>9s} {'of product rate':>16s} {'MiB':>7s}")
    for name, row in found.items():
        speed = flop / row["seconds"]
        print(
            f"{name:8s} {1000 * row['seconds']:9.1f} {base['seconds'] / row['seconds']:14.2f} {speed / 1e9:9.0f} "
            f"{100 * speed / row['rate']:14.1f} % {row['megabytes']:7.0f}"
        )
    print(f"product rate: {max(row['rate'] for row in found.values()) / 1e9:.0f} GFLOP/s")
    for group, share in found.get("paucis", {}).get("shares", []):
        print(f"  {100 * share:5.1f} %  {group}")


def _processor() -> str:
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
