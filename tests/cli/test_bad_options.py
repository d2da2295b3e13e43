"""Options, names and places that do not exist: one line with the key, what is allowed and the nearest name."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Refused = Callable[..., str]

TRAIN = ("train", "{data}", "--out", "{out}", "device=cpu", "data.workers=0", "train.workers=0", "train.steps=1")


@pytest.fixture
def places(phantoms: Path, tmp_path: Path) -> dict[str, Path]:
    """What the arguments of the tests below name in braces."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("x")
    (tmp_path / "file.txt").write_text("x")
    return {"data": phantoms, "out": tmp_path / "out", "here": tmp_path}


def said_of(refused: Refused, places: dict[str, Path], arguments: tuple[str, ...], said: tuple[str, ...]) -> None:
    line = refused(*(argument.format(**places) for argument in arguments))
    assert all(part in line for part in said), line
    assert not places["out"].exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("trian", "{data}"), ("'trian'", "'train'", "--help")),
        (("train", "{data}"), ("--out", "--help")),
        (("train", "{data}", "--out", "{out}", "--lables", "3"), ("--lables", "--labels", "--help")),
        (("train", "--out", "{out}"), ("which dataset", "paucis train DATASET")),
        (("train", "{here}/nowhere", "--out", "{out}"), ("nowhere", "check the path")),
        (("train", "{here}/empty", "--out", "{out}"), ("empty folder", "put scans into it")),
        (("train", "{here}/texts", "--out", "{out}"), ("texts", "holds no scans", "manifest.csv")),
        (("train", "{here}/file.txt", "--out", "{out}"), ("file.txt", "name its folder")),
        (("check", "{here}/nowhere"), ("nowhere", "check the path")),
        (("check", "{here}/empty", "--json"), ("empty folder", "put scans into it")),
        (("check", "{data}", "data.grop=1"), ("'data.grop'", "'data.group'")),
        (("check", "{data}", "data.group=("), ("data.group", "not a regular expression")),
        (("check", "{data}", "data.group=zzz"), ("data.group", "phantom_000", "widen")),
        (("phantom", "{here}/made", "--cases", "0"), ("--cases", "--help")),
        (("phantom", "{here}/made", "--cases", "2", "--labeled", "5"), ("--labeled 5", "--cases 2")),
        (("phantom", "{data}"), ("not empty", "another folder")),
        (("phantom", "{here}/file.txt/made"), ("file.txt", "check the folder")),
        (("methods", "--jsno"), ("--jsno", "--json")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_commands_and_places_that_are_not(
    arguments: tuple[str, ...], said: tuple[str, ...], places: dict[str, Path], refused: Refused
) -> None:
    said_of(refused, places, arguments, said)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--method mean_techer", ("'mean_techer'", "did you mean 'mean_teacher'", "paucis methods")),
        ("--method zzzz", ("unknown method 'zzzz'", "paucis methods")),
        ("network=unett", ("'unett'", "did you mean 'unet'", "paucis networks")),
        ("--plug pdcrr", ("'pdcrr'", "'pdcr'", "paucis plugins")),
        ("--recipe hippocampus-9", ("'hippocampus-9'", "'hippocampus-8'", "paucis recipes")),
        ("--recipe {here}/none.yaml", ("none.yaml", "no such")),
        ("train.stps=3", ("'train.stps'", "did you mean 'train.steps'")),
        ("trian.log_every=3", ("'trian.log_every'", "did you mean 'train.log_every'")),
        ("log_every=3", ("'log_every'", "did you mean")),
        ("train.log_every", ("'train.log_every'", "key=value")),
        ("train.steps=2", ("'train.steps'", "given twice", "keep one")),
        ("train.log_every=many", ("train.log_every='many'", "a whole number")),
        ("train.log_every=2.5", ("train.log_every='2.5'", "a whole number")),
        ("train.log_every=1e400", ("train.log_every='1e400'", "a whole number")),
        ("train.batch_size=0", ("train.batch_size=0", "at least 1")),
        ("optimizer.rate=inf", ("optimizer.rate='inf'", "a number")),
        ("optimizer.kind=sdg", ("optimizer.kind='sdg'", "did you mean 'sgd'")),
        ("augment.off=maybe", ("augment.off='maybe'", "true or false")),
        ("method.consistancy=1 method=mean_teacher", ("'method.consistancy'", "did you mean 'method.consistency'")),
        ("network.filtres=1 network=vnet", ("'network.filtres'", "did you mean 'network.filters'")),
        ("data.patch=8,8", ("data.patch=8,8", "3 entries")),
        ("data.validation=1.5", ("data.validation=1.5", "at most")),
        ("data.folds=5 data.fold=7", ("data.fold=7", "0 to 4")),
        ("data.folds=50", ("data.folds=50", "between 2 and 5")),
        ("--labels 500", ("--labels=500", "at most 5")),
        ("--labels 0", ("no labeled case", "--labels=0", "ask for more")),
        ("--labels 0%", ("--labels=0%", "above 0%")),
        ("--labels 101%", ("--labels=101%", "at most 100%")),
        ("--labels some", ("--labels=some", "10%", "a file that exists")),
        ("data.split={here}/none.json", ("none.json", "no such file", "name a split file")),
        ("data.split={here}/empty", ("empty/split.json", "no such file", "name a split file")),
        ("data.cache={here}/file.txt", ("file.txt", "data.cache=FOLDER")),
        ("device=cuda:7", ("cuda:7", "not there")),
        ("device=tpu", ("'tpu'", "cuda:N")),
        ("train.precision=16", ("train.precision=16", "use bf16 or 32")),
        ("--init {here}/none", ("none", "no such file")),
        ("--init {here}/empty", ("empty", "not a run folder")),
        ("network.weights={here}/none.pt", ("network.weights", "none.pt", "no such file")),
        ("network.weights={here}/file.txt", ("network.weights", "file.txt", "safetensors")),
    ],
)
def test_options_that_do_not_fit(given: str, said: tuple[str, ...], places: dict[str, Path], refused: Refused) -> None:
    words = tuple(given.split())
    names = {word.partition("=")[0] for word in words} - {"train.steps"}
    kept = tuple(word for word in TRAIN if word.partition("=")[0] not in names)
    small = () if "filtres" in given or "unett" in given else ("network.features=4",)
    said_of(refused, places, (*kept, *small, *words), said)


