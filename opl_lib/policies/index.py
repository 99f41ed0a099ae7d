"""An index of item embeddings: the serving side of a two-tower model."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from ..checks import numbers, row_chunks


class ItemIndex:
    """Exact search for the items with the largest inner products.

    Items are encoded once, before any request; a request costs one context embedding and one
    matrix product.

    Parameters
    ----------
    embeddings : array of shape (n_actions, dim_embedding)
        One row an item, for example from `TwoTowerPolicy.embed_actions`.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> index = opl.ItemIndex(np.array([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]]))
    >>> items, scores = index.search(np.array([[1.0, 0.2]]), k=2)
    >>> items
    array([[0, 2]])
    """

    def __init__(self, embeddings: np.ndarray) -> None:
        self.embeddings = numbers("embeddings", embeddings, ndim=2)
        if len(self.embeddings) == 0:
            raise ValueError("embeddings has no rows: there is no item to search.")

    def __len__(self) -> int:
        return len(self.embeddings)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the best `k` items for each query, best first.

        Parameters
        ----------
        queries : array of shape (n, dim_embedding)
            Context embeddings.
        k : int in [1, n_actions]

        Returns
        -------
        items : integer array of shape (n, k)
        scores : array of shape (n, k)
            Their inner products; equal scores are ordered by item number.
        """
        queries = numbers("queries", queries, ndim=2)
        if queries.shape[1] != self.embeddings.shape[1]:
            raise ValueError(
                f"queries must have shape (n, {self.embeddings.shape[1]}); got {queries.shape}."
            )
        if not isinstance(k, Integral) or not 1 <= k <= len(self):
            raise ValueError(
                f"k must be an integer in [1, {len(self)}], the number of items; got {k!r}."
            )
        items = np.empty((len(queries), k), dtype=np.int64)
        scores = np.empty((len(queries), k), dtype=np.result_type(queries, self.embeddings))
        for rows in row_chunks(len(queries), len(self)):
            all_scores = queries[rows] @ self.embeddings.T
            kth_best = np.partition(all_scores, -k, axis=1)[:, -k, None]
            for row, candidates in enumerate(all_scores >= kth_best):
                found = np.flatnonzero(candidates)
                order = found[np.argsort(-all_scores[row, found], kind="stable")][:k]
                items[rows.start + row], scores[rows.start + row] = order, all_scores[row, order]
        return items, scores
