from __future__ import annotations

import pytest
import torch
from torch import Tensor

from paucis.batch import IGNORE
from paucis.methods.parts.pixel_anchors import class_means, coarse_labels, draw_anchors

# 0: plenty, 1: two pixels, 2: none, 3: one pixel; the rest is uncertain
ROW = [0] * 10 + [1] * 2 + [3] + [IGNORE] * 7
LABELS = torch.tensor([ROW, [IGNORE] * 20, [2] * 20])


def drawn(labels: Tensor, each: int, **options: object) -> list[list[tuple[int, int]]]:
    index, kinds = draw_anchors(labels, 4, each, **options)  # type: ignore[arg-type]
    assert index.shape == kinds.shape == (len(labels), min(4 * each, labels.shape[1]))
    return [
        [(pixel, kind) for pixel, kind in zip(i, k, strict=True) if kind != IGNORE]
        for i, k in zip(index.tolist(), kinds.tolist(), strict=True)
    ]


def counts(found: list[tuple[int, int]]) -> list[int]:
    return [sum(kind == c for _, kind in found) for c in range(4)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("each", [1, 2, 3, 5])
@pytest.mark.parametrize("borrow", [False, True])
def test_each_class_gives_its_share_and_others_lend_what_is_short(seed: int, each: int, borrow: bool) -> None:
    torch.manual_seed(seed)
    found = drawn(LABELS, each, borrow=borrow)
    for row, labels in zip(found, LABELS, strict=True):
        assert len({pixel for pixel, _ in row}) == len(row), "a pixel is drawn twice"
        assert all(int(labels[pixel]) == kind for pixel, kind in row)
    own = [min(each, size) for size in (10, 2, 0, 1)]
    if borrow:
        assert all(got >= least for got, least in zip(counts(found[0]), own, strict=True))
        assert len(found[0]) == min(4 * each, 13)
        assert len(found[2]) == min(4 * each, 20)
    else:
        assert counts(found[0]) == own
        assert len(found[2]) == min(each, 20)
    assert found[1] == []


def test_every_pixel_of_a_class_is_drawn_now_and_then() -> None:
    torch.manual_seed(0)
    seen = {pixel for _ in range(200) for pixel, kind in drawn(LABELS, 1, borrow=False)[0] if kind == 0}
    assert seen == set(range(10))


def test_pixels_that_come_last_are_drawn_only_where_others_are_short() -> None:
    last = torch.ones_like(LABELS, dtype=torch.bool)
    last[0, [3, 4]] = False
    last[0, 11] = False
    for seed in range(20):
        torch.manual_seed(seed)
        one, three = drawn(LABELS, 1, borrow=False, last=last)[0], drawn(LABELS, 3, borrow=False, last=last)[0]
        assert {pixel for pixel, kind in one if kind == 0} <= {3, 4}
        assert {pixel for pixel, kind in one if kind == 1} == {11}
        assert {3, 4} < {pixel for pixel, kind in three if kind == 0}
        assert counts(three) == [3, 2, 0, 1]


def test_the_mean_of_each_class_has_length_one_and_missing_classes_are_ignored() -> None:
    embeddings = torch.randn(3, 20, 5)
    vectors, kinds = class_means(embeddings, LABELS, 4)
    assert kinds.tolist() == [0, 1, IGNORE, 3, *[IGNORE] * 4, *[IGNORE] * 2, 2, IGNORE]
    expected = embeddings[0, 10:12].mean(0)
    assert torch.allclose(vectors[1], expected / expected.norm(), atol=1e-6)
    assert torch.allclose(vectors[3], embeddings[0, 12] / embeddings[0, 12].norm(), atol=1e-6)
    assert torch.isfinite(vectors).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_coarse_labels_are_those_of_each_cells_first_voxel(ndim: int) -> None:
    labels = torch.randint(256, (2, *[8] * ndim))
    every_fourth = (slice(None), *[slice(None, None, 4)] * ndim)
    assert torch.equal(coarse_labels(labels, [2] * ndim), labels[every_fourth])
