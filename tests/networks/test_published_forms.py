"""Networks built on a library, against the figures of their publications and the library's own assembly."""

from __future__ import annotations

import pytest
import torch
from small_networks import SMALL, small_images, small_task

import paucis.torchvision_guard  # noqa: F401
from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.networks import Network, make


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def full_size(name: str, channels: int, classes: int, **values: object) -> Network:
    with torch.device("meta"):
        return make(name, Task(2, channels, classes, (224, 224)), values)


def test_the_tiny_vgg_encoder_has_the_published_parameters_and_maps() -> None:
    network = full_size("vgg_unet", 3, 2)
    assert count(network.encoder) == 922_896
    assert [network.sites[f"encoder.{level}"].channels for level in range(5)] == [16, 32, 64, 128, 128]
    assert network.sites["fusion.3"].channels == 32


def test_larger_vgg_encoders_double_the_channels() -> None:
    widths = {size: full_size("vgg_unet", 3, 2, size=size).sites["encoder.4"].channels for size in ("small", "full")}
    assert widths == {"small": 256, "full": 512}


def test_swin_unet_has_the_published_parameters() -> None:
    assert count(make("swin_unet", Task(2, 3, 4, (224, 224)), {})) == 27_168_420


@pytest.mark.parametrize("side", [96, 160])
def test_swin_unet_takes_sizes_that_its_windows_do_not_divide(side: int) -> None:
    network = make("swin_unet", small_task(2), {**SMALL["swin_unet"], "window": 7}).eval()
    images = torch.randn(1, 1, 64, side)
    with torch.no_grad():
        assert network(images).logits.shape == (1, 4, 64, side)


def test_resnet50_unet_is_the_assembly_of_the_library() -> None:
    import segmentation_models_pytorch as smp

    library = smp.Unet("resnet18", encoder_weights=None, in_channels=1, classes=4).eval()
    network = make("resnet50_unet", small_task(2), {"backbone": "resnet18", "widths": (256, 128, 64, 32, 16)}).eval()
    network.encoder.load_state_dict(_in_order(library.encoder, network.encoder))
    network.decoder.blocks.load_state_dict(_in_order(library.decoder, network.decoder.blocks))
    network.decoder.head.load_state_dict(_in_order(library.segmentation_head, network.decoder.head))
    images = small_images(2, 1)
    with torch.no_grad():
        torch.testing.assert_close(network(images).logits, library(images))


def test_swin_unetr_is_the_assembly_of_the_library() -> None:
    from monai.networks.nets import SwinUNETR

    values = {"features": 12, "heads": (1, 2, 3, 6), "window": 3}
    library = SwinUNETR(1, 4, feature_size=12, num_heads=(1, 2, 3, 6), window_size=3, spatial_dims=2).eval()
    network = make("swin_unetr", small_task(2), values).eval()
    names = {"out.conv.conv.weight": "decoder.out.weight", "out.conv.conv.bias": "decoder.out.bias"}
    state = {
        names.get(key, f"decoder.{key}" if key.startswith("decoder") else key): value
        for key, value in library.state_dict().items()
    }
    network.load_state_dict(state)
    images = small_images(2, 1)
    with torch.no_grad():
        torch.testing.assert_close(network(images).logits, library(images))


def _in_order(source: torch.nn.Module, target: torch.nn.Module) -> dict[str, torch.Tensor]:
    return dict(zip(target.state_dict(), source.state_dict().values(), strict=True))


def test_xception_shows_the_published_maps() -> None:
    network = full_size("deeplabv3plus", 3, 2, backbone="tu-xception65")
    channels = [site.channels for name, site in network.sites.items() if name.startswith("encoder")]
    assert channels == [32, 64, 128, 256, 728, 1024, 1536, 1536, 2048]
    assert network.sites["lowlevel.0"] == (48, (4, 4))
    assert network.sites["fusion.0"] == (304, (4, 4))


def test_xception_is_the_libraries() -> None:
    import timm

    network = make("deeplabv3plus", small_task(2), {"backbone": "tu-xception41", "width": 8}).eval()
    library = timm.create_model("xception41", in_chans=1, num_classes=0, output_stride=16).eval()
    library.load_state_dict(_in_order(network.encoder, library))
    images = small_images(2, 1)
    with torch.no_grad(), network.tap(["encoder.8"]) as maps:
        network(images)
        torch.testing.assert_close(maps["encoder.8"], library.forward_features(images))


@pytest.mark.parametrize("stride", [8, 16])
def test_the_output_stride_is_the_deepest_one(stride: int) -> None:
    network = full_size("deeplabv3plus", 1, 2, output_stride=stride)
    assert network.multiple == (stride, stride)
    dilations = {part.dilation[0] for part in network.decoder.pyramid.modules() if isinstance(part, torch.nn.Conv2d)}
    assert dilations == {1, *(rate * 16 // stride for rate in (6, 12, 18))}


def test_deeplab_learns_from_a_batch_of_one() -> None:
    network = make("deeplabv3plus", small_task(2), {**SMALL["deeplabv3plus"], "separable": True})
    network(small_images(2, 1)).logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_fcn_joins_maps_down_to_the_stride_asked_for() -> None:
    last = {finest: full_size("fcn", 3, 2, finest=finest) for finest in (8, 1)}
    assert [site for name, site in last[8].sites.items() if name.startswith("decoder")] == [
        (512, (16, 16)),
        (256, (8, 8)),
    ]
    assert [site.channels for name, site in last[1].sites.items() if name.startswith("decoder")] == [
        512,
        256,
        128,
        64,
        32,
    ]


def test_wrong_numbers_of_levels_are_refused() -> None:
    for name, values in (
        ("resnet50_unet", {"widths": (8, 8)}),
        ("swin_unet", {"depths": (2, 2)}),
        ("swin_unet", {"width": 10}),
        ("swin_unetr", {"features": 20}),
        ("swin_unetr", {"heads": (3, 6)}),
    ):
        with pytest.raises(PaucisError, match=r"network\.(widths|depths|width|features)"):
            make(name, small_task(2), values)
