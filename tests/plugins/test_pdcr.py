from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from paucis.batch import IGNORE, Task
from paucis.errors import PaucisError
from paucis.losses import patch_affinity, patch_dragsaw
from paucis.methods.base import METHODS, Aligned, Clock
from paucis.networks import make
from paucis.plugins import class_ratios, vector_grid
from paucis.plugins.pdcr import PDCR, PdcrOptions, covers

CLOCK = Clock(0, 10)
TASKS = {2: Task(2, 1, 3, (48, 32)), 3: Task(3, 1, 3, (16, 24, 16))}
LAYERS = ("encoder.0", "encoder.1")


def supervised(ndim: int) -> Any:
    torch.manual_seed(0)
    kind = METHODS.get("supervised")
    return kind(lambda: make("unet", TASKS[ndim], {"features": 4, "depth": 2}), TASKS[ndim], kind.Options())


def plugged(ndim: int, **options: Any) -> tuple[PDCR, Aligned]:
    """The plug-in on a small U-Net, and features with labels that have borders, three classes and unknown voxels."""
    method, task = supervised(ndim), TASKS[ndim]
    plugin = PDCR(task, PdcrOptions(**{"layers": LAYERS, "vectors": (20, 12), **options}))
    plugin.attach(method)
    labels = torch.zeros(2, *task.patch, dtype=torch.long)
    labels[:, 4:12, 4:20] = 1
    labels[1, 8:, 10:] = 2
    labels[:, :2] = IGNORE
    images = torch.randn(2, 1, *task.patch, generator=torch.Generator().manual_seed(1))
    return plugin, Aligned(method.network(images), labels)


def assembled(plugin: PDCR, aligned: Aligned, temperature: float) -> Tensor:
    """The loss from its public parts, vector by vector."""
    losses = []
    for number, count in ((0, 20), (1, 12)):
        feature, field = aligned.features.encoder[number], plugin.fields[f"encoder.{number}"]
        grid = vector_grid(feature.shape[2:], count, field)
        ratios = class_ratios(aligned.labels, grid.centers, field.size, 3)
        places = torch.unravel_index(grid.places, feature.shape[2:])
        vectors = torch.stack([feature[(slice(None), slice(None), *place)] for place in zip(*places, strict=True)], 1)
        losses.append(patch_dragsaw(vectors, patch_affinity(ratios), temperature, ratios.sum(2) > 0))
    return sum(losses) / len(losses)  # type: ignore[return-value]


@pytest.mark.parametrize(("ndim", "weight", "temperature"), [(2, 0.1, 1.0), (3, 0.01, 0.5)])
def test_the_loss_is_the_mean_over_layers_of_what_its_parts_give_with_the_published_weights(
    ndim: int, weight: float, temperature: float
) -> None:
    plugin, aligned = plugged(ndim)
    loss = plugin.loss(aligned, CLOCK)["dragsaw"]
    assert torch.allclose(loss, weight * assembled(plugin, aligned, temperature), atol=1e-6)


def test_weight_and_temperature_can_be_set() -> None:
    plugin, aligned = plugged(2, weight=2.0, temperature=0.3)
    assert torch.allclose(plugin.loss(aligned, CLOCK)["dragsaw"], 2 * assembled(plugin, aligned, 0.3), atol=1e-5)


def test_gradients_reach_the_encoder_down_to_the_layer_and_nothing_after_it() -> None:
    method, task = supervised(2), TASKS[2]
    plugin = PDCR(task, PdcrOptions(layers=("encoder.1",)))
    plugin.attach(method)
    aligned = Aligned(method.network(torch.randn(2, 1, *task.patch)), torch.randint(0, 3, (2, *task.patch)))
    plugin.loss(aligned, CLOCK)["dragsaw"].backward()
    levels = {name.split(".")[0] for name, p in method.network.encoder.named_parameters() if p.grad is not None}
    assert levels == {"0", "1"}
    assert all(p.grad is None for p in method.network.decoder.parameters())


def test_vectors_are_paired_with_the_labels_under_them_and_not_transposed_ones() -> None:
    """A network whose features are the class shares themselves: the affinity it deserves is known."""
    plugin, aligned = plugged(2)
    field = plugin.fields["encoder.1"]
    every = vector_grid((24, 16), 24 * 16, field)
    shares = class_ratios(aligned.labels, every.centers, field.size, 3).transpose(1, 2).reshape(2, 3, 24, 16)
    right = aligned.features._replace(encoder=(aligned.features.encoder[0], shares + 1e-3))
    turned = shares.flip(2).flip(3)
    wrong = aligned.features._replace(encoder=(aligned.features.encoder[0], turned + 1e-3))
    good, bad = (float(plugin.loss(Aligned(f, aligned.labels), CLOCK)["dragsaw"].detach()) for f in (right, wrong))
    assert good < bad


