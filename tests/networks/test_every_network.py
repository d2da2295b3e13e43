"""What every network must show, whatever it is made of."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import CASES, CLASSES, PLANAR_ONLY, SIZES, SMALL, small_images, small_task
from torch import Tensor, nn

from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.networks import NETWORKS, Network, make
from paucis.options import describe

every = pytest.mark.parametrize(("name", "ndim"), CASES)


def small(name: str, ndim: int, **values: object) -> Network:
    return make(name, small_task(ndim), {**SMALL[name], **values})


class Mix(nn.Module):
    """A block that keeps shape and channels, can be trained, and counts its calls."""

    def __init__(self, channels: int, ndim: int) -> None:
        super().__init__()
        self.mix = (nn.Conv2d, nn.Conv3d)[ndim - 2](channels, channels, 1)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return images + self.mix(images)


def test_every_registered_network_is_tested_here() -> None:
    assert NETWORKS.names() == sorted(SMALL)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_option_has_a_meaning(name: str) -> None:
    assert all(entry.meaning for entry in describe(NETWORKS.get(name).Options))


@every
def test_maps_have_the_channels_and_strides_that_their_sites_name(name: str, ndim: int) -> None:
    network = small(name, ndim)
    with network.tap(list(network.sites)) as maps, torch.no_grad():
        features = network(small_images(ndim))
    assert features.logits.shape == (2, CLASSES, *SIZES[ndim])
    for site, (channels, stride) in network.sites.items():
        size = tuple(side // step for side, step in zip(SIZES[ndim], stride, strict=True))
        assert maps[site].shape == (2, channels, *size), site
    for kind, shown in (("encoder", features.encoder), ("decoder", features.decoder)):
        numbers = sorted(int(site.split(".")[1]) for site in network.sites if site.startswith(f"{kind}."))
        assert numbers == list(range(len(shown)))
        assert all(maps[f"{kind}.{index}"] is shown[index] for index in numbers)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_tap_holds_the_last_pass_and_closes(name: str) -> None:
    network, site = small(name, 2).eval(), "encoder.0"
    first, second = small_images(2, 1), small_images(2, 1)
    with torch.no_grad(), network.tap([site]) as maps:
        network(first)
        last = network(second).encoder[0]
        assert maps[site] is last
    with torch.no_grad():
        network(first)
    assert maps[site] is last


@every
def test_blocks_inserted_at_every_site_act_once_and_learn(name: str, ndim: int) -> None:
    network = small(name, ndim)
    images = small_images(ndim)
    blocks = {site: Mix(channels, ndim) for site, (channels, _) in network.sites.items()}
    for site, block in blocks.items():
        network.insert(site, block)
    network(images).logits.square().mean().backward()
    for site, block in blocks.items():
        assert block.calls == 1, site
        gradient = block.mix.weight.grad
        assert gradient is not None, site
        assert gradient.abs().max() > 0, site


@pytest.mark.parametrize("name", sorted(SMALL))
def test_an_inserted_block_changes_what_follows(name: str) -> None:
    network = small(name, 2).eval()
    images = small_images(2, 1)
    with torch.no_grad():
        before = network(images).logits
        for site in network.sites:
            changed = copy.deepcopy(network)
            changed.insert(site, Mix(network.sites[site].channels, 2))
            assert not torch.allclose(changed(images).logits, before), site


@every
def test_every_parameter_of_a_network_learns(name: str, ndim: int) -> None:
    network = small(name, ndim)
    network(small_images(ndim)).logits.square().mean().backward()
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == []


@every
def test_a_new_decoder_has_parameters_of_its_own_and_the_same_shapes(name: str, ndim: int) -> None:
    network = small(name, ndim)
    decoder = network.new_decoder()
    mine = {id(parameter) for parameter in network.parameters()}
    assert not mine & {id(parameter) for parameter in decoder.parameters()}
    images = small_images(ndim)
    maps = network.encode(images)
    main, logits = network.decode(maps, images.shape[2:])
    other, others = decoder(maps, images.shape[2:])
    assert [feature.shape for feature in main] == [feature.shape for feature in other]
    assert others.shape == logits.shape
    others.square().mean().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())
    assert all(parameter.grad is None for parameter in network.decoder.parameters())
    assert any(parameter.grad is not None for parameter in network.parameters())


def test_a_new_decoder_ignores_blocks_of_the_first_one() -> None:
    network = small("vnet", 3)
    block = Mix(network.sites["decoder.0"].channels, 3)
    network.insert("decoder.0", block)
    images = small_images(3, 1)
    network.new_decoder()(network.encode(images), images.shape[2:])
    assert block.calls == 0


def test_a_new_decoder_refuses_an_option_that_does_not_exist() -> None:
    with pytest.raises(PaucisError, match="upsampling"):
        small("vnet", 3).new_decoder(upsample="nearest")


@pytest.mark.parametrize("kind", ["transposed", "trilinear", "nearest"])
def test_decoders_may_differ_in_how_they_enlarge(kind: str) -> None:
    network = small("vnet", 3)
    decoder = network.new_decoder(upsampling=kind)
    images = small_images(3, 1)
    assert decoder(network.encode(images), images.shape[2:])[1].shape == (1, CLASSES, *SIZES[3])
    transposed = any(isinstance(module, nn.ConvTranspose3d) for module in decoder.modules())
    assert transposed == (kind == "transposed")


@every
def test_bf16_autocast_stays_bf16_and_finite(name: str, ndim: int) -> None:
    network = small(name, ndim)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = network(small_images(ndim))
    assert features.logits.dtype == torch.bfloat16
    assert features.logits.isfinite().all()
    features.logits.float().square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@every
def test_channels_last_gives_the_same_logits(name: str, ndim: int) -> None:
    network = small(name, ndim).eval()
    layout = torch.channels_last if ndim == 2 else torch.channels_last_3d
    images = small_images(ndim, 1)
    with torch.no_grad():
        before = network(images).logits
        after = network.to(memory_format=layout)(images.to(memory_format=layout)).logits
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


@every
def test_a_copy_and_a_state_dict_give_the_same_network(name: str, ndim: int) -> None:
    network, other = small(name, ndim).eval(), small(name, ndim).eval()
    images = small_images(ndim, 1)
    with torch.no_grad():
        wanted = network(images).logits
        assert not torch.allclose(other(images).logits, wanted)
        other.load_state_dict(network.state_dict())
        assert torch.equal(other(images).logits, wanted)
        assert torch.equal(copy.deepcopy(network)(images).logits, wanted)


@every
def test_what_it_takes_is_known_without_making_its_weights(name: str, ndim: int) -> None:
    with torch.device("meta"):
        light = small(name, ndim)
    assert light.multiple == small(name, ndim).multiple


@every
def test_a_size_that_does_not_fit_is_refused_with_size_and_multiple(name: str, ndim: int) -> None:
    network = small(name, ndim)
    wrong = torch.zeros(1, 1, *SIZES[ndim][:-1], SIZES[ndim][-1] + 1)
    with pytest.raises(PaucisError) as caught:
        network(wrong)
    message = str(caught.value)
    assert "x".join(map(str, wrong.shape[2:])) in message
    assert "x".join(map(str, network.multiple)) in message
    assert all(side % step == 0 for side, step in zip(SIZES[ndim], network.multiple, strict=True))


def test_images_of_the_wrong_channels_or_dimensions_are_refused() -> None:
    network = small("unet", 2)
    for images in (torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 64, 64)):
        with pytest.raises(PaucisError, match="batchx1xsizexsize"):
            network(images)


@pytest.mark.parametrize("name", PLANAR_ONLY)
def test_a_planar_network_refuses_a_volume(name: str) -> None:
    with pytest.raises(PaucisError, match="works in 2D, and the plan of this dataset is 3D"):
        make(name, small_task(3), SMALL[name])


@pytest.mark.parametrize("name", sorted(SMALL))
def test_color_images_are_taken(name: str) -> None:
    network = make(name, Task(2, 3, 2, SIZES[2]), SMALL[name]).eval()
    with torch.no_grad():
        assert network(small_images(2, 1, 3)).logits.shape == (1, 2, *SIZES[2])


def test_a_site_that_does_not_exist_is_refused_with_the_nearest() -> None:
    network = small("unet", 2)
    for change in (lambda: network.insert("encoder.9", nn.Identity()), lambda: network.tap(["encoder.9"]).__enter__()):
        with pytest.raises(PaucisError, match=r"did you mean 'encoder\.\d'"):
            change()


def test_make_names_the_option_that_does_not_exist() -> None:
    with pytest.raises(PaucisError, match=r"unknown option 'network\.feature'; did you mean 'network\.features'"):
        make("unet", small_task(2), {"feature": 8})


def test_options_may_come_as_text() -> None:
    network = make("unet", small_task(2), {"features": "4", "depth": "2", "dropout": "0.1,0.2,0.3"})
    assert network.options.dropout == (0.1, 0.2, 0.3)
