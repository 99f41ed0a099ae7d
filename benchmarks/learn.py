"""Seconds of `opl.learn` on two logs, what they are spent on, and how equations are solved.

The logs: 40,000 rounds of 300 items; 15,000 rounds of 10 items with 50 + 50 features. Two threads.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np
import torch
from measure import row

import opl_lib as opl
from opl_lib.learning.normal_equations import NormalEquations


def run(quick: bool) -> list[dict[str, Any]]:
    torch.set_num_threads(1 if quick else 2)
    many = (2_000, 20, 20) if quick else (40_000, 300, 20)
    wide = (1_000, 5, 20) if quick else (15_000, 10, 50)
    return [
        *of_a_log("from a log to a decision", *many),
        *of_a_log("from a log of wide features to a decision", *wide),
        *of_equations(10 if quick else 50),
    ]


def of_a_log(case: str, n_rounds: int, n_actions: int, n_features: int) -> list[dict[str, Any]]:
    """Seconds from a log to a decision."""
    world = opl.SyntheticWorld(
        *(n_actions, n_features, n_features),
        logging_policy=opl.epsilon_greedy(0.3),
        n_eval_contexts=2_000,
        random_state=1,
    )
    log = world.sample(n_rounds, random_state=1)
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


def of_equations(n_features: int) -> list[dict[str, Any]]:
    """Normal equations of 60 items: a factorisation over iterations, the medians of five pairs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4 * n_features, n_features)) + rng.normal(size=(60, 1, n_features))
    squares, moments = x.transpose(0, 2, 1) @ x, x.sum(axis=1)
    items = rng.normal(size=(60, n_features))
    penalties = np.full(n_features**2, 0.1 * x[..., 0].size)
    seconds: dict[str, list[float]] = {"_factored": [], "_iterated": []}
    for _ in range(5):
        for way, times in seconds.items():
            equations = NormalEquations(squares, moments, items, np.empty((0, *moments.shape)))
            start = time.process_time()
            getattr(equations, way)(penalties)
            times.append(time.process_time() - start)
    ratio = median(seconds["_factored"]) / median(seconds["_iterated"])
    return [row("normal equations of products", "a factorisation over iterations", ratio, "")]
