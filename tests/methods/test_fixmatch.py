from __future__ import annotations

import pytest
import torch

from engine import PLAIN, TASKS, Engine, Seen, make, make_batch, step


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_strong_view_learns_the_labels_of_the_weak_one(ndim: int) -> None:
    method, batch = make("fixmatch", ndim, network=PLAIN, threshold=0.45), make_batch(TASKS[ndim])
    seen = Seen(method.network)
    result = step(method, batch)
    assert seen.training == [False, True]
    assert torch.equal(seen.images[0], batch.unlabeled)
    strong = seen.images[1][2:]
    assert not torch.allclose(strong, batch.unlabeled)
    weak = method.network(batch.unlabeled).logits.softmax(1).max(1)
    sure = (weak.values >= 0.45) & batch.valid
    assert 0 < int(sure.sum()) < int(batch.valid.sum())
    logits = method.network(strong).logits
    ce = torch.nn.functional.cross_entropy(logits, weak.indices, reduction="none")[sure].sum() / batch.valid.sum()
    assert float(result.losses["pseudo"].detach()) == pytest.approx(float(ce.detach()), rel=1e-3)
    assert float(result.monitors["sure"]) == pytest.approx(float(sure.sum() / batch.valid.sum()))


def test_the_threshold_leaves_unsure_voxels_out_and_does_not_call_them_background() -> None:
    batch = make_batch(TASKS[2])
    losses = {
        threshold: float(step(make("fixmatch", 2, network=PLAIN, threshold=threshold), batch).losses["pseudo"].detach())
        for threshold in (0.0, 0.45, 1.0)
    }
    assert losses[1.0] == 0.0
    assert losses[0.0] > losses[0.45] > 0.0


def test_where_nothing_is_sure_unlabeled_images_teach_nothing() -> None:
    method = make("fixmatch", 2, network=PLAIN, threshold=1.0)
    result = step(method, make_batch(TASKS[2]))
    result.losses["pseudo"].backward()
    assert all(float(parameter.grad.abs().max()) == 0.0 for parameter in method.parameters())


def test_without_the_strong_view_the_network_is_held_to_its_own_image() -> None:
    method, batch = make("fixmatch", 2, network=PLAIN, jitter=0.0, blur=0.0), make_batch(TASKS[2])
    seen = Seen(method.network)
    step(method, batch)
    assert torch.equal(seen.images[1][2:], batch.unlabeled)


def test_labels_are_made_without_moving_normalization_statistics() -> None:
    method, batch = make("fixmatch", 2), make_batch(TASKS[2])
    Engine(method).train(batch)
    counts = [value for name, value in method.state_dict().items() if name.endswith("num_batches_tracked")]
    assert counts
    assert all(int(count) == 1 for count in counts)
