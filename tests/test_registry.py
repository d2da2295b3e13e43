"""Names of methods, networks and plug-ins: each is given once."""

import pytest

from paucis.errors import PaucisError
from paucis.registry import Registry


def test_a_taken_name_is_refused_in_a_line_that_names_both_modules() -> None:
    registry: Registry[object] = Registry("method", "paucis.errors")
    mine = type("Mine", (), {"__module__": "mine"})
    other = type("Other", (), {"__module__": "other"})
    registry.register("ict")(mine)
    registry.register("ict")(mine)  # a module that is loaded again
    with pytest.raises(
        PaucisError, match=r"^the method name 'ict' is taken by mine: give the one in other another name$"
    ):
        registry.register("ict")(other)
    assert registry.get("ict") is mine
