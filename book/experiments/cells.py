"""One cell of an experiment: a setting, run for several seeds side by side."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from opl_lib.evaluation.evaluate import evaluate
from opl_lib.learning.learner import OffPolicyLearner
from opl_lib.learning.many import fit_many
from opl_lib.learning.regressor import TwoTowerRegressor
from opl_lib.learning.reward_models import SklearnRewardModel
from opl_lib.logs.feedback import BanditFeedback
from opl_lib.worlds import logging_policies
from opl_lib.worlds.synthetic import SyntheticWorld

from .learners import REGRESSION

LOG_SEED, VALIDATION_SEED = 1, 2
VALIDATION_SHARE = 0.25  # of the length of the log
SERVING_TEMPERATURES = (0.0, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Cell:
    """A world, a log, a learner and how it is served; every field is a column of the table.

    Attributes
    ----------
    objective : str
        As in `OffPolicyLearner`.
    logging_policy : str
        A logging policy as it is written: ``"uniform()"``, ``"epsilon_greedy(0.1)"``.
    reward_function : str
        As in `SyntheticWorld`.
    n_actions, n_rounds : int
    batch_size, epochs : int
    n_updates : int
        If above 0, `epochs` is raised or lowered to as many updates as this; at least one epoch.
    learning_rate : float
    learning_rates : tuple of float
        If given, each is tried, and the one whose policy, served as a softmax at temperature 1, has
        the largest SNIPS estimate on a validation log is kept; `learning_rate` is not used.
    weight_decay : float
    shuffle : bool
    catalogue : str
        How a step sees the items; as in `OffPolicyLearner`.
    n_sampled : int
    reward_model : {"two towers", "article"}
        The q̂ of DR: two towers like those of the policy, or the article's: scikit-learn's
        ``MLPRegressor`` with hidden layers (10, 10, 10), fitted and used on the same rows.
    n_eval_contexts : int
        Contexts on which the true value is averaged.
    """

    objective: str
    logging_policy: str = "uniform()"
    reward_function: str = "logistic"
    n_actions: int = 10
    n_rounds: int = 15_000
    batch_size: int = 10
    epochs: int = 10
    n_updates: int = 0
    learning_rate: float = 1e-4
    learning_rates: tuple[float, ...] = ()
    weight_decay: float = 0.0
    shuffle: bool = True
    catalogue: str = "auto"
    n_sampled: int = 64
    reward_model: str = "two towers"
    n_eval_contexts: int = 2_000

    results: ClassVar[tuple[str, ...]] = (
        *("softmax_value", "greedy_value", "tuned_value", "temperature"),
        *("logging", "uniform", "best_constant_item", "optimum"),
    )

    @property
    def n_epochs(self) -> int:
        """Epochs that are run."""
        if self.n_updates:
            return max(1, round(self.n_updates / self.updates_per_epoch))
        return self.epochs

    @property
    def updates_per_epoch(self) -> int:
        return -(-self.n_rounds // self.batch_size)

    @property
    def settings(self) -> dict[str, Any]:
        """The fields as they stand in the table."""
        fields = asdict(self)
        return {**fields, "learning_rates": " ".join(map(exact, self.learning_rates))}

    @property
    def title(self) -> str:
        """The settings that tell cells apart, for people."""
        return (
            f"{self.objective:<11} {self.n_actions:>5} items {self.n_rounds:>6} rounds  "
            f"batch {self.batch_size:>4}  {self.n_epochs:>3} epochs  {self.catalogue:<9}"
        )

    def world(self, seed: int) -> SyntheticWorld:
        """The world of a seed."""
        return SyntheticWorld(
            n_actions=self.n_actions,
            reward_function=self.reward_function,
            logging_policy=_logging_policy(self.logging_policy),
            n_eval_contexts=self.n_eval_contexts,
            random_state=seed,
        )

    def learner(self, seed: int, learning_rate: float) -> OffPolicyLearner:
        """The learner of a seed."""
        return OffPolicyLearner(
            objective=REGRESSION if self.objective == "regression" else self.objective,
            epochs=self.n_epochs,
            batch_size=self.batch_size,
            learning_rate=learning_rate,
            weight_decay=self.weight_decay,
            temperature=1.0,
            shuffle=self.shuffle,
            catalogue=self.catalogue,
            n_sampled=self.n_sampled,
            progress=False,
            random_state=seed,
            **self._reward_model(seed),
        )

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Train, and return a row of the table for each seed.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a world, its log and a learner.

        Returns
        -------
        list of dict
            The settings and ``seed``; the true values of the learned policy served as a softmax at
            temperature 1 (``softmax_value``), greedily (``greedy_value``), and at the temperature
            that has the largest SNIPS estimate on a validation log (``tuned_value``,
            ``temperature``); the four reference values; and ``seconds``, of the whole cell divided
            by its seeds.
        """
        start = time.perf_counter()
        worlds = [self.world(seed) for seed in seeds]
        logs = [world.sample(self.n_rounds, LOG_SEED) for world in worlds]
        rates = self.learning_rates or (self.learning_rate,)
        learners = [[self.learner(seed, rate) for rate in rates] for seed in seeds]
        fit_many(
            [learner for of_seed in learners for learner in of_seed],
            [log for log in logs for _ in rates],
        )
        rows = []
        for seed, world, of_seed in zip(seeds, worlds, learners, strict=True):
            validation = world.sample(round(VALIDATION_SHARE * self.n_rounds), VALIDATION_SEED)
            learner = of_seed[0]
            if self.learning_rates:
                learner = _best(of_seed, [each.policy_ for each in of_seed], validation)
            served = [learner.policy_.at_temperature(t) for t in SERVING_TEMPERATURES]
            tuned = _best(served, served, validation)
            rows.append(
                {
                    **self.settings,
                    "learning_rate": learner.learning_rate,
                    "seed": seed,
                    "softmax_value": world.policy_value(learner.policy_),
                    "greedy_value": world.policy_value(learner.policy_.at_temperature(0)),
                    "tuned_value": world.policy_value(tuned),
                    "temperature": tuned.temperature,
                    **world.reference_values(),
                }
            )
        seconds = (time.perf_counter() - start) / len(seeds)
        return [{**row, "seconds": seconds} for row in rows]

    def shorter(self, n_batches: int) -> Cell:
        """A log of a few batches, one epoch, no reward model: to time what an update costs."""
        return replace(
            self,
            objective="ips" if self.objective == "dr" else self.objective,
            n_rounds=min(self.n_rounds, n_batches * self.batch_size),
            epochs=1,
            n_updates=0,
            n_eval_contexts=1,
        )

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, in rows that pass through the towers."""
        items = self.n_actions
        if self.objective == "regression":
            items = min(self.batch_size, items)
        elif self.catalogue == "sampled":
            items = min(self.n_sampled, items)
        updates = self.n_epochs * self.updates_per_epoch
        n_fits = n_seeds * max(len(self.learning_rates), 1)
        return updates * n_fits * (self.batch_size + items + 20)

    def _reward_model(self, seed: int) -> dict[str, Any]:
        if self.objective not in ("dm", "dr"):
            return {}
        if self.reward_model == "two towers":
            towers = TwoTowerRegressor(
                REGRESSION,
                epochs=self.n_epochs,
                batch_size=self.batch_size,
                progress=False,
                random_state=seed,
            )
            return {"reward_model": towers}
        from sklearn.neural_network import MLPRegressor

        network = MLPRegressor(hidden_layer_sizes=(10, 10, 10), random_state=12345)
        return {"reward_model": SklearnRewardModel(network, standardise=False), "n_folds": 1}


def _best(candidates: Sequence[Any], policies: Sequence[Any], feedback: BanditFeedback) -> Any:
    """The candidate whose policy has the largest SNIPS estimate."""
    values = [float(evaluate(p, feedback, ["snips"]).policy_value["snips"]) for p in policies]
    return candidates[int(np.nanargmax(values))]


def exact(value: float) -> str:
    """A number in as few digits as read back exactly; six, if they are enough."""
    short = f"{value:.6g}"
    return short if float(short) == value else repr(float(value))


def _logging_policy(text: str) -> Any:
    match = re.fullmatch(r"(\w+)\(([\d.]*)\)", text)
    if not match:
        raise ValueError(f"logging_policy must look like 'epsilon_greedy(0.1)'; got {text!r}.")
    name, argument = match.groups()
    return getattr(logging_policies, name)(*([float(argument)] if argument else []))
