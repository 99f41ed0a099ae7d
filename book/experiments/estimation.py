"""Which estimator errs least: many worlds, each with a log, and policies whose value is known.

What is estimated is the difference to the logging policy, as `select` asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from opl_lib.evaluation.estimators import Estimator
from opl_lib.evaluation.terms import policy_terms
from opl_lib.learning.cross_fitting import cross_fit
from opl_lib.logs.feedback import BanditFeedback
from opl_lib.protocols import PolicyLike
from opl_lib.worlds.logging_policies import epsilon_greedy, uniform
from opl_lib.worlds.synthetic import SyntheticWorld

LOG_SEED, OTHER_LOG_SEED = 1, 2
ESTIMATORS = (
    *("snips", "ips", "clipped_ips", "lse", "beta_ips"),
    *("dr", "clipped_dr", "sndr", "switch_dr", "dros", "beta_dr"),
)
POLICIES = ("greedy", "softmax", "cautious")
_CAUTION = 0.7  # the share of the logging policy in the cautious one
_N_OTHER_ROUNDS = 3_000
_PENALTY = 10.0


@dataclass(frozen=True)
class LoggedSpec:
    """A world, and a logging policy: a function of the world, or one that needs to know nothing."""

    logging_policy: Any
    beta: float | None = None
    n_actions: int = 10
    scale: float = 1.0
    unexplained: float = 0.0
    click_rate: float | None = None

    def world(self, seed: int) -> SyntheticWorld:
        """The world of a seed."""
        known = self.made(seed, uniform())
        if self.beta is None:
            return self.made(seed, self.logging_policy)
        return self.made(seed, SoftmaxOfReward(known, self.beta))

    def made(self, seed: int, logging_policy: PolicyLike) -> SyntheticWorld:
        return SyntheticWorld(
            n_actions=self.n_actions,
            dim_context=10,
            dim_action_context=10,
            logging_policy=logging_policy,
            scale=self.scale,
            unexplained=self.unexplained,
            click_rate=self.click_rate,
            n_eval_contexts=50_000,
            random_state=seed,
        )


LOGGED = {
    "β = −5": LoggedSpec(None, beta=-5),
    "β = −5, saturated": LoggedSpec(None, beta=-5, scale=10),
    "β = 5": LoggedSpec(None, beta=5),
    "uniform": LoggedSpec(uniform()),
    "ε = 0.1": LoggedSpec(epsilon_greedy(0.1)),
    "ε = 0.1, unexplained": LoggedSpec(epsilon_greedy(0.1), n_actions=40, unexplained=0.7),
    "rare clicks, uniform": LoggedSpec(uniform(), click_rate=0.015),
    "rare clicks, ε = 0.1": LoggedSpec(epsilon_greedy(0.1), click_rate=0.015),
}


@dataclass(frozen=True)
class SoftmaxOfReward:
    """Show items with probability proportional to ``exp(β q(x, a))``, as ``obp`` does."""

    world: SyntheticWorld
    beta: float

    def __call__(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        return _softmax(self.beta * self.world.reward_probability(context))


@dataclass(eq=False)
class Ridge:
    """Ridge regression on all products of context and item features: the judge's reward model."""

    coefficients: np.ndarray | None = None
    mean: float = 0.0

    def fit(self, feedback: BanditFeedback) -> Ridge:
        """Fit the rewards of a log."""
        context = _with_one(feedback.context)
        item = _with_one(feedback.action_context)[feedback.action]
        products = (context[:, :, None] * item[:, None, :]).reshape(len(context), -1)
        self.mean = float(feedback.reward.mean())
        penalised = products.T @ products + _PENALTY * np.eye(products.shape[1])
        found = np.linalg.solve(penalised, products.T @ (feedback.reward - self.mean))
        self.coefficients = found.reshape(context.shape[1], item.shape[1])
        return self

    def predict_reward(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        """The predicted reward of all items, (n, n_actions)."""
        assert self.coefficients is not None
        return self.mean + _with_one(context) @ self.coefficients @ _with_one(action_context).T


@dataclass(frozen=True)
class Truth:
    """A reward model that is right: what no log can give, and so a limit of all that it can."""

    world: SyntheticWorld

    def fit(self, feedback: BanditFeedback) -> Truth:
        """It knows all."""
        return self

    def predict_reward(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        """The expected reward of all items, (n, n_actions)."""
        return self.world.reward_probability(context)


@dataclass(frozen=True)
class EstimationCell:
    """A world, by its name in `LOGGED`, and the length of the logs."""

    world: str
    n_rounds: int

    results: ClassVar[tuple[str, ...]] = (
        *("policy", "logging", "difference", "ess_change", "dr_truth"),
        *ESTIMATORS,
        *(f"{name}_se" for name in ESTIMATORS),
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"{self.world:<22} {self.n_rounds:>6} rounds"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        return (self.n_rounds + 30_000) * n_seeds * LOGGED[self.world].n_actions // 1000

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Estimate differences to the logging policy from one log a seed, and look at the truth.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a world, its log, and another log of uniform rounds, from which the policies
            are learned.

        Returns
        -------
        list of dict
            One row a policy: the settings and ``seed``; ``policy``; ``logging``, the value of the
            logging policy; ``difference``, the true one; ``ess_change``; for each estimator its
            estimate of the difference and its standard error; ``dr_truth``, the estimate of DR with
            the true expected rewards; ``seconds``.
        """
        start = time.perf_counter()
        rows = [row for seed in seeds for row in self._rows(seed)]
        seconds = (time.perf_counter() - start) / len(rows)
        return [{**row, "seconds": seconds} for row in rows]

    def _rows(self, seed: int) -> Iterator[dict[str, Any]]:
        world = LOGGED[self.world].world(seed)
        log = world.sample(self.n_rounds, LOG_SEED)
        q_hat = cross_fit(Ridge(), log, random_state=seed)
        logging = world.policy_value(world.logging_policy)
        for name, policy in _policies(LOGGED[self.world], world, seed).items():
            terms = policy_terms(policy, log, q_hat).against_logging()
            right = policy_terms(policy, log, Truth(world)).against_logging()
            samples = {each: Estimator(each).sample(terms) for each in ESTIMATORS}
            yield {
                **self.settings,
                "seed": seed,
                "policy": name,
                "logging": logging,
                "difference": world.policy_value(policy) - logging,
                "ess_change": terms.ess_change,
                "dr_truth": Estimator("dr").sample(right).value,
                **{each: sample.value for each, sample in samples.items()},
                **{f"{each}_se": sample.standard_error for each, sample in samples.items()},
            }


def _policies(spec: LoggedSpec, world: SyntheticWorld, seed: int) -> dict[str, Any]:
    """Learned from another log of the same world, as a regression served in three ways."""
    explored = spec.made(seed, uniform())
    model = Ridge().fit(explored.sample(_N_OTHER_ROUNDS, OTHER_LOG_SEED))
    q_hat = model.predict_reward(world.eval_context, world.action_context)
    spread = float(q_hat.std(axis=1).mean())

    def greedy(context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        q_hat = model.predict_reward(context, action_context)
        return np.eye(q_hat.shape[1])[q_hat.argmax(axis=1)]

    def softmax(context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        return _softmax(2 * model.predict_reward(context, action_context) / spread)

    def cautious(context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        known = world.logging_policy(context, action_context)
        return _CAUTION * known + (1 - _CAUTION) * greedy(context, action_context)

    return dict(zip(POLICIES, (greedy, softmax, cautious), strict=True))


def _with_one(features: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(features)), features])


def _softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
