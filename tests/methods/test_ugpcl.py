from __future__ import annotations

import math
from collections import deque
from typing import Any

import pytest
import torch
from probes import figures, look, reaches
from torch import Tensor

from engine import PLAIN, TASKS, Engine, Seen, builder, make_batch, make_setting, values
from paucis.batch import IGNORE, Task
from paucis.errors import PaucisError
from paucis.losses import equivariance_loss, pixel_contrastive
from paucis.methods.base import Clock, StepResult
from paucis.methods.parts.pixel_anchors import class_means, coarse_labels
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.ugpcl import UGPCL, UGPCLOptions

SMALL: dict[str, Any] = {
    "transformer_width": 6, "transformer_window": 4, "transformer_depth": 1, "dim": 8, "memory_size": 3, "anchors": 2,
}  # fmt: skip
SQUARE = Task(2, 1, 4, (16, 16), (1.0, 1.0), flips=(0, 1))
CUBE = Task(3, 1, 4, (8, 8, 8), (1.0, 1.0, 1.0))
FLAT = Task(3, 1, 4, (4, 8, 8), (3.0, 1.0, 1.0))


def ugpcl(task: Task = SQUARE, network: dict[str, Any] | None = None, **options: Any) -> UGPCL:
    torch.manual_seed(0)
    return UGPCL(builder(task, **{**PLAIN, **(network or {})}), task, UGPCLOptions(**{**SMALL, **options}))


def trained(method: UGPCL, steps: int = 1, first: int = 0) -> list[StepResult]:
    return [result[0] for result in Engine(method).train(*(make_batch(method.task, first + k) for k in range(steps)))]


def told(method: UGPCL) -> list[tuple[Tensor, Tensor]]:
    """What the head that tells turns is given: maps and turns."""
    assert method.turning is not None
    seen: list[tuple[Tensor, Tensor]] = []
    method.turning.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    return seen


# ---- the losses of Eq. 1


def test_each_loss_is_that_of_its_equation() -> None:
    task = TASKS[2]  # sides differ: the batch itself is not turned
    method, batch = ugpcl(task, memory="anchors", drop_path=0.0), make_batch(task)
    trained(method, 2)
    method.turning.head[0].p = 0.0  # no dropout
    seen, result = told(method), look(method, batch, step=90)
    images = torch.cat([batch.labeled.images, batch.unlabeled])
    maps = method.network.encode(images)
    z_c, z_t = method.network(images).logits, method.transformer(maps, task.patch)[1]
    p_c, p_t = z_c.softmax(1), z_t.softmax(1)
    supervised = sum(
        share * supervised_loss(z[:2], batch.labeled, method.options) for share, z in ((1, z_c), (0.4, z_t))
    )
    ramp = 0.01 * math.exp(-5 * (1 - 0.9) ** 2)
    consistency = (p_c - p_t)[2:].square().mean(1)[batch.valid].mean()
    found = figures(result)
    assert found["supervised"] == pytest.approx(float(supervised), rel=1e-4)
    assert found["consistency"] == pytest.approx(ramp * float(consistency), rel=1e-4)
    assert result.monitors["consistency_weight"] == pytest.approx(ramp)
    contrastive = pixel_contrastive(result.memory["vectors"], result.memory["labels"], *method.contrast.queue.bank())
    assert found["contrastive"] == pytest.approx(0.1 * float(contrastive), rel=1e-4)
    deepest, turns = seen[0]
    logits = method.turning.head[1](deepest.flatten(2).mean(2))
    assert found["equivariant"] == pytest.approx(0.1 * float(equivariance_loss(logits, turns)), rel=1e-4)


def test_unlabeled_voxels_count_only_where_they_show_an_image() -> None:
    method, batch = ugpcl(TASKS[2]), make_batch(TASKS[2])
    seen = look(method, batch)
    assert figures(seen)["consistency"] > 0.0
    assert float(seen.monitors["certain"]) > 0.0
    hidden = look(method, batch._replace(valid=torch.zeros_like(batch.valid)))
    assert figures(hidden)["consistency"] == 0.0
    assert float(hidden.monitors["certain"]) == 0.0


