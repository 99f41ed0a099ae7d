"""Two linear towers, found exactly: the regression that is hard to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch

from ..arrays import feature_matrix, row_chunks
from ..checks import MIN_TEMPERATURE, check_number, plain_arithmetic
from ..logs.feedback import BanditFeedback, check_feedback
from ..objectives.regressions import mean_and_scale
from ..policies.known_items import KnownItems
from ..policies.towers import TwoTower
from ..policies.two_tower import TwoTowerPolicy
from .logging_model import logging_model
from .params import Params
from .products import Products, spread
from .ridge import ridge
from .vectors import Shown, Vectors

# Policies near the logging policy, from the farthest to the nearest.
LEANS = (0.15, 0.3, 0.6, 1.0)
LEAN = 0.1
_MAX_LEAN = 1e6


@dataclass(eq=False)
class BilinearLearner(Params):
    """Ridge regression on products of features, on items themselves, and on what was logged.

    The predicted reward is ``q̂(x, a) = x̃ᵀ (M ã + u_a) + β log π̂_0(a|x)``: bilinear in the features,
    each with a leading 1, with a vector ``u_a`` for what features do not say of an item, and with
    what the logging policy knew, as far as rewards bear it out. All of this is an inner product of
    two linear towers, and is found exactly, without steps: for some thousand products in about a
    second. Penalties of M and ``u_a`` are chosen on rounds that the fit has not seen; an item
    that the log did not show has none of its own. It is a learner, with `policy_`, and a reward
    model, with `predict_reward`.

    The policy scores an item by ``q̂(x, a) / s + lean · log π̂_0(a|x)``, with the spread s of q̂
    between items. Where q̂ tells items apart, it decides; where it does not, that is shown which was
    shown before. A softmax of these scores at temperature `lean` is
    ``π̂_0(a|x) exp(q̂(x, a) / (lean · s))`` over its sum: of all policies with so large a KL
    divergence from ``π̂_0`` the one with the largest q̂.

    The model ``π̂_0`` of the logging policy is found from the logged probabilities by such a
    regression, too: without noise, few rounds show what a policy knew that has seen more.

    Parameters
    ----------
    lean : float, at least 0
        How much the policy leans on the logging policy; 0 is the regression alone.
    temperature : float, at least 0
        Of `policy_`, in units of its scores, that is, of s; 0 is greedy.

    Attributes
    ----------
    policy_ : TwoTowerPolicy
        Two linear towers.
    spread_ : float
        The s above, in units of the reward: the standard deviation of q̂ between the items of a
        context that could be shown, on average; 0 if no product predicts the reward.

    Raises
    ------
    ValueError
        At construction or in `fit`, if a setting is out of range.

    Notes
    -----
    Features need no standardisation: it is done inside. With more than 3,000 products, as of 60
    context and 60 item features, the wider of the two are compressed to principal components. Of a
    log with `eligible`, ``π̂_0`` is a softmax over the items that could be shown in a round,
    and s is the spread between these. An item is known by its features, as single precision holds
    them: those with the same features are one, and one whose features change is a new one.

    References
    ----------
    Hoerl and Kennard, "Ridge regression", Technometrics 1970; Chu and Park, "Personalized
    recommendation on dynamic content using predictive bilinear models", WWW 2009; Li et al., "A
    contextual-bandit approach to personalized news article recommendation", WWW 2010, Algorithm 2
    (features and items at once); Todorov, "Linearly-solvable Markov decision problems", NeurIPS
    2006 (the policy nearest to another).

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=5, dim_context=5, dim_action_context=5, random_state=0)
    >>> policy = opl.BilinearLearner().fit(world.sample(2000, random_state=1)).policy_
    >>> bool(world.policy_value(policy) > world.reference_values()["best_constant_item"])
    True
    """

    lean: float = LEAN
    temperature: float = 0.0

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise ValueError if a setting is out of range."""
        _check_lean(self.lean)
        _check_temperature("temperature", self.temperature)

    @plain_arithmetic
    def fit(self, feedback: BanditFeedback) -> Self:
        """Learn from a log.

        Parameters
        ----------
        feedback : BanditFeedback

        Returns
        -------
        BilinearLearner
            This object, fitted.
        """
        self.forget()
        check_feedback(feedback)
        self._columns = feedback.columns
        self._products = products = Products.of(feedback)
        self._shown = shown = Shown.of(feedback, products)
        reward = feedback.reward.astype(np.float64)
        self._mean, scale = mean_and_scale(reward)
        self._unit = scale or 1.0
        self._logging = logging_model(feedback, products, shown)
        target = (reward - self._mean) / self._unit
        self._q = ridge(feedback, products, shown, target, self._logging)  # in that unit
        vectors = self._q.of_items(products, shown, feedback.action_context)
        self.spread_ = self._unit * spread(feedback, products, vectors)
        self.policy_ = self.near_logging(float(self.lean), float(self.temperature))
        return self

    def near_logging(self, lean: float, temperature: float | None = None) -> TwoTowerPolicy:
        """The policy of another `lean`, from the same fit.

        Parameters
        ----------
        lean : float, at least 0
        temperature : float, at least 0, optional
            If not given, that of `lean`: the policy nearest to the logging policy for its q̂.

        Returns
        -------
        TwoTowerPolicy

        Raises
        ------
        ValueError
            If the learner is not fitted, or a number is out of range.
        """
        name, given = ("lean", lean) if temperature is None else ("temperature", temperature)
        _check_temperature(name, given)
        return TwoTowerPolicy(self.towers(1.0, lean), float(given), self._columns)

    def towers(self, factor: float, lean: float) -> TwoTower:
        """Linear towers whose scores are those of `near_logging` times a factor."""
        check_number("factor", factor, above=0)
        _check_lean(lean)
        unit = self._fitted().spread_ / self._unit or 1.0
        scores = self._q.times(1 / unit).plus(float(lean), self._logging)
        return self._towers(scores.times(float(factor)))

    @property
    def policies_(self) -> dict[str, TwoTowerPolicy]:
        """Ways of serving this fit, from greedy to near the logging policy."""
        near = {f"near logging, {lean:g}": self.near_logging(lean) for lean in LEANS}
        return {"": self.policy_, "regression": self.near_logging(0, 0)} | near

    def predict_reward(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        """Predicted reward of every item.

        Parameters
        ----------
        context : array of shape (n, dim_context)
        action_context : array of shape (n_actions, dim_action_context)

        Returns
        -------
        array of shape (n, n_actions)

        Raises
        ------
        ValueError
            If the learner is not fitted, there is no item, or features have another width than
            those of the log.
        """
        x, vectors = self._context(context), self._vectors(action_context)
        return self._unit * (x @ vectors.T) + self._mean

    def predicted(self, feedback: BanditFeedback) -> np.ndarray:
        """Predicted reward of the logged items of a log: (n_rounds,)."""
        check_feedback(feedback)
        vectors, q_hat = self._vectors(feedback.action_context), np.empty(feedback.n_rounds)
        for rows in row_chunks(feedback.n_rounds, vectors.shape[1]):
            x = self._context(feedback.context[rows])
            q_hat[rows] = np.einsum("nd,nd->n", x, vectors[feedback.action[rows]])
        return self._unit * q_hat + self._mean

    def _context(self, context: Any) -> np.ndarray:
        encoding = self._fitted()._products.context
        return encoding(feature_matrix("context", context, len(encoding.matrix) - 1))

    def _vectors(self, action_context: Any) -> np.ndarray:
        products = self._fitted()._products
        items = feature_matrix("action_context", action_context, len(products.item.matrix) - 1)
        if len(items) == 0:
            raise ValueError("action_context has no rows: there is no item to predict for.")
        return self._q.of_items(products, self._shown, items)

    def _fitted(self) -> Self:
        if not hasattr(self, "spread_"):
            raise ValueError("this learner is not fitted; call fit(feedback) first.")
        return self

    def _towers(self, vectors: Vectors) -> TwoTower:
        """Linear towers whose inner products are ``x̃ᵀ v``, but for what all items share."""
        of_context, of_item = self._products.context.matrix, self._products.item.matrix
        of_item = of_item[:, 1:] @ vectors.of_features[:, 1:].T
        has_own = vectors.own.any(axis=1)
        towers = TwoTower.mlp(
            *(len(of_context) - 1, len(of_item) - 1),
            hidden=(),
            dim_embedding=of_context.shape[1],
            random_state=0,
            n_known=int(has_own.sum()),
        )
        of_items = towers.action_tower
        with torch.no_grad():
            if isinstance(of_items, KnownItems):
                of_items.known.copy_(torch.from_numpy(self._shown.features[has_own]))
                of_items.own.copy_(torch.from_numpy(vectors.own[has_own]))
                of_items = of_items.tower
            for tower, matrix in ((towers.context_tower, of_context), (of_items, of_item)):
                layer = tower[0]  # type: ignore[index]
                layer.weight.copy_(torch.from_numpy(matrix[1:].T))
                layer.bias.copy_(torch.from_numpy(matrix[0]))
        return towers


def _check_lean(lean: Any) -> None:
    check_number("lean", lean, least=0, most=_MAX_LEAN)


def _check_temperature(name: str, temperature: Any) -> None:
    check_number(name, temperature, least=0)
    if temperature > 0:
        check_number(name, temperature, least=MIN_TEMPERATURE)
