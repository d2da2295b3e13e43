"""One run of a grid in a process of its own: train, predict, measure; the result is a JSON file.

``python -m paucis.workflows.benchmark.worker FOLDER`` does what ``FOLDER/job.json`` says. A process of its own gives
back all memory, and takes nothing with it when it crashes.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import shutil
import signal
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STOPPED = 130
"""Exit code of a run that was asked to stop and saved itself."""

MEASURES = ("dice", "jaccard", "hd95", "asd")


def main(arguments: Sequence[str] | None = None) -> int:
    """Does the run in the folder given; returns 0, 2 after a failure that is recorded, or ``STOPPED``."""
    folder = Path((sys.argv[1:] if arguments is None else arguments)[0])
    job = json.loads((folder / "job.json").read_text())
    if job["cores"]:
        os.sched_setaffinity(0, job["cores"])
    from paucis.engine.callbacks import Interrupted
    from paucis.engine.files import write_json
    from paucis.errors import PaucisError

    started = time.perf_counter()
    try:
        result = {"status": "finished", **_work(folder, job)}
    except (Interrupted, KeyboardInterrupt):
        return STOPPED
    except PaucisError as error:
        print(error, file=sys.stderr)  # noqa: T201  (its log is standard error)
        result = {"status": "failed", "error": str(error)}
    except Exception as error:
        traceback.print_exc()
        told = " ".join(str(error).split()) or "no message"
        result = {"status": "failed", "error": f"{type(error).__name__}: {told[:300]} (see log.txt)"}
    write_json(folder / "result.json", {**result, "total_seconds": round(time.perf_counter() - started, 2)})
    return 0 if result["status"] == "finished" else 2


def _work(folder: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    result = {**_train(folder / "training", job), **_measure(folder, job), **_suggest(folder, job)}
    if not job["keep"]:
        _tidy(folder)
    return result


def _train(run: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    from paucis.engine import devices
    from paucis.engine.callbacks import Interrupted
    from paucis.workflows.hooks import Hooks
    from paucis.workflows.train import train

    gauge = Gauge()
    threading.Thread(target=_stop_with, args=(job["parent"],), daemon=True).start()
    done = train(out=run, resume=True, hooks=Hooks(tell=_say, progress=gauge.preparing, report=gauge.step))
    if not done.finished:
        raise Interrupted
    seconds, per_step = steps_taken(run / "training.csv")
    return {
        "train_seconds": round(seconds, 2),
        "seconds_per_step": per_step,
        **gauge.memory(),
        "device": _device(devices.resolve(json.loads((run / "config.json").read_text())["device"])),
        "best_step": [stage["best"]["step"] for stage in done.results.values() if stage["best"]],
    }


def _measure(folder: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """Predicts the evaluated cases on their own grids, then measures them by one or two conventions."""
    from paucis.errors import PaucisError
    from paucis.workflows.evaluate import evaluate
    from paucis.workflows.predict import predict

    began = time.perf_counter()
    config = json.loads((folder / "training" / "config.json").read_text())
    options = {"maps": (), **job["predict"]}
    predict(
        folder / "training",
        folder / "scans.json",
        out=folder / "predictions",
        options=options,
        device=config["device"],
        weights=None if job["weights"] == "best" else "last",  # a stage that only estimates has no best
    )

    def measured(masks: Path, out: Path, convention: str) -> Any:
        return evaluate(
            masks,
            config["dataset"],
            out=out,
            group=config["data"]["group"],
            convention=convention,
            tolerance_mm=job["tolerance_mm"],
            partial=True,  # of a whole dataset, some cases are measured: exactly these, see below
            workers=None if len(job["cases"]) > 1 else 0,
        )

    figures: dict[str, Any] = {}
    for convention in job["conventions"]:
        out = folder / ("evaluation" if convention == "strict" else convention)
        found = measured(folder / "predictions", out, convention)
        if {row.case for row in found.rows} != set(job["cases"]):
            raise PaucisError(f"{folder / 'predictions'}: the measured cases are not the {len(job['cases'])} asked for")
        figures |= summary_figures(found.summary, "" if convention == "strict" else f"{convention}_")
    for member in sorted((folder / "predictions" / "members").glob("*")):  # the suite's predict.maps asks for them
        alone = measured(member, folder / "members" / member.name, job["conventions"][0])
        figures[f"{member.name}_dice"] = alone.summary.overall["dice"].mean
    return {**figures, "cases": len(job["cases"]), "evaluation_seconds": round(time.perf_counter() - began, 2)}


def _suggest(folder: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """The scans that each rule would label next, by name."""
    choice = job.get("suggest")
    if choice is None:
        return {}
    from paucis.errors import PaucisError
    from paucis.evaluation.suggestion import NEEDS
    from paucis.workflows.opening import opened
    from paucis.workflows.predict import prediction_options
    from paucis.workflows.suggest import pick
    from paucis.workflows.suggestion_figures import Notes, look
    from paucis.workflows.suggestion_pool import find_pool

    began = time.perf_counter()
    config = json.loads((folder / "training" / "config.json").read_text())
    weights = None if job["weights"] == "best" else "last"
    runs, options = opened([folder / "training"], prediction_options(choice["predict"]), config["device"], weights)
    needs = frozenset[str]().union(*(NEEDS[rule] for rule in choice["rules"]))
    pool = find_pool(
        runs,
        folder / "pool.json",
        one_per_patient=choice["one_per_patient"],
        with_labeled="features" in needs,
    )
    notes = Notes(folder / "figures.jsonl", runs, options)
    figures, failed = look(runs, pool.cases, needs, options, notes, _quiet)
    centers, lost = look(runs, pool.labeled, needs & {"features"}, options, notes, _quiet)
    figures, failed = figures | centers, failed | lost
    for name, reason in failed.items():
        _say(f"not looked at: {name}: {reason}")
    count, seed, alone = choice["count"], choice["seed"], choice["one_per_patient"]
    picked = {rule: pick(rule, pool, figures, count, seed, alone) for rule in choice["rules"]}
    chosen = {rule: [name for name, _ in several] for rule, several in picked.items()}
    if short := [rule for rule, several in chosen.items() if len(several) < count]:
        raise PaucisError(f"{', '.join(short)}: fewer than {count} scans to choose: shorten the rounds, see log.txt")
    return {"suggested": chosen, "suggestion_seconds": round(time.perf_counter() - began, 2)}


def summary_figures(summary: Any, prefix: str) -> dict[str, Any]:
    """Mean of every measure over classes and for each class, as columns of a row."""
    columns = {f"{prefix}{name}": summary.overall[name].mean for name in MEASURES}
    for label, found in summary.classes.items():
        columns |= {f"{prefix}{name}:{label}": found[name].mean for name in MEASURES}
    return {f"{prefix}unit": summary.unit, **columns}


def steps_taken(path: Path) -> tuple[float, float]:
    """Seconds spent in steps (validation and saving left out), and the median seconds of a step.

    Where a method has several stages, their medians are weighted by their steps.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    seconds, weighted, steps = 0.0, 0.0, 0
    for stage in dict.fromkeys(row["stage"] for row in rows):
        here = [(int(row["step"]), float(row["seconds_per_step"])) for row in rows if row["stage"] == stage]
        before = [0, *(step for step, _ in here)]
        seconds += sum(each * (step - last) for (step, each), last in zip(here, before, strict=False))
        weighted += statistics.median(each for _, each in here) * here[-1][0]
        steps += here[-1][0]
    return seconds, weighted / max(steps, 1)


