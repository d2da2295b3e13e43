"""Makes torchvision importable beside a torch it was not compiled for.

The registry's torchvision is compiled against the CUDA build of torch. Beside a CPU build its compiled operators do
not load, and its import then fails while it describes two operators that are missing. Nothing here uses those
operators (box suppression), but Lightning's metrics, timm and segmentation-models-pytorch import torchvision.
Declaring the two names lets the import pass; with a matching torchvision nothing is changed.

Import this module before ``lightning``, ``timm``, ``segmentation_models_pytorch`` or ``lightly``.
"""

import sys

import torch

_OPERATORS = ("nms", "qnms")


def _guard() -> None:
    try:
        import torchvision
    except ImportError:
        return
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in _OPERATORS:
            if not hasattr(torch.ops.torchvision, name):
                torch.library.define(
                    f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )
        import torchvision  # noqa: F401


_guard()
