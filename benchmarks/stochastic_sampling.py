"""Sampling of stochastic logits and their energy distance, against the library's distribution and loops over pairs.

    python benchmarks/stochastic_sampling.py --size 96 96 96 --rank 8 --samples 6
    python benchmarks/stochastic_sampling.py --inference --network vnet --size 96 96 96

The first call draws samples of a student and a teacher in pairs about the mean, measures their energy distance, and
goes back to the student's mean, factor and diagonal: once with ``torch.distributions.LowRankMultivariateNormal`` and a
distance for each pair, as the published code does, once as paucis does. The distance alone begins with probabilities.
Both sides draw the same numbers, so values and gradients must agree. Each side runs in a process of its own, so that
one's peak does not hide the other's; memory is the growth beyond the given mean, factor and diagonal (on a GPU what
was allocated, on a CPU what the process held).

The second call times windows in bf16 through a plain network, through AUA's retrained one, and with samples.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal

from paucis.batch import Task
from paucis.losses import generalized_energy_distance
from paucis.methods.base import METHODS
from paucis.networks import make
from paucis.networks.stochastic_head import LowRankNormal

SIDES = ("paucis", "library")
PARTS = ("both", "distance")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, nargs=3, default=(96, 96, 96), help="voxels of the crop (Z Y X)")
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--samples", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--inference", action="store_true", help="time predictions instead")
    parser.add_argument("--network", default="vnet")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def given(options: argparse.Namespace, seed: int) -> LowRankNormal:
    """Mean, factor and diagonal of one crop, as a network might give them."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, options.classes, *options.size)
    parts = (
        torch.randn(shape, generator=generator),
        0.3 * torch.randn((1, options.rank, *shape[1:]), generator=generator),
        0.5 * torch.rand(shape, generator=generator) + 0.1,
    )
    return LowRankNormal(*(part.to(options.device) for part in parts))


