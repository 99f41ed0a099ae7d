"""A ridge regression on products of features, in which items have vectors of their own.

The prediction is ``x̃ᵀ v_a`` with an item's vector ``v_a = M ã + u_a``: what its features say, and
what is its own. Both are found exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, reduce
from typing import NamedTuple

import numpy as np

from ..logs.feedback import BanditFeedback
from .products import Products, products_summed
from .vectors import Shown, Vectors

# Up to so many products, penalties are judged on five folds; beyond, on one.
_CHEAP_PRODUCTS = 800
_N_FOLDS = 5
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
        return float((vectors * (_times(self.squares, vectors) - 2 * self.moments)).sum())


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
    given = None if score is None else score.of(shown.encoded, np.arange(n_items))
    if given is None or not given.any():
        given = score = None
    parts = [_sums(feedback, products, shown, target, weight, fold == k) for k in range(n_folds)]
    whole = reduce(_Sums.plus, parts)
    n_judged = n_folds if n_folds > 2 else 1

    @lru_cache(maxsize=n_judged)
    def without(k: int, own: _Own) -> _Problem:
        others = whole.plus(parts[k], -1)
        return _Problem(others, shown.encoded, given, own)

    @cache
    def loss(number: int, own: _Own) -> np.ndarray:
        vectors = (without(k, own).solved(PENALTIES[number]).predicting for k in range(n_judged))
        return np.array([part.error(each) for part, each in zip(parts, vectors, strict=False)])

    number, own = _best(loss, products.shape[0])
    if loss(number, own).sum() >= 0:  # that of predicting nothing
        return Vectors.zeros(products, shown)
    found = _Problem(whole, shown.encoded, given, own).solved(PENALTIES[number])
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


class _Solution(NamedTuple):
    """What was found, the factor of the score, and the vectors that predict, (m, d)."""

    vectors: Vectors
    factor: float
    predicting: np.ndarray


@dataclass(frozen=True, eq=False)
class _Problem:
    """Sums of rounds, encoded items (m, k), the vectors (m, d) of a score, and what is own."""

    sums: _Sums
    items: np.ndarray
    score: np.ndarray | None
    own: _Own

    @cached_property
    def own_squares(self) -> np.ndarray:
        """The penalised squares of own numbers, (m, width, width)."""
        width = self.own.width
        return self.sums.squares[:, :width, :width] + self.own.penalty * np.eye(width)

    @cached_property
    def equations(self) -> tuple[np.ndarray, np.ndarray]:
        """The normal equations of M, and of the score's factor; own numbers are eliminated."""
        squares, moments, _ = self.sums
        if width := self.own.width:
            share = np.linalg.solve(self.own_squares, squares[:, :width])
            moments = moments - _times(share.transpose(0, 2, 1), moments[:, :width])
            squares = squares - squares[:, :, :width] @ share
        gram = products_summed(squares, self.items)
        moment = (moments.T @ self.items).ravel()
        if self.score is None:
            return gram, moment
        of_score = _times(squares, self.score)
        cross = (of_score.T @ self.items).reshape(-1, 1)
        size = np.array([[np.sum(self.score * of_score)]])
        moment = np.append(moment, np.sum(self.score * moments))
        return np.block([[gram, cross], [cross.T, size]]), moment

    def solved(self, penalty: float) -> _Solution:
        """The regression at a penalty a round."""
        (_, d), k = self.sums.moments.shape, self.items.shape[1]
        gram, moment = self.equations
        relative = np.ones((d, k))
        relative[:, 0] = CONTEXT_PENALTY
        penalties = penalty * self.sums.n_rounds * relative.ravel()
        if self.score is not None:
            penalties = np.append(penalties, penalty * SCORE_PENALTY * gram[-1, -1])
        found = _solve(gram, moment, penalties)
        m, factor = found[: d * k].reshape(d, k), 0.0
        vectors = self.items @ m.T
        if self.score is not None:
            factor = float(found[-1])
            vectors = vectors + factor * self.score
        own = np.zeros_like(vectors)
        if width := self.own.width:
            left = self.sums.moments - _times(self.sums.squares, vectors)
            own[:, :width] = np.linalg.solve(self.own_squares, left[:, :width, None])[:, :, 0]
        return _Solution(Vectors(m, own), factor, vectors + own)


def _times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Matrices (m, a, b) times vectors (m, b): (m, a)."""
    return (matrices @ vectors[:, :, None])[:, :, 0]


def _solve(gram: np.ndarray, moment: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    from scipy.linalg import cho_factor, cho_solve

    penalised = gram.copy()
    penalised[np.diag_indices_from(penalised)] += penalties
    return cho_solve(cho_factor(penalised, overwrite_a=True, check_finite=False), moment)
