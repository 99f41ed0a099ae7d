"""Time to a policy value: the library, the article's loop, obp and Vowpal Wabbit, served greedily.

Sampled softmax against the exact one is compared by the value of the softmax itself.

All learn from the same log with settings of their own (`learners`), for a fixed time. The clock is
the processor time of the one thread that learns, fits of reward models included; it stands still
while the truth is looked at. The curves go to value.csv.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import mean, median
from typing import Any

import article_loop
import numpy as np
import torch
from measure import Enough, row, ticking

import opl_lib as opl

SHARES = (0.25, 0.5, 0.75)
N_ROUNDS = 15_000
OBJECTIVES = ("dr", "dm")


class Stopwatch:
    """Time spent learning, and the policy's value at moments that lie ever further apart."""

    def __init__(self, value: Callable[[Any], float], budget: float) -> None:
        self.value, self.budget = value, budget
        self.start, self.looking, self.next_look = time.process_time(), 0.0, 0.0
        self.curve: list[tuple[float, float]] = []

    def look(self, policy: Callable[[], Any]) -> None:
        """Called once a step, with what gives the policy of now; ends the run at the budget."""
        now = time.process_time()
        seconds = now - self.start - self.looking
        if seconds >= min(self.next_look, self.budget):
            self.curve.append((seconds, self.value(policy())))
            self.next_look = 1.15 * seconds + 0.005
            self.looking += time.process_time() - now
        if seconds >= self.budget:
            raise Enough

    def seconds_to(self, value: float) -> float:
        """When a value was first reached; NaN if never."""
        return next((seconds for seconds, v in self.curve if v >= value), float("nan"))

    @property
    def final(self) -> float:
        """Mean value over the last fifth of the time."""
        last = self.curve[-1][0]
        return mean(v for seconds, v in self.curve if seconds >= 0.8 * last)


def run(quick: bool) -> list[dict[str, Any]]:
    n_large, n_rounds = (300, 1_000) if quick else (5_000, N_ROUNDS)
    budget = 0.1 if quick else 6
    rows = time_to_shares(10, n_rounds, budget) + time_to_shares(n_large, n_rounds, budget)
    return rows + sampled_against_exact(n_large, n_rounds, quick)


def greedy_value(world: opl.SyntheticWorld, action: np.ndarray) -> float:
    """True value of one item a context."""
    return float(world.expected_reward(world.eval_context, action).mean())


def time_to_shares(n_actions: int, n_rounds: int, budget: float) -> list[dict[str, Any]]:
    """Seconds to shares of what there is to gain, for all learners."""
    n_contexts = 2_000 if n_actions <= 10 else 300
    world = opl.SyntheticWorld(n_actions, n_eval_contexts=n_contexts, random_state=0)
    log = world.sample(n_rounds, random_state=1)
    references = world.reference_values()
    start, gain = references["logging"], references["optimum"] - references["logging"]
    case = f"time to value, {n_actions:,} items"
    rows = [row(case, name, value, "", n_actions=n_actions) for name, value in references.items()]
    for name, learn in learners(n_actions).items():
        watch = Stopwatch(lambda action: greedy_value(world, action), budget)
        try:
            learn(log, world.eval_context, watch)
        except Enough:
            pass
        same = {"learner": name, "n_actions": n_actions}
        for share in SHARES:
            seconds = watch.seconds_to(start + share * gain)
            rows.append(row(case, f"{share:.0%}", seconds, "s", **same))
        best = max(value for _, value in watch.curve)
        rows.append(row(case, "best share", (best - start) / gain, "", **same))
        rows += [
            {"curve": True, "case": case, "learner": name, "seconds": s, "value": v}
            for s, v in watch.curve
        ]
    return rows


