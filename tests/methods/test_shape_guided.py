from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from probes import figures, look, reaches, snapshot
from torch import Tensor

from engine import TASKS, Engine, builder, make_batch, make_setting
from paucis.batch import IGNORE, Annotated, Batch, Task
from paucis.errors import PaucisError
from paucis.methods.base import Clock, Prediction
from paucis.methods.ld import LocalDiscrimination
from paucis.methods.parts.label_views import LabelView
from paucis.methods.parts.region_clustering import clustered, region_sums
from paucis.methods.shape_guided import ShapeGuided, ShapeGuidedOptions, collapse
from paucis.methods.shape_guided.retraining import CertainRetraining

TASK = Task(2, 1, 2, (32, 24), (1.0, 1.0), flips=(0, 1))


def guided(task: Task = TASK, seed: int = 0, **options: Any) -> ShapeGuided:
    torch.manual_seed(seed)
    return ShapeGuided(builder(task, dropout=(0.0,)), task, ShapeGuidedOptions(clusters=3, **options))


def state(module: torch.nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in module.state_dict().values()]


def test_the_frozen_player_does_not_move() -> None:
    method, batch = guided(), make_batch(TASK)
    judge, network = state(method.discriminator), snapshot(method.network)
    engine = Engine(method)
    engine._phase(batch, Clock(0, 10), 0)
    assert all(torch.equal(one, other) for one, other in zip(judge, state(method.discriminator), strict=True))
    assert not torch.equal(network, snapshot(method.network))
    players = [*state(method.network), *state(method.embedding), *state(method.clustering)]  # type: ignore[arg-type]
    engine._phase(batch, Clock(0, 10), 1)
    after = [*state(method.network), *state(method.embedding), *state(method.clustering)]  # type: ignore[arg-type]
    assert all(torch.equal(one, other) for one, other in zip(players, after, strict=True)), "statistics included"
    assert not all(torch.equal(one, other) for one, other in zip(judge, state(method.discriminator), strict=True))


def test_the_adversary_adds_one_loss_and_reaches_network_and_clustering_alone() -> None:
    batch = make_batch(TASK)
    with_prior, without = figures(look(guided(), batch)), figures(look(guided(adversary=0.0), batch))
    plain = LocalDiscrimination(builder(TASK, dropout=(0.0,)), TASK, ShapeGuidedOptions(clusters=3))
    assert set(with_prior) == {*figures(look(plain, batch)), "adversarial"}
    assert without.pop("adversarial") == 0.0
    assert {name: value for name, value in with_prior.items() if name != "adversarial"} == pytest.approx(without)
    method = guided()
    loss = look(method, batch).losses["adversarial"]
    assert method.clustering is not None
    assert reaches(loss, method.clustering)
    assert reaches(loss, method.network)
    assert not reaches(loss, method.embedding)


def test_the_discriminator_judges_the_first_cluster_within_the_field_of_view_and_the_references() -> None:
    method, batch = guided(), make_batch(TASK)
    shown: list[Tensor] = []
    method.discriminator.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0].detach().clone()))
    look(method, batch)
    told = look(method, batch, phase=1).losses["discriminator"]
    found, both = shown
    assert found.shape == (4, 1, *TASK.patch), "both views of both images"
    assert bool((found[:2, :, -2:] == 0).all()), "nothing is shown of what lies outside"
    assert bool((found[:2, :, :-2] > 0).all())
    seen = batch.references.clone()  # type: ignore[union-attr]
    seen[:2, :, -2:] = 0
    assert torch.equal(both[:2], seen[:2]), "the border of the field is no telling sign"
    assert torch.equal((both[2:4] == 0) | (both[2:4] == seen[2:4]), torch.ones_like(seen[2:4], dtype=torch.bool))
    assert torch.equal(both[4:], found)
    with torch.no_grad():
        real, fake = method.discriminator(both).split(4)
    chances = [1 / (1 + math.exp(-float(one))) for one in (*real, *-fake)]
    assert float(told.detach()) == pytest.approx(-sum(map(math.log, chances)) / 4, rel=1e-5)


