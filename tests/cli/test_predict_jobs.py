"""``predict --jobs``: several processes write what one writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from paucis.data.formats import read_label, read_map


def test_two_processes_write_what_one_writes(
    two_runs: tuple[Path, Path], phantoms: Path, cli: Callable[..., object], tmp_path: Path
) -> None:
    scans, out = tmp_path / "scans", {jobs: tmp_path / f"jobs{jobs}" for jobs in (1, 2)}
    shutil.copytree(phantoms / "imagesTr", scans)
    (scans / "phantom_001.nii.gz").write_bytes(b"no scan")
    told = {jobs: cli("predict", two_runs[0], scans, "--out", out[jobs], "--jobs", jobs) for jobs in (1, 2)}
    for done in told.values():
        assert done.code == 2
        assert "1 of 8 scans not predicted" in done.err
        assert "phantom_001.nii.gz" in done.err
    one, two = (json.loads((folder / "manifest.json").read_text()) for folder in out.values())
    assert one == two
    assert len(one["cases"]) == 7
    assert (out[1] / "cases.csv").read_text() == (out[2] / "cases.csv").read_text()
    for case in one["cases"]:
        masks = [read_label(folder / case["mask"]).array for folder in out.values()]
        assert np.array_equal(*masks)
        for place in case["maps"].values():
            np.testing.assert_array_equal(*(read_map(folder / place).array for folder in out.values()))
    assert not (out[2] / ".partial").exists()
