"""Products of context and item features, and a ridge regression on them, exactly.

It is a bilinear form ``x̃ᵀ M ã`` in standardised features x̃ and ã with a leading 1, and a bilinear
form is two linear towers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np

from ..arrays import row_chunks, single_precision
from ..logs.feedback import BanditFeedback
from .eligible import restricts

# Beyond so many products, features are first compressed to their principal components.
_MAX_PRODUCTS = 3_000
# Up to so many, the penalty is judged on five folds; beyond, on one.
_CHEAP_PRODUCTS = 800
_N_FOLDS = 5
_PENALTIES = np.geomspace(1e-3, 10, 9)  # of standardised products, per round
# Of products of the context alone, as a share: they soak up what no choice of items can change.
_CONTEXT_PENALTY = 0.03
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
        sizes = feedback.dim_context + 1, feedback.dim_action_context + 1
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


def ridge(feedback: BanditFeedback, products: Products, target: np.ndarray) -> np.ndarray:
    """The matrix M whose ``x̃ᵀ M ã`` predicts a standardised target (n_rounds,) of logged items.

    Hoerl and Kennard, Technometrics 1970. The penalty, an infinite one among those tried, is the
    one whose predictions of units that it has not seen have the smallest error.
    """
    n_products = int(np.prod(products.shape))
    fold = feedback.units.folds(min(_N_FOLDS, len(feedback.units)), random_state=0)
    if fold.max() == 0:
        return np.zeros(products.shape)
    if n_products > _CHEAP_PRODUCTS:
        fold = np.minimum(fold, 1)
    n_judged = 1 if n_products > _CHEAP_PRODUCTS else fold.max() + 1
    relative = np.ones(products.shape)
    relative[:, 0] = _CONTEXT_PENALTY
    parts = [_moments(feedback, products, target, fold == k) for k in range(fold.max() + 1)]
    gram, moment = (np.sum(each, axis=0) for each in zip(*parts, strict=True))

    @cache
    def loss(number: int) -> float:
        total = 0.0
        for k in range(n_judged):
            unseen_gram, unseen_moment = parts[k]
            penalty = _PENALTIES[number] * np.sum(fold != k) * relative.ravel()
            m = _solve(gram - unseen_gram, moment - unseen_moment, penalty)
            total += m @ (unseen_gram @ m) - 2 * m @ unseen_moment
        return total

    best = _lowest(loss, len(_PENALTIES))
    if loss(best) >= 0:  # that of predicting nothing
        return np.zeros(products.shape)
    penalty = _PENALTIES[best] * feedback.n_rounds * relative.ravel()
    return _solve(gram, moment, penalty).reshape(products.shape)


def _lowest(loss: Callable[[int], float], n: int) -> int:
    """Where a loss of 0 to n − 1 that first falls and then rises is lowest, from the middle on."""
    best = n // 2
    for step in (1, -1):
        while 0 <= best + step < n and loss(best + step) < loss(best):
            best += step
    return best


def _moments(
    feedback: BanditFeedback, products: Products, target: np.ndarray, some: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``Fᵀ F`` and ``Fᵀ y`` of the products F of some rounds.

    Rounds of one item share their ã: ``Σ (x̃ x̃ᵀ) ⊗ (ã ãᵀ)`` is summed over the rounds of an item
    first, and then over items.
    """
    d, d_item = products.shape
    rows = np.flatnonzero(some)
    rows = rows[np.argsort(feedback.action[rows], kind="stable")]
    shown, first = np.unique(feedback.action[rows], return_index=True)
    of_item = np.split(rows, first[1:])
    items = products.item(feedback.action_context[shown])
    gram, moment = np.zeros((d * d, d_item * d_item)), np.zeros((d, d_item))
    for chunk in row_chunks(len(shown), d * d + d_item * d_item, max_elements=2**22):
        a = items[chunk]
        squares = np.empty((len(a), d, d))
        for number, these in enumerate(of_item[chunk]):
            x = products.context(feedback.context[these])
            squares[number] = x.T @ x
            moment += np.outer(target[these] @ x, a[number])
        gram += squares.reshape(len(a), -1).T @ (a[:, :, None] * a[:, None, :]).reshape(len(a), -1)
    pairs = gram.reshape(d, d, d_item, d_item).transpose(0, 2, 1, 3)
    return pairs.reshape(d * d_item, d * d_item), moment.ravel()


def _solve(gram: np.ndarray, moment: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    from scipy.linalg import cho_factor, cho_solve

    penalised = gram.copy()
    penalised[np.diag_indices_from(penalised)] += penalty
    return cho_solve(cho_factor(penalised, overwrite_a=True, check_finite=False), moment)


def spread(feedback: BanditFeedback, products: Products, m: np.ndarray) -> float:
    """The standard deviation of ``x̃ᵀ m ã`` between what could be shown in a context, on average."""
    some = np.linspace(0, feedback.n_rounds - 1, min(feedback.n_rounds, _CONTEXTS)).astype(int)
    slope = products.context(feedback.context[some]) @ m[:, 1:]
    items = products.item(feedback.action_context)[:, 1:]
    eligible = feedback.eligible if restricts(feedback) else None
    found = []
    for rows in row_chunks(len(slope), len(items)):
        among = True if eligible is None else eligible.mask(some[rows])
        found.append((slope[rows] @ items.T).std(axis=1, where=among))
    return float(np.concatenate(found).mean())
