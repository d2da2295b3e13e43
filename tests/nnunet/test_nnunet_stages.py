from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from staged_unet import images, staged_unet
from torch import nn

from paucis.errors import PaucisError
from paucis.networks import UncertaintySelection, receptive_fields
from paucis.nnunet.stages import Passed, select_stages, stages
from paucis.plugins.uafs import UafsOptions


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_stage_has_a_site_with_the_channels_of_the_map_that_passes(ndim: int) -> None:
    network = staged_unet(ndim)
    passed: dict[str, tuple[int, int]] = {}
    for site, (path, _) in stages(network).items():
        network.get_submodule(path).register_forward_hook(
            lambda _, __, map, site=site: passed.__setitem__(site, (map.shape[1], map.shape[2]))
        )
    network(images(ndim))
    assert {site: count for site, (count, _) in passed.items()} == {s: c for s, (_, c) in stages(network).items()}
    sides = {site: side for site, (_, side) in passed.items()}
    assert sides == {"encoder.0": 32, "encoder.1": 16, "encoder.2": 8, "decoder.0": 16, "decoder.1": 32}


@pytest.mark.parametrize("ndim", [2, 3])
def test_blocks_act_behind_their_stages_and_leave_names_and_values_of_all_weights(ndim: int) -> None:
    plain, network = staged_unet(ndim), staged_unet(ndim)
    assert select_stages(network, ndim, 3, UafsOptions(sites=("encoder.1",))) == ["encoder.1"]
    state = network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in plain.state_dict().items())
    assert all(name.startswith("feature_selection.encoder_1.") for name in set(state) - set(plain.state_dict()))
    block = network.feature_selection["encoder_1"]
    assert isinstance(block, UncertaintySelection)
    plain.eval()
    network.eval()
    first = plain.encoder.stages[0](images(ndim))
    expected = block(plain.encoder.stages[1](first))
    first_map, second_map, third_map = network.encoder(images(ndim))
    assert torch.allclose(first_map, first)
    assert torch.allclose(second_map, expected)
    assert torch.allclose(third_map, plain.encoder.stages[2](expected), atol=1e-6)
    assert not torch.allclose(second_map, plain.encoder.stages[1](first))


def test_blocks_at_all_stages_are_trained_by_the_loss_of_the_network() -> None:
    network = staged_unet(3)
    sites = select_stages(network, 3, 3, UafsOptions())
    assert sites == ["encoder.0", "encoder.1", "encoder.2", "decoder.0", "decoder.1"]
    network(images(3, 16))[0].square().mean().backward()
    blocks = network.feature_selection
    assert len(blocks) == 5
    assert all(p.grad is not None and p.grad.isfinite().all() for p in blocks.parameters())
    assert all(any(p.grad.abs().sum() > 0 for p in block.parameters()) for block in blocks.values())


def test_a_copy_of_the_network_has_blocks_of_its_own() -> None:
    network = staged_unet(2)
    select_stages(network, 2, 3, UafsOptions(sites=("encoder.0",)))
    network.eval()
    copied, before = deepcopy(network), network(images(2))[0]
    with torch.no_grad():
        for parameter in copied.feature_selection.parameters():
            parameter.add_(1.0)
    assert torch.equal(network(images(2))[0], before)
    assert not torch.equal(copied(images(2))[0], before)


def test_receptive_fields_do_not_count_the_blocks() -> None:
    plain, network = staged_unet(3), staged_unet(3)
    select_stages(network, 3, 3, UafsOptions())
    layers = ["encoder.stages.1", "encoder.stages.2"]
    assert receptive_fields(network, layers, (16, 16, 16)) == receptive_fields(plain, layers, (16, 16, 16))


def test_unknown_sites_and_networks_without_stages_are_refused() -> None:
    with pytest.raises(PaucisError, match=r"no site 'encoder\.3'; did you mean"):
        select_stages(staged_unet(2), 2, 3, UafsOptions(sites=("encoder.3",)))
    with pytest.raises(PaucisError, match="Conv2d has no stages"):
        stages(nn.Conv2d(1, 1, 3))


def test_maps_pass_in_training_alone_and_are_handed_over_once() -> None:
    network = staged_unet(2)
    passed = Passed(network, ["encoder.2", "encoder.0"])
    network(images(2))
    coarse, fine = passed.take()
    assert (coarse.shape[1], fine.shape[1]) == (8, 4)
    assert fine.requires_grad
    for attempt in (lambda: None, lambda: network.eval()(images(2)), lambda: without_gradients(network)):
        attempt()
        with pytest.raises(RuntimeError, match=r"no map of encoder\.2, encoder\.0"):
            passed.take()


def without_gradients(network: nn.Module) -> None:
    with torch.no_grad():
        network.train()(images(2))