def test_both_decoders_learn_from_their_disagreement() -> None:
    method = ugpcl()
    losses = look(method, make_batch(SQUARE)).losses
    assert reaches(losses["consistency"], method.network.decoder)
    assert reaches(losses["consistency"], method.transformer)


# ---- Eq. 6 and 7: which voxels are certain, and when

ROWS = [
    # classes, largest entropy, probability of the likeliest class (the others share the rest), steps of 100 at which
    # it is certain. Thresholds at 0, 50, 100: 0.521, 0.570, 0.693 (ln 2) and 1.042, 1.139, 1.386 (ln 4)
    (2, None, 0.80, {0, 50, 100}),  # entropy 0.500
    (2, None, 0.77, {50, 100}),  # 0.539
    (2, None, 0.70, {100}),  # 0.611
    (2, None, 0.50, set()),  # 0.693
    (4, None, 0.70, {0, 50, 100}),  # 0.941
    (4, None, 0.60, {50, 100}),  # 1.113
    (4, None, 0.50, {100}),  # 1.243
    (4, None, 0.25, set()),  # 1.386
    (4, 0.6931, 0.90, {0, 50, 100}),  # 0.435
    (4, 0.6931, 0.87, {50, 100}),  # 0.529
    (4, 0.6931, 0.84, {100}),  # 0.616
    (4, 0.6931, 0.70, set()),  # 0.941
]


@pytest.mark.parametrize(("classes", "largest", "likeliest", "certain_at"), ROWS)
def test_certain_voxels_at_the_start_the_half_and_the_end(
    classes: int, largest: float | None, likeliest: float, certain_at: set[int]
) -> None:
    method = ugpcl(Task(2, 1, classes, (16, 16)), largest_entropy=largest)
    mean = torch.full((1, classes, 2, 2), (1 - likeliest) / (classes - 1))
    mean[:, 1] = likeliest
    apart = torch.zeros_like(mean)  # the decoders differ; only their mean counts
    apart[:, 0], apart[:, 1] = 0.05, -0.05
    valid = torch.tensor([[[True, True], [True, False]]])
    for step in (0, 50, 100):
        found = method._certain(mean + apart, mean - apart, valid, Clock(step, 100))
        assert found[0, 1, 1] == IGNORE, "padding has no pseudo-label"
        if step in certain_at:
            assert (found[valid] == 1).all()
        else:
            assert (found[valid] == IGNORE).all()


def test_the_threshold_follows_the_number_of_classes_or_the_published_constant() -> None:
    assert ugpcl().threshold(Clock(0, 100)) == pytest.approx((0.75 + 0.25 * math.exp(-5)) * math.log(4))
    published = ugpcl(largest_entropy=math.log(2))
    assert published.threshold(Clock(1001, 10000)) == pytest.approx(0.523, abs=5e-4)
    assert published.threshold(Clock(5000, 10000)) == pytest.approx(0.570, abs=5e-4)
    assert published.threshold(Clock(10000, 10000)) == pytest.approx(0.693, abs=5e-4)
    early = ugpcl(threshold_ramp=0.5, threshold_start=0.5)
    assert early.threshold(Clock(50, 100)) == pytest.approx(math.log(4))


def test_pseudo_takes_every_prediction_of_the_cnn_decoder() -> None:
    method, p_c = ugpcl(contrastive="pseudo"), torch.rand(2, 4, 3, 3).softmax(1)
    valid = torch.ones(2, 3, 3, dtype=torch.bool)
    assert torch.equal(method._certain(p_c, p_c.flip(1), valid, Clock(0, 100)), p_c.argmax(1))


# ---- memory


def means_of(method: UGPCL, results: list[StepResult]) -> list[deque[Tensor]]:
    kept: list[deque[Tensor]] = [deque(maxlen=3) for _ in range(4)]
    for result in results:
        for vector, kind in zip(result.memory["vectors"], result.memory["labels"].tolist(), strict=True):
            if kind != IGNORE:
                kept[kind].append(vector)
    return kept


