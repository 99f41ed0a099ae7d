"""An index of item embeddings: the one place where contexts and items are multiplied."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any, Protocol

import numpy as np
import torch

from ..arrays import feature_matrix, first, row_chunks
from ..checks import plain_arithmetic
from ..devices import find_device, without_autocast
from ..logs.eligible import eligible_rows


class Index(Protocol):
    """What finds the items with the largest inner products, such as `ItemIndex`."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def search(
        self, queries: np.ndarray, k: int, eligible: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the best `k` items for each query, best first.

        Parameters
        ----------
        queries : array of shape (n, dim_embedding)
            Context embeddings.
        k : int in [1, n_actions]
            At most as many as are eligible in every row.
        eligible : boolean array of shape (n, n_actions) or (n_actions,), optional
            The items to search among, for each query or for all. An approximate index searches the
            more broadly, the fewer they are; few are all compared.

        Returns
        -------
        items : integer array of shape (n, k)
        scores : array of shape (n, k)
            Their inner products; equal scores are ordered by item number.

        Raises
        ------
        ValueError
            If `queries` are no finite numbers or of another size, `k` is out of range, or a score
            is not finite.
        """


class ItemIndex(Index):
    """Exact search for the items with the largest inner products.

    Items are encoded once, before any request; a request costs one context embedding and one
    matrix product. Items with equal embeddings have equal scores to the last bit.

    Parameters
    ----------
    embeddings : array of shape (n_actions, dim_embedding)
        One row an item, for example from `TwoTowerPolicy.embed_items`. The index owns its data: it
        copies them once, and nobody can write to the copy.
    device : str or torch.device
        Where the products are computed, as in `OffPolicyLearner`; what is returned is in arrays.
        An index that was pickled opens on the CPU.

    Raises
    ------
    ValueError
        If `embeddings` are no finite numbers, or there are none; if there is no such device.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> index = opl.ItemIndex(np.array([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]]))
    >>> items, scores = index.search(np.array([[1.0, 0.2]]), k=2)
    >>> items
    array([[0, 2]])
    """

    def __init__(self, embeddings: np.ndarray, device: str | torch.device = "cpu") -> None:
        self.embeddings = _floats("embeddings", embeddings)
        if len(self.embeddings) == 0:
            raise ValueError("embeddings has no rows: there is no item to search.")
        self._tensor = torch.from_numpy(self.embeddings).to(find_device(device))
        self.embeddings.flags.writeable = False
        self._twins, self._first = find_twins(self.embeddings)

    def __len__(self) -> int:
        return len(self.embeddings)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.embeddings,)

    def scores(self, queries: np.ndarray) -> np.ndarray:
        """Inner products with all items.

        Parameters
        ----------
        queries : array of shape (n, dim_embedding)
            Context embeddings.

        Returns
        -------
        array of shape (n, n_actions)

        Raises
        ------
        ValueError
            If `queries` are no finite numbers or of another size, or a product is not finite.
        """
        return inner_products(self, self._queries(queries))

    def search(
        self, queries: np.ndarray, k: int, eligible: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return best_items(self, self._queries(queries), k, eligible)

    def _queries(self, queries: Any) -> np.ndarray:
        queries = _floats("queries", queries)
        if queries.shape[1] != self.embeddings.shape[1]:
            raise ValueError(
                f"queries must have shape (n, {self.embeddings.shape[1]}); got {queries.shape}."
            )
        return queries


def inner_products(
    index: ItemIndex, queries: np.ndarray, first_row: int = 0, name: str = "queries"
) -> np.ndarray:
    """Finite scores of queries that are checked; `first_row` and `name` are for messages."""
    items = index._tensor
    with plain_torch():
        u = torch.from_numpy(queries).to(items.device)
        dtype = torch.promote_types(u.dtype, items.dtype)
        scores = (u.to(dtype) @ items.to(dtype).T).numpy(force=True)
    if not np.isfinite(scores).all():
        row, item = first(~np.isfinite(scores))
        raise ValueError(
            f"the score of item {item} for row {first_row + row} of {name} is {scores[row, item]}, "
            f"and must be finite: are {name} or items far from unit scale, or did training diverge?"
        )
    # a matrix product rounds a column by its place, so twins would be told apart by chance
    scores[:, index._twins] = scores[:, index._first]
    return scores


@plain_arithmetic
def best_items(
    index: ItemIndex,
    queries: np.ndarray,
    k: int,
    eligible: Any = None,
    name: str = "queries",
) -> tuple[np.ndarray, np.ndarray]:
    """The best items for queries that are checked, and their scores; `name` is for messages."""
    n_queries, n_items = len(queries), len(index)
    if isinstance(k, bool) or not isinstance(k, Integral) or not 1 <= k <= n_items:
        raise ValueError(f"k must be an integer in [1, {n_items}], the number of items; got {k!r}.")
    can_be_shown = None if eligible is None else eligible_rows(eligible, n_queries, n_items)
    items = np.empty((n_queries, k), dtype=np.int64)
    scores = np.empty((n_queries, k), dtype=np.result_type(queries, index.embeddings))
    for rows in row_chunks(n_queries, n_items):
        all_scores = inner_products(index, queries[rows], rows.start, name)
        if can_be_shown is not None:
            mask = can_be_shown(rows)
            check_enough(mask, k, rows.start)
            all_scores[~mask] = -np.inf
        for row, candidates in enumerate(all_scores >= _reached_by(all_scores, k)):
            found = np.flatnonzero(candidates)
            order = found[np.argsort(-all_scores[row, found], kind="stable")][:k]
            items[rows.start + row], scores[rows.start + row] = order, all_scores[row, order]
    return items, scores


def _reached_by(scores: np.ndarray, k: int) -> np.ndarray:
    """For each row of scores (n, m) a number that at least k of them reach, and few more: (n, 1).

    The best of each block are items, too: k of them reach the k-th best of these. To sort the best
    of some hundred blocks is far quicker than to sort all.
    """
    n_rows, n_items = scores.shape
    size = max(1, min(1024, n_items // (16 * k)))
    whole = scores[:, : n_items // size * size]
    best = scores if size == 1 else whole.reshape(n_rows, -1, size).max(axis=2)
    return np.partition(best, -k, axis=1)[:, -k, None]


def check_enough(eligible: np.ndarray, k: int, first_row: int) -> None:
    """Raise unless every row of a mask has k items."""
    n_eligible = eligible.sum(axis=1)
    if (few := n_eligible < k).any():
        row = int(few.argmax())
        raise ValueError(
            f"k={k} items are asked for, but row {first_row + row} of eligible has "
            f"{n_eligible[row]}: ask for fewer, or mark more."
        )


@contextmanager
def plain_torch() -> Iterator[None]:
    """Let torch calculate in full precision and without gradients, whatever the caller's modes."""
    with torch.inference_mode(), without_autocast():
        yield


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


def _floats(name: str, values: Any) -> np.ndarray:
    """A copy of features in a precision that torch multiplies in: single or double."""
    features = feature_matrix(name, values)
    with np.errstate(over="ignore"):
        return features.astype(np.float32 if features.dtype.itemsize <= 4 else np.float64)
