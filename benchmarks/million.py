"""A run on a million items: regression, then the direct method by a sampled softmax; two threads.

The curve goes to million.csv: seconds of training without the looks at the truth, the true value on
a few hundred contexts, served greedily, and the most memory that the process has held.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from measure import peak_mb, row
from value import greedy_value

import opl_lib as opl

REGRESSION = {"learning_rate": 1e-3, "batch_size": 1000, "epochs": 8}
SAMPLED = {"learning_rate": 3e-4, "batch_size": 1000, "epochs": 3, "n_sampled": 512}


def run(quick: bool) -> list[dict[str, Any]]:
    torch.set_num_threads(1 if quick else 2)
    n_actions, n_rounds, n_contexts = (2_000, 20_000, 50) if quick else (10**6, 300_000, 200)
    world = opl.SyntheticWorld(n_actions, n_eval_contexts=n_contexts, random_state=0)
    log = world.sample(n_rounds, random_state=1)
    learner, curve = followed("regression", log, world, {**REGRESSION})
    q_hat = opl.FittedRewardModel(learner)
    sampled = {**SAMPLED, "reward_model": q_hat, "n_folds": 1, "catalogue": "sampled"}
    _, curve_of_dm = followed("dm", log, world, sampled)

    references = world.reference_values()
    final = curve[-1]["value"]
    case = "a run on many items"
    rows = [row(case, name, value, "") for name, value in references.items()]
    rows += [
        row(case, "items", n_actions, ""),
        row(case, "rounds", n_rounds, ""),
        row(case, "contexts of evaluation", n_contexts, ""),
        row(case, "regression, greedy", final, "", (references["best_constant_item"],) * 2),
        row(case, "dm sampled, greedy", curve_of_dm[-1]["value"], ""),
        row(case, "seconds of regression", curve[-1]["seconds"], "s"),
        row(case, "peak memory", peak_mb() / 1024, "GB", (6, 6)),
    ]
    return [*rows, *({"curve": True, **point} for point in curve + curve_of_dm)]


def followed(
    objective: str, log: opl.BanditFeedback, world: opl.SyntheticWorld, settings: dict
) -> tuple[opl.OffPolicyLearner | opl.TwoTowerRegressor, list[dict[str, Any]]]:
    """Fit, and look at the policy after each epoch; the clock stands still meanwhile."""
    curve: list[dict[str, Any]] = []
    start, looking = time.perf_counter(), 0.0

    def look(policy: opl.TwoTowerPolicy) -> dict[str, float]:
        nonlocal looking
        now = time.perf_counter()
        value = greedy_value(world, policy.greedy(world.eval_context, world.action_context))
        seconds = now - start - looking
        point = {"objective": objective, "seconds": seconds, "value": value}
        curve.append({**point, "peak_gb": peak_mb() / 1024})
        looking += time.perf_counter() - now
        return {"value": value}

    make = opl.TwoTowerRegressor if objective == "regression" else opl.OffPolicyLearner
    learner = make(objective, progress=False, **settings)
    return learner.fit(log, callback=look), curve
