"""Items as a log knows them, and what was learned of each: a vector of its own, beside features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from ..logs.feedback import BanditFeedback
from ..policies.known_items import different, find
from .products import Products


@dataclass(frozen=True)
class Shown:
    """The items of a log that were shown; those with the same features are one.

    Attributes
    ----------
    features : float32 array of shape (m, dim_action_context)
    encoded : array of shape (m, k)
        The ã of each.
    number : integer array of shape (n_rounds,)
        Which of them was shown.
    """

    features: np.ndarray
    encoded: np.ndarray
    number: np.ndarray

    @classmethod
    def of(cls, feedback: BanditFeedback, products: Products) -> Self:
        """By the features of a log."""
        shown, number = np.unique(feedback.action, return_inverse=True)
        first, alike = different(feedback.action_context[shown])
        features = feedback.action_context[shown[first]]
        return cls(features.astype(np.float32), products.item(features), alike[number])


class Vectors(NamedTuple):
    """Vectors ``M ã + u`` of items.

    Attributes
    ----------
    of_features : array of shape (d, k)
        M.
    own : array of shape (m, d)
        The u of the items that were shown; others have none.
    """

    of_features: np.ndarray
    own: np.ndarray

    @classmethod
    def zeros(cls, products: Products, shown: Shown) -> Self:
        """Vectors that say nothing."""
        d, k = products.shape
        return cls(np.zeros((d, k)), np.zeros((len(shown.encoded), d)))

    def of(self, encoded: np.ndarray, number: np.ndarray) -> np.ndarray:
        """Those of items (n, k), whose number among those that were shown is m for others."""
        own = np.vstack([self.own, np.zeros((1, self.own.shape[1]))])
        return encoded @ self.of_features.T + own[number]

    def of_items(self, products: Products, shown: Shown, features: np.ndarray) -> np.ndarray:
        """Those of items with features (n, dim_action_context): (n, d)."""
        return self.of(products.item(features), find(shown.features, features))

    def times(self, factor: float) -> Vectors:
        """A multiple."""
        return Vectors(factor * self.of_features, factor * self.own)

    def plus(self, factor: float, other: Vectors) -> Vectors:
        """The sum with a multiple of others."""
        return Vectors(self.of_features + factor * other.of_features, self.own + factor * other.own)