def test_agreement_compares_the_target_of_a_voxel_in_both_views_and_is_absent_by_default() -> None:
    batch = make_batch(TASK)
    assert "agreement" not in look(guided(), batch).losses
    method = guided(agreement=3.0, rotation=0.0)
    drawn: list[Tensor] = []
    shown: list[Tensor] = []
    assert method.clustering is not None
    assert batch.valid is not None
    invert = method.views.turning.invert
    method.views.turning.invert = lambda maps, how: drawn.append(how.turns) or invert(maps, how)  # type: ignore[assignment, func-returns-value]
    method.clustering.register_forward_hook(lambda *call: shown.append(call[2].detach()))
    loss = look(method, batch).losses["agreement"]
    (first, second), turns = shown[0][:, 0].split(2), drawn[-1].tolist()
    pairs = zip(first, (torch.rot90(one, -turn, (0, 1)) for one, turn in zip(second, turns, strict=True)), strict=True)
    squares = [
        float((one - other)[inside].square().sum()) for (one, other), inside in zip(pairs, batch.valid, strict=True)
    ]
    assert float(loss.detach()) == pytest.approx(3 * sum(squares) / int(batch.valid.sum()), rel=1e-5)
    assert reaches(loss, method.clustering)
    assert not reaches(loss, method.embedding)
    assert not reaches(loss, method.discriminator)


def test_a_target_that_follows_the_image_agrees_however_it_is_turned() -> None:
    method, batch = guided(agreement=1.0, rotation=0.0, brightness=0.0, contrast=0.0), make_batch(TASK)

    class Brightness(torch.nn.Module):
        """Clusters by what a voxel shows alone: they turn with it."""

        def forward(self, feature: Tensor) -> Tensor:
            share = feature.sigmoid()
            return torch.cat([share, (1 - share) / 2, (1 - share) / 2], 1)

    method.clustering = Brightness()  # type: ignore[assignment]
    method._feature = lambda images: images  # type: ignore[method-assign]
    method.embedding = torch.nn.Conv2d(1, 32, 1)  # type: ignore[assignment]
    assert float(look(method, batch).losses["agreement"].detach()) == pytest.approx(0, abs=1e-9)
    rows = torch.linspace(0, 1, TASK.patch[0]).reshape(1, 1, -1, 1)
    method._feature = lambda images: images + rows  # type: ignore[method-assign]
    assert float(look(method, batch).losses["agreement"].detach()) > 1e-4, "one that knows its place does not"


def test_the_penalty_is_the_discriminators_alone() -> None:
    method, batch = guided(penalty=2.0), make_batch(TASK)
    assert "slope" not in look(method, batch).losses
    losses = look(method, batch, phase=1).losses
    assert set(losses) == {"discriminator", "slope"}
    assert reaches(losses["slope"], method.discriminator)
    assert not reaches(losses["slope"], method.network)
    plain = guided()
    look(plain, batch)
    assert set(look(plain, batch, phase=1).losses) == {"discriminator"}, "as published, without"
    inside = torch.ones_like(batch.references)  # type: ignore[arg-type]
    inside[:2, :, -2:] = 0
    seen: list[Tensor] = []
    method.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    look(method, batch)
    look(method, batch, phase=1)
    assert torch.equal(seen[-1][:2], (batch.references * inside)[:2]), "of the masks as they are shown"  # type: ignore[operator]


def test_a_slope_of_one_is_the_published_linear_discriminator() -> None:
    assert guided(slope=1.0).discriminator.slope == 1.0
    assert guided().discriminator.slope == 0.2


def test_windows_of_a_scan_are_answered_by_the_prototypes_of_all_of_it() -> None:
    method = guided().eval()
    scan = torch.randn(1, 1, 64, 48, generator=torch.Generator().manual_seed(0))
    windows = torch.cat([scan[..., y : y + 32, x : x + 24] for y in (0, 32) for x in (0, 24)])
    inside = torch.ones_like(windows[:, 0], dtype=torch.bool)
    inside[0] = False
    with torch.no_grad():
        maps = method.survey(windows)
        total = method.summary(maps, inside).sum(0, keepdim=True)
        answers = method.answer(windows, total).additive["probabilities"]
        vectors, clusters = method.embed(windows), method.cluster(windows)
        sums = region_sums(vectors[1:], clusters[1:]).sum(0, keepdim=True).expand(4, -1, -1)
        expected = clustered(vectors, sums, 0.2)[:, 0]
        alone = method.predict(windows).additive["probabilities"]
    assert torch.allclose(answers[:, 1], expected, atol=1e-5)
    assert torch.allclose(answers.sum(1), torch.ones(()))
    assert not torch.allclose(answers, alone, atol=1e-3), "alone, each window is a scan of its own"


