"""Weights from a file, and the account of what did not fit."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_networks import CASES, SMALL, small_images, small_task

from paucis.errors import PaucisError
from paucis.networks import Network, load_weights, make


def small(name: str = "vnet", ndim: int = 2, **values: object) -> Network:
    return make(name, small_task(ndim), {**SMALL[name], **values}).eval()


def logits(network: Network, ndim: int = 2) -> torch.Tensor:
    torch.manual_seed(5)
    with torch.no_grad():
        return network(small_images(ndim, 1)).logits


@pytest.mark.parametrize(("name", "ndim"), CASES)
def test_a_file_of_all_weights_gives_the_same_network(name: str, ndim: int, tmp_path: Path) -> None:
    network, file = small(name, ndim), tmp_path / "weights.safetensors"
    save_file(network.state_dict(), file)
    other = small(name, ndim, weights=str(file))
    assert torch.equal(logits(other, ndim), logits(network, ndim))
    report = load_weights(other, file)
    assert report.missing == report.unexpected == ()
    assert set(report.loaded) == set(network.state_dict())


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module.", "student.network."])
def test_torch_files_and_prefixed_names_are_read(wrap: object, prefix: str, tmp_path: Path) -> None:
    network, file = small(), tmp_path / "weights.pt"
    state = {prefix + key: value for key, value in network.state_dict().items()}
    torch.save(wrap(state), file)  # type: ignore[operator]
    assert torch.equal(logits(small(weights=file)), logits(network))


@pytest.mark.parametrize("prefix", ["encoder.", ""])
def test_an_encoder_alone_is_enough(prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network, other, file = small(), small(), tmp_path / "encoder.safetensors"
    save_file({prefix + key: value for key, value in network.encoder.state_dict().items()}, file)
    decoder = {key: value.clone() for key, value in other.decoder.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        report = load_weights(other, file)
    assert all(
        torch.equal(value, network.encoder.state_dict()[key]) for key, value in other.encoder.state_dict().items()
    )
    assert all(torch.equal(value, decoder[key]) for key, value in other.decoder.state_dict().items())
    assert all(name.startswith("decoder.") for name in report.missing)
    assert report.unexpected == ()
    assert len(caplog.records) == 1
    assert "decoder." in caplog.text


def test_the_student_of_a_checkpoint_is_one_network(tmp_path: Path) -> None:
    student, teacher, file = small(), small(), tmp_path / "last.pt"
    state = {f"student.{key}": value for key, value in student.state_dict().items()}
    state |= {f"teacher.{key}": value for key, value in teacher.state_dict().items()}
    torch.save({"state_dict": state}, file)
    report = load_weights(other := small(), file)
    assert torch.equal(logits(other), logits(student))
    assert all(name.startswith("teacher.") for name in report.unexpected)


def test_another_number_of_classes_is_listed_with_both_shapes(tmp_path: Path) -> None:
    network, file = small(), tmp_path / "weights.safetensors"
    state = network.state_dict()
    state["decoder.head.weight"] = torch.zeros(7, 4, 1, 1)
    save_file(state, file)
    report = load_weights(small(), file)
    assert report.missing == ("decoder.head.weight",)
    assert report.unexpected == ("decoder.head.weight ((7, 4, 1, 1), the network has (4, 4, 1, 1))",)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file({"conv1.weight": torch.zeros(3, 3), "fc.bias": torch.zeros(5)}, file)
    with pytest.raises(PaucisError, match=r"does not fit the network: 0 of its 2 tensors"):
        small(weights=str(file))


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    file, sign = tmp_path / "weights.pt", tmp_path / "executed"
    torch.save({"state_dict": Trap(sign)}, file)
    with pytest.raises(PaucisError, match=r"weights\.pt is damaged or not a file of plain tensors"):
        load_weights(small(), file)
    assert not sign.exists()


def test_a_file_that_is_missing_damaged_or_holds_no_tensors_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save_file(small().state_dict(), whole)
    files = {"cut.safetensors": whole.read_bytes()[:200], "text.pt": b"no weights", "pickled.pt": pickle.dumps([1])}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    for name in ("absent.safetensors", "empty.pt", *files):
        with pytest.raises(PaucisError) as caught:
            load_weights(small(), tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_initial_weights_are_not_looked_up_for_a_run_with_weights_of_its_own() -> None:
    network = make("vnet", small_task(2), {**SMALL["vnet"], "weights": "gone.safetensors"}, initial=False)
    assert network.options.weights is None
    network = make("vgg_unet", small_task(2), {"pretrained": "imagenet", "size": "full"}, initial=False)
    assert network.options.pretrained == "none"
