from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from staged_unet import StagedUNet, images, staged_unet, targets
from torch import Tensor, nn
from torch.nn import functional

from paucis.batch import IGNORE, Task
from paucis.errors import PaucisError
from paucis.nnunet.loss import DragsawLoss
from paucis.nnunet.stages import select_stages
from paucis.plugins.pdcr import PDCR, PdcrOptions
from paucis.plugins.uafs import UafsOptions

OPTIONS = PdcrOptions(layers=("encoder.1", "encoder.2"), vectors=(16,), weight=0.5)


class Deep(nn.Module):
    """Cross-entropy of every scale, as nnU-Net wraps its loss."""

    def forward(self, outputs: list[Tensor], targets: list[Tensor]) -> Tensor:
        return sum(map(single, outputs, targets))  # type: ignore[return-value]


def single(output: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(output, target[:, 0].long(), ignore_index=3)


def made(ndim: int, network: StagedUNet, ignore: int | None = None, **options: Any) -> DragsawLoss:
    task = Task(ndim, 1, 3, (32,) * ndim)
    return DragsawLoss(Deep(), network, task, replace(OPTIONS, **options), ignore)


def plugin(loss: DragsawLoss) -> PDCR:
    alone = PDCR(loss.pdcr.task, loss.pdcr.options)
    alone.fields = loss.pdcr.fields
    return alone


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_share_of_pdcr_is_added_to_their_loss(ndim: int) -> None:
    network = staged_unet(ndim)
    loss = made(ndim, network)
    assert [field.size[0] for field in loss.pdcr.fields.values()] == [11, 23]
    outputs, labels = network(images(ndim)), targets(ndim)
    value = loss(outputs, labels)
    share = plugin(loss).weighted(network.encoder(images(ndim))[1:], labels[0][:, 0].long())
    assert share != 0
    assert torch.allclose(value, Deep()(outputs, labels) + share)
    assert loss.mean_share() == pytest.approx(share.item(), rel=1e-5)
    assert loss.mean_share() == 0.0


def test_without_deep_supervision_output_and_target_are_tensors() -> None:
    network = staged_unet(2)
    loss = made(2, network)
    outputs, labels = network(images(2)), targets(2)
    whole = loss(outputs, labels)
    loss.theirs = _Single()
    network(images(2))
    assert torch.allclose(
        loss(outputs[0], labels[0]) - single(outputs[0], labels[0]), whole - Deep()(outputs, labels), atol=1e-6
    )


class _Single(nn.Module):
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return single(output, target)


def test_validation_has_their_loss_alone() -> None:
    network = staged_unet(2).eval()
    loss = made(2, network)
    with torch.no_grad():
        outputs = network(images(2))
        assert torch.equal(loss(outputs, targets(2)), Deep()(outputs, targets(2)))


@pytest.mark.parametrize("affinity", ["continuous", "bipartite"])
def test_voxels_of_their_ignore_label_are_unknown_to_pdcr(affinity: str) -> None:
    network = staged_unet(2)
    labels = targets(2)
    labels[0][:, :, 10:] = 3
    loss = made(2, network, ignore=3, affinity=affinity)
    network(images(2))
    loss(network(images(2)), labels)
    unknown = labels[0][:, 0].long()
    unknown[unknown == 3] = IGNORE
    share = plugin(loss).weighted(network.encoder(images(2))[1:], unknown)
    assert loss.mean_share() == pytest.approx(share.item(), rel=1e-5)
    blind = made(2, network, affinity=affinity)
    blind(network(images(2)), labels)
    if affinity == "bipartite":  # otherwise a fourth label is none of the classes anyway
        assert blind.mean_share() != pytest.approx(share.item(), rel=1e-3)


def test_in_mixed_precision_the_share_stays_in_float32() -> None:
    shares = []
    for enabled in (False, True):
        network = staged_unet(2)
        select_stages(network, 2, 3, UafsOptions())
        loss = made(2, network)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            value = loss(network(images(2)), targets(2))
        value.backward()
        assert value.dtype == torch.float32
        assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
        shares.append(loss.mean_share())
    assert shares[1] == pytest.approx(shares[0], rel=0.02)


def test_layers_that_are_not_there_or_see_the_whole_patch_are_refused() -> None:
    with pytest.raises(PaucisError, match=r"'decoder\.0' is no encoder site"):
        made(2, staged_unet(2), layers=("decoder.0",))
    with pytest.raises(PaucisError, match="23x23 voxels, covers the whole patch of 16x16"):
        DragsawLoss(Deep(), staged_unet(2), Task(2, 1, 3, (16, 16)), OPTIONS, None)


@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.heavy)])
def test_a_compiled_network_gets_the_same_gradients(backend: str) -> None:
    gradients = []
    for compiled in (False, True):
        network = staged_unet(2)
        select_stages(network, 2, 3, UafsOptions())
        run = torch.compile(network, backend=backend) if compiled else network
        loss = made(2, network)  # hooks are there before the first pass, which compiles
        for _ in range(2):
            network.zero_grad()
            loss(run(images(2)), targets(2)).backward()
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters()})
        assert loss.mean_share() != 0
    assert len(gradients[0]) == len(gradients[1])
    for name, gradient in gradients[0].items():
        other = gradients[1][name]
        assert (gradient is None) == (other is None), name
        assert gradient is None or torch.allclose(gradient, other, atol=1e-5), name
