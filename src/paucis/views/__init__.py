"""Tensor-only views of images: sample parameters, apply them to images and labels, undo them."""

from paucis.views.affine import Affine
from paucis.views.augment import AugmentOptions, BaseAugmentation
from paucis.views.base import View
from paucis.views.color import Gray, Saturation
from paucis.views.compose import Compose
from paucis.views.elastic import Elastic
from paucis.views.flip import Flip
from paucis.views.intensity import BiasField, Blur, Brightness, Contrast, Gamma, LowResolution, Noise
from paucis.views.mixing import copy_paste_box, cutmix_boxes, halves, partners, paste
from paucis.views.rotate90 import Rotate90

__all__ = [
    "Affine",
    "AugmentOptions",
    "BaseAugmentation",
    "BiasField",
    "Blur",
    "Brightness",
    "Compose",
    "Contrast",
    "Elastic",
    "Flip",
    "Gamma",
    "Gray",
    "LowResolution",
    "Noise",
    "Rotate90",
    "Saturation",
    "View",
    "copy_paste_box",
    "cutmix_boxes",
    "halves",
    "partners",
    "paste",
]
