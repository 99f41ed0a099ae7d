"""Two towers that predict rewards: the reward model that the library makes itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
import torch

from ..checks import plain_arithmetic, warn_of_scale
from ..logs.feedback import BanditFeedback, check_feedback
from ..objectives import Objective, Regression, get_objective
from ..protocols import RewardModel
from .checkpoints import Engine
from .fit import Callback, Fit, NonFiniteLossError, new_policy
from .loop import train
from .settings import TwoTowerSettings
from .streamed import new_fit


@dataclass(eq=False)
class TwoTowerRegressor(TwoTowerSettings):
    """Predict the reward of every item from two towers, by a regression on the logged items.

    Parameters
    ----------
    objective : {"auto", "regression", "squared_error", "mrdr"} or Regression
        ``"auto"`` is the cross-entropy of ``"regression"`` for rewards that are 0 and 1, else
        ``"squared_error"``. Both start at the mean reward, and neither depends on its unit.
    epochs, batch_size, learning_rate, weight_decay : numbers
        As in `OffPolicyLearner`.
    temperature : float
        Of `policy_`; the prediction does not depend on it.
    hidden, dim_embedding, towers, shuffle, progress, random_state, device
        As in `OffPolicyLearner`.

    Attributes
    ----------
    policy_ : TwoTowerPolicy
        The policy that scores items as the regression does: greedily, it shows the item with the
        largest prediction.
    objective_ : Regression
        What was maximised.
    link_ : callable
        From a tensor of scores to predicted rewards.
    history_ : dict of str to list of float
        As in `OffPolicyLearner`.

    Raises
    ------
    ValueError
        At construction, in `set_params` or in `fit`, if a setting is out of range.
    NonFiniteLossError
        In `fit`, if the objective stops being finite.

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=4, dim_context=3, dim_action_context=2, random_state=0)
    >>> log = world.sample(500, random_state=0)
    >>> q_hat = opl.TwoTowerRegressor(epochs=2, hidden=(20,)).fit(log)
    >>> q_hat.predict_reward(log.context, log.action_context).shape
    (500, 4)
    """

    objective: str | Objective | Regression = "auto"

    def check(self) -> None:
        super().check()
        if self.objective != "auto" and not isinstance(get_objective(self.objective), Regression):
            raise ValueError(
                f"objective {self.objective!r} learns a policy, not rewards; use 'auto', "
                "'regression' or 'squared_error', or opl.OffPolicyLearner to learn a policy."
            )

    @plain_arithmetic
    def fit(self, feedback: BanditFeedback, callback: Callback | None = None) -> Self:
        """Learn from a log; `callback` is that of `OffPolicyLearner.fit`.

        Parameters
        ----------
        feedback : BanditFeedback
        callback : callable, optional

        Returns
        -------
        TwoTowerRegressor
            This object, fitted.
        """
        fit = self.start(feedback, callback)
        warn_of_scale([feedback])
        _train([fit])
        return self

    def start(
        self,
        feedback: BanditFeedback,
        callback: Callback | None = None,
        whole: BanditFeedback | None = None,
    ) -> Fit:
        """Forget an earlier fit, and make ready to train.

        Of a part of a log, `whole` is the log: its rewards say which objective and which unit.
        """
        self.forget()
        check_feedback(feedback)
        whole = feedback if whole is None else whole
        objective = self.objective
        if objective == "auto":
            objective = "regression" if _are_clicks(whole) else "squared_error"
        self.objective_ = cast(Regression, get_objective(objective))
        self.objective_.check_log(feedback)
        policy = new_policy(self, feedback, True)
        link = None if whole is feedback else self.objective_.link(whole.reward)
        fit = new_fit(feedback, policy, self.objective_, self, callback=callback, link=link)
        assert fit.link is not None
        self.policy_, self.history_, self.link_ = fit.policy, fit.history, fit.link
        return fit

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
            If the regressor is not fitted.
        """
        scores = self._fitted().policy_.scores(context, action_context)
        return self.link_(torch.from_numpy(scores)).numpy()

    def predictor(
        self, context: np.ndarray, action_context: np.ndarray
    ) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Encode contexts and items once; return a function to the predicted rewards of some.

        Parameters
        ----------
        context : array of shape (n, dim_context)
        action_context : array of shape (n_actions, dim_action_context)

        Returns
        -------
        callable
            From row numbers, shape (m,), and item numbers, shape (k,), to predictions (m, k).

        Raises
        ------
        ValueError
            If the regressor is not fitted.
        """
        policy, to_reward = self._fitted().policy_, self.link_
        u, v = policy.embed_context(context), policy.embed_items(action_context)

        def predict(rows: np.ndarray, items: np.ndarray) -> np.ndarray:
            return to_reward(torch.from_numpy(u[rows] @ v[items].T)).numpy()

        return predict

    def _fitted(self) -> Self:
        if not hasattr(self, "policy_"):
            raise ValueError("this regressor is not fitted; call fit(feedback) first.")
        return self


def _are_clicks(log: BanditFeedback) -> bool:
    """Whether rewards are 0 and 1, both of them."""
    found = set()
    for reward in log.chunks("reward"):
        if not np.isin(reward, (0, 1)).all():
            return False
        found |= set(np.unique(reward).tolist())
    return len(found) == 2


# What an engine calls runs of reward models.
REWARD_MODELS = "reward model"


def fit_reward_models(
    models: Sequence[RewardModel],
    logs: Sequence[BanditFeedback],
    wholes: Sequence[BanditFeedback],
    engine: Engine | None = None,
) -> None:
    """Fit each model to its part of a log; regressors of two towers, with ours, side by side."""
    together = []
    for model, log, whole in zip(models, logs, wholes, strict=True):
        if isinstance(model, TwoTowerRegressor) and type(model).fit is TwoTowerRegressor.fit:
            together.append(model.start(log, whole=whole))
        else:
            model.fit(log)
    _train(together, engine)


def _train(fits: Sequence[Fit], engine: Engine | None = None) -> None:
    train(fits, engine, REWARD_MODELS)
    raise_if_failed(fits)


def raise_if_failed(fits: Sequence[Fit], names: Sequence[str] | None = None) -> None:
    """Raise NonFiniteLossError if a fit failed, and say which."""
    failed = [number for number, fit in enumerate(fits) if fit.error is not None]
    if not failed:
        return
    others = f" Fits that failed: {len(failed)} of {len(fits)}." if len(failed) > 1 else ""
    error = NonFiniteLossError(f"{fits[failed[0]].error}{others}")
    if names is not None:
        error.add_note(f"This came from {', '.join(names[number] for number in failed)}.")
    raise error
