"""Which device, arithmetic and memory order suit the machine, and this process's place among others."""

from __future__ import annotations

import os
from typing import Literal

import torch

from paucis.errors import PaucisError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def resolve(device: str = "auto") -> torch.device:
    """``auto`` is the first GPU, else the CPU.

    Raises:
        PaucisError: a device that is not there or not known.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise PaucisError(f"device '{device}' is not known: use auto, cpu, cuda or cuda:N") from None
    if found.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise PaucisError(
                f"device '{device}' is not there: no CUDA device is visible; use device=cpu or device=auto"
            )
        if found.index is not None and found.index >= count:
            raise PaucisError(f"device '{device}' is not there: {count} CUDA device(s) are visible, numbered from 0")
    elif found.type not in ("cpu", "mps"):
        raise PaucisError(f"device '{device}' is not supported: use auto, cpu, cuda or cuda:N")
    return found


def fast_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 matrices faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        flags = _cpu_flags()
        return bool({"amx_bf16", "avx512_bf16"} & flags)
    return False


def precision(asked: str, device: torch.device) -> Precision:
    """Lightning's name for the arithmetic asked for; ``auto`` chooses what the hardware does well."""
    if asked == "auto":
        if fast_bf16(device):
            return "bf16-mixed"
        return "16-mixed" if device.type == "cuda" else "32-true"
    if asked == "16" and device.type == "cpu":
        raise PaucisError("train.precision=16 needs a GPU: use bf16 or 32 on a CPU")
    names: dict[str, Precision] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
    return names[asked]


def autocast(name: Precision, device: torch.device) -> torch.autocast:
    """The autocast context of a precision, for prediction outside the trainer."""
    dtype = torch.float16 if name == "16-mixed" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=name != "32-true")


def memory_format(asked: str, device: torch.device, ndim: int) -> torch.memory_format:
    """Channels-last where convolutions are faster in it: CPUs and GPUs that compute in bf16."""
    last = torch.channels_last if ndim == 2 else torch.channels_last_3d
    if asked == "auto":
        return last if fast_bf16(device) else torch.contiguous_format
    return last if asked == "channels_last" else torch.contiguous_format


def rank() -> int:
    """This process's number among all, before any process group exists (torchrun, SLURM, Lightning's launcher)."""
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if name in os.environ and (name != "SLURM_PROCID" or os.environ.get("SLURM_NTASKS", "1") != "1"):
            return int(os.environ[name])
    return 0


def started_outside() -> int:
    """Processes on this machine that torchrun or SLURM has started already; 0 when none has."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if os.environ.get("SLURM_NTASKS", "1") != "1" and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return int(os.environ.get("SLURM_NTASKS_PER_NODE", os.environ["SLURM_NTASKS"]).split("(")[0])
    return 0


def share_cores(processes: int) -> None:
    """Gives this process its fair part of the machine's cores; fewer where ``OMP_NUM_THREADS`` asks for fewer.

    torchrun sets that variable to 1 by itself, which says nothing about the user's wish.
    """
    fair = max(1, cores() // max(processes, 1))
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and "TORCHELASTIC_RUN_ID" not in os.environ:
        fair = min(fair, max(1, int(asked)))
    torch.set_num_threads(fair)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("flags"):
                    return set(line.split())
    except OSError:
        pass
    return set()
