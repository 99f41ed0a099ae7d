"""Time a training step of `opl_lib` against one of the article's loop.

    python benchmarks/steps.py [--rounds 5]

Both run in turn on the same log and the printed ratios are of medians, so that what else the
machine does touches both. One thread. Data loading and all that a fit does once are included.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import article_loop
import numpy as np
import torch

import opl_lib as opl

BATCH_SIZE = 10

# name, items, updates, objective, settings of the learner
CASES = [
    ("IPS, 10 items", 10, 300, "ips", {}),
    ("regression, 10 items", 10, 300, "regression", {}),
    ("IPS exact, 5,000 items", 5000, 30, "ips", {"softmax": "exact"}),
    ("IPS streamed, 5,000 items", 5000, 30, "ips", {"softmax": "streamed"}),
    ("IPS sampled, 5,000 items", 5000, 30, "ips", {"softmax": "sampled"}),
    ("regression, 5,000 items", 5000, 30, "regression", {}),
]


def make_log(n_rounds: int, n_actions: int) -> opl.BanditFeedback:
    rng = np.random.default_rng(0)
    return opl.BanditFeedback(
        context=rng.normal(size=(n_rounds, 50)),
        action=rng.integers(n_actions, size=n_rounds),
        reward=rng.integers(2, size=n_rounds),
        pscore=np.full(n_rounds, 1 / n_actions),
        action_context=rng.uniform(size=(n_actions, 50)),
    )


def interleaved(functions: list[Callable[[], None]], rounds: int) -> list[float]:
    """Median seconds of each function, called in turn."""
    seconds = [[] for _ in functions]
    for _ in range(rounds):
        for function, times in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [median(times) for times in seconds]


def one_epoch_each(items: int, updates: int, objective: str, settings: dict) -> list[Callable]:
    """The article's loop and the learner, ready to make the same updates."""
    log = make_log(BATCH_SIZE * updates, items)
    same = {"epochs": 1, "batch_size": BATCH_SIZE, "learning_rate": 1e-5, "weight_decay": 1e-6}
    learner = opl.OffPolicyLearner(objective, shuffle=False, **same, **settings)
    return [
        lambda: article_loop.train(log, objective, BATCH_SIZE),
        lambda: learner.fit(log),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="times each side runs")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    against_the_article(rounds)
    growth_with_the_catalogue(rounds)


def against_the_article(rounds: int) -> None:
    print(f"{'':<28}{'article':>10}{'opl_lib':>10}   ratio")
    for name, items, updates, objective, settings in CASES:
        pair = one_epoch_each(items, updates, objective, settings)
        interleaved(pair, 1)  # the first calls import and allocate
        theirs, ours = (1000 * s / updates for s in interleaved(pair, rounds))
        print(f"{name:<28}{theirs:>7.2f} ms{ours:>7.2f} ms{theirs / ours:>7.1f}x")


def growth_with_the_catalogue(rounds: int, small: int = 5_000, large: int = 1_000_000) -> None:
    """What a step costs, by a clock read after each epoch: without the set-up of a fit."""
    print(f"\n{'':<28}{small:>10,}{large:>11,}   ratio, items")
    updates = 100
    logs = [make_log(BATCH_SIZE * updates, items) for items in (small, large)]
    for name, objective in (("regression", "regression"), ("IPS sampled", "ips")):
        learner = opl.OffPolicyLearner(
            objective, softmax="sampled", batch_size=BATCH_SIZE, epochs=6, progress=False
        )
        milliseconds = [[], []]
        for _ in range(rounds):
            for log, epochs in zip(logs, milliseconds, strict=True):
                learner.fit(log, callbacks={"clock": lambda policy: time.perf_counter()})
                epochs.extend(1000 * np.diff(learner.history_["clock"])[1:] / updates)
        few, many = map(median, milliseconds)
        print(f"{name:<28}{few:>7.2f} ms{many:>8.2f} ms{many / few:>7.1f}x")


if __name__ == "__main__":
    main()
