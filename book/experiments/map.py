"""Which learner wins where: worlds, learners with settings to choose from, and the choice.

Every learner gets the same log, learns with each of its settings on three quarters of it, and is
served as the candidate with the largest DR estimate on the last quarter, as `select` computes it.
The truth is looked at only afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from opl_lib import objectives
from opl_lib.learning.learner import OffPolicyLearner
from opl_lib.learning.loop import fit_many
from opl_lib.learning.reward_models import FittedRewardModel, cross_fit_many
from opl_lib.logs.clusters import TwoStagePolicy, with_clusters
from opl_lib.logs.feedback import BanditFeedback
from opl_lib.objectives import Objective
from opl_lib.selection.select import LOGGING, select
from opl_lib.worlds.digits import DigitsWorld
from opl_lib.worlds.logging_policies import epsilon_greedy, uniform
from opl_lib.worlds.synthetic import SyntheticWorld, World

from .peers import EPOCHS, PEERS

LOG_SEED = 1
LEARNING_RATES = (1e-4, 3e-4, 1e-3)
BATCH_SIZE = 100
TEMPERATURES = (0.0, 1.0)
REGRESSION_RATE = 1e-3  # of reward models


@dataclass(frozen=True)
class Setting:
    """A world by name: how it is made, and how long its log is."""

    logging_policy: Any
    n_rounds: int = 5_000
    n_actions: int = 10
    scale: float = 1.0
    unexplained: float = 0.0

    def world(self, seed: int) -> World:
        """The world of a seed."""
        return SyntheticWorld(
            n_actions=self.n_actions,
            dim_context=20,
            dim_action_context=20,
            logging_policy=self.logging_policy,
            scale=self.scale,
            unexplained=self.unexplained,
            n_eval_contexts=2_000,
            random_state=seed,
        )


@dataclass(frozen=True)
class Digits(Setting):
    """`DigitsWorld`, whose logging policy is `alpha` times a weak classifier, the rest uniform."""

    alpha: float = 0.5

    def world(self, seed: int) -> World:
        return DigitsWorld(alpha=self.alpha, random_state=seed)


WORLDS = {
    "uniform logging": Setting(uniform()),
    "ε-greedy logging": Setting(epsilon_greedy(0.3)),
    "little overlap": Setting(epsilon_greedy(0.05)),
    "short log": Setting(epsilon_greedy(0.3), n_rounds=1_000),
    "noisy rewards": Setting(epsilon_greedy(0.3), scale=0.3),
    "saturated rewards": Setting(epsilon_greedy(0.3), scale=10),
    "many items": Setting(epsilon_greedy(0.3), n_actions=100),
    "unexplained items": Setting(epsilon_greedy(0.3), n_actions=40, unexplained=0.7),
    "digits": Digits(None, n_rounds=3_000),
}

# An objective with the settings that are tried, beside the learning rates.
OBJECTIVES: dict[str, Sequence[str | Objective]] = {
    "regression": ["regression"],
    "DM": ["dm"],
    "DR": ["dr"],
    "DRos": [objectives.dros(v) for v in (3, 30)],
    "Switch-DR": [objectives.switch_dr(v) for v in (2, 10)],
    "DR + entropy": [objectives.regularised("dr", entropy=w) for w in (0.01, 0.05)],
    "DR + KL": [objectives.regularised("dr", kl=w) for w in (0.02, 0.1)],
    "DRos + entropy": [objectives.regularised(objectives.dros(10), entropy=0.02)],
    "IPS": ["ips"],
    "SNIPS": ["snips"],
    "IPS, baseline": ["baseline_ips"],
    "IPS, baseline + imitation": [
        objectives.regularised("baseline_ips", imitation=w) for w in (0.02, 0.1)
    ],
    "clipped IPS": [objectives.clipped_ips(m) for m in (3, 30)],
    "implicit exploration": [objectives.implicit_exploration(g) for g in (0.01, 0.1)],
    "exponential smoothing": [objectives.exponential_smoothing(a) for a in (0.5, 0.8)],
    "logarithmic smoothing": [objectives.logarithmic_smoothing(v) for v in (0.1, 1.0)],
    "POEM": [objectives.poem(p) for p in (0.3, 1.0)],
    "weighted likelihood": [objectives.likelihood(a) for a in (0.0, 1.0)],
}

Policies = list[dict[str, Any]]


def learn(
    tried: Sequence[str | Objective], logs: Sequence[BanditFeedback], seeds: Sequence[int]
) -> Policies:
    """Each log's policies by setting, all fits side by side."""
    return _learn([tried] * len(logs), logs, seeds, reward_models(tried, logs, seeds))


