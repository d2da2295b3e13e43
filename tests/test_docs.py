"""What the documentation says exists: commands, options, pages, links, floors, and the method it shows."""

from __future__ import annotations

import ast
import csv
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from paucis.engine.config import SECTIONS, resolve
from paucis.errors import PaucisError
from paucis.inference.options import PredictOptions
from paucis.methods.base import METHODS
from paucis.networks.base import NETWORKS
from paucis.options import build
from paucis.plugins.base import PLUGINS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)([^\n]*)\n(.*?)^\1```$", re.M | re.S)
SPAN = re.compile(r"`([^`\n]+)`")
KEY = re.compile(r"(?<![\w./-])(data|augment|train|optimizer|checkpoint|validation|predict|method|network)\.([a-z]\w*)")
FILES = {"train.list", "validation.csv"}
"""Names of files that look like options."""


class Command(NamedTuple):
    """A command line of ``paucis`` on a page."""

    page: str
    words: tuple[str, ...]


def fences(page: Path) -> Iterator[tuple[str, str, str]]:
    """Language, title and content of each block of code."""
    for _, language, title, content in FENCE.findall(page.read_text("utf-8")):
        yield language, title, content


def spans(page: Path) -> list[str]:
    """Code within sentences."""
    return SPAN.findall(FENCE.sub("", page.read_text("utf-8")))


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands() -> list[Command]:
    """Every whole command line, from blocks of shell code."""
    found = []
    for page in PAGES:
        for language, _, content in fences(page):
            if language not in ("sh", "console"):
                continue
            for line in content.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                place = next((i for i, word in enumerate(words) if word == "paucis"), None)
                if place is not None and "install" not in words:
                    found.append(Command(name(page), tuple(words[place + 1 :])))
    return found


def cli(command: str) -> Any:
    from typer.main import get_command

    from paucis.cli.app import app

    known = get_command(app).commands  # type: ignore[attr-defined]
    assert command in known, f"there is no command '{command}'"
    return known[command]


def check_options(
    command: str, values: dict[str, str], method: str | None, recipe: str | None, plugs: tuple[str, ...] = ()
) -> None:
    """Raises where a key does not exist or a value does not fit."""
    if command in ("predict", "suggest"):
        build(PredictOptions, {key.removeprefix("predict."): value for key, value in values.items()}, "predict.")
    elif command == "check":
        build(SECTIONS["data"], {key.removeprefix("data."): value for key, value in values.items()}, "data.")
    elif command in ("train", "pretrain", "discover", "benchmark"):
        if not any(":" in (given or "") for given in (method, values.get("network"))):  # modules that pages make up
            resolve("scans", {**values, **({"method": method} if method else {})}, plugs, recipe)
    else:
        assert not values, f"{command} takes no options by dotted name"


@pytest.mark.parametrize("line", commands(), ids=lambda line: f"{line.page}: {' '.join(line.words)[:50]}")
def test_every_command_line_parses(line: Command) -> None:
    if line.words[0].startswith("-"):
        assert line.words[0] in ("--help", "-h", "--version", "--debug")
        return
    command = cli(line.words[0])
    parsed = command.make_context(line.words[0], list(line.words[1:])).params
    folders = line.words[0] == "pretrain"  # may be several
    words = [word for word in parsed.get("overrides") or [] if "=" in word or not folders]
    values = dict(word.split("=", 1) for word in words)
    if "=" in str(parsed.get("dataset") or parsed.get("images") or ""):
        pytest.fail("no dataset before the options")
    command_name = "train" if parsed.get("training") else line.words[0]  # check --training takes what train takes
    check_options(command_name, values, parsed.get("method"), parsed.get("recipe"), tuple(parsed.get("plug") or ()))


def test_commands_and_options_within_sentences_exist() -> None:
    for page in PAGES:
        for span in spans(page):
            words = span.split()
            if words[:1] != ["paucis"] or len(words) < 2 or words[1] == "COMMAND":
                continue
            known = {option for parameter in cli(words[1]).params for option in parameter.opts} | {"--debug", "--help"}
            missing = [word for word in words[2:] if word.startswith("--") and word.split("=")[0] not in known]
            assert not missing, f"{name(page)}: {span}"


def names_of(section: str) -> set[str]:
    """Options that ``section.*`` may name, of any method or network."""
    if section in ("method", "network"):
        registry = METHODS if section == "method" else NETWORKS
        return {field.name for _, kind in registry for field in fields(kind.Options)}
    options = PredictOptions if section == "predict" else SECTIONS[section]
    return {field.name for field in fields(options)}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_option_by_dotted_name_exists(page: Path) -> None:
    own = {"weight"} if page.name in ("extending.md", "contributing.md") else set()  # of the methods shown there
    code = [*spans(page), *(content for language, _, content in fences(page) if language in ("sh", "yaml", "python"))]
    for text in code:
        for section, option in KEY.findall(text):
            module = ROOT / "src" / "paucis" / section / option
            if f"{section}.{option}" in FILES or module.is_dir() or module.with_suffix(".py").is_file():
                continue
            known = option in names_of(section) | (own if section == "method" else set())
            assert known, f"{name(page)}: there is no option {section}.{option}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_option_of_a_plugin_exists(page: Path) -> None:
    for plug, option in re.findall(r"plug\.([a-z]\w*)\.([a-z]\w*)", page.read_text("utf-8")):
        assert option in {field.name for field in fields(PLUGINS.get(plug).Options)}, f"{name(page)}: {option}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_values_given_in_sentences_fit(page: Path) -> None:
    for span in spans(page):
        for word in shlex.split(span) if "=" in span and "'" in span else span.split():
            match = re.fullmatch(KEY.pattern + r"=([^=]+)", word)
            if match is None or match[3].isupper() or match[3].endswith("..."):
                continue
            fits(match[1], match[2], match[3])


def fits(section: str, option: str, value: str) -> None:
    """Raises where no holder of the option takes the value."""
    kinds = {"method": METHODS, "network": NETWORKS}.get(section)
    holders = (
        [kind.Options for _, kind in kinds]
        if kinds
        else [PredictOptions if section == "predict" else SECTIONS[section]]
    )
    errors: list[Exception] = []
    for holder in holders:
        if option in {field.name for field in fields(holder)}:
            try:
                build(holder, {option: value}, f"{section}.")
                return
            except PaucisError as error:
                errors.append(error)
    raise errors[0]


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        text = FENCE.sub("", page.read_text("utf-8"))
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+://|mailto:", target):
                continue
            file, _, anchor = target.partition("#")
            place = (page.parent / file).resolve() if file else page
            assert place.exists(), f"{name(page)}: {target}"
            if anchor:
                heads = re.findall(r"^#+ (.+)$", FENCE.sub("", place.read_text("utf-8")), re.M)
                assert anchor in {slug(head) for head in heads}, f"{name(page)}: {target}"


def slug(head: str) -> str:
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower())


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page() -> None:
    listed = set(leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]))
    assert not [entry for entry in listed if not (DOCS / entry).is_file()]
    added = {"performance.md", "benchmark.md"}  # by the hook, where they are
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert not {page for page in pages - listed - added if not page.startswith(("methods/", "results/"))}


