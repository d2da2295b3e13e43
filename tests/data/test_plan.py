from __future__ import annotations

import dataclasses
import json
import math

import pytest
from making_cases import dataset_of, imagined, planned

from paucis.data.facts import gather
from paucis.data.layouts import recognize
from paucis.data.options import DataOptions
from paucis.data.patching import plan_strides
from paucis.data.plan import Plan, make_plan
from paucis.data.planfile import load_plan, read_plan
from paucis.errors import PaucisError

HIPPOCAMPUS = [imagined(f"h{i}", shape) for i, shape in enumerate([(36, 50, 35), (34, 52, 37), (40, 48, 33)])]
ACDC = [imagined(f"a{i}", (9, 216, 256), spacing=(10.0, 1.5, 1.5)) for i in range(3)]
LESIONS = [imagined(f"l{i}", (1, 300, 400), dims=2, physical=False, channels=3) for i in range(3)]
XRAYS = [imagined(f"x{i}", (1, 256, 256), dims=2, physical=False) for i in range(3)]


def test_the_hippocampus_is_planned_whole_in_3d():
    plan = planned(HIPPOCAMPUS, budget=64**3)
    assert plan.ndim == 3
    assert plan.spacing == (1.0, 1.0, 1.0)
    assert plan.median_shape == (36, 50, 35)
    assert plan.patch == (40, 56, 40)
    assert plan.strides == ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    assert plan.batch_size == 3


def test_stacks_of_thick_slices_are_planned_as_slices():
    plan = planned(ACDC)
    assert plan.ndim == 2
    assert plan.slice_axis == 0
    assert plan.spacing == (1.5, 1.5)
    assert plan.median_shape == (9, 216, 256)
    assert plan.patch == (224, 256)
    assert 4 <= plan.batch_size <= 12


def test_many_thick_slices_and_forced_dimensions_are_planned_as_asked():
    long = [imagined("c", (200, 512, 512), spacing=(3.0, 0.8, 0.8))]
    assert planned(long).ndim == 3
    assert planned(long, dims="2").ndim == 2
    assert planned(ACDC, dims="3").ndim == 3
    with pytest.raises(PaucisError, match=r"data\.dims=3"):
        planned(XRAYS, dims="3")


def test_slices_of_a_sagittal_stack_lie_along_its_own_axis():
    sagittal = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)  # stored x runs to posterior, y to inferior, z to left
    plan = planned([imagined("s", (20, 256, 320), spacing=(5.0, 0.6, 0.7), direction=sagittal)])
    assert plan.ndim == 2
    assert plan.slice_axis == 2
    assert plan.spacing == (0.6, 0.7)
    assert plan.median_shape == (20, 256, 320)


def test_the_median_counts_unlabeled_cases_too():
    facts = [imagined(f"c{i}", (50, 50, 50), spacing=(mm,) * 3) for i, mm in enumerate((1.0, 2.0, 2.0))]
    assert planned(facts).spacing == (2.0, 2.0, 2.0)
    assert planned(facts[:1]).spacing == (1.0, 1.0, 1.0)


def test_color_pictures_get_one_size_and_the_datasets_statistics():
    plan = planned(LESIONS)
    assert plan.ndim == 2
    assert plan.spacing is None
    assert plan.size == plan.patch == (288, 384)
    assert [channel.kind for channel in plan.normalization] == ["dataset"] * 3
    assert plan.normalization[0].mean == 10.0
    assert plan.normalization[0].std == 2.0
    assert plan.flips == (0, 1)


def test_large_pictures_are_brought_to_512_with_their_aspect():
    plan = planned([imagined("f", (1, 2000, 3000), dims=2, physical=False, channels=3)])
    assert max(plan.size) == 512
    assert all(side % 32 == 0 for side in plan.size)
    assert abs(plan.size[0] / plan.size[1] - 2 / 3) < 0.05
    assert planned(LESIONS, size=(128, 160)).size == (128, 160)
    assert planned(LESIONS, size=(96,)).size == (96, 96)


def test_ct_is_clipped_and_scaled_by_its_structures():
    inside = {"mean": 60.0, "std": 30.0, "min": -90.0, "max": 300.0, "p005": -20.0, "p500": 60.0, "p995": 150.0}
    facts = [imagined("c", (60, 60, 60), foreground=inside, min=-1024.0, p005=-1000.0)]
    for channels in (("CT",), ("image",)):
        (scaling,) = planned(facts, channels=channels).normalization
        assert scaling.kind == "ct"
        assert (scaling.low, scaling.high, scaling.mean, scaling.std) == (-20.0, 150.0, 60.0, 30.0)
    assert planned(facts, channels=("MRI",)).normalization[0].kind == "zscore"
    assert planned(facts, channels=("CT",), normalization="unit").normalization[0].kind == "unit"


