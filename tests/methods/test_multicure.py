from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from probes import figures, look, reaches
from torch import Tensor

from engine import TASKS, Engine, make, make_batch, make_setting, values
from paucis.batch import IGNORE, Batch, Task
from paucis.methods.base import Clock
from paucis.methods.multicure import MultiCURE, MultiCUREOptions, block_site, drawn
from paucis.networks import DeformableConv, MultiCUREBlock
from paucis.networks import make as make_network
from paucis.uncertainty.entropy import entropy

BATCH = make_batch(TASKS[2])
EVERYTHING = torch.cat([BATCH.labeled.images, BATCH.unlabeled])  # type: ignore[union-attr]
PLAIN = {"normalization": "instance", "dropout": (0.0,)}
UNSURE = {"uncertain": 0.5, "threshold": 0.5, "minimum": 1}
"""Confidences of an untrained network lie on both sides."""


def method(ndim: int = 2, plain: bool = True, **options: Any) -> MultiCURE:
    made = make("multicure", ndim, network=PLAIN if plain else {}, **{**UNSURE, **options})
    assert isinstance(made, MultiCURE)
    return made


def size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_networks_have_the_parameters_of_the_published_code() -> None:
    task = Task(3, 1, 2, (112, 112, 80), (1.0, 1.0, 1.0))

    def build(name: str | None = None) -> Any:
        return make_network(name or "vnet", task, {})

    with torch.device("meta"):
        bare = MultiCURE(build, task, MultiCUREOptions(block=False, contrast=0.0))
        made = MultiCURE(build, task, MultiCUREOptions(squeeze="batch", contrast_on="both"))
    assert (size(bare.network), size(bare.second)) == (9_448_866, 17_930_354)
    assert size(bare) == 9_448_866 + 17_930_354
    assert size(made.network) + size(made.embeddings["auxiliary"]) == 9_559_523
    assert size(made.second) + size(made.embeddings["predictive"]) == 17_932_162
    assert block_site(made.network) == "fusion.2"
    assert made.network.sites["fusion.2"] == (32, (2, 2, 2))


@pytest.mark.parametrize("refined", ["first", "second"])
def test_the_roles_are_a_switch(refined: Any) -> None:
    made = method(refined=refined)
    expected = (made.network, made.second) if refined == "first" else (made.second, made.network)
    assert (made.auxiliary, made.predictive) == expected
    assert made.networks() == expected
    assert [any(isinstance(part, MultiCUREBlock) for part in each.modules()) for each in expected] == [True, False]
    result = look(made, BATCH)
    assert reaches(result.losses["supervised_auxiliary"], made.auxiliary)
    assert not reaches(result.losses["supervised_auxiliary"], made.predictive)
    assert reaches(result.losses["supervised_predictive"], made.predictive)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("refined", ["first", "second"])
def test_what_unlabeled_images_teach_never_reaches_the_predictive_network(ndim: int, refined: Any) -> None:
    made = method(ndim, plain=False, refined=refined, uncertain=0.35, threshold=0.35)
    losses = look(made, make_batch(TASKS[ndim])).losses
    for name in ("pseudo", "rectify", "contrast"):
        assert losses[name].requires_grad
        assert float(losses[name].detach()) != 0
        assert reaches(losses[name], made.auxiliary)
        assert not reaches(losses[name], made.predictive)


def test_the_contrast_can_act_on_both_networks() -> None:
    made = method(contrast_on="both")
    losses = look(made, BATCH).losses
    assert reaches(losses["contrast"], made.predictive)
    assert reaches(losses["contrast"], made.auxiliary)
    assert not reaches(losses["pseudo"], made.predictive)


