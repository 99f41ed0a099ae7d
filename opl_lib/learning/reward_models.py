"""Reward models q̂(x, a) and their cross-fitting.

A reward model is any object with ``fit(feedback) -> self`` and
``predict_reward(context, action_context) -> (n, n_actions)``. `OffPolicyLearner` with a regression
objective is one; `SklearnRewardModel` makes one of a scikit-learn estimator.

It may also have ``predictor(context, action_context)``, which does once what depends on contexts or
items alone, and returns a function from row and item numbers to predictions. Off-policy learning
asks for a few rows and items at a time, and so never holds all predictions of a large catalogue.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from ..checks import check_number, row_chunks, told_of_scale, warn_of_scale
from ..logs.feedback import BanditFeedback, check_feedback, user_numbers
from ..protocols import check_predictions, reward_function, reward_predictions

# Of scikit-learn's neural networks, by the names that they give them.
_ACTIVATIONS = {
    "identity": lambda h: h,
    "relu": lambda h: np.maximum(h, 0, out=h),
    "tanh": np.tanh,
    "logistic": lambda h: 0.5 + 0.5 * np.tanh(h / 2),
    "exp": np.exp,
}
# Rows are predicted so many at a time that a hidden layer has up to this many numbers.
_MAX_HIDDEN = 2**18


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

    def predictor(
        self, context: np.ndarray, action_context: np.ndarray
    ) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Prepare predictions for some contexts and items at a time.

        Of scikit-learn's neural networks, the first layer is split: its product with the contexts
        and with the items is computed once, and added up for each pair.

        Parameters
        ----------
        context : array of shape (n, dim_context)
        action_context : array of shape (n_actions, dim_action_context)

        Returns
        -------
        callable
            From row numbers, shape (m,), and item numbers, shape (k,), to predictions (m, k).
        """
        self._check_is_fitted()
        network = self.estimator_
        activation = _ACTIVATIONS.get(getattr(network, "activation", None))
        output = _ACTIVATIONS.get(getattr(network, "out_activation_", None))
        if activation is None or output is None or network.n_outputs_ > 1:
            return lambda rows, items: self.predict_reward(context[rows], action_context[items])
        weights, biases = network.coefs_, network.intercepts_
        width, widest = context.shape[1], max(len(bias) for bias in biases)
        of_context = context @ weights[0][:width] + biases[0]
        of_item = action_context @ weights[0][width:]

        def predict(rows: np.ndarray, items: np.ndarray) -> np.ndarray:
            q_hat = np.empty((len(rows), len(items)))
            for part in row_chunks(len(rows), len(items) * widest, max_elements=_MAX_HIDDEN):
                h = of_context[rows[part]][:, None, :] + of_item[items]
                for weight, bias in zip(weights[1:], biases[1:], strict=True):
                    h = activation(h) @ weight + bias
                q_hat[part] = output(h[..., 0])
            return q_hat

        return predict

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
        if hasattr(model, "predictor"):
            self.predictor = model.predictor

    def __repr__(self) -> str:
        return f"FittedRewardModel({self.model!r})"

    def __deepcopy__(self, memo: dict) -> FittedRewardModel:
        return self

    def fit(self, feedback: BanditFeedback) -> FittedRewardModel:
        """Do nothing, and return this object."""
        return self


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
        self._predictors: dict[int, Callable] = {}

    def __repr__(self) -> str:
        return f"CrossFittedRewardModel({len(self.models)} x {self.models[0]!r})"

    def is_for(self, feedback: BanditFeedback) -> bool:
        """Whether a log is the very one that this was fitted on."""
        names = ("action_context", "action", "reward", "pscore", "context")
        pairs = ((getattr(self.feedback, name), getattr(feedback, name)) for name in names)
        return all(own is other or np.array_equal(own, other) for own, other in pairs)

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
        items = np.arange(self.feedback.n_actions) if items is None else items
        if len(self.models) == 1:
            return self._predictor(0)(rows, items)
        q_hat, fold = np.empty((len(rows), len(items)), np.float32), self.fold[rows]
        for k in np.unique(fold):
            q_hat[fold == k] = self._predictor(k)(rows[fold == k], items)
        return q_hat

    def predict_shown(self) -> np.ndarray:
        """Prediction of every round of the log for its own logged item: (n_rounds,)."""
        q_shown, action = np.empty(self.feedback.n_rounds), self.feedback.action
        for rows in np.array_split(np.arange(len(action)), max(1, len(action) // 256)):
            items, place = np.unique(action[rows], return_inverse=True)
            q_shown[rows] = self.predict_logged(rows, items)[np.arange(len(rows)), place]
        return q_shown

    def _predictor(self, fold: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """What predicts the rows of a fold; made at first use."""
        if fold not in self._predictors:
            model, log = self.models[fold], self.feedback
            if hasattr(model, "predictor"):
                predict_some = model.predictor(log.context, log.action_context)
                who = f"{type(model).__name__}.predictor"

                def predict(rows: np.ndarray, items: np.ndarray) -> np.ndarray:
                    return check_predictions(
                        who, predict_some(rows, items), (len(rows), len(items))
                    )
            else:

                def predict(rows: np.ndarray, items: np.ndarray) -> np.ndarray:
                    return reward_predictions(model, log.context[rows], log.action_context[items])

            self._predictors[fold] = predict
        return self._predictors[fold]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_predictors": {}}


def cross_fit(
    reward_model: Any, feedback: BanditFeedback, n_folds: int = 2, random_state: int = 0
) -> CrossFittedRewardModel:
    """Fit a reward model so that every logged row is predicted by a model that did not see it.

    Without this, the residual ``r − q̂(x, a)`` of a fitted row is too small, and DR loses the
    correction that makes it unbiased. If the log has a `user_id`, all rows of a user are in one
    fold.

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
    return cross_fit_many([reward_model], [feedback], [n_folds], [random_state])[0]


def cross_fit_many(
    reward_models: Sequence[Any],
    feedbacks: Sequence[BanditFeedback],
    n_folds: Sequence[int],
    random_states: Sequence[int],
) -> list[CrossFittedRewardModel]:
    """`cross_fit` for many logs; learners among the reward models are fitted side by side."""
    folds, models, logs = [], [], []
    for model, log, n, seed in zip(reward_models, feedbacks, n_folds, random_states, strict=True):
        for method in ("fit", "predict_reward"):
            if not callable(getattr(model, method, None)):
                raise TypeError(
                    f"a reward model needs a method {method}; {type(model).__name__} has none. "
                    "Wrap a scikit-learn estimator in opl.SklearnRewardModel."
                )
        check_feedback(log)
        check_number("n_folds", n, Integral, least=1)
        user = user_numbers(log)
        n_apart = log.n_rounds if user is None else user.max() + 1
        if n > n_apart:
            what = ("round" if user is None else "user") + ("" if n_apart == 1 else "s")
            raise ValueError(
                f"n_folds is {n}, but the log has only {n_apart} {what} to cross-fit a reward "
                "model on. Pass a fitted reward_model, use 'ips' or 'snips', which need none, or "
                "n_folds=1."
            )
        fold = np.random.default_rng(seed).permutation(np.arange(n_apart) % n)
        fold = fold if user is None else fold[user]
        folds.append(fold)
        models.append([copy.deepcopy(model) for _ in range(n)])
        logs.append([log if n == 1 else log[fold != k] for k in range(n)])
    warn_of_scale(
        log for model, log in zip(reward_models, feedbacks, strict=True) if _has_towers(model)
    )
    with told_of_scale():
        _fit_all([m for ms in models for m in ms], [log for several in logs for log in several])
    return [CrossFittedRewardModel(*each) for each in zip(feedbacks, folds, models, strict=True)]


def _fit_all(models: Sequence[Any], logs: Sequence[BanditFeedback]) -> None:
    """Fit each model to its log; those whose class has a ``fit_many`` are fitted side by side."""
    together: dict[type, list[tuple[Any, BanditFeedback]]] = {}
    for model, log in zip(models, logs, strict=True):
        if _has_towers(model):
            together.setdefault(type(model), []).append((model, log))
        else:
            model.fit(log)
    for kind, pairs in together.items():
        kind.fit_many(*zip(*pairs, strict=True))


def _has_towers(model: Any) -> bool:
    """Whether it is a learner, which fits many side by side."""
    return hasattr(model, "fit_many")
