"""The learners that the map compares: objectives with settings to choose from, clusters, peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from opl_lib import objectives
from opl_lib.learning.cross_fitting import CrossFittedRewardModel, cross_fit_many
from opl_lib.learning.learner import OffPolicyLearner
from opl_lib.learning.many import fit_many
from opl_lib.learning.regressor import TwoTowerRegressor
from opl_lib.logs.clusters import with_clusters
from opl_lib.logs.feedback import BanditFeedback
from opl_lib.objectives import Objective
from opl_lib.policies.two_stage import TwoStagePolicy
from opl_lib.protocols import PolicyLike, policy_function

from .peers import EPOCHS, PEERS

LEARNING_RATES = (1e-4, 3e-4, 1e-3)
BATCH_SIZE = 100
REGRESSION_RATE = 1e-3  # of reward models
TOWERS: dict[str, Any] = {}  # settings of all towers, such as ``hidden``, that are not the default

# The article's regression: its predictions start at a half, and no reward model is shrunk. One
# of the library starts at the mean.
REGRESSION = replace(objectives.regression, from_reward=None)

# An objective with the settings that are tried, beside the learning rates.
OBJECTIVES: dict[str, Sequence[str | Objective]] = {
    "regression": [REGRESSION],
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
    q_hats: Sequence[CrossFittedRewardModel | None],
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
        **TOWERS,
        **settings,
    )


def reward_models(
    tried: Sequence[str | Objective], logs: Sequence[BanditFeedback], seeds: Sequence[int]
) -> list[CrossFittedRewardModel] | list[None]:
    """One cross-fitted reward model a log, for all that needs one; else None for each."""
    found = map(objectives.get_objective, tried)
    if not any(isinstance(each, Objective) and "q_hat" in each.needs for each in found):
        return [None] * len(logs)
    return cross_fit_many([make_regressor(seed) for seed in seeds], logs, [2] * len(logs), seeds)


def make_regressor(seed: int) -> TwoTowerRegressor:
    """The reward model of all: what value objectives learn with, and what judges."""
    return TwoTowerRegressor(
        REGRESSION,
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        learning_rate=REGRESSION_RATE,
        progress=False,
        random_state=seed,
        **TOWERS,
    )


def warm_start(
    objective: str | Objective, logs: Sequence[BanditFeedback], seeds: Sequence[int]
) -> Policies:
    """Regression first; then its towers go on with a value objective, at a lower learning rate."""
    first = [make_regressor(seed) for seed in seeds]
    q_hats = reward_models([objective], logs, seeds)
    fit_many(first, logs)
    policies: Policies = [{} for _ in logs]
    for rate in (3e-5, 3e-4):
        second = [
            make_learner(objective, rate, seed, q_hat, towers=f.policy_.towers)
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


def typed(
    policy_from: Callable[[BanditFeedback], PolicyLike],
    logs: Sequence[BanditFeedback],
    seeds: Sequence[int],
) -> Policies:
    """What the shortest lines make of each log, served as it is: nothing is left to be chosen."""
    return [{"as typed": policy_function(policy_from(log))} for log in logs]


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
