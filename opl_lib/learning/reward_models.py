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

from ..answers import check_predictions
from ..arrays import feature_matrix, row_chunks
from ..checks import check_flag
from ..logs.feedback import BanditFeedback, check_feedback
from ..objectives.regressions import mean_and_scale
from ..protocols import PreparesPredictions, reward_function


class SklearnRewardModel:
    """A scikit-learn regressor or classifier on the joined context and item features.

    Parameters
    ----------
    estimator : scikit-learn estimator
        A regressor, or a classifier of rewards that are 0 and 1. It is cloned, never changed.
    standardise : bool
        Give a regressor the rewards in standard deviations from their mean, and predict in their
        own unit: then what is learned depends neither on the unit nor on the offset of the reward.
        False for an estimator that needs rewards as they are, such as one of counts.

    Raises
    ------
    TypeError
        At construction and in `fit`, if `estimator` is no regressor and no classifier with
        ``predict_proba``.
    ValueError
        There, if `standardise` is neither True nor False.

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

    def __init__(self, estimator: Any, standardise: bool = True) -> None:
        self.estimator, self.standardise = estimator, standardise
        self._check()

    def _check(self) -> None:
        """Raise at the first setting that is none."""
        from sklearn.base import is_classifier

        given, needed = self.estimator, ["fit", "predict", "get_params"]
        good = not isinstance(given, type) and all(hasattr(given, name) for name in needed)
        # what finds clusters or outliers has a fit_predict, and predicts no reward
        if (
            not good
            or hasattr(given, "fit_predict")
            or (is_classifier(given) and not hasattr(given, "predict_proba"))
        ):
            raise TypeError(
                "estimator must be a regressor of scikit-learn, an object such as "
                "sklearn.linear_model.Ridge(), or a classifier with predict_proba; got "
                f"{given!r}."
            )
        check_flag("standardise", self.standardise)

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

        Raises
        ------
        ValueError
            If a classifier gets other rewards than 0 and 1, both of them, or the estimator refuses
            the log.
        """
        from sklearn.base import clone, is_classifier

        check_feedback(feedback)
        self._check()
        self._is_classifier = is_classifier(self.estimator)
        reward, self._mean, self._scale = feedback.reward.astype(np.float64), 0.0, 1.0
        if self._is_classifier:
            values = np.unique(reward)
            if not np.array_equal(values, [0, 1]):
                raise ValueError(
                    f"a classifier needs rewards 0 and 1, both of them; got {values[:5]}. "
                    "Use a regressor, or a log with both outcomes."
                )
        elif self.standardise:
            self._mean, self._scale = mean_and_scale(reward)
        pairs = np.hstack([feedback.context, feedback.action_context[feedback.action]])
        self._widths = feedback.dim_context, feedback.dim_action_context
        try:
            fitted = clone(self.estimator).fit(pairs, (reward - self._mean) / (self._scale or 1.0))
        except ValueError as error:
            if self._scale != 1 or self._mean != 0:
                error.add_note(
                    "The rewards were standardised: if the estimator needs them as they are, pass "
                    "opl.SklearnRewardModel(…, standardise=False)."
                )
            raise
        self.estimator_ = fitted
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

        Raises
        ------
        ValueError
            If the model is not fitted, or features are not those that it was fitted on.
        """
        if not hasattr(self, "estimator_"):
            raise ValueError("this reward model is not fitted; call fit(feedback) first.")
        context, action_context = (
            feature_matrix(name, features, width)
            for name, features, width in zip(
                ("context", "action_context"), (context, action_context), self._widths, strict=True
            )
        )
        n_actions, width = len(action_context), sum(self._widths)
        if n_actions == 0:
            raise ValueError("action_context has no rows: there is no item to predict for.")
        q_hat = np.empty((len(context), n_actions))
        for rows in row_chunks(len(context), n_actions * width):
            n = rows.stop - rows.start
            pairs = np.hstack(
                [context[rows].repeat(n_actions, axis=0), np.tile(action_context, (n, 1))]
            )
            if self._is_classifier:
                predicted = self.estimator_.predict_proba(pairs)[:, 1]
            else:
                predicted = self.estimator_.predict(pairs) * self._scale + self._mean
            if np.size(predicted) == n * n_actions:
                predicted = np.reshape(predicted, (n, n_actions))
            who = type(self.estimator).__name__
            q_hat[rows] = check_predictions(who, predicted, (n, n_actions))
        return q_hat


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
        check_feedback(feedback)
        return self
