"""Lists of a rule, judged by the chance of a click in the place of the chance of a list (CIPS).

A visitor clicks the item at place j with probability theta_j c(x, a), and buys what was clicked
with probability q(x, a). A rule wrote the log: one list for each visitor. Of another list one asks
what it would sell.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from opl_lib.worlds.synthetic import SyntheticWorld

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

N_ITEMS, DIM, N_TRUTH = 10, 5, 50_000
LENGTHS = (5, 10)  # of the list: half of the items, or all in another order


@dataclass(frozen=True)
class Site:
    """Who clicks and who buys, each as in a `SyntheticWorld`, and two rules that make a list."""

    clicks: SyntheticWorld
    sales: SyntheticWorld
    length: int

    @classmethod
    def of(cls, seed: int, length: int) -> Site:
        """A site: old lists follow the clicks, new ones what is bought."""
        worlds = [
            SyntheticWorld(N_ITEMS, DIM, DIM, n_eval_contexts=N_TRUTH, random_state=each)
            for each in (2 * seed, 2 * seed + 1)
        ]
        return cls(*worlds, length)

    def looked_at(self, x: np.ndarray, new: bool) -> np.ndarray:
        """The chance 1 / j that each item is looked at, by its place j in the list: (n, items)."""
        order = (-(self.sales if new else self.clicks).expected_reward(x)).argsort(axis=1)
        by_place = np.where(np.arange(N_ITEMS) < self.length, 1 / (1 + np.arange(N_ITEMS)), 0.0)
        seen = np.empty(order.shape)
        np.put_along_axis(seen, order, np.broadcast_to(by_place, order.shape), axis=1)
        return seen

    def value(self, new: bool) -> float:
        """What a list sells, by the truth."""
        x = self.clicks.eval_context
        chance = self.looked_at(x, new) * self.clicks.expected_reward(x)
        return float((chance * self.sales.expected_reward(x)).sum(axis=1).mean())


def features(x: np.ndarray, items: np.ndarray, products: bool) -> np.ndarray:
    """Of visitor and item, side by side or also multiplied: (n, items, columns)."""
    shape = (len(x), len(items))
    x = np.broadcast_to(x[:, None], (*shape, x.shape[1]))
    a = np.broadcast_to(items, (*shape, items.shape[1]))
    both = [x, a]
    if products:
        both.append((x[..., None] * a[..., None, :]).reshape(*shape, -1))
    return np.concatenate(both, axis=-1)


def learned(of: np.ndarray, happened: np.ndarray, could: np.ndarray) -> LogisticRegression:
    """A model of what happened, where it could."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=10.0, max_iter=200).fit(of[could], happened[could])


def predicted(model: LogisticRegression, of: np.ndarray) -> np.ndarray:
    """Its probabilities: (n, items)."""
    return model.predict_proba(of.reshape(-1, of.shape[-1]))[:, 1].reshape(of.shape[:2])


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """One chance of a click by another, 0 where the log can have no click."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


@dataclass(frozen=True)
class RuleListsCell:
    """How long a list is, and how many rounds the log has."""

    length: int
    n_rounds: int

    results: ClassVar[tuple[str, ...]] = ("estimator", "estimate", "std_error", "truth", "logged")

    @property
    def settings(self) -> dict[str, Any]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"{self.length:>2} of {N_ITEMS} items, {self.n_rounds:>6} rounds"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        return n_seeds * self.n_rounds // 1000

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Estimate what another list would sell, from one log a seed.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes clicks and purchases of a site, its rule, the other rule, and a log.

        Returns
        -------
        list of dict
            One row an estimator: the settings and ``seed``; ``estimator``, its ``estimate`` and
            ``std_error``; the ``truth`` of the other list and of the ``logged`` one; ``seconds``.
        """
        rows = []
        for seed in seeds:
            start = time.perf_counter()
            found, truth, logged = self._estimates(seed)
            seconds = (time.perf_counter() - start) / len(found)
            for name, terms in found.items():
                row = {**self.settings, "seed": seed, "estimator": name}
                row |= {"estimate": float(terms.mean()), "truth": truth, "logged": logged}
                row["std_error"] = float(terms.std(ddof=1) / np.sqrt(len(terms)))
                rows.append({**row, "seconds": seconds})
        return rows

    def _estimates(self, seed: int) -> tuple[dict[str, np.ndarray], float, float]:
        site, rng = Site.of(seed, self.length), np.random.default_rng(seed)
        x = rng.normal(size=(self.n_rounds, DIM))
        seen, other = site.looked_at(x, new=False), site.looked_at(x, new=True)
        attraction, q = site.clicks.expected_reward(x), site.sales.expected_reward(x)
        clicked = rng.uniform(size=q.shape) < seen * attraction
        bought = clicked & (rng.uniform(size=q.shape) < q)
        items = site.sales.action_context
        full, poor = features(x, items, products=True), features(x, items, products=False)
        q_hat = predicted(learned(full, bought, clicked), full)
        poor_q_hat = predicted(learned(poor, bought, clicked), poor)
        now, then = self._learned_clicks(site, x, clicked, seen, other)
        chance = other * attraction
        weight = ratio(other, seen)  # the attraction is the same in both lists
        poor_model = (chance * poor_q_hat).sum(axis=1)
        found = {
            "IPS": (seen == other).all(axis=1) * bought.sum(axis=1),
            "DM": (chance * q_hat).sum(axis=1),
            "DM, poor model": poor_model,
            "CIPS": (weight * bought).sum(axis=1),
            "CIPS, learned clicks": (ratio(now, then) * bought).sum(axis=1),
            "CDR, poor model": poor_model + (weight * (bought - clicked * poor_q_hat)).sum(axis=1),
        }
        return found, site.value(new=True), site.value(new=False)

    def _learned_clicks(
        self, site: Site, x: np.ndarray, clicked: np.ndarray, seen: np.ndarray, other: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Chances of a click in both lists, by a model with the place as one more feature."""
        of = features(x, site.clicks.action_context, products=True)
        with_place = [
            np.concatenate([of, np.log(np.maximum(each, 1e-9))[..., None]], axis=-1)
            for each in (other, seen)
        ]
        model = learned(with_place[1], clicked, seen > 0)
        return tuple(
            predicted(model, columns) * (each > 0)
            for columns, each in zip(with_place, (other, seen), strict=True)
        )
