"""What `learn` earns in a shop: in `ShopWorld` as it is, and with one dial turned."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from opl_lib.selection.learn import learn
from opl_lib.worlds.shop import ShopWorld

LOG_SEED = 1
N_ROUNDS = 40_000
SHOPS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "fixed catalogue": {"on_offer": 1.0},
    "uniform logging": {"exploration": 1.0},
    "little exploration": {"exploration": 0.02},
    "very stale": {"staleness": 2.0},
    "drift": {"drift": 0.5},
    "hidden taste": {"hidden_taste": 0.8},
    "features say all": {"unexplained": 0.0},
    "one taste": {"taste": 0.0},
}


@dataclass(frozen=True)
class ShopCell:
    """A shop, by its name in `SHOPS`."""

    shop: str

    results: ClassVar[tuple[str, ...]] = (
        *("learn", "page", "decision", "best", "estimate", "lower_bound", "ci_lower", "ci_upper"),
        *("best_value", "n_bounds", "too_high", "clicks", "learn_seconds"),
        *("logging", "logging_page", "uniform", "best_constant_item", "optimum"),
    )

    @property
    def settings(self) -> dict[str, str]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"{self.shop:<20}"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        return n_seeds

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Call `learn` on one log a seed, and look at the truth.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a shop and its log.

        Returns
        -------
        list of dict
            ``shop`` and ``seed``; the true value in a slot (``learn``) and on whole pages
            (``page``) of what was learned; its ``decision``, name (``best``), estimated gain
            (``estimate``), joint ``lower_bound`` and interval; ``best_value``, of the candidate
            that only the truth could have chosen; ``n_bounds``, how many candidates have one, and
            ``too_high``, how many of these are above the truth; ``clicks`` of the log;
            ``learn_seconds``; the reference values, and ``logging_page``; ``seconds``.
        """
        rows = []
        for seed in seeds:
            start = time.perf_counter()
            row = {**self.settings, "seed": seed, **_learned(SHOPS[self.shop], seed)}
            rows.append({**row, "seconds": time.perf_counter() - start})
        return rows


def _learned(dials: dict[str, Any], seed: int) -> dict[str, Any]:
    world = ShopWorld(n_eval_pages=500, random_state=seed, **dials)
    log = world.sample(N_ROUNDS, LOG_SEED)
    found = learn(log, progress=False)
    references = world.reference_values()
    values = {name: world.policy_value(policy) for name, policy in found.policies.items()}
    gain = found.report.loc["difference"]
    bounds = found.table.lower_bound.dropna()
    return {
        "learn": values[found.best],
        "page": world.page_value(found.policy),
        "decision": found.decision,
        "best": found.best,
        "estimate": gain.value,
        "lower_bound": found.table.lower_bound[found.best],
        "ci_lower": gain.ci_lower,
        "ci_upper": gain.ci_upper,
        "best_value": max(values.values()),
        "n_bounds": len(bounds),
        "too_high": sum(
            bound > values[name] - references["logging"] for name, bound in bounds.items()
        ),
        "clicks": int(log.reward.sum()),
        "learn_seconds": found.seconds,
        **references,
        "logging_page": world.page_value(world.logging_policy),
    }
