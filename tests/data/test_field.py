from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paucis.batch import IGNORE
from paucis.data.cache import Cache
from paucis.data.case import Case, Geometry, Volume
from paucis.data.facts import gather
from paucis.data.field import bright, field_reader, prepare_field, with_fields
from paucis.data.layouts import recognize, with_classes
from paucis.data.options import DataOptions
from paucis.data.plan import make_plan
from paucis.data.sampling import BatchStream
from paucis.errors import PaucisError


def disc(size: int = 32, radius: float = 12.0) -> np.ndarray[Any, Any]:
    return np.hypot(*np.mgrid[-size / 2 : size / 2, -size / 2 : size / 2] + 0.5) < radius


def pictures(root: Path, count: int = 2) -> Path:
    """Color pictures that are bright within a disc, with masks of it and of a square in it."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks", "fields"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        image = rng.integers(0, 20, (32, 32, 3))
        image[disc()] = rng.integers(0, 20, (disc().sum(), 3)) + np.array([60, 0, 0])
        square = np.zeros((32, 32), np.uint8)
        square[12:20, 12:20] = 255
        Image.fromarray(image.astype(np.uint8)).save(root / "images" / f"c{number}.png")
        Image.fromarray(square).save(root / "masks" / f"c{number}.png")
        Image.fromarray(255 * disc(radius=9).astype(np.uint8)).save(root / "fields" / f"c{number}_mask.png")
    return root


def test_a_voxel_lies_in_the_field_where_any_channel_exceeds_20_of_255() -> None:
    image = np.zeros((3, 1, 2, 2), np.uint8)
    image[0, 0, 0, 0], image[2, 0, 1, 1], image[1, 0, 0, 1] = 21, 255, 20
    assert bright(image)[0].tolist() == [[True, False], [False, True]]
    deep = (image.astype(np.float32) * 257).astype(np.uint16)
    assert np.array_equal(bright(deep), bright(image)), "of other types, that share of the largest intensity"
    for wrong, said in ((np.zeros((1, 1, 2, 2), np.uint8), "dark everywhere"), (image - 1.0, "below 0")):
        with pytest.raises(PaucisError, match=said):
            bright(wrong)


@pytest.mark.parametrize("asked", ["auto", "FOLDER"])
def test_crops_are_valid_and_labeled_within_the_field_alone(asked: str, tmp_path: Path) -> None:
    root = pictures(tmp_path / "set")
    asked = asked.replace("FOLDER", str(root / "fields"))
    options = DataOptions(field=asked, patch=(40, 40))
    dataset = with_fields(recognize(root), options.field)
    facts, _ = gather(dataset.cases, tmp_path / "cache")
    dataset = with_classes(dataset, facts.values())
    plan = make_plan(dataset, facts, options)
    assert plan.field == ("auto" if asked == "auto" else "masks")
    cases = Cache(tmp_path / "cache", plan).ensure(dataset.cases, facts)
    radius = 12 if asked == "auto" else 9
    assert np.array_equal(cases[0].field[0] > 0, disc(radius=radius))
    batch = BatchStream(plan.task(), cases[:1], cases[1:], batch_size=1, unlabeled_batch_size=1)[0]
    inside = np.pad(disc(radius=radius), 4)
    assert np.array_equal(batch.valid[0].numpy(), inside)
    labels = batch.labeled.labels[0].numpy()
    assert np.array_equal(labels != IGNORE, inside)
    assert (labels == 1).sum() == 64


def test_the_cache_keeps_fields_of_different_kinds_apart(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set")
    found = set()
    for asked in (None, "none", "auto", str(root / "fields")):
        dataset = with_fields(recognize(root), asked)
        facts, _ = gather(dataset.cases, tmp_path / "cache")
        dataset = with_classes(dataset, facts.values())
        case = Cache(tmp_path / "cache", make_plan(dataset, facts, DataOptions(field=asked))).open(
            dataset.cases[0], facts["c0"]
        )
        found.add(case.field_path)
    assert len(found) == 3
    assert None in found


def test_on_a_coarser_grid_a_voxel_belongs_where_half_of_it_does(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", 1)
    dataset = recognize(root)
    facts, _ = gather(dataset.cases, tmp_path / "cache")
    plan = make_plan(with_classes(dataset, facts.values()), facts, DataOptions(size=(16, 16)))
    half = np.zeros((1, 32, 32), bool)
    half[:, :, :16] = True
    prepared = prepare_field(half, plan.trace(facts["c0"].geometry, (1, 32, 32)))
    assert prepared.shape == (1, 16, 16)
    assert prepared[0].sum(0).tolist() == [16] * 8 + [0] * 8


def test_prediction_takes_the_runs_kind_unless_another_is_asked_for(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", 1)
    case = Case("c0", (root / "images" / "c0.png",))
    volume = Volume(np.array(Image.open(case.images[0])).transpose(2, 0, 1)[:, None], Geometry(dims=2))

    def field(asked: str | None, planned: str) -> Any:
        return field_reader(asked, planned, [case])(case, volume)

    assert field(None, "none") is None
    assert field("none", "auto") is None
    assert np.array_equal(field(None, "auto")[0], disc())
    assert np.array_equal(field(str(root / "fields"), "none")[0], disc(radius=9))
    for asked, planned, said in (
        (None, "masks", "predict.field=FOLDER"),
        (str(tmp_path / "none"), "auto", "no such folder"),
        (str(root), "auto", "holds no mask of the field of view of 'c0'"),
    ):
        with pytest.raises(PaucisError, match=said):
            field(asked, planned)


@pytest.mark.parametrize(("shape", "said"), [((8, 8), "has 1 x 8 x 8 voxels"), ((32, 32), "is empty")])
def test_a_field_of_another_size_or_without_a_voxel_is_refused(
    shape: tuple[int, int], said: str, tmp_path: Path
) -> None:
    root = pictures(tmp_path / "set", 1)
    Image.fromarray(np.zeros(shape, np.uint8)).save(root / "fields" / "c0_mask.png")
    dataset = with_fields(recognize(root), str(root / "fields"))
    facts, _ = gather(dataset.cases, tmp_path / "cache")
    dataset = with_classes(dataset, facts.values())
    plan = make_plan(dataset, facts, DataOptions(field=str(root / "fields")))
    with pytest.raises(PaucisError, match=said):
        Cache(tmp_path / "cache", plan).ensure(dataset.cases, facts)
