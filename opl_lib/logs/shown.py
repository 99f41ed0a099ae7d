"""Sums over what a log has shown, and over what it could have shown."""

from __future__ import annotations

import numpy as np

from ..arrays import row_chunks
from .eligible import Eligible
from .units import Units


class Shown:
    """Who was shown what: the pairs of a unit and an item that a log holds, and sums over them.

    What a unit was never shown is not gone through, so the time grows with the rounds and not with
    units times items.
    """

    def __init__(
        self, action: np.ndarray, n_actions: int, units: Units, eligible: Eligible | None = None
    ) -> None:
        self.units, self.n_actions, self.eligible = units, n_actions, eligible
        pair, self._of_round = np.unique(units.index * n_actions + action, return_inverse=True)
        self._unit, self._item = np.divmod(pair, n_actions)

    @property
    def n_units(self) -> np.ndarray:
        """How many units were shown each item, (n_actions,)."""
        return np.bincount(self._item, minlength=self.n_actions)

    def sums(self, terms: np.ndarray, less: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``Σ_i 1[a_i = b] terms_i − less_i`` and its variance, (n_actions,), of every item b.

        Over the rounds in which b was eligible. Terms have shape (n_rounds,), and the variance is
        that of a sum of independent units.
        """
        n = len(self.units)
        shown = np.bincount(self._of_round, terms)
        of_pair, of_item, squares = self._less(less)
        total = np.bincount(self._item, shown, self.n_actions) - of_item
        # (shown − less)² of a pair that the log holds, less² of the others
        excess = np.bincount(self._item, shown * (shown - 2 * of_pair), self.n_actions)
        variance = (excess + squares - total**2 / n) * n / max(n - 1, 1)
        return total, variance

    def _less(self, less: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums of a unit over the rounds in which an item was eligible.

        Of each pair that the log holds; of each item, over all units; and their squares so, too.
        """
        if self.eligible is None:
            of_unit = self.units.sums(less)
            return of_unit[self._unit], of_unit.sum(), np.square(of_unit).sum()
        sets, number = self.eligible.sets, self.eligible.number
        of_item = np.bincount(number, less, len(sets)) @ sets
        if self.units.number is None:
            return less[self._unit], of_item, np.bincount(number, less**2, len(sets)) @ sets
        return self._less_of_users(less, of_item)

    def _less_of_users(
        self, less: np.ndarray, of_item: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same where a user's rounds may be of several sets."""
        from scipy.sparse import csr_array

        assert self.eligible is not None
        sets, number = self.eligible.sets, self.eligible.number
        shape = len(self.units), len(sets)
        of_set = csr_array((less, (self.units.index, number)), shape=shape)
        # Σ_u (Σ_s l_us 1[b in s])² is a sum over pairs of sets
        squares = ((of_set.T @ of_set @ sets.astype(float)) * sets).sum(axis=0)
        of_pair = np.empty(len(self._unit))
        for some in row_chunks(len(of_pair), len(sets)):
            held = of_set[self._unit[some]]
            pair = np.repeat(np.arange(held.shape[0]), np.diff(held.indptr))
            has_item = sets[held.indices, self._item[some][pair]]
            of_pair[some] = np.bincount(pair, held.data * has_item, held.shape[0])
        return of_pair, of_item, squares