@torch.no_grad()
def seen(made: MultiCURE, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of images: probabilities of the predictive and the auxiliary network, and the auxiliary one's embedding."""
    probabilities = made.predictive(images).logits.softmax(1)
    with made.guided(made.doubt(probabilities.amax(1))):
        features = made.auxiliary(images)
    return probabilities, features.logits.softmax(1), made._embedded("auxiliary", features, images.shape[2:])


def test_pseudo_labels_teach_on_sure_voxels_and_the_distance_counts_where_classes_differ() -> None:
    made = method(dice=0.0, unlabeled=2.0, rectify=0.3)
    losses = figures(look(made, BATCH))
    p, q, _ = (each[2:] for each in seen(made, EVERYTHING))
    taught, distances = [], []
    for b, y, x in BATCH.valid.nonzero().tolist():
        one, other = p[b, :, y, x], q[b, :, y, x]
        if one.max() > 0.5:
            taught.append(-math.log(float(other[one.argmax()])))
            if one.argmax() != other.argmax():
                distances.append(float((one - other).abs().mean()))
    assert 10 < len(taught) < int(BATCH.valid.sum()) - 10
    assert distances
    assert losses["pseudo"] == pytest.approx(2 * sum(taught) / len(taught), rel=1e-4)
    assert losses["rectify"] == pytest.approx(2 * 0.3 * sum(distances) / len(distances), rel=1e-4)


@pytest.mark.parametrize("candidates", ["predictive", "auxiliary"])
def test_uncertain_voxels_are_compared_with_the_means_of_certain_ones(candidates: Any) -> None:
    made = method(candidates=candidates, samples=10_000, separation=0.5, minimum=5)
    loss = figures(look(made, BATCH))["contrast"]
    p, q, z = (each[2:] for each in seen(made, EVERYTHING))
    certain: dict[int, list[Tensor]] = {}
    uncertain: dict[int, list[Tensor]] = {}
    for b, y, x in BATCH.valid.nonzero().tolist():
        if p[b, :, y, x].max() >= 0.5:
            certain.setdefault(int(p[b, :, y, x].argmax()), []).append(z[b, :, y, x])
        else:
            named = p if candidates == "predictive" else q
            uncertain.setdefault(int(named[b, :, y, x].argmax()), []).append(z[b, :, y, x])
    centers = {k: torch.stack(rows).mean(0) for k, rows in certain.items() if len(rows) >= 5}
    assert len(centers) > 1
    by_class = []
    for k, rows in uncertain.items():
        if k in centers:
            cosines = [{j: float(torch.cosine_similarity(z, c, dim=0)) for j, c in centers.items()} for z in rows]
            terms = [math.log(sum(math.exp(s / 0.1) for s in each.values())) - each[k] / 0.1 for each in cosines]
            by_class.append(sum(terms) / len(terms))
    assert by_class
    pairs = [float(torch.cosine_similarity(centers[j], centers[k], dim=0)) for j in centers for k in centers if j < k]
    expected = sum(by_class) / len(by_class) + 0.5 * sum(pairs) / len(pairs)
    weight = 0.1 * math.exp(-4 * (1 - 0.9) ** 2)
    assert loss == pytest.approx(weight * expected, rel=1e-3)


def test_the_contrast_rises_and_the_printed_form_falls() -> None:
    rising, printed = method(), method(exponent=4.0)
    weights = [[made.contrast_weight(Clock(step, 100)) for step in (0, 50, 100)] for made in (rising, printed)]
    assert weights[0] == pytest.approx([0.1 * math.exp(-4), 0.1 * math.exp(-1), 0.1])
    assert weights[1] == pytest.approx([5.4598, 0.1 * math.exp(1), 0.1], rel=1e-4)


def sure_of_background(made: MultiCURE, batch: Batch) -> Batch:
    """A batch without foreground, of which the predictive network is sure."""
    with torch.no_grad():
        made.predictive.decoder.head.weight.zero_()  # type: ignore[union-attr]
        made.predictive.decoder.head.bias.copy_(torch.tensor([20.0, 0, 0, 0]))  # type: ignore[union-attr]
    return batch._replace(labeled=batch.labeled._replace(labels=torch.zeros_like(batch.labeled.labels)))  # type: ignore[union-attr]


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_crop_of_certain_background_has_no_contrast_and_stays_finite(ndim: int) -> None:
    made = method(ndim, plain=False)
    batch = sure_of_background(made, make_batch(TASKS[ndim]))
    result = look(made, batch)
    assert float(result.losses["contrast"].detach()) == 0
    assert float(result.monitors["uncertain_before"]) == 0
    assert all(loss.requires_grad for loss in result.losses.values())
    losses = values(Engine(made).train(batch, batch))
    assert all(math.isfinite(loss) for loss in losses)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in made.parameters())


def test_where_nothing_is_certain_nothing_is_taught() -> None:
    losses = figures(look(method(uncertain=1.0, threshold=1.0), BATCH))
    assert (losses["pseudo"], losses["rectify"], losses["contrast"]) == (0, 0, 0)


def test_networks_that_agree_have_nothing_to_rectify() -> None:
    made = method(block=False, threshold=0.0)
    made.second.load_state_dict(made.network.state_dict())
    losses = figures(look(made, BATCH))
    assert losses["rectify"] == 0
    assert losses["pseudo"] > 0
    assert losses["supervised_predictive"] == pytest.approx(losses["supervised_auxiliary"])


def test_the_rows_of_the_ablation_lack_what_they_are_named_after() -> None:
    for block in (True, False):
        for contrast in (0.1, 0.0):
            made = method(block=block, contrast=contrast)
            losses = look(made, BATCH).losses
            assert ("contrast" in losses) == (contrast > 0)
            assert any(isinstance(part, DeformableConv) for part in made.modules()) == block
            assert len(made.embeddings) == (contrast > 0)


