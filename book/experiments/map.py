"""Which learner wins where: worlds, learners with settings to choose from, and the choice.

Every learner gets the same log, learns with each of its settings on three quarters of it, and is
served as the candidate with the largest DR estimate on the last quarter, as `select` computes it.
The truth is looked at only afterwards.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from opl_lib.learning.many import fit_many
from opl_lib.learning.reward_models import FittedRewardModel
from opl_lib.logs.feedback import BanditFeedback
from opl_lib.protocols import HasTemperature, PolicyLike, RewardModel
from opl_lib.selection.judge import LOGGING
from opl_lib.selection.select import select
from opl_lib.selection.selected import Selection
from opl_lib.worlds.base import World
from opl_lib.worlds.digits import DigitsWorld
from opl_lib.worlds.logging_policies import epsilon_greedy, uniform, zipf
from opl_lib.worlds.stale import stale_greedy
from opl_lib.worlds.synthetic import SyntheticWorld

from .learners import LEARNERS, OBJECTIVES, make_regressor
from .peers import PEERS

LOG_SEED = 1
TEMPERATURES = (0.0, 1.0)

# What takes long in a large world is left out, see `plays`: of the library's own learners, all but
# the best of what predicts; among many items also the best of what goes on from there by weights,
# and of what forms clusters.
LARGE = {"n_rounds": 5_000, "n_actions": 100}  # in a large world, one of these is exceeded
OWN_WITH_ROUNDS = ("regression",)
OWN_WITH_ITEMS = (*OWN_WITH_ROUNDS, "warm start, DR", "POTEC")
SLOW_WITH_ROUNDS = ("obp network, IPS", "obp network, DR", "Vowpal Wabbit")
SLOW_WITH_ITEMS = (*SLOW_WITH_ROUNDS, "obp classifier", "boosting")


@dataclass(frozen=True)
class WorldSpec:
    """A world by name: how it is made, and how long its log is."""

    logging_policy: Any
    n_rounds: int = 5_000
    n_actions: int = 10
    scale: float = 1.0
    unexplained: float = 0.0
    click_rate: float | None = None

    def world(self, seed: int) -> World:
        """The world of a seed."""
        return self._synthetic(seed, self.logging_policy)

    def _synthetic(self, seed: int, logging_policy: Any) -> SyntheticWorld:
        return SyntheticWorld(
            n_actions=self.n_actions,
            dim_context=20,
            dim_action_context=20,
            logging_policy=logging_policy,
            scale=self.scale,
            unexplained=self.unexplained,
            n_eval_contexts=2_000,
            random_state=seed,
            click_rate=self.click_rate,
        )


@dataclass(frozen=True)
class DigitsSpec(WorldSpec):
    """`DigitsWorld`, whose logging policy is `alpha` times a weak classifier, the rest uniform."""

    alpha: float = 0.5

    def world(self, seed: int) -> World:
        return DigitsWorld(alpha=self.alpha, random_state=seed)


@dataclass(frozen=True)
class StaleSpec(WorldSpec):
    """A world whose logging policy follows a stale model of it, and explores now and then."""

    epsilon: float = 0.05

    def world(self, seed: int) -> World:
        known = self._synthetic(seed, uniform())
        return self._synthetic(seed, stale_greedy(known, self.epsilon, random_state=seed))


WORLDS = {
    "uniform logging": WorldSpec(uniform()),
    "ε-greedy logging": WorldSpec(epsilon_greedy(0.3)),
    "little overlap": WorldSpec(epsilon_greedy(0.05)),
    "short log": WorldSpec(epsilon_greedy(0.3), n_rounds=1_000),
    "noisy rewards": WorldSpec(epsilon_greedy(0.3), scale=0.3),
    "saturated rewards": WorldSpec(epsilon_greedy(0.3), scale=10),
    "many items": WorldSpec(epsilon_greedy(0.3), n_actions=100),
    "unexplained items": WorldSpec(epsilon_greedy(0.3), n_actions=40, unexplained=0.7),
    "rare clicks": WorldSpec(epsilon_greedy(0.3), n_rounds=20_000, click_rate=0.015),
    "Zipf logging": WorldSpec(zipf(), n_rounds=10_000, n_actions=1_000),
    "stale good logging": StaleSpec(None),
    "digits": DigitsSpec(None, n_rounds=3_000),
}


def plays(learner: str, world: str) -> bool:
    """Whether a learner is run in a world: all of them, unless the world is large."""
    spec = WORLDS[world]
    many_rounds = spec.n_rounds > LARGE["n_rounds"]
    many_items = spec.n_actions > LARGE["n_actions"]
    if learner in PEERS:
        slow = SLOW_WITH_ITEMS if many_items else SLOW_WITH_ROUNDS if many_rounds else ()
        return learner not in slow
    if many_items:
        return learner in OWN_WITH_ITEMS
    return learner in OWN_WITH_ROUNDS or not many_rounds


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
        slow = 10 if self.learner in SLOW_WITH_ITEMS else 1
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


def map_cells() -> tuple[MapCell, ...]:
    """Every learner in every world that it is run in."""
    return tuple(MapCell(w, name) for w in WORLDS for name in LEARNERS if plays(name, w))


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
        min_rewards=0,
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
