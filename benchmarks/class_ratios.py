"""Class ratios of PDCR's windows against a loop over vectors, on the same labels and grid.

    python benchmarks/class_ratios.py --size 256 256 --windows 7 19 43 --vectors 128

The loop is the obvious form: cut each vector's window out of each label map, count every class.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch
from torch import Tensor

from paucis.batch import IGNORE
from paucis.networks import Field
from paucis.plugins import vector_grid
from paucis.plugins.window_ratios import class_members, window_shares


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="+", default=(256, 256), help="of the label maps, 2D or 3D")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--windows", type=int, nargs="+", default=(7, 19, 43), help="receptive field of each layer")
    parser.add_argument("--strides", type=int, nargs="+", default=(2, 4, 8), help="of each layer's map")
    parser.add_argument("--vectors", type=int, default=128, help="of each layer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=20)
    return parser.parse_args()


def loop(labels: Tensor, centers: Tensor, size: int, classes: int) -> Tensor:
    """Vector by vector and class by class."""
    result = torch.zeros(len(labels), len(centers), classes)
    for b, image in enumerate(labels):
        for n, center in enumerate(centers.tolist()):
            first = [int(c - (size - 1) / 2) for c in center]
            window = image[tuple(slice(max(low, 0), max(low + size, 0)) for low in first)]
            known = max(int((window != IGNORE).sum()), 1)
            for label in range(classes):
                result[b, n, label] = int((window == label).sum()) / known
    return result


def seconds(act: Callable[[], list[Tensor]], repeats: int) -> float:
    """Shortest processor time of a call: what else runs on the machine does not count."""
    act()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        act()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    size, ndim = tuple(options.size), len(options.size)
    coarse = torch.randint(0, options.classes, (options.batch, 1, *[8] * ndim)).float()
    labels = torch.nn.functional.interpolate(coarse, size)[:, 0].long()
    labels[:, :2] = IGNORE
    layers = []
    for window, stride in zip(options.windows, options.strides, strict=True):
        field = Field((window,) * ndim, (stride,) * ndim, (0.0,) * ndim)
        layers.append((vector_grid([side // stride for side in size], options.vectors, field).centers, window))

    def shared() -> list[Tensor]:
        members = class_members(labels, options.classes)
        return [window_shares(members, centers, window) for centers, window in layers]

    def looped() -> list[Tensor]:
        return [loop(labels, centers, window, options.classes) for centers, window in layers]

    if not all(torch.allclose(ours, theirs, atol=1e-6) for ours, theirs in zip(shared(), looped(), strict=True)):
        raise SystemExit("the two do not agree")
    fast, slow = seconds(shared, options.repeats), seconds(looped, max(options.repeats // 10, 1))
    figures = {
        "labels": "x".join(map(str, (options.batch, *size))),
        "classes": options.classes,
        "vectors": [len(centers) for centers, _ in layers],
        "windows": [window for _, window in layers],
        "products_ms": round(1e3 * fast, 2),
        "loop_ms": round(1e3 * slow, 1),
        "times_faster": round(slow / fast, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
