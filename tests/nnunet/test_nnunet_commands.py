"""nnU-Net's own commands on a few hippocampi: plan, preprocess, train with its trainer and with ours, predict."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunet_plans import nnunet

from paucis.nnunet import FOLDER

COMMANDS = {
    "plan": "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints:plan_and_preprocess_entry",
    "train": "nnunetv2.run.run_training:run_training_entry",
    "predict": "nnunetv2.inference.predict_from_raw_data:predict_entry_point",
}
SHORT = """
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from paucis.nnunet.trainers import nnUNetTrainerPDCRUAFS


class Short(nnUNetTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cpu")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 2, 3, 2


class nnUNetTrainerShort(Short):
    pass


class nnUNetTrainerPDCRUAFSShort(Short, nnUNetTrainerPDCRUAFS):
    pass
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nnU-Net's folders, and one with trainers of few iterations."""
    nnunet()
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    (tmp_path / "short").mkdir()
    (tmp_path / "short" / "short_trainers.py").write_text(SHORT)
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join([str(tmp_path / "short"), str(FOLDER)]))
    monkeypatch.setenv("nnUNet_def_n_proc", "1")
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    return tmp_path


def run(command: str, *words: object) -> str:
    """One of nnU-Net's commands, as its script calls it, beside a torchvision that may not suit torch."""
    module, _, function = COMMANDS[command].partition(":")
    code = f"import paucis.torchvision_guard; from {module} import {function} as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False, timeout=3000
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def raw_dataset(source: Path, raw: Path, train: int, test: int) -> list[str]:
    """The first hippocampi in nnU-Net's layout; gives the names of the test cases."""
    folder = raw / "Dataset004_Hippocampus"
    names = [file.name.removesuffix(".nii.gz") for file in sorted((source / "imagesTr").glob("*.nii.gz"))]
    for kind, some in (("Tr", names[:train]), ("Ts", names[train : train + test])):
        for part in ("images", "labels"):
            (folder / f"{part}{kind}").mkdir(parents=True)
        for name in some:
            shutil.copy(source / "imagesTr" / f"{name}.nii.gz", folder / f"images{kind}" / f"{name}_0000.nii.gz")
            shutil.copy(source / "labelsTr" / f"{name}.nii.gz", folder / f"labels{kind}" / f"{name}.nii.gz")
    labels = {"background": 0, "anterior": 1, "posterior": 2}
    description = {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": train, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))
    return names[train : train + test]


def add_small_configuration(plans: Path) -> None:
    """The planned network with a quarter of its channels, for a CPU."""
    planned = json.loads(plans.read_text("utf-8"))
    architecture = deepcopy(planned["configurations"]["3d_fullres"]["architecture"])
    kwargs = architecture["arch_kwargs"]
    kwargs["features_per_stage"] = [count // 4 for count in kwargs["features_per_stage"]]
    planned["configurations"]["3d_small"] = {"inherits_from": "3d_fullres", "architecture": architecture}
    plans.write_text(json.dumps(planned))


@pytest.mark.heavy
@pytest.mark.realdata
@pytest.mark.timeout(7200)
def test_their_commands_train_and_predict_with_both(real_data: Path, place: Path) -> None:
    cases = raw_dataset(real_data / "hippocampus", place / "raw", train=6, test=1)
    run("plan", "-d", 4, "-c", "3d_fullres", "-np", 1, "-npfp", 1)
    add_small_configuration(place / "preprocessed" / "Dataset004_Hippocampus" / "nnUNetPlans.json")
    for name in ("nnUNetTrainerShort", "nnUNetTrainerPDCRUAFSShort"):
        ours = "UAFS" in name
        log = run("train", 4, "3d_small", 0, "-tr", name, "-device", "cpu")
        assert log.count("Pseudo dice") == 2
        assert log.count("PDCR, its share in the training loss: ") == 2 * ours
        folder = place / "results" / "Dataset004_Hippocampus" / f"{name}__nnUNetPlans__3d_small"
        summary = json.loads((folder / "fold_0" / "validation" / "summary.json").read_text("utf-8"))
        assert 0 <= summary["foreground_mean"]["Dice"] <= 1
        assert ("paucis" in json.loads((folder / "plans.json").read_text("utf-8"))) == ours
        out = place / f"predicted_{name}"
        scans = place / "raw" / "Dataset004_Hippocampus" / "imagesTs"
        words = ["-d", 4, "-c", "3d_small", "-f", 0, "-tr", name, "-device", "cpu", "-npp", 1, "-nps", 1]
        run("predict", "-i", scans, "-o", out, *words)
        for case in cases:
            scan = sitk.ReadImage(str(scans / f"{case}_0000.nii.gz"))
            mask = sitk.ReadImage(str(out / f"{case}.nii.gz"))
            assert mask.GetSize() == scan.GetSize()
            assert mask.GetSpacing() == scan.GetSpacing()
            assert set(np.unique(sitk.GetArrayFromImage(mask))) <= {0, 1, 2}
