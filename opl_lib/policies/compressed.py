"""An approximate index: a pass over small codes of all items, then exact scores of the best."""

from __future__ import annotations

import numpy as np

from ..checks import plain_arithmetic
from .approximate import ApproximateIndex, centered, faiss_for


class CompressedIndex(ApproximateIndex):
    """Approximate search for the items with the largest inner products, by FAISS on 4-bit codes.

    Each number of an embedding is rounded to one of 16 values, which are learned for its column.
    A search adds up tabulated products of these for every item, some dozens at a time, and
    compares the `breadth` items that seem best by their exact scores. What exact search reads of
    an item, 32 bits a number, this reads 4 of.

    Parameters
    ----------
    embeddings : array of shape (n_actions, dim_embedding)
        One row an item, as of `TwoTowerPolicy.embed_items`; kept in single precision.
    breadth : int in [1, 1000000]
        Items whose exact scores are compared, at least four times `k`: more is slower, and misses
        less.

    Raises
    ------
    ValueError
        If `embeddings` are no finite numbers, there are none, or a number is out of range.
    ModuleNotFoundError
        Without faiss: ``pip install "opl-lib[ann]"``.

    See Also
    --------
    ItemIndex : exact search.
    HNSWIndex : a graph, whose searches do not look at all items.

    Notes
    -----
    Its time grows with the number of items, as that of exact search does, and it needs no structure
    in the embeddings. It is built in seconds, so it is not saved: build it at a start. Equal
    embeddings give equal indices. Equal scores are ordered by item number.

    References
    ----------
    André, Kermarrec and Le Scouarnec, "Quicker ADC: Unlocking the Hidden Potential of Product
    Quantization with SIMD", IEEE TPAMI 2021.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> embeddings = np.random.default_rng(0).normal(size=(2000, 8))
    >>> items, _ = opl.CompressedIndex(embeddings).search(embeddings[:3], k=10)
    >>> exact, _ = opl.ItemIndex(embeddings).search(embeddings[:3], k=10)
    >>> bool((items == exact).mean() > 0.9)
    True
    """

    _times_k = 4

    @plain_arithmetic
    def __init__(self, embeddings: np.ndarray, breadth: int = 100) -> None:
        self.breadth = breadth
        self._vectors, self._center = centered(embeddings)
        faiss, (n_items, dim) = faiss_for("CompressedIndex"), self._vectors.shape
        unit = self._vectors / max(np.abs(self._vectors).max(), np.finfo(np.float32).tiny)
        self._codes = faiss.IndexPQFastScan(dim, dim, 4, faiss.METRIC_INNER_PRODUCT)
        self._codes.train(unit[_sample(unit, min(max(n_items, 1000), 20_000))])
        self._codes.add(unit)

    def _find(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        items, scores = np.full((len(queries), k), -1), np.empty((len(queries), k), np.float32)
        if (breadth := self._breadth_for(k)) < len(self):
            for row, candidates in enumerate(self._candidates(queries, breadth)):
                items[row], scores[row] = self._best_of(queries[row], candidates, k)
        return items, scores

    def _find_among(
        self, query: np.ndarray, k: int, breadth: int, mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        candidates = self._candidates(query[np.newaxis], min(2 * breadth, len(self)))[0]
        candidates = candidates[mask[candidates]]
        if len(candidates) < self._breadth_for(k):  # what is eligible is worse than the rest
            return None
        return self._best_of(query, candidates, k)

    def _candidates(self, queries: np.ndarray, n: int) -> np.ndarray:
        """The items that seem best by their codes, in no order: (n_queries, n)."""
        largest = np.abs(queries).max(axis=1, keepdims=True)
        unit = queries / np.maximum(largest, np.finfo(np.float32).tiny)
        return self._codes.search(unit, n)[1]


def _sample(vectors: np.ndarray, n: int) -> np.ndarray:
    """Row numbers, spread over the vectors; long ones, which score high, come more often."""
    share = np.cumsum(np.square(vectors, dtype=np.float64).sum(axis=1) + 1e-12)
    return np.searchsorted(share, np.linspace(0, share[-1], n, endpoint=False))
