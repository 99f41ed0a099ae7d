"""The unit of independence of a log: its rows, or its users with all of their rows.

Whatever asks how far chance could have moved a number asks here: standard errors, effective sizes,
folds, splits and resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Units:
    """What is independent of what in n_rows rows.

    Attributes
    ----------
    n_rows : int
    number : integer array of shape (n_rows,), or None
        The unit of each row, from 0 to n − 1; None if every row is a unit of its own.
    """

    n_rows: int
    number: np.ndarray | None = None

    @classmethod
    def of(cls, user_id: Any, n_rows: int) -> Units:
        """Users, if any came back, as far as the log knows; else rows."""
        if user_id is None:
            return cls(n_rows)
        users, number = np.unique(user_id, return_inverse=True)
        number.flags.writeable = False
        return cls(n_rows, None if len(users) == n_rows else number)

    def __len__(self) -> int:
        return self.n_rows if self.number is None else int(self.number.max()) + 1

    @property
    def index(self) -> np.ndarray:
        """The unit of each row, (n_rows,), also where that is the row itself."""
        return np.arange(self.n_rows) if self.number is None else self.number

    @property
    def name(self) -> str:
        """What a unit is called."""
        return "round" if self.number is None else "user"

    def __getitem__(self, rows: Any) -> Units:
        """The units of some rows."""
        if self.number is None:
            return Units(len(np.arange(self.n_rows)[rows]))
        return Units.of(self.number[rows], len(self.number[rows]))

    def sums(self, terms: np.ndarray) -> np.ndarray:
        """Sums of terms of shape (n_rows,) or (n_rows, k), one a unit."""
        if self.number is None:
            return terms
        if terms.ndim == 1:
            return np.bincount(self.number, terms)
        order = np.argsort(self.number, kind="stable")
        first = np.searchsorted(self.number[order], np.arange(len(self)))
        return np.add.reduceat(terms[order], first, axis=0)

    def terms(self, terms: np.ndarray) -> np.ndarray:
        """One term a unit, with the same mean: (n_rows,) -> (n,).

        ``m + (U / n) Σ_{i of unit} (t_i − m)`` for U units and n rows of mean m. The standard error
        of these is the cluster-robust one of m (Liang and Zeger, Biometrika 1986).

        Examples
        --------
        >>> import numpy as np
        >>> units = Units.of(["a", "a", "a", "b"], 4)
        >>> units.terms(np.array([1.0, 2.0, 4.0, 5.0])).tolist()
        [2.0, 4.0]
        """
        if self.number is None:
            return terms
        mean = terms.mean()
        return mean + self.sums(terms - mean) * len(self) / self.n_rows

    def standard_error(self, terms: np.ndarray) -> float:
        """Standard error of the mean of terms (n_rows,); infinite for a single unit."""
        with np.errstate(over="ignore", invalid="ignore"):
            error = self._standard_error(terms)
        if not 1e-100 < error < 1e100:  # squares overflow or vanish
            terms, scale = near_one(terms)
            error = self._standard_error(terms) * scale
        return error

    def _standard_error(self, terms: np.ndarray) -> float:
        independent = self.terms(terms)
        n = len(independent)
        return float(independent.std(ddof=1) / np.sqrt(n)) if n > 1 else float("inf")

    def effective_size(self, terms: np.ndarray) -> float:
        """``(Σ t)² / Σ t²`` over units: as many equal terms would vary as much."""
        sums = self.sums(terms)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.square(sums).sum()
        if not 1e-200 < squares < 1e200:
            sums = self.sums(near_one(terms)[0])
            squares = np.square(sums).sum()
        return float(sums.sum() ** 2 / squares) if squares > 0 else 0.0

    def folds(self, n_folds: int, random_state: int) -> np.ndarray:
        """Spread the units over folds of equal size: the fold of each row, (n_rows,)."""
        of_unit = np.random.default_rng(random_state).permutation(np.arange(len(self)) % n_folds)
        return of_unit if self.number is None else of_unit[self.number]

    def draw(self, n_drawn: int, random_state: int) -> np.ndarray:
        """Draw some units without repetition: the mask of their rows, (n_rows,)."""
        drawn = np.zeros(len(self), dtype=bool)
        drawn[np.random.default_rng(random_state).permutation(len(self))[:n_drawn]] = True
        return drawn if self.number is None else drawn[self.number]


def mean(terms: np.ndarray) -> float:
    """The mean of finite terms, also where their sum overflows."""
    with np.errstate(over="ignore"):
        plain = float(terms.mean())
    if np.isfinite(plain):
        return plain
    near, scale = near_one(terms)
    return float(near.mean()) * scale


def near_one(terms: np.ndarray) -> tuple[np.ndarray, float]:
    """Terms of at most 2, and what to multiply them by: a power of two, so nothing is rounded."""
    largest = np.abs(terms).max(initial=0)
    scale = 2.0 ** (np.frexp(largest)[1] - 1) if 0 < largest < np.inf else 1.0
    return terms / scale, float(scale)