def test_clusters_are_the_first_channel_of_the_clustering_branch_and_need_no_survey() -> None:
    method = guided().eval()
    images = make_batch(TASK).unlabeled
    assert images is not None
    assert method.looks_first
    method.choose("clusters")
    assert not method.looks_first
    with torch.no_grad():
        assert torch.allclose(method.predict(images).additive["probabilities"][:, 1], method.cluster(images)[:, 0])
    with pytest.raises(PaucisError, match=r"no answer of this run; did you mean 'clusters'. \(clustering, clusters\)"):
        method.choose("cluster")


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_look_is_undone_exactly(ndim: int) -> None:
    task = dataclasses.replace(TASKS[ndim], patch=(8,) * ndim, spacing=(1.0,) * ndim)
    plain = ShapeGuidedOptions(brightness=0.0, contrast=0.0, grid=(2,))
    images = torch.randn(3, 1, *task.patch, generator=torch.Generator().manual_seed(0))
    looks = [LabelView(task, plain, torch.Generator().manual_seed(seed)) for seed in range(12)]
    seen = [view.image(images) for view in looks]
    assert all(torch.equal(view.invert(one), images) for view, one in zip(looks, seen, strict=True))
    assert len({tuple(one.flatten().tolist()) for one in seen}) > 4
    colored = LabelView(task, ShapeGuidedOptions(grid=(2,)), torch.Generator().manual_seed(0))
    assert not torch.allclose(colored.invert(colored.image(images)), images), "intensities are not taken back"


def test_a_generator_that_looks_differently_answers_in_the_images_own_geometry() -> None:
    method = guided(brightness=0.0, contrast=0.0).eval()
    images = make_batch(TASK).unlabeled
    assert images is not None

    class Everywhere:
        """A generator whose answer is the image itself."""

        def survey(self, images: Tensor) -> Tensor:
            return images

        def answer(self, images: Tensor, summary: Tensor | None) -> Any:
            return Prediction({"probabilities": images})

    looking = method.looked(torch.Generator().manual_seed(3))
    looking.generator = Everywhere()  # type: ignore[attr-defined]
    assert torch.equal(looking.survey(images), images)
    assert torch.equal(looking.answer(images, None).additive["probabilities"], images)


@pytest.mark.parametrize("weighting", ["certain", "uncertain", "uniform"])
def test_retraining_equals_the_loop_over_voxels(weighting: str) -> None:
    torch.manual_seed(0)
    build, options = builder(TASK, dropout=(0.0,)), ShapeGuidedOptions(clusters=3)
    method = CertainRetraining(build, TASK, options, guided(), weighting)
    images = torch.randn(2, 1, *TASK.patch)
    labels = torch.randint(0, 2, (2, *TASK.patch))
    labels[:, :3] = IGNORE
    certainty = torch.rand(2, *TASK.patch)
    batch = Batch(pseudo=Annotated(images, labels, certainty), unlabeled=images)
    loss = float(look(method, batch).losses["pseudo"].detach())
    with torch.no_grad():
        found = method.train().network(images).logits.softmax(1)[:, 1]
    total, count = 0.0, 0
    for place in (labels != IGNORE).nonzero().tolist():
        n, y, x = place
        u = 1 - float(certainty[n, y, x])
        w = {"certain": 1 - u, "uncertain": u, "uniform": 1.0}[weighting]
        r, p = int(labels[n, y, x]), float(found[n, y, x])
        total -= w * (r * math.log(p) + (1 - r) * math.log(1 - p))
        count += 1
    assert loss == pytest.approx(total / count, rel=1e-4)


