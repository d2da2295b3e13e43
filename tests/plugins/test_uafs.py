from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.methods.parts.ema import EmaTeacher
from paucis.networks import UncertaintySelection, make
from paucis.networks.channel_spatial_attention import ChannelSpatialAttention
from paucis.networks.shown import observe
from paucis.plugins import select_features
from paucis.plugins.uafs import UAFS, UafsOptions, chosen_sites

TASKS = {2: Task(2, 1, 3, (32, 32)), 3: Task(3, 1, 3, (16, 16, 16))}


def unet(ndim: int) -> Any:
    torch.manual_seed(0)
    return make("unet", TASKS[ndim], {"features": 4, "depth": 2})


def images(ndim: int) -> torch.Tensor:
    return torch.randn(2, 1, *TASKS[ndim].patch, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_block_is_equations_8_to_10_voxel_by_voxel(ndim: int) -> None:
    block = UncertaintySelection(ndim, 5, 3).eval()
    feature = torch.randn(2, 5, *[4] * ndim)
    logits = block.segment(feature).detach()
    expected = torch.empty_like(feature)
    for place in torch.cartesian_prod(torch.arange(2), *[torch.arange(4)] * ndim).tolist():
        b, *rest = place
        odds = [math.exp(float(logits[(b, m, *rest)])) for m in range(3)]
        shares = [odd / sum(odds) for odd in odds]
        spread = -sum(share * math.log2(share) for share in shares) / math.log2(3)
        expected[(b, slice(None), *rest)] = feature[(b, slice(None), *rest)] * (1 + (1 - spread))
    assert torch.allclose(block(feature), expected, atol=1e-5)


def test_the_block_has_the_published_layers() -> None:
    flat, deep = UncertaintySelection(2, 64, 4), UncertaintySelection(3, 64, 4)
    assert [tuple(p.shape) for p in flat.parameters()] == [(16, 64, 3, 3), (16,), (16,), (4, 16, 1, 1), (4,)]
    assert deep.segment[0].weight.shape == (16, 64, 3, 3, 3)
    assert UncertaintySelection(2, 64, 4, width=3).segment[0].weight.shape[0] == 3
    assert UncertaintySelection(3, 2, 4).segment[0].weight.shape[0] == 1


def test_certain_vectors_are_doubled_and_uncertain_ones_stay() -> None:
    block, feature = UncertaintySelection(2, 3, 4).eval(), torch.randn(1, 3, 4, 4)
    nn.init.zeros_(block.segment[3].weight)
    nn.init.zeros_(block.segment[3].bias)
    assert torch.allclose(block(feature), feature)
    with torch.no_grad():
        block.segment[3].bias[1] = 1000.0
    assert torch.allclose(block(feature), 2 * feature)
    assert torch.isfinite(torch.autograd.grad(block(feature.requires_grad_()).sum(), feature)[0]).all()


def test_bf16_maps_stay_bf16_and_uncertainties_are_float32() -> None:
    block, feature = UncertaintySelection(2, 3, 4), torch.randn(1, 3, 4, 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert block(feature).dtype == torch.bfloat16
        assert block.uncertainty(feature).dtype == torch.float32


def test_kinds_of_sites_and_names_of_sites_can_be_mixed() -> None:
    network = unet(2)
    assert chosen_sites(network, ["encoder"]) == ["encoder.0", "encoder.1", "encoder.2"]
    assert chosen_sites(network, ["decoder.1", "fusion", "decoder.1"]) == ["decoder.1", "fusion.0", "fusion.1"]
    for wanted, message in (
        (["encodr"], "did you mean 'encoder'"),
        (["encoder.5"], "has no site 'encoder.5'"),
        ([], "no site"),
    ):
        with pytest.raises(PaucisError, match=message):
            chosen_sites(network, wanted)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("block", ["uafs", "se", "cbam"])
def test_one_call_puts_blocks_everywhere_and_they_act(ndim: int, block: str) -> None:
    network = unet(ndim).eval()
    before = network(images(ndim)).logits
    sites = select_features(network, block=block)  # type: ignore[arg-type]
    assert sites == ["encoder.0", "encoder.1", "encoder.2", "decoder.0", "decoder.1"]
    network.eval()
    after = network(images(ndim)).logits
    assert after.shape == before.shape
    assert not torch.allclose(after, before)
    after.sum().backward()
    inserted = [name for name, p in network.named_parameters() if name.startswith("inserted.") and p.grad is None]
    assert not inserted


def test_attention_blocks_are_the_libraries_where_they_have_them() -> None:
    flat, deep = unet(2), unet(3)
    for network, module in ((flat, "timm.layers.cbam"), (deep, ChannelSpatialAttention.__module__)):
        select_features(network, ["encoder.1"], "cbam")
        assert type(network.inserted["encoder/1"]).__module__ == module
    select_features(flat, ["encoder.2"], "se", reduction=4)
    assert type(flat.inserted["encoder/2"]).__module__.startswith("monai.")


def test_cbam_in_3d_is_that_of_the_library_on_maps_of_one_slice() -> None:
    from timm.layers.cbam import CbamModule

    own, library = ChannelSpatialAttention(3, 8, 4).eval(), CbamModule(8, rd_ratio=1 / 4).eval()
    for mine, theirs in ((own.channel[0], library.channel.fc1), (own.channel[2], library.channel.fc2)):
        mine.weight.data = theirs.weight.data[:, :, None]
    wide = torch.zeros(1, 2, 7, 7, 7)
    wide[:, :, 3] = library.spatial.conv.conv.weight.data
    own.spatial[0].weight.data = wide
    own.spatial[1].load_state_dict(library.spatial.conv.bn.state_dict())
    feature = torch.randn(2, 8, 6, 5)
    assert torch.allclose(own(feature[:, :, None])[:, :, 0], library(feature), atol=1e-6)


def test_every_trained_network_gets_blocks_of_its_own() -> None:
    from paucis.methods.base import METHODS

    kind = METHODS.get("cps")
    method = kind(lambda *_, **__: unet(2), TASKS[2], kind.Options())
    UAFS(TASKS[2], UafsOptions(sites=("encoder.1",))).attach(method)
    one, two = (network.inserted["encoder/1"] for network in method.networks())
    assert one is not two
    assert {id(p) for p in one.parameters()} <= {id(p) for p in method.phases[0].parameters}


def test_a_teacher_averages_the_blocks_of_its_student() -> None:
    student = unet(2)
    teacher = EmaTeacher(student, decay=0.5, warmup=False)
    select_features(student, ["encoder.0"])
    teacher.update(student, 0)
    with torch.no_grad():
        for parameter in student.inserted.parameters():
            parameter.add_(1.0)
    before = student.inserted["encoder/0"].segment[3].weight - 1
    teacher.update(student, 1)
    assert torch.allclose(teacher.network.inserted["encoder/0"].segment[3].weight, before + 0.5)  # type: ignore


def test_maps_can_be_seen_by_site_at_the_images_size() -> None:
    network = unet(2).eval()
    select_features(network, ["encoder.0", "decoder.0"])
    result, maps = observe(network, lambda: network(images(2)).logits, (32, 32))
    assert list(maps) == ["encoder.0", "decoder.0"]
    assert all(found.shape == (2, 1, 32, 32) and found.min() >= 0 and found.max() <= 1 for found in maps.values())
    feature = network.encoder[0](images(2))
    assert torch.allclose(maps["encoder.0"], network.inserted["encoder/0"].uncertainty(feature), atol=1e-6)
    assert torch.equal(result, network(images(2)).logits)
    assert not any(part._forward_hooks for part in network.modules())
    _, none = observe(unet(2), lambda: None, (32, 32))
    assert none == {}


def test_maps_of_several_networks_go_by_their_names() -> None:
    pair = nn.ModuleDict({"first": unet(2), "second": unet(2)}).eval()
    for network in pair.values():
        select_features(network, ["encoder.0"])  # type: ignore[arg-type]
    _, maps = observe(pair, lambda: [network(images(2)) for network in pair.values()], (32, 32))
    assert list(maps) == ["first.encoder.0", "second.encoder.0"]


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_block_begins_unsure_everywhere_and_still_learns(ndim: int) -> None:
    torch.manual_seed(0)
    block = UncertaintySelection(ndim, 64, 3)
    feature = torch.randn(2, 64, *[12] * ndim).relu()
    assert float(block.uncertainty(feature).min()) > 0.95
    torch.testing.assert_close(block(feature), feature, rtol=0.05, atol=0)
    block(feature).square().mean().backward()
    assert all(float(part.grad.abs().max()) > 0 for part in block.parameters() if part.grad is not None)
    assert all(part.grad is not None for part in block.parameters())
