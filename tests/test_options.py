from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from paucis.errors import PaucisError
from paucis.options import build, describe, option, parse_overrides


@dataclass(frozen=True)
class Options:
    count: int = option(3, "how many", minimum=1)
    share: float = option(0.5, "how much", maximum=1.0)
    on: bool = option(True, "whether")
    sizes: tuple[int, ...] = option((1, 2), "which")
    pair: tuple[float, float] = option((0.9, 0.99), "two")
    kind: Literal["a", "b"] = option("a", "what")
    maybe: int | None = option(None, "perhaps")


def test_text_is_read_as_the_fields_type() -> None:
    values = {
        "count": "7",
        "share": "1e-2",
        "on": "no",
        "sizes": "4,5,6",
        "pair": "0.5, 0.6",
        "kind": "b",
        "maybe": "2",
    }
    assert build(Options, values) == Options(7, 0.01, False, (4, 5, 6), (0.5, 0.6), "b", 2)


def test_none_is_read_where_it_is_allowed() -> None:
    assert build(Options, {"maybe": "none"}).maybe is None
    with pytest.raises(PaucisError, match="count='none' is not a whole number"):
        build(Options, {"count": "none"})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cuont": "1"}, "did you mean 'count'"),
        ({"count": "0"}, "at least 1"),
        ({"share": "1.5"}, "at most 1"),
        ({"share": "nan"}, "not a number"),
        ({"on": "perhaps"}, "true or false"),
        ({"kind": "c"}, "must be one of a, b"),
        ({"pair": "1"}, "pair='1'"),
    ],
)
def test_wrong_values_are_refused_with_the_key(values: dict[str, str], said: str) -> None:
    with pytest.raises(PaucisError, match=said):
        build(Options, values)


def test_every_option_is_described() -> None:
    assert [item.name for item in describe(Options)] == ["count", "share", "on", "sizes", "pair", "kind", "maybe"]
    assert all(item.meaning for item in describe(Options))


def test_overrides_need_an_equals_sign_and_come_once() -> None:
    assert parse_overrides(["a.b=1=2", "c="]) == {"a.b": "1=2", "c": ""}
    with pytest.raises(PaucisError, match="key=value"):
        parse_overrides(["a"])
    with pytest.raises(PaucisError, match="twice"):
        parse_overrides(["a=1", "a=2"])