def library_samples(normal: LowRankNormal, number: int) -> Tensor:
    """Probabilities of pairs about the mean, drawn from the library's distribution over all logits of the crop."""
    factor = normal.factor[0].flatten(1).T
    drawn = LowRankMultivariateNormal(
        normal.mean.flatten(), factor, normal.diagonal.flatten(), validate_args=False
    ).rsample(torch.Size([number // 2]))
    deviation = (drawn - normal.mean.flatten()).view(number // 2, *normal.mean.shape)
    return torch.cat([normal.mean + deviation, normal.mean - deviation]).softmax(2)


def paucis_samples(normal: LowRankNormal, number: int) -> Tensor:
    return normal.sample(number).softmax(2)


def pair_distance(a: Tensor, b: Tensor) -> Tensor:
    """One minus the mean over classes of the Dice coefficient of (K, *spatial)."""
    each = [
        (2 * (p * q).sum() + 1e-5) / (p.square().sum() + q.square().sum() + 1e-5) for p, q in zip(a, b, strict=True)
    ]
    return 1 - torch.stack(each).mean()


def loop_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """The energy distance (B,) with a pass over the voxels for each pair."""

    def mean(one: Tensor, other: Tensor) -> Tensor:
        return torch.stack([pair_distance(a, b) for a in one for b in other]).mean()

    pairs = zip(student.unbind(1), teacher.unbind(1), strict=True)
    return torch.stack([2 * mean(s, t) - mean(s, s) - mean(t, t) for s, t in pairs])


def run(options: argparse.Namespace, student: LowRankNormal, teacher: LowRankNormal) -> tuple[float, list[Tensor]]:
    """Value of the distance and the student's gradients."""
    torch.manual_seed(0)
    ours = options.side == "paucis"
    draw: Callable[[LowRankNormal, int], Tensor] = paucis_samples if ours else library_samples
    distance = generalized_energy_distance if ours else loop_distance
    if options.part == "distance":
        leaves = [student.mean]
        value = distance(student.mean, teacher.mean).sum()
    else:
        leaves = list(student)
        drawn = draw(student, options.samples)
        with torch.no_grad():
            fixed = draw(teacher, options.samples)
        value = distance(drawn, fixed).sum()
    gradients = torch.autograd.grad(value, leaves)
    return float(value.detach()), list(gradients)


def inputs(options: argparse.Namespace) -> tuple[LowRankNormal, LowRankNormal]:
    student, teacher = given(options, 1), given(options, 2)
    if options.part == "distance":  # probabilities of samples, in the place of the mean
        torch.manual_seed(0)
        student, teacher = (side._replace(mean=paucis_samples(side, options.samples)) for side in (student, teacher))
    return LowRankNormal(*(part.requires_grad_() for part in student)), teacher


def synchronize(options: argparse.Namespace) -> None:
    if options.device.startswith("cuda"):
        torch.cuda.synchronize()


def memory(options: argparse.Namespace) -> float:
    """Most memory held so far, in MB."""
    if options.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(options: argparse.Namespace) -> dict[str, float]:
    """One side: seconds, MB, the value, and the sum of the gradients' absolute values."""
    torch.set_num_threads(options.threads)
    small = argparse.Namespace(**{**vars(options), "size": (8, 8, 8)})
    run(small, *inputs(small))  # loads libraries
    student, teacher = inputs(options)
    synchronize(options)
    before, seconds = memory(options), []
    for _ in range(options.repeats):
        start = time.perf_counter()
        value, gradients = run(options, student, teacher)
        synchronize(options)
        seconds.append(time.perf_counter() - start)
    total = sum(float(gradient.double().abs().sum()) for gradient in gradients)
    return {"seconds": min(seconds), "mb": memory(options) - before, "value": value, "gradient": total}


def compare(options: argparse.Namespace) -> None:
    print(
        f"{'x'.join(map(str, options.size))} voxels, {options.classes} classes, rank {options.rank}, "
        f"{options.samples} samples, {options.device}, {options.threads} thread(s)"
    )
    for part in PARTS:
        results = {}
        for side in SIDES:
            command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--side", side, "--part", part]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            results[side] = json.loads(output.splitlines()[-1])
        name = {"both": "sampling and distance", "distance": "distance alone"}[part]
        for side in SIDES:
            found = results[side]
            print(f"{name:22s} {side:8s} {found['seconds']:8.3f} s {found['mb']:8.0f} MB  value {found['value']:.6f}")
        ours, theirs = (results[side] for side in SIDES)
        faster, leaner = theirs["seconds"] / ours["seconds"], theirs["mb"] / max(ours["mb"], 1)
        print(f"{name:22s} ratio    {faster:8.2f}   {leaner:8.2f}")
        for figure in ("value", "gradient"):
            difference = abs(ours[figure] - theirs[figure]) / abs(theirs[figure])
            print(f"{name:22s} {figure}s differ by {difference:.1e} of it")


def inference(options: argparse.Namespace) -> None:
    """Seconds a window of a plain network, of AUA, and of AUA with samples."""
    torch.set_num_threads(options.threads)
    task = Task(3, 1, options.classes, tuple(options.size), (1.0,) * 3)
    window = torch.randn(1, 1, *options.size).to(options.device)
    methods = {}
    for name in ("supervised", "aua"):
        kind = METHODS.get(name)
        torch.manual_seed(0)
        methods[name] = kind(lambda: make(options.network, task, {}), task, kind.Options()).to(options.device).eval()
    codes = torch.randn(options.samples, methods["aua"].code_length).to(options.device)
    calls: dict[str, Callable[[], object]] = {
        options.network: lambda: methods["supervised"].predict(window),
        "aua": lambda: methods["aua"].predict(window),
        f"aua, {options.samples} samples": lambda: (
            methods["aua"].predict(window),
            methods["aua"].sample(window, codes),
        ),
    }
    print(f"windows of {'x'.join(map(str, options.size))}, {options.device}, {options.threads} thread(s)")
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with torch.no_grad(), torch.autocast(window.device.type, torch.bfloat16):
        for number in range(options.repeats + 1):
            for name, call in calls.items():  # in turn: whatever else the machine does falls on all alike
                start = now(options)
                call()
                if number:  # the first round warms up
                    seconds[name].append(now(options) - start)
    plain = min(seconds[options.network])
    for name, times in seconds.items():
        print(f"{name:20s} {min(times):8.4f} s a window, ratio {min(times) / plain:.2f}")


def now(options: argparse.Namespace) -> float:
    """Seconds of this process; of the clock on a GPU, when its work is done."""
    if options.device == "cpu":
        return time.process_time()
    synchronize(options)
    return time.perf_counter()


def main() -> None:
    options = arguments()
    if options.inference:
        inference(options)
    elif options.side:
        print(json.dumps(measure(options)))
    else:
        compare(options)


if __name__ == "__main__":
    main()
