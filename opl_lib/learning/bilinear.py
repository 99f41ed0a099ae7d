"""Two linear towers, found exactly: the regression that is hard to beat."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch

from ..arrays import feature_matrix
from ..checks import MIN_TEMPERATURE, check_number, plain_arithmetic
from ..logs.feedback import BanditFeedback, check_feedback
from ..objectives.regressions import mean_and_scale
from ..policies.towers import TwoTower
from ..policies.two_tower import TwoTowerPolicy
from .logging_model import logging_model
from .products import Products, ridge, spread

# Policies near the logging policy, from the farthest to the nearest.
LEANS = (0.15, 0.3, 0.6, 1.0)
LEAN = 0.1
_MAX_LEAN = 1e6


@dataclass(eq=False)
class BilinearLearner:
    """Ridge regression on all products of context and item features, leaning on what was logged.

    The predicted reward ``q̂(x, a) = x̃ᵀ M ã`` is bilinear in the features, each with a leading 1.
    So it is the inner product of two linear towers, and is found exactly, without steps: for some
    hundred products in a fraction of a second. The penalty is chosen on rounds that the fit has not
    seen. It is a learner, with `policy_`, and a reward model, with `predict_reward`.

    The policy scores an item by ``q̂(x, a) / s + lean · log π̂_0(a|x)``, with the spread s of q̂
    between items and a model of the logging policy, which is bilinear as well. Where q̂ tells items
    apart, it decides; where it does not, that is shown which was shown before. A softmax of these
    scores at temperature `lean` is ``π̂_0(a|x) exp(q̂(x, a) / (lean · s))`` over its sum: of all
    policies with so large a KL divergence from ``π̂_0`` the one with the largest q̂.

    Parameters
    ----------
    lean : float, at least 0
        How much the policy leans on the logging policy; 0 is the regression alone, which is all
        that a reward model needs: the logging policy is then not learned.
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
    and s is the spread between these.

    References
    ----------
    Hoerl and Kennard, "Ridge regression", Technometrics 1970; Chu and Park, "Personalized
    recommendation on dynamic content using predictive bilinear models", WWW 2009; Todorov,
    "Linearly-solvable Markov decision problems", NeurIPS 2006 (the policy nearest to another).

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
        self._check()

    def _check(self) -> None:
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
        for name in [name for name in vars(self) if name.endswith("_")]:
            del self.__dict__[name]
        check_feedback(feedback)
        self._check()
        self._columns = feedback.columns
        self._products = products = Products.of(feedback)
        reward = feedback.reward.astype(np.float64)
        self._mean, scale = mean_and_scale(reward)
        self._unit = scale or 1.0
        self._q = ridge(feedback, products, (reward - self._mean) / self._unit)  # in that unit
        self._logging = logging_model(feedback, products) if self.lean > 0 else None
        self.spread_ = self._unit * spread(feedback, products, self._q)
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
            If the learner is not fitted, or was with a lean of 0 and this one is above, or a
            number is out of range.
        """
        name, given = ("lean", lean) if temperature is None else ("temperature", temperature)
        _check_temperature(name, given)
        return TwoTowerPolicy(self.towers(1.0, lean), float(given), self._columns)

    def towers(self, factor: float, lean: float) -> TwoTower:
        """Linear towers whose scores are those of `near_logging` times a factor."""
        check_number("factor", factor, above=0)
        _check_lean(lean)
        self._fitted()
        scores = self._q / (self.spread_ / self._unit or 1.0)
        if self._logging is not None:
            scores = scores + float(lean) * self._logging
        elif lean > 0:
            raise ValueError(
                f"lean is {lean:g}, but this learner was fitted with lean=0, and has no model of "
                "the logging policy: fit it with a lean above 0."
            )
        return self._towers(float(factor) * scores)

    @property
    def policies_(self) -> dict[str, TwoTowerPolicy]:
        """Ways of serving this fit, from greedy to near the logging policy; one if lean is 0."""
        if self._fitted()._logging is None:
            return {"": self.policy_}
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
        x, a = self._encoded(context, action_context)
        return self._unit * (x @ self._q @ a.T) + self._mean

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name, as in scikit-learn (`deep` changes nothing)."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def set_params(self, **params: Any) -> Self:
        """Change settings by name and return the learner; bad settings change nothing."""
        known = self.get_params()
        for name in params:
            if name not in known:
                raise ValueError(f"{name!r} is not a setting; the settings are {sorted(known)}.")
        type(self)(**{**known, **params})
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def _fitted(self) -> Self:
        if not hasattr(self, "spread_"):
            raise ValueError("this learner is not fitted; call fit(feedback) first.")
        return self

    def _encoded(self, context: Any, action_context: Any) -> tuple[np.ndarray, np.ndarray]:
        products = self._fitted()._products
        widths = [len(each.matrix) - 1 for each in (products.context, products.item)]
        x = products.context(feature_matrix("context", context, widths[0]))
        items = feature_matrix("action_context", action_context, widths[1])
        if len(items) == 0:
            raise ValueError("action_context has no rows: there is no item to predict for.")
        return x, products.item(items)

    def _towers(self, m: np.ndarray) -> TwoTower:
        """Linear towers whose inner products are ``x̃ᵀ m ã``, but for what all items share."""
        of_context, of_item = self._products.context.matrix @ m[:, 1:], self._products.item.matrix
        towers = TwoTower.mlp(
            *(len(of_context) - 1, len(of_item) - 1),
            hidden=(),
            dim_embedding=of_context.shape[1],
            random_state=0,
        )
        sides = (towers.context_tower, of_context), (towers.action_tower, of_item[:, 1:])
        with torch.no_grad():
            for tower, matrix in sides:
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
