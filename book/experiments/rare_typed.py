"""What `learn` decides where clicks are rare, and the truth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

from opl_lib.selection.learn import learn
from opl_lib.selection.rehearse import outcome

from .rare import LOG_SEED, RareMapCell


@dataclass(frozen=True)
class TypedCell(RareMapCell):
    """The same worlds: what `learn` decides."""

    results: ClassVar[tuple[str, ...]] = (
        *("decision", "chosen", "chosen_value", "bilinear", "served", "served_gain"),
        *("naive", "naive_gain", "n_trusted", "too_high", "too_few_clicks", "clicks"),
        *("logging", "uniform", "best_constant_item", "optimum"),
    )

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Call `learn` on one log a seed, and look at the truth.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a world and its log.

        Returns
        -------
        list of dict
            The settings and ``seed``; the ``decision``, the name (``chosen``) and true value
            (``chosen_value``) of the policy; the value of the first candidate, ``bilinear``; what
            is ``served``, the logging policy unless the decision is to serve, and its true gain
            over that (``served_gain``); the candidate of the largest estimate (``naive``), and its
            true gain; how many bounds counted (``n_trusted``), how many of these are above the
            truth (``too_high``), and how many counted not for want of clicks (``too_few_clicks``);
            ``clicks``, those of the log; the reference values; ``seconds``.
        """
        rows = []
        for seed in seeds:
            start = time.perf_counter()
            world = self.made(seed)
            log, references = world.sample(self.n_rounds, LOG_SEED), world.reference_values()
            found = learn(log, progress=False)
            judged = outcome(found, world, references["logging"])
            bounds = found.table.lower_bound[found.table.trusted.astype(bool)]
            gains = {
                name: world.policy_value(found.policies[name]) - references["logging"]
                for name in {*bounds.index, found.best, "bilinear"}
            }
            rows.append(
                {
                    **self.settings,
                    "seed": seed,
                    "decision": found.decision,
                    "chosen": found.best,
                    "chosen_value": gains[found.best] + references["logging"],
                    "bilinear": gains["bilinear"] + references["logging"],
                    "served": judged["best"],
                    "served_gain": judged["difference"],
                    "naive": judged["naive"],
                    "naive_gain": judged["naive_difference"],
                    "n_trusted": len(bounds),
                    "too_high": sum(bound > gains[name] for name, bound in bounds.items()),
                    "too_few_clicks": sum("reward" in w for w in found.not_trusted.values()),
                    "clicks": int(log.reward.sum()),
                    **references,
                    "seconds": time.perf_counter() - start,
                }
            )
        return rows
