"""Bounds where clicks are rare, and what exploration buys: policies that no log has taught."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from opl_lib.evaluation.estimators import Estimator
from opl_lib.evaluation.intervals import Interval
from opl_lib.evaluation.terms import policy_terms
from opl_lib.learning.regressor import TwoTowerRegressor
from opl_lib.selection.judge import Judge
from opl_lib.worlds.logging_policies import uniform
from opl_lib.worlds.shop import ShopWorld

from .rare import LOG_SEED, RARE, SETTINGS, RareMapCell, shop

WORLD_SEED, TEACHER_SEED = 1, 0
ESTIMATORS = ("ips", "clipped_dr")
EXPLORATIONS = (0.05, 0.1, 0.2, 0.4)
BOLDER = 2.0


@dataclass(frozen=True)
class RareBoundsCell(RareMapCell):
    """The worlds of the map: how often a lower bound of a gain is above the truth."""

    results: ClassVar[tuple[str, ...]] = (
        *("policy", "estimator", "difference", "std_error", "bound", "gain"),
        *("ess_change", "clicks_of_change"),
    )

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Bound the gains of three policies on one log a seed, with confidence 95 % each.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a log; world and policies are the same for all.

        Returns
        -------
        list of dict
            One row a policy and estimator: the settings and ``seed``; the estimated ``difference``
            to the logging policy, its ``std_error`` and one-sided lower ``bound``; the true
            ``gain``; the effective rounds, or users, that show the change (``ess_change``), and
            those that do so with a click (``clicks_of_change``); ``seconds``.
        """
        world = self.made(WORLD_SEED)
        teacher = world.sample(40_000, TEACHER_SEED)
        q_hat = TwoTowerRegressor("regression", random_state=0, **SETTINGS).fit(teacher)
        policies = {
            "uniform": uniform(),
            "greedy": q_hat.policy_.at_temperature(0),
            "softened": q_hat.policy_.at_temperature(0.5),
        }
        logging = world.policy_value(world.logging_policy)
        gains = {name: world.policy_value(each) - logging for name, each in policies.items()}
        rows = []
        for seed in seeds:
            start = time.perf_counter()
            log = world.sample(self.n_rounds, seed)
            of_seed = []
            for name, policy in policies.items():
                terms = policy_terms(policy, log, q_hat)
                of_seed += [
                    {
                        **self.settings,
                        "seed": seed,
                        "policy": name,
                        "estimator": estimator,
                        **_bound(terms, estimator),
                        "gain": gains[name],
                    }
                    for estimator in ESTIMATORS
                ]
            seconds = (time.perf_counter() - start) / len(of_seed)
            rows += [{**row, "seconds": seconds} for row in of_seed]
        return rows


def _bound(terms: Any, estimator: str) -> dict[str, float]:
    row, _ = Judge(Estimator(estimator), 0.95, 0, 0, Interval("student_t")).row(terms)
    return {
        "difference": row["difference"],
        "std_error": row["std_error"],
        "bound": row["lower_bound"],
        "ess_change": row["ess_change"],
        "clicks_of_change": terms.ess_reward_change,
    }


@dataclass(frozen=True)
class ExplorationCell:
    """One shop, and the share of its slots that go to any item."""

    exploration: float
    n_rounds: int

    results: ClassVar[tuple[str, ...]] = (
        *("gain", "difference", "std_error", "bound", "clicks_of_change", "as_logged", "its_own"),
        *("learned", "logging", "uniform", "optimum"),
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"exploration {self.exploration:g}"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        return self.n_rounds * n_seeds // 1000

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Log one shop a seed, ask what its log proves, and learn from it.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a shop, its log and the learner.

        Returns
        -------
        list of dict
            The settings and ``seed``. Of a policy that believes what the logging policy does, takes
            it `BOLDER` times as seriously and never explores: the true ``gain``; the estimated
            ``difference`` by IPS, its ``std_error``, one-sided lower ``bound`` and
            ``clicks_of_change``. The smallest gains that the report names (``as_logged``,
            ``its_own``), as shares of the mean; the value of a regression that was ``learned`` from
            the log; ``logging``, ``uniform`` and ``optimum``; ``seconds``.
        """
        rows = []
        for seed in seeds:
            start = time.perf_counter()
            world = explored(self.exploration, seed)
            log, references = world.sample(self.n_rounds, LOG_SEED), world.reference_values()
            bolder = bolder_than(world)
            bound = _bound(policy_terms(bolder, log), "ips")
            report = log.report()
            learner = TwoTowerRegressor("regression", random_state=seed, **SETTINGS).fit(log)
            rows.append(
                {
                    **self.settings,
                    "seed": seed,
                    "gain": world.policy_value(bolder) - references["logging"],
                    **{name: value for name, value in bound.items() if name != "ess_change"},
                    "as_logged": report["smallest gain, as logged"].numbers["share"],
                    "its_own": report["smallest gain, its own"].numbers["share"],
                    "learned": world.policy_value(learner.policy_.at_temperature(0)),
                    **{name: references[name] for name in ("logging", "uniform", "optimum")},
                    "seconds": time.perf_counter() - start,
                }
            )
        return rows


def bolder_than(world: ShopWorld) -> Any:
    """What the logging policy of a shop believes, taken more seriously, without exploration."""
    belief = world.logging_policy
    return replace(
        belief,
        user_weights=BOLDER * belief.user_weights,
        popularity=BOLDER * belief.popularity,
        exploration=1e-9,
    )


def explored(exploration: float, seed: int) -> ShopWorld:
    """The shop of a seed, with another exploration and the same demand.

    A `ShopWorld` meets its click rate by what its logging policy shows. So that demand stays, that
    rate is asked for at which the uniform policy earns what it earns in the shop of the most
    exploration.
    """
    most = shop(RARE, seed, exploration=EXPLORATIONS[-1])
    wanted, rate = most.reference_values()["uniform"], RARE
    world = most
    for _ in range(3):
        world = shop(rate, seed, exploration=exploration)
        rate *= wanted / world.reference_values()["uniform"]
    return world
