"""A run folder: everything needed to repeat, resume, predict and report."""

from __future__ import annotations

import logging
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from paucis import __version__
from paucis.batch import Task
from paucis.data.plan import Plan
from paucis.data.planfile import load_plan
from paucis.data.split import Split
from paucis.engine import devices
from paucis.engine.config import Config, from_dict
from paucis.engine.files import load_tensors, read_json, write_json
from paucis.engine.records import CsvRecord
from paucis.engine.seeds import derive
from paucis.errors import PaucisError
from paucis.methods.base import METHODS, Build, Method, Stage
from paucis.networks import load_weights, make
from paucis.networks.base import Network
from paucis.plugins.base import PLUGINS, Plugin
from paucis.registry import nearest

log = logging.getLogger(__name__)


class RunFolder:
    """Names in a run folder.

    ``config.json`` what was asked, resolved; ``plan.json``; ``split.json``; ``environment.json`` versions and machine;
    ``segments.json`` codes of the classes, where the dataset has some;
    ``run.json`` state and best result; ``training.csv``, ``validation.csv``; ``events/`` for TensorBoard;
    ``stages/NAME/`` with ``checkpoint.pt`` (to resume), ``last.safetensors`` and ``best.safetensors`` (for use).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.plan_file = self.path / "plan.json"
        self.split_file = self.path / "split.json"
        self.state_file = self.path / "run.json"
        self.environment_file = self.path / "environment.json"
        self.segments_file = self.path / "segments.json"
        self.training_file = self.path / "training.csv"
        self.validation_file = self.path / "validation.csv"

    def stage(self, name: str) -> Path:
        """Folder of a stage."""
        return self.path / "stages" / name

    def weights(self, stage: str, which: str | None = None) -> Path:
        """Weights of a stage for use: ``best`` where validation chose one, else ``last``; or the one asked for."""
        if which is None:
            which = "best" if (self.stage(stage) / "best.safetensors").is_file() else "last"
        return self.stage(stage) / f"{which}.safetensors"

    def require(self) -> None:
        """Raises PaucisError where this is no run folder."""
        if not self.path.exists():
            raise PaucisError(f"{self.path}: no such run folder: check the path")
        if not self.config_file.is_file() or not self.plan_file.is_file():
            raise PaucisError(
                f"{self.path}: is not a run folder of paucis (no config.json and plan.json in it): name one"
            )

    def discard_unbegun(self) -> None:
        """Removes what a run wrote that failed before its first stage began, so that the same folder is free again."""
        files = (
            self.config_file,
            self.plan_file,
            self.split_file,
            self.state_file,
            self.environment_file,
            self.segments_file,
        )
        if self.path.is_dir() and {entry.name for entry in self.path.iterdir()} <= {file.name for file in files}:
            for file in files:
                file.unlink(missing_ok=True)
            self.path.rmdir()

    def config(self) -> Config:
        """The resolved configuration."""
        try:
            return from_dict(read_json(self.config_file))
        except (TypeError, KeyError) as error:
            raise PaucisError(
                f"{self.config_file}: does not fit this version of paucis ({error}): train again, or use the version "
                f"that {self.environment_file.name} names"
            ) from error

    def plan(self) -> Plan:
        """The plan."""
        return load_plan(self.plan_file)

    def split(self) -> Split:
        """The roles of the cases."""
        return Split.load(self.split_file)

    def state(self, **changes: Any) -> dict[str, Any]:
        """The content of ``run.json``, after ``changes`` were written to it."""
        content: dict[str, Any] = read_json(self.state_file) if self.state_file.is_file() else {}
        if changes:
            content |= changes
            write_json(self.state_file, content)
        return content

    def forget(self, names: Sequence[str]) -> None:
        """Removes what stages have left: weights, checkpoints, pseudo-labels, results and rows of figures."""
        results = self.state().get("results", {})
        self.state(results={name: result for name, result in results.items() if name not in names})
        for name in names:
            shutil.rmtree(self.stage(name), ignore_errors=True)
            for file in (self.training_file, self.validation_file):
                CsvRecord(file).cut(name, 0)

    def write_environment(self) -> None:
        """Records versions and machine."""
        from importlib.metadata import PackageNotFoundError, version

        def of(name: str) -> str | None:
            try:
                return version(name)
            except PackageNotFoundError:
                return None

        names = ("torch", "lightning", "monai", "timm", "segmentation-models-pytorch", "numpy", "scipy", "SimpleITK")
        write_json(
            self.environment_file,
            {
                "paucis": __version__,
                "python": platform.python_version(),
                "system": platform.platform(),
                "processor_cores": devices.cores(),
                "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
                **{name: of(name) for name in names},
            },
        )


def builder(config: Config, task: Task, *, initial: bool = True) -> Build:
    """Makes freshly initialised networks of the configured kind, or of another.

    Args:
        config: names the network and its options.
        task: the task.
        initial: False when saved weights follow: no pretrained ones are looked for then.
    """

    def build(name: str | None = None, **options: Any) -> Network:
        if name is None or name == config.network:
            return make(config.network, task, {**config.network_options, **options}, initial=initial)
        return make(name, task, options, initial=initial)

    return build


def method_options(config: Config) -> Any:
    """The configured method's options."""
    return METHODS.get(config.method).Options(**_tuples(config.method_options))


def stages(config: Config) -> tuple[Stage, ...]:
    """The configured method's stages."""
    return METHODS.get(config.method).stages(method_options(config))


def stage_number(config: Config, name: str, key: str) -> int:
    """Place of a stage among those of the configured method.

    Args:
        config: names the method.
        name: of the stage.
        key: what the user wrote it after, for the message.

    Raises:
        PaucisError: the method has no such stage.
    """
    names = [stage.name for stage in stages(config)]
    if name not in names:
        raise PaucisError(
            f"{key} {name}: no stage of method '{config.method}'{nearest(name, names)} (stages: {', '.join(names)})"
        )
    return names.index(name)


