from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from paucis.errors import PaucisError
from paucis.nnunet import FOLDER
from paucis.nnunet.settings import KEY, as_record, from_environment, refuse_other_options
from paucis.options import build
from paucis.plugins.pdcr import PdcrOptions
from paucis.plugins.uafs import UafsOptions

CLASS = PdcrOptions(layers=("encoder.2", "encoder.3"), weight=0.3)


def test_variables_override_the_options_of_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_environment("pdcr", CLASS) == CLASS
    monkeypatch.setenv("PAUCIS_PDCR_LAYERS", "encoder.1,encoder.2")
    monkeypatch.setenv("PAUCIS_PDCR_VECTORS", "32,8")
    monkeypatch.setenv("PAUCIS_UAFS_SITES", "decoder")
    expected = PdcrOptions(layers=("encoder.1", "encoder.2"), vectors=(32, 8), weight=0.3)
    assert from_environment("pdcr", CLASS) == expected
    monkeypatch.setenv("PAUCIS_PDCR_WEIGHT", "none")
    assert from_environment("pdcr", CLASS).weight is None
    assert from_environment("uafs", UafsOptions()) == UafsOptions(sites=("decoder",))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WIEGHT", "1", r"unknown option 'PAUCIS_PDCR_WIEGHT'; did you mean 'PAUCIS_PDCR_WEIGHT'\?"),
        ("WEIGHT", "much", "PAUCIS_PDCR_WEIGHT='much' is not a number"),
        ("WEIGHT", "-1", "PAUCIS_PDCR_WEIGHT=-1.0 must be at least 0"),
    ],
)
def test_errors_name_the_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(f"PAUCIS_PDCR_{name}", value)
    with pytest.raises(PaucisError, match=message):
        from_environment("pdcr", CLASS)


def test_a_record_is_read_back_as_the_options_it_was() -> None:
    record = as_record(CLASS, classes=3)
    assert json.loads(json.dumps(record)) == record
    assert record.pop("classes") == 3
    assert build(PdcrOptions, record) == CLASS


def test_a_folder_trained_with_other_options_is_refused(tmp_path: Path) -> None:
    record = {"pdcr": as_record(CLASS)}
    refuse_other_options(tmp_path, record)
    (tmp_path / "plans.json").write_text(json.dumps({"plans_name": "nnUNetPlans", KEY: record}))
    refuse_other_options(tmp_path, record)
    other = {"pdcr": as_record(PdcrOptions(layers=("encoder.1",), weight=0.3))}
    with pytest.raises(PaucisError, match=r"PAUCIS_PDCR_LAYERS=encoder\.2,encoder\.3, and this run has encoder\.1"):
        refuse_other_options(tmp_path, other)


def test_the_folder_holds_one_module_with_the_three_trainers() -> None:
    (module,) = FOLDER.glob("*.py")
    (source,) = (node for node in ast.parse(module.read_text("utf-8")).body if isinstance(node, ast.ImportFrom))
    names = {"nnUNetTrainerPDCR", "nnUNetTrainerUAFS", "nnUNetTrainerPDCRUAFS"}
    assert source.module == "paucis.nnunet.trainers"
    assert {alias.name for alias in source.names} == names


def test_the_module_tells_the_folder_or_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-m", "paucis.nnunet"], capture_output=True, text=True, check=False)
    if find_spec("nnunetv2") is None:
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "nnunetv2 is not installed: pip install 'paucis[nnunet]'\n"
    else:
        assert (done.returncode, done.stdout) == (0, f"{FOLDER}\n")
