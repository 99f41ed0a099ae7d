"""The logit of a click in a `SyntheticWorld`: bilinear in context and item, standardised."""

from __future__ import annotations

import numpy as np

from .sigmoid import shift_to

REWARD_FUNCTIONS = ("logistic", "logistic_as_published")


class BilinearLogit:
    """``logit(x, a) = slope[a]·x + intercept[a]`` for the items of a world and for later ones.

    Parameters
    ----------
    rng : numpy Generator
        Draws the coefficients.
    items : array of shape (n_actions, dim_action_context)
        The items over which the logit is standardised.
    dim_context, reward_function, scale, unexplained, random_state, click_rate
        As in `SyntheticWorld`.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        items: np.ndarray,
        dim_context: int,
        reward_function: str,
        scale: float,
        unexplained: float,
        random_state: int,
        click_rate: float | None = None,
    ) -> None:
        self.scale, self.unexplained, self.random_state = scale, unexplained, random_state
        self._draw_coefficients(rng, dim_context + 1, items.shape[1] + 1)
        self._standardise(items, is_divided=reward_function == "logistic")
        self._to_click_rate = 0.0
        if click_rate is not None:
            self._to_click_rate = shift_to(click_rate, *self.of(items, first_item=0))

    def of(self, items: np.ndarray, first_item: int) -> tuple[np.ndarray, np.ndarray]:
        """Intercepts (n,) and slopes (dim_context, n) of items numbered from `first_item`."""
        per_item = self._raw(items, first_item)
        return (
            (per_item[0] - self._shift) / self._std * self.scale + self._to_click_rate,
            per_item[1:] / self._std * self.scale,
        )

    def _draw_coefficients(self, rng: np.random.Generator, n_rows: int, n_columns: int) -> None:
        """M, with θ_x and θ_a added to its first column and row."""
        self._coefficients = rng.uniform(-1, 1, size=(n_rows, n_columns))
        self._coefficients[:, 0] += rng.uniform(-1, 1, size=n_rows)
        self._coefficients[0, :] += rng.uniform(-1, 1, size=n_columns)

    def _standardise(self, items: np.ndarray, is_divided: bool) -> None:
        explained = self._explained(items)
        self._centre = explained.mean(axis=1, keepdims=True)
        self._spread = explained.std(axis=1, keepdims=True)
        # with x standard normal, the moments of the logit over x and a are exact
        per_item = self._raw(items, first_item=0)
        intercept, slope = per_item[0], per_item[1:]
        mean = intercept.mean()
        std = np.sqrt((np.square(slope).sum(axis=0) + np.square(intercept - mean)).mean())
        self._shift = float(mean if is_divided else mean / std)
        self._std = float(std if is_divided else 1.0)

    def _explained(self, items: np.ndarray) -> np.ndarray:
        """Intercept and slope as far as features explain them: (dim_context + 1, n)."""
        return self._coefficients @ np.column_stack([np.ones(len(items)), items]).T

    def _raw(self, items: np.ndarray, first_item: int) -> np.ndarray:
        """A share of what sets items apart exchanged for draws of each item's own."""
        explained = self._explained(items)
        if self.unexplained == 0:
            return explained
        rng = np.random.default_rng([self.random_state, first_item, 1])
        own = rng.normal(size=explained.T.shape).T * self._spread
        return (
            self._centre
            + np.sqrt(1 - self.unexplained) * (explained - self._centre)
            + np.sqrt(self.unexplained) * own
        )
