"""The runs of a suite with rounds: which can be prepared, which wait for a choice, what each is to choose."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from paucis.engine.seeds import derive
from paucis.errors import PaucisError
from paucis.evaluation.suggestion import NEEDS
from paucis.inference.options import PredictOptions
from paucis.options import build
from paucis.workflows.benchmark.grid import Job
from paucis.workflows.benchmark.ground import Ground, Prepared
from paucis.workflows.benchmark.results import Results
from paucis.workflows.benchmark.rounds import Rounds


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
    rules = rounds.asked(run.job.entry.rule, run.job.round)
    if not rules:
        return None
    return {
        "rules": list(rules),
        "count": rounds.add,
        "one_per_patient": rounds.one_per_patient,
        "predict": rounds.predict,
        "seed": derive(run.job.seed, run.job.fold or 0, "suggest", run.job.round),
    }


def looks(run: Prepared, rounds: Rounds) -> float:
    """Scans that a run looks at to choose, for an estimate: 1 each where all rules look, a share where fewer do."""
    passes = max(build(PredictOptions, rounds.predict, "predict.").dropout, 1)

    def cost(rules: Sequence[str]) -> int:
        needs = frozenset[str]().union(*(NEEDS[rule] for rule in rules))
        return (passes if needs - {"features"} else 0) + ("features" in needs)

    return len(run.pool) * cost(rounds.asked(run.job.entry.rule, run.job.round)) / max(cost(rounds.rules), 1)
