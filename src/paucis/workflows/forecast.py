"""What a training will take before it begins: memory, time and disk, and what to lower where it does not fit."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from paucis.data.cache import Cache
from paucis.data.options import cache_home
from paucis.data.patching import asked_patch, plan_patch
from paucis.data.plan import Plan
from paucis.engine import devices
from paucis.engine.config import Config, resolve
from paucis.engine.files import write_json
from paucis.engine.runs import stages
from paucis.errors import PaucisError
from paucis.methods.base import METHODS
from paucis.workflows.hooks import Hooks
from paucis.workflows.preparing import fitted, planned
from paucis.workflows.request import asked

STEPS = 8
"""Steps that are measured; a method with several stages takes some in each."""
GIB = 2**30
WIDTHS = ("network.features", "network.filters")
"""What makes a network narrower, where it has it."""


@dataclass(frozen=True)
class Measured:
    """What a few steps took.

    Attributes:
        step: seconds of a step; NaN where memory ran out.
        case: seconds of validating a made-up case.
        voxels: of that case.
        bytes: most memory; infinite where it ran out.
    """

    step: float = math.nan
    case: float = 0.0
    voxels: int = 1
    bytes: float = math.inf


@dataclass(frozen=True)
class Forecast:
    """What a training will take.

    Attributes:
        method: its name.
        network: likewise.
        device: where it trains.
        patch: voxels of a crop.
        batch_size: labeled crops a step (0 for a method without).
        unlabeled_batch_size: unlabeled ones, likewise.
        steps: of the whole training.
        step_seconds: of one, the median of a few; None where memory ran out.
        validations: over the whole training.
        seconds: of all steps and validations; reading and preparing scans comes before. None where memory ran out.
        memory: bytes of one process, on a GPU of its memory; None where it ran out. Loader processes come besides.
        available: bytes that are free; None where the system does not tell.
        cache: bytes of the prepared cases at most.
        disk: bytes that are free where they go.
        lower: options by which it fits, where it does not: the first of several tries that did.
        lowered: bytes that it takes then.
    """

    method: str
    network: str
    device: str
    patch: tuple[int, ...]
    batch_size: int
    unlabeled_batch_size: int
    steps: int
    step_seconds: float | None
    validations: int
    seconds: float | None
    memory: int | None
    available: int | None
    cache: int
    disk: int
    lower: dict[str, str] = dataclasses.field(default_factory=dict)
    lowered: int | None = None

    @property
    def fits(self) -> bool:
        """Whether the device has the memory."""
        return self.memory is not None and (self.available is None or self.memory <= self.available)

    def require(self) -> None:
        """Raises PaucisError, which says what to lower, where the training does not fit."""
        if self.fits:
            return
        free = "what is free" if self.available is None else f"the {self.available / GIB:.1f} GiB that are free"
        takes = "more" if self.memory is None else f"{self.memory / GIB:.1f} GiB, more"
        if self.lower and self.lowered is not None:
            options = " ".join(f"{key}={value}" for key, value in self.lower.items())
            remedy = f"with {options} it takes {self.lowered / GIB:.1f} GiB"
        else:
            remedy = "lower data.patch, choose a smaller network, or train on a machine with more memory"
        raise PaucisError(f"the training takes {takes} than {free} on {self.device}: {remedy}")


def forecast(
    dataset: str | Path,
    values: Mapping[str, Any],
    plugs: tuple[str, ...] = (),
    recipe: str | None = None,
    hooks: Hooks | None = None,
) -> Forecast:
    """Plans a training and measures a few steps of it on made-up cases; nothing of the dataset is prepared.

    Args:
        dataset: its folder.
        values: options of the training by dotted key.
        plugs: plug-ins that it carries.
        recipe: that stands behind the options.
        hooks: told of progress.

    Raises:
        PaucisError: what the training would refuse.
    """
    hooks = hooks or Hooks()
    config = asked(dataset, dict(values), plugs, recipe)
    found = planned(config, hooks)
    plan, device = found.plan, devices.resolve(config.device)
    free = available(device)
    told = hooks.counting("measuring a few steps") or (lambda done, total: None)
    told(0, 1)
    first = _measure(config, plan, free)
    lower, lowered = ({}, None) if _fits(first, free) else _first_that_fits(smaller(config, plan), free)
    told(1, 1)
    looks, cases = _validations(config), min(len(found.roles.val), config.validation.cases or len(found.roles.val))
    scale = math.prod(plan.median_shape) / first.voxels
    seconds = config.train.steps * first.step + looks * cases * first.case * scale
    labeled, unlabeled = _batches(config, plan)
    home = cache_home(config.data)
    return Forecast(
        method=config.method,
        network=config.network,
        device=str(device),
        patch=plan.patch,
        batch_size=labeled,
        unlabeled_batch_size=unlabeled,
        steps=config.train.steps,
        step_seconds=_known(first.step),
        validations=looks if cases else 0,
        seconds=_known(seconds),
        memory=int(first.bytes) if math.isfinite(first.bytes) else None,
        available=free,
        cache=Cache(home, plan).estimate(found.facts[case.name] for case in found.used),
        disk=shutil.disk_usage(next(place for place in (home, *home.absolute().parents) if place.exists())).free,
        lower=lower,
        lowered=lowered,
    )


def available(device: torch.device) -> int | None:
    """Bytes that are free: of a GPU's memory; else of main memory, within the limit of a container."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [_meminfo(), _in_container()]
    return min((value for value in found if value is not None), default=None)


