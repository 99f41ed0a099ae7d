"""Which learner wins where: worlds, learners with settings to choose from, and the choice.

Every learner gets the same log, learns with each of its settings on three quarters of it, and is
served as the candidate with the largest DR estimate on the last quarter, as `select` computes it.
The truth is looked at only afterwards.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from opl_lib.learning.learner import fit_many
from opl_lib.learning.reward_models import FittedRewardModel
from opl_lib.logs.feedback import BanditFeedback
from opl_lib.protocols import HasTemperature, PolicyLike, RewardModel
from opl_lib.selection.judge import LOGGING
from opl_lib.selection.select import Selection, select
from opl_lib.worlds.base import World
from opl_lib.worlds.digits import DigitsWorld
from opl_lib.worlds.logging_policies import epsilon_greedy, uniform
from opl_lib.worlds.synthetic import SyntheticWorld

from .learners import LEARNERS, OBJECTIVES, make_regressor
from .peers import PEERS

LOG_SEED = 1
TEMPERATURES = (0.0, 1.0)


@dataclass(frozen=True)
class WorldSpec:
    """A world by name: how it is made, and how long its log is."""

    logging_policy: Any
    n_rounds: int = 5_000
    n_actions: int = 10
    scale: float = 1.0
    unexplained: float = 0.0

    def world(self, seed: int) -> World:
        """The world of a seed."""
        return SyntheticWorld(
            n_actions=self.n_actions,
            dim_context=20,
            dim_action_context=20,
            logging_policy=self.logging_policy,
            scale=self.scale,
            unexplained=self.unexplained,
            n_eval_contexts=2_000,
            random_state=seed,
        )


@dataclass(frozen=True)
class DigitsSpec(WorldSpec):
    """`DigitsWorld`, whose logging policy is `alpha` times a weak classifier, the rest uniform."""

    alpha: float = 0.5

    def world(self, seed: int) -> World:
        return DigitsWorld(alpha=self.alpha, random_state=seed)


WORLDS = {
    "uniform logging": WorldSpec(uniform()),
    "ε-greedy logging": WorldSpec(epsilon_greedy(0.3)),
    "little overlap": WorldSpec(epsilon_greedy(0.05)),
    "short log": WorldSpec(epsilon_greedy(0.3), n_rounds=1_000),
    "noisy rewards": WorldSpec(epsilon_greedy(0.3), scale=0.3),
    "saturated rewards": WorldSpec(epsilon_greedy(0.3), scale=10),
    "many items": WorldSpec(epsilon_greedy(0.3), n_actions=100),
    "unexplained items": WorldSpec(epsilon_greedy(0.3), n_actions=40, unexplained=0.7),
    "digits": DigitsSpec(None, n_rounds=3_000),
}


@dataclass(frozen=True)
class MapCell:
    """A learner in a world; both are names in `LEARNERS` and `WORLDS`."""

    world: str
    learner: str

    results: ClassVar[tuple[str, ...]] = (
        *("chosen", "policy_value", "bound_value", "best_value", "difference", "kept_logging"),
        *("logging", "uniform", "best_constant_item", "optimum"),
    )

    @property
    def settings(self) -> dict[str, str]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"{self.world:<20} {self.learner:<28}"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        spec = WORLDS[self.world]
        tried = len(OBJECTIVES.get(self.learner, range(4))) + 1
        slow = 10 if self.learner in PEERS else 1
        return spec.n_rounds * (200 + spec.n_actions) * tried * slow * n_seeds // 1000

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Learn, choose and look at the truth; return a row of the table for each seed.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a world, its log and a learner.

        Returns
        -------
        list of dict
            ``world``, ``learner`` and ``seed``; the setting and temperature with the largest DR
            estimate (``chosen``) and its true value (``policy_value``); the true value of the one
            with the largest lower bound (``bound_value``), and of the one that only the truth could
            have chosen (``best_value``); the estimated gain of ``chosen`` over the logging policy
            (``difference``); whether no lower bound was above 0, so that `select` would have kept
            the logging policy even without its demand for effective rounds (``kept_logging``); the
            reference values; ``seconds``.
        """
        start = time.perf_counter()
        worlds = [WORLDS[self.world].world(seed) for seed in seeds]
        logs = [world.sample(WORLDS[self.world].n_rounds, LOG_SEED) for world in worlds]
        parts = [log.split(0.25, random_state=0) for log in logs]
        to_fit = [fit for fit, _ in parts]
        learned = LEARNERS[self.learner](to_fit, seeds)
        judges = [make_regressor(seed) for seed in seeds]
        fit_many(judges, to_fit)
        rows = []
        for seed, world, (_, held_out), policies, q_hat in zip(
            seeds, worlds, parts, learned, judges, strict=True
        ):
            candidates = _served(policies)
            chosen = _select(candidates, held_out, q_hat)
            values = {name: world.policy_value(policy) for name, policy in candidates.items()}
            ranked = chosen.table.drop(index=LOGGING)
            largest = ranked["difference"].idxmax()
            rows.append(
                {
                    **self.settings,
                    "seed": seed,
                    "chosen": largest,
                    "policy_value": values[largest],
                    "bound_value": values[ranked.index[0]],
                    "best_value": max(values.values()),
                    "difference": ranked["difference"].max(),
                    "kept_logging": int(chosen.best == LOGGING),
                    **world.reference_values(),
                }
            )
        seconds = (time.perf_counter() - start) / len(seeds)
        return [{**row, "seconds": seconds} for row in rows]


def _select(
    candidates: dict[str, PolicyLike], held_out: BanditFeedback, q_hat: RewardModel
) -> Selection:
    # The report is not used: the truth is known here. Every learner plays, so every bound counts.
    return select(
        candidates,
        (held_out, held_out, held_out),
        estimator="dr",
        reward_model=FittedRewardModel(q_hat),
        min_ess=0,
        progress=False,
    )


def _served(policies: dict[str, PolicyLike]) -> dict[str, PolicyLike]:
    """Every policy at every temperature, where it has one."""
    served: dict[str, PolicyLike] = {}
    for name, policy in policies.items():
        if isinstance(policy, HasTemperature) and policy.temperature is not None:
            served |= {f"{name} @ {t:g}": policy.at_temperature(t) for t in TEMPERATURES}
        else:
            served[name] = policy
    return served