def holds(method: UGPCL, kept: list[deque[Tensor]]) -> bool:
    queue = method.contrast.queue
    return all(
        torch.equal(queue.rows(kind), torch.stack(list(own)) if own else torch.empty(0, 8))
        for kind, own in enumerate(kept)
    )


@pytest.mark.parametrize("memory", ["means", "anchors"])
def test_the_memory_is_a_deque_of_each_class_through_steps_wrapping_and_resuming(memory: str) -> None:
    method = ugpcl(memory=memory)
    results = trained(method, 3)
    kept = means_of(method, results)
    assert all(len(own) == 3 for own in kept[:3]), "it has wrapped around"
    assert holds(method, kept)
    resumed = ugpcl(memory=memory)
    resumed.load_state_dict(method.state_dict())
    results += trained(resumed, 1, first=7)
    assert holds(resumed, means_of(resumed, results))


def test_what_is_remembered_is_the_mean_of_a_class_over_its_certain_pixels() -> None:
    method, batch = ugpcl(TASKS[2], contrastive="supervised"), make_batch(TASKS[2])
    result = look(method, batch)
    maps = method.network.encode(batch.labeled.images)
    embeddings = method.contrast.embed(maps[1]).flatten(2).transpose(1, 2)
    labels = coarse_labels(batch.labeled.labels, maps[1].shape[2:]).flatten(1)
    vectors, kinds = class_means(embeddings, labels, 4)
    assert torch.equal(result.memory["labels"], kinds)
    assert torch.allclose(result.memory["vectors"], vectors, atol=1e-5)


def test_an_empty_memory_costs_nothing_and_a_filled_one_something() -> None:
    method = ugpcl()
    assert figures(look(method, make_batch(SQUARE)))["contrastive"] == 0.0
    trained(method)
    assert figures(look(method, make_batch(SQUARE)))["contrastive"] > 0.0


