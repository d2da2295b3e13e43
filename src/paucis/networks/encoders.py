"""Encoders that several networks share, as ``Stages``: VGG, and the libraries' ResNets."""

from __future__ import annotations

from typing import Any

from torch import nn

from paucis.errors import PaucisError
from paucis.networks.base import Site
from paucis.networks.blocks import conv_stack
from paucis.networks.pretrained import with_imagenet
from paucis.networks.shallow_conv import guard_convolutions
from paucis.networks.staged import Stages

VGG_WIDTHS = {"tiny": 16, "small": 32, "full": 64}
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")

_VGG_LAYERS = (2, 2, 3, 3, 3)


def vgg_encoder(ndim: int, channels: int, size: str, pretrained: str = "none", *, pooled: bool = False) -> Stages:
    """The convolutions of VGG-16 with batch normalization.

    Args:
        ndim: 2 or 3.
        channels: of the image.
        size: ``tiny``, ``small`` or ``full``: 16, 32 or 64 channels at first, at most eight times as many.
        pretrained: ``imagenet`` for the 2D ``full`` size.
        pooled: maps after the pooling of each group (strides 2 ... 32) instead of before it (1 ... 16).

    Raises:
        PaucisError: ImageNet weights for another size or for 3D.
    """
    if pretrained != "none" and (ndim != 2 or size != "full"):
        raise PaucisError("network.pretrained=imagenet exists for the 2D VGG of size 'full' only: choose none")

    def make(download: bool) -> Stages:
        encoder = _vgg(ndim, channels, VGG_WIDTHS[size], pooled)
        if download:
            _copy_in_order(_library_vgg(channels), encoder)
        return encoder

    return with_imagenet(make, pretrained, "VGG-16", "timm/vgg16_bn.tv_in1k")


def resnet_encoder(ndim: int, channels: int, name: str, pretrained: str = "none", *, output_stride: int = 32) -> Stages:
    """A ResNet whose five maps have strides 2, 4, 8, 16, 32: of segmentation-models-pytorch in 2D, of MONAI in 3D.

    Args:
        ndim: 2 or 3.
        channels: of the image; the first convolution's ImageNet weights are adapted to them.
        name: one of ``RESNETS``.
        pretrained: ``imagenet`` in 2D.
        output_stride: 8 or 16 dilate the last groups instead of striding them (2D).

    Raises:
        PaucisError: ImageNet weights for 3D.
    """
    if pretrained != "none" and ndim != 2:
        raise PaucisError(
            "network.pretrained=imagenet exists in 2D only, and the plan of this dataset is 3D: choose none"
        )

    def make(download: bool) -> Any:
        if ndim == 3:
            from monai.networks.nets.resnet import ResNetEncoder

            return ResNetEncoder(name, pretrained=False, spatial_dims=3, in_channels=channels)
        import paucis.torchvision_guard  # noqa: F401, I001
        from segmentation_models_pytorch.encoders import get_encoder

        weights = "imagenet" if download else None
        return get_encoder(name, in_channels=channels, weights=weights, output_stride=output_stride)

    net = with_imagenet(make, pretrained, name, f"smp-hub/{name}.imagenet")
    guard_convolutions(net)
    stem = nn.Sequential(net.conv1, net.bn1, net.act if ndim == 3 else net.relu)
    groups = [stem, nn.Sequential(net.maxpool, net.layer1), net.layer2, net.layer3, net.layer4]
    scale = 1 if name in ("resnet18", "resnet34") else 4
    widths = (64, 64 * scale, 128 * scale, 256 * scale, 512 * scale)
    strides = [min(2**level, output_stride) for level in range(1, 6)]
    return Stages((group, Site(w, (s,) * ndim)) for group, w, s in zip(groups, widths, strides, strict=True))


def _vgg(ndim: int, channels: int, width: int, pooled: bool) -> Stages:
    inputs, stages = channels, list[tuple[nn.Module, Site]]()
    for level, layers in enumerate(_VGG_LAYERS):
        outputs = width * min(2**level, 8)
        convs = conv_stack(ndim, inputs, (outputs,) * layers)
        pool = (nn.MaxPool2d, nn.MaxPool3d)[ndim - 2](2)
        parts = [convs, pool] if pooled else [pool, convs][level == 0 :]
        stride = 2 ** (level + pooled)
        stages.append((nn.Sequential(*parts), Site(outputs, (stride,) * ndim)))
        inputs = outputs
    encoder = Stages(stages)
    for part in encoder.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            assert part.bias is not None
            nn.init.zeros_(part.bias)
    return encoder


def _library_vgg(channels: int) -> nn.Module:
    import paucis.torchvision_guard  # noqa: F401, I001
    import timm

    features: nn.Module = timm.create_model("vgg16_bn", pretrained=True, in_chans=channels).features
    return features


def _copy_in_order(source: nn.Module, target: nn.Module) -> None:
    values = source.state_dict().values()
    target.load_state_dict(dict(zip(target.state_dict(), values, strict=True)))