def make_stage(
    stage: Stage, config: Config, task: Task, earlier: dict[str, Method], *, initial: bool = True
) -> tuple[Method, tuple[Plugin, ...]]:
    """A stage's method with its plug-ins attached, seeded by the run's seed and the stage's name.

    With ``initial``, every network of the method starts from ``--init`` where that is given, unless the stage continues
    an earlier one. A stage without gradient looks at networks of earlier stages, which have both: it gets neither.
    """
    torch.manual_seed(derive(config.seed, "init", stage.name))
    method = stage.make(builder(config, task, initial=initial), task, earlier)
    if not stage.gradient:
        return method, ()
    carried = []
    for name, given in config.plugs.items():
        kind = PLUGINS.get(name)
        plugin = kind(task, kind.Options(**_tuples(given)))
        plugin.attach(method)
        carried.append(plugin)
    if initial and config.init is not None and not stage.continues:  # plug-ins' blocks may have weights there too
        file = network_weights(config.init)
        for network in method.networks():
            without = "decoder." if config.train.taken == "encoder" else None
            try:
                load_weights(network, file, without=without)
            except PaucisError as error:
                raise PaucisError(f"{_other_network(config) or error}") from error
    return method, tuple(carried)


@dataclass
class Run:
    """A trained run, ready to predict.

    Attributes:
        folder: the run folder.
        config: what it was trained with.
        plan: how scans are prepared for it.
        task: the task.
        method: in eval mode, on ``device``.
        device: where it computes.
        precision: its arithmetic.
    """

    folder: RunFolder
    config: Config
    plan: Plan
    task: Task
    method: Method
    device: torch.device
    precision: devices.Precision

    def autocast(self) -> torch.autocast:
        """The context that predictions are computed in."""
        return devices.autocast(self.precision, self.device)


def open_run(path: str | Path, device: str = "auto", weights: str | None = None) -> Run:
    """A run for prediction, by its last stage that has weights.

    Args:
        path: run folder.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``.
        weights: ``best``, ``last``, or None for the best where validation chose one.

    Raises:
        PaucisError: not a run folder, no weights in it yet, weights of another name, or a device that is not there.
    """
    from paucis.engine.loop import place

    folder, where = RunFolder(path), devices.resolve(device)
    if weights not in (None, "best", "last"):
        raise PaucisError(f"weights '{weights}' are not known: take best or last")
    folder.require()
    config, plan = folder.config(), folder.plan()
    task = plan.task()
    built: dict[str, Method] = {}
    for stage in trained_stages(folder, config):
        method, _ = make_stage(stage, config, task, built, initial=False)
        load_into(method, folder.weights(stage.name, weights))
        built[stage.name] = method
    place(method, where, devices.memory_format(config.train.memory_format, where, task.ndim))
    method = method.to(where).eval()
    return Run(folder, config, plan, task, method, where, devices.precision(_known(config, where), where))


def trained_stages(folder: RunFolder, config: Config) -> tuple[Stage, ...]:
    """The stages up to the last that has weights; the first in any case. Tells when some are left to train."""
    plan = stages(config)
    done = next((i for i, stage in enumerate(plan) if not folder.weights(stage.name).is_file()), len(plan))
    if 0 < done < len(plan):
        log.warning("%s: stage '%s' is not trained yet: using '%s'", folder.path, plan[done].name, plan[done - 1].name)
    return plan[: max(done, 1)]


def network_weights(source: str | Path) -> Path:
    """The file of network weights that ``--init`` means: the file itself, or that of a run's last trained stage.

    Raises:
        PaucisError: neither a file nor a run with weights.
    """
    path = Path(source)
    if not path.is_dir():
        return path
    folder = RunFolder(path)
    folder.require()
    stage = trained_stages(folder, folder.config())[-1].name
    return folder.weights(stage).with_suffix(".network.safetensors")


def _other_network(config: Config) -> str | None:
    """What to say where ``--init`` names a run of another network; None where it does not."""
    if config.init is None or not Path(config.init).is_dir():
        return None
    source = RunFolder(config.init).config()
    if (source.network, source.network_options) == (config.network, config.network_options):
        return None
    given = [f"{key}={value}" for key, value in source.given.items() if key.startswith("network.")]
    same = " ".join([f"network={source.network}", *given])
    return f"--init {config.init}: its network is another one, whose weights do not fit: give {same}"


def frozen_share(config: Config, stage: Stage) -> float:
    """Share of a stage's steps in which the encoders stay as ``--init`` gave them.

    Raises:
        PaucisError: ``train.frozen`` without ``--init``.
    """
    if config.init is None:
        if config.train.frozen:
            raise PaucisError("train.frozen keeps what --init gives, and there is none: name a run, or leave it out")
        return 0.0
    if stage.continues or not stage.gradient:
        return 0.0
    if config.train.frozen is not None:
        return config.train.frozen
    folder = RunFolder(config.init)
    pretraining = folder.config_file.is_file() and METHODS.get(folder.config().method).pretrains
    return 0.5 if pretraining else 0.0


def load_into(method: Method, path: Path) -> None:
    """Loads a method's saved weights.

    Raises:
        PaucisError: they are missing or of another method or network.
    """
    try:
        method.load_state_dict(load_tensors(path))
    except RuntimeError as error:
        raise PaucisError(f"{path}: does not fit the run's method and network ({error})") from error


def _known(config: Config, device: torch.device) -> str:
    return "auto" if config.train.precision == "16" and device.type == "cpu" else config.train.precision


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON turns tuples into lists; options are frozen and hold tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
