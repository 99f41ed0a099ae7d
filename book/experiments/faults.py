"""Propensities that are wrong, estimated, or all 1: what a report finds, and what is left to learn.

The truth is known in every world, so that a finding is right or false, and an estimate near or far.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from opl_lib.answers import action_probabilities
from opl_lib.evaluation.evaluate import evaluate
from opl_lib.logs.feedback import BanditFeedback
from opl_lib.logs.propensities import estimate_propensities
from opl_lib.logs.without_propensities import LogWithoutPropensities
from opl_lib.worlds.shop import ShopWorld

from .rare import LOG_SEED

CATALOGUES = {"fixed": {"n_items": 40, "on_offer": 1.0}, "changing": {"n_items": 60}}
FAULTS = (
    *("right", "of another item", "of the next round", "stale", "halved"),
    *("two decimals", "one digit", "of the whole catalogue"),
)
OF_PROPENSITIES = ("propensities", "mean weight", "balance")
STALENESS = 0.7


@dataclass(frozen=True)
class FaultsCell:
    """A catalogue, by its name in `CATALOGUES`, and the length of the logs."""

    catalogue: str
    n_rounds: int

    results: ClassVar[tuple[str, ...]] = (
        *("fault", "found", "called_wrong", "by", "mean_weight", "mean_weight_error", "balance"),
        "balance_limit",
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"{self.catalogue:<10} {self.n_rounds:>6} rounds"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        return self.n_rounds * n_seeds // 1000

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Ask the report of one log a seed for its propensities, right and wrong ones.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a shop, its log and the faults.

        Returns
        -------
        list of dict
            One row a fault: the settings, ``seed``, ``fault``; whether a line of the report that is
            about propensities is not fine (``found``), and says that they cannot be
            (``called_wrong``); the first such line (``by``, ``"none"`` if there is none);
            ``mean_weight`` with its standard error, and the largest entry of ``balance`` with its
            limit; ``seconds``.
        """
        rows = []
        for seed in seeds:
            for fault in FAULTS:
                start = time.perf_counter()
                row = {**self.settings, "seed": seed, "fault": fault, **self._asked(fault, seed)}
                rows.append({**row, "seconds": time.perf_counter() - start})
        return rows

    def _asked(self, fault: str, seed: int) -> dict[str, Any]:
        report = faulty(fault, self.catalogue, self.n_rounds, seed).report()
        lines = [report[name] for name in OF_PROPENSITIES]
        found = [line for line in lines if line.verdict != "fine"]
        weight, balance = report["mean weight"].numbers, report["balance"].numbers
        return {
            "found": int(bool(found)),
            "called_wrong": int(any(line.verdict == "wrong" for line in found)),
            "by": found[0].name if found else "none",
            "mean_weight": weight["mean_weight"],
            "mean_weight_error": weight["std_error"],
            "balance": balance["distance"],
            "balance_limit": balance["limit"],
        }


def faulty(fault: str, catalogue: str, n_rounds: int, seed: int) -> BanditFeedback:
    """A shop's log whose propensities have a fault."""
    shop = ShopWorld(slots=1, n_eval_pages=200, random_state=seed, **CATALOGUES[catalogue])
    log, rng = shop.sample(n_rounds, LOG_SEED), np.random.default_rng(seed)
    rows, policy = np.arange(n_rounds), shop.logging_policy
    if fault == "stale":
        noise = STALENESS * policy.popularity.std() * rng.normal(size=shop.n_items)
        policy = replace(policy, popularity=policy.popularity + noise)
    mask = log.eligible.mask()
    among = np.ones_like(mask) if fault == "of the whole catalogue" else mask
    pi = action_probabilities(policy, log.context, log.action_context, 0, n_rounds, among)
    lot = rng.random(pi.shape) * mask
    lot[rows, log.action] = -1
    pscore = {
        "right": log.pscore,
        "of another item": pi[rows, lot.argmax(axis=1)],
        "of the next round": np.roll(log.pscore, -1),
        "stale": pi[rows, log.action],
        "halved": log.pscore / 2,
        "two decimals": np.maximum(np.round(log.pscore, 2), 0.01),
        "one digit": one_digit(log.pscore),
        "of the whole catalogue": pi[rows, log.action],
    }[fault]
    return replace(log, pscore=pscore)


def one_digit(number: np.ndarray) -> np.ndarray:
    """Numbers rounded to one significant digit."""
    unit = 10.0 ** np.floor(np.log10(number))
    return np.round(number / unit) * unit


@dataclass(frozen=True)
class UnloggedCell(FaultsCell):
    """The same shops: what an estimate is worth if nobody recorded propensities."""

    results: ClassVar[tuple[str, ...]] = (
        *("pscore", "n_findings", "mean_weight", "estimate", "std_error", "truth", "logging"),
    )

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Judge one policy by one log a seed, with propensities from several sources.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a shop and its log.

        Returns
        -------
        list of dict
            One row a source of propensities, ``pscore``: the settings, ``seed``; how many findings
            the report has about them; for the policy that believes what the shop does, and explores
            twice as much, the ``mean_weight``, the IPS ``estimate`` with ``std_error``, and the
            ``truth``; the value of ``logging``; ``seconds``.
        """
        rows = []
        for seed in seeds:
            shop = ShopWorld(
                slots=1, n_eval_pages=700, random_state=seed, **CATALOGUES[self.catalogue]
            )
            log = shop.sample(self.n_rounds, LOG_SEED)
            target = replace(shop.logging_policy, exploration=0.5)
            known = {"truth": shop.policy_value(target)}
            known["logging"] = shop.policy_value(shop.logging_policy)
            for name, source in SOURCES.items():
                start = time.perf_counter()
                with_pscore = unrecorded(log).with_pscore(source(log))
                report = with_pscore.report()
                lines = [line.name for line in report.findings]
                judged = evaluate(target, with_pscore, ["ips"]).loc["ips"]
                rows.append(
                    {
                        **self.settings,
                        "seed": seed,
                        "pscore": name,
                        "n_findings": sum(name in OF_PROPENSITIES for name in lines),
                        "mean_weight": judged.mean_weight,
                        "estimate": judged.policy_value,
                        "std_error": judged.std_error,
                        **known,
                        "seconds": time.perf_counter() - start,
                    }
                )
        return rows


def unrecorded(log: BanditFeedback) -> LogWithoutPropensities:
    """A log that lost its propensities, and the users, whose rounds it takes for independent."""
    names = "context", "action", "reward", "action_context", "timestamp", "eligible"
    columns = dict.fromkeys(("position", "user_id", "cluster_pscore", "columns", "item_ids"))
    columns |= {name: getattr(log, name) for name in names}
    return LogWithoutPropensities(columns, BanditFeedback)


def of_popularity(log: BanditFeedback) -> np.ndarray:
    """How often an item was shown, of the rounds of the whole log."""
    return np.bincount(log.action, minlength=log.n_actions)[log.action] / log.n_rounds


SOURCES = {
    "recorded": lambda log: log.pscore,
    "estimated": lambda log: estimate_propensities(unrecorded(log)).pscore,
    "popularity": of_popularity,
    "all 1": lambda log: np.ones(log.n_rounds),
}
