"""The learner: the settings of a fit, in scikit-learn's form; the loop is in `training`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from ..checks import check_number
from ..logs.feedback import BanditFeedback
from ..objectives import Objective, get_objective
from ..policies.towers import TwoTower
from ..policies.two_tower import TwoTowerPolicy
from .loop import fit_many

_SOFTMAX = ("auto", "exact", "streamed", "sampled")


@dataclass(eq=False)
class OffPolicyLearner:
    """Learn a two-tower policy from a log.

    Features should be near unit scale: standardise them, with the mean and standard deviation of
    the training log. The settings can be read, changed and cloned as scikit-learn's can; nested
    settings and ``GridSearchCV``, which need an estimator of labels, cannot.

    Parameters
    ----------
    objective : str or Objective
        What to maximise: a name of `opl_lib.objectives.OBJECTIVES`, or an objective made of
        settings, such as ``opl.clipped_ips(max_weight=5)``. The regressions ``"regression"``,
        ``"squared_error"`` and ``"mrdr"`` predict the reward of the logged item, and so can serve
        as reward models; all others learn a policy, most of them by an estimate of its value.
    epochs : int
        Passes over the log.
    batch_size : int
        Rounds per update.
    learning_rate : float
        Of Adam.
    weight_decay : float
        L2 penalty of Adam; the article uses 1e-6. However small, it moves a weight that gets no
        gradient, such as the table row of an item never logged, towards 0 by about
        `learning_rate` a step.
    temperature : float
        Of the softmax policy, in training and in `policy_`.
    hidden : sequence of int
        Hidden layers of each tower.
    dim_embedding : int
        Size of the shared space.
    model : TwoTower, optional
        Towers to start from instead: of another architecture, or already trained. They are
        copied, not changed; `hidden` and `dim_embedding` are then not used. Only the towers are
        called, so that a subclass with a `forward` of its own is refused.
    reward_model : reward model, optional
        The q̂ of ``"dr"``, ``"dm"`` and all others that need one: see `opl_lib.reward_models`. If
        not given, two towers of the same shape, trained by regression for as many epochs, at
        learning rate 1e-3. One that `cross_fit` made of the very log that is learned from is used
        as it is: several learners can share it.
    n_folds : int
        Folds in which q̂ is cross-fitted; 1 fits and uses it on the same rows.
    softmax : {"auto", "exact", "streamed", "sampled"}
        How a step of a value objective sees the items. ``"exact"`` takes all at once;
        ``"streamed"`` gives the same numbers from tiles of items, in memory that does not grow
        with the catalogue; ``"sampled"`` takes the logged items and a uniform sample, at a cost
        that does not grow with the catalogue, and degrades as the policy gets peaky. ``"auto"`` is
        exact while a batch has few logits, else streamed. Regressions see only the logged items,
        and objectives of your own all of them unless they say that they collapse (`Objective`).
        Towers whose output depends on the other rows or on chance, as with batch normalisation or
        dropout, are not the same in tiles.
    n_sampled : int
        Items drawn a step by ``"sampled"``; not below the number of items it is exact instead.
    shuffle : bool
        Whether each epoch takes the rounds in a new order. The article does not.
    progress : bool, optional
        Show a progress bar. If not given, on a terminal only.
    random_state : int
        Fixes initial weights, order of the rounds and folds of q̂: two fits on one machine with
        the same thread count give the same bits.

    Attributes
    ----------
    policy_ : TwoTowerPolicy
        The learned policy.
    history_ : dict of str to list of float
        ``"objective"``, the mean over each epoch's batches, and one list a callback, with the
        value before the first epoch and after each.
    objective_ : Objective
        What was maximised.
    reward_model_ : CrossFittedRewardModel
        The fitted q̂, if the objective needs one. It holds the log, so that a pickled learner
        contains the log; `TwoTowerPolicy.save` does not.

    Raises
    ------
    ValueError
        At construction or in `set_params`, if a setting is out of range.
    NonFiniteLossError
        In `fit`, if the objective stops being finite. `policy_` then holds the weights of the last
        epoch that ended well, and `history_` what was recorded so far.

    Notes
    -----
    Small towers gain little from a second thread, and on a busy machine lose much by waiting for
    it: call ``torch.set_num_threads(1)`` there.

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=5, dim_context=5, dim_action_context=5, random_state=0)
    >>> learner = opl.OffPolicyLearner(objective="ips", epochs=5, learning_rate=1e-3)
    >>> policy = learner.fit(world.sample(2000, random_state=1)).policy_
    >>> world.policy_value(policy) > world.policy_value(world.logging_policy)
    True
    """

    objective: str | Objective = "dr"
    epochs: int = 10
    batch_size: int = 200
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    temperature: float = 1.0
    hidden: Sequence[int] = (100, 100, 100)
    dim_embedding: int = 100
    model: TwoTower | None = None
    reward_model: Any = None
    n_folds: int = 2
    softmax: str = "auto"
    n_sampled: int = 256
    shuffle: bool = True
    progress: bool | None = None
    random_state: int = 0

    def __post_init__(self) -> None:
        get_objective(self.objective)
        if self.softmax not in _SOFTMAX:
            raise ValueError(f"softmax must be one of {_SOFTMAX}; got {self.softmax!r}.")
        for name in ("epochs", "batch_size", "n_folds", "n_sampled", "dim_embedding"):
            check_number(name, getattr(self, name), Integral, least=1)
        if not isinstance(self.hidden, Sequence | np.ndarray):
            raise ValueError(f"hidden must be a sequence of integers; got {self.hidden!r}.")
        for layer, width in enumerate(self.hidden):
            check_number(f"hidden[{layer}]", width, Integral, least=1)
        check_number("random_state", self.random_state, Integral, least=0)
        check_number("learning_rate", self.learning_rate, Real, above=0)
        check_number("temperature", self.temperature, Real, above=0)
        check_number("weight_decay", self.weight_decay, Real, least=0)
        if self.shuffle not in (True, False):
            raise ValueError(f"shuffle must be True or False; got {self.shuffle!r}.")
        if self.progress not in (True, False, None):
            raise ValueError(f"progress must be True, False or None; got {self.progress!r}.")
        if self.model is not None and not isinstance(self.model, TwoTower):
            raise ValueError(f"model must be a TwoTower or None; got {type(self.model).__name__}.")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name, as scikit-learn does (`deep` changes nothing)."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def set_params(self, **params: Any) -> OffPolicyLearner:
        """Change settings by name and return the learner; bad settings change nothing."""
        known = self.get_params()
        for name in params:
            if name not in known:
                raise ValueError(f"{name!r} is not a setting; the settings are {sorted(known)}.")
        OffPolicyLearner(**{**known, **params})
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def fit(
        self,
        feedback: BanditFeedback,
        callbacks: Mapping[str, Callable[[TwoTowerPolicy], float]] | None = None,
    ) -> OffPolicyLearner:
        """Learn from a log.

        Parameters
        ----------
        feedback : BanditFeedback
        callbacks : mapping of str to callable, optional
            Each is called with the current policy before the first epoch and after every epoch;
            what it returns is kept in `history_` under its name. This is where a curve of the true
            value comes from, in a world that has one. The policy goes on learning afterwards: keep
            a ``copy.deepcopy`` of it, not the policy. `Watch` makes callbacks that diagnose it.

        Returns
        -------
        OffPolicyLearner
            This object, fitted. After an interrupt, `policy_` holds the weights of that moment.
        """
        fit_many([self], [feedback], None if callbacks is None else [callbacks])
        return self

    fit_many = staticmethod(fit_many)

    def predict_reward(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        """Predicted reward of every item, if the objective is a regression.

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
            If the learner is not fitted, or its objective does not predict rewards.
        """
        to_reward = self._to_reward()
        return to_reward(torch.from_numpy(self.policy_.scores(context, action_context))).numpy()

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
            If the learner is not fitted, or its objective does not predict rewards.
        """
        to_reward, policy = self._to_reward(), self.policy_
        u, v = policy.embed_context(context), policy.embed_actions(action_context)

        def predict(rows: np.ndarray, items: np.ndarray) -> np.ndarray:
            return to_reward(torch.from_numpy(u[rows] @ v[items].T)).numpy()

        return predict

    def _to_reward(self) -> Callable[[torch.Tensor], torch.Tensor]:
        if not hasattr(self, "policy_"):
            raise ValueError("this learner is not fitted; call fit(feedback) first.")
        if not self.objective_.is_regression:
            raise ValueError(
                f"objective {self.objective_.name!r} learns a policy, not rewards; "
                "use 'regression'."
            )
        return self.objective_.to_reward

    def default_reward_model(self, feedback: BanditFeedback) -> OffPolicyLearner:
        """The reward model that is used if none is given: see `reward_model`.

        Parameters
        ----------
        feedback : BanditFeedback

        Returns
        -------
        OffPolicyLearner
            Not fitted.
        """
        shared = ("epochs", "batch_size", "hidden", "dim_embedding", "progress")
        return default_reward_model(feedback.reward, int(self.random_state)).set_params(
            **{name: getattr(self, name) for name in shared}
        )


def default_reward_model(reward: np.ndarray, random_state: int = 0) -> OffPolicyLearner:
    """Two towers trained by regression: cross-entropy for rewards in [0, 1], else squared error."""
    in_range = reward.min() >= 0 and reward.max() <= 1
    return OffPolicyLearner(
        objective="regression" if in_range else "squared_error",
        learning_rate=1e-3,
        random_state=random_state,
    )
