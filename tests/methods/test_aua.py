from __future__ import annotations

from typing import Any

import pytest
import torch
from probes import figures, look, reaches, snapshot
from torch import Tensor
from torch.nn import functional as F

from engine import PLAIN, TASKS, Engine, Seen, builder, make_batch, make_setting
from paucis.batch import IGNORE, Annotated
from paucis.losses import generalized_energy_distance, prototype_contrastive, stochastic_nll
from paucis.methods.aua import Aua
from paucis.methods.aua.first import AleatoricConsistency, AuaOptions, BoundaryContrast
from paucis.methods.aua.prototypes import PrototypeEstimation, prototype_loss, rows_of
from paucis.methods.base import Phase
from paucis.methods.parts.boundary import near_boundary
from paucis.methods.parts.prototypes import Prototypes

BATCH = make_batch(TASKS[2])


def stage1(ndim: int = 2, network: dict[str, Any] | None = None, **options: Any) -> AleatoricConsistency:
    torch.manual_seed(0)
    return AleatoricConsistency(builder(TASKS[ndim], **(network or PLAIN)), TASKS[ndim], AuaOptions(**options))


def built(network: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """All stages, each after a step."""
    found: dict[str, Any] = {}
    for stage in Aua.stages(AuaOptions(**options)):
        torch.manual_seed(len(found))
        method = stage.make(builder(TASKS[2], **(network or PLAIN)), TASKS[2], found)
        Engine(method, gradient=stage.gradient).train(make_batch(TASKS[2], 3))
        found[stage.name] = method
    return found


def apart(method: AleatoricConsistency) -> AleatoricConsistency:
    """A teacher that is no longer its student."""
    with torch.no_grad():
        for parameter in method.teacher.network.parameters():
            parameter.mul_(0.5)
    method.teacher.updates.fill_(1)
    return method


# the first stage


def test_the_likelihood_and_the_distance_are_those_of_samples_drawn_in_the_papers_order() -> None:
    method = apart(stage1(boundary=0.0, likelihood_dice=0.0, consistency=1.0, ramp_kind="constant", noise=0.0))
    result = look(method, BATCH, seed=5)
    torch.manual_seed(5)
    _, logits = method.student(torch.cat([BATCH.labeled.images, BATCH.unlabeled]))
    own = logits.of(slice(2)).sample(6)
    assert figures(result)["likelihood"] == pytest.approx(
        0.5 * float(stochastic_nll(own, BATCH.labeled.labels).detach())
    )
    _, theirs = method.teacher(BATCH.unlabeled)
    seen = BATCH.valid.unsqueeze(1)
    sides = [side.sample(6).softmax(2) * seen for side in (logits.of(slice(2, 4)), theirs)]
    assert figures(result)["consistency"] == pytest.approx(float(generalized_energy_distance(*sides).mean().detach()))


def test_the_dice_of_the_mean_is_an_option() -> None:
    with_dice, without = figures(look(stage1(), BATCH)), figures(look(stage1(likelihood_dice=0.0), BATCH))
    assert set(with_dice) - set(without) == {"dice"}
    assert with_dice["likelihood"] == without["likelihood"]


def test_the_distance_teaches_the_student_alone() -> None:
    method = stage1()
    loss = look(method, BATCH).losses["consistency"]
    assert reaches(loss, method.student.network)
    assert reaches(loss, method.student.head.factor)
    assert reaches(loss, method.student.head.log_diagonal)
    assert all(not parameter.requires_grad for parameter in method.teacher.parameters())


def test_the_distance_rises_to_its_weight() -> None:
    method = stage1()
    early, late = (look(method, BATCH, step=step).monitors["consistency_weight"] for step in (0, 100))
    assert early == pytest.approx(0.15 * 0.0067379, rel=1e-4)
    assert late == pytest.approx(0.15)


def test_the_teacher_sees_noise_and_the_student_none() -> None:
    method = stage1()
    student, teacher = Seen(method.student.network), Seen(method.teacher.network.network)
    look(method, BATCH)
    assert torch.equal(student.images[0], torch.cat([BATCH.labeled.images, BATCH.unlabeled]))
    noise = teacher.images[0] - BATCH.unlabeled
    assert float(noise.abs().max()) <= 0.2 + 1e-6
    assert 0.08 < float(noise.std()) < 0.11


def certain(method: AleatoricConsistency) -> AleatoricConsistency:
    """A student whose samples are all the mean."""
    with torch.no_grad():
        for parameter in method.student.head.factor.parameters():
            parameter.zero_()
        method.student.head.log_diagonal.weight.zero_()
        method.student.head.log_diagonal.bias.fill_(-20.0)
    return method


def test_a_certain_student_and_its_copy_are_at_no_distance() -> None:
    unsure = figures(look(stage1(noise=0.0), BATCH))["consistency"]
    assert figures(look(certain(stage1(noise=0.0)), BATCH))["consistency"] < 1e-3 * unsure


def test_voxels_on_padding_are_at_no_distance() -> None:
    batch = BATCH._replace(valid=torch.zeros_like(BATCH.valid))
    assert figures(look(stage1(), batch))["consistency"] == 0.0


def test_the_teacher_is_neither_the_student_nor_still() -> None:
    method = stage1()
    before = snapshot(method.student)
    Engine(method, step=50).train(*(make_batch(TASKS[2], seed) for seed in range(2)))
    student, teacher = snapshot(method.student), snapshot(method.teacher)
    assert 0 < float((teacher - before).norm()) < float((student - before).norm())


def test_without_contrast_there_is_no_projection_and_the_rest_is_as_it_was() -> None:
    plain, full = stage1(boundary=0.0), stage1()
    assert plain.contrast is None
    losses = figures(look(full, BATCH))
    assert losses.pop("boundary") > 0
    assert figures(look(plain, BATCH))["likelihood"] == losses["likelihood"]


def naive_contrast(module: BoundaryContrast, features: Tensor, labels: Tensor) -> float:
    images = []
    for feature, label in zip(features, labels, strict=True):
        places = near_boundary(label[None])[0].nonzero().tolist()
        vectors = [F.normalize(module.projection(feature[:, y, x]), dim=0) for y, x in places]
        classes = [int(label[y, x]) for y, x in places]
        anchors = []
        for i, vector in enumerate(vectors):
            others = torch.stack([torch.dot(vector, v) / 0.07 for j, v in enumerate(vectors) if j != i])
            same = [c == classes[i] for j, c in enumerate(classes) if j != i]
            if any(same):
                anchors.append(-float((others - others.logsumexp(0))[torch.tensor(same)].mean()))
        images.append(sum(anchors) / len(anchors))
    return sum(images) / len(images)


def test_the_contrast_takes_the_vector_of_each_boundary_voxel_with_its_own_label() -> None:
    torch.manual_seed(0)
    module = BoundaryContrast(5, AuaOptions())
    labels = torch.zeros(2, 6, 7, dtype=torch.long)
    labels[0, 2:5, 2:5] = 1
    labels[1, 3:, :3] = 2
    labels[1, 0] = IGNORE
    features = torch.randn(2, 5, 6, 7)
    found = float(module(features, labels).detach())
    assert found == pytest.approx(naive_contrast(module, features, labels), rel=1e-4)


def test_the_contrast_of_images_without_boundary_is_0_and_has_a_gradient() -> None:
    module = BoundaryContrast(5, AuaOptions())
    features = torch.randn(2, 5, 6, 7, requires_grad=True)
    loss = module(features, torch.zeros(2, 6, 7, dtype=torch.long))
    loss.backward()
    assert float(loss) == 0.0
    assert features.grad is not None
    assert module.projection[0].weight.grad is not None


def test_the_contrast_teaches_network_and_projection() -> None:
    method = stage1()
    loss = look(method, BATCH).losses["boundary"]
    assert reaches(loss, method.student.network.encoder)
    assert reaches(loss, method.contrast.projection)  # type: ignore[union-attr]
    assert not reaches(loss, method.student.head)


@pytest.mark.parametrize("predict", ["student", "teacher"])
def test_the_mean_of_the_reported_network_predicts_and_labels(predict: Any) -> None:
    method = apart(stage1(predict=predict)).eval()
    with torch.no_grad():
        expected = (method.student if predict == "student" else method.teacher.network)(BATCH.unlabeled)[1].mean
        found = method.predict(BATCH.unlabeled).additive["probabilities"]
    assert torch.allclose(found, expected.softmax(1), atol=1e-6)


# prototypes


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_prototypes_are_the_moments_of_all_unit_vectors_at_once(covariance: Any) -> None:
    first = stage1(network={"dropout": (0.5,)}, covariance=covariance)
    before = [value.clone() for value in first.student.network.state_dict().values()]
    method = PrototypeEstimation(builder(TASKS[2]), TASKS[2], first.options, first.student.network)
    batches = [make_batch(TASKS[2], seed) for seed in range(3)]
    Engine(method, gradient=False).train(*batches)
    network = first.student.network.eval()
    with torch.no_grad():
        parts = [rows_of(network(batch.labeled.images).decoder[-1], batch.labeled.labels) for batch in batches]
    rows, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    for label in range(4):
        mine = rows[labels == label].double()
        expected = torch.cov(mine.T, correction=0)
        expected = expected.diagonal() if covariance == "diagonal" else expected
        assert torch.allclose(method.prototypes.means[label], mine.mean(0), atol=1e-6)
        assert torch.allclose(method.prototypes.variances[label], expected, atol=1e-6)
    after = method.network.state_dict().values()
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))  # statistics stand still too