def test_places_that_were_never_written_are_no_samples() -> None:
    small, large = ugpcl(memory_size=20), ugpcl(memory_size=400)
    losses = [values([trained(method, 3)]) for method in (small, large)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_no_gradient_reaches_memory_pseudo_labels_or_decoders_through_the_contrast() -> None:
    method = ugpcl()
    trained(method, 2)
    result = look(method, make_batch(SQUARE))
    loss = result.losses["contrastive"]
    assert not any(tensor.requires_grad for tensor in result.memory.values())
    assert not method.contrast.queue.vectors.requires_grad
    assert not reaches(loss, method.network.decoder)
    assert not reaches(loss, method.transformer)
    assert reaches(loss, method.network.encoder)
    assert reaches(loss, method.contrast)


@pytest.mark.parametrize("options", [{}, {"memory": "anchors"}, {"rotations": "all"}])
def test_a_training_with_a_full_memory_resumes_bit_for_bit(options: dict[str, Any]) -> None:
    batches = [make_batch(SQUARE, seed) for seed in range(5)]
    running, fresh = (Engine(ugpcl(network={"dropout": (0.2,)}, **options)) for _ in range(2))
    running.train(*batches[:3])
    fresh.load(running.state())
    assert values(fresh.train(*batches[3:])) == values(running.train(*batches[3:]))
    for one, two in zip(running.method.state_dict().values(), fresh.method.state_dict().values(), strict=True):
        assert torch.equal(one, two)


# ---- turns


def pictures(method: UGPCL) -> Tensor:
    batch = make_batch(method.task)
    return torch.cat([batch.labeled.images, batch.unlabeled])


@pytest.mark.parametrize("task", [SQUARE, CUBE, FLAT])
def test_the_turn_to_be_told_is_that_of_the_image_and_its_labels(task: Task) -> None:
    method, drawn = ugpcl(task), set()
    told_, seen = told(method), Seen(method.network)
    for seed in range(4):
        batch = make_batch(task, labeled=4, unlabeled=4)
        result = look(method, batch, seed=seed)
        turns, images = told_[-1][1].tolist(), torch.cat([batch.labeled.images, batch.unlabeled])
        for k, before, after in zip(turns, images, seen.images[-1], strict=True):
            assert torch.equal(after, torch.rot90(before, k, (-2, -1)))
        assert result.aligned is not None
        for k, before, after in zip(turns[:4], batch.labeled.labels, result.aligned.labels, strict=True):
            assert torch.equal(after, torch.rot90(before, k, (-2, -1)))
        drawn |= set(turns)
    assert drawn == {0, 1, 2, 3}


@pytest.mark.parametrize("task", [SQUARE, TASKS[2], TASKS[3]])
def test_all_four_turns_of_every_image_are_told_at_once(task: Task) -> None:
    method = ugpcl(task, rotations="all")
    seen, given = told(method), []
    encode = method.network.encode
    method.network.encode = lambda images: (given.append(images), encode(images))[1]
    look(method, make_batch(task))
    copies, turns = given[0], seen[0][1]
    assert turns.tolist() == [k for k in range(4) for _ in range(4)]
    side = min(task.patch[-2:]) // 4 * 4
    for k in range(4):
        for image, copy in zip(pictures(method), copies[4 * k : 4 * k + 4], strict=True):
            y, x = ((size - side) // 2 for size in image.shape[-2:])
            assert torch.equal(copy, torch.rot90(image[..., y : y + side, x : x + side], k, (-2, -1)))
    assert torch.equal(seen[0][0], encode(copies)[-1])


def test_in_space_there_are_24_turns_to_tell() -> None:
    method = ugpcl(CUBE, orientations="all", rotations="all")
    seen = told(method)
    look(method, make_batch(CUBE))
    assert seen[0][1].unique().tolist() == list(range(24))
    assert method.turning.head[1].out_features == 24


def test_turns_in_another_plane_are_turns_in_that_plane() -> None:
    method = ugpcl(CUBE, plane=(0, 2))
    seen, shown = told(method), Seen(method.network)
    look(method, make_batch(CUBE))
    for k, before, after in zip(seen[0][1].tolist(), pictures(method), shown.images[0], strict=True):
        assert torch.equal(after, torch.rot90(before, k, (1, 3)))


def test_turns_teach_the_encoder_alone() -> None:
    method = ugpcl()
    loss = look(method, make_batch(SQUARE)).losses["equivariant"]
    assert reaches(loss, method.network.encoder)
    assert not reaches(loss, method.network.decoder, method.transformer)


# ---- the transformer decoder in training


def test_the_position_encodings_move_and_are_saved() -> None:
    method = ugpcl()
    before = [position.detach().clone() for position in method.transformer.positions]
    trained(method)
    assert all(not torch.equal(a, b) for a, b in zip(before, method.transformer.positions, strict=True))
    names = {f"transformer.positions.{level}" for level in range(3)}
    assert names <= set(method.state_dict())


# ---- ablations


@pytest.mark.parametrize(
    ("options", "losses"),
    [
        ({}, {"supervised", "consistency", "contrastive", "equivariant"}),
        ({"contrastive": "none"}, {"supervised", "consistency", "equivariant"}),
        ({"consistency": 0.0}, {"supervised", "contrastive", "equivariant"}),
        ({"equivariance": 0.0}, {"supervised", "consistency", "contrastive"}),
        ({"contrastive": "none", "consistency": 0.0, "equivariance": 0.0}, {"supervised"}),
    ],
)
def test_each_part_can_be_left_out_with_all_that_belongs_to_it(options: dict[str, Any], losses: set[str]) -> None:
    method = ugpcl(**options)
    assert set(trained(method)[0].losses) == losses
    assert (method.contrast is not None) == ("contrastive" in losses)
    assert (method.turning is not None) == ("equivariant" in losses)


def test_supervised_contrast_sees_labeled_images_alone_and_the_others_both() -> None:
    task = TASKS[2]
    one, two = make_batch(task, 0), make_batch(task, 0)._replace(unlabeled=make_batch(task, 5).unlabeled)
    for contrastive in ("supervised", "pseudo", "uncertainty"):
        method = ugpcl(task, contrastive=contrastive)
        memories = [look(method, batch).memory for batch in (one, two)]
        same = torch.equal(memories[0]["vectors"], memories[1]["vectors"])
        assert same == (contrastive == "supervised")
        assert len(memories[0]["labels"]) == (2 if contrastive == "supervised" else 4) * 4


@pytest.mark.parametrize(("ndim", "depth"), [(2, 4), (3, 3)])
@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_any_of_the_four_coarsest_maps_can_be_contrasted(ndim: int, depth: int, level: int) -> None:
    task = Task(ndim, 1, 4, ((32, 32), (16, 16, 16))[ndim - 2])
    method = ugpcl(task, {"depth": depth, "features": 2}, feature_level=level)
    seen = []
    method.contrast.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    trained(method)
    stride = 2 ** (depth - 4 + level)
    assert seen[0].shape[1:] == (2 * stride, *(size // stride for size in task.patch))


def test_contrast_begins_when_it_is_told_to() -> None:
    method = ugpcl(contrast_start=0.95)
    early, late = look(method, make_batch(SQUARE), step=94), look(method, make_batch(SQUARE), step=95)
    assert "contrastive" not in early.losses
    assert not early.memory
    assert "contrastive" in late.losses


def test_without_the_background_it_has_neither_anchor_nor_memory() -> None:
    method = ugpcl(background=False, memory="anchors")
    trained(method, 2)
    assert method.contrast.queue.filled[0] == 0
    assert (method.contrast.queue.filled[1:] > 0).any()


def test_the_published_codes_form_draws_one_anchor_of_each_class_and_image() -> None:
    method = ugpcl(anchors=1, anchor_choice="easy", borrow=False, memory="anchors", contrastive="supervised")
    kinds = look(method, make_batch(SQUARE)).memory["labels"].reshape(2, 4)
    for row in kinds.tolist():
        own = [kind for kind in row if kind != IGNORE]
        assert len(own) == len(set(own))


# ---- prediction and refusals


@pytest.mark.parametrize("task", [TASKS[2], TASKS[3]])
def test_prediction_is_by_the_cnn_decoder_with_the_entropy_of_the_mean(task: Task) -> None:
    method, images = ugpcl(task).eval(), make_batch(task).unlabeled
    with torch.no_grad():
        found = method.predict(images)
        p_c = method.network(images).logits.softmax(1)
        p_t = method.transformer(method.network.encode(images), task.patch)[1].softmax(1)
    assert torch.equal(found.additive["probabilities"], p_c)
    assert torch.equal(found.members["transformer"], p_t)
    mean = (p_c + p_t) / 2
    assert torch.allclose(found.additive["uncertainty"], -(mean * mean.log()).sum(1, keepdim=True), atol=1e-5)


def test_pixel_features_are_the_contrasted_embeddings() -> None:
    method, images = ugpcl().eval(), make_batch(SQUARE).unlabeled
    assert method.embed(images).shape == (2, 8, 16, 16)
    assert ugpcl(contrastive="none").eval().embed(images).shape == (2, 4, 16, 16)


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        (Task(2, 1, 2, (16, 16)), {"background": False}, "nothing to be contrasted with"),
        (SQUARE, {"plane": (0, 0)}, "two different axes"),
        (SQUARE, {"plane": (0, 2)}, "two different axes"),
        (SQUARE, {"turned": "batch", "rotations": "all"}, "turns each image once"),
        (TASKS[2], {"turned": "batch"}, "equal sides of the patch 32x24"),
    ],
)
def test_what_cannot_work_is_refused_before_training(task: Task, options: dict[str, Any], said: str) -> None:
    (problem,) = UGPCL.check(make_setting(task), UGPCLOptions(**options))
    assert said in problem
    assert UGPCL.check(make_setting(task), UGPCLOptions(**options, contrastive="none", equivariance=0.0)) == []


def test_a_map_that_the_network_lacks_is_refused() -> None:
    with pytest.raises(PaucisError, match="choose 1 to 3"):
        ugpcl(feature_level=4)