def test_ignored_voxels_do_not_matter() -> None:
    plugin, aligned = plugged(2)
    before = plugin.loss(aligned, CLOCK)["dragsaw"]
    hidden = aligned.labels.clone()
    hidden[0] = IGNORE
    only = Aligned(aligned.features, hidden)
    alone = aligned.features._replace(encoder=tuple(feature[1:] for feature in aligned.features.encoder))
    assert not torch.allclose(before, plugin.loss(only, CLOCK)["dragsaw"])
    second = plugin.loss(Aligned(alone, aligned.labels[1:]), CLOCK)["dragsaw"]
    assert torch.allclose(plugin.loss(only, CLOCK)["dragsaw"], second, atol=1e-6)


def test_unlabeled_images_alone_give_zero_with_a_gradient() -> None:
    plugin, aligned = plugged(3)
    loss = plugin.loss(Aligned(aligned.features, torch.full_like(aligned.labels, IGNORE)), CLOCK)["dragsaw"]
    assert float(loss.detach()) == 0
    loss.backward()


@pytest.mark.parametrize("kind", ["constant", "diagonal", "bipartite"])
def test_each_comparison_has_the_affinity_of_the_paper(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Tensor] = []

    def spy(vectors: Tensor, affinity: Tensor, temperature: float, valid: Tensor) -> Tensor:
        used.append(torch.where(valid[:, :, None] & valid[:, None, :], affinity, torch.nan))
        return vectors.sum() * 0

    plugin, aligned = plugged(2, affinity=kind, layers=("encoder.1",), vectors=(64,))
    monkeypatch.setattr("paucis.plugins.pdcr.patch_dragsaw", spy)
    plugin.loss(aligned, CLOCK)
    (found,) = used
    count = found.shape[1]
    grid = vector_grid((24, 16), 64, plugin.fields["encoder.1"])
    middle = aligned.labels[:, grid.centers[:, 0].long(), grid.centers[:, 1].long()]
    expected = {
        "constant": torch.full_like(found, 0.5),
        "diagonal": torch.eye(count).expand(2, -1, -1),
        "bipartite": (middle[:, :, None] == middle[:, None, :]).float(),
    }[kind]
    known = ~found.isnan()
    assert known.any()
    assert torch.equal(found[known], expected[known])
    assert (kind != "bipartite") or not known[:, middle[0] == IGNORE].any()


def test_layers_whose_field_covers_the_patch_and_layers_that_are_none_are_refused_in_one_line() -> None:
    network = supervised(2)
    small = Task(2, 1, 3, (16, 16))
    plugin = PDCR(small, PdcrOptions(layers=("encoder.1", "encoder.2")))
    with pytest.raises(PaucisError, match=r"'encoder.2', 23x23 voxels, covers the whole patch of 16x16"):
        plugin.attach(network)
    for layers, message in (
        (("decoder.0",), "'decoder.0' is no encoder site"),
        (("encoder.9",), "'encoder.9' is no encoder site .*encoder.0, encoder.1, encoder.2"),
    ):
        with pytest.raises(PaucisError, match=message):
            PDCR(TASKS[2], PdcrOptions(layers=layers)).attach(network)
    with pytest.raises(PaucisError, match="names no layer"):
        PDCR(TASKS[2], PdcrOptions(layers=()))
    with pytest.raises(PaucisError, match="2 numbers for 3 layers"):
        PDCR(TASKS[2], PdcrOptions(vectors=(3, 4)))


def test_a_field_that_is_smaller_along_one_axis_does_not_cover() -> None:
    plugin, _ = plugged(2)
    field = plugin.fields["encoder.1"]
    assert covers(field, (11, 11))
    assert not covers(field, (12, 11))


def test_it_has_no_parameters_and_leaves_the_network_alone() -> None:
    plugin, _ = plugged(2)
    assert not list(plugin.parameters())
    method = supervised(2)
    before = list(method.state_dict())
    PDCR(TASKS[2], PdcrOptions(layers=LAYERS)).attach(method)
    assert list(method.state_dict()) == before
