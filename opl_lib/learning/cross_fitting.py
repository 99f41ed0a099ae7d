"""Cross-fitting: a reward model for each part of a log, fitted without that part."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from ..answers import reward_predictions, row_predictor
from ..arrays import check_rows, feature_matrix, integers
from ..checks import check_number, check_seed, warn_of_scale
from ..logs.feedback import BanditFeedback, check_feedback
from ..protocols import RewardModel, check_reward_model
from .checkpoints import Engine
from .regressor import TwoTowerRegressor, fit_reward_models
from .shrinkage import shrink_to_mean

_ROWS_AT_ONCE = 256


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

    def __init__(
        self, feedback: BanditFeedback, fold: np.ndarray, models: Sequence[RewardModel]
    ) -> None:
        self.feedback, self.fold, self.models = feedback, fold, models
        self._predictors: dict[int, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {}

    def __repr__(self) -> str:
        return f"CrossFittedRewardModel({len(self.models)} x {self.models[0]!r})"

    def __deepcopy__(self, memo: dict) -> CrossFittedRewardModel:
        return self  # it holds a log, and nothing changes it

    def is_for(self, feedback: BanditFeedback) -> bool:
        """Whether a log is the very one that this was fitted on."""
        check_feedback(feedback)
        names = ("action_context", "action", "reward", "pscore", "context")
        pairs = ((getattr(self.feedback, name), getattr(feedback, name)) for name in names)
        return all(own is other or np.array_equal(own, other) for own, other in pairs)

    def predict_reward(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        """Mean prediction of the fold models, for rows that none of them saw: (n, n_actions)."""
        context = feature_matrix("context", context, self.feedback.dim_context)
        action_context = feature_matrix(
            "action_context", action_context, self.feedback.dim_action_context
        )
        predictions = [reward_predictions(m, context, action_context) for m in self.models]
        return np.mean(predictions, axis=0)

    def predict_rows(self, rows: np.ndarray, items: np.ndarray | None = None) -> np.ndarray:
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

        Raises
        ------
        ValueError
            If a number is no row, or no item, of `feedback`.
        """
        n_actions = self.feedback.n_actions
        rows = _places("rows", rows, self.feedback.n_rounds)
        items = np.arange(n_actions) if items is None else _places("items", items, n_actions)
        if len(self.models) == 1:
            return self._predictor(0)(rows, items)
        fold = self.fold[rows]
        found = {k: self._predictor(k)(rows[fold == k], items) for k in np.unique(fold)}
        q_hat = np.empty((len(rows), len(items)), np.result_type(np.float32, *found.values()))
        for k, of_fold in found.items():
            q_hat[fold == k] = of_fold
        return q_hat

    def predict_logged_item(self) -> np.ndarray:
        """Prediction of every round of the log for its own logged item: (n_rounds,)."""
        predicted, action = np.empty(self.feedback.n_rounds), self.feedback.action
        n_parts = max(1, len(action) // _ROWS_AT_ONCE)
        for rows in np.array_split(np.arange(len(action)), n_parts):
            items, place = np.unique(action[rows], return_inverse=True)
            predicted[rows] = self.predict_rows(rows, items)[np.arange(len(rows)), place]
        return predicted

    def _predictor(self, fold: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """What predicts the rows of a fold; made at first use."""
        if fold not in self._predictors:
            log = self.feedback
            self._predictors[fold] = row_predictor(
                self.models[fold], log.context, log.action_context
            )
        return self._predictors[fold]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_predictors": {}}


def cross_fit(
    reward_model: RewardModel, feedback: BanditFeedback, n_folds: int = 2, random_state: int = 0
) -> CrossFittedRewardModel:
    """Fit a reward model so that every logged row is predicted by a model that did not see it.

    Without this, the residual ``r − q̂(x, a)`` of a fitted row is too small, and DR loses the
    correction that makes it unbiased. If the log has a `user_id`, all rows of a user are in one
    fold.

    Regressors of two towers are then shrunk towards the mean reward as far as the rows that they
    had not seen ask for: from few clicks they learn rows by heart, and DR with such a model has a
    larger error than IPS.

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
    parameters", The Econometrics Journal 2018; van der Laan, Luedtke and Carone, "Automatic doubly
    robust inference for linear functionals via calibrated debiased machine learning", 2024 (models
    that were cross-fitted, calibrated on all rows); Breiman, "Better subset regression using the
    nonnegative garrote", Technometrics 1995 (the factor ``1 − 2 / z²``).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=4, dim_context=3, dim_action_context=2, random_state=0)
    >>> log = world.sample(200, random_state=0)
    >>> q_hat = opl.cross_fit(opl.SklearnRewardModel(Ridge()), log, n_folds=5)
    >>> q_hat.predict_rows(np.arange(3)).shape
    (3, 4)
    """
    check_feedback(feedback)
    check_seed(random_state)
    if isinstance(reward_model, TwoTowerRegressor):
        warn_of_scale([feedback])
    return cross_fit_many([reward_model], [feedback], [n_folds], [random_state])[0]


def cross_fit_many(
    reward_models: Sequence[RewardModel],
    feedbacks: Sequence[BanditFeedback],
    n_folds: Sequence[int],
    random_states: Sequence[int],
    engine: Engine | None = None,
) -> list[CrossFittedRewardModel]:
    """`cross_fit` for many logs; regressors of two towers are fitted side by side."""
    folds, models, logs = [], [], []
    for model, log, n, seed in zip(reward_models, feedbacks, n_folds, random_states, strict=True):
        _check(model, log, n)
        fold = log.units.folds(n, seed)
        folds.append(fold)
        models.append([copy.deepcopy(model) for _ in range(n)])
        logs.append([log if n == 1 else log[fold != k] for k in range(n)])
    wholes = [log for log, n in zip(feedbacks, n_folds, strict=True) for _ in range(n)]
    fit_reward_models(
        [model for of_log in models for model in of_log],
        [part for of_log in logs for part in of_log],
        wholes,
        engine,
    )
    fitted = [CrossFittedRewardModel(*each) for each in zip(feedbacks, folds, models, strict=True)]
    for each in fitted:
        if len(each.models) > 1:
            shrink_to_mean(each.feedback, each.fold, each.models)
    return fitted


def _check(model: Any, log: BanditFeedback, n_folds: int) -> None:
    check_reward_model(model)
    check_number("n_folds", n_folds, Integral, least=1)
    if n_folds > len(log.units):
        what = log.units.name + ("" if len(log.units) == 1 else "s")
        raise ValueError(
            f"n_folds is {n_folds}, but the log has only {len(log.units)} {what} to cross-fit a "
            "reward model on. Pass a fitted reward_model, use 'ips' or 'snips', which need none, "
            "or n_folds=1."
        )


def _places(name: str, values: Any, n: int) -> np.ndarray:
    """Whole numbers from 0 to n − 1, (k,)."""
    array = integers(name, values)
    check_rows(name, array, (array >= 0) & (array < n), f"in [0, {n - 1}]", "Take others.")
    return array
