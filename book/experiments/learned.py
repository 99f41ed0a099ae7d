"""What the shortest lines earn: `learn`, `OffPolicyLearner()`, and what they were chosen from.

`DefaultsCell` is where defaults were chosen, in worlds of their own seeds; `LearnedCell` grades.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from opl_lib.learning.bilinear import BilinearLearner
from opl_lib.learning.learner import OffPolicyLearner
from opl_lib.selection.learn import learn
from opl_lib.selection.learned import Learned
from opl_lib.worlds.base import World

from .map import LOG_SEED, WORLDS

LEANS = (0.0, 0.03, 0.1, 0.3)


@dataclass(frozen=True)
class LearnedCell:
    """A world, by its name in `WORLDS`."""

    world: str

    results: ClassVar[tuple[str, ...]] = (
        *("default", "learn", "decision", "best", "estimate", "lower_bound", "ci_lower"),
        *("ci_upper", "naive", "best_value", "n_trusted", "too_high", "dr"),
        *("learn_seconds", "default_seconds", "logging", "uniform", "best_constant_item"),
        "optimum",
    )

    @property
    def settings(self) -> dict[str, str]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"{self.world:<20}"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        spec = WORLDS[self.world]
        return spec.n_rounds * (200 + spec.n_actions) * n_seeds // 1000

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Learn from one log a seed as a newcomer would, and look at the truth.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a world and its log.

        Returns
        -------
        list of dict
            ``world`` and ``seed``; the true values of what is typed: ``default``,
            ``OffPolicyLearner().fit(log)``; ``learn``, the policy of ``learn(log)``, with its
            ``decision``, the name (``best``), estimated gain (``estimate``), joint ``lower_bound``
            and interval of the chosen candidate; ``naive``, of the candidate with the largest
            estimate, or of logging where that is below 0; ``best_value``, of the one that only the
            truth could have chosen; ``n_trusted``, how many bounds counted, and ``too_high``, how
            many of these are above the truth; ``dr``, of plain DR as it once was the default; the
            seconds of two of them; the reference values; ``seconds``.
        """
        rows = []
        for seed in seeds:
            start = time.perf_counter()
            world = WORLDS[self.world].world(seed)
            row = {**self.settings, "seed": seed, **_typed(world, WORLDS[self.world].n_rounds)}
            rows.append({**row, "seconds": time.perf_counter() - start})
        return rows


def _typed(world: World, n_rounds: int) -> dict[str, Any]:
    """What the shortest lines make of a log of a world."""
    log = world.sample(n_rounds, LOG_SEED)
    references = world.reference_values()
    start = time.perf_counter()
    default = OffPolicyLearner(progress=False).fit(log).policy_
    default_seconds = time.perf_counter() - start
    found = learn(log, progress=False)
    dr = OffPolicyLearner("dr", epochs=10, progress=False)
    return {
        "default": world.policy_value(default),
        **_of_learned(found, world, references["logging"]),
        "dr": world.policy_value(dr.fit(log).policy_),
        "default_seconds": default_seconds,
        **references,
    }


def _of_learned(found: Learned, world: World, logging: float) -> dict[str, Any]:
    """What `learn` found, and the truth about it."""
    values = {name: world.policy_value(policy) for name, policy in found.policies.items()}
    table, gain = found.table, found.report.loc["difference"]
    largest = str(table.difference.idxmax())
    bounds = table.lower_bound[table.trusted.astype(bool)]
    return {
        "learn": values[found.best],
        "decision": found.decision,
        "best": found.best,
        "estimate": gain.value,
        "lower_bound": table.lower_bound[found.best],
        "ci_lower": gain.ci_lower,
        "ci_upper": gain.ci_upper,
        "naive": values[largest] if table.difference[largest] > 0 else logging,
        "best_value": max(values.values()),
        "n_trusted": len(bounds),
        "too_high": sum(bound > values[name] - logging for name, bound in bounds.items()),
        "learn_seconds": found.seconds,
    }


@dataclass(frozen=True)
class DefaultsCell(LearnedCell):
    """The same worlds, other seeds: how much a policy should lean on the logging policy."""

    results: ClassVar[tuple[str, ...]] = (
        *("lean", "greedy", "softmax", "logging", "uniform", "best_constant_item", "optimum"),
    )

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Serve one fit at several distances from the logging policy.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a world and its log.

        Returns
        -------
        list of dict
            One row a lean: ``world``, ``seed``, ``lean``; the true values of the ``greedy`` policy
            and of the ``softmax`` at temperature `lean`; the reference values; ``seconds``.
        """
        rows = []
        for seed in seeds:
            start = time.perf_counter()
            world = WORLDS[self.world].world(seed)
            learner = BilinearLearner().fit(world.sample(WORLDS[self.world].n_rounds, LOG_SEED))
            references = world.reference_values()
            of_seed = [
                {
                    **self.settings,
                    "seed": seed,
                    "lean": lean,
                    "greedy": world.policy_value(learner.near_logging(lean, 0)),
                    "softmax": world.policy_value(learner.near_logging(lean)),
                    **references,
                }
                for lean in LEANS
            ]
            seconds = (time.perf_counter() - start) / len(of_seed)
            rows += [{**row, "seconds": seconds} for row in of_seed]
        return rows
