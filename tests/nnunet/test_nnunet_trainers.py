"""The trainers within nnU-Net itself, on plans and batches made up here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_plans import LABELS, PATCH, REGIONS, dataset, folders, nnunet, plans
from torch import Tensor

from paucis.errors import PaucisError
from paucis.nnunet import FOLDER
from paucis.plugins.pdcr import PdcrOptions
from paucis.plugins.uafs import UafsOptions

NAMES = ("nnUNetTrainerPDCR", "nnUNetTrainerUAFS", "nnUNetTrainerPDCRUAFS")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    nnunet()
    monkeypatch.setenv("nnUNet_extTrainer", str(FOLDER))
    monkeypatch.setenv("nnUNet_def_n_proc", "1")
    monkeypatch.setenv("PAUCIS_PDCR_LAYERS", "encoder.1,encoder.2")
    return folders(tmp_path, monkeypatch)


def found(name: str) -> Any:
    """A trainer as nnU-Net's commands find it."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    return recursive_find_trainer_class_by_name(name)


def trainer(name: str, configuration: str = "3d_small", labels: Any = None, residual: bool = False) -> Any:
    torch.manual_seed(0)
    kind = found(name)
    made = kind(plans(residual), configuration, 0, dataset(labels), torch.device("cpu"))
    made.initialize()
    made.network.train()
    return made


def batch(made: Any) -> dict[str, Any]:
    patch, draw = PATCH[made.configuration_name], torch.Generator().manual_seed(1)
    whole = torch.zeros(2, 1, *patch, dtype=torch.int16)
    whole[:, :, 4:12, 6:24] = 1
    whole[1, :, 8:, 16:] = 2
    half = whole[(..., *[slice(None, None, 2)] * len(patch))]
    return {"data": torch.randn(2, 1, *patch, generator=draw), "target": [whole, half]}


def weights(made: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in made.network.state_dict().items()}


@pytest.mark.parametrize("configuration", list(PATCH))
def test_each_trainer_is_found_by_name_and_trains_its_network(results: Path, configuration: str) -> None:
    for name in NAMES:
        made = trainer(name, configuration)
        before, blocks = weights(made), [key for key in weights(made) if key.startswith("feature_selection.")]
        assert bool(blocks) == ("UAFS" in name)
        assert made.train_step(batch(made))["loss"] > 0
        assert all(value.isfinite().all() for value in weights(made).values())
        moved = {key for key, value in weights(made).items() if not torch.equal(value, before[key])}
        assert {key.split(".")[1] for key in moved & set(blocks)} == {block.split(".")[1] for block in blocks}, (
            f"{name}: every block is trained"
        )


@pytest.mark.parametrize("configuration", list(PATCH))
def test_pdcr_is_added_to_the_training_loss_and_not_to_the_validation_loss(results: Path, configuration: str) -> None:
    theirs, ours = trainer("nnUNetTrainer", configuration), trainer("nnUNetTrainerPDCR", configuration)
    with torch.no_grad():
        validated = [float(made.validation_step(batch(made))["loss"]) for made in (theirs, ours)]
    trained = [float(made.train_step(batch(made))["loss"]) for made in (theirs, ours)]
    share = ours.loss.mean_share()
    assert share != 0
    assert trained[1] == pytest.approx(trained[0] + share, abs=1e-5)
    assert validated[1] == pytest.approx(validated[0], abs=1e-6)


