"""Products of context and item features: standardised ones, with a leading 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from ..arrays import row_chunks, single_precision
from ..logs.feedback import BanditFeedback
from .eligible import restricts

# Beyond so many products, features are first compressed to their principal components.
_MAX_PRODUCTS = 3_000
# Beyond so many products of contexts with each other, summed for each item, contexts are.
_MAX_ITEM_SUMS = 2**25
# The spread of predictions is that in so many contexts of the whole log, which may be sorted.
_CONTEXTS = 1_000
# Values of a column that differ by less than this share of their size are one value to a tower,
# which computes in single precision; so do components with so small a share of the spread.
_PRECISION = 3e-7
_SMALLEST = 1e-30  # what it is divided by


@dataclass(frozen=True)
class Encoding:
    """From features to standardised ones with a leading 1: ``[1, f] @ matrix``."""

    matrix: np.ndarray

    @classmethod
    def of(cls, name: str, features: np.ndarray, size: int) -> Self:
        """By mean and standard deviation; at most `size` columns, the principal ones."""
        largest = np.maximum(features.max(axis=0), -features.min(axis=0)).astype(np.float64)
        if largest.max() > np.finfo(np.float32).max:
            single_precision(name, features)  # which raises
        mean = features.mean(axis=0, dtype=np.float64)
        squares = [np.square(features[rows] - mean).sum(axis=0) for rows in _rows_of(features)]
        scale = np.sqrt(np.sum(squares, axis=0) / len(features))
        slope = np.diag(_inverse(scale, np.maximum(_PRECISION * largest, _SMALLEST)))
        if len(slope) > size - 1:
            axes, spread = _principal(features, mean, slope, max(size - 1, 1))
            slope = slope @ axes * _inverse(spread, _PRECISION * spread.max())
        matrix = np.zeros((1 + len(mean), 1 + slope.shape[1]))
        matrix[0, 0], matrix[0, 1:], matrix[1:, 1:] = 1, -mean @ slope, slope
        return cls(matrix)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(n, width) -> (n, size)."""
        return self.matrix[0] + features.astype(np.float64) @ self.matrix[1:]


def _inverse(scale: np.ndarray, least: np.ndarray | float) -> np.ndarray:
    """``1 / scale``, and 0 where that is not above `least`."""
    varies = scale > least
    return np.where(varies, 1 / np.where(varies, scale, 1), 0.0)


def _principal(
    features: np.ndarray, mean: np.ndarray, slope: np.ndarray, n_axes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Directions of the largest spread of standardised features, (width, n_axes), and that."""
    n, width = features.shape
    if n < width:
        _, sizes, axes = np.linalg.svd((features - mean) @ slope, full_matrices=False)
        few = min(n, n_axes)
        return axes[:few].T, sizes[:few] / np.sqrt(n)
    gram = np.zeros((width, width))
    for rows in _rows_of(features):
        standard = (features[rows] - mean) @ slope
        gram += standard.T @ standard
    squares, axes = np.linalg.eigh(gram)
    return axes[:, -n_axes:], np.sqrt(np.maximum(squares[-n_axes:], 0) / n)


def _rows_of(features: np.ndarray) -> list[slice]:
    """Slices of features that fit into memory in double precision: a file may hold them all."""
    return row_chunks(*features.shape)


@dataclass(frozen=True)
class Products:
    """How the contexts and items of a log become products."""

    context: Encoding
    item: Encoding

    @classmethod
    def of(cls, feedback: BanditFeedback) -> Self:
        """By the features of a log."""
        shown = min(feedback.n_rounds, feedback.n_actions)
        most_of_context = max(2, int(np.sqrt(_MAX_ITEM_SUMS / shown)))
        sizes = min(feedback.dim_context + 1, most_of_context), feedback.dim_action_context + 1
        most = int(np.sqrt(_MAX_PRODUCTS))
        if sizes[0] * sizes[1] > _MAX_PRODUCTS:
            smaller = min(min(sizes), most)
            sizes = min(sizes[0], _MAX_PRODUCTS // smaller), min(sizes[1], _MAX_PRODUCTS // smaller)
            sizes = (sizes[0], smaller) if sizes[1] <= sizes[0] else (smaller, sizes[1])
        return cls(
            Encoding.of("context", feedback.context, sizes[0]),
            Encoding.of("action_context", feedback.action_context, sizes[1]),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix M of a bilinear form."""
        return self.context.matrix.shape[1], self.item.matrix.shape[1]


def spread(feedback: BanditFeedback, products: Products, vectors: np.ndarray) -> float:
    """The standard deviation of ``x̃ᵀ v`` between what could be shown in a context, on average.

    For vectors v of all items, (n_actions, d).
    """
    some = np.linspace(0, feedback.n_rounds - 1, min(feedback.n_rounds, _CONTEXTS)).astype(int)
    x = products.context(feedback.context[some])
    eligible = feedback.eligible if restricts(feedback) else None
    found = []
    for rows in row_chunks(len(x), len(vectors)):
        among = True if eligible is None else eligible.mask(some[rows])
        found.append((x[rows, 1:] @ vectors[:, 1:].T + vectors[:, 0]).std(axis=1, where=among))
    return float(np.concatenate(found).mean())
