"""Logging policies: callables ``(context, action_context) -> probabilities``.

Each returns probabilities of shape (n_rounds, n_actions), never logits. Given a boolean mask of
that shape, or of (n_actions,), as ``eligible=…``, each shows these items only.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from ..answers import action_probabilities
from ..checks import MIN_TEMPERATURE, check_number, plain_arithmetic
from ..logs.eligible import eligible_mask
from ..protocols import PolicyLike
from .showing import among, checked, inner_products, mostly_best, softmax_of


@dataclass(frozen=True)
class uniform:
    """Show every item with the same probability, ``pi_0(a|x) = 1/n_actions``.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> opl.uniform()(np.zeros((1, 2)), np.zeros((4, 2)))
    array([[0.25, 0.25, 0.25, 0.25]])
    """

    def __call__(
        self, context: np.ndarray, action_context: np.ndarray, eligible: Any = None
    ) -> np.ndarray:
        context, action_context = checked(context, action_context)
        pi = np.full((len(context), len(action_context)), 1 / len(action_context))
        return pi if eligible is None else among(eligible, pi)


@dataclass(frozen=True)
class epsilon_greedy:
    """Show the item with the largest inner product with the context, else one at random.

    The best item has probability ``1 - epsilon + epsilon/n_actions``, every other item
    ``epsilon/n_actions``.

    Parameters
    ----------
    epsilon : float in (0, 1]
        Share of rounds that explore. At 0 the other items could never be logged.

    Raises
    ------
    ValueError
        If `epsilon` is out of range, or contexts and items have different numbers of features.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> opl.epsilon_greedy(0.2)(np.array([[1.0, 0.0]]), np.eye(2))
    array([[0.9, 0.1]])
    """

    epsilon: float = 0.1

    def __post_init__(self) -> None:
        is_number = isinstance(self.epsilon, Real) and not isinstance(self.epsilon, bool)
        if not (is_number and 0 < self.epsilon <= 1):
            raise ValueError(
                f"epsilon must be in (0, 1]; got {self.epsilon!r}. At 0 the log has no support "
                "outside one item per context."
            )

    @plain_arithmetic
    def __call__(
        self, context: np.ndarray, action_context: np.ndarray, eligible: Any = None
    ) -> np.ndarray:
        context, action_context = checked(context, action_context)
        products = inner_products(context, action_context)
        return mostly_best(products, float(self.epsilon), eligible)


@dataclass(frozen=True)
class epsilon_greedy_as_published:
    """The epsilon-greedy function with its probabilities taken for logits, as in the article.

    ``obp`` 0.5 applies a softmax to whatever its logging policy returns. An epsilon-greedy function
    that already returns probabilities is flattened by it to nearly uniform.

    Parameters
    ----------
    epsilon : float in (0, 1]
        As in `epsilon_greedy`.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> rng = np.random.default_rng(0)
    >>> context, items = rng.normal(size=(1, 5)), rng.uniform(size=(10, 5))
    >>> opl.epsilon_greedy(0.1)(context, items).max().round(3)
    np.float64(0.91)
    >>> opl.epsilon_greedy_as_published(0.1)(context, items).max().round(3)
    np.float64(0.215)
    """

    epsilon: float = 0.1

    def __post_init__(self) -> None:
        epsilon_greedy(self.epsilon)

    @plain_arithmetic
    def __call__(
        self, context: np.ndarray, action_context: np.ndarray, eligible: Any = None
    ) -> np.ndarray:
        return softmax_of(epsilon_greedy(self.epsilon)(context, action_context, eligible), eligible)


@dataclass(frozen=True)
class softmax:
    """Show items with probability proportional to ``exp(<context, item> / temperature)``.

    Parameters
    ----------
    temperature : float above 0
        Large is nearly uniform, small is nearly greedy.

    Raises
    ------
    ValueError
        If `temperature` is not above 0, or contexts and items have different numbers of features.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> opl.softmax(1.0)(np.array([[1.0, 0.0]]), np.eye(2)).round(3)
    array([[0.731, 0.269]])
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, least=MIN_TEMPERATURE)

    @plain_arithmetic
    def __call__(
        self, context: np.ndarray, action_context: np.ndarray, eligible: Any = None
    ) -> np.ndarray:
        context, action_context = checked(context, action_context)
        logits = inner_products(context, action_context, float(self.temperature))
        return softmax_of(logits, eligible)


@dataclass(frozen=True)
class zipf:
    """Show the item in row a with probability proportional to ``1 / (a + 1)^exponent``, always.

    A few items fill the log and most are rare, as in the catalogues of shops. It does not look at
    the context, nor at the features of items.

    Parameters
    ----------
    exponent : float in [0, 10]
        At 0 all items are alike, as under `uniform`.

    Raises
    ------
    ValueError
        If `exponent` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> opl.zipf(1.0)(np.zeros((1, 2)), np.zeros((3, 2))).round(3)
    array([[0.545, 0.273, 0.182]])
    """

    exponent: float = 1.0

    def __post_init__(self) -> None:
        check_number("exponent", self.exponent, least=0, most=10)

    @plain_arithmetic
    def __call__(
        self, context: np.ndarray, action_context: np.ndarray, eligible: Any = None
    ) -> np.ndarray:
        context, action_context = checked(context, action_context)
        weights = np.arange(1, len(action_context) + 1) ** -float(self.exponent)
        pi = np.tile(weights / weights.sum(), (len(context), 1))
        return pi if eligible is None else among(eligible, pi)


@dataclass(frozen=True)
class FirstItems:
    """Show the first `n_items` as another logging policy does, and the later ones never."""

    policy: PolicyLike
    n_items: int

    def __call__(
        self, context: np.ndarray, action_context: np.ndarray, eligible: Any = None
    ) -> np.ndarray:
        pi = np.zeros((len(context), len(action_context)))
        if eligible is not None:
            eligible = eligible_mask(eligible, *pi.shape)[:, : self.n_items]
        pi[:, : self.n_items] = action_probabilities(
            self.policy, context, action_context[: self.n_items], eligible=eligible
        )
        return pi


def ignores_context(policy: Any) -> bool:
    """Whether one row of probabilities is known to be those of all."""
    if isinstance(policy, FirstItems):
        return ignores_context(policy.policy)
    return isinstance(policy, uniform | zipf)