def test_the_generator_of_the_labels_and_earlier_retrainings_stay_as_they_are() -> None:
    generator, build = guided(), builder(TASK, dropout=(0.0,))
    options = ShapeGuidedOptions(clusters=3, weighting=("certain", "uniform"))
    method = CertainRetraining(build, TASK, options, generator, "uniform", {"certain": build()})
    before = [*state(method.generator), *state(method.earlier)]
    Engine(method).train(make_batch(TASK, 0), make_batch(TASK, 1))
    after = [*state(method.generator), *state(method.earlier)]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    method.eval()
    images = make_batch(TASK).unlabeled
    assert images is not None
    assert method.outputs == ("refined", "clustering", "clusters", "refined_certain", "refined_uniform")
    answers = {}
    for name in method.outputs:
        method.choose(name)
        with torch.no_grad():
            answers[name] = method.predict(images).additive["probabilities"]
    assert torch.equal(answers["refined"], answers["refined_certain"]), "the first weighting is what is reported"
    assert torch.equal(answers["refined_uniform"], method.network(images).logits.softmax(1))
    generator.eval()
    with torch.no_grad():
        assert torch.equal(answers["clustering"], generator.predict(images).additive["probabilities"])
    assert len({tuple(one.flatten().tolist()) for one in answers.values()}) == 4


@pytest.mark.parametrize(
    ("target", "shapes", "said"),
    [(0.08, 0.08, None), (0.02, 0.08, None), (0.003, 0.08, "empty"), (0.0, 0.08, "empty"), (0.5, 0.08, "full")],
)
def test_an_empty_or_full_target_is_said_in_one_line(target: float, shapes: float, said: str | None) -> None:
    line = collapse(target, shapes, 0.0)
    with_penalty = collapse(target, shapes, 1.0)
    assert (line is None) == (said is None)
    if said is not None:
        assert f"all but {said}" in str(line)
        assert "\n" not in str(line)
        assert "set method.penalty=1" in str(line)
        assert "penalty" not in str(with_penalty), "who has it is not advised it"


def test_collapse_is_remarked_from_the_followed_share_and_only_after_a_while() -> None:
    method, batch = guided(), make_batch(TASK)
    result = look(method, batch)
    result.memory["target_share"] = torch.tensor(0.0)
    for _ in range(49):
        method.after_step(Clock(50, 200), result)
    assert method.remark is None
    method.after_step(Clock(49, 200), result)
    assert method.remark is None, "the clusters begin alike"
    method.after_step(Clock(50, 200), result)
    assert "all but empty" in str(method.remark)
    assert float(method.watched[2]) == pytest.approx(float(batch.references.mean()), rel=1e-4)  # type: ignore[union-attr]
    result.memory["target_share"] = torch.tensor(0.1)
    for _ in range(100):
        method.after_step(Clock(100, 200), result)
    assert method.remark is None, "it has come back"


def test_the_share_that_is_followed_is_of_the_field_of_view() -> None:
    method, batch = guided(), make_batch(TASK)
    assert batch.valid is not None
    with torch.no_grad():
        method.clustering.layers[1].bias[0] = 9.0  # type: ignore[union-attr, index]
        method.clustering.layers[1].bias[1:] = -9.0  # type: ignore[union-attr, index]
    assert float(look(method, batch).monitors["target_share"]) == pytest.approx(1.0, abs=0.01)
    assert float(batch.valid.float().mean()) < 0.95, "outside of it lies something"


@pytest.mark.parametrize(
    ("options", "patch", "said"),
    [
        ({}, (4, 64), "too small for the discriminator, which needs 5 voxels"),
        ({"warmup": 1.0}, (64, 64), "leaves no steps to learn shapes"),
        ({"weighting": ("certain", "certain")}, (64, 64), "names the same twice"),
        ({"weighting": ()}, (64, 64), "names the same twice, or none"),
    ],
)
def test_what_cannot_be_is_refused_before(options: dict[str, Any], patch: tuple[int, ...], said: str) -> None:
    setting = make_setting(dataclasses.replace(TASK, patch=patch))
    problems = ShapeGuided.check(setting, ShapeGuidedOptions(**options))
    assert len(problems) == 1
    assert said in problems[0]


def test_stages_share_the_steps_and_retrainings_the_labels() -> None:
    stages = ShapeGuided.stages(ShapeGuidedOptions(weighting=("certain", "uniform")))
    assert [stage.name for stage in stages] == ["patches", "shapes", "refined_certain", "refined_uniform"]
    assert [stage.share for stage in stages] == pytest.approx([0.14, 0.56, 0.15, 0.15])
    assert {(stage.before, stage.labeler) for stage in stages[2:]} == {("certain-labels", "shapes")}
    alone = ShapeGuided.stages(ShapeGuidedOptions(refinement=0.0, warmup=0.0))
    assert [stage.name for stage in alone] == ["shapes"]
    assert not alone[0].continues, "--init reaches it"
