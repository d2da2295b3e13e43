"""What every registered method must do, in 2D and on a non-cubic 3D patch with four classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine import TASKS, Engine, make_batch, make_setting, options_of, parameters, staged, values
from paucis.batch import IGNORE, Batch
from paucis.methods.base import METHODS, Method, Stage
from paucis.networks.base import Network

CASES = [(name, ndim) for name in METHODS.names() for ndim in (2, 3)]
every_method = pytest.mark.parametrize(("name", "ndim"), CASES)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


EAGER = {name: {"threshold": 0.0} for name in ("fixmatch", "unimatch")}
"""Untrained networks are sure of nothing."""


def stages(name: str, ndim: int, options: dict[str, Any] | None = None, **network: Any) -> list[tuple[Stage, Method]]:
    return list(staged(name, ndim, options, **network))


def engine(stage: Stage, method: Method, **options: Any) -> Engine:
    return Engine(method, gradient=stage.gradient, **options)


def finite(method: Method, losses: list[float]) -> bool:
    tensors = [*method.parameters(), *(buffer for buffer in method.buffers() if buffer.is_floating_point())]
    return all(value == value and abs(value) < 1e6 for value in losses) and all(
        bool(torch.isfinite(tensor).all()) for tensor in tensors
    )


@every_method
def test_two_steps_move_every_parameter_of_every_phase_and_no_other(name: str, ndim: int) -> None:
    task = TASKS[ndim]
    for stage, method in stages(name, ndim):
        trained = engine(stage, method)
        before = {key: value.clone() for key, value in method.named_parameters()}
        results = trained.train(make_batch(task, 0), make_batch(task, 1))
        assert finite(method, values(results))
        if not stage.gradient:
            continue
        mine = {id(parameter) for phase in trained.phases for parameter in phase.parameters}
        for key, parameter in method.named_parameters():
            if id(parameter) in mine:
                assert key in trained.graded, f"{stage.name}: {key} got no gradient"
            else:
                assert not parameter.requires_grad, f"{stage.name}: {key} is in no phase and not frozen"
                assert key not in trained.graded, f"{stage.name}: {key} is frozen and got a gradient"
        moved = [key for key, value in method.named_parameters() if not torch.equal(value, before[key])]
        assert len(moved) > len(mine) // 2


@every_method
def test_losses_are_float32_and_finite_in_bfloat16(name: str, ndim: int) -> None:
    task = TASKS[ndim]
    for stage, method in stages(name, ndim):
        trained = engine(stage, method, dtype=torch.bfloat16)
        results = trained.train(make_batch(task, 0), make_batch(task, 1))
        assert finite(method, values(results))
        for result in (result for phases in results for result in phases):
            assert all(loss.dtype == torch.float32 and loss.ndim == 0 for loss in result.losses.values())
        mine = {id(parameter) for phase in trained.phases for parameter in phase.parameters}
        missing = [key for key, p in method.named_parameters() if id(p) in mine and key not in trained.graded]
        assert not missing, "a pass without gradient took it from the pass with gradient"


def only_background(batch: Batch) -> Batch:
    assert batch.labeled is not None
    assert batch.pseudo is not None
    return batch._replace(
        labeled=batch.labeled._replace(labels=torch.zeros_like(batch.labeled.labels)),
        pseudo=batch.pseudo._replace(labels=torch.zeros_like(batch.pseudo.labels)),
    )


def nothing_known(batch: Batch) -> Batch:
    assert batch.labeled is not None
    assert batch.pseudo is not None
    assert batch.valid is not None
    return batch._replace(
        labeled=batch.labeled._replace(labels=torch.full_like(batch.labeled.labels, IGNORE)),
        pseudo=batch.pseudo._replace(labels=torch.full_like(batch.pseudo.labels, IGNORE)),
        valid=torch.zeros_like(batch.valid),
    )


def flat(batch: Batch) -> Batch:
    assert batch.labeled is not None
    assert batch.unlabeled is not None
    return batch._replace(
        labeled=batch.labeled._replace(images=torch.zeros_like(batch.labeled.images)),
        unlabeled=torch.zeros_like(batch.unlabeled),
    )


@every_method
@pytest.mark.parametrize("poor", [only_background, nothing_known, flat])
def test_poor_batches_give_no_nan(name: str, ndim: int, poor: Any) -> None:
    task = TASKS[ndim]
    for stage, method in stages(name, ndim):
        results = engine(stage, method).train(poor(make_batch(task, 0)), poor(make_batch(task, 1)))
        assert finite(method, values(results))


@every_method
def test_a_single_unlabeled_image_trains_or_is_refused_before(name: str, ndim: int) -> None:
    kind, task = METHODS.get(name), TASKS[ndim]
    setting = make_setting(task, unlabeled_batch_size=1)
    refused = any("unlabeled_batch_size" in line for line in kind.check(setting, options_of(name)))
    for stage, method in stages(name, ndim):
        if refused:
            continue
        results = engine(stage, method).train(make_batch(task, 0, unlabeled=1), make_batch(task, 1, unlabeled=1))
        assert finite(method, values(results))


@every_method
def test_unlabeled_images_change_the_update_where_the_method_uses_them(name: str, ndim: int) -> None:
    task = TASKS[ndim]
    ends: dict[str, list[torch.Tensor]] = {}
    for other in (0, 7):
        # normalization of each image alone: no way from image to image but through the losses
        for stage, method in stages(name, ndim, EAGER.get(name), normalization="instance"):
            batches = []
            for seed in (0, 1):
                batch, foreign = make_batch(task, seed), make_batch(task, seed + other)
                batches.append(batch._replace(unlabeled=foreign.unlabeled, pseudo=foreign.pseudo))
            engine(stage, method).train(*batches)
            if stage.gradient:
                ends.setdefault(stage.name, []).append(parameters(method))
                assert torch.equal(ends[stage.name][0], ends[stage.name][-1]) == (
                    other == 0 or not method.uses_unlabeled
                )


@every_method
def test_a_resumed_training_has_the_losses_of_one_that_went_on(name: str, ndim: int) -> None:
    task = TASKS[ndim]
    batches = [make_batch(task, seed) for seed in range(3)]
    for (stage, method), (_, fresh) in zip(stages(name, ndim), stages(name, ndim), strict=True):
        running = engine(stage, method)
        running.train(*batches[:2])
        saved = running.state()
        with torch.no_grad():
            for parameter in fresh.parameters():
                parameter.add_(1.0)
        resumed = engine(stage, fresh)
        resumed.load(saved)
        assert values(resumed.train(batches[2])) == values(running.train(batches[2]))


@every_method
def test_predictions_are_probabilities_of_the_images_size(name: str, ndim: int) -> None:
    task = TASKS[ndim]
    if METHODS.get(name).pretrains:
        pytest.skip("a pretraining predicts nothing, which its own test holds it to")
    for _, method in stages(name, ndim):
        if method.pretrains:
            continue
        method.eval()
        images = make_batch(task, labeled=2).labeled.images  # type: ignore[union-attr]
        with torch.no_grad():
            prediction, again, embedded = method.predict(images), method.predict(images), method.embed(images)
        probabilities = prediction.additive["probabilities"]
        assert probabilities.shape == (2, task.classes, *task.patch)
        assert torch.allclose(probabilities.sum(1), torch.ones(()), atol=1e-5)
        assert torch.equal(probabilities, again.additive["probabilities"])
        assert embedded.shape[0] == 2
        assert embedded.shape[2:] == task.patch
        for member in prediction.members.values():
            assert member.shape == probabilities.shape


@every_method
def test_features_for_plugins_have_the_labels_of_their_images(name: str, ndim: int) -> None:
    task = TASKS[ndim]
    batch = make_batch(task)
    for stage, method in stages(name, ndim, normalization="instance", dropout=(0.0,)):
        (results,) = engine(stage, method).train(batch)
        aligned = results[0].aligned
        if aligned is None:
            continue
        assert torch.equal(aligned.labels, batch.labeled.labels)  # type: ignore[union-attr]
        assert aligned.features.logits.shape == (2, task.classes, *task.patch)
        assert all(len(each) == 2 for each in (*aligned.features.encoder, *aligned.features.decoder))


@every_method
def test_the_reported_network_comes_first_and_gets_the_plugins(name: str, ndim: int) -> None:
    for _, method in stages(name, ndim):
        assert isinstance(method.networks()[0], Network)


@pytest.mark.parametrize("name", METHODS.names())
def test_a_good_setting_is_not_refused_and_an_empty_pool_is(name: str) -> None:
    kind = METHODS.get(name)
    good = make_setting(TASKS[2].__class__(2, 1, 4, (64, 64), (1.0, 1.0)))
    assert kind.check(good, options_of(name)) == []
    empty = make_setting(good.task, unlabeled=0, labeled=0)
    problems = kind.check(empty, options_of(name))
    assert any("needs labeled" in line for line in problems) == kind.uses_labeled
    assert any("learns from unlabeled" in line for line in problems) == kind.uses_unlabeled
    assert all("\n" not in line for line in problems)
