"""The grid on phantoms: rows, going on, failures, tables. Most runs are done in this process, as their own would."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paucis.engine.files import read_json
from paucis.errors import PaucisError
from paucis.evaluation.comparison.statistics import t_interval
from paucis.workflows.benchmark import pool, worker
from paucis.workflows.benchmark.estimate import Speed, estimate
from paucis.workflows.benchmark.folder import claimed
from paucis.workflows.benchmark.grid import expand
from paucis.workflows.benchmark.ground import Ground
from paucis.workflows.benchmark.pool import Ended, Pool, Slot
from paucis.workflows.benchmark.results import Results, figure
from paucis.workflows.benchmark.running import Benchmarked, Hooks, benchmark
from paucis.workflows.benchmark.suite import Suite, read

SMALL = """
options:
  network.features: 4
  data.patch: [8, 16, 16]
  data.workers: 0
  train.steps: 4
  train.batch_size: 2
  train.workers: 0
  train.log_every: 1
  checkpoint.every: 2
  validation.every: 4
"""


def suite(text: str, name: str = "tiny") -> Suite:
    return read(name, SMALL + text)


GRID = """
methods:
  - supervised
  - mean_teacher
  - {name: diverging, method: supervised, options: {optimizer.rate: 1.0e+30, train.clip: none}}
  - {name: odd, method: bcp, options: {train.unlabeled_batch_size: 3}}
