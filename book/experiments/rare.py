"""One click in seventy: the map and the rehearsal again, in worlds where clicks are rare.

Each world has two versions, of which one clicks in every second round.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from opl_lib.learning.constant import ConstantItemLearner
from opl_lib.learning.cross_fitting import cross_fit
from opl_lib.learning.learner import OffPolicyLearner
from opl_lib.learning.regressor import TwoTowerRegressor
from opl_lib.logs.feedback import BanditFeedback
from opl_lib.protocols import HasTemperature
from opl_lib.selection.rehearse import outcome
from opl_lib.selection.select import select
from opl_lib.worlds.logging_policies import epsilon_greedy
from opl_lib.worlds.shop import ShopWorld
from opl_lib.worlds.synthetic import SyntheticWorld

RARE, HALF = 0.015, 0.5
LENGTHS = (2_000, 8_000, 40_000)
LOG_SEED = 1
SETTINGS: dict[str, Any] = {"epochs": 5, "batch_size": 200, "progress": False}
VALUE_OBJECTIVES = ("ips", "snips", "dr", "dros", "likelihood")
SELECTED = ("regression", "baseline_ips", "dros")


def ten_items(click_rate: float, seed: int) -> SyntheticWorld:
    """Ten items, of which the logging policy shows its favourite in most rounds."""
    return SyntheticWorld(
        n_actions=10,
        dim_context=20,
        dim_action_context=20,
        logging_policy=epsilon_greedy(0.3),
        n_eval_contexts=2_000,
        random_state=seed,
        click_rate=click_rate,
    )


def shop(click_rate: float, seed: int, **dials: Any) -> ShopWorld:
    """A shop of a hundred items, two thirds of them on offer."""
    return ShopWorld(
        n_items=100, n_eval_pages=700, click_rate=click_rate, random_state=seed, **dials
    )


RARE_WORLDS: dict[str, Callable[[float, int], Any]] = {"ten items": ten_items, "shop": shop}


@dataclass(frozen=True)
class RareMapCell:
    """A world, by its name in `RARE_WORLDS`, how often it clicks, and the length of the log."""

    world: str
    click_rate: float
    n_rounds: int

    results: ClassVar[tuple[str, ...]] = (
        *("learner", "softmax", "greedy", "clicks", "logging", "uniform"),
        *("best_constant_item", "optimum"),
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"{self.world:<10} {self.click_rate:>6g} clicks {self.n_rounds:>6} rounds"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        return (3 if self.world == "shop" else 2) * (5_000 + self.n_rounds) * n_seeds // 1000

    def made(self, seed: int) -> Any:
        """The world of a seed."""
        return RARE_WORLDS[self.world](self.click_rate, seed)

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Learn from one log a seed with each learner, as it is typed, and look at the truth.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a world, its log and the learners.

        Returns
        -------
        list of dict
            One row a learner: the settings, ``seed``, ``learner``; the true value of what it
            learned, served as a ``softmax`` and served ``greedy``, which are one for a policy
            without temperature; ``clicks``, those of the log; the reference values; ``seconds``.
        """
        rows = []
        for seed in seeds:
            start = time.perf_counter()
            world = self.made(seed)
            log = world.sample(self.n_rounds, LOG_SEED)
            common = {"clicks": int(log.reward.sum()), **world.reference_values()}
            of_seed = [
                {
                    **self.settings,
                    "seed": seed,
                    "learner": name,
                    "softmax": world.policy_value(_at(policy, 1.0)),
                    "greedy": world.policy_value(_at(policy, 0.0)),
                    **common,
                }
                for name, policy in learned(log, seed).items()
            ]
            seconds = (time.perf_counter() - start) / len(of_seed)
            rows += [{**row, "seconds": seconds} for row in of_seed]
        return rows


@dataclass(frozen=True)
class RareRehearsalCell(RareMapCell):
    """The same worlds: what `select` chooses of three towers, each served in two ways."""

    results: ClassVar[tuple[str, ...]] = (
        *("served", "served_gain", "naive", "naive_gain", "naive_estimate", "n_trusted"),
        *("clicks", "logging", "optimum"),
    )

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Call `select` on one log a seed, and look at the truth.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a world, its log and the learners.

        Returns
        -------
        list of dict
            The settings and ``seed``; what was chosen (``served``), and its true gain over the
            logging policy; the candidate of the largest estimate (``naive``), its true gain, and
            what was estimated; how many bounds counted (``n_trusted``); ``clicks``, those of the
            log; the values of logging and optimum; ``seconds``.
        """
        rows = []
        for seed in seeds:
            start = time.perf_counter()
            world = self.made(seed)
            log, references = world.sample(self.n_rounds, LOG_SEED), world.reference_values()
            towers = {name: learner(name, seed) for name in SELECTED}
            judge = TwoTowerRegressor("regression", random_state=seed, **SETTINGS)
            chosen = select(towers, log, (0.0, 1.0), reward_model=judge, progress=False)
            judged = outcome(chosen, world, references["logging"])
            rows.append(
                {
                    **self.settings,
                    "seed": seed,
                    "served": judged["best"],
                    "served_gain": judged["difference"],
                    "naive": judged["naive"],
                    "naive_gain": judged["naive_difference"],
                    "naive_estimate": judged["naive_estimate"],
                    "n_trusted": int(chosen.table.trusted.sum()) - 1,
                    "clicks": int(log.reward.sum()),
                    **{name: references[name] for name in ("logging", "optimum")},
                    "seconds": time.perf_counter() - start,
                }
            )
        return rows


def learner(name: str, seed: int, q_hat: Any = None) -> OffPolicyLearner | TwoTowerRegressor:
    """Two towers that learn a regression, or an objective of the policy's value."""
    if name == "regression":
        return TwoTowerRegressor(name, random_state=seed, **SETTINGS)
    return OffPolicyLearner(name, reward_model=q_hat, random_state=seed, **SETTINGS)


def learned(log: BanditFeedback, seed: int) -> dict[str, Any]:
    """The policy of each learner of the map; the doubly robust ones share a reward model."""
    q_hat = cross_fit(learner("regression", seed), log, 2, random_state=seed)
    names = ("regression", *VALUE_OBJECTIVES)
    found: dict[str, Any] = {
        name: learner(name, seed, q_hat if name in ("dr", "dros") else None).fit(log).policy_
        for name in names
    }
    return {**found, "constant item": ConstantItemLearner().fit(log).policy_}


def _at(policy: Any, temperature: float) -> Any:
    """A policy at a temperature, if it has one."""
    has_one = isinstance(policy, HasTemperature) and policy.temperature is not None
    return policy.at_temperature(temperature) if has_one else policy
