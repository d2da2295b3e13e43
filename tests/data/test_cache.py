from __future__ import annotations

import dataclasses
import errno
import pickle
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from making_cases import FLIPPED, dataset_of, facts_of, scan

from paucis.data import cache as module
from paucis.data.cache import Cache, sample_positions
from paucis.data.formats import read_image, read_label
from paucis.data.options import DataOptions, cache_home, prepare_workers
from paucis.data.plan import make_plan
from paucis.data.preparation import prepare, prepare_label
from paucis.errors import PaucisError


@pytest.fixture
def cases(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    return [
        scan(folder, "one", spacing=(1.0, 1.0, 1.0), seed=1),
        scan(folder, "two", spacing=(2.0, 1.0, 1.0), seed=2, direction=FLIPPED),
        scan(folder, "bare", spacing=(1.0, 1.5, 1.0), seed=3, label=False),
    ]


@pytest.fixture
def facts(cases):
    return facts_of(cases)


@pytest.fixture
def plan(cases, facts):
    return make_plan(dataset_of(cases), facts, DataOptions(spacing=(1.0, 1.0, 1.0)))


@pytest.fixture
def cache(tmp_path, plan):
    return Cache(tmp_path / "cache", plan)


def files(cache, pattern="*"):
    return sorted(path for path in cache.home.rglob(pattern) if path.is_file())


def test_what_is_read_back_is_what_preparation_makes(cases, facts, plan, cache):
    for case, cached in zip(cases, cache.ensure(cases, facts), strict=True):
        volume = read_image(case.images)
        image, trace = prepare(volume, plan)
        np.testing.assert_array_equal(cached.image[...], image)
        assert cached.shape == trace.prepared
        assert cached.trace == trace
        if case.label:
            label = prepare_label(read_label(case.label), plan, trace)
            np.testing.assert_array_equal(cached.label[...], label)


def test_a_case_without_a_label_has_none_to_open(cases, facts, cache):
    blind = [case.unlabeled() for case in cases]
    for cached in cache.ensure(blind, facts):
        assert cached.label is cached.positions is cached.label_path is None
    assert not files(cache, "labels/*")


def test_a_crop_is_the_slice_of_the_whole(cases, facts, cache):
    one = cache.ensure(cases[:1], facts)[0]
    image, label = one.image[...], one.label[...]
    for start, size in (((0, 0, 0), one.shape), ((3, 5, 7), (4, 6, 8)), ((11, 13, 15), (1, 1, 1))):
        z, y, x = (slice(a, a + n) for a, n in zip(start, size, strict=True))
        crop = one.crop(start, size)
        np.testing.assert_array_equal(crop.image, image[:, z, y, x])
        np.testing.assert_array_equal(crop.label, label[z, y, x])
        assert crop.image.dtype == np.float32
        assert crop.label.dtype == np.uint8


def test_positions_are_voxels_of_their_class(cases, facts, cache):
    one = cache.ensure(cases[:1], facts)[0]
    rows, label = one.positions, one.label[...]
    np.testing.assert_array_equal(label[tuple(rows[:, 1:].T)], rows[:, 0])
    assert (np.diff(rows[:, 0]) >= 0).all()
    assert [(rows[:, 0] == index).sum() for index in (1, 2)] == [(label == index).sum() for index in (1, 2)]


def test_positions_of_a_large_class_are_a_sample_of_all_of_it():
    label = np.ones((40, 40, 40), np.uint8)
    rows = sample_positions(label, 3)
    assert rows.shape == (module.SAMPLES, 4)
    assert len(np.unique(rows, axis=0)) == module.SAMPLES
    np.testing.assert_allclose(rows[:, 1:].mean(0), 19.5, atol=0.5)
    assert sample_positions(np.zeros((4, 4, 4), np.uint8), 2).shape == (0, 4)


def test_what_is_there_is_not_made_again_and_new_cases_cost_only_themselves(cases, facts, cache, monkeypatch):
    seen = []
    real = module.read_image
    monkeypatch.setattr(module, "read_image", lambda paths: seen.append(paths[0].name) or real(paths))
    cache.ensure(cases[:2], facts)
    assert seen == ["one.nii.gz", "two.nii.gz"]
    told = []
    cache.ensure(cases, facts, progress=lambda done, total: told.append((done, total)))
    assert seen[2:] == ["bare.nii.gz"]
    assert told == [(1, 1)]
    cache.ensure(cases, facts)
    assert len(seen) == 3


def test_a_label_that_comes_later_costs_only_the_label(cases, facts, cache, monkeypatch):
    cache.ensure([cases[0].unlabeled()], facts)
    monkeypatch.setattr(module, "read_image", lambda paths: pytest.fail("the image was read again"))
    assert cache.ensure(cases[:1], facts)[0].label is not None


def test_equal_content_under_another_name_is_shared(cases, facts, cache):
    cache.ensure(cases[:1], facts)
    before = files(cache)
    twin = dataclasses.replace(cases[0], name="twin")
    cached = cache.ensure([twin], {"twin": dataclasses.replace(facts["one"], name="twin")})[0]
    assert files(cache) == before
    assert cached.name == "twin"


def test_another_grid_is_another_entry_and_another_batch_size_is_not(cases, facts, plan, cache):
    cache.ensure(cases[:1], facts)
    before = files(cache)
    Cache(cache.home, dataclasses.replace(plan, batch_size=11)).ensure(cases[:1], facts)
    assert files(cache) == before
    Cache(cache.home, dataclasses.replace(plan, spacing=(2.0, 2.0, 2.0))).ensure(cases[:1], facts)
    assert len(files(cache)) == 2 * len(before)


def test_an_interrupted_write_leaves_nothing_that_looks_finished(cases, facts, cache, monkeypatch):
    def stop(part, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", stop)
        with pytest.raises(KeyboardInterrupt):
            cache.ensure(cases[:1], facts)
    assert not files(cache, "*.b2nd")
    cached = cache.ensure(cases[:1], facts)[0]
    assert cached.image[...].shape[1:] == cached.shape


def test_a_full_disk_is_one_line_that_names_the_key(cases, facts, cache, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(PaucisError, match=r"disk is full.*data\.cache=FOLDER"):
        cache.ensure(cases, facts)
    assert not files(cache, "*.b2nd")


def test_a_cache_folder_that_cannot_be_made_is_refused(cases, facts, plan, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PaucisError, match=r"data\.cache=FOLDER"):
        Cache(tmp_path / "file", plan).ensure(cases, facts)


def test_a_damaged_cache_file_says_which(cases, facts, cache):
    cached = cache.ensure(cases[:1], facts)[0]
    cached.image_path.write_bytes(b"damage")
    with pytest.raises(PaucisError, match=r"case 'one'.*delete it"):
        cached.image  # noqa: B018


def test_a_case_that_cannot_be_prepared_is_named_with_its_cause(cases, facts, cache):
    broken = dataclasses.replace(cases[0], images=(cases[0].images[0].with_name("gone.nii.gz"),))
    with pytest.raises(PaucisError, match=r"gone\.nii\.gz"):
        cache.ensure([broken], facts)
    mask = sitk.ReadImage(str(cases[1].label))
    sitk.WriteImage(mask * 40, str(cases[1].label))
    with pytest.raises(PaucisError, match=r"case 'two' \(.*two_mask.nii.gz\).*no class"):
        cache.ensure([cases[1]], facts)


def test_processes_make_the_same_files_and_name_what_fails(cases, facts, plan, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WORTH_PROCESSES", 0)
    alone, together = cache, Cache(tmp_path / "parallel", plan)
    alone.ensure(cases, facts, workers=0)
    gone = dataclasses.replace(cases[0], name="gone", images=(Path("gone.nii.gz"),))
    facts["gone"] = dataclasses.replace(facts["one"], name="gone", content="nowhere")
    told = []
    with pytest.raises(PaucisError, match=r"gone\.nii\.gz"):
        together.ensure([*cases, gone], facts, workers=2, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 4) for done in range(1, len(told) + 1)]
    assert [path.relative_to(alone.home) for path in files(alone)] == [
        path.relative_to(together.home) for path in files(together)
    ]
    assert [path.read_bytes() for path in files(alone)] == [path.read_bytes() for path in files(together)]


def test_the_estimate_bounds_what_is_written(cases, facts, cache):
    cache.ensure(cases, facts)
    arrays = sum(path.stat().st_size for path in files(cache, "*.b2nd"))
    voxels = 12 * 14 * 16 + 24 * 14 * 16 + 12 * 21 * 16
    assert cache.estimate(facts.values()) == voxels * 5
    assert arrays < voxels * 5


def test_an_open_case_travels_to_another_process(cases, facts, cache):
    cached = cache.ensure(cases[:1], facts)[0]
    whole = cached.image[...]
    again = pickle.loads(pickle.dumps(cached))
    assert again == cached
    np.testing.assert_array_equal(again.image[...], whole)


def test_the_cache_lies_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_home(DataOptions()) == tmp_path / "paucis"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_home(DataOptions()) == Path.home() / ".cache" / "paucis"
    assert cache_home(DataOptions(cache="~/mine")) == Path.home() / "mine"
    assert prepare_workers(DataOptions(workers=3)) == 3
    assert 0 <= prepare_workers(DataOptions()) <= 8
