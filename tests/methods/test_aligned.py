"""What plug-ins are given: features of the first network, of images whose labels go with them."""

from __future__ import annotations

import pytest
import torch

from engine import PLAIN, TASKS, Engine, make_batch, staged
from paucis.batch import Batch, Task
from paucis.methods.base import METHODS, Aligned, Clock
from paucis.networks import UncertaintySelection
from paucis.plugins.pdcr import PDCR, PdcrOptions
from paucis.plugins.uafs import UAFS, UafsOptions

LEARNING = [name for name in METHODS.names() if METHODS.get(name).uses_labeled]
"""A pretraining sees no labels, and no plug-in goes with it."""
CASES = [(name, ndim) for name in LEARNING for ndim in (2, 3)]
SHARP = {"ucmt": {"blur": 0.0}}
"""A student that sees its labeled images blurred sees the same geometry, but not the same image."""

every_method = pytest.mark.parametrize(("name", "ndim"), CASES)


def telling(task: Task) -> Batch:
    """Images that are their labels, so that an image can be made from labels again."""
    batch = make_batch(task)
    assert batch.labeled is not None
    labels = (batch.labeled.images[:, 0] + 1.5).round().clamp(0, task.classes - 1).long()
    return batch._replace(labeled=batch.labeled._replace(images=labels[:, None].float() - 1.5, labels=labels))


@every_method
def test_features_are_those_of_the_image_that_the_labels_describe(name: str, ndim: int) -> None:
    task = TASKS[ndim]
    for stage, method in staged(name, ndim, SHARP.get(name), **PLAIN):
        if not stage.gradient:
            continue
        torch.manual_seed(3)
        method.train()
        result = method.step(telling(task), Clock(90, 100), method.phases[0])
        if result.aligned is None:
            continue
        with torch.no_grad():
            expected = method.networks()[0](result.aligned.labels[:, None].float() - 1.5).encoder
        for found, wanted in zip(result.aligned.features.encoder, expected, strict=True):
            assert torch.allclose(found, wanted, atol=1e-4)
        assert all(feature.requires_grad for feature in result.aligned.features.encoder)


@every_method
def test_both_plugins_train_with_every_method(name: str, ndim: int) -> None:
    task = TASKS[ndim]
    for stage, method in staged(name, ndim):
        if not stage.gradient:
            continue
        plugin = PDCR(task, PdcrOptions(layers=("encoder.0", "encoder.1"), vectors=(16,)))
        UAFS(task, UafsOptions()).attach(method)
        plugin.attach(method)
        engine = Engine(method)
        batch = make_batch(task)
        engine.train(batch)
        mine = {id(p) for phase in engine.phases for p in phase.parameters}
        blocks = [
            (f"{place}.{key}", parameter)
            for place, part in method.named_modules()
            if isinstance(part, UncertaintySelection)
            for key, parameter in part.named_parameters()
            if id(parameter) in mine
        ]
        assert len(blocks) >= 5 * len(list(UncertaintySelection(ndim, 4, 4).parameters()))
        assert all(key in engine.graded for key, _ in blocks)
        assert batch.labeled is not None
        own = method.step(batch, Clock(90, 100), method.phases[0]).aligned
        aligned = own or Aligned(method.networks()[0](batch.labeled.images), batch.labeled.labels)
        method.zero_grad(set_to_none=True)
        plugin.loss(aligned, Clock(0, 1))["dragsaw"].backward()
        gradients = [p.grad for p in method.networks()[0].encoder.parameters()]  # type: ignore[union-attr, operator]
        assert any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients)