def test_rows_are_unit_vectors_beside_the_label_of_their_voxel() -> None:
    features = torch.randn(2, 3, 4, 5)
    labels = torch.randint(0, 4, (2, 4, 5))
    rows, flat = rows_of(features, labels)
    place = 1 * 20 + 2 * 5 + 3
    assert torch.allclose(rows[place], F.normalize(features[1, :, 2, 3], dim=0))
    assert int(flat[place]) == int(labels[1, 2, 3])


def filled(classes: tuple[int, ...]) -> Prototypes:
    prototypes = Prototypes(4, 3)
    labels = torch.tensor(classes).repeat_interleave(5)
    prototypes.update(torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0)), labels)
    return prototypes


def test_a_class_without_prototype_is_neither_pulled_nor_pushed_from() -> None:
    prototypes = filled((0, 1, 3))
    rows = F.normalize(torch.randn(12, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    labels = torch.tensor([0, 1, 2, 3, IGNORE, 1] * 2)
    kept = torch.tensor([0, 1, IGNORE, 2, IGNORE, 1] * 2)
    three = [0, 1, 3]
    expected = prototype_contrastive(
        rows, kept, prototypes.means[three].float(), prototypes.variances[three].float(), 0.5
    )
    assert torch.equal(prototype_loss(rows, labels, prototypes, 0.5, unit=True), expected)


def test_statistics_of_raw_vectors_are_brought_to_length_1() -> None:
    prototypes, rows = filled((0, 1, 2, 3)), F.normalize(torch.randn(8, 3), dim=1)
    labels = torch.arange(8) % 4
    means, variances = (F.normalize(part.float(), dim=1) for part in (prototypes.means, prototypes.variances))
    expected = prototype_contrastive(rows, labels, means, variances, 1.0)
    assert torch.allclose(prototype_loss(rows, labels, prototypes, 1.0, unit=False), expected)


def test_a_single_prototype_contrasts_nothing() -> None:
    rows = F.normalize(torch.randn(4, 3), dim=1).requires_grad_()
    loss = prototype_loss(rows, torch.zeros(4, dtype=torch.long), filled((0,)), 1.0, unit=True)
    loss.backward()
    assert float(loss.detach()) == 0.0


# the second stage


def test_the_retrained_network_starts_afresh_and_the_labeler_stands_still() -> None:
    found = built({"dropout": (0.0,)})
    first, second = found["stage1"], found["stage2"]
    assert not torch.equal(snapshot(second.network), snapshot(first.student.network))
    kept = {name: value.clone() for name, value in second.labeler.state_dict().items()}
    Engine(second).train(*(make_batch(TASKS[2], seed) for seed in range(2)))
    assert all(torch.equal(value, kept[name]) for name, value in second.labeler.state_dict().items())
    assert torch.equal(snapshot(second.labeler.network), snapshot(first.student.network))
    assert second.networks() == (second.network,)


def test_pseudo_labels_are_what_the_labeler_in_eval_mode_thinks_of_the_crop() -> None:
    second = built({"dropout": (0.5,)})["stage2"]
    shown = Seen(second.labeler.network)
    second.train()
    pseudo = second._pseudo(BATCH)
    assert shown.training == [False]
    with torch.no_grad():
        expected = second.labeler.network(BATCH.unlabeled).logits.argmax(1)
    assert torch.equal(pseudo.labels[BATCH.valid], expected[BATCH.valid])
    assert bool(pseudo.labels[~BATCH.valid].eq(IGNORE).all())
    assert pseudo.weights is None


def test_unsure_pseudo_labels_are_left_out_and_confidence_weighs_where_asked() -> None:
    second = built(pseudo_threshold=0.3, pseudo_weights=True)["stage2"]
    pseudo = second._pseudo(BATCH)
    sure = second.labeler.network(BATCH.unlabeled).logits.softmax(1).amax(1).ge(0.3) & BATCH.valid
    assert 0 < int(sure.sum()) < sure.numel()
    assert torch.equal(pseudo.labels.ne(IGNORE), sure)
    assert float(pseudo.weights.max()) < 1.0


def test_written_pseudo_labels_take_the_place_of_those_of_the_crop() -> None:
    second = built(pseudo_labels="windows")["stage2"]
    shown = Seen(second.network)
    pseudo = second._pseudo(BATCH)
    assert torch.equal(pseudo.labels, BATCH.pseudo.labels)
    look(second, BATCH)
    assert torch.equal(shown.images[0][2:], BATCH.pseudo.images)
    assert [stage.before for stage in Aua.stages(second.options)] == [None, None, "pseudo-labels"]


def test_the_losses_are_those_of_labels_and_pseudo_labels_and_the_contrast_of_both() -> None:
    second = built(prototype_temperature=0.5)["stage2"]
    losses = look(second, BATCH).losses
    pseudo = second._pseudo(BATCH)
    features = second.network(torch.cat([BATCH.labeled.images, BATCH.unlabeled])).decoder[-1]
    expected = sum(
        prototype_contrastive(
            F.normalize(feature.movedim(1, -1).reshape(-1, feature.shape[1]), dim=1),
            labels.flatten(),
            second.prototypes.means.float(),
            second.prototypes.variances.float(),
            0.5,
        )
        for feature, labels in ((features[:2], BATCH.labeled.labels), (features[2:], pseudo.labels))
    )
    assert float(losses["prototype"]) == pytest.approx(0.1 * float(expected), rel=1e-5)
    assert reaches(losses["prototype"], second.network)
    assert reaches(losses["pseudo"], second.network)


def test_at_the_published_temperature_the_contrast_hardly_teaches() -> None:
    norms = []
    for temperature in (100.0, 0.1):
        second = built(prototype_temperature=temperature)["stage2"]
        loss = look(second, BATCH).losses["prototype"]
        parameters = list(second.network.encoder.parameters())
        norms.append(
            sum(float(g.norm()) for g in torch.autograd.grad(loss, parameters, allow_unused=True) if g is not None)
        )
    assert 0 < norms[0] < norms[1] / 100


def test_foreground_alone_leaves_the_background_out() -> None:
    all_, some = (
        built(prototype_classes=which, prototype_temperature=1.0)["stage2"] for which in ("all", "foreground")
    )
    nothing = BATCH._replace(labeled=BATCH.labeled._replace(labels=torch.zeros_like(BATCH.labeled.labels)))
    features = torch.randn(2, 4, *TASKS[2].patch)
    assert float(some._contrast(features, nothing.labeled.labels)) == 0.0
    assert float(all_._contrast(features, nothing.labeled.labels)) > 0.0


def test_prototypes_follow_the_labeled_images_where_asked() -> None:
    for update in (False, True):
        second = built(prototype_update=update)["stage2"]
        before = second.prototypes.counts.clone()
        Engine(second).train(BATCH)
        counted = torch.stack([(BATCH.labeled.labels == label).sum() for label in range(4)])
        assert torch.equal(second.prototypes.counts - before, counted * update)


def test_pixels_against_each_other_need_no_prototypes() -> None:
    found = built(prototype_contrast="pixels", prototype_temperature=0.5, prototype_pixels=64)
    assert list(found) == ["stage1", "stage2"]
    assert reaches(look(found["stage2"], BATCH).losses["prototype"], found["stage2"].network)


def test_ablations_leave_their_stage_out() -> None:
    def names(**options: Any) -> list[str]:
        return [stage.name for stage in Aua.stages(AuaOptions(**options))]

    assert names() == ["stage1", "prototypes", "stage2"]
    assert names(prototype=0.0) == ["stage1", "stage2"]
    assert names(retraining=0.0) == ["stage1"]
    assert [stage.share for stage in Aua.stages(AuaOptions())] == pytest.approx([0.4, 0.2, 0.4])
    assert "prototype" not in look(built(prototype=0.0)["stage2"], BATCH).losses


def test_what_excludes_each_other_is_refused_before() -> None:
    setting = make_setting(TASKS[2])
    (problem,) = Aua.check(setting, AuaOptions(estimation=0.5, retraining=0.5))
    assert "leave no steps for the first stage" in problem
    (problem,) = Aua.check(setting, AuaOptions(covariance="full", prototype_features="raw"))
    assert "take method.covariance=diagonal" in problem
    (problem,) = Aua.check(setting, AuaOptions(teacher_mode="eval"))
    assert "teacher_buffers=copy" in problem


# samples


@pytest.mark.parametrize("name", ["stage1", "stage2"])
def test_samples_are_the_first_stages_and_equal_codes_give_equal_voxels(name: str) -> None:
    found = built()
    method, first = found[name].eval(), found["stage1"].eval()
    codes = torch.randn(3, method.code_length, generator=torch.Generator().manual_seed(0))
    codes[0] = 0.0
    with torch.no_grad():
        drawn, again = method.sample(BATCH.unlabeled, codes), method.sample(BATCH.unlabeled[1:], codes)
        mean = first.predict(BATCH.unlabeled).additive["probabilities"]
    assert drawn.shape == (3, 2, 4, *TASKS[2].patch)
    assert torch.allclose(drawn[0], mean, atol=1e-6)
    assert torch.allclose(drawn[:, 1:], again, atol=1e-5)  # whatever else is in the batch
    assert not torch.allclose(drawn[1], drawn[2])
    assert torch.allclose(drawn.sum(2), torch.ones(()), atol=1e-5)


def test_a_stage_that_is_looked_at_alone_computes_without_gradient() -> None:
    method = built()["prototypes"]
    result = method.step(BATCH, None, Phase("main", []))  # type: ignore[arg-type]
    assert result.losses == {}
    assert int(result.monitors["classes_seen"]) == 4


def test_labels_of_one_class_and_empty_parts_are_finite() -> None:
    found = built()
    empty = BATCH._replace(labeled=Annotated(BATCH.labeled.images, torch.zeros_like(BATCH.labeled.labels)))
    one = torch.full_like(BATCH.labeled.labels, IGNORE)
    one[0, 8, 8] = 2
    single = BATCH._replace(labeled=Annotated(BATCH.labeled.images, one))
    for name in ("stage1", "stage2"):
        for batch in (empty, single):
            assert all(value == value and value < 1e4 for value in figures(look(found[name], batch)).values())
