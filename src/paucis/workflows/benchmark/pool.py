"""Processes that do the runs: one after another, or one for each GPU or share of the cores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch

from paucis.errors import PaucisError
from paucis.workflows.benchmark.worker import STOPPED

PATIENCE = 0.1  # seconds between two looks at the running processes


@dataclass(frozen=True)
class Slot:
    """A place where one run at a time is done.

    Attributes:
        environment: variables of its process.
        cores: of the CPU that it may use; empty for all.
    """

    environment: dict[str, str] = field(default_factory=dict)
    cores: tuple[int, ...] = ()


@dataclass
class Ended:
    """How a process ended.

    Attributes:
        folder: of its run.
        stopped: it was asked to stop and saved itself.
        reason: why it left no result, or empty.
    """

    folder: Path
    stopped: bool
    reason: str


def slots(jobs: int | None, device: str) -> list[Slot]:
    """One slot for each visible GPU, or ``jobs`` of them, which share GPUs and cores.

    Args:
        jobs: how many; None takes one for each GPU, and one without GPUs.
        device: that the runs are configured for; a GPU by number keeps all runs there.
    """
    gpus: list[str] = []
    if device in ("auto", "cuda"):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count()))))
        gpus = [number.strip() for number in visible.split(",") if number.strip()] if torch.cuda.is_available() else []
    count = jobs or max(len(gpus), 1)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    share = [tuple(cores[number::count]) if 1 < count <= len(cores) else () for number in range(count)]
    return [
        Slot({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {}, share[number])
        for number in range(count)
    ]


class Pool:
    """Runs worker processes, one in each slot.

    Args:
        places: the slots.
        held: descriptor that every worker keeps open (the lock of the grid's folder).
    """

    def __init__(self, places: Sequence[Slot], held: int | None = None) -> None:
        self.places, self.held = places, held

    def run(
        self,
        tasks: Iterable[Callable[[Slot], Path]],
        ended: Callable[[Ended], None],
        deadline: float | None = None,
    ) -> bool:
        """Does all tasks.

        Args:
            tasks: each writes the folder of a run for a slot, and names it.
            ended: called in this process with each run that is over.
            deadline: time (``time.monotonic``) after which none is started.

        Returns:
            False when Ctrl-C ended it: the running ones were asked to save themselves, and did.
        """
        waiting = iter(tasks)
        active: dict[int, _Process] = {}
        more = True
        with ExitStack() as files:
            try:
                while more or active:
                    for number, slot in enumerate(self.places):
                        if number not in active and more:
                            late = deadline is not None and time.monotonic() >= deadline
                            task = None if late else next(waiting, None)
                            more = task is not None
                            if task is not None:
                                active[number] = _Process(task(slot), slot, self.held, files)
                    time.sleep(PATIENCE if active else 0)
                    for number in [number for number, process in active.items() if process.over]:
                        ended(active.pop(number).ended(False))
            except KeyboardInterrupt:
                for process in active.values():
                    process.stop()
                for process in active.values():
                    ended(process.ended(True))
                return False
            except BaseException:
                for process in active.values():
                    process.stop()
                raise
        return True


class _Process:
    """A worker on its way, in a session of its own: Ctrl-C reaches it through this process, once."""

    def __init__(self, folder: Path, slot: Slot, held: int | None, files: ExitStack) -> None:
        self.folder = folder
        log = files.enter_context((folder / "log.txt").open("a"))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "paucis.workflows.benchmark.worker", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **slot.environment},
            start_new_session=True,
            pass_fds=() if held is None else (held,),
        )

    @property
    def over(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> None:
        if not self.over:
            self.process.send_signal(signal.SIGINT)

    def ended(self, asked: bool) -> Ended:
        """Waits for the end; a second Ctrl-C does not wait."""
        try:
            code = self.process.wait()
        except KeyboardInterrupt:
            self.process.kill()
            code = self.process.wait()
        if (self.folder / "result.json").is_file():
            return Ended(self.folder, False, "")
        if asked or code == STOPPED:
            return Ended(self.folder, True, "")
        told = f"was ended by signal {-code} (most often memory ran out)" if code < 0 else f"left with code {code}"
        return Ended(self.folder, False, f"its process {told}; see log.txt")


def check_jobs(jobs: int | None) -> None:
    """Raises PaucisError where ``--jobs`` is no number of processes."""
    if jobs is not None and jobs < 1:
        raise PaucisError(f"--jobs={jobs} must be at least 1")
