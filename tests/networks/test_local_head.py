from __future__ import annotations

import pytest
import torch
from torch import nn

from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.networks import make
from paucis.networks.base import Network
from paucis.networks.local_head import ClusteringBranch, EmbeddingBranch, branch_site, freeze_beyond


def vgg(ndim: int = 2, channels: int = 3, **options: object) -> Network:
    return make("vgg_unet", Task(ndim, channels, 2, (32,) * ndim, (1.0,) * ndim), dict(options))


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_the_published_encoder_and_decoder_have_the_published_parameters() -> None:
    network = vgg()
    assert count(network.encoder) == 922_896
    channels = network.sites[branch_site(network)].channels
    branches = EmbeddingBranch(2, channels, 32), ClusteringBranch(2, channels, 16)
    assert count(*network.decoder.blocks[:3], *branches) == 510_384


@pytest.mark.parametrize(("size", "widths"), [("tiny", 16), ("small", 32), ("full", 64)])
def test_the_encoders_maps_of_a_448_picture(size: str, widths: int) -> None:
    with torch.device("meta"):  # nothing is computed
        maps = vgg(size=size).encode(torch.zeros(1, 3, 448, 448))
    assert [tuple(each.shape[1:]) for each in maps] == [
        (widths * factor, side, side) for factor, side in zip((1, 2, 4, 8, 8), (448, 224, 112, 56, 28), strict=True)
    ]


@pytest.mark.parametrize("ndim", [2, 3])
def test_vectors_have_length_one_and_shares_add_up_to_one(ndim: int) -> None:
    feature = torch.randn(2, 6, *[5] * ndim, generator=torch.Generator().manual_seed(0))
    vectors, shares = EmbeddingBranch(ndim, 6, 4)(feature), ClusteringBranch(ndim, 6, 3)(feature)
    assert vectors.shape == (2, 4, *[5] * ndim)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(()), atol=1e-6)
    assert torch.allclose(shares.sum(1), torch.ones(()), atol=1e-6)
    assert shares.min() > 0


def test_the_branches_sit_before_the_last_convolutions_of_the_vgg_network_and_on_the_last_map_of_others() -> None:
    network = vgg()
    assert branch_site(network) == "fusion.3"
    freeze_beyond(network, "fusion.3")
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert {name.rsplit(".", 1)[0] for name in frozen} == {
        "decoder.head",
        *(f"decoder.blocks.3.{layer}.{part}" for layer in (0, 1) for part in (0, 1)),
    }
    other = make("unet", Task(2, 1, 2, (32, 32), (1.0, 1.0)), {"features": 4, "depth": 2})
    assert branch_site(other) == "decoder.1"
    freeze_beyond(other, "decoder.1")
    assert {name for name, p in other.named_parameters() if not p.requires_grad} == {
        "decoder.head.weight",
        "decoder.head.bias",
    }
    assert branch_site(other, "encoder.2") == "encoder.2"
    with pytest.raises(PaucisError, match=r"method.site=decoder.9.*no such site.*decoder.1"):
        branch_site(other, "decoder.9")


def test_finding_out_what_to_freeze_leaves_network_and_random_numbers_alone() -> None:
    network = vgg()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(3)
    freeze_beyond(network, "fusion.3")
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