class Gauge:
    """Follows a training for its peak of memory."""

    def __init__(self) -> None:
        self.steps = 0
        self.before = _status("VmRSS")

    def preparing(self, what: str, done: int, total: int) -> None:
        """Called while scans are prepared."""
        if done == total:
            _say(f"{what}: {total}")

    def step(self, state: dict[str, Any]) -> None:
        """Called after every step. What preparation took is forgotten at the first."""
        self.steps += 1
        if self.steps == 1:
            _forget_peak()

    def memory(self) -> dict[str, float]:
        """MiB that training took: of the GPU where one was used, else of this process (without loader processes).

        ``memory_mib`` leaves out what the process held before training, its libraries most of all.
        """
        import torch

        if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
            taken = round(torch.cuda.max_memory_allocated() / 2**20, 1)
            return {"peak_memory_mib": taken, "memory_mib": taken}
        peak = _status("VmHWM") or float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return {"peak_memory_mib": round(peak / 1024, 1), "memory_mib": round((peak - self.before) / 1024, 1)}


def _stop_with(parent: int) -> None:
    """Lets this process save itself and stop when the one that started it is gone: nobody would use its result."""
    while os.getppid() == parent:
        time.sleep(2)
    os.kill(os.getpid(), signal.SIGINT)


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # not Linux: the peak of the preparation counts too


def _status(name: str) -> float:
    """KiB that the system tells of this process; 0 where it tells nothing."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return float(line.split()[1])
    except OSError:
        pass
    return 0.0


def _device(device: Any) -> str:
    """What times and memory belong to: the GPU's name, or the cores of the CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return (
        f"{device.type}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"
    )


def _tidy(folder: Path) -> None:
    """Removes what only a further use of the model would need."""
    for name in ("predictions", "training/stages", "training/events"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _quiet(done: int, total: int) -> None:
    """Hears how far a piece of work is."""


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  (its log is standard output)


if __name__ == "__main__":
    sys.exit(main())
