"""Rounds of a suite: train on few labels, let a rule choose the scans to label next, train anew, and so on.

The rows of such a suite are rules::

    labels: 2
    rounds:
      add: 2
      number: 3
      rules: [foreground, random, entropy, mutual_information, core_set]
      predict: {dropout: 4}

The first run of a seed is common to all rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paucis.errors import PaucisError
from paucis.evaluation.suggestion import RULES
from paucis.inference.options import PredictOptions
from paucis.options import build
from paucis.registry import nearest

KEYS = ("add", "number", "rules", "one_per_patient", "predict")
START = "start"
"""Name of the run that all rules of a seed have in common."""


@dataclass(frozen=True)
class Rounds:
    """How labels are added.

    Attributes:
        add: scans that a rule chooses after each training.
        number: how often.
        rules: that are compared.
        one_per_patient: of no patient is more than one scan chosen in a round.
        predict: values of ``PredictOptions`` by name, for what rules look at.
    """

    add: int
    number: int
    rules: tuple[str, ...] = tuple(RULES)
    one_per_patient: bool = False
    predict: dict[str, Any] = field(default_factory=dict)

    def labels(self, start: str | None, number: int) -> str | None:
        """What the budget of a round is called: ``2``, ``2 + 2``, ``2 + 4``."""
        return start if number == 0 else f"{start} + {number * self.add}"

    def all_labels(self, start: str | None) -> list[str | None]:
        """The budgets of all rounds."""
        return [self.labels(start, number) for number in range(self.number + 1)]

    def asked(self, rule: str | None, number: int) -> tuple[str, ...]:
        """The rules that choose after a run of a round: all after the first, its own later, none after the last."""
        if number == 0:
            return self.rules
        return (str(rule),) if number < self.number else ()


def read_rounds(content: Any) -> Rounds:
    """What a suite's ``rounds`` say.

    Raises:
        PaucisError: an unknown entry or rule, a count that is none, or mutual information of a single draw.
    """
    if not isinstance(content, Mapping):
        raise PaucisError(f"'rounds' must hold lines of the form name: value ({', '.join(KEYS)})")
    for key in content:
        if key not in KEYS:
            raise PaucisError(
                f"'rounds' knows no '{key}'{nearest(str(key), list(KEYS))} (there are: {', '.join(KEYS)})"
            )
    for key in ("add", "number"):
        value = content.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise PaucisError(f"'rounds' needs a whole number from 1 as '{key}'")
    rules = content.get("rules", list(RULES))
    rules = tuple(map(str, rules)) if isinstance(rules, list) else (str(rules),)
    for rule in rules:
        if rule not in RULES:
            raise PaucisError(f"'rounds' knows no rule '{rule}'{nearest(rule, list(RULES))} ({', '.join(RULES)})")
    if not rules or len(set(rules)) != len(rules):
        raise PaucisError("'rules' of 'rounds' must list different rules")
    predict = content.get("predict") or {}
    if not isinstance(predict, dict) or not isinstance(content.get("one_per_patient", False), bool):
        raise PaucisError("'rounds' needs true or false as 'one_per_patient', and name: value as 'predict'")
    options = build(PredictOptions, predict, "predict.")
    if "mutual_information" in rules and not (options.dropout or options.samples or options.flips):
        raise PaucisError(
            "'rounds' needs several draws for mutual_information: predict: {dropout: 4} with network.dropout, "
            "{samples: 8} of aua, or {flips: true}"
        )
    return Rounds(content["add"], content["number"], rules, content.get("one_per_patient", False), dict(predict))
