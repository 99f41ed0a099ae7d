"""An index of item embeddings: the one place where contexts and items are multiplied."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch

from ..arrays import feature_matrix, numbers, row_chunks


class ItemIndex:
    """Exact search for the items with the largest inner products.

    Items are encoded once, before any request; a request costs one context embedding and one
    matrix product. Items with equal embeddings have equal scores to the last bit.

    Parameters
    ----------
    embeddings : array of shape (n_actions, dim_embedding)
        One row an item, for example from `TwoTowerPolicy.embed_items`. It is not copied: leave it
        as it is.

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
        self.embeddings = feature_matrix("embeddings", embeddings)
        if len(self.embeddings) == 0:
            raise ValueError("embeddings has no rows: there is no item to search.")
        self._twins, self._first = find_twins(self.embeddings)

    def __len__(self) -> int:
        return len(self.embeddings)

    def scores(self, queries: np.ndarray) -> np.ndarray:
        """Inner products with all items.

        Parameters
        ----------
        queries : array of shape (n, dim_embedding)
            Context embeddings.

        Returns
        -------
        array of shape (n, n_actions)
        """
        queries = numbers("queries", queries, ndim=2)
        if queries.shape[1] != self.embeddings.shape[1]:
            raise ValueError(
                f"queries must have shape (n, {self.embeddings.shape[1]}); got {queries.shape}."
            )
        dtype = np.result_type(queries, self.embeddings)
        u, v = (torch.from_numpy(np.require(x, dtype, "W")) for x in (queries, self.embeddings))
        scores = (u @ v.T).numpy()
        # a matrix product rounds a column by its place, so twins would be told apart by chance
        scores[:, self._twins] = scores[:, self._first]
        return scores

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
        if not isinstance(k, Integral) or not 1 <= k <= len(self):
            raise ValueError(
                f"k must be an integer in [1, {len(self)}], the number of items; got {k!r}."
            )
        items = np.empty((len(queries), k), dtype=np.int64)
        scores = np.empty((len(queries), k), dtype=np.result_type(queries, self.embeddings))
        for rows in row_chunks(len(queries), len(self)):
            all_scores = self.scores(queries[rows])
            kth_best = np.partition(all_scores, -k, axis=1)[:, -k, None]
            for row, candidates in enumerate(all_scores >= kth_best):
                found = np.flatnonzero(candidates)
                order = found[np.argsort(-all_scores[row, found], kind="stable")][:k]
                items[rows.start + row], scores[rows.start + row] = order, all_scores[row, order]
        return items, scores


def find_twins(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that repeat an earlier one, and the first row that each of them is equal to."""
    rows = np.ascontiguousarray(features + features.dtype.type(0))  # −0 has other bits than 0
    bits = rows.view(f"u{rows.itemsize}").sum(axis=1)  # tells most rows apart, and quickly
    _, number, count = np.unique(bits, return_inverse=True, return_counts=True)
    alike = np.flatnonzero(count[number] > 1)
    whole = rows[alike].view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0]
    _, first, number = np.unique(whole, return_index=True, return_inverse=True)
    first = first[number]
    again = first != np.arange(len(first))
    return alike[again], alike[first[again]]