def smaller(config: Config, plan: Plan) -> Iterator[tuple[Config, Plan, dict[str, str]]]:
    """The training with smaller batches, then smaller patches, then a narrower network, each on top of the last."""
    changes: dict[str, str] = {}
    batch, current = max(_batches(config, plan)), plan
    while batch > 2:
        batch = max(2, batch // 2)
        changes |= {"train.batch_size": str(batch)}
        if METHODS.get(config.method).uses_unlabeled and config.train.unlabeled_batch_size is not None:
            changes |= {"train.unlabeled_batch_size": str(min(batch, config.train.unlabeled_batch_size))}
        yield _with(config, changes), current, dict(changes)
    for _ in range(2):
        spacing = plan.spacing or (1.0,) * plan.ndim
        patch, _ = plan_patch(current.patch, spacing, math.prod(current.patch) // 2)
        try:
            patch, strides = asked_patch(patch, spacing)
        except PaucisError:
            break
        changes |= {"data.patch": ",".join(map(str, patch))}
        current = dataclasses.replace(current, patch=patch, strides=strides)
        yield _with(config, changes), current, dict(changes)
    for key in WIDTHS:
        width = config.network_options.get(key.partition(".")[2])
        if width is not None:
            changes |= {key: str(max(1, width // 2))}
            yield _with(config, changes), current, dict(changes)


def _first_that_fits(
    tries: Iterable[tuple[Config, Plan, dict[str, str]]], free: int | None
) -> tuple[dict[str, str], int | None]:
    for config, plan, changes in tries:
        try:
            found = _measure(config, fitted(plan, config), free)
        except PaucisError:
            continue  # the method or the network does not work so small
        if _fits(found, free):
            return changes, int(found.bytes)
    return {}, None


def _measure(config: Config, plan: Plan, free: int | None) -> Measured:
    """In a process of its own, which gives back all that it took.

    Raises:
        PaucisError: the training would end with it.
    """
    processes = _processes(config)
    short = {"train.steps": STEPS, "train.log_every": 1, "train.workers": 0, "checkpoint.every": STEPS}
    short |= {"train.devices": 1, "train.nodes": 1}
    if config.train.unlabeled_batch_size is not None:
        short |= {"train.unlabeled_batch_size": -(-config.train.unlabeled_batch_size // processes)}
    batch = -(-(config.train.batch_size or plan.batch_size) // processes)
    job = {"config": _with(config, short).as_dict(), "batch_size": batch, "available": free}
    with tempfile.TemporaryDirectory(prefix="paucis-") as place:
        folder = Path(place)
        write_json(folder / "job.json", job)
        plan.save(folder / "plan.json")
        command = [sys.executable, "-m", "paucis.workflows.rehearsal", place]
        ended = subprocess.run(command, capture_output=True, text=True)
        if not (folder / "result.json").is_file():
            if ended.returncode in (-9, -6) or "MemoryError" in ended.stderr or "bad_alloc" in ended.stderr:
                return Measured()  # killed by the system, or aborted by a library that asked for memory in vain
            last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
            raise PaucisError(f"a few steps of this training could not be measured ({last}): try it with paucis train")
        result = json.loads((folder / "result.json").read_text())
    if "error" not in result:
        return Measured(**result)
    if result["exhausted"]:
        return Measured()
    raise PaucisError(result["error"])


def _with(config: Config, changes: Mapping[str, Any]) -> Config:
    return resolve(config.dataset, {**config.given, **changes}, tuple(config.plugs), config.recipe, config.also)


def _fits(found: Measured, free: int | None) -> bool:
    return math.isfinite(found.bytes) and (free is None or found.bytes <= free)


def _batches(config: Config, plan: Plan) -> tuple[int, int]:
    """Labeled and unlabeled crops of a step; 0 where the method has no use for them."""
    batch, method = config.train.batch_size or plan.batch_size, METHODS.get(config.method)
    unlabeled = config.train.unlabeled_batch_size or batch
    return batch * method.uses_labeled, unlabeled * method.uses_unlabeled


def _processes(config: Config) -> int:
    """Among which a batch is divided."""
    device = devices.resolve(config.device)
    visible = torch.cuda.device_count() if device.type == "cuda" and device.index is None else 1
    return (config.train.devices or visible) * config.train.nodes


def _validations(config: Config) -> int:
    several = stages(config)
    shares, count = sum(stage.share for stage in several), 0
    for stage in several:
        total = max(1, round(config.train.steps * stage.share / shares))
        count += math.ceil(total / (config.validation.every or math.ceil(total / 5))) if stage.gradient else 0
    return count


def _known(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None


def _meminfo() -> int | None:
    return _read(Path("/proc/meminfo"), lambda text: 1024 * int(text.split("MemAvailable:")[1].split()[0]))


def _in_container() -> int | None:
    """Of a control group (version 2): its limit, less what is in use."""
    group = Path("/sys/fs/cgroup")
    limit, used = _read(group / "memory.max", int), _read(group / "memory.current", int)
    return None if limit is None or used is None else max(0, limit - used)


def _read(path: Path, value: Callable[[str], int]) -> int | None:
    try:
        return value(path.read_text())
    except (OSError, ValueError, IndexError):
        return None  # another system, or no limit ("max")