def _learn(
    tried: Sequence[Sequence[str | Objective]],
    logs: Sequence[BanditFeedback],
    seeds: Sequence[int],
    q_hats: Sequence[Any],
) -> Policies:
    """For each log, the objectives that are tried on it with all learning rates."""
    learners = [
        {
            f"{objective}, learning_rate={rate:g}": make_learner(objective, rate, seed, q_hat)
            for objective in of_log
            for rate in LEARNING_RATES
        }
        for of_log, seed, q_hat in zip(tried, seeds, q_hats, strict=True)
    ]
    fit_many(
        [learner for of_log in learners for learner in of_log.values()],
        [log for log, of_log in zip(logs, learners, strict=True) for _ in of_log],
    )
    return [{name: each.policy_ for name, each in of_log.items()} for of_log in learners]


def make_learner(
    objective: str | Objective, rate: float, seed: int, q_hat: Any = None, **settings: Any
) -> OffPolicyLearner:
    """A learner with what is the same for all."""
    return OffPolicyLearner(
        objective,
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        learning_rate=rate,
        reward_model=q_hat,
        progress=False,
        random_state=seed,
        **settings,
    )


def reward_models(
    tried: Sequence[str | Objective], logs: Sequence[BanditFeedback], seeds: Sequence[int]
) -> list[Any]:
    """One cross-fitted reward model a log, for all that needs one; else None for each."""
    if not any(objectives.get_objective(objective).needs_reward_model for objective in tried):
        return [None] * len(logs)
    return cross_fit_many([_regression(seed) for seed in seeds], logs, [2] * len(logs), seeds)


def _regression(seed: int) -> OffPolicyLearner:
    return make_learner("regression", REGRESSION_RATE, seed)


def warm_start(
    objective: str | Objective, logs: Sequence[BanditFeedback], seeds: Sequence[int]
) -> Policies:
    """Regression first; then its towers go on with a value objective, at a lower learning rate."""
    first = [_regression(seed) for seed in seeds]
    q_hats = reward_models([objective], logs, seeds)
    fit_many(first, logs)
    policies: Policies = [{} for _ in logs]
    for rate in (3e-5, 3e-4):
        second = [
            make_learner(objective, rate, seed, q_hat, model=f.policy_.model)
            for f, q_hat, seed in zip(first, q_hats, seeds, strict=True)
        ]
        fit_many(second, logs)
        for of_log, learner in zip(policies, second, strict=True):
            of_log[f"learning_rate={rate:g}"] = learner.policy_
    return policies


def clustered(
    make: Callable[[Sequence[int]], Objective],
    logs: Sequence[BanditFeedback],
    seeds: Sequence[int],
) -> Policies:
    """An objective of clusters, which k-means finds among the item features."""
    from sklearn.cluster import KMeans

    n_clusters = round(logs[0].n_actions ** 0.5)
    clusters = [
        KMeans(n_clusters, n_init=4, random_state=seed).fit_predict(log.action_context)
        for log, seed in zip(logs, seeds, strict=True)
    ]
    logs = [
        with_clusters(log, cluster, random_state=seed)
        for log, cluster, seed in zip(logs, clusters, seeds, strict=True)
    ]
    tried = [[make(cluster)] for cluster in clusters]
    q_hats = reward_models(tried[0], logs, seeds)
    policies = _learn(tried, logs, seeds, q_hats)
    if make is not objectives.potec:
        return policies
    return [
        {name: TwoStagePolicy(policy, q_hat, cluster) for name, policy in of_log.items()}
        for of_log, q_hat, cluster in zip(policies, q_hats, clusters, strict=True)
    ]


def peer(name: str, logs: Sequence[BanditFeedback], seeds: Sequence[int]) -> Policies:
    """Policies of another library's learner, log by log."""
    return [PEERS[name](log, seed) for log, seed in zip(logs, seeds, strict=True)]