labels: 2
seeds: [0, 1]
evaluation: {convention: literature}
"""


@pytest.fixture(scope="module")
def grid(phantoms: Path, tmp_path_factory: pytest.TempPathFactory, started: list[str]) -> tuple[Path, Benchmarked]:
    out = tmp_path_factory.mktemp("grid") / "out"
    return out, benchmark(suite(GRID), phantoms, out=out)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_finished_run_is_one_row(grid: tuple[Path, Benchmarked]) -> None:
    out, done = grid
    assert (done.runs, done.finished, done.left, done.stopped) == (8, 4, 0, False)
    finished = [row for row in rows(out) if row["status"] == "finished"]
    assert [(row["name"], row["seed"]) for row in finished] == [
        ("supervised", "0"),
        ("mean_teacher", "0"),
        ("supervised", "1"),
        ("mean_teacher", "1"),
    ]
    for row in finished:
        assert (row["labels"], row["labeled"], row["steps"], row["role"], row["weights"]) == (
            "2",
            "2",
            "4",
            "val",
            "last",
        )
        assert figure(row, "seconds_per_step") > 0
        assert figure(row, "train_seconds") >= figure(row, "seconds_per_step")
        assert figure(row, "peak_memory_mib") > figure(row, "memory_mib") >= 0


def test_what_each_network_answers_alone_is_measured_where_the_suite_asks_for_it(
    phantoms: Path, tmp_path: Path, started: list[str]
) -> None:
    text = "methods: [{name: supervised}, {name: mcf, options: {method.second: none}}]\nlabels: 2\n"
    benchmark(suite(f"{text}predict: {{maps: [members]}}"), phantoms, out=tmp_path / "out", only=["mcf"])
    (row,) = rows(tmp_path / "out")
    assert 0 <= figure(row, "first_dice") <= 1
    assert 0 <= figure(row, "second_dice") <= 1
    assert len({row["dice"], row["first_dice"], row["second_dice"]}) > 1


def test_a_row_is_the_mean_of_its_cases(grid: tuple[Path, Benchmarked]) -> None:
    out, _ = grid
    row = rows(out)[0]
    with (out / "cases" / f"{row['id']}.csv").open(newline="") as file:
        cases = list(csv.DictReader(file))
    assert {case["case"] for case in cases} == {read_json(out / "runs" / row["id"] / "job.json")["cases"][0]}
    assert figure(row, "dice") == pytest.approx(sum(figure(case, "dice") for case in cases) / len(cases), rel=1e-4)
    assert figure(row, "dice:liver") == pytest.approx(figure(cases[0], "dice"), rel=1e-4)
    assert not math.isnan(figure(row, "literature_dice"))
    assert (out / "cases" / f"{row['id']}.literature.csv").is_file()


def test_a_failed_run_is_recorded_and_stops_nothing(grid: tuple[Path, Benchmarked]) -> None:
    out, done = grid
    failed = [row for row in rows(out) if row["status"] == "failed"]
    assert [row["name"] for row in failed] == ["diverging", "diverging"]
    assert all("not finite" in row["error"] and "\n" not in row["error"] for row in failed)
    assert len(done.failed) == 2


def test_a_method_that_cannot_work_is_left_out_before_the_start(
    grid: tuple[Path, Benchmarked], started: list[str]
) -> None:
    _, done = grid
    assert "even number" in done.refused["odd"]
    assert not any(name.startswith("odd") for name in started)


def test_weights_and_masks_are_removed(grid: tuple[Path, Benchmarked]) -> None:
    out, _ = grid
    assert not list(out.rglob("*.safetensors"))
    assert not list(out.rglob("checkpoint.pt"))
    assert not list(out.rglob("*.nii.gz"))
    assert list(out.rglob("training.csv"))
    assert list(out.rglob("sheet.png"))


def test_the_tables_tell_means_intervals_tests_and_what_failed(grid: tuple[Path, Benchmarked]) -> None:
    out, _ = grid
    text, page = (out / "table.md").read_text(), (out / "table.html").read_text()
    values = [figure(row, "dice") for row in rows(out) if row["name"] == "supervised"]
    low, high = t_interval(values)
    assert f"{100 * sum(values) / 2:.2f} [{100 * low:.2f}, {100 * high:.2f}]" in text
    for said in (
        "Student's t over seeds",
        "Holm",
        "Left out: odd",
        "Failed: diverging",
        "reference",
        "Dice %, published",
    ):
        assert said in text.replace("rules", "")
    assert "<td>supervised</td>" in page
    assert "http" not in page  # nothing is fetched


def test_a_second_call_runs_nothing(grid: tuple[Path, Benchmarked], phantoms: Path, started: list[str]) -> None:
    out, before = grid
    done, content = len(started), (out / "results.csv").read_text()
    again = benchmark(suite(GRID), phantoms, out=out)
    assert len(started) == done
    assert (again.finished, again.failed) == (before.finished, before.failed)
    assert (out / "results.csv").read_text() == content


def test_rows_lost_to_a_crash_come_back_without_a_run(
    grid: tuple[Path, Benchmarked], phantoms: Path, started: list[str]
) -> None:
    out, before = grid
    done, known = len(started), {row["id"]: row["dice"] for row in rows(out)}
    (out / "results.csv").unlink()
    assert benchmark(suite(GRID), phantoms, out=out).finished == before.finished
    assert len(started) == done
    assert {row["id"]: row["dice"] for row in rows(out)} == known


def test_retry_does_failed_runs_again_and_only_those(
    grid: tuple[Path, Benchmarked], phantoms: Path, started: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(grid[0], out)
    done = len(started)
    again = benchmark(suite(GRID), phantoms, out=out, retry=True, only=["diverging"], limit_minutes=0)
    assert (started[done:], again.left) == ([], 2)  # no time to start any: they count as left
    assert len(rows(out)) == len(rows(grid[0]))
    benchmark(suite(GRID), phantoms, out=out, retry=True)
    assert started[done:] == ["diverging, 2 labels, seed 0", "diverging, 2 labels, seed 1"]


def test_an_interrupted_run_goes_on_from_its_checkpoint(
    phantoms: Path, tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def step(self: worker.Gauge, state: dict[str, Any]) -> None:
        steps.append(state["step"])
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(worker.Gauge, "step", step)
    told: list[str] = []
    one = suite("methods: [supervised]\nlabels: 2\n")
    stopped = benchmark(one, phantoms, out=tmp_path / "out", hooks=Hooks(told.append))
    assert (stopped.finished, stopped.left, steps) == (0, 1, [1, 2])
    assert "goes on" in told[-1]
    done = benchmark(one, phantoms, out=tmp_path / "out", hooks=Hooks(told.append), keep=True)
    assert (done.finished, steps) == (1, [1, 2, 3, 4])
    assert list((tmp_path / "out").rglob("last.safetensors"))  # kept


def test_a_dry_run_lists_what_is_to_be_done_and_measures_it(
    grid: tuple[Path, Benchmarked], phantoms: Path, tmp_path: Path, started: list[str]
) -> None:
    known = estimate(suite(GRID), phantoms, out=grid[0])
    assert [(run.state, run.seconds) for run in known[:4]] == [
        ("finished", 0.0),
        ("finished", 0.0),
        ("failed", 0.0),
        ("refused", 0.0),
    ]
    before = len(started)
    fresh = estimate(suite("methods: [supervised]\nlabels: 2\nseeds: [0, 1]\n"), phantoms, out=tmp_path / "out")
    assert len(started) == before + 1  # one measurement for both seeds
    assert [run.state for run in fresh] == ["to do", "to do"]
    assert all(run.seconds > 0 for run in fresh)
    assert not (tmp_path / "out" / "measured").exists()
    assert not (tmp_path / "out" / "results.csv").exists()


def test_an_estimate_is_known_from_the_rows_of_other_seeds(
    grid: tuple[Path, Benchmarked], phantoms: Path, started: list[str]
) -> None:
    before = len(started)
    third = suite(GRID.replace("[0, 1]", "[0, 1, 2]"))
    run = next(run for run in estimate(third, phantoms, out=grid[0], only=["mean_teacher"]) if run.state == "to do")
    assert run.name.endswith("seed 2")
    known = [row for row in rows(grid[0]) if row["name"] == "mean_teacher"]
    assert run.seconds >= 4 * min(figure(row, "seconds_per_step") for row in known)
    assert run.seconds <= 2 * max(figure(row, "total_seconds") for row in known)
    assert len(started) == before


def test_an_estimate_grows_with_steps_and_cases(phantoms: Path) -> None:
    text = "methods: [supervised]\nlabels: 2\n"
    short, long = (prepared(text, phantoms, {"train.steps": steps, "validation.every": 50})[0] for steps in (100, 1100))
    assert Speed(step=0.5, case=2.0, around=3.0).of(short) == 3 + 50 + (1 + 1) * 2  # one validation before the end
    assert Speed(step=0.5, case=2.0, around=3.0).of(long) == 3 + 550 + (1 + 21) * 2


def prepared(text: str, dataset: Path, options: dict[str, Any] | None = None) -> list[Any]:
    ground = Ground(suite(text), dataset)
    return [ground.prepare(job) for job in expand(suite(text), dataset, options)]


def test_a_run_is_known_by_what_decides_its_figures(phantoms: Path, tmp_path: Path) -> None:
    text = "methods: [supervised]\nlabels: 2\n"
    shutil.copytree(phantoms, tmp_path / "moved")
    key = prepared(text, phantoms)[0].key
    assert prepared(text, tmp_path / "moved", {"train.devices": "1", "data.cache": str(tmp_path / "c")})[0].key == key
    others = [
        prepared(text, phantoms, {"train.steps": "5"})[0].key,
        prepared("methods: [mean_teacher]\nlabels: 2\n", phantoms)[0].key,
        prepared("methods: [supervised]\nlabels: 3\n", phantoms)[0].key,
        prepared("methods: [supervised]\nlabels: 2\nseeds: 1\n", phantoms)[0].key,
        prepared(f"{text}predict: {{overlap: 0.1}}\n", phantoms)[0].key,
    ]
    assert len({key, *others}) == 6


def test_all_methods_share_one_plan_and_one_split(phantoms: Path) -> None:
    options = {"data.patch": "none"}
    one, two = prepared("methods: [supervised, mean_teacher]\nlabels: 2\n", phantoms, options)
    assert (one.plan, one.split, one.evaluated) == (two.plan, two.split, two.evaluated)


def test_the_test_part_is_measured_where_it_has_labels(phantoms: Path) -> None:
    text = "methods: [supervised]\nlabels: 1\n"
    found = prepared(text, phantoms, {"data.test": "0.2"})[0]
    assert (found.role, found.weights) == ("test", "best")
    assert [case.name for case in found.evaluated] == list(found.split.test)
    validated = prepared(f"{text}evaluation: {{role: val}}\n", phantoms, {"data.test": "0.2"})[0]
    assert (validated.role, validated.weights) == ("val", "last")  # no checkpoint is chosen on what is measured


@pytest.mark.parametrize(
    ("text", "folder", "said"),
    [
        ("methods: [supervised]\nlabels: 50\n", "", "asks for more than there is"),
        ("methods: [supervised]\nlabels: 2\n", "phantms", "did you mean 'phantoms'"),
        ("methods: [supervised]\nlabels: 2\nsplit: shipped\n", "", "ships no split"),
        ("methods: [supervised]\nlabels: 2\nsplit: {cases: 100, folds: [{train: '0'}]}\n", "", "split is of 100"),
        ("methods: [supervised]\nlabels: 2\nevaluation: {role: test}\n", "", "no test case with a label"),
        ("methods: [supervised]\nlabels: 5\n", "", "no val case with a label"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(
    text: str, folder: str, said: str, phantoms: Path, tmp_path: Path, started: list[str]
) -> None:
    before = len(started)
    with pytest.raises(PaucisError) as refused:
        benchmark(suite(text), phantoms.parent / folder if folder else phantoms, out=tmp_path / "out")
    assert said in str(refused.value)
    assert len(started) == before
    assert not (tmp_path / "out" / "runs").exists()


def test_a_suite_without_a_dataset_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(PaucisError, match="needs a dataset"):
        benchmark("acdc-mini", out=tmp_path / "out")


def test_a_folder_belongs_to_one_suite_and_one_process(tmp_path: Path) -> None:
    mine, other, out = suite("methods: [supervised]\n"), suite("methods: [supervised]\n", "other"), tmp_path / "out"

    def refused(asked: Suite, folder: Path) -> str:
        with pytest.raises(PaucisError) as said, claimed(folder, asked, {}):
            pass
        return str(said.value)

    with claimed(out, mine, {}):
        assert "another benchmark works there" in refused(mine, out)
    assert "suite 'tiny', not of 'other'" in refused(other, out)
    (tmp_path / "thesis.txt").write_text("")
    assert "holds no benchmark" in refused(mine, tmp_path)


def script(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in place of the worker's interpreter, and the folder of a run."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    monkeypatch.setattr(pool, "sys", SimpleNamespace(executable=str(program)))
    monkeypatch.setattr(pool, "subprocess", subprocess)
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_a_killed_process_is_a_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = script(tmp_path, "kill -9 $$", monkeypatch)
    ended: list[Ended] = []
    assert Pool([Slot()]).run([lambda slot: folder], ended.append)
    assert "signal 9" in ended[0].reason
    assert not ended[0].stopped


def test_ctrl_c_lets_the_running_ones_save_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = tmp_path / "ready"
    folder = script(tmp_path, f"trap 'exit 130' INT\ntouch {ready}\nwhile :; do sleep 0.1; done", monkeypatch)
    ended: list[Ended] = []

    def interrupted(seconds: float) -> None:
        if ready.exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(pool, "time", SimpleNamespace(sleep=interrupted, monotonic=lambda: 0.0))
    assert not Pool([Slot()]).run([lambda slot: folder, lambda slot: folder], ended.append)
    assert [one.stopped for one in ended] == [True]


def test_slots_share_gpus_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(pool.os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in pool.slots(None, "auto")] == ["2", "5"]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in pool.slots(3, "auto")] == ["2", "5", "2"]
    assert [slot.cores for slot in pool.slots(2, "cpu")] == [(0, 2, 4, 6), (1, 3, 5, 7)]
    assert pool.slots(None, "cpu") == [Slot()]


def test_rows_survive_as_they_were_written(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.csv")
    results.add({"id": "a", "status": "finished", "dice": 0.5, "dice:liver": math.nan})
    results.add({"id": "b", "status": "failed", "error": 'a "quoted", comma'})
    again = Results(tmp_path / "results.csv")
    assert again.finished("a")
    assert again.failed("b")
    assert again.rows["b"]["error"] == 'a "quoted", comma'
    assert math.isnan(figure(again.rows["a"], "dice:liver"))
    (tmp_path / "other.csv").write_text("x,y\n1,2\n")
    with pytest.raises(PaucisError, match="no table of a benchmark"):
        Results(tmp_path / "other.csv")


def test_stages_weigh_by_their_steps_and_pauses_do_not_count(tmp_path: Path) -> None:
    text = "stage,step,seconds_per_step\na,10,1.0\na,20,3.0\nb,10,5.0\nb,20,5.0\nb,30,5.0\nb,60,5.0\n"
    (tmp_path / "training.csv").write_text(text)
    seconds, per_step = worker.steps_taken(tmp_path / "training.csv")
    assert seconds == pytest.approx(10 * 1 + 10 * 3 + 60 * 5)
    assert per_step == pytest.approx((20 * 2 + 60 * 5) / 80)


def test_the_command_runs_a_suite_in_processes_of_its_own(phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(SMALL + "methods: [supervised]\nlabels: 2\n")
    command = [sys.executable, "-m", "paucis", "benchmark", str(tmp_path / "one.yaml"), str(phantoms), "train.steps=2"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out"), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["finished"] == 1
    assert (tmp_path / "out" / "table.html").is_file()
    log = next((tmp_path / "out" / "runs").glob("*/log.txt")).read_text()
    assert "2 labeled" in log
    assert "Warning" not in log