def test_statistics_of_hidden_labels_do_not_enter_the_plan():
    inside = {"mean": 60.0, "std": 30.0, "min": -90.0, "max": 300.0, "p005": -20.0, "p500": 60.0, "p995": 150.0}
    facts = [imagined("c", (60, 60, 60), foreground=inside, mean=-400.0)]
    assert planned(facts, channels=("CT",), labeled=False).normalization[0].mean == -400.0


@pytest.mark.parametrize(
    ("facts", "classes", "flips"),
    [
        (HIPPOCAMPUS, ("background", "tumor"), (0, 1, 2)),
        (HIPPOCAMPUS, ("background", "left_kidney", "right_kidney"), (0, 1)),
        (HIPPOCAMPUS, ("background", "Anterior", "Posterior"), (0, 2)),
        (HIPPOCAMPUS, ("background", "kidney L", "kidney R"), (0, 1)),
        (ACDC, ("background", "RV", "MYO", "LV"), (0, 1)),
        (ACDC, ("background", "LeftLung"), (0,)),
        (XRAYS, ("background", "lungs"), (1,)),
        (XRAYS, ("background", "left lung", "right lung", "heart"), ()),
        (XRAYS, ("background", "class_1", "class_2", "class_3"), ()),
        (LESIONS, ("background", "lesion"), (0, 1)),
    ],
)
def test_images_are_not_mirrored_where_class_names_are_sides(facts, classes, flips):
    assert planned(facts, classes=classes).flips == flips
    assert planned(facts, classes=classes, flips="all").flips == tuple(range(2 if facts is not HIPPOCAMPUS else 3))
    assert planned(facts, classes=classes, flips="none").flips == ()


def test_sides_in_a_file_without_directions_forbid_every_mirror():
    facts = [imagined("h", (80, 90, 100), physical=False)]
    assert planned(facts, classes=("background", "left atrium")).flips == ()
    assert planned(facts, classes=("background", "atrium")).flips == (0, 1, 2)


def test_large_volumes_get_a_patch_within_the_budget():
    facts = [imagined("b", (300, 500, 400))]
    for budget in (64**3, 96**3):
        plan = planned(facts, budget=budget)
        assert 0.6 * budget < math.prod(plan.patch) < 1.3 * budget
        assert plan.patch[0] < plan.patch[2] <= plan.patch[1]
        assert all(size % step == 0 for size, step in zip(plan.patch, plan.multiple, strict=True))
        assert plan.batch_size == 2


def test_coarse_axes_are_halved_only_once_the_others_are_as_coarse():
    assert plan_strides((64, 128, 128), (4.0, 1.0, 1.0)) == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))
    assert plan_strides((12, 64, 64), (1.0, 1.0, 1.0)) == ((1, 1, 1), (2, 2, 2), (1, 2, 2), (1, 2, 2), (1, 2, 2))
    assert plan_strides((7, 7), (1.0, 1.0)) == ((1, 1),)


def test_an_asked_patch_is_taken_as_it_is():
    plan = planned(HIPPOCAMPUS, patch=(32, 48, 32))
    assert plan.patch == (32, 48, 32)
    assert all(size % step == 0 for size, step in zip(plan.patch, plan.multiple, strict=True))
    with pytest.raises(PaucisError, match="32,48,32"):
        planned(HIPPOCAMPUS, patch=(33, 48, 32))
    with pytest.raises(PaucisError, match="3 entries"):
        planned(HIPPOCAMPUS, patch=(32, 48))


def test_options_that_the_cases_do_not_allow_are_refused():
    with pytest.raises(PaucisError, match=r"data\.size is for 2D"):
        planned(HIPPOCAMPUS, size=(64, 64))
    with pytest.raises(PaucisError, match="none does"):
        planned(XRAYS, spacing=(1.0, 1.0))
    with pytest.raises(PaucisError, match="2 entries"):
        planned(ACDC, spacing=(10.0, 1.5, 1.5))
    with pytest.raises(PaucisError, match="exclude each other"):
        planned(ACDC, spacing=(1.5, 1.5), size=(256, 256))
    assert planned(ACDC, spacing=(1.25, 1.25)).spacing == (1.25, 1.25)
    assert planned(ACDC, size=(256, 256)).patch == (256, 256)


