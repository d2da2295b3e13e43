"""Time and peak memory of a sliding-window prediction, against MONAI's on the same volume and network.

    python benchmarks/sliding_window.py --size 256 192 192 --patch 48 96 96 --classes 5
    python benchmarks/sliding_window.py --size 512 512 600 --patch 64 128 128 --classes 8 --pointwise

Each side runs in a process of its own, so that one's peak does not hide the other's. Memory is the growth of the
process beyond what it held with libraries, volume and network loaded.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SIDES = ("paucis", "monai")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=3, default=(128, 128, 128), help="voxels of the volume (Z Y X)")
    parser.add_argument("--patch", type=int, nargs=3, default=(32, 64, 64), help="voxels of a window (Z Y X)")
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--batch", type=int, default=2, help="windows at once")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pointwise", action="store_true", help="a network of one 1x1x1 convolution")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def network(classes: int, pointwise: bool = False) -> nn.Module:
    """Two convolutions: enough to look at neighbors, little enough to leave the windows' own cost visible."""
    torch.manual_seed(0)
    if pointwise:
        return nn.Sequential(nn.Conv3d(1, classes, 1), nn.Softmax(1)).eval()
    return nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, classes, 1), nn.Softmax(1)).eval()


def predict_paucis(image: np.ndarray[Any, Any], model: nn.Module, options: argparse.Namespace) -> np.ndarray[Any, Any]:
    from paucis.inference.sliding import slabs

    def predict(windows: Tensor) -> dict[str, Tensor]:
        return {"probabilities": model(windows)}

    mask = np.zeros(image.shape[1:], np.uint8)
    for slab in slabs(image, options.patch, predict, overlap=options.overlap, batch=options.batch):
        mask[slab.start : slab.stop] = slab.maps["probabilities"].argmax(0).byte().numpy()
    return mask


def predict_monai(image: np.ndarray[Any, Any], model: nn.Module, options: argparse.Namespace) -> np.ndarray[Any, Any]:
    from monai.inferers import sliding_window_inference

    volume = torch.from_numpy(image)[None]
    result = sliding_window_inference(
        volume, options.patch, options.batch, model, overlap=options.overlap, mode="gaussian"
    )
    return result[0].argmax(0).byte().numpy()


def memory() -> float:
    """Most memory the process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(options: argparse.Namespace) -> dict[str, float]:
    """One side: seconds, MB, and the voxels of each class, to see that both sides did the same."""
    torch.set_num_threads(options.threads)
    act = predict_paucis if options.side == "paucis" else predict_monai
    model = network(options.classes, options.pointwise)
    image = np.random.default_rng(0).standard_normal((1, *options.size), dtype=np.float32)
    with torch.no_grad():
        act(image[:, : options.patch[0], : options.patch[1], : options.patch[2]], model, options)  # loads libraries
        before, start = memory(), time.perf_counter()
        mask = act(image, model, options)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "mb": memory() - before, "sum": int(mask.sum(dtype=np.int64))}


def main() -> None:
    options = arguments()
    if options.side:
        print(json.dumps(measure(options)))
        return
    results = {}
    for side in SIDES:
        command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--side", side]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results[side] = json.loads(output.splitlines()[-1])
    print(
        f"volume {'x'.join(map(str, options.size))}, patch {'x'.join(map(str, options.patch))}, "
        f"{options.classes} classes, {options.threads} thread(s)"
    )
    for side in SIDES:
        print(f"{side:7s} {results[side]['seconds']:8.2f} s {results[side]['mb']:8.0f} MB")
    ours, theirs = (results[side] for side in SIDES)
    print(f"ratio   {ours['seconds'] / theirs['seconds']:8.2f}   {ours['mb'] / max(theirs['mb'], 1):8.2f}")
    difference = abs(ours["sum"] - theirs["sum"]) / max(theirs["sum"], 1)
    print(f"masks differ in {difference:.1e} of their sum")


if __name__ == "__main__":
    main()
