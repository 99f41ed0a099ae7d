"""A training step against one of the article's loop: ratios of interleaved medians."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import article_loop
from measure import Run, Tick, interleaved, make_log, row, ticking

import opl_lib as opl

OBJECTIVES = ("ips", "dr", "regression")
STACKS = (5, 20)
SAMPLES = (256, 64)
SETTINGS = {
    "learning_rate": 1e-5,
    "weight_decay": 1e-6,
    "shuffle": False,
    "progress": False,
    "epochs": 10**6,
}


def run(quick: bool) -> list[dict[str, Any]]:
    rounds, n_items = (1, 500) if quick else (5, 5_000)
    return [
        *small_steps(rounds, n_steps=20 if quick else 200),
        *many_items(min(rounds, 3), n_items, n_steps=3 if quick else 15),
        *growth(
            min(rounds, 3), n_items, 2_000 if quick else 1_000_000, n_steps=10 if quick else 40
        ),
    ]


def small_steps(rounds: int, n_steps: int) -> list[dict[str, Any]]:
    """Ten items, batches of ten: one fit, and stacks of fits."""
    rows = []
    for objective in OBJECTIVES:
        runs = {k: library(objective, 10, n_models=k) for k in (1, *STACKS)}
        article = {"article": article_run(objective, 10)}
        seconds = interleaved({**article, **runs}, n_steps, rounds)
        for k in runs:
            case, goal = f"stack of {k}, 10 items", (8, 13)
            if k == 1:
                case, goal = "one fit, 10 items", (2, 6)
            pair = {"article": seconds["article"], "opl_lib": seconds[k] / k}
            sizes = {"n_actions": 10, "batch_size": 10}
            rows += compared(case, objective, pair, goal, **sizes)
    return rows


def many_items(rounds: int, n_items: int, n_steps: int) -> list[dict[str, Any]]:
    """A large catalogue, each way to see it, against the article's batches of ten."""
    rows = []
    for objective in OBJECTIVES:
        runs = {"article": article_run(objective, n_items)}
        if objective == "regression":
            runs["logged"] = library(objective, n_items)
        else:
            runs["exact"] = library(objective, n_items, catalogue="exact")
            large = {"batch_size": 1000, "n_rounds": 40_000}
            runs["exact, batch 1,000"] = library(objective, n_items, catalogue="exact", **large)
            runs |= {
                f"sampled {s}": library(objective, n_items, catalogue="sampled", n_sampled=s)
                for s in SAMPLES
            }
        goals = {
            "logged": (18, 40),
            "exact": (1.2, 1.6),
            "exact, batch 1,000": (20, 35),
            **{f"sampled {s}": (8, 15) for s in SAMPLES},
        }
        seconds = interleaved(runs, n_steps, rounds)
        for way in list(runs)[1:]:
            batch_size = 1000 if "1,000" in way else 10
            pair = {"article": seconds["article"], "opl_lib": seconds[way]}
            sizes = {"n_actions": n_items, "batch_size": batch_size}
            case = f"{way}, {n_items:,} items"
            rows += compared(case, objective, pair, goals[way], rounds=batch_size / 10, **sizes)
    return rows


def growth(rounds: int, few: int, many: int, n_steps: int) -> list[dict[str, Any]]:
    """The ways whose cost should not depend on the number of items."""
    rows = []
    ways = {"logged": ("regression", {}), "sampled 256": ("ips", {"catalogue": "sampled"})}
    for way, (objective, settings) in ways.items():
        runs = {
            f"{n:,} items": library(objective, n, n_rounds=1000, **settings) for n in (few, many)
        }
        case = f"{way}, {many:,} items over {few:,}"
        sides = interleaved(runs, n_steps, rounds)
        small, large = sides.values()
        rows += [row(case, side, 1000 * s, "ms", objective=objective) for side, s in sides.items()]
        rows.append(row(case, "ratio", large / small, "", (1.5, 1.3), objective=objective))
    return rows


def article_run(objective: str, n_actions: int) -> Run:
    log = make_log(300, n_actions)
    return lambda tick: article_loop.train(log, objective, epochs=10**6, tick=tick)


def library(
    objective: str,
    n_actions: int,
    n_models: int = 1,
    batch_size: int = 10,
    n_rounds: int = 4000,
    **settings: Any,
) -> Run:
    """Fits side by side. With DR, 4,000 rounds and 5,000 items, q̂ is made anew in each step."""
    log = make_log(n_rounds, n_actions)
    # The head of a sampled softmax is there from the second epoch on.
    after = n_rounds // batch_size if settings.get("catalogue") == "sampled" else 0
    if objective == "dr":
        q_hat = opl.TwoTowerRegressor("regression", epochs=1, learning_rate=1e-4, progress=False)
        q_hat.fit(make_log(1000, n_actions))
        settings |= {"reward_model": opl.FittedRewardModel(q_hat), "n_folds": 1}

    def run(tick: Tick) -> None:
        clocked = ticking(objective, tick, after)
        same = {**SETTINGS, "batch_size": batch_size, **settings}
        learners = [
            opl.OffPolicyLearner(clocked, random_state=seed, **same) for seed in range(n_models)
        ]
        opl.fit_many(learners, log)

    return run


def compared(
    case: str,
    objective: str,
    seconds: Mapping[str, float],
    goal: tuple[float, float],
    rounds: float = 1,
    **sizes: int,
) -> list[dict[str, Any]]:
    """Rows of two sides and of their ratio, for a step that takes some times as many rounds."""
    rows = [
        row(case, side, 1000 * s, "ms", objective=objective, **sizes) for side, s in seconds.items()
    ]
    ratio = rounds * seconds["article"] / seconds["opl_lib"]
    return [*rows, row(case, "ratio", ratio, "", goal, objective=objective, **sizes)]
