"""A rule chose: what a regression learns from such a log, and from one that explored a little."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from opl_lib.evaluation.evaluate import evaluate
from opl_lib.learning.regressor import TwoTowerRegressor
from opl_lib.worlds.stale import stale_greedy
from opl_lib.worlds.synthetic import SyntheticWorld

from .rare import LOG_SEED, SETTINGS

N_ITEMS, CLICK_RATE = 20, 0.2  # so that what a log of a rule lacks is choice, not clicks
EPSILONS = (0.0, 0.01, 0.05, 0.2)


@dataclass(frozen=True)
class Rule:
    """Show the item with the largest score of a model, but for a share of rounds any."""

    model: Any
    epsilon: float

    def __call__(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        pi = self.model(context, action_context)
        pi = np.eye(pi.shape[1])[pi.argmax(axis=1)]
        return (1 - self.epsilon) * pi + self.epsilon / pi.shape[1]


@dataclass(frozen=True)
class RuleCell:
    """How much the rule explores, and what of the items their features do not explain."""

    epsilon: float
    unexplained: float
    n_rounds: int

    results: ClassVar[tuple[str, ...]] = (
        *("learned", "promised", "dr", "dr_error", "logging", "uniform", "best_constant_item"),
        "optimum",
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"epsilon {self.epsilon:<5g} unexplained {self.unexplained:g}"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        return self.n_rounds * n_seeds // 1000

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Learn a regression from one log a seed, and look at the truth.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a world, the rule's model, its log and the learner.

        Returns
        -------
        list of dict
            The settings and ``seed``; the true value of what was ``learned``, served greedily; what
            the direct method ``promised`` of it; the estimate by ``dr`` on a second log, with
            ``dr_error``; the reference values; ``seconds``.
        """
        rows = []
        for seed in seeds:
            start = time.perf_counter()
            world = self.world(seed)
            q_hat = TwoTowerRegressor("regression", random_state=seed, **SETTINGS)
            q_hat.fit(world.sample(self.n_rounds, LOG_SEED))
            policy = q_hat.policy_.at_temperature(0)
            x, items = world.eval_context, world.action_context
            chosen = policy.predict_proba(x, items)
            second = world.sample(self.n_rounds, LOG_SEED + 1)
            dr = evaluate(policy, second, ["dr"], reward_model=q_hat).loc["dr"]
            rows.append(
                {
                    **self.settings,
                    "seed": seed,
                    "learned": world.policy_value(policy),
                    "promised": float((chosen * q_hat.predict_reward(x, items)).sum(axis=1).mean()),
                    "dr": dr.policy_value,
                    "dr_error": dr.std_error,
                    **world.reference_values(),
                    "seconds": time.perf_counter() - start,
                }
            )
        return rows

    def world(self, seed: int) -> SyntheticWorld:
        """The world of a seed, whose rule follows a stale model of it."""
        known = self._made(seed, None)
        return self._made(seed, Rule(stale_greedy(known, random_state=seed), self.epsilon))

    def _made(self, seed: int, logging_policy: Any) -> SyntheticWorld:
        return SyntheticWorld(
            n_actions=N_ITEMS,
            dim_context=10,
            dim_action_context=10,
            unexplained=self.unexplained,
            logging_policy=logging_policy,
            n_eval_contexts=2_000,
            random_state=seed,
            click_rate=CLICK_RATE,
        )
