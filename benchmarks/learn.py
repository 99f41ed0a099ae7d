"""Seconds of `opl.learn` on 40,000 rounds of 300 items, and what they are spent on; two threads."""

from __future__ import annotations

import time
from typing import Any

import torch
from measure import row

import opl_lib as opl


def run(quick: bool) -> list[dict[str, Any]]:
    torch.set_num_threads(1 if quick else 2)
    n_rounds, n_actions = (2_000, 20) if quick else (40_000, 300)
    world = opl.SyntheticWorld(
        *(n_actions, 20, 20),
        logging_policy=opl.epsilon_greedy(0.3),
        n_eval_contexts=2_000,
        random_state=1,
    )
    log = world.sample(n_rounds, random_state=1)
    case = "from a log to a decision"
    rows = [row(case, "rounds", n_rounds, ""), row(case, "items", n_actions, "")]
    for name, call in {
        "BilinearLearner": lambda: opl.BilinearLearner().fit(log),
        "OffPolicyLearner": lambda: opl.OffPolicyLearner(progress=False).fit(log),
        "learn": lambda: opl.learn(log, progress=False),
    }.items():
        start = time.perf_counter()
        call()
        goal = (30.0, 10.0) if name == "learn" else None
        rows.append(row(case, name, time.perf_counter() - start, "s", goal))
    return rows
