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

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from paucis.engine.seeds import derive
from paucis.errors import PaucisError
from paucis.evaluation.suggestion import NEEDS, RULES
from paucis.inference.options import PredictOptions
from paucis.options import build
from paucis.registry import nearest

if TYPE_CHECKING:
    from paucis.workflows.benchmark.grid import Job
    from paucis.workflows.benchmark.ground import Ground, Prepared
    from paucis.workflows.benchmark.results import Results

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


def planned(ground: Ground, jobs: Sequence[Job], results: Results) -> list[Prepared]:
    """Every run of a suite with rounds; those whose labels no rule has chosen yet are ``waiting``.

    Args:
        ground: the dataset.
        jobs: all runs, the rounds of a seed in order.
        results: what is finished; its rows hold the choices.

    Raises:
        PaucisError: as ``Ground.prepare``; also, too few scans to choose from.
    """
    rounds = ground.suite.rounds
    assert rounds is not None
    last: dict[tuple[str, int, int | None], Prepared] = {}
    runs: list[Prepared] = []
    for job in jobs:
        place = (job.entry.name, job.seed, job.fold)
        if job.round == 0:
            run = ground.prepare(job)
            if len(run.pool) < rounds.add * rounds.number:
                raise PaucisError(
                    f"suite '{ground.suite.name}', {job}: {len(run.pool)} further scans have labels, and "
                    f"{rounds.number} rounds of {rounds.add} need more: hold out less, or shorten the rounds"
                )
        else:
            before = last[place]
            chosen = choices(results, before).get(str(job.entry.rule))
            if chosen is None:
                run = replace(before, job=job, key=f"waiting-{'-'.join(map(str, place))}-{job.round}", waiting=True)
            else:
                run = ground.prepare(job, (*before.added, *chosen))
        last[place] = run
        runs.append(run)
    return runs


def choices(results: Results, run: Prepared) -> dict[str, list[str]]:
    """The scans that each rule chose after a finished run, by rule.

    Raises:
        PaucisError: its row holds none.
    """
    if run.waiting or not results.finished(run.key):
        return {}
    try:
        return dict(json.loads(results.rows[run.key]["suggested"]))
    except (KeyError, ValueError, TypeError):
        raise PaucisError(
            f"{results.path}: row {run.key} does not say what was chosen after it: restore it, or take the row out"
        ) from None


def asked(run: Prepared, rounds: Rounds) -> dict[str, Any] | None:
    """What a run is to choose when it is trained, as its process is told; None after the last round."""
    rules = asking(run.job, rounds)
    if not rules:
        return None
    return {
        "rules": list(rules),
        "count": rounds.add,
        "one_per_patient": rounds.one_per_patient,
        "predict": rounds.predict,
        "seed": derive(run.job.seed, run.job.fold or 0, "suggest", run.job.round),
    }


def asking(job: Job, rounds: Rounds) -> tuple[str, ...]:
    """The rules that choose after a run: all after the first, its own after the others, none after the last."""
    if job.round == 0:
        return rounds.rules
    return (str(job.entry.rule),) if job.round < rounds.number else ()


def looks(run: Prepared, rounds: Rounds) -> float:
    """Scans that a run looks at to choose, for an estimate: 1 each where all rules look, a share where fewer do."""
    passes = max(build(PredictOptions, rounds.predict, "predict.").dropout, 1)

    def cost(rules: Sequence[str]) -> int:
        needs = frozenset[str]().union(*(NEEDS[rule] for rule in rules))
        return (passes if needs - {"features"} else 0) + ("features" in needs)

    return len(run.pool) * cost(asking(run.job, rounds)) / max(cost(rounds.rules), 1)
