"""An approximate index: a graph of items that a search walks through."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import feature_matrix, first, single_precision
from ..checks import check_number, from_extra, plain_arithmetic
from ..files import as_path
from ..logs.eligible import eligible_rows
from .hnsw_file import read_index, write_index
from .index import check_enough


class HNSWIndex:
    """Approximate search for the items with the largest inner products, by FAISS.

    A graph links each item to near ones, in some layers that get finer. A search starts in the
    coarsest and goes to better neighbours, until `breadth` good ones are known. It looks at a small
    part of the items, and may miss some of the best: measure how many, against `ItemIndex`.

    Parameters
    ----------
    embeddings : array of shape (n_actions, dim_embedding)
        One row an item, as of `TwoTowerPolicy.embed_items`; kept in single precision.
    links : int in [2, 1000]
        Neighbours of an item in a layer; the finest has twice as many.
    build_breadth : int in [1, 100000]
        Candidates for neighbours when an item is added.
    breadth : int in [1, 1000000]
        Good items that a search holds on to: more is slower, and misses less.

    Raises
    ------
    ValueError
        If `embeddings` are no finite numbers, there are none, or a number is out of range.
    ModuleNotFoundError
        Without faiss: ``pip install "opl-lib[ann]"``.

    See Also
    --------
    ItemIndex : exact search.

    Notes
    -----
    Nothing can be removed from such a graph. An item that has left stays in it as a tombstone: keep
    it out by `eligible`, and build the index again of the items that are left when they slow the
    search down. An item that arrives, or whose embedding changes, asks for a new index, too.

    The graph holds embeddings minus their mean: that shifts all scores of a query alike, and less
    is missed. With one thread, equal embeddings give equal graphs. Equal scores are ordered by item
    number, but which of several equal items are found is left to the graph.

    References
    ----------
    Malkov and Yashunin, "Efficient and Robust Approximate Nearest Neighbor Search Using
    Hierarchical Navigable Small World Graphs", IEEE TPAMI 2020.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> embeddings = np.random.default_rng(0).normal(size=(2000, 8))
    >>> items, _ = opl.HNSWIndex(embeddings).search(embeddings[:3], k=10)
    >>> exact, _ = opl.ItemIndex(embeddings).search(embeddings[:3], k=10)
    >>> bool((items == exact).mean() > 0.9)
    True
    """

    def __init__(
        self, embeddings: np.ndarray, links: int = 32, build_breadth: int = 200, breadth: int = 64
    ) -> None:
        vectors = single_precision("embeddings", feature_matrix("embeddings", embeddings))
        if len(vectors) == 0:
            raise ValueError("embeddings has no rows: there is no item to search.")
        check_number("links", links, Integral, least=2, most=1000)
        check_number("build_breadth", build_breadth, Integral, least=1, most=100_000)
        faiss = _faiss()
        graph = faiss.IndexHNSWFlat(vectors.shape[1], int(links), faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = int(build_breadth)
        self._center = _center(vectors)
        graph.add(np.ascontiguousarray(vectors - self._center))
        self._graph = graph
        self.breadth = breadth

    @property
    def breadth(self) -> int:
        """Good items that a search holds on to; it may be changed at any time."""
        return self._breadth

    @breadth.setter
    def breadth(self, breadth: int) -> None:
        check_number("breadth", breadth, Integral, least=1, most=1_000_000)
        self._breadth = int(breadth)

    def __len__(self) -> int:
        return self._graph.ntotal

    @plain_arithmetic
    def search(
        self, queries: np.ndarray, k: int, eligible: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return about the best `k` items for each query, best first.

        Parameters
        ----------
        queries : array of shape (n, dim_embedding)
            Context embeddings.
        k : int in [1, n_actions]
            At most as many as are eligible in every row.
        eligible : boolean array of shape (n, n_actions) or (n_actions,), optional
            The items to search among: the fewer, the broader the search; few are all compared.

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
        queries = single_precision("queries", feature_matrix("queries", queries))
        if queries.shape[1] != self._graph.d:
            raise ValueError(f"queries must have shape (n, {self._graph.d}); got {queries.shape}.")
        check_number("k", k, Integral, least=1, most=len(self))
        queries, k = np.ascontiguousarray(queries), int(k)
        mask_of = None if eligible is None else eligible_rows(eligible, len(queries), len(self))
        items, scores = np.full((len(queries), k), -1), np.empty((len(queries), k), np.float32)
        if mask_of is None:
            items, scores = self._walk(queries, k)
        for row in map(int, np.flatnonzero((items < 0).any(axis=1))):
            mask = np.ones(len(self), bool) if mask_of is None else mask_of(slice(row, row + 1))[0]
            check_enough(mask[np.newaxis], k, row)
            items[row], scores[row] = self._among(queries[row], k, mask)
        scores += (queries @ self._center)[:, np.newaxis]
        if not np.isfinite(scores).all():
            at = first(~np.isfinite(scores))
            raise ValueError(
                f"the score of item {items[at]} for row {at[0]} of queries is {scores[at]}, "
                "and must be finite: are queries or items far from unit scale?"
            )
        order = np.lexsort((items, -scores))
        return np.take_along_axis(items, order, 1), np.take_along_axis(scores, order, 1)

    def save(self, path: str | Path) -> None:
        """Write the index to a file with a checksum, whole or not at all.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        graph = _faiss().serialize_index(self._graph).tobytes()
        write_index(as_path("path", path), self.breadth, self._center, graph)

    @classmethod
    def load(cls, path: str | Path, embeddings: np.ndarray) -> HNSWIndex:
        """Read an index written by `save`, for the policy that it was made for.

        Parameters
        ----------
        path : str or Path
        embeddings : array of shape (n_actions, dim_embedding)
            Those of the items now, as of `TwoTowerPolicy.embed_items`. An index of others would
            retrieve by a model that is not served, and is refused.

        Returns
        -------
        HNSWIndex

        Raises
        ------
        ValueError
            If the file was not written by `save`, was changed since, or holds other embeddings.
        OSError
            If the file cannot be read.
        """
        path = as_path("path", path)
        embeddings = single_precision("embeddings", feature_matrix("embeddings", embeddings))
        faiss, index = _faiss(), cls.__new__(cls)
        index.breadth, index._center, graph = read_index(path)
        index._graph = faiss.deserialize_index(graph)
        kept = index._vectors() + index._center
        if kept.shape != embeddings.shape:
            raise ValueError(
                f"{path} is an index of embeddings of shape {kept.shape}; embeddings has "
                f"{embeddings.shape}. Build it again of these."
            )
        same = np.isclose(kept, embeddings, rtol=1e-4, atol=1e-5 * np.abs(kept).max())
        if not same.all():
            raise ValueError(
                f"{path} is the index of another policy or of other items: it differs from "
                f"embeddings in row {first(~same)[0]}. Build it again of these."
            )
        return index

    def _walk(
        self, queries: np.ndarray, k: int, breadth: int = 0, bits: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items that the graph finds, −1 where it finds too few, and their scores."""
        faiss = _faiss()
        settings = {} if bits is None else {"sel": faiss.IDSelectorBitmap(bits)}
        settings["efSearch"] = max(self.breadth, breadth, k)
        parameters = faiss.SearchParametersHNSW(**settings)
        scores, items = self._graph.search(queries, k, params=parameters)
        return items, scores

    def _among(self, query: np.ndarray, k: int, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best items of one query in a mask, by the graph if it leaves enough of them."""
        n_eligible = int(mask.sum())
        broad = int(max(self.breadth, k) * len(self) / n_eligible)
        if broad < n_eligible < len(self):
            bits = np.packbits(mask, bitorder="little")
            items, scores = self._walk(query[np.newaxis], k, broad, bits)
            if (items >= 0).all():
                return items[0], scores[0]
        eligible = np.flatnonzero(mask)
        scores = self._vectors()[eligible] @ query
        best = np.argsort(-scores, kind="stable")[:k]
        return eligible[best], scores[best]

    def _vectors(self) -> np.ndarray:
        """The embeddings in the graph, minus their mean; not to be written to."""
        faiss, size = _faiss(), len(self) * self._graph.d
        flat = faiss.rev_swig_ptr(faiss.downcast_index(self._graph.storage).get_xb(), size)
        return flat.reshape(len(self), self._graph.d)


def _center(vectors: np.ndarray) -> np.ndarray:
    """The mean of embeddings; 0 if some are so large that a difference would overflow."""
    if np.abs(vectors).max() > np.finfo(np.float32).max / 4:
        return np.zeros(vectors.shape[1], dtype=np.float32)
    return vectors.mean(axis=0, dtype=np.float64).astype(np.float32)


def _faiss() -> Any:
    return from_extra("faiss", "ann", "HNSWIndex")
