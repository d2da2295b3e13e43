"""A report opened and clicked in headless Chromium: slider, toggles, keys, cases and runs; on a screen and a phone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.cli.chromium import Page, browse, find, install

pytest.importorskip("websockets", reason="websockets is not installed: no way to talk to Chromium")

THERE = find() is not None
FULLEST = """(pictures => pictures.indexOf(pictures.reduce((a, b) => a.length < b.length ? b : a)))
(JSON.parse(document.getElementById('pictures').textContent).cases[0].layers.reference)"""


def look(page: Page) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(page.pixels("#stage"))) as picture:
        return np.asarray(picture.convert("RGB"))


def differ(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether more than rounding changed: an enlarged picture painted again may differ by one grey value."""
    return one.shape != other.shape or bool((np.abs(one.astype(int) - other) > 2).any())


def text(page: Page, name: str) -> str:
    return str(page.value(f"document.getElementById('{name}').textContent"))


def clicked(program: str, report: Path) -> None:
    """Opens a report of two runs in 3D and uses everything that its gallery has."""
    with browse(program) as page:
        page.size(1200, 900)
        page.open(report)
        assert page.value("document.querySelectorAll('main > section').length") == 8
        begin, place = look(page), text(page, "place")
        assert begin.std() > 10
        assert len(np.unique(begin.reshape(-1, 3), axis=0)) > 100

        page.value("document.getElementById('slice').focus()")
        page.key("Home")
        first = text(page, "place")
        page.key("ArrowRight")
        assert text(page, "place") != first
        page.key("End")
        last = look(page)
        assert len({place, first, text(page, "place")}) > 1
        page.key("Home")
        assert differ(look(page), last)
        for _ in range(page.value(FULLEST)):  # to a slice in which the reference is seen
            page.key("ArrowRight")

        for name, layer in (("mask", "mask"), ("reference", "reference"), ("doubt", "doubt")):
            before, hidden = look(page), f"document.getElementById('layer-{layer}').hidden"
            was = page.value(hidden)
            page.click(f"#show-{name}")
            assert page.value(hidden) is not was
            after = look(page)
            page.key(name[0] if name != "doubt" else "u")
            assert page.value(hidden) is was
            assert not differ(look(page), before)
            if name != "mask":  # so short a training may leave a slice without a mask
                assert differ(after, before)

        words = text(page, "words")
        page.click("#next")
        assert page.value("document.getElementById('case').value") == "1"
        assert text(page, "words") != words
        page.click("#previous")
        assert text(page, "words") == words
        source = page.value("document.getElementById('layer-mask').src")
        page.value("(r => { r.value = '1'; r.dispatchEvent(new Event('change')); })(document.getElementById('run'))")
        assert text(page, "words") != words
        assert page.value("document.getElementById('layer-mask').src") != source

        dark = [{"name": "prefers-color-scheme", "value": "dark"}]
        paper = "getComputedStyle(document.body).backgroundColor"
        light = page.value(paper)
        page.call("Emulation.setEmulatedMedia", features=dark)
        assert page.value(paper) != light

        page.size(390, 844)
        assert page.value("document.documentElement.scrollWidth") <= 390
        assert 300 < page.value("document.getElementById('stage').getBoundingClientRect().width") <= 390
        assert differ(look(page), begin)
        assert page.faults == []
        assert [url for url in page.asked if not url.startswith(("data:", report.as_uri()))] == []


@pytest.mark.skipif(
    not THERE, reason="no Chromium here: `apt-get install chromium`, or `make heavy`, which installs it"
)
def test_a_report_is_leafed_through_in_chromium(report_of_two: tuple[Path, dict[str, object]]) -> None:
    program = find()
    assert program is not None
    clicked(program, report_of_two[0])


@pytest.mark.heavy
@pytest.mark.timeout(1200)
@pytest.mark.skipif(THERE, reason="Chromium is here already: the quick test uses it")
def test_a_report_is_leafed_through_in_a_chromium_that_is_installed_first(
    report_of_two: tuple[Path, dict[str, object]],
) -> None:
    if reason := install():
        pytest.skip(reason)
    program = find()
    assert program is not None
    clicked(program, report_of_two[0])
