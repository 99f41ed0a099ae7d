"""How often a selection goes wrong: many logs of one world, each learned from and chosen from."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from ..learner import OffPolicyLearner
from ..selection import Selection, rehearse, select
from .atlas import BATCH_SIZE, WORLDS

WORLD_SEED = 0
OBJECTIVES = ("regression", "dm", "dr", "baseline_ips")
EPOCHS = 5


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
        """Select from one log a seed, and look at the truth.

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
        world = WORLDS[self.world].world(WORLD_SEED)
        references = world.reference_values()
        rows = []
        for seed in seeds:
            start = time.perf_counter()
            learners = candidates(seed)

            def choose(log: Any, learners: dict[str, OffPolicyLearner] = learners) -> Selection:
                return select(learners, log, temperatures=[1, 0], progress=False)

            table = rehearse(choose, world, self.n_rounds, 1, progress=False, random_state=seed)
            rows.append(
                {
                    **self.settings,
                    "seed": seed,
                    **table.iloc[0].to_dict(),
                    **{name: references[name] for name in ("logging", "optimum")},
                    "seconds": time.perf_counter() - start,
                }
            )
        return rows


def candidates(seed: int) -> dict[str, OffPolicyLearner]:
    """What is chosen from, each as a softmax and greedily."""
    return {
        objective: OffPolicyLearner(
            objective,
            epochs=EPOCHS,
            batch_size=BATCH_SIZE,
            learning_rate=1e-3 if objective == "regression" else 3e-4,
            progress=False,
            random_state=seed,
        )
        for objective in OBJECTIVES
    }
