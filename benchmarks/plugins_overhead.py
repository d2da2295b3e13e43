"""What PDCR on three layers and UAFS everywhere cost in a training step of DeepLabV3+.

    python benchmarks/plugins_overhead.py --size 256 --batch 4 --backbone resnet50

Each form runs in a process of its own, so that one's peak memory does not hide the other's. Time is that of the fastest
step, forward, backward and update (on a CPU the processor's, so that what else runs there does not count); memory the
growth of the process over what it held before the first step (on a GPU the largest amount allocated).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch

from paucis.batch import Annotated, Batch, Task

FORMS = ("alone", "pdcr", "uafs", "both")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="side of the pictures")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--backbone", default="resnet50", help="of DeepLabV3+; tu-xception65 as published")
    parser.add_argument("--layers", default="encoder.0,encoder.1,encoder.2", help="of PDCR")
    parser.add_argument("--sites", default="encoder,lowlevel,fusion", help="of UAFS")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS)
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(options: argparse.Namespace) -> dict[str, float]:
    from paucis.methods.base import METHODS, Clock
    from paucis.networks import make
    from paucis.plugins.pdcr import PDCR, PdcrOptions
    from paucis.plugins.uafs import UAFS, UafsOptions

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device, clock = torch.device(options.device), Clock(0, 10)
    task = Task(2, 3, 2, (options.size, options.size))
    kind = METHODS.get("supervised")
    method: Any = kind(lambda: make("deeplabv3plus", task, {"backbone": options.backbone}), task, kind.Options())
    if options.form in ("uafs", "both"):
        UAFS(task, UafsOptions(sites=tuple(options.sites.split(",")))).attach(method)
    plugin = PDCR(task, PdcrOptions(layers=tuple(options.layers.split(","))))
    if options.form in ("pdcr", "both"):
        plugin.attach(method)
    method.to(device, memory_format=torch.channels_last).train()
    images = torch.randn(options.batch, 3, *task.patch, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(options.batch, *task.patch, dtype=torch.long, device=device)
    labels[:, options.size // 4 : options.size // 2, options.size // 4 :] = 1
    batch = Batch(Annotated(images, labels))
    optimizer = torch.optim.AdamW(method.parameters())
    before = held(device)
    times, now = [], time.perf_counter if device.type == "cuda" else time.process_time
    for _ in range(options.steps + 1):
        start = now()
        result = method.step(batch, clock, method.phases[0])
        if plugin.fields:
            result.losses |= plugin.loss(result.aligned, clock)
        optimizer.zero_grad(set_to_none=True)
        result.total.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(now() - start)
    return {"seconds": min(times[1:]), "megabytes": held(device) - before}


def held(device: torch.device) -> float:
    """The largest amount of memory so far, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    options = arguments()
    if options.form:
        print(json.dumps(measure(options)))
        return
    found: dict[str, dict[str, float]] = {}
    for form in options.forms:
        ran = subprocess.run([sys.executable, *sys.argv, "--form", form], capture_output=True, text=True, check=True)
        found[form] = json.loads(ran.stdout.splitlines()[-1])
        row: dict[str, Any] = {"form": form, **{name: round(value, 3) for name, value in found[form].items()}}
        if "alone" in found:
            more = {name: 100 * (value / found["alone"][name] - 1) for name, value in found[form].items()}
            row |= {f"more_{name}_percent": round(value, 1) for name, value in more.items()}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
