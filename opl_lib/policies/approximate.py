"""What approximate indices share: checks, exact scores, and search among few items."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral
from typing import Any

import numpy as np

from ..arrays import feature_matrix, first, single_precision
from ..checks import check_number, from_extra, plain_arithmetic
from ..logs.eligible import eligible_rows
from .index import Index, check_enough


class ApproximateIndex(Index):
    """Finds about the best items; a subclass says how, of embeddings minus their mean.

    The mean shifts all scores of a query alike, and less is missed without it.
    """

    _vectors: np.ndarray  # minus their mean
    _center: np.ndarray
    _times_k = 1  # the least breadth for k items

    @property
    def breadth(self) -> int:
        """Good items that a search holds on to; it may be changed at any time."""
        return self._breadth

    @breadth.setter
    def breadth(self, breadth: int) -> None:
        check_number("breadth", breadth, Integral, least=1, most=1_000_000)
        self._breadth = int(breadth)

    def __len__(self) -> int:
        return len(self._vectors)

    @plain_arithmetic
    def search(
        self, queries: np.ndarray, k: int, eligible: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        queries = single_precision("queries", feature_matrix("queries", queries))
        if queries.shape[1] != len(self._center):
            raise ValueError(
                f"queries must have shape (n, {len(self._center)}); got {queries.shape}."
            )
        check_number("k", k, Integral, least=1, most=len(self))
        queries, k = np.ascontiguousarray(queries), int(k)
        mask_of = None if eligible is None else eligible_rows(eligible, len(queries), len(self))
        items, scores = np.full((len(queries), k), -1), np.empty((len(queries), k), np.float32)
        if mask_of is None:
            items, scores = self._find(queries, k)
        for row in map(int, np.flatnonzero((items < 0).any(axis=1))):
            mask = np.ones(len(self), bool) if mask_of is None else mask_of(slice(row, row + 1))[0]
            check_enough(mask[np.newaxis], k, row)
            items[row], scores[row] = self._among(queries[row], k, mask)
        if not np.isfinite(scores).all():
            at = first(~np.isfinite(scores))
            raise ValueError(
                f"the score of item {items[at]} for row {at[0]} of queries is {scores[at]}, "
                "and must be finite: are queries or items far from unit scale?"
            )
        return items, scores

    @abstractmethod
    def _find(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Items (n, k), best first, −1 where too few are found, and their scores."""

    @abstractmethod
    def _find_among(
        self, query: np.ndarray, k: int, breadth: int, mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Items and scores (k,) of one query in a mask; None if too few are found."""

    def _among(self, query: np.ndarray, k: int, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best items of one query in a mask; few are all compared."""
        n_eligible = int(mask.sum())
        broad = int(self._breadth_for(k) * len(self) / n_eligible)
        found = None
        if broad < n_eligible < len(self):
            found = self._find_among(query, k, broad, mask)
        return self._best_of(query, np.flatnonzero(mask), k) if found is None else found

    def _breadth_for(self, k: int) -> int:
        return max(self.breadth, self._times_k * k)

    def _best_of(self, query: np.ndarray, items: np.ndarray, k: int) -> tuple[np.ndarray, Any]:
        """The best of some items by their exact scores."""
        scores = np.einsum("ij,j->i", self._vectors[items], query) + self._center @ query
        best = np.lexsort((items, -scores))[:k]
        return items[best], scores[best]


def centered(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings, checked, in single precision minus their mean, and the mean.

    The mean is 0 if some are so large that a difference would overflow.
    """
    vectors = single_precision("embeddings", feature_matrix("embeddings", embeddings))
    if len(vectors) == 0:
        raise ValueError("embeddings has no rows: there is no item to search.")
    center = np.zeros(vectors.shape[1], dtype=np.float32)
    if np.abs(vectors).max() <= np.finfo(np.float32).max / 4:
        center = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    return np.ascontiguousarray(vectors - center), center


def faiss_for(user: str) -> Any:
    """FAISS; raise a ModuleNotFoundError that names who needs it."""
    return from_extra("faiss", "ann", user)
