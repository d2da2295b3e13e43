from __future__ import annotations

import dataclasses
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from making_cases import dataset_of, facts_of, scan

from paucis.batch import IGNORE
from paucis.data.cache import Cache
from paucis.data.options import DataOptions
from paucis.data.plan import make_plan
from paucis.data.sampling import BatchStream, loader


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Four labeled and three unlabeled cases of different shapes, some smaller than the patch."""
    folder = tmp_path_factory.mktemp("scans")
    shapes = [(12, 14, 16), (20, 24, 28), (26, 30, 20), (16, 16, 40), (12, 30, 30), (24, 24, 24), (30, 10, 16)]
    return [scan(folder, f"c{i}", shape, seed=i, label=i < 4) for i, shape in enumerate(shapes)]


def cached(scans, home, **options):
    facts = facts_of(scans)
    plan = make_plan(dataset_of(scans), facts, DataOptions(**options))
    ready = Cache(home, plan).ensure(scans, facts)
    return plan.task(), ready[:4], ready[4:]


@pytest.fixture(scope="module")
def volumes(scans, tmp_path_factory):
    return cached(scans, tmp_path_factory.mktemp("cache"), patch=(16, 16, 24), dims="3")


@pytest.fixture(scope="module")
def slices(scans, tmp_path_factory):
    return cached(scans, tmp_path_factory.mktemp("cache"), patch=(16, 24), dims="2")


def stream_of(material, **options):
    task, labeled, unlabeled = material
    return BatchStream(task, labeled, unlabeled, **{"batch_size": 2, "unlabeled_batch_size": 3, **options})


def same(one, other):
    flat = [], []
    for batch, tensors in zip((one, other), flat, strict=True):
        batch.map(lambda tensor, tensors=tensors: tensors.append(tensor) or tensor)
    assert one.cases == other.cases
    assert len(flat[0]) == len(flat[1]) > 0
    return all(torch.equal(a, b) for a, b in zip(*flat, strict=True))


@pytest.mark.parametrize("dims", ["volumes", "slices"])
def test_a_batch_has_the_shapes_and_types_of_the_contract(dims, request):
    material = request.getfixturevalue(dims)
    batch = stream_of(material)[0]
    patch = material[0].patch
    assert batch.labeled.images.shape == (2, 1, *patch)
    assert batch.labeled.labels.shape == (2, *patch)
    assert batch.unlabeled.shape == (3, 1, *patch)
    assert batch.valid.shape == (3, *patch)
    assert (batch.labeled.images.dtype, batch.labeled.labels.dtype) == (torch.float32, torch.int64)
    assert (batch.unlabeled.dtype, batch.valid.dtype) == (torch.float32, torch.bool)
    assert batch.labeled.weights is batch.pseudo is batch.references is None
    assert len(batch.cases) == 5
    assert set(batch.cases[2:]) <= {"c4", "c5", "c6"}


@pytest.mark.parametrize("dims", ["volumes", "slices"])
def test_a_batch_is_a_function_of_seed_and_step(dims, request):
    material = request.getfixturevalue(dims)
    first, again = stream_of(material, seed=3), stream_of(material, seed=3)
    for k in (7, 0, 3):
        assert same(first[k], again[k])
    assert not torch.equal(first[0].unlabeled, stream_of(material, seed=4)[0].unlabeled)


def test_a_resumed_loader_with_workers_draws_what_it_would_have_drawn(slices):
    stream = stream_of(slices, seed=1)
    whole = list(loader(stream, 0, 9, workers=0))
    for workers in (0, 2):
        rest = list(loader(stream, 4, 9, workers=workers))
        assert len(rest) == 5
        assert all(same(a, b) for a, b in zip(whole[4:], rest, strict=True))


@pytest.mark.parametrize("dims", ["volumes", "slices"])
def test_two_ranks_together_draw_what_one_with_twice_the_batch_would(dims, request):
    material = request.getfixturevalue(dims)
    one = stream_of(material, batch_size=4, unlabeled_batch_size=2)
    two = [stream_of(material, batch_size=2, unlabeled_batch_size=1, rank=rank, world=2) for rank in (0, 1)]
    for k in range(4):
        parts = [stream[k] for stream in two]
        assert torch.equal(one[k].labeled.images, torch.cat([part.labeled.images for part in parts]))
        assert torch.equal(one[k].unlabeled, torch.cat([part.unlabeled for part in parts]))


def test_an_epoch_visits_every_case_once(volumes):
    stream = stream_of(volumes, batch_size=2, unlabeled_batch_size=1)
    labeled = [name for k in range(6) for name in stream[k].cases[:2]]
    for epoch in range(3):
        assert sorted(labeled[4 * epoch : 4 * epoch + 4]) == ["c0", "c1", "c2", "c3"]
    unlabeled = [stream[k].cases[2] for k in range(6)]
    assert sorted(unlabeled[:3]) == sorted(unlabeled[3:]) == ["c4", "c5", "c6"]
    assert len({tuple(labeled[4 * epoch : 4 * epoch + 4]) for epoch in range(3)}) > 1


@pytest.mark.parametrize("dims", ["volumes", "slices"])
def test_every_unlabeled_image_has_one_number_in_every_epoch_and_process(dims, request):
    material = request.getfixturevalue(dims)
    total = len(stream_of(material).units[1])
    assert total == (3 if dims == "volumes" else sum(case.shape[0] for case in material[2]))
    found = {}
    for world, seed in ((1, 0), (2, 5)):
        for rank in range(world):
            stream = stream_of(material, unlabeled_batch_size=1, rank=rank, world=world, seed=seed)
            for k in range(2 * total // world):
                batch = stream[k]
                assert batch.total == total
                found.setdefault(int(batch.numbers[0]), Counter())[batch.cases[-1]] += 1
    assert sorted(found) == list(range(total))
    assert all(len(names) == 1 for names in found.values()), "a number is of one case alone"
    assert {sum(names.values()) for names in found.values()} == {4}, "each of two runs had two epochs"


def test_every_slice_of_all_cases_is_equally_likely(slices):
    stream = stream_of(slices, batch_size=1, unlabeled_batch_size=11, foreground=0.0)
    slices_of = {case.name: case.shape[0] for case in slices[2]}
    total = sum(slices_of.values())
    assert total % 11 == 0
    drawn = Counter(name for k in range(total // 11) for name in stream[k].cases[1:])
    assert drawn == slices_of


@pytest.mark.parametrize("dims", ["volumes", "slices"])
def test_crops_are_cut_from_their_case_and_padded_with_nothing(dims, request):
    task, labeled, unlabeled = request.getfixturevalue(dims)
    stream = BatchStream(task, labeled, unlabeled, batch_size=2, unlabeled_batch_size=3, foreground=0.5)
    whole = {case.name: case.image[...] for case in (*labeled, *unlabeled)}
    patch = (1, *task.patch)[-3:]
    for k in range(6):
        batch = stream[k]
        inside = torch.cat([batch.labeled.labels != IGNORE, batch.valid])
        images = torch.cat([batch.labeled.images, batch.unlabeled])
        for name, image, valid in zip(batch.cases, images.numpy(), inside.numpy(), strict=True):
            shape = whole[name].shape[1:]
            expected = np.prod([min(size, length) for size, length in zip(patch, shape, strict=True)])
            assert valid.sum() == expected
            assert not image[:, ~valid].any()
            margins = [max(size - length, 0) for size, length in zip(patch, shape, strict=True)]
            assert tuple(np.argwhere(valid.reshape(patch))[0]) == tuple(margin // 2 for margin in margins)
            corner = np.argwhere(valid.reshape(patch))[0]
            taken = tuple(min(size, length) for size, length in zip(patch, shape, strict=True))
            z, y, x = (slice(a, a + n) for a, n in zip(corner, taken, strict=True))
            crop = image.reshape(1, *patch)[0, z, y, x]
            assert found_in(crop, whole[name][0])


def found_in(crop, volume):
    windows = np.lib.stride_tricks.sliding_window_view(volume, crop.shape)
    starts = np.argwhere(windows[..., 0, 0, 0] == crop[0, 0, 0])
    return any(np.array_equal(windows[tuple(start)], crop) for start in starts)


@pytest.mark.parametrize("dims", ["volumes", "slices"])
def test_labels_lie_on_their_images(dims, request):
    task, labeled, _ = request.getfixturevalue(dims)
    stream = BatchStream(task, labeled, batch_size=2)
    whole = {case.name: (case.image[...][0], case.label[...]) for case in labeled}
    for k in range(4):
        batch = stream[k]
        for index, name in enumerate(batch.cases):
            image, label = whole[name]
            known = batch.labeled.labels[index] != IGNORE
            values, seen = batch.labeled.images[index, 0][known][::97], batch.labeled.labels[index][known][::97]
            for value, index_seen in zip(values.numpy(), seen, strict=True):
                assert set(label[image == value]) == {int(index_seen)}


@pytest.mark.parametrize("dims", ["volumes", "slices"])
def test_the_guaranteed_share_of_crops_holds_a_class(dims, request):
    task, labeled, _ = request.getfixturevalue(dims)
    small = (4,) * task.ndim
    task = dataclasses.replace(task, patch=small)

    def holds(foreground):
        stream = BatchStream(task, labeled, batch_size=4, foreground=foreground)
        labels = torch.cat([stream[k].labeled.labels for k in range(20)]).flatten(1)
        return ((labels > 0) & (labels != IGNORE)).any(1), [set(row.tolist()) for row in labels]

    surely, rows = holds(1.0)
    assert surely.all()
    assert sum(2 in row for row in rows) > 20, "the rare class is drawn as often as the large one"
    half, anywhere = holds(0.5)[0].float().mean(), holds(0.0)[0].float().mean()
    assert 0.5 <= half < 1.0
    assert anywhere < half


def test_crops_lie_anywhere_in_the_case(volumes):
    task, _, unlabeled = volumes
    stream = BatchStream(task, [], unlabeled[1:2], batch_size=0, unlabeled_batch_size=8)
    whole = unlabeled[1].image[...][0]
    first = {float(stream[k].unlabeled[i, 0, 0, 0, 0]) for k in range(12) for i in range(8)}
    starts = [np.argwhere(whole == np.float32(value))[0] for value in first]
    assert {int(start[0]) for start in starts} == set(range(24 - 16 + 1))
    assert {int(start[1]) for start in starts} == set(range(24 - 16 + 1))


def test_the_unlabeled_stream_never_opens_a_label(scans, tmp_path):
    task, labeled, _ = cached(scans, tmp_path, patch=(16, 16, 24), dims="3")
    hidden = labeled[2:]
    for case in hidden:
        case.label_path.write_bytes(b"corrupt")
        case.positions_path.unlink()
    stream = BatchStream(task, labeled[:2], hidden, batch_size=2, unlabeled_batch_size=2)
    batch = stream[0]
    assert set(batch.cases[2:]) == {"c2", "c3"}
    assert all(case.label is None for case in stream.unlabeled)


def test_streams_that_are_not_wanted_are_none(volumes):
    task, labeled, unlabeled = volumes
    alone = BatchStream(task, labeled, batch_size=2, unlabeled_batch_size=2)[0]
    assert alone.unlabeled is alone.valid is None
    pretraining = BatchStream(task, [], unlabeled, batch_size=2, unlabeled_batch_size=2)[0]
    assert pretraining.labeled is None
    assert len(pretraining.cases) == 2


def test_a_case_without_a_label_cannot_be_in_the_labeled_stream(volumes):
    task, _, unlabeled = volumes
    with pytest.raises(ValueError, match="'c4' has no label"):
        BatchStream(task, unlabeled, batch_size=2)


@pytest.mark.parametrize("dims", ["volumes", "slices"])
def test_pseudo_labels_come_with_their_image_and_confidence(dims, request):
    task, labeled, unlabeled = request.getfixturevalue(dims)
    pseudo = [
        SimpleNamespace(
            case=case,
            labels=(case.image[...][0] > 0).astype(np.uint8),
            confidence=np.abs(np.tanh(case.image[...][0])).astype(np.float16),
        )
        for case in unlabeled
    ]
    batch = BatchStream(task, labeled, batch_size=1, unlabeled_batch_size=3, pseudo=pseudo)[1]
    images, labels, weights = batch.pseudo
    known = labels != IGNORE
    assert torch.equal(known, images[:, 0] != 0)
    assert torch.equal(labels[known], (images[:, 0][known] > 0).long())
    assert torch.allclose(weights[known], images[:, 0][known].tanh().abs(), atol=1e-3)
    assert weights[~known].sum() == 0
    assert weights.dtype == torch.float32
    assert batch.unlabeled is None


def test_a_case_without_any_class_is_drawn_from_anywhere(scans, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    empty = scan(folder, "empty")
    blank = sitk.ReadImage(str(empty.label)) * 0
    sitk.WriteImage(blank, str(empty.label))
    facts = facts_of([empty])
    plan = make_plan(dataset_of([empty]), facts, DataOptions(patch=(8, 8, 8)))
    ready = Cache(tmp_path / "cache", plan).ensure([empty], facts)
    batch = BatchStream(plan.task(), ready, batch_size=2, foreground=1.0)[0]
    assert not batch.labeled.labels.any()
