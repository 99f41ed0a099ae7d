"""An approximate index: a graph of items that a search walks through."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import feature_matrix, first, single_precision
from ..checks import check_number
from ..files import as_path
from .approximate import ApproximateIndex, centered, faiss_for
from .hnsw_file import read_index, write_index


class HNSWIndex(ApproximateIndex):
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
    CompressedIndex : quicker for up to some 100,000 items, and wherever a graph leads nowhere.

    Notes
    -----
    Nothing can be removed from such a graph. An item that has left stays in it as a tombstone: keep
    it out by `eligible`, and build the index again of the items that are left when they slow the
    search down. An item that arrives, or whose embedding changes, asks for a new index, too.

    In many dimensions without structure, such as random numbers, no item is near another: a walk
    that misses little looks at a large part of all items, wherever it starts. With one thread,
    equal embeddings give equal graphs. Equal scores are ordered by item number, but which of
    several equal items are found is left to the graph.

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
        self, embeddings: np.ndarray, links: int = 32, build_breadth: int = 200, breadth: int = 200
    ) -> None:
        check_number("links", links, Integral, least=2, most=1000)
        check_number("build_breadth", build_breadth, Integral, least=1, most=100_000)
        vectors, self._center = centered(embeddings)
        faiss = faiss_for("HNSWIndex")
        graph = faiss.IndexHNSWFlat(vectors.shape[1], int(links), faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = int(build_breadth)
        graph.add(vectors)
        self._hold(graph)
        self.breadth = breadth

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
        graph = faiss_for("HNSWIndex").serialize_index(self._graph).tobytes()
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
        faiss, index = faiss_for("HNSWIndex"), cls.__new__(cls)
        index.breadth, index._center, graph = read_index(path)
        index._hold(faiss.deserialize_index(graph))
        kept = index._vectors + index._center
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

    def _hold(self, graph: Any) -> None:
        """Keep a graph, and see the vectors that are in it."""
        faiss, size = faiss_for("HNSWIndex"), (graph.ntotal, graph.d)
        flat = faiss.rev_swig_ptr(faiss.downcast_index(graph.storage).get_xb(), size[0] * size[1])
        self._graph, self._vectors = graph, flat.reshape(size)

    def _find(
        self, queries: np.ndarray, k: int, breadth: int = 0, bits: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        faiss = faiss_for("HNSWIndex")
        settings = {} if bits is None else {"sel": faiss.IDSelectorBitmap(bits)}
        settings["efSearch"] = max(self._breadth_for(k), breadth)
        parameters = faiss.SearchParametersHNSW(**settings)
        scores, items = self._graph.search(queries, k, params=parameters)
        scores += (queries @ self._center)[:, np.newaxis]
        order, rows = np.lexsort((items, -scores)), np.arange(len(queries))[:, np.newaxis]
        return items[rows, order], scores[rows, order]

    def _find_among(
        self, query: np.ndarray, k: int, breadth: int, mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        bits = np.packbits(mask, bitorder="little")
        items, scores = self._find(query[np.newaxis], k, breadth, bits)
        return (items[0], scores[0]) if (items >= 0).all() else None
