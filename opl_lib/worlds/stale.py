"""A good logging policy: it follows a model that was once right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arrays import feature_matrix
from ..checks import check_number, check_seed, plain_arithmetic
from .asked import contexts
from .logging_policies import epsilon_greedy
from .showing import mostly_best
from .synthetic import SyntheticWorld


@dataclass(frozen=True)
class stale_greedy:
    """Show the item that a stale model of a world holds for the best, else one at random.

    The model is the world's true logit plus noise, linear in the context, that every item draws for
    itself: what a regression on last year's log may have learned. The item with the largest sum has
    probability ``1 - epsilon + epsilon/n_actions``, every other item ``epsilon/n_actions``.

    Parameters
    ----------
    world : SyntheticWorld
        Whose items are shown. Make it first with any logging policy, then once more with this one.
    epsilon : float in (0, 1]
        Share of rounds that explore. At 0 the other items could never be logged.
    noise : float in [0, 1000]
        Standard deviation of the noise, over contexts and items, in that of the logit. At 0 the
        model is the truth.
    random_state : int in [0, 2**32)
        Fixes the noise.

    Raises
    ------
    TypeError
        If `world` is no `SyntheticWorld`.
    ValueError
        If a setting is out of range, or contexts or items are not those of the world.

    Examples
    --------
    >>> import opl_lib as opl
    >>> known = opl.SyntheticWorld(n_actions=5, random_state=0)
    >>> logging = opl.stale_greedy(known, epsilon=0.05)
    >>> world = opl.SyntheticWorld(n_actions=5, random_state=0, logging_policy=logging)
    >>> {name: round(value, 2) for name, value in world.reference_values().items()}
    {'logging': 0.57, 'uniform': 0.5, 'best_constant_item': 0.52, 'optimum': 0.61}
    """

    world: SyntheticWorld
    epsilon: float = 0.05
    noise: float = 0.5
    random_state: int = 0
    _coefficients: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.world, SyntheticWorld):
            raise TypeError(f"world must be a SyntheticWorld; got {self.world!r}.")
        epsilon_greedy(self.epsilon)
        check_number("noise", self.noise, least=0, most=1000)
        check_seed(self.random_state)
        object.__setattr__(self, "_coefficients", self._stale())

    @plain_arithmetic
    def __call__(
        self, context: np.ndarray, action_context: np.ndarray, eligible: Any = None
    ) -> np.ndarray:
        context = contexts(context, self.world.dim_context)
        n_actions = len(feature_matrix("action_context", action_context))
        if n_actions != self.world.n_actions:
            raise ValueError(
                f"action_context must have the {self.world.n_actions} items of the world that "
                f"stale_greedy was made of; got {n_actions}."
            )
        logit = context @ self._coefficients[1:] + self._coefficients[0]
        return mostly_best(logit, float(self.epsilon), eligible)

    def _stale(self) -> np.ndarray:
        """Intercepts and slopes of the world's logit with the noise: (dim_context + 1, n)."""
        true = np.vstack([self.world._intercept, self.world._slope])
        of_context = np.square(true[1:]).sum(axis=0).mean()
        spread = np.sqrt(of_context + true[0].var())
        rng = np.random.default_rng([self.random_state, 2])  # not what a world of this seed draws
        return true + rng.normal(size=true.shape) * self.noise * spread / np.sqrt(len(true))
