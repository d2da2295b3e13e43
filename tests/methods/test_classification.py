"""Classification: labels of images by their name, both losses, what it trains and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine import TASKS, Engine, builder, make_setting
from paucis.batch import Batch
from paucis.errors import PaucisError
from paucis.methods.base import Clock, Phase
from paucis.methods.classification import Classification, ClassificationOptions

SINGLE = "image,class\ncase_0,a\ncase_1,b\ncase_2.png,c\ncase_3,a\n"
SEVERAL = "image,x,y\ncase_0,0,1\ncase_1,1,1\ncase_2,0,0\ncase_3,1,0\n"
PHASE = Phase("main", [])


def method(text: str, folder: Path) -> Classification:
    (folder / "labels.csv").write_text(text)
    torch.manual_seed(0)
    options = ClassificationOptions(labels=str(folder / "labels.csv"))
    return Classification(builder(TASKS[2], dropout=(0.0,)), TASKS[2], options)


def batch(names: tuple[str, ...], labeled: int = 0) -> Batch:
    images = torch.randn(4, 1, 32, 24, generator=torch.Generator().manual_seed(0))
    order = [int(name[-1]) for name in names[labeled:]]
    return Batch(unlabeled=images[order], cases=names)


def test_each_image_has_the_class_of_its_name_in_the_table(tmp_path: Path) -> None:
    one, seen = method(SINGLE, tmp_path), batch(("other", "case_2", "case_0", "case_2"), 1)
    one.eval()  # batch statistics would couple the images
    logits = one.encoded(seen.unlabeled).detach()
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([2, 0, 2]))
    result = one.step(seen, Clock(0, 1), PHASE)
    assert torch.allclose(result.losses["classification"], expected, rtol=1e-5)
    assert float(result.monitors["accuracy"]) == pytest.approx(
        float((logits.argmax(1).cpu() == torch.tensor([2, 0, 2])).float().mean())
    )


def test_several_columns_do_not_exclude_each_other(tmp_path: Path) -> None:
    one, seen = method(SEVERAL, tmp_path), batch(("case_0", "case_1"))
    one.eval()
    logits = one.encoded(seen.unlabeled).detach()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
    assert torch.allclose(one.step(seen, Clock(0, 1), PHASE).losses["classification"], expected, rtol=1e-5)


@pytest.mark.parametrize("text", [SINGLE, SEVERAL])
def test_classes_are_learnt_by_the_encoder_alone(text: str, tmp_path: Path) -> None:
    one, seen = method(text, tmp_path), batch(("case_0", "case_1", "case_2", "case_3"))
    before = {key: value.clone() for key, value in one.networks()[0].named_parameters()}
    engine = Engine(one)
    engine.optimizers = [torch.optim.Adam([p for p in one.parameters() if p.requires_grad], 3e-3)]
    results = engine.train(*[seen] * 40)
    assert float(results[-1][0].monitors["accuracy"]) == 1.0
    moved = {key for key, value in one.networks()[0].named_parameters() if not torch.equal(value, before[key])}
    assert moved
    assert all(key.startswith("encoder") for key in moved)


def test_without_a_table_and_with_a_poor_one_it_is_refused_before(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(SINGLE)
    options = ClassificationOptions(labels=str(tmp_path / "labels.csv"))

    def said(options: ClassificationOptions, *cases: str) -> list[str]:
        setting: Any = make_setting(TASKS[2], cases=cases)
        return Classification.check(setting, options)

    assert said(options, "case_0", "case_1") == []
    assert "no row for 1 of 2 images, such as 'case_9'" in said(options, "case_1", "case_9")[0]
    assert "all 2 images are of one class" in said(options, "case_0", "case_3")[0]
    assert "method.labels=FILE.csv" in said(ClassificationOptions(), "case_0")[0]
    with pytest.raises(PaucisError, match=r"method\.labels=FILE\.csv"):
        Classification(builder(TASKS[2]), TASKS[2], ClassificationOptions())
