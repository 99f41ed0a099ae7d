"""Reward models q̂(x, a) and their cross-fitting.

A reward model is any object with ``fit(feedback) -> self`` and
``predict_reward(context, action_context) -> (n, n_actions)``. `OffPolicyLearner` with a regression
objective is one; `SklearnRewardModel` makes one of a scikit-learn estimator.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from .checks import check_number, reward_predictions, row_chunks
from .feedback import BanditFeedback, check_feedback


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
        if not hasattr(self, "estimator_"):
            raise ValueError("this reward model is not fitted; call fit(feedback) first.")
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


class CrossFittedRewardModel:
    """One reward model a fold, each fitted without that fold; made by `cross_fit`.

    Attributes
    ----------
    feedback : BanditFeedback
        The log it was fitted on.
    fold : integer array of shape (n_rounds,)
        The fold of each logged row; model ``k`` never saw the rows of fold ``k``.
    models : list of reward models
    """

    def __init__(self, feedback: BanditFeedback, fold: np.ndarray, models: Sequence[Any]) -> None:
        self.feedback, self.fold, self.models = feedback, fold, models

    def __repr__(self) -> str:
        return f"CrossFittedRewardModel({len(self.models)} x {self.models[0]!r})"

    def predict_reward(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        """Mean prediction of the fold models, for rows that none of them saw: (n, n_actions)."""
        predictions = [reward_predictions(m, context, action_context) for m in self.models]
        return np.mean(predictions, axis=0)

    def predict_logged(self, rows: np.ndarray, items: np.ndarray | None = None) -> np.ndarray:
        """Prediction for rows of the log itself, each by the model that did not see it.

        Parameters
        ----------
        rows : integer array of shape (m,)
            Row numbers of `feedback`.
        items : integer array of shape (k,), optional
            Item numbers; all items if not given.

        Returns
        -------
        array of shape (m, n_actions) or (m, k)
        """
        action_context = self.feedback.action_context
        if items is not None:
            action_context = action_context[items]
        q_hat = np.empty((len(rows), len(action_context)))
        for k in np.unique(self.fold[rows]):
            here = self.fold[rows] == k
            context = self.feedback.context[rows[here]]
            q_hat[here] = reward_predictions(self.models[k], context, action_context)
        return q_hat


def cross_fit(
    reward_model: Any, feedback: BanditFeedback, n_folds: int = 2, random_state: int = 0
) -> CrossFittedRewardModel:
    """Fit a reward model so that every logged row is predicted by a model that did not see it.

    Without this, the residual ``r − q̂(x, a)`` of a fitted row is too small, and DR loses the
    correction that makes it unbiased.

    Parameters
    ----------
    reward_model : reward model
        With ``fit(feedback)`` and ``predict_reward(context, action_context)``; copied a fold.
    feedback : BanditFeedback
    n_folds : int
        At least 2; or 1 for no cross-fitting, one model that is fitted and used on the same rows.
    random_state : int
        Fixes the folds.

    Returns
    -------
    CrossFittedRewardModel

    References
    ----------
    Chernozhukov et al., "Double/debiased machine learning for treatment and structural
    parameters", The Econometrics Journal 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=4, dim_context=3, dim_action_context=2, random_state=0)
    >>> log = world.sample(200, random_state=0)
    >>> q_hat = opl.cross_fit(opl.SklearnRewardModel(Ridge()), log, n_folds=5)
    >>> q_hat.predict_logged(np.arange(3)).shape
    (3, 4)
    """
    for method in ("fit", "predict_reward"):
        if not callable(getattr(reward_model, method, None)):
            raise TypeError(
                f"a reward model needs a method {method}; {type(reward_model).__name__} has none. "
                "Wrap a scikit-learn estimator in opl.SklearnRewardModel."
            )
    check_feedback(feedback)
    check_number("n_folds", n_folds, Integral, least=1)
    if n_folds > feedback.n_rounds:
        raise ValueError(f"n_folds is {n_folds}, but the log has only {feedback.n_rounds} rounds.")
    fold = np.random.default_rng(random_state).permutation(np.arange(feedback.n_rounds) % n_folds)
    others = [feedback if n_folds == 1 else feedback[fold != k] for k in range(n_folds)]
    models = [copy.deepcopy(reward_model) for _ in others]
    for model, log in zip(models, others, strict=True):
        model.fit(log)
    return CrossFittedRewardModel(feedback, fold, models)
