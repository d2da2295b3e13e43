from __future__ import annotations

import pytest
import torch
from small_networks import SMALL, small_images, small_task

from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.networks import make
from paucis.networks.base import Site
from paucis.networks.swin_decoder import Expand, TransformerDecoder, encoder_sites

NETWORKS = [(name, ndim) for name in ("unet", "vnet", "resnet50_unet", "swin_unetr") for ndim in (2, 3)]


def decoder(task: Task, sites: tuple[Site, ...], **options: object) -> TransformerDecoder:
    return TransformerDecoder(task, sites, **{"width": 12, "window": 3, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_it_decodes_the_maps_of_any_encoder(name: str, ndim: int) -> None:
    task = small_task(ndim)
    network = make(name, task, SMALL[name])
    made = decoder(task, encoder_sites(network))
    images = small_images(ndim)
    maps = network.encode(images)
    decoded, logits = made(maps, images.shape[2:])
    assert logits.shape == (2, task.classes, *task.patch)
    assert [tuple(feature.shape[1:2]) for feature in decoded] == [(site.channels,) for site in made.sites.values()]
    for feature, site in zip(decoded, made.sites.values(), strict=True):
        assert tuple(feature.shape[2:]) == tuple(s // t for s, t in zip(task.patch, site.stride, strict=True))
    logits.sum().backward()
    assert [name for name, p in made.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []


def test_the_published_form_has_the_published_maps() -> None:
    task = Task(2, 3, 4, (224, 224))
    sites = tuple(Site(channels, (2 ** (k + 1),) * 2) for k, channels in enumerate((64, 256, 512, 1024, 2048)))
    made = TransformerDecoder(task, sites)
    assert [tuple(position.shape[1:]) for position in made.positions] == [
        (96, 56, 56),
        (192, 28, 28),
        (384, 14, 14),
        (768, 7, 7),
    ]
    assert list(made.sites.values()) == [Site(384, (16, 16)), Site(192, (8, 8)), Site(96, (4, 4)), Site(96, (1, 1))]
    heads = [block.attn.num_heads for stage in made.attend for block in stage]
    assert heads == [12, 12, 6, 6, 3, 3]
    shifts = [block.shift_size for stage in made.attend for block in stage]
    assert shifts[2:] == [(0, 0), (3, 3), (0, 0), (3, 3)]
    assert made.last[1].linear.out_features == 16 * 96
    assert made.head.bias is None


def test_position_encodings_are_trained_and_saved() -> None:
    task = Task(2, 1, 3, (32, 48))
    sites = (Site(4, (2, 2)), Site(8, (4, 4)), Site(16, (8, 8)))
    made = decoder(task, sites)
    names = [name for name, _ in made.named_parameters() if name.startswith("positions.")]
    assert len(names) == 3
    assert set(names) <= set(made.state_dict())
    maps = [torch.randn(2, site.channels, 32 // site.stride[0], 48 // site.stride[1]) for site in sites]
    before = {name: p.detach().clone() for name, p in made.named_parameters()}
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    made(maps, (32, 48))[1].square().mean().backward()
    optimizer.step()
    assert all(not torch.equal(before[name], dict(made.named_parameters())[name]) for name in names)
    made.eval()
    loaded = decoder(task, sites).eval()
    loaded.load_state_dict(made.state_dict())
    assert torch.equal(loaded(maps, (32, 48))[1], made(maps, (32, 48))[1])


def test_without_the_encoding_every_window_of_a_uniform_image_looks_the_same() -> None:
    torch.manual_seed(0)
    sites = (Site(4, (2, 2)), Site(8, (4, 4)))
    made = decoder(Task(2, 1, 3, (16, 16)), sites, window=4, depth=1).eval()  # depth 1: no shifted windows
    maps = [torch.ones(1, 4, 8, 8), torch.ones(1, 8, 4, 4)]
    logits = made(maps, (16, 16))[1]
    assert (logits[..., :8, :8] - logits[..., 8:, 8:]).abs().max() > 1e-3
    with torch.no_grad():
        for position in made.positions:
            position.zero_()
    logits = made(maps, (16, 16))[1]
    assert torch.allclose(logits[..., :8, :8], logits[..., 8:, 8:], atol=1e-6)


@pytest.mark.parametrize("size", [(16, 16), (40, 24), (24, 56)])
def test_images_of_other_sizes_are_decoded_too(size: tuple[int, int]) -> None:
    made = decoder(Task(2, 1, 3, (32, 32)), (Site(4, (1, 1)), Site(8, (2, 2)), Site(16, (8, 8))))
    maps = [
        torch.randn(1, site.channels, size[0] // site.stride[0], size[1] // site.stride[1])
        for site in (Site(4, (1, 1)), Site(8, (2, 2)), Site(16, (8, 8)))
    ]
    assert made(maps, size)[1].shape == (1, 3, *size)


def test_levels_of_a_stack_may_shrink_along_some_axes_only() -> None:
    task = Task(3, 1, 2, (4, 16, 16))
    sites = (Site(4, (1, 1, 1)), Site(8, (1, 2, 2)), Site(16, (2, 4, 4)))
    made = decoder(task, sites)
    maps = [torch.randn(1, s.channels, *(p // t for p, t in zip(task.patch, s.stride, strict=True))) for s in sites]
    assert made(maps, task.patch)[1].shape == (1, 2, 4, 16, 16)


def test_expansion_puts_the_parts_of_a_token_side_by_side() -> None:
    expand = Expand(1, (2, 3), 1)
    expand.norm = torch.nn.Identity()
    torch.nn.init.ones_(expand.linear.weight)
    expand.linear.weight.data = torch.arange(6.0).reshape(6, 1)
    tokens = torch.tensor([[1.0, 10.0]]).reshape(1, 1, 2, 1)
    assert expand(tokens).squeeze().tolist() == [[0, 1, 2, 0, 10, 20], [3, 4, 5, 30, 40, 50]]


def test_what_cannot_be_built_is_refused_in_words() -> None:
    task = Task(2, 1, 2, (16, 16))
    with pytest.raises(PaucisError, match="two maps"):
        decoder(task, (Site(4, (1, 1)),))
    with pytest.raises(PaucisError, match="cannot expand"):
        decoder(task, (Site(4, (2, 2)), Site(4, (3, 3))))
    with pytest.raises(PaucisError, match="multiple of its 5 heads"):
        decoder(task, (Site(4, (1, 1)), Site(4, (2, 2))), heads=5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_bf16_gives_finite_gradients(ndim: int) -> None:
    task = Task(ndim, 1, 4, (16,) * ndim)
    sites = (Site(4, (2,) * ndim), Site(8, (4,) * ndim))
    made = decoder(task, sites)
    maps = [torch.randn(2, s.channels, *(16 // t for t in s.stride)) for s in sites]
    with torch.autocast("cpu", torch.bfloat16):
        made(maps, task.patch)[1].float().mean().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in made.parameters())
