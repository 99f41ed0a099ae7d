"""Two candidates on one log: what it helps to estimate their difference row by row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from opl_lib.evaluation.estimators import Estimator
from opl_lib.evaluation.terms import Terms, policy_terms
from opl_lib.learning.cross_fitting import cross_fit
from opl_lib.protocols import PolicyLike
from opl_lib.worlds.logging_policies import uniform
from opl_lib.worlds.synthetic import SyntheticWorld

from .estimation import LOG_SEED, LOGGED, Ridge

PAIR_WORLDS = ("uniform", "ε = 0.1", "β = 5", "β = −5", "rare clicks, uniform")
PAIRS = ("greedy", "near logging", "greedy and softmax")
ESTIMATED = ("ips", "snips", "beta_ips", "clipped_dr", "beta_dr")
_TAUGHT_BY = (2, 3)  # the seeds of two other logs, each of which teaches a candidate
_N_ROUNDS_TAUGHT, _CAUTION = 3_000, 0.7


def delta_beta(one: Terms, other: Terms) -> np.ndarray:
    """Terms of Δβ-IPS: one baseline for the difference, the one of the smallest variance."""
    gap = one.weight - other.weight
    beta = np.cov(gap, gap * one.reward)[0, 1] / gap.var(ddof=1)
    return gap * (one.reward - beta)


@dataclass(frozen=True)
class PairsCell:
    """A world, by its name in `LOGGED`, and the length of the log."""

    world: str
    n_rounds: int

    results: ClassVar[tuple[str, ...]] = (
        *("pair", "difference", "delta_beta", "delta_beta_se", "agree"),
        *ESTIMATED,
        *(f"{name}_{kind}" for name in ESTIMATED for kind in ("se", "apart")),
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
        return (self.n_rounds + 60_000) * n_seeds // 1000

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Estimate what the first of two candidates earns more than the second.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a world, its log, and two other logs of uniform rounds, which teach the
            candidates.

        Returns
        -------
        list of dict
            One row a pair: the settings and ``seed``; ``pair``; the true ``difference``; how often
            the two ``agree`` on the item; for each estimator its estimate, its standard error on
            the same rows (``_se``) and that of two separate estimates (``_apart``); ``seconds``.
        """
        start = time.perf_counter()
        rows = [row for seed in seeds for row in self._rows(seed)]
        seconds = (time.perf_counter() - start) / len(rows)
        return [{**row, "seconds": seconds} for row in rows]

    def _rows(self, seed: int) -> Iterator[dict[str, Any]]:
        world = LOGGED[self.world].world(seed)
        log = world.sample(self.n_rounds, LOG_SEED)
        q_hat = cross_fit(Ridge(), log, random_state=seed)
        x, items = world.eval_context, world.action_context
        for pair, policies in _pairs(self.world, world, seed).items():
            one, other = (policy_terms(policy, log, q_hat) for policy in policies)
            pi, pi_other = (policy(x, items) for policy in policies)
            row = {
                **self.settings,
                "seed": seed,
                "pair": pair,
                "difference": world.policy_value(policies[0]) - world.policy_value(policies[1]),
                "agree": float((pi * pi_other).sum(axis=1).mean()),
            }
            row["delta_beta"], row["delta_beta_se"] = _mean_and_error(delta_beta(one, other))
            for name in ESTIMATED:
                samples = [Estimator(name).sample(terms) for terms in (one, other)]
                found = _mean_and_error(samples[0].terms - samples[1].terms)
                row[name], row[f"{name}_se"] = found
                row[f"{name}_apart"] = float(np.hypot(*(each.standard_error for each in samples)))
            yield row


def _mean_and_error(terms: np.ndarray) -> tuple[float, float]:
    return float(terms.mean()), float(terms.std(ddof=1) / np.sqrt(len(terms)))


def _pairs(name: str, world: SyntheticWorld, seed: int) -> dict[str, tuple[PolicyLike, PolicyLike]]:
    """Two of one kind, learned from other logs; and one that is served in two ways."""
    explored = LOGGED[name].made(seed, uniform())
    models = [Ridge().fit(explored.sample(_N_ROUNDS_TAUGHT, taught)) for taught in _TAUGHT_BY]
    first, second = (_greedy(model) for model in models)
    near, near_other = (_mixed(world, policy) for policy in (first, second))
    return dict(
        zip(
            PAIRS,
            ((first, second), (near, near_other), (first, _softmax(models[0]))),
            strict=True,
        )
    )


Policy = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _greedy(model: Ridge) -> Policy:
    def policy(context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        q_hat = model.predict_reward(context, action_context)
        return np.eye(q_hat.shape[1])[q_hat.argmax(axis=1)]

    return policy


def _softmax(model: Ridge) -> Policy:
    def policy(context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        q_hat = model.predict_reward(context, action_context)
        z = 2 * q_hat / q_hat.std(axis=1).mean()
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    return policy


def _mixed(world: SyntheticWorld, policy: Policy) -> Policy:
    def mixed(context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        known = world.logging_policy(context, action_context)
        return _CAUTION * known + (1 - _CAUTION) * policy(context, action_context)

    return mixed
