"""New items: a pseudo-inverse over item features (LCPI, PONA) beside a regression on them.

A round of an old item says something of all items that share its features. With features phi(a) of
an item and a logging policy pi_0, a round (a_i, r_i) gives item a the pseudo-reward
``phi(a)' G phi(a_i) r_i``, G the pseudo-inverse of the mean of ``phi phi'`` under pi_0. Its mean is
q(x, a) if q is linear in phi. PONA weighs it with the pseudo-reward of DR on the items' identities.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from opl_lib.learning.learner import OffPolicyLearner
from opl_lib.learning.many import fit_many
from opl_lib.learning.regressor import TwoTowerRegressor
from opl_lib.logs.feedback import BanditFeedback
from opl_lib.objectives import Objective
from opl_lib.objectives.value import linear_value
from opl_lib.worlds.synthetic import SyntheticWorld

N_OLD, N_NEW, N_ROUNDS = 20, 20, 8_000  # the sites of chapter 18
# Twice the epochs of that page: on seeds 900 to 903 the policies of this module gained by them.
FIT: dict[str, Any] = {"hidden": (32,), "dim_embedding": 16, "learning_rate": 3e-3, "epochs": 20}
UNEXPLAINED = (0.0, 0.5)
KAPPA = 0.5  # the weight of the pseudo-inverse in PONA; the other half is DR


def site(seed: int, unexplained: float) -> SyntheticWorld:
    """A site of chapter 18 on the morning after the new items came."""
    today = SyntheticWorld(
        n_actions=N_OLD,
        dim_context=5,
        dim_action_context=5,
        n_eval_contexts=2_000,
        random_state=seed,
        scale=2.0,
        unexplained=unexplained,
    )
    return today.with_new_items(N_NEW)


def marginals(items: np.ndarray) -> np.ndarray:
    """A leading 1 and the features: q is taken to be a sum over them."""
    return np.column_stack([np.ones(len(items)), items])


def carried_over(phi: np.ndarray, n_old: int) -> np.ndarray:
    """What a click on each old item says of each item, if old items are shown uniformly."""
    old = phi[:n_old]
    return phi @ np.linalg.pinv(old.T @ old / n_old) @ old.T


def pona(logits: Tensor, batch: Any, carried: Tensor, kappa: float) -> tuple[Tensor, Tensor]:
    """Value and gradient with kappa times the pseudo-inverse and 1 - kappa times DR."""
    h = kappa * carried[batch.action] * batch.reward[..., None]
    if kappa < 1:
        own, q_hat = batch.action[..., None], batch.q_hat.expand_as(logits)
        residual = (batch.reward[..., None] - q_hat.gather(-1, own)) / batch.pscore[..., None]
        h = h + (1 - kappa) * q_hat.scatter_add(-1, own, residual)
    return linear_value(logits, h)


# The weight of the pseudo-inverse, and what the policy's item tower reads.
LEARNERS: dict[str, tuple[float, str]] = {
    "DR": (0.0, "identities"),
    "PONA": (KAPPA, "identities"),
    "LCPI": (1.0, "identities"),
    "LCPI, features": (1.0, "features"),
    "PONA, features": (KAPPA, "features"),
}
REGRESSIONS = {"regression": False, "regression, old items": True}


@dataclass(frozen=True)
class NewItemsCell:
    """A learner, and the share of the differences between items that features do not explain."""

    learner: str
    unexplained: float

    results: ClassVar[tuple[str, ...]] = (
        *("value", "share_new", "value_new"),
        *("logging", "uniform", "best_constant_item", "optimum", "optimum_old"),
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"{self.learner:<24} unexplained {self.unexplained:g}"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        return n_seeds * (1 + (self.learner not in REGRESSIONS and "LCPI" not in self.learner))

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Learn from a log of old items, and serve old and new ones greedily.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a site, its log and a learner.

        Returns
        -------
        list of dict
            The settings and ``seed``; the true ``value`` of what was learned; the share of visitors
            who see a new item, and the part of the value that comes from them; the reference
            values, and what the best old item of each visitor would earn; ``seconds``.
        """
        start = time.perf_counter()
        worlds = {seed: site(seed, self.unexplained) for seed in seeds}
        logs = {seed: worlds[seed].sample(N_ROUNDS, random_state=seed) for seed in seeds}
        scores = self._scores(worlds, logs)
        rows = []
        for seed, world in worlds.items():
            q = world.expected_reward(world.eval_context)
            a = scores[seed].argmax(axis=1)
            earned, is_new = q[np.arange(len(q)), a], world.is_new[a]
            rows.append(
                {
                    **self.settings,
                    "seed": seed,
                    "value": float(earned.mean()),
                    "share_new": float(is_new.mean()),
                    "value_new": float((earned * is_new).mean()),
                    **world.reference_values(),
                    "optimum_old": float(q[:, ~world.is_new].max(axis=1).mean()),
                }
            )
        seconds = (time.perf_counter() - start) / len(seeds)
        return [{**row, "seconds": seconds} for row in rows]

    def _scores(self, worlds: Any, logs: dict[int, BanditFeedback]) -> dict[int, np.ndarray]:
        if self.learner in REGRESSIONS:
            models = {
                seed: TwoTowerRegressor("regression", random_state=seed, **FIT) for seed in logs
            }
            fit_many(models.values(), logs.values())
            hidden = REGRESSIONS[self.learner]
            return {
                seed: np.where(
                    hidden & worlds[seed].is_new,
                    -np.inf,
                    model.predict_reward(worlds[seed].eval_context, worlds[seed].action_context),
                )
                for seed, model in models.items()
            }
        kappa, reads = LEARNERS[self.learner]
        items = {
            seed: np.eye(N_OLD + N_NEW) if reads == "identities" else worlds[seed].action_context
            for seed in logs
        }
        learners = {}
        for seed in logs:
            phi = marginals(worlds[seed].action_context)
            carried = torch.tensor(carried_over(phi, N_OLD).T, dtype=torch.float32)
            objective = Objective(
                partial(pona, carried=carried, kappa=kappa),
                needs=("q_hat",) if kappa < 1 else (),
                name="pona",
            )
            q_hat = TwoTowerRegressor("regression", random_state=seed, progress=False, **FIT)
            model = {"reward_model": q_hat} if kappa < 1 else {}
            learners[seed] = OffPolicyLearner(
                objective, temperature=1, random_state=seed, progress=False, **model, **FIT
            ).fit(replace(logs[seed], action_context=items[seed]))
        return {
            seed: learner.policy_.predict_proba(worlds[seed].eval_context, items[seed])
            for seed, learner in learners.items()
        }


def new_items_cells() -> tuple[NewItemsCell, ...]:
    """Every learner in every kind of world."""
    return tuple(NewItemsCell(name, u) for u in UNEXPLAINED for name in (*REGRESSIONS, *LEARNERS))