def learners(n_actions: int) -> dict[str, Callable]:
    """Each learner with its settings.

    The learning rates of `opl_lib` were chosen among two or three on such worlds. The article's
    loop has the article's settings, and obp and Vowpal Wabbit their own defaults except where it is
    said: those were not tuned.
    """
    small = n_actions <= 10
    rate = 1e-4 if small else 3e-4
    found = {
        "opl_lib regression": library("regression", learning_rate=1e-3),
        "opl_lib ips exact": library("ips", learning_rate=rate),
        "opl_lib dr exact": library("dr", learning_rate=rate, reward_model=q_hat()),
    }
    if not small:
        sampled = {"learning_rate": rate, "catalogue": "sampled"}
        found |= {
            "opl_lib ips sampled": library("ips", **sampled),
            "opl_lib dr sampled": library("dr", reward_model=q_hat(), **sampled),
        }
    found |= {
        "article regression": article("regression"),
        "article ips": article("ips"),
    }
    if small:  # for 5,000 items, q̂ by columns alone takes longer than the budget
        found["article dr"] = article("dr")
    return found | {
        "obp ipw": obp_network("ipw"),
        **({"obp dr": obp_network("dr")} if small else {}),
        "vowpal wabbit": vowpal_wabbit(),
    }


def q_hat() -> opl.OffPolicyLearner:
    return opl.TwoTowerRegressor("regression", epochs=15, progress=False)


def library(objective: str, **settings: Any) -> Callable:
    """Batches of 200, as many epochs as the budget allows."""

    def learn(log: opl.BanditFeedback, context: np.ndarray, watch: Stopwatch) -> None:
        def tick() -> None:
            watch.look(lambda: learner.policy_.greedy(context, log.action_context))

        learner = opl.OffPolicyLearner(
            ticking(objective, tick), epochs=10**6, progress=False, **settings
        )
        learner.fit(log)

    return learn


def article(objective: str) -> Callable:
    """Its batch size 10, learning rate 1e-5 and weight decay 1e-6."""

    def learn(log: opl.BanditFeedback, context: np.ndarray, watch: Stopwatch) -> None:
        towers = article_loop.make_towers(log)
        x, items = (torch.tensor(t).float() for t in (context, log.action_context))

        def greedy() -> np.ndarray:
            with torch.no_grad():
                return (towers["context"](x) @ towers["action"](items).T).argmax(dim=1).numpy()

        def tick() -> None:
            watch.look(greedy)

        article_loop.train(log, objective, 10, 10**6, towers, tick)

    return learn


def obp_network(objective: str) -> Callable:
    """`NNPolicyLearner`: one hidden layer of 100, an output an item, no item features.

    Its learning rate is 1e-3 instead of 1e-4, as it is of the library's regression. Its early stop
    is off: in 0.4.1 it ends an epoch after ten batches in a row whose loss fell.
    """

    def learn(log: opl.BanditFeedback, context: np.ndarray, watch: Stopwatch) -> None:
        from obp.ope import DoublyRobust, InverseProbabilityWeighting
        from obp.policy import NNPolicyLearner

        context = context.copy()  # a world's is read-only, torch warns
        estimator = {"ipw": InverseProbabilityWeighting, "dr": DoublyRobust}[objective]()

        def value(**columns: Any) -> torch.Tensor:
            watch.look(lambda: network.predict(context)[:, :, 0].argmax(axis=1))
            if objective == "ipw":
                columns.pop("estimated_rewards_by_reg_model")
            return estimator.estimate_policy_value_tensor(**columns)

        network = NNPolicyLearner(
            n_actions=log.n_actions,
            dim_context=log.dim_context,
            off_policy_objective=value,
            batch_size=200,
            learning_rate_init=1e-3,
            max_iter=10**6,
            n_iter_no_change=10**9,
            random_state=0,
        )
        predictions = None
        if objective == "dr":
            fitted = q_hat().fit(log)
            predictions = fitted.predict_reward(log.context, log.action_context)[:, :, None]
        columns = (log.context, log.action, log.reward, log.pscore)  # read-only, torch warns
        network.fit(*(column.copy() for column in columns), predictions)

    return learn


def vowpal_wabbit() -> Callable:
    """`--cb_adf`, its default reduction ``mtr``, contexts crossed with item features; online."""

    def learn(log: opl.BanditFeedback, context: np.ndarray, watch: Stopwatch) -> None:
        from vowpalwabbit import Workspace

        vw = Workspace("--cb_adf --quadratic xa --min_prediction -100 --max_prediction 100 --quiet")
        items = [f"|a {features(item)}" for item in log.action_context]

        def text(i: int) -> str:
            lines, a = list(items), log.action[i]
            lines[a] = f"0:{-log.reward[i]:g}:{log.pscore[i]:g} {lines[a]}"
            return "\n".join([f"shared |x {features(log.context[i])}", *lines])

        try:
            while True:  # parsing is part of learning here, making the text is not
                for i in range(log.n_rounds):
                    before = time.process_time()
                    example = text(i)
                    watch.looking += time.process_time() - before
                    watch.look(lambda: costs(vw, context, log.action_context).argmin(axis=1))
                    vw.learn(example)
        finally:
            vw.finish()

    return learn