def leaves(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    for part in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
        yield from leaves(part)


def test_every_method_has_a_page_and_every_page_a_method() -> None:
    pages = {page.stem for page in (DOCS / "methods").glob("*.md")} - {"index"}
    assert pages == set(METHODS.names())


def test_the_readme_opens_with_the_two_commands_and_stays_under_a_page() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) < 60
    first = next(fences(ROOT / "README.md"))[2]
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make demo", "make test"]


def test_rooms_import_only_what_stands_below_them_in_the_architecture() -> None:
    table = re.findall(r"^\| `(\w+)` \|", (DOCS / "architecture.md").read_text("utf-8"), re.M)
    source = ROOT / "src" / "paucis"
    rooms = [room for room in table if (source / room).is_dir()]
    assert set(rooms) == {place.name for place in source.iterdir() if (place / "__init__.py").is_file()}
    for floor, room in enumerate(rooms):
        for file in (source / room).rglob("*.py"):
            above = {used for used in imported(file) if used in rooms[:floor]}
            assert not above, f"{file.relative_to(ROOT)} imports from {', '.join(sorted(above))}"


def imported(file: Path) -> set[str]:
    """Rooms that a module imports from."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {part.split(".")[1] for part in names if part.startswith("paucis.")}
    return found


def test_the_method_shown_trains_two_steps_and_predicts(phantoms: Path, tmp_path: Path) -> None:
    shown = next(content for _, title, content in fences(DOCS / "contributing.md") if "noise_agreement.py" in title)
    (tmp_path / "noise_agreement.py").write_text(shown)
    small = ["network.features=4", "train.batch_size=2", "train.workers=0", "data.workers=0", "data.patch=8,16,16"]
    run, environment = tmp_path / "run", {**os.environ, "PYTHONPATH": str(tmp_path)}

    def paucis(*words: object) -> None:
        line = [sys.executable, "-m", "paucis", *map(str, words)]
        done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr

    method = ["--method", "noise_agreement:NoiseAgreement", "method.weight=0.5"]
    paucis("train", phantoms, *method, "--labels", 3, "--out", run, *small, "train.steps=2", "train.log_every=1")
    with (run / "training.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 2
    assert all(float(row["agreement"]) > 0 for row in rows)
    paucis("predict", run, phantoms / "imagesTs", "--out", tmp_path / "predictions")
    assert len(list((tmp_path / "predictions").glob("*.nii.gz"))) == 2
