"""Plans and datasets of nnU-Net, small enough for a test, without its planning and preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

REASON = "nnunetv2 is not installed: pip install 'paucis[nnunet]'"
LABELS = {"background": 0, "front": 1, "back": 2}
REGIONS = {"background": 0, "all": [1, 2], "back": 2}
PATCH = {"3d_small": [16, 32, 24], "2d_small": [64, 48]}


def nnunet() -> Any:
    """nnunetv2; the test is skipped where it is not installed."""
    import paucis.torchvision_guard  # noqa: F401  (nnU-Net's search for trainers imports timm)

    return pytest.importorskip("nnunetv2", reason=REASON)


def architecture(ndim: int, residual: bool = False) -> dict[str, Any]:
    counts = {"n_blocks_per_stage": [1, 1, 1]} if residual else {"n_conv_per_stage": [2, 2, 2]}
    name = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
        "arch_kwargs": {
            "n_stages": 3,
            "features_per_stage": [4, 6, 8],
            "conv_op": f"torch.nn.modules.conv.Conv{ndim}d",
            "kernel_sizes": [[3] * ndim] * 3,
            "strides": [[1] * ndim, [2] * ndim, [2] * ndim],
            "n_conv_per_stage_decoder": [1, 1],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{ndim}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
            **counts,
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def plans(residual: bool = False) -> dict[str, Any]:
    """Plans of a dataset of one channel, with a configuration in 2D and one in 3D."""
    configurations = {
        name: {
            "data_identifier": f"nnUNetPlans_{name}",
            "batch_size": 2,
            "patch_size": patch,
            "spacing": [1.0] * len(patch),
            "normalization_schemes": ["ZScoreNormalization"],
            "architecture": architecture(len(patch), residual),
            "batch_dice": False,
        }
        for name, patch in PATCH.items()
    }
    return {
        "dataset_name": "Dataset001_Small",
        "plans_name": "nnUNetPlans",
        "label_manager": "LabelManager",
        "continue_training": False,
        "configurations": configurations,
    }


def dataset(labels: dict[str, Any] | None = None) -> dict[str, Any]:
    made = {"channel_names": {"0": "MRI"}, "labels": labels or LABELS, "numTraining": 2, "file_ending": ".nii.gz"}
    return made | ({"regions_class_order": [1, 2]} if labels == REGIONS else {})


def folders(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nnU-Net's folders below ``place``; gives the one of results."""
    for name in ("raw", "preprocessed", "results"):
        (place / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(place / name))
    for name in PATCH:
        prepared = place / "preprocessed" / "Dataset001_Small" / f"nnUNetPlans_{name}"
        prepared.mkdir(parents=True)
        (prepared / "case.npz").touch()
    return place / "results"