@pytest.mark.parametrize("facts", [HIPPOCAMPUS, ACDC, LESIONS, XRAYS])
def test_a_plan_survives_its_json(facts, tmp_path):
    plan = planned(facts)
    plan.save(tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan
    assert len((tmp_path / "plan.json").read_text().splitlines()) == len(dataclasses.fields(Plan)) + 2


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        ("patch", [41, 56, 40], r"multiple of \[8, 8, 8\]"),
        ("patch", [40, 56], "patch needs 3 entries"),
        ("patch", "big", "patch"),
        ("spacing", [1.0, 1.0], "spacing needs 3 entries"),
        ("spacing", None, "one of spacing and size"),
        ("size", [64, 64], "one of spacing and size"),
        ("flips", [3], "flips must be axes below 3"),
        ("batch_size", 0, "batch_size must be at least 1"),
        ("batch_size", 1.5, "batch_size=1.5 is not a whole number"),
        ("values", [0], "values needs one"),
        ("strides", [[2, 2, 2]], "finest level"),
        ("strides", [], "finest level"),
        ("orientation", "RAS", "orientation='RAS'"),
        ("slice_axis", 1, "slice_axis"),
        ("normalization", [{"kind": "zscor"}], "did you mean 'zscore'"),
        ("normalization", [{"kind": "ct"}], "ct needs mean"),
        ("normalization", [], "one entry per channel"),
        ("ndim", 4, "ndim=4"),
        ("pacth", [1], "unknown entry 'pacth'; did you mean 'patch'"),
    ],
)
def test_an_edited_plan_that_cannot_be_is_refused_in_one_line(entry, value, words):
    content = json.loads(planned(HIPPOCAMPUS).to_json())
    with pytest.raises(PaucisError, match=words) as caught:
        read_plan(json.dumps({**content, entry: value}), "plan.json")
    assert str(caught.value).startswith("plan.json: ")
    assert "\n" not in str(caught.value)


def test_a_broken_or_missing_plan_file_is_refused(tmp_path):
    content = json.loads(planned(HIPPOCAMPUS).to_json())
    del content["patch"]
    with pytest.raises(PaucisError, match="'patch' is missing"):
        read_plan(json.dumps(content))
    for text in ("{", "[1]"):
        with pytest.raises(PaucisError):
            read_plan(text)
    with pytest.raises(PaucisError, match="cannot be read"):
        load_plan(tmp_path / "none.json")


def test_only_what_changes_the_numbers_changes_the_key():
    plan = planned(HIPPOCAMPUS)
    other = dataclasses.replace(plan, batch_size=9, patch=(8, 8, 8), flips=())
    assert (other.image_key(), other.label_key()) == (plan.image_key(), plan.label_key())
    coarser = dataclasses.replace(plan, spacing=(2.0, 2.0, 2.0))
    assert coarser.image_key() != plan.image_key()
    assert coarser.label_key() != plan.label_key()
    scaled = planned(HIPPOCAMPUS, normalization="unit")
    assert scaled.image_key() != plan.image_key()
    assert scaled.label_key() == plan.label_key()


def test_the_task_tells_what_a_network_may_know():
    task = planned(ACDC, classes=("background", "RV", "MYO", "LV")).task()
    assert (task.ndim, task.channels, task.classes) == (2, 1, 4)
    assert task.patch == (224, 256)
    assert task.spacing == (1.5, 1.5)
    assert task.flips == (0, 1)
    assert planned(XRAYS).task().spacing == (1.0, 1.0)


def test_nothing_to_plan_from_is_refused():
    with pytest.raises(PaucisError, match="no training case"):
        make_plan(dataset_of([]), {}, DataOptions())


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "ndim", "patch", "spacing"),
    [("hippocampus", 3, (40, 56, 40), (1.0, 1.0, 1.0)), ("acdc", 2, (224, 256), (1.5, 1.5))],
)
def test_real_scans_are_planned_as_the_literature_uses_them(real_data, tmp_path, name, ndim, patch, spacing):
    dataset = recognize(real_data / name)
    dataset = dataclasses.replace(dataset, cases=tuple(case.unlabeled() for case in dataset.cases[:60]))
    facts, problems = gather(dataset.cases, tmp_path)
    plan = make_plan(dataset, facts, DataOptions(), 64**3)
    assert not problems
    assert (plan.ndim, plan.patch, plan.spacing) == (ndim, patch, spacing)
    assert plan.orientation == "LPS"
