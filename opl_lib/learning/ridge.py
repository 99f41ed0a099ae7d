"""A ridge regression on products of features, in which items have vectors of their own.

The prediction is ``x̃ᵀ v_a`` with an item's vector ``v_a = M ã + u_a``: what its features say, and
what is its own. Both are found exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, reduce
from typing import NamedTuple, Self

import numpy as np

from ..logs.feedback import BanditFeedback
from .normal_equations import NormalEquations, times
from .products import Products
from .vectors import Shown, Vectors

# Up to so many products, penalties are judged on five folds; beyond, on one.
_CHEAP_PRODUCTS = 800
_N_FOLDS = 5
_ROUNDING = 1e-10  # directions with so small a share of items' spread are none
_MAX_SUMS = 2**26  # so many numbers for five folds
PENALTIES = np.geomspace(1e-3, 10, 9)  # of standardised products, per round
# Of products of the context alone, as a share: they soak up what no choice of items can change.
CONTEXT_PENALTY = 0.03
SCORE_PENALTY = 0.3  # of the factor of a score that is given
# Rounds after which an item's own rounds count as much as its features.
OWN_PENALTIES = (1000.0, 100.0, 10.0, 1.0)


class _Own(NamedTuple):
    """Items have own numbers: so many of a vector, from the first on, at a penalty in rounds."""

    width: int
    penalty: float


class _Sums(NamedTuple):
    """Sums over the rounds that show an item: of ``x̃ x̃ᵀ``, (m, d, d), and of ``x̃ y``, (m, d)."""

    squares: np.ndarray
    moments: np.ndarray
    n_rounds: int

    def plus(self, other: _Sums, factor: int = 1) -> _Sums:
        """The sum with others, or the difference."""
        return _Sums(
            self.squares + factor * other.squares,
            self.moments + factor * other.moments,
            self.n_rounds + factor * other.n_rounds,
        )

    def error(self, vectors: np.ndarray) -> float:
        """By how much the squared error of predictions is above that of predicting nothing."""
        return float((vectors * (times(self.squares, vectors) - 2 * self.moments)).sum())


def ridge(
    feedback: BanditFeedback,
    products: Products,
    shown: Shown,
    target: np.ndarray,
    score: Vectors | None = None,
    weight: np.ndarray | None = None,
) -> Vectors:
    """Vectors whose ``x̃ᵀ v_a`` predicts a standardised target (n_rounds,) of logged items.

    A given score has a factor of its own. Rounds may have weights (n_rounds,). The penalties,
    infinite ones among those tried, are those whose predictions of units that they have not seen
    have the smallest error.

    Hoerl and Kennard, Technometrics 1970; Lindley and Smith, "Bayes estimates for the linear
    model", JRSS B 1972; Li et al., WWW 2010, Algorithm 2 (such a model, with an exploring choice).
    """
    n_items = len(shown.encoded)
    fold = _folds(feedback, products, n_items)
    n_folds = int(fold.max()) + 1
    if n_folds < 2:
        return Vectors.zeros(products, shown)
    scores = () if score is None else (score.of(shown.encoded, np.arange(n_items)),)
    given = np.array([each for each in scores if each.any()])
    given = given.reshape(-1, n_items, products.shape[0])
    parts = [_sums(feedback, products, shown, target, weight, fold == k) for k in range(n_folds)]
    whole = reduce(_Sums.plus, parts)
    n_judged = n_folds if n_folds > 2 else 1
    items = _Items.of(shown.encoded)

    @lru_cache(maxsize=n_judged)
    def without(k: int, own: _Own) -> _Problem:
        return _Problem(whole.plus(parts[k], -1), items, given, own)

    @cache
    def loss(number: int, own: _Own) -> np.ndarray:
        vectors = (without(k, own).solved(PENALTIES[number]).predicting for k in range(n_judged))
        return np.array([part.error(each) for part, each in zip(parts, vectors, strict=False)])

    number, own = _best(loss, products.shape[0])
    if loss(number, own).sum() >= 0:  # that of predicting nothing
        return Vectors.zeros(products, shown)
    found = _Problem(whole, items, given, own).solved(PENALTIES[number])
    return found.vectors if score is None else found.vectors.plus(found.factor, score)


def _folds(feedback: BanditFeedback, products: Products, n_items: int) -> np.ndarray:
    """The part of the log that a round is judged in, (n_rounds,); the first of two is."""
    fold = feedback.units.folds(min(_N_FOLDS, len(feedback.units)), random_state=0)
    n_sums = _N_FOLDS * n_items * products.shape[0] ** 2
    costly = np.prod(products.shape) > _CHEAP_PRODUCTS or n_sums > _MAX_SUMS
    return np.minimum(fold, 1) if costly else fold


def _best(loss: Callable[[int, _Own], np.ndarray], d: int) -> tuple[int, _Own]:
    """The penalties of the lowest loss, in all folds together: that of M, then that of u.

    Own numbers must lower the loss by a standard error, as far as folds differ.
    """
    own = _Own(0, np.inf)
    number = _lowest(lambda number: loss(number, own).sum(), len(PENALTIES) // 2)
    for width in (1, d):
        for penalty in OWN_PENALTIES:
            tried = _Own(width, penalty)
            gain = loss(number, own) - loss(number, tried)
            if not gain.sum() > np.sqrt(len(gain)) * gain.std(ddof=len(gain) > 1):
                break
            own = tried
    return _lowest(lambda number: loss(number, own).sum(), number), own


def _lowest(loss: Callable[[int], float], best: int) -> int:
    """The penalty of the lowest loss, where that first falls and then rises."""
    for step in (1, -1):
        while 0 <= best + step < len(PENALTIES) and loss(best + step) < loss(best):
            best += step
    return best


def _sums(
    feedback: BanditFeedback,
    products: Products,
    shown: Shown,
    target: np.ndarray,
    weight: np.ndarray | None,
    some: np.ndarray,
) -> _Sums:
    """Sums over some rounds, by item."""
    (d, _), n_items = products.shape, len(shown.encoded)
    squares, moments = np.zeros((n_items, d, d)), np.zeros((n_items, d))
    rows = np.flatnonzero(some)
    rows = rows[np.argsort(shown.number[rows], kind="stable")]
    found, first = np.unique(shown.number[rows], return_index=True)
    for number, these in zip(found, np.split(rows, first[1:]), strict=True):
        x = products.context(feedback.context[these])
        weighted = x if weight is None else weight[these, None] * x
        squares[number] = weighted.T @ x
        moments[number] = target[these] @ weighted
    return _Sums(squares, moments, len(rows))


class _Items(NamedTuple):
    """Encoded items (m, k) in coordinates (m, r) along axes (r, k): few items need few.

    ``M = W axes`` of the smallest penalty for what it says of these items, which is that of W.
    """

    coordinates: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, encoded: np.ndarray) -> Self:
        """By a singular value decomposition, scaled by the penalties of columns."""
        scale = np.ones(encoded.shape[1])
        scale[0] = 1 / np.sqrt(CONTEXT_PENALTY)
        left, sizes, axes = np.linalg.svd(encoded * scale, full_matrices=False)
        r = int((sizes > _ROUNDING * sizes[0]).sum())
        return cls(left[:, :r] * sizes[:r], axes[:r] * scale)


class _Solution(NamedTuple):
    """What was found, the factor of the score, and the vectors that predict, (m, d)."""

    vectors: Vectors
    factor: float
    predicting: np.ndarray


@dataclass(frozen=True, eq=False)
class _Problem:
    """Sums of rounds, items, a given score's vectors (0 or 1, m, d), and what is own."""

    sums: _Sums
    items: _Items
    given: np.ndarray
    own: _Own

    @cached_property
    def own_squares(self) -> np.ndarray:
        """The penalised squares of own numbers, (m, width, width)."""
        width = self.own.width
        return self.sums.squares[:, :width, :width] + self.own.penalty * np.eye(width)

    @cached_property
    def equations(self) -> NormalEquations:
        """The normal equations of M, and of the score's factor; own numbers are eliminated."""
        squares, moments, _ = self.sums
        if width := self.own.width:
            share = np.linalg.solve(self.own_squares, squares[:, :width])
            moments = moments - times(share.transpose(0, 2, 1), moments[:, :width])
            squares = squares - squares[:, :, :width] @ share
        return NormalEquations(squares, moments, self.items.coordinates, self.given)

    def solved(self, penalty: float) -> _Solution:
        """The regression at a penalty a round."""
        found = self.equations.solved(penalty * self.sums.n_rounds, penalty * SCORE_PENALTY)
        vectors = self.equations.vectors(found)
        own = np.zeros_like(vectors)
        if width := self.own.width:
            left = self.sums.moments - times(self.sums.squares, vectors)
            own[:, :width] = np.linalg.solve(self.own_squares, left[:, :width, None])[:, :, 0]
        w, factors = self.equations.split(found)
        return _Solution(Vectors(w @ self.items.axes, own), float(factors.sum()), vectors + own)