LEARNERS: dict[str, Callable[[Sequence[BanditFeedback], Sequence[int]], Policies]] = {
    **{name: partial(learn, tried) for name, tried in OBJECTIVES.items()},
    "warm start, DR": partial(warm_start, "dr"),
    "MIPS": partial(clustered, objectives.mips),
    "OffCEM": partial(clustered, objectives.offcem),
    "POTEC": partial(clustered, objectives.potec),
    **{name: partial(peer, name) for name in PEERS},
}


@dataclass(frozen=True)
class MapCell:
    """A learner in a world; both are names in `LEARNERS` and `WORLDS`."""

    world: str
    learner: str

    @property
    def settings(self) -> dict[str, str]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"{self.world:<20} {self.learner:<28}"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        setting = WORLDS[self.world]
        tried = len(OBJECTIVES.get(self.learner, range(4))) + 1
        slow = 10 if self.learner in PEERS else 1
        return setting.n_rounds * (200 + setting.n_actions) * tried * slow * n_seeds // 1000

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Learn, choose and look at the truth; return a row of the table for each seed.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a world, its log and a learner.

        Returns
        -------
        list of dict
            ``world``, ``learner`` and ``seed``; the setting and temperature with the largest DR
            estimate (``chosen``) and its true value (``policy_value``); the true value of the one
            with the largest lower bound (``bound_value``), and of the one that only the truth could
            have chosen (``best_value``); the estimated gain of ``chosen`` over the logging policy
            (``difference``); whether no lower bound was above 0, so that `select` would have kept
            the logging policy even without its demand for effective rounds (``kept_logging``); the
            reference values; ``seconds``.
        """
        import torch

        torch.set_num_threads(1)
        start = time.perf_counter()
        worlds = [WORLDS[self.world].world(seed) for seed in seeds]
        logs = [world.sample(WORLDS[self.world].n_rounds, LOG_SEED) for world in worlds]
        parts = [_split(log) for log in logs]
        to_fit = [fit for fit, _ in parts]
        learned = LEARNERS[self.learner](to_fit, seeds)
        judges = [_regression(seed) for seed in seeds]
        fit_many(judges, to_fit)
        rows = []
        for seed, world, (_, held_out), policies, q_hat in zip(
            seeds, worlds, parts, learned, judges, strict=True
        ):
            candidates = _served(policies)
            chosen = _select(candidates, held_out, q_hat)
            values = {name: world.policy_value(policy) for name, policy in candidates.items()}
            ranked = chosen.table.drop(index=LOGGING)
            largest = ranked["difference"].idxmax()
            rows.append(
                {
                    **self.settings,
                    "seed": seed,
                    "chosen": largest,
                    "policy_value": values[largest],
                    "bound_value": values[ranked.index[0]],
                    "best_value": max(values.values()),
                    "difference": ranked["difference"].max(),
                    "kept_logging": int(chosen.best == LOGGING),
                    **{k.replace(" ", "_"): v for k, v in world.reference_values().items()},
                }
            )
        seconds = (time.perf_counter() - start) / len(seeds)
        return [{**row, "seconds": seconds} for row in rows]


def _split(log: BanditFeedback) -> tuple[BanditFeedback, BanditFeedback]:
    """Rounds to learn from, and a quarter to choose by."""
    split = log.split if log.user_id is None else log.split_by_group
    return split(0.25, random_state=0)


def _select(candidates: dict[str, Any], held_out: BanditFeedback, q_hat: Any) -> Any:
    # The report is not used: the truth is known here. Every learner plays, so every bound counts.
    return select(
        candidates,
        (held_out, held_out, held_out),
        estimator="dr",
        reward_model=FittedRewardModel(q_hat),
        min_ess=0,
        progress=False,
    )


def _served(policies: dict[str, Any]) -> dict[str, Any]:
    """Every policy at every temperature, where it has one."""
    served = {}
    for name, policy in policies.items():
        if hasattr(policy, "at_temperature"):
            served |= {f"{name} @ {t:g}": policy.at_temperature(t) for t in TEMPERATURES}
        else:
            served[name] = policy
    return served
