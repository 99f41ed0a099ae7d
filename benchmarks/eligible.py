"""A step over what could be shown against one over all items, and the memory of the sets.

Half of the items could be shown in a round, and the rounds of a batch have many sets. The two fits
take their steps in turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from measure import Run, Tick, interleaved, make_log, row, ticking

import opl_lib as opl

OBJECTIVES = ("ips", "dr")
BATCH_SIZES = (10, 100, 1000)
WAYS: Mapping[str, Mapping[str, Any]] = {
    "exact": {},
    "streamed": {},
    "sampled": {"n_sampled": 256},
}
LIMIT = (1.15, 1.05)


def run(quick: bool) -> list[dict[str, Any]]:
    n_actions, n_sets, rounds, n_steps = (200, 20, 1, 3) if quick else (5_000, 200, 5, 20)
    rows = []
    for way in WAYS:
        for objective in OBJECTIVES:
            for batch_size in BATCH_SIZES[:1] if quick or way != "exact" else BATCH_SIZES:
                few = n_steps if batch_size < 1000 else max(n_steps // 4, 2)
                runs = fits(way, objective, n_actions, n_sets, batch_size)
                rows += compared(way, objective, interleaved(runs, few, rounds), batch_size)
    return [*rows, memory(n_actions, 10 * n_sets, 10_000 if quick else 10_000_000)]


def fits(way: str, objective: str, n_actions: int, n_sets: int, batch_size: int) -> dict[str, Run]:
    """The same fit of a log without and with sets of items."""
    log = make_log(max(2_000, 2 * batch_size), n_actions)
    rng = np.random.default_rng(1)
    sets, number = rng.random((n_sets, n_actions)) < 0.5, rng.integers(n_sets, size=log.n_rounds)
    sets[number, log.action] = True
    logs = {"all": log, "eligible": replace(log, eligible=opl.Eligible(sets, number))}
    settings = {**WAYS[way], "catalogue": way, "batch_size": batch_size}
    settings |= {"epochs": 10**6, "learning_rate": 1e-5, "progress": False}
    if objective == "dr":
        q_hat = opl.TwoTowerRegressor("regression", epochs=1, progress=False)
        q_hat = opl.FittedRewardModel(q_hat.fit(make_log(1000, n_actions)))
        settings |= {"reward_model": q_hat, "n_folds": 1}
    after = log.n_rounds // batch_size if way == "sampled" else 0  # from then on it has a head

    def run_of(which: str) -> Run:
        def run(tick: Tick) -> None:
            learner = opl.OffPolicyLearner(ticking(objective, tick, after), **settings)
            learner.fit(logs[which])

        return run

    return {which: run_of(which) for which in logs}


def compared(
    way: str, objective: str, seconds: Mapping[str, float], batch_size: int
) -> list[dict[str, Any]]:
    case, about = f"{way}, half of the items eligible", {"objective": objective}
    sizes = {"batch_size": batch_size}
    rows = [row(case, side, 1000 * s, "ms", **sizes) | about for side, s in seconds.items()]
    ratio, goal = seconds["eligible"] / seconds["all"], LIMIT if way == "exact" else None
    return [*rows, row(case, "ratio", ratio, "", goal, **sizes) | about]


def memory(n_actions: int, n_sets: int, n_rounds: int) -> dict[str, Any]:
    """What the sets of a long log hold."""
    rng = np.random.default_rng(0)
    sets, number = rng.random((n_sets, n_actions)) < 0.5, rng.integers(n_sets, size=n_rounds)
    eligible = opl.Eligible(sets, number)
    held = (eligible.sets.nbytes + eligible.number.nbytes) / 2**20
    case = f"{len(eligible):,} rounds of {n_sets:,} sets of {n_actions:,} items"
    return row(case, "memory of the sets", held, "MB", (100, 50), n_actions=n_actions)
