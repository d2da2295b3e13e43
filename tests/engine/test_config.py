from __future__ import annotations

import json

import pytest

from paucis.engine.config import from_dict, resolve
from paucis.errors import PaucisError


def test_dotted_text_becomes_typed_options() -> None:
    config = resolve(
        "d",
        {"train.steps": "3e2", "network": "vnet", "seed": "1", "method": "mean_teacher", "method.consistency": "0.2"},
    )
    assert config.train.steps == 300
    assert config.network == "vnet"
    assert config.seed == 1
    assert config.method_options["consistency"] == 0.2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"trian.steps": "3"}, "did you mean 'train.steps'"),
        ({"train.stesp": "3"}, "did you mean 'train.steps'"),
        ({"train.steps": "many"}, "train.steps='many' is not a whole number"),
        ({"train.steps": "1.5"}, "not a whole number"),
        ({"train.steps": "0"}, "at least 1"),
        ({"train.precision": "bf61"}, "must be one of auto, 32, bf16, 16"),
        ({"method": "mean_techer"}, "did you mean 'mean_teacher'"),
        ({"network": "vnett"}, "did you mean 'vnet'"),
        ({"method.consistency": "1"}, "unknown option 'method.consistency'"),
        ({"plug.pdcr.layers": "1"}, "carry it by --plug"),
        ({"seed": "one"}, "seed='one' is not a whole number"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(values: dict[str, str], said: str) -> None:
    with pytest.raises(PaucisError, match=said.replace("(", r"\(")) as caught:
        resolve("d", values)
    assert "\n" not in str(caught.value)


def test_a_configuration_survives_its_file() -> None:
    config = resolve("d", {"train.steps": "7", "data.size": "64,48", "method": "mean_teacher"})
    written = json.dumps(config.as_dict())
    assert json.dumps(from_dict(json.loads(written)).as_dict()) == written