def test_with_weight_0_the_trainer_is_theirs(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAUCIS_PDCR_WEIGHT", "0")
    theirs, ours = trainer("nnUNetTrainer"), trainer("nnUNetTrainerPDCR")
    for made in (theirs, ours):
        made.train_step(batch(made))
    assert type(ours.loss) is type(theirs.loss)
    expected = weights(theirs)
    assert all(torch.equal(value, expected[key]) for key, value in weights(ours).items())
    monkeypatch.delenv("PAUCIS_PDCR_WEIGHT")
    other = trainer_in(results.parent / "other", "nnUNetTrainerPDCR", monkeypatch)
    other.train_step(batch(other))
    assert not all(torch.equal(value, expected[key]) for key, value in weights(other).items())


def trainer_in(place: Path, name: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    place.mkdir()
    folders(place, monkeypatch)
    return trainer(name, **options)


def test_a_class_of_ones_own_has_its_options_and_those_of_a_trainer_of_theirs(results: Path) -> None:
    class Mine(found("nnUNetTrainerPDCRUAFS"), found("nnUNetTrainer_5epochs")):  # type: ignore[misc]
        pdcr = PdcrOptions(weight=0.7)
        uafs = UafsOptions(sites=("decoder",), block="se")

    made = Mine(plans(residual=True), "3d_small", 0, dataset(), torch.device("cpu"))
    made.initialize()
    made.train_step(batch(made))
    assert list(made.network.feature_selection) == ["decoder_0", "decoder_1"]
    assert made.num_epochs == 5
    assert made.loss.pdcr.weight == 0.7
    assert list(made.loss.pdcr.fields) == ["encoder.1", "encoder.2"]  # from the environment


def test_a_checkpoint_holds_the_blocks_and_the_plans_beside_it_their_sites(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAUCIS_UAFS_SITES", "encoder.1,decoder")
    made = trainer("nnUNetTrainerPDCRUAFS")
    made.train_step(batch(made))
    made.save_checkpoint(str(Path(made.output_folder) / "checkpoint_final.pth"))
    base = Path(made.output_folder_base)
    (base / "plans.json").write_text(json.dumps(made.plans_manager.plans))
    (base / "dataset.json").write_text(json.dumps(dataset()))
    resumed = trainer("nnUNetTrainerPDCRUAFS")
    resumed.load_checkpoint(str(base / "fold_0" / "checkpoint_final.pth"))
    assert all(torch.equal(value, weights(resumed)[key]) for key, value in weights(made).items())
    monkeypatch.delenv("PAUCIS_UAFS_SITES")
    with pytest.raises(PaucisError, match=r"was trained with PAUCIS_UAFS_SITES=encoder\.1,decoder, and this run has"):
        trainer("nnUNetTrainerPDCRUAFS")

    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(base), (0,), "checkpoint_final.pth")
    images = batch(made)["data"]
    made.set_deep_supervision_enabled(False)
    with torch.no_grad():
        assert torch.allclose(predictor.network.eval()(images), made.network.eval()(images), atol=1e-6)


def test_regions_suit_uafs_and_not_pdcr(results: Path) -> None:
    for name in ("nnUNetTrainerPDCR", "nnUNetTrainerPDCRUAFS"):
        with pytest.raises(PaucisError, match="Dataset001_Small trains on regions"):
            trainer(name, labels=REGIONS)
    made = trainer("nnUNetTrainerUAFS", labels=REGIONS)
    given = batch(made)
    given["target"] = [torch.cat([target > 0, target == 2], 1) for target in given["target"]]
    assert made.network.feature_selection["encoder_0"].segment[-1].out_channels == 3
    before = weights(made)
    made.train_step(given)
    assert not all(torch.equal(value, before[key]) for key, value in weights(made).items())


def test_their_ignore_label_is_ignored(results: Path) -> None:
    made = trainer("nnUNetTrainerPDCR", labels={**LABELS, "ignore": 3})
    given = batch(made)
    for target in given["target"]:
        target[:] = 3
    made.train_step(given)
    assert made.loss.ignore == 3
    assert made.loss.mean_share() == 0.0


def test_a_layer_that_the_network_does_not_have_is_refused(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAUCIS_PDCR_LAYERS", "encoder.4")
    with pytest.raises(PaucisError, match=r"PAUCIS_PDCR_LAYERS: 'encoder\.4' is no encoder site of network 'Plain"):
        trainer("nnUNetTrainerPDCR")