@pytest.mark.parametrize(
    ("name", "text", "given", "said"),
    [
        ("r.yaml", b"a: [", "--recipe", ("recipe 'r'", "not YAML")),
        ("r.yaml", b"\xff\xfe", "--recipe", ("r.yaml", "not UTF-8")),
        ("r.yaml", b"- 1", "--recipe", ("recipe 'r'", "'options'")),
        ("r.yaml", b"optoins: {}", "--recipe", ("'optoins'", "did you mean 'options'")),
        ("r.yaml", b"plugs: 3", "--recipe", ("'plugs'", "a list")),
        ("r.yaml", b"options: {train.stps: 3}", "--recipe", ("'train.stps'", "did you mean 'train.steps'")),
        ("names.txt", b"phantom_000\nphantom_0\n", "--labels", ("names.txt", "'phantom_0'", "did you mean")),
        ("names.txt", b"\n", "--labels", ("names.txt", "one case name per line")),
        ("names.txt", b"phantom_007\n", "--labels", ("names.txt", "'phantom_007' has no label", "take it off")),
        ("s.json", b"{", "data.split", ("s.json", "not JSON", "mend")),
        ("s.json", b'{"train": 5}', "data.split", ("s.json", "'train'", "list of case names")),
        ("s.json", b'{"train": ["x"], "val": []}', "data.split", ("s.json", "'x' is not a case")),
        ("s.json", b'{"train": ["phantom_000"], "val": ["phantom_000"]}', "data.split", ("listed twice", "keep one")),
    ],
)
def test_files_that_options_name(
    name: str, text: bytes, given: str, said: tuple[str, ...], places: dict[str, Path], refused: Refused
) -> None:
    path = places["here"] / name
    path.write_bytes(text)
    words = (given, str(path)) if given.startswith("--") else (f"{given}={path}",)
    said_of(refused, places, (*TRAIN, *words), said)


def test_nothing_of_a_file_of_weights_is_executed(places: dict[str, Path], refused: Refused) -> None:
    made = places["here"] / "made"

    class Harm:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.mkdir, (made,)

    path = places["here"] / "weights.pt"
    path.write_bytes(pickle.dumps(Harm(), protocol=4))
    said_of(refused, places, (*TRAIN, f"network.weights={path}"), ("weights.pt", "plain tensors", "safetensors"))
    assert not made.exists()


def test_a_folder_that_holds_something_else_is_not_written_to(
    places: dict[str, Path], refused: Refused, tmp_path: Path
) -> None:
    for out, remedy in (("texts", "choose another --out"), ("file.txt", "choose another --out"), ("file.txt/x", "x")):
        before = sorted(path for path in tmp_path.rglob("*"))
        line = refused(*(word.format(**{**places, "out": tmp_path / out}) for word in TRAIN))
        assert out in line
        assert remedy in line
        assert sorted(path for path in tmp_path.rglob("*")) == before


def test_no_label_at_all_is_refused(places: dict[str, Path], refused: Refused, tmp_path: Path) -> None:
    shutil.copytree(places["data"] / "imagesTr", tmp_path / "scans")
    line = refused(*(word.format(**{**places, "data": tmp_path / "scans"}) for word in TRAIN))
    assert "no case has a label" in line
    assert "add masks" in line
