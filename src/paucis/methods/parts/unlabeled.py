"""What methods that learn from unlabeled images share: options, the rise of a weight, the parts of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from paucis.batch import IGNORE, Annotated, Batch
from paucis.methods.base import Clock, Setting
from paucis.methods.parts.ramps import weight
from paucis.methods.parts.supervision import SupervisedOptions
from paucis.networks.base import Features
from paucis.options import option


@dataclass(frozen=True)
class ConsistencyOptions(SupervisedOptions):
    """The weight of the loss on unlabeled images, and how it rises.

    Defaults as the public segmentation benchmarks have them (a ramp over the whole of 30,000 iterations).
    """

    consistency: float = option(0.1, "largest weight of the loss on unlabeled images", minimum=0.0)
    ramp: float = option(1.0, "share of the training over which the weight rises", minimum=0.0, maximum=1.0)
    ramp_kind: Literal["gaussian", "linear", "constant"] = option("gaussian", "form of the rise")
    start: float = option(0.0, "share of the training before the weight begins to rise", minimum=0.0, maximum=1.0)


def risen(options: ConsistencyOptions, clock: Clock) -> float:
    """The weight of the loss on unlabeled images at this step."""
    return options.consistency * weight(options.ramp_kind, clock.fraction, options.ramp, options.start)


def parts(batch: Batch) -> tuple[Annotated, Tensor]:
    """The labeled part of a batch and its unlabeled images."""
    assert batch.labeled is not None
    assert batch.unlabeled is not None
    return batch.labeled, batch.unlabeled


def valid_unlabeled(batch: Batch) -> Tensor:
    """Where the unlabeled images show real image: (B_unlabeled, *spatial) bool."""
    assert batch.unlabeled is not None
    if batch.valid is None:
        return torch.ones_like(batch.unlabeled[:, 0], dtype=torch.bool)
    return batch.valid


def valid_voxels(batch: Batch) -> Tensor:
    """Where labeled and unlabeled images, in this order, show real image: (B_labeled + B_unlabeled, *spatial) bool."""
    assert batch.labeled is not None
    return torch.cat([batch.labeled.labels.ne(IGNORE), valid_unlabeled(batch)])


def first(features: Features, count: int) -> Features:
    """The features of the first ``count`` images of a batch."""
    return Features(
        tuple(feature[:count] for feature in features.encoder),
        tuple(feature[:count] for feature in features.decoder),
        features.logits[:count],
    )


def cannot_mix(name: str, setting: Setting) -> list[str]:
    """What a method that mixes unlabeled images with each other says of an unlabeled batch of one."""
    if setting.unlabeled_batch_size >= 2:
        return []
    return [
        f"method '{name}' mixes unlabeled images with each other and a step has {setting.unlabeled_batch_size}: "
        "set train.unlabeled_batch_size=2 or more"
    ]