def features(values: np.ndarray) -> str:
    return " ".join(f"{number}:{value:.5g}" for number, value in enumerate(values))


def costs(vw: Any, context: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Predicted costs of all items, (n, n_actions), from a prediction for every pair of features.

    The model is linear in 1, x, a and their products, so what it predicts for zero and unit vectors
    says all.
    """
    of_item = ["|a ", *(f"|a {j}:1" for j in range(items.shape[1]))]
    of_context = ["shared |x ", *(f"shared |x {i}:1" for i in range(context.shape[1]))]
    predicted = np.array([vw.predict("\n".join([shared, *of_item])) for shared in of_context])
    weights = predicted - predicted[:1] - predicted[:, :1] + predicted[0, 0]
    weights[0], weights[:, 0] = predicted[0] - predicted[0, 0], predicted[:, 0] - predicted[0, 0]
    weights[0, 0] = predicted[0, 0]
    x, a = (np.column_stack([np.ones(len(t)), t]) for t in (context, items))
    return x @ weights @ a.T


def sampled_against_exact(n_actions: int, n_rounds: int, quick: bool) -> list[dict[str, Any]]:
    """Seconds to the value of the exact fit minus 0.01, over seeds of world, log and learner.

    The reward model is the same on both sides and fitted before; the value is that of the softmax.
    """
    seeds = range(1 if quick else 5)
    ways = {"exact": {"catalogue": "exact"}}
    ways |= {f"sampled {s}": {"catalogue": "sampled", "n_sampled": s} for s in (256, 64)}
    watches: dict[tuple, list[Stopwatch]] = {}
    for seed in seeds:
        world = opl.SyntheticWorld(n_actions, n_eval_contexts=200, random_state=seed)
        log = world.sample(n_rounds, random_state=1)
        reward_model = opl.FittedRewardModel(q_hat().fit(log))
        for objective in OBJECTIVES:
            for way, settings in ways.items():
                settings = {"reward_model": reward_model, "random_state": seed, **settings}
                watch = one_fit(objective, log, world, settings)
                watches.setdefault((objective, way), []).append(watch)
    rows = []
    for objective in OBJECTIVES:
        targets = [watch.final - 0.01 for watch in watches[objective, "exact"]]
        case = f"{objective}, {n_actions:,} items, {len(seeds)} seeds"
        final, seconds = {}, {}
        for way in ways:
            each = watches[objective, way]
            final[way] = mean(watch.final for watch in each)
            times = [w.seconds_to(target) for w, target in zip(each, targets, strict=True)]
            seconds[way] = median(np.nan_to_num(times, nan=np.inf))
            rows.append(row(case, f"{way}, seconds to value", seconds[way], "s"))
            rows.append(row(case, f"{way}, final value", final[way], ""))
        for way in list(ways)[1:]:
            ratio, loss = seconds["exact"] / seconds[way], final["exact"] - final[way]
            rows.append(row(case, f"{way}, ratio of seconds", ratio, "", (4, 10)))
            rows.append(row(case, f"{way}, value lost", loss, "", (0.01, 0.0)))
    return rows


def one_fit(
    objective: str, log: opl.BanditFeedback, world: opl.SyntheticWorld, settings: dict
) -> Stopwatch:
    """Four epochs in batches of 200; looks at the softmax policy's value on some contexts."""
    q = world.expected_reward(world.eval_context)
    watch = Stopwatch(lambda pi: float((pi * q).sum(axis=1).mean()), float("inf"))

    def now() -> np.ndarray:
        return learner.policy_.predict_proba(world.eval_context, log.action_context)

    learner = opl.OffPolicyLearner(
        ticking(objective, lambda: watch.look(now)),
        epochs=4,
        learning_rate=3e-4,
        n_folds=1,
        progress=False,
        **settings,
    )
    learner.fit(log)
    watch.next_look = 0.0
    watch.look(now)
    return watch