def test_doubts_change_what_the_auxiliary_network_sees_and_none_is_as_without_the_block_being_led() -> None:
    made = method().eval()
    images = BATCH.unlabeled
    plain = made.auxiliary(images).logits
    with made.guided(torch.zeros_like(images[:, 0])):
        assert torch.equal(made.auxiliary(images).logits, plain)
    with made.guided(torch.ones_like(images[:, 0])):
        assert not torch.equal(made.auxiliary(images).logits, plain)
    assert torch.equal(made.auxiliary(images).logits, plain)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("predict", ["mean", "auxiliary", "predictive"])
def test_it_answers_with_all_members_and_the_maps_before_and_after(ndim: int, predict: Any) -> None:
    made = method(ndim, predict=predict).eval()
    images = make_batch(TASKS[ndim]).unlabeled
    with torch.no_grad():
        p, q, _ = seen(made, images)
        answer = made.predict(images)
    expected = {"predictive": p, "auxiliary": q, "mean": (p + q) / 2}
    assert set(answer.members) == set(expected)
    for name, probabilities in expected.items():
        torch.testing.assert_close(answer.members[name], probabilities)
    torch.testing.assert_close(answer.additive["probabilities"], expected[predict])
    torch.testing.assert_close(answer.additive["uncertainty_before"], entropy(p, normalized=True)[:, None])
    torch.testing.assert_close(answer.additive["uncertainty_after"], entropy(q, normalized=True)[:, None])
    assert not torch.equal(answer.additive["uncertainty_before"], answer.additive["uncertainty_after"])


def test_its_embedding_is_the_one_that_the_contrast_shapes() -> None:
    made = method(embedding=5).eval()
    with torch.no_grad():
        torch.testing.assert_close(made.embed(BATCH.unlabeled), seen(made, BATCH.unlabeled)[2])
        assert made.embed(BATCH.unlabeled).shape[1] == 5
        assert method(contrast=0.0).eval().embed(BATCH.unlabeled).shape[2:] == TASKS[2].patch


@pytest.mark.parametrize(
    ("ndim", "one", "two"),
    [
        (2, ("swin_unetr", {"features": 12, "window": 2}), ("vnet", {"filters": 2})),
        (2, ("fcn", {"backbone": "vgg_tiny"}), ("swin_unet", {"width": 12, "window": 2})),
        (3, ("vgg_unet", {}), ("fcn", {"backbone": "vgg_tiny"})),
        (3, ("resnet34", {"filters": 2}), ("unet", {"features": 4, "depth": 2})),
    ],
)
def test_any_two_networks_make_a_pair(
    ndim: int, one: tuple[str, dict[str, Any]], two: tuple[str, dict[str, Any]]
) -> None:
    task = Task(ndim, 1, 3, (64, 64) if ndim == 2 else (32, 32, 32), (1.0,) * ndim)

    def build(name: str | None = None) -> Any:
        kind, options = one if name is None else two
        return make_network(kind, task, options)

    torch.manual_seed(0)
    made = MultiCURE(build, task, MultiCUREOptions(second=two[0]))
    result = look(made, make_batch(task))
    result.total.backward()
    assert math.isfinite(float(result.total.detach()))
    assert all(parameter.grad is not None for parameter in made.auxiliary.inserted.parameters())


def test_a_class_is_drawn_no_more_often_than_asked_and_only_from_where_it_may() -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (2, 5, 6))
    labels[labels == 2] = 1
    among = torch.rand(2, 5, 6) > 0.4
    features = torch.arange(60.0).view(2, 1, 5, 6)  # every voxel's own number
    rows, classes = drawn(features, labels, among, 3, 4)
    found = {int(row): int(number) for row, number in zip(rows[:, 0], classes, strict=True) if number != IGNORE}
    assert [list(found.values()).count(number) for number in range(3)] == [4, 4, 0]
    for place, number in found.items():
        assert among.flatten()[place]
        assert labels.flatten()[place] == number
    everything, all_classes = drawn(features, labels, among, 3, 60)
    taken = everything[all_classes != IGNORE, 0].tolist()
    assert sorted(taken) == among.flatten().nonzero().flatten().tolist()


def test_the_second_network_must_take_the_patch() -> None:
    (problem,) = MultiCURE.check(make_setting(TASKS[3]), MultiCUREOptions())
    assert "method.second=resnet34" in problem
    assert "16x8x12" in problem
    assert MultiCURE.check(make_setting(TASKS[3]), MultiCUREOptions(second=None)) == []
