"""Networks and blocks. Importing the package registers every network; libraries load when one is built."""

from paucis.networks import (
    deeplabv3plus,
    fcn,
    resnet34,
    resnet50_unet,
    swin_unet,
    swin_unetr,
    unet,
    vgg_unet,
    vnet,
)
from paucis.networks.base import NETWORKS, Decoder, Features, Network, NetworkOptions, Site, register
from paucis.networks.deformable import DeformableConv
from paucis.networks.making import make
from paucis.networks.multi_level import MultiLevelEmbedding
from paucis.networks.multicure_block import MultiCUREBlock
from paucis.networks.receptive_field import Field, receptive_fields
from paucis.networks.shallow_conv import guard_convolutions
from paucis.networks.uncertainty_selection import UncertaintySelection
from paucis.networks.weights import LoadReport, load_weights

__all__ = [
    "NETWORKS",
    "Decoder",
    "DeformableConv",
    "Features",
    "Field",
    "LoadReport",
    "MultiCUREBlock",
    "MultiLevelEmbedding",
    "Network",
    "NetworkOptions",
    "Site",
    "UncertaintySelection",
    "deeplabv3plus",
    "fcn",
    "guard_convolutions",
    "load_weights",
    "make",
    "receptive_fields",
    "register",
    "resnet34",
    "resnet50_unet",
    "swin_unet",
    "swin_unetr",
    "unet",
    "vgg_unet",
    "vnet",
]
