"""How often a selection goes wrong: many logs, each learned from and chosen from.

`BoundsCell` looks at every bound, in worlds of their own: there `select` got its demand for
effective rounds. `RehearsalCell` looks at what is chosen with it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from opl_lib.learning.cross_fitting import CrossFittedRewardModel
from opl_lib.learning.learner import OffPolicyLearner
from opl_lib.learning.many import fit_many
from opl_lib.learning.regressor import TwoTowerRegressor
from opl_lib.learning.reward_models import FittedRewardModel
from opl_lib.selection.candidates import parts
from opl_lib.selection.judge import LOGGING
from opl_lib.selection.rehearse import outcome
from opl_lib.selection.select import select
from opl_lib.selection.selected import Selection
from opl_lib.worlds.base import World

from .learners import make_learner, make_regressor, reward_models
from .map import TEMPERATURES, WORLDS, DigitsSpec

WORLD_SEED = 1
NOT_REHEARSED = ("short log", "rare clicks", "Zipf logging", "stale good logging")
REHEARSED = {
    **{name: spec for name, spec in WORLDS.items() if name not in NOT_REHEARSED},
    "good logging": DigitsSpec(None, alpha=0.9),
}
OBJECTIVES = ("regression", "dm", "dr", "baseline_ips")


@dataclass(frozen=True)
class RehearsalCell:
    """A world, by its name in `REHEARSED`, and the length of the logs."""

    world: str
    n_rounds: int

    results: ClassVar[tuple[str, ...]] = (
        *("best", "difference", "reported", "ci_lower", "ci_upper", "naive", "naive_difference"),
        *("naive_estimate", "trusted", "too_high", "logging", "optimum"),
    )

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
        return self.n_rounds * (200 + REHEARSED[self.world].n_actions) * n_seeds // 1000

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Select from one log a seed, as `select` does, and look at the truth.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a log and its learners; the world is the same for all.

        Returns
        -------
        list of dict
            The settings and ``seed``; what `rehearse` says of the log; ``trusted``, how many
            bounds counted, and ``too_high``, how many of these are above the truth; ``logging`` and
            ``optimum``, the values of these policies; ``seconds``.
        """
        start = time.perf_counter()
        world = REHEARSED[self.world].world(WORLD_SEED)
        references = world.reference_values()
        rows = []
        for seed, selection in zip(
            seeds, selections([world] * len(seeds), self.n_rounds, seeds), strict=True
        ):
            bounds = bounds_and_truth(selection, world, references["logging"])
            bounds = [row for row in bounds if row["trusted"]]
            rows.append(
                {
                    **self.settings,
                    "seed": seed,
                    **outcome(selection, world, references["logging"]),
                    "trusted": len(bounds),
                    "too_high": sum(row["lower_bound"] > row["gain"] for row in bounds),
                    **{name: references[name] for name in ("logging", "optimum")},
                }
            )
        return _timed(rows, start)


@dataclass(frozen=True)
class BoundsCell(RehearsalCell):
    """The same, with a world for each seed, and without a demand for effective rounds."""

    results: ClassVar[tuple[str, ...]] = (
        *("candidate", "difference", "lower_bound", "ess", "ess_change", "trusted", "gain"),
    )

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Bound every candidate on one log a seed, and look at the truth.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a world, its log and its learners.

        Returns
        -------
        list of dict
            One row a candidate: the settings and ``seed``; ``candidate``; its estimated
            ``difference`` to the logging policy, ``lower_bound``, ``ess`` and ``ess_change``;
            ``trusted``, 0 if the mean weight is off 1; ``gain``, its true difference; ``seconds``.
        """
        start = time.perf_counter()
        worlds = [REHEARSED[self.world].world(seed) for seed in seeds]
        rows = []
        for seed, world, selection in zip(
            seeds, worlds, selections(worlds, self.n_rounds, seeds, min_ess=0), strict=True
        ):
            logging = world.policy_value(world.logging_policy)
            rows += [
                {**self.settings, "seed": seed, **row}
                for row in bounds_and_truth(selection, world, logging)
            ]
        return _timed(rows, start)


def selections(
    worlds: Sequence[World], n_rounds: int, seeds: Sequence[int], **settings: Any
) -> list[Selection]:
    """What `select` makes of a log of each world, all learners fitted side by side."""
    logs = [parts(world.sample(n_rounds, seed)) for world, seed in zip(worlds, seeds, strict=True)]
    to_fit = [part for part, _, _ in logs]
    q_hats = reward_models(OBJECTIVES, to_fit, seeds)
    learners = [candidates(*each) for each in zip(seeds, q_hats, strict=True)]
    fit_many(
        [learner for of_log in learners for learner in of_log.values()],
        [log for log in to_fit for _ in OBJECTIVES],
    )
    return [
        select(
            {name: learner.policy_ for name, learner in of_log.items()},
            of_parts,
            TEMPERATURES,
            reward_model=FittedRewardModel(of_log["regression"]),
            min_rewards=0,  # half of the rounds have a reward, and min_ess counts them
            progress=False,
            **settings,
        )
        for of_log, of_parts in zip(learners, logs, strict=True)
    ]


def candidates(
    seed: int, reward_model: CrossFittedRewardModel | None
) -> dict[str, OffPolicyLearner | TwoTowerRegressor]:
    """What is chosen from, each as a softmax and greedily; the regression also judges."""
    return {
        name: make_regressor(seed)
        if name == "regression"
        else make_learner(name, 3e-4, seed, reward_model)
        for name in OBJECTIVES
    }


def bounds_and_truth(
    selection: Selection, world: World, logging_value: float
) -> list[dict[str, Any]]:
    """Every candidate's bound, what it rests on, and the truth."""
    return [
        {
            "candidate": row.Index,
            "difference": row.difference,
            "lower_bound": row.lower_bound,
            "ess": row.ess,
            "ess_change": row.ess_change,
            "trusted": int(row.trusted),
            "gain": world.policy_value(selection.policies[row.Index]) - logging_value,
        }
        for row in selection.table.drop(index=LOGGING).itertuples()
    ]


def _timed(rows: list[dict[str, Any]], start: float) -> list[dict[str, Any]]:
    seconds = (time.perf_counter() - start) / len(rows)
    return [{**row, "seconds": seconds} for row in rows]
