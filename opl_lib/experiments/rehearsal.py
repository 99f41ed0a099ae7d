"""How often a selection goes wrong: many logs of one world, each learned from and chosen from."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from ..learner import OffPolicyLearner
from ..reward_models import CrossFittedRewardModel
from ..selection import graded, parts, select
from ..training import fit_many
from .atlas import REGRESSION_RATE, TEMPERATURES, WORLDS, Fitted, make_learner, reward_models

WORLD_SEED = 0
OBJECTIVES = ("regression", "dm", "dr", "baseline_ips")


@dataclass(frozen=True)
class RehearsalCell:
    """A world of the map, by its name, and the length of the logs."""

    world: str
    n_rounds: int

    @property
    def settings(self) -> dict[str, Any]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"{self.world:<20} {self.n_rounds:>6} rounds"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        return self.n_rounds * n_seeds

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Select from one log a seed, as `select` does, and look at the truth.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a log and its learners; the world is the same for all.

        Returns
        -------
        list of dict
            The settings and ``seed``; what `rehearse` says of the log; ``logging`` and ``optimum``,
            the values of these policies; ``seconds``.
        """
        import torch

        torch.set_num_threads(1)
        start = time.perf_counter()
        world = WORLDS[self.world].world(WORLD_SEED)
        references = world.reference_values()
        split = [parts(world.sample(self.n_rounds, seed)) for seed in seeds]
        to_fit = [part for part, _, _ in split]
        q_hats = reward_models(OBJECTIVES, to_fit, seeds)
        learners = [candidates(*each) for each in zip(seeds, q_hats, strict=True)]
        fit_many(
            [learner for of_log in learners for learner in of_log.values()],
            [log for log in to_fit for _ in OBJECTIVES],
        )
        rows = []
        for seed, logs, of_log in zip(seeds, split, learners, strict=True):
            policies = {name: learner.policy_ for name, learner in of_log.items()}
            q_hat = Fitted(of_log["regression"])
            selection = select(policies, logs, TEMPERATURES, reward_model=q_hat, progress=False)
            outcome = graded(selection, world, references["logging"])
            values = {name: references[name] for name in ("logging", "optimum")}
            rows.append({**self.settings, "seed": seed, **outcome, **values})
        seconds = (time.perf_counter() - start) / len(seeds)
        return [{**row, "seconds": seconds} for row in rows]


def candidates(seed: int, reward_model: CrossFittedRewardModel) -> dict[str, OffPolicyLearner]:
    """What is chosen from, each as a softmax and greedily."""
    return {
        objective: make_learner(
            objective, REGRESSION_RATE if objective == "regression" else 3e-4, seed, reward_model
        )
        for objective in OBJECTIVES
    }
