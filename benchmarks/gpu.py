"""What one GPU does: an exact step over a million items, and small fits side by side.

Steps are those of fits, with all that a fit does between two of them. Without a GPU the same fits
run on the processor in tiny sizes, to see that they work, and the rows say "not measured".
"""

from __future__ import annotations

import functools
import time
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from measure import Enough, make_log, row

import opl_lib as opl
from opl_lib.objectives import OBJECTIVES

N_WARM = 5


class Sizes(NamedTuple):
    """Of the two measurements."""

    n_items: int
    n_models: int
    n_steps: int


LARGE, TINY = Sizes(1_000_000, 1_024, 20), Sizes(500, 16, 3)
# Unit, and what must be reached and was aimed at.
GOALS = {
    "exact step, 1,000,000 items x 256 rounds": ("ms", (40.0, 15.0)),
    "1,024 small fits side by side, a model-step": ("µs", (5.0, 2.0)),
}


def run(quick: bool) -> list[dict[str, Any]]:
    there = torch.cuda.is_available()
    device, sizes = ("cuda", TINY if quick else LARGE) if there else ("cpu", TINY)
    measured = 1e3 * step_over_items(device, sizes), 1e6 * step_of_models(device, sizes)
    if there and not quick:
        case = f"one GPU: {torch.cuda.get_device_name()}"
    else:
        case, measured = "one GPU: not measured", (float("nan"), float("nan"))
    values = dict(zip(GOALS, measured, strict=True))
    return [row(case, name, values[name], *GOALS[name]) for name in GOALS]


def step_over_items(device: str, sizes: Sizes, n_rounds: int = 256) -> float:
    """Seconds of a step over all items at once."""
    log = make_log(n_rounds * (N_WARM + sizes.n_steps + 1), sizes.n_items)
    settings = {"catalogue": "exact", "batch_size": n_rounds, "epochs": 1}
    return seconds_of_a_step(device, sizes.n_steps, log, 1, **settings)


def step_of_models(device: str, sizes: Sizes) -> float:
    """Seconds of a step of one of many small fits."""
    log = make_log(10 * (N_WARM + sizes.n_steps + 1), 10)
    settings = {"batch_size": 10, "epochs": 1}
    of_all = seconds_of_a_step(device, sizes.n_steps, log, sizes.n_models, **settings)
    return of_all / sizes.n_models


def seconds_of_a_step(
    device: str, n_steps: int, log: opl.BanditFeedback, n_models: int, **settings: Any
) -> float:
    """Of fits side by side, from when the first of n steps begins to when the last has ended."""
    ips, stamps, n_calls = OBJECTIVES["ips"], [], 0

    @functools.wraps(ips.function)
    def clocked(logits: Any, batch: Any) -> Any:
        nonlocal n_calls
        if n_calls in (N_WARM, N_WARM + n_steps):
            if logits.device.type == "cuda":
                torch.cuda.synchronize()
            stamps.append(time.perf_counter())
        if n_calls == N_WARM + n_steps:
            raise Enough
        n_calls += 1
        return ips.function(logits, batch)

    objective = replace(ips, function=clocked, name="ips, clocked")
    same = {"device": device, "progress": False, "shuffle": False, **settings}
    learners = [opl.OffPolicyLearner(objective, random_state=k, **same) for k in range(n_models)]
    try:
        opl.fit_many(learners, log)
    except Enough:
        return (stamps[1] - stamps[0]) / n_steps
    raise ValueError(f"the fits ended after {n_calls} steps; make their log longer.")
