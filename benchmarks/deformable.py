"""Time and peak memory of a deformable convolution, beside a plain one and the textbook way to write it.

    python benchmarks/deformable.py --size 56 56 40 --channels 32 --threads 2

``taps`` samples the input anew for every tap with ``grid_sample`` and leaves the rest to autograd. Each row runs in a
process of its own, so that one's peak does not hide another's. Memory is the growth of the process beyond what it
held with libraries, layer and input loaded. Processor time tells more than time where the machine does other things.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paucis.networks import DeformableConv

ROWS = (("plain", "float32"), ("plain", "bfloat16"), ("taps", "float32"), ("ours", "float32"), ("ours", "bfloat16"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="+", default=(56, 56, 40), help="of the map, two or three numbers")
    parser.add_argument("--channels", type=int, default=32, help="of input and output")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--spread", type=float, default=1.0, help="standard deviation of the offsets in voxels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts")
    parser.add_argument("--profile", action="store_true", help="show what takes the time of ours")
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


class Taps(nn.Module):
    """The textbook way: one ``grid_sample`` of the whole input per tap, its product added to the output."""

    def __init__(self, layer: DeformableConv) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        layer, size = self.layer, features.shape[2:]
        offsets = layer.offset(features).unflatten(1, (-1, len(size)))
        grid = torch.stack(torch.meshgrid(*(torch.arange(n, device=features.device) for n in size), indexing="ij"))
        shift = layer.bias.view(-1, *[1] * len(size))
        output = torch.zeros(len(features), len(layer.weight), *size) + shift
        for number, weight in enumerate(layer.weight.flatten(2).unbind(2)):
            index = torch.unravel_index(torch.tensor(number), layer.kernel)
            moved = offsets[:, number].movedim(1, -1) + grid.movedim(0, -1) + torch.stack(index) - 1
            scaled = torch.stack([2 * moved[..., a] / (size[a] - 1) - 1 for a in reversed(range(len(size)))], -1)
            sampled = F.grid_sample(features, scaled, mode="bilinear", padding_mode="zeros", align_corners=True)
            output = output + torch.einsum("oi,bi...->bo...", weight, sampled)
        return output


def layer_of(side: str, options: argparse.Namespace) -> nn.Module:
    torch.manual_seed(0)
    dims, channels = len(options.size), options.channels
    if side == "plain":
        return (nn.Conv2d, nn.Conv3d)[dims - 2](channels, channels, 3, padding=1)
    layer = DeformableConv(dims, channels, channels, 3)
    nn.init.normal_(layer.offset.weight, std=options.spread / math.sqrt(channels * 3**dims))
    return Taps(layer) if side == "taps" else layer


def memory() -> float:
    """Most memory the process ever held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(options: argparse.Namespace) -> dict[str, float]:
    """One row: seconds and processor seconds of forward, and of forward and backward; MiB."""
    torch.set_num_threads(options.threads)
    side, kind = options.row
    layer = layer_of(side, options)
    image = torch.randn(options.batch, options.channels, *options.size, requires_grad=True)

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
            output: Tensor = layer(image)
        return output

    def both() -> None:
        forward().float().square().mean().backward()

    small = image[(..., *[slice(0, 8)] * len(options.size))]
    layer(small).sum().backward()  # loads what is loaded late
    before, found = memory(), {}
    for name, act in (("forward", forward), ("both", both)):
        taken = [clock(act) for _ in range(options.repeats)]
        found |= {name: min(wall for wall, _ in taken), f"{name}_cpu": min(cpu for _, cpu in taken)}
    if options.profile and side == "ours":
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            both()
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=46))
    return {**found, "mib": memory() - before}


def clock(act: object) -> tuple[float, float]:
    start, begun = time.perf_counter(), time.process_time()
    act()  # type: ignore[operator]
    return time.perf_counter() - start, time.process_time() - begun


def main() -> None:
    options = arguments()
    if options.row:
        print(json.dumps(measure(options)))
        return
    print(f"map {'x'.join(map(str, options.size))}, {options.channels} channels, batch {options.batch}, ", end="")
    print(f"offsets of {options.spread:g} voxels, {options.threads} thread(s); seconds (processor seconds)")
    print(f"{'':16s}{'forward':>16s}{'and backward':>18s}{'memory':>12s}")
    for row in ROWS:
        command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--row", *row]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        found = json.loads(lines[-1])
        times = (f"{found[name]:8.2f} ({found[f'{name}_cpu']:5.2f})" for name in ("forward", "both"))
        print(f"{' '.join(row):16s}{'  '.join(times)}{found['mib']:8.0f} MiB", flush=True)
        if lines[:-1]:
            print("\n".join(line[:110] for line in lines[:-1]))


if __name__ == "__main__":
    main()
