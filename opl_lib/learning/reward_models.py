"""Reward models q̂(x, a) that are not two towers: scikit-learn's, and those already fitted.

A reward model is any object with ``fit(feedback) -> self`` and
``predict_reward(context, action_context) -> (n, n_actions)``: `opl_lib.protocols.RewardModel`.

It may also have ``predictor(context, action_context)``, which does once what depends on contexts or
items alone, and returns a function from row and item numbers to predictions. Off-policy learning
asks for a few rows and items at a time, and so never holds all predictions of a large catalogue.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import row_chunks
from ..logs.feedback import BanditFeedback
from ..protocols import PreparesPredictions, reward_function


class SklearnRewardModel:
    """A scikit-learn regressor or classifier on the joined context and item features.

    Parameters
    ----------
    estimator : scikit-learn estimator
        A regressor, or a classifier of rewards that are 0 and 1. It is cloned, never changed.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=4, dim_context=3, dim_action_context=2, random_state=0)
    >>> log = world.sample(200, random_state=0)
    >>> q_hat = opl.SklearnRewardModel(Ridge()).fit(log)
    >>> q_hat.predict_reward(log.context, log.action_context).shape
    (200, 4)
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def __repr__(self) -> str:
        return f"SklearnRewardModel({self.estimator})"

    def fit(self, feedback: BanditFeedback) -> SklearnRewardModel:
        """Fit a clone of the estimator to the logged rewards.

        Parameters
        ----------
        feedback : BanditFeedback

        Returns
        -------
        SklearnRewardModel
            This object, fitted.
        """
        from sklearn.base import clone, is_classifier

        self._is_classifier = is_classifier(self.estimator)
        if self._is_classifier:
            values = np.unique(feedback.reward)
            if not np.array_equal(values, [0, 1]):
                raise ValueError(
                    f"a classifier needs rewards 0 and 1, both of them; got {values[:5]}. "
                    "Use a regressor, or a log with both outcomes."
                )
        pairs = np.hstack([feedback.context, feedback.action_context[feedback.action]])
        self.estimator_ = clone(self.estimator).fit(pairs, feedback.reward)
        return self

    def predict_reward(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        """Predict the reward of every item.

        Parameters
        ----------
        context : array of shape (n, dim_context)
        action_context : array of shape (n_actions, dim_action_context)

        Returns
        -------
        array of shape (n, n_actions)
        """
        self._check_is_fitted()
        context, action_context = np.asarray(context), np.asarray(action_context)
        n_actions, width = len(action_context), context.shape[1] + action_context.shape[1]
        q_hat = np.empty((len(context), n_actions))
        for rows in row_chunks(len(context), n_actions * width):
            n = rows.stop - rows.start
            pairs = np.hstack(
                [context[rows].repeat(n_actions, axis=0), np.tile(action_context, (n, 1))]
            )
            if self._is_classifier:
                predicted = self.estimator_.predict_proba(pairs)[:, 1]
            else:
                predicted = self.estimator_.predict(pairs)
            q_hat[rows] = predicted.reshape(n, n_actions)
        return q_hat

    def _check_is_fitted(self) -> None:
        if not hasattr(self, "estimator_"):
            raise ValueError("this reward model is not fitted; call fit(feedback) first.")


class FittedRewardModel:
    """A reward model that stays as it is: where others would be fitted, this one does nothing.

    For a model that was fitted elsewhere, on rounds that will not be judged by it.

    Parameters
    ----------
    model : reward model
        Fitted; anything with ``predict_reward(context, action_context)``.

    Raises
    ------
    TypeError
        At construction, if `model` has no ``predict_reward``.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=4, dim_context=3, dim_action_context=2, random_state=0)
    >>> yesterday, today = (world.sample(500, random_state=day) for day in (0, 1))
    >>> q_hat = opl.FittedRewardModel(opl.SklearnRewardModel(Ridge()).fit(yesterday))
    >>> chosen = opl.select({"uniform": opl.uniform()}, today, reward_model=q_hat)
    >>> chosen.n_rounds
    (250, 125, 125)
    """

    def __init__(self, model: Any) -> None:
        self.model, self.predict_reward = model, reward_function(model)
        if isinstance(model, PreparesPredictions):
            self.predictor = model.predictor

    def __repr__(self) -> str:
        return f"FittedRewardModel({self.model!r})"

    def __deepcopy__(self, memo: dict) -> FittedRewardModel:
        return self

    def fit(self, feedback: BanditFeedback) -> FittedRewardModel:
        """Do nothing, and return this object."""
        return self
