"""Weights that are tamed, tuned: where rewards have long tails, or propensities are wrong.

Every objective learns with every setting on every seed. A page takes the setting that is best on
the seeds of `DEVELOPMENT`, and reports it on those of `REPORTED`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from opl_lib import objectives
from opl_lib.learning.learner import OffPolicyLearner
from opl_lib.learning.many import fit_many
from opl_lib.logs.feedback import BanditFeedback
from opl_lib.objectives import Objective
from opl_lib.worlds.logging_policies import epsilon_greedy, uniform
from opl_lib.worlds.stale import stale_greedy
from opl_lib.worlds.synthetic import SyntheticWorld

N_ROUNDS, LOG_SEED = 2_000, 100  # the sites of chapter 12, and how it learns
FIT: dict[str, Any] = {"epochs": 20, "batch_size": 200, "hidden": (32,), "dim_embedding": 16}
DEVELOPMENT, REPORTED = tuple(range(600, 610)), tuple(range(20))
TAIL = 1.5  # of what a click pays: the mean is finite, the variance is not
NOISE = 1.0  # of the logarithm of a wrong propensity
RATES = (1e-3, 5e-3)
DEFAULT = "default"  # `OffPolicyLearner()`; its setting is where rewards are cut off, 0 is nowhere
CAP = 3.0

# An objective by its setting, and the settings that are tried.
TAMED: dict[str, tuple[Callable[[float], str | Objective], tuple[float, ...]]] = {
    "ips": (lambda _: "ips", (0.0,)),
    "snips": (lambda _: "snips", (0.0,)),
    "clipped_ips": (objectives.clipped_ips, (3.0, 10.0, 30.0)),
    "exponential_smoothing": (objectives.exponential_smoothing, (0.3, 0.5, 0.7)),
    "logarithmic_smoothing": (objectives.logarithmic_smoothing, (0.1, 1.0, 10.0)),
    "log_sum_exp": (objectives.log_sum_exp, (0.01, 0.03, 0.1, 0.3)),
}


def as_logged(log: BanditFeedback, rng: np.random.Generator) -> BanditFeedback:
    """The log as it is: clicks, and right propensities."""
    return log


def priced(log: BanditFeedback, rng: np.random.Generator) -> BanditFeedback:
    """A click pays a Pareto amount of mean 1, so that the values of policies stay what they are."""
    paid = (1 + rng.pareto(TAIL, log.n_rounds)) * (TAIL - 1) / TAIL
    return _remade(log, reward=log.reward * paid)


def misrecorded(log: BanditFeedback, rng: np.random.Generator) -> BanditFeedback:
    """Propensities times log-normal noise of median 1, at most 1."""
    noise = rng.lognormal(0.0, NOISE, log.n_rounds)
    return _remade(log, pscore=np.minimum(log.pscore * noise, 1.0))


def _remade(log: BanditFeedback, **columns: np.ndarray) -> BanditFeedback:
    kept = {"reward": log.reward, "pscore": log.pscore, **columns}
    return BanditFeedback(log.context, log.action, **kept, action_context=log.action_context)


def site(seed: int) -> SyntheticWorld:
    """A site of chapter 12, whose logging policy knows nothing."""
    return _site(seed, epsilon_greedy(0.3))


def stale_site(seed: int) -> SyntheticWorld:
    """The same with a logging policy that follows a stale model, and explores in 1 of 20 rounds."""
    known = _site(seed, uniform())
    return _site(seed, stale_greedy(known, epsilon=0.05, random_state=seed))


def _site(seed: int, logging_policy: Any) -> SyntheticWorld:
    return SyntheticWorld(
        n_actions=10,
        dim_context=10,
        dim_action_context=10,
        logging_policy=logging_policy,
        n_eval_contexts=2_000,
        random_state=seed,
    )


# A kind of log: its world, and what is done to what the world logged.
LOGS = {
    "clicks": (site, as_logged),
    "long-tailed amounts": (site, priced),
    "wrong propensities": (site, misrecorded),
    "stale good logging": (stale_site, as_logged),
}


@dataclass(frozen=True)
class TailsCell:
    """An objective with a setting and a learning rate, on a kind of log."""

    log: str
    objective: str
    setting: float = 0.0
    learning_rate: float = 0.0

    results: ClassVar[tuple[str, ...]] = (
        *("softmax_value", "greedy_value"),
        *("logging", "uniform", "best_constant_item", "optimum"),
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"{self.log:<20} {self.objective:<22} {self.setting:<5g} {self.learning_rate:g}"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        return n_seeds

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Learn from one log a seed, and look at the truth.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a world, its log, what is done to it, and a learner.

        Returns
        -------
        list of dict
            The settings and ``seed``; the true value of the policy as a softmax and greedily; the
            reference values; ``seconds``.
        """
        start = time.perf_counter()
        make_world, change = LOGS[self.log]
        worlds = [make_world(seed) for seed in seeds]
        logs = [
            change(world.sample(N_ROUNDS, LOG_SEED), np.random.default_rng(seed))
            for seed, world in zip(seeds, worlds, strict=True)
        ]
        if self.objective == DEFAULT and self.setting:
            logs = [_remade(log, reward=np.minimum(log.reward, self.setting)) for log in logs]
        learners = [self._learner(seed) for seed in seeds]
        fit_many(learners, logs)
        rows = []
        for seed, world, learner in zip(seeds, worlds, learners, strict=True):
            policy = learner.policy_
            rows.append(
                {
                    **self.settings,
                    "seed": seed,
                    "softmax_value": world.policy_value(policy),
                    "greedy_value": world.policy_value(policy.at_temperature(0)),
                    **world.reference_values(),
                }
            )
        seconds = (time.perf_counter() - start) / len(seeds)
        return [{**row, "seconds": seconds} for row in rows]

    def _learner(self, seed: int) -> OffPolicyLearner:
        if self.objective == DEFAULT:
            return OffPolicyLearner(random_state=seed, progress=False)
        make, _ = TAMED[self.objective]
        return OffPolicyLearner(
            make(self.setting),
            learning_rate=self.learning_rate,
            random_state=seed,
            progress=False,
            **FIT,
        )


def tails_cells() -> tuple[TailsCell, ...]:
    """Every setting and the default on every kind of log, and the default with capped rewards."""
    tried = [
        TailsCell(log, name, setting, rate)
        for log in LOGS
        for name, (_, settings) in TAMED.items()
        for setting in settings
        for rate in RATES
    ]
    as_typed = [TailsCell(log, DEFAULT) for log in LOGS]
    return (*tried, *as_typed, TailsCell("long-tailed amounts", DEFAULT, CAP))
