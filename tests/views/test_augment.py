from __future__ import annotations

from typing import Any

import pytest
import torch

from paucis.batch import IGNORE, Annotated, Batch, Task
from paucis.options import build
from paucis.views import AugmentOptions, BaseAugmentation

GEOMETRY_ONLY = {
    f"{name}_probability": 0.0
    for name in ("noise", "blur", "brightness", "contrast", "gamma", "low_resolution", "bias_field")
}


def task(*patch: int, spacing: tuple[float, ...] = (), flips: tuple[int, ...] = ()) -> Task:
    return Task(len(patch), 1, 3, patch, spacing or (1.0,) * len(patch), flips=flips)


def batch(*patch: int, size: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(size, *patch, dtype=torch.long)
    labels[(slice(None), *(slice(s // 4, s // 2 + 1) for s in patch))] = 1
    labels[(slice(None), *(slice(s // 2 + 1, 3 * s // 4) for s in patch))] = 2
    images = labels.unsqueeze(1).float()
    noise = torch.randn(size, 1, *patch, generator=generator)
    return Batch(
        Annotated(images, labels),
        noise,
        Annotated(images.clone(), labels.clone(), 0.25 + 0.25 * labels.float()),
        valid=torch.ones((size, *patch), dtype=torch.bool),
        cases=("a",) * 2 * size,
    )


def augmented(options: dict[str, Any], given: Batch, of: Task, seed: int = 0) -> Batch:
    return BaseAugmentation(of, AugmentOptions(**options))(given, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("patch", [(32, 24), (20, 24, 16)])
def test_labels_and_weights_follow_their_images(patch: tuple[int, ...]) -> None:
    options = {**GEOMETRY_ONLY, "affine_probability": 1.0, "elastic_probability": 1.0}
    given = batch(*patch)
    result = augmented(options, given, task(*patch, flips=(0, 1)))
    for part in (result.labeled, result.pseudo):
        known = part.labels != IGNORE
        close = (part.images.squeeze(1) - part.labels).abs() <= 1.0
        assert close[known].float().mean() > 0.99
        assert (part.images.squeeze(1).round() == part.labels)[known].float().mean() > 0.85
        assert not torch.equal(part.labels, given.labeled.labels)
    known = result.pseudo.labels != IGNORE
    expected = 0.25 + 0.25 * result.pseudo.images.squeeze(1)
    assert torch.allclose(result.pseudo.weights[known], expected[known], atol=1e-5)
    assert result.labeled.weights is None
    assert set(result.labeled.labels.unique().tolist()) <= {0, 1, 2, IGNORE}


def test_valid_follows_the_unlabeled_images_and_loses_what_comes_from_outside() -> None:
    options = {**GEOMETRY_ONLY, "affine_probability": 1.0, "rotation": 45.0, "elastic_probability": 0.0}
    given = batch(32, 24)
    given.valid[:, :, :6] = False
    marked = given._replace(unlabeled=given.valid.unsqueeze(1).float())
    result = augmented(options, marked, task(32, 24))
    assert result.valid.dtype == torch.bool
    assert not result.valid[:, 0, 0].any() or not result.valid[:, -1, -1].any()
    shown = result.unlabeled.squeeze(1)
    assert (shown[result.valid] >= 0.45).all()
    assert result.valid.sum() < given.valid.sum()


def test_a_missing_validity_mask_is_made() -> None:
    given = batch(16, 16)._replace(valid=None)
    assert augmented({"off": True}, given, task(16, 16)).valid is None
    still = augmented({**GEOMETRY_ONLY, "affine_probability": 0.0, "elastic_probability": 0.0}, given, task(16, 16))
    assert still.valid.all()
    assert torch.equal(still.unlabeled, given.unlabeled)
    turned = {**GEOMETRY_ONLY, "affine_probability": 1.0, "rotation": 40.0}
    assert not augmented(turned, given, task(16, 16)).valid.all()


def test_images_are_mirrored_along_the_axes_of_the_plan_alone() -> None:
    options = {**GEOMETRY_ONLY, "affine_probability": 0.0, "elastic_probability": 0.0, "flip_probability": 1.0}
    given = batch(8, 10, 12)
    result = augmented(options, given, task(8, 10, 12, flips=(1,)))
    assert torch.equal(result.unlabeled, given.unlabeled.flip(3))
    assert torch.equal(result.labeled.labels, given.labeled.labels.flip(2))
    none = augmented(options, given, task(8, 10, 12))
    assert torch.equal(none.unlabeled, given.unlabeled)


def test_off_is_off() -> None:
    given = batch(12, 12)
    assert augmented({"off": True}, given, task(12, 12, flips=(0, 1))) is given


def test_draws_depend_on_the_generator_alone() -> None:
    given, of = batch(20, 16, 12), task(20, 16, 12, flips=(0, 1, 2))
    torch.manual_seed(0)
    one = augmented({}, given, of, seed=4)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    two = augmented({}, given, of, seed=4)
    other = augmented({}, given, of, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.labeled.images, two.labeled.images)
    assert torch.equal(one.unlabeled, two.unlabeled)
    assert torch.equal(one.pseudo.weights, two.pseudo.weights)
    assert not torch.equal(one.unlabeled, other.unlabeled)


def test_parts_and_images_get_changes_of_their_own() -> None:
    given = batch(16, 16)
    given = given._replace(unlabeled=given.labeled.images[:1].expand(4, -1, -1, -1).clone())
    result = augmented({**GEOMETRY_ONLY, "affine_probability": 1.0}, given, task(16, 16))
    assert not torch.equal(result.unlabeled[0], result.labeled.images[0])
    assert not torch.equal(result.unlabeled[0], result.unlabeled[1])


def test_stacks_of_thick_slices_are_turned_within_slices_only() -> None:
    options = {**GEOMETRY_ONLY, "affine_probability": 1.0, "rotation": 90.0, "scale": 0.0, "elastic_probability": 0.0}
    patch, size = (6, 24, 24), 4
    stack = torch.arange(6.0).reshape(1, 1, 6, 1, 1).expand(size, 1, *patch).clone()
    given = Batch(unlabeled=stack)
    thick = augmented(options, given, task(*patch, spacing=(8.0, 1.0, 1.0)))
    assert torch.allclose(thick.unlabeled, stack, atol=1e-4)
    thin = augmented(options, given, task(*patch, spacing=(2.0, 1.0, 1.0)))
    assert not torch.allclose(thin.unlabeled, stack, atol=0.5)


def test_absent_parts_stay_absent_and_the_given_batch_is_not_changed() -> None:
    given = batch(16, 16)
    before = given.labeled.images.clone(), given.unlabeled.clone()
    result = augmented({"affine_probability": 1.0}, given._replace(pseudo=None), task(16, 16, flips=(0, 1)))
    assert result.pseudo is None
    assert result.cases == given.cases
    assert torch.equal(given.labeled.images, before[0])
    assert torch.equal(given.unlabeled, before[1])


def test_every_change_at_once_in_autocast_stays_finite_float32() -> None:
    options = {name: 1.0 for name in AugmentOptions.__dataclass_fields__ if name.endswith("_probability")}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = augmented(options, batch(16, 16, 16), task(16, 16, 16, flips=(0, 1, 2)))
    outside = augmented(options, batch(16, 16, 16), task(16, 16, 16, flips=(0, 1, 2)))
    assert inside.unlabeled.dtype == torch.float32
    assert torch.isfinite(inside.unlabeled).all()
    assert torch.allclose(inside.unlabeled, outside.unlabeled)


def test_options_are_set_by_name() -> None:
    options = build(AugmentOptions, {"rotation": "30", "off": "true", "elastic": "0.1"}, "augment.")
    assert (options.rotation, options.off, options.elastic) == (30.0, True, 0.1)
