"""ImageNet weights: taken where they can be had, and a plain word where they cannot."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_networks import small_task

import paucis.torchvision_guard  # noqa: F401
from paucis.errors import PaucisError
from paucis.networks import make, pretrained


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "_said", set())


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "cached", lambda repository: False)
    monkeypatch.setattr(pretrained, "reachable", lambda: False)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "reachable", lambda: True)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("resnet50_unet", {"backbone": "resnet18"}),
        ("deeplabv3plus", {"backbone": "tu-xception41"}),
        ("fcn", {"backbone": "vgg_full"}),
        ("vgg_unet", {"size": "full"}),
        ("swin_unet", {}),
    ],
)
def test_without_a_connection_a_network_starts_at_random_and_says_so_once(
    name: str, values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            make(name, small_task(2), {**values, "pretrained": "imagenet"})
    (record,) = caplog.records
    assert "starts at random" in record.getMessage()


@pytest.mark.usefixtures("online")
def test_a_download_that_fails_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    def make_encoder(download: bool) -> str:
        if download:
            raise OSError("connection reset\nand more")
        return "random"

    with caplog.at_level(logging.WARNING):
        assert pretrained.with_imagenet(make_encoder, "imagenet", "some encoder", "some/repository") == "random"
    assert "some encoder (connection reset)" in caplog.text


@pytest.mark.usefixtures("online")
def test_no_weights_are_asked_for_unless_wanted() -> None:
    assert pretrained.with_imagenet(lambda download: download, "none", "some encoder", "some/repository") is False
    assert pretrained.with_imagenet(lambda download: download, "imagenet", "some encoder", "some/repository") is True


def _answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[[socket.socket], None]) -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        answer(connection)

    threading.Thread(target=serve, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(pretrained, "_PATIENCE", 0.5)


def test_a_hub_that_answers_is_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.0 403 Forbidden\r\n\r\n")
        connection.close()

    _answering(monkeypatch, answer)
    assert pretrained.reachable()


def test_a_hub_that_never_answers_is_given_up_within_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    _answering(monkeypatch, lambda connection: time.sleep(5))
    start = time.monotonic()
    assert not pretrained.reachable()
    assert time.monotonic() - start < 3


def test_an_offline_setting_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(pretrained, "urlopen", lambda *_, **__: pytest.fail("asked the network"))
    assert not pretrained.reachable()


@pytest.mark.usefixtures("online")
def test_weights_of_the_libraries_reach_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    create, made = timm.create_model, []

    def without_download(name: str, pretrained: bool, **values: Any) -> torch.nn.Module:
        assert pretrained
        made.append(create(name, pretrained=False, **values))
        return made[-1]

    monkeypatch.setattr(timm, "create_model", without_download)
    vgg = make("vgg_unet", small_task(2), {"size": "full", "pretrained": "imagenet"})
    given, taken = made[0].features.state_dict().values(), vgg.encoder.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(given, taken, strict=True))
    swin = make("swin_unet", small_task(2), {"pretrained": "imagenet"})
    assert torch.equal(swin.encoder[0][0].proj.weight, made[1].patch_embed.proj.weight)
    assert len(swin.encoder[3]) == 2 + 1 + 2 + 1  # two of six blocks, merging, two blocks, normalization


@pytest.mark.parametrize(
    ("name", "ndim", "values"),
    [
        ("resnet50_unet", 3, {}),
        ("vgg_unet", 2, {"size": "tiny"}),
        ("vgg_unet", 3, {"size": "full"}),
        ("swin_unet", 2, {"window": 4}),
    ],
)
def test_weights_that_do_not_exist_are_refused(name: str, ndim: int, values: dict[str, Any]) -> None:
    with pytest.raises(PaucisError, match=r"network\.pretrained=imagenet"):
        make(name, small_task(ndim), {**values, "pretrained": "imagenet"})
