"""The learner: one visible training loop for every objective."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .checks import check_number
from .feedback import BanditFeedback, check_feedback
from .objectives import Batch, Objective, get_objective, regression
from .optimizer import FlatAdam
from .passes import Step, exact, logged_only, sampled, streamed
from .policy import TwoTowerPolicy
from .reward_models import cross_fit
from .towers import TwoTower

# A q̂ of up to this many numbers is computed once; a larger one for each batch and tile.
_MAX_STORED_Q_HAT = 2**24
# Batches with up to this many logits are taken whole; larger ones tile by tile.
_MAX_LOGITS = 2**22

_SOFTMAX = ("auto", "exact", "streamed", "sampled")


class NonFiniteLossError(ArithmeticError):
    """The objective became infinite or not a number; the policy keeps its last good epoch."""


@dataclass(eq=False)
class OffPolicyLearner:
    """Learn a two-tower policy from a log.

    Features should be near unit scale: standardise them, with the mean and standard deviation of
    the training log. The settings can be read, changed and cloned as scikit-learn's can; nested
    settings and ``GridSearchCV``, which need an estimator of labels, cannot.

    Parameters
    ----------
    objective : {"dr", "ips", "dm", "regression", "squared_error"} or Objective
        What to maximise. ``"ips"``, ``"dr"`` and ``"dm"`` are estimates of the policy value;
        the two regressions predict the reward of the logged item.
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
        copied, not changed; `hidden` and `dim_embedding` are then not used.
    reward_model : reward model, optional
        The q̂ of ``"dr"`` and ``"dm"``: see `opl_lib.reward_models`. If not given, two towers of
        the same shape, trained by regression for as many epochs, at learning rate 1e-3.
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
            a ``copy.deepcopy`` of it, not the policy.

        Returns
        -------
        OffPolicyLearner
            This object, fitted. After an interrupt, `policy_` holds the weights of that moment.
        """
        check_feedback(feedback)
        _warn_of_scale("context", feedback.context)
        _warn_of_scale("action_context", feedback.action_context)
        objective, callbacks = get_objective(self.objective), dict(callbacks or {})
        if "objective" in callbacks:
            raise ValueError(
                "'objective' is what history_ calls its own curve; rename the callback."
            )
        _check_rewards(objective, feedback.reward)
        model = self._initial_model(feedback)
        context, items = _tensor(feedback.context), _tensor(feedback.action_context)
        tau = self.temperature
        logged = Batch(
            torch.tensor(feedback.action), _tensor(feedback.reward), _tensor(feedback.pscore)
        )
        q_hat = self._q_hat(feedback) if objective.needs_reward_model else None
        take_step = self._pass(objective, feedback.n_actions)

        self.objective_ = objective
        self.policy_ = TwoTowerPolicy(model, self.temperature)
        self.history_ = {name: [] for name in ("objective", *callbacks)}
        self._call(callbacks)
        optimizer = FlatAdam(model.parameters(), self.learning_rate, self.weight_decay)
        order = torch.Generator().manual_seed(int(self.random_state))
        with torch.random.fork_rng(devices=[]), self._progress_bar(feedback.n_rounds) as bar:
            torch.manual_seed(int(self.random_state))  # for towers that draw, as dropout does
            for epoch in range(1, self.epochs + 1):
                model.train()
                values, last_good = [], optimizer.weights.clone()
                for rows in self._rounds(feedback.n_rounds, order):
                    optimizer.zero_grad()
                    batch, q_hat_of = logged.rows(rows), q_hat and partial(q_hat, rows)
                    step = Step(model, objective, context[rows], items, batch, tau, q_hat_of)
                    value = take_step(step)
                    values.append(float(value))
                    if not math.isfinite(values[-1]):
                        break
                    optimizer.step()
                    bar.update()
                if not (math.isfinite(values[-1]) and optimizer.weights.isfinite().all()):
                    optimizer.weights.copy_(last_good)
                    raise _non_finite(values[-1], epoch, len(values))
                self.history_["objective"].append(float(np.mean(values)))
                model.eval()
                self._call(callbacks)
        return self

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
        if not hasattr(self, "policy_"):
            raise ValueError("this learner is not fitted; call fit(feedback) first.")
        objective = self.objective_
        if not objective.is_regression:
            raise ValueError(
                f"objective {objective.function.__name__!r} learns a policy, not rewards; "
                "use 'regression'."
            )
        scores = self.policy_.scores(context, action_context)
        return objective.to_reward(torch.from_numpy(scores)).numpy()

    def _initial_model(self, feedback: BanditFeedback) -> TwoTower:
        if self.model is not None:
            model = copy.deepcopy(self.model)
            try:
                TwoTowerPolicy(model).scores(feedback.context[:1], feedback.action_context[:1])
            except RuntimeError as error:
                raise ValueError(
                    f"model does not take this log: {feedback.dim_context} context features and "
                    f"{feedback.dim_action_context} item features as float32, to embeddings of one "
                    f"size. PyTorch says: {error}"
                ) from error
            return model
        return TwoTower.mlp(
            feedback.dim_context,
            feedback.dim_action_context,
            hidden=tuple(self.hidden),
            dim_embedding=self.dim_embedding,
            random_state=int(self.random_state),
        )

    def _pass(self, objective: Objective, n_actions: int) -> Callable[[Step], Tensor]:
        """Choose from the sizes how a step sees the items."""
        softmax = self.softmax
        if objective.is_regression:
            return logged_only
        if softmax in ("streamed", "sampled") and not objective.collapses:
            raise ValueError(
                f"softmax={softmax!r} shows an objective fewer columns than items: if yours allows "
                "that, say so with opl.Objective(…, collapses=True), else use softmax='exact'."
            )
        if softmax == "auto":
            few = self.batch_size * n_actions <= _MAX_LOGITS or not objective.collapses
            softmax = "exact" if few else "streamed"
        if softmax == "sampled" and self.n_sampled >= n_actions:
            softmax = "exact"  # a sample of that size costs more and says less
        if softmax == "sampled":
            draws = torch.Generator().manual_seed(int(self.random_state) + 1)
            return partial(sampled, n_sampled=int(self.n_sampled), generator=draws)
        return {"exact": exact, "streamed": streamed}[softmax]

    def _q_hat(self, feedback: BanditFeedback) -> Callable[[Tensor, Tensor], Tensor]:
        """Fit the reward model; return a function from rows and items to its predictions."""
        reward_model = self.reward_model
        if reward_model is None:
            reward_model = default_reward_model(feedback.reward, int(self.random_state))
            shared = ("epochs", "batch_size", "hidden", "dim_embedding")
            reward_model.set_params(**{name: getattr(self, name) for name in shared})
        self.reward_model_ = cross_fit(reward_model, feedback, self.n_folds, int(self.random_state))
        if feedback.n_rounds * feedback.n_actions > _MAX_STORED_Q_HAT:
            predict = self.reward_model_.predict_logged
            return lambda rows, items: _tensor(predict(rows.numpy(), items.numpy()))
        stored = _tensor(self.reward_model_.predict_logged(np.arange(feedback.n_rounds)))
        return lambda rows, items: stored[rows[:, None], items]

    def _rounds(self, n_rounds: int, order: torch.Generator) -> Sequence[Tensor]:
        """Row numbers of each batch of one epoch."""
        if self.shuffle:
            return torch.randperm(n_rounds, generator=order).split(int(self.batch_size))
        return torch.arange(n_rounds).split(int(self.batch_size))

    def _call(self, callbacks: Mapping[str, Callable[[TwoTowerPolicy], float]]) -> None:
        """Let the callbacks look at the current policy, without touching the fit's random draws."""
        for name, callback in callbacks.items():
            with torch.random.fork_rng(devices=[]):
                self.history_[name].append(callback(self.policy_))

    def _progress_bar(self, n_rounds: int) -> tqdm:
        return tqdm(
            total=self.epochs * math.ceil(n_rounds / self.batch_size),
            desc=f"fit {self.objective}" if isinstance(self.objective, str) else "fit",
            unit="batch",
            disable=None if self.progress is None else not self.progress,
            delay=0 if self.progress else 1,
        )


def default_reward_model(reward: np.ndarray, random_state: int = 0) -> OffPolicyLearner:
    """Two towers trained by regression: cross-entropy for rewards in [0, 1], else squared error."""
    in_range = reward.min() >= 0 and reward.max() <= 1
    return OffPolicyLearner(
        objective="regression" if in_range else "squared_error",
        learning_rate=1e-3,
        random_state=random_state,
    )


def _non_finite(value: float, epoch: int, batch: int) -> NonFiniteLossError:
    return NonFiniteLossError(
        f"the objective or the weights stopped being finite in epoch {epoch}, batch {batch} "
        f"(objective {value}). Lower the learning rate, standardise the features, or look for "
        "tiny pscores with feedback.support_report(). policy_ holds the weights from before "
        f"epoch {epoch}."
    )


def _warn_of_scale(name: str, features: np.ndarray) -> None:
    size = np.maximum(np.abs(features.mean(axis=0)), features.std(axis=0))
    if size.max() > 10:
        column = int(size.argmax())
        warnings.warn(
            f"{name}, column {column} has mean {features[:, column].mean():.3g} and standard "
            f"deviation {features[:, column].std():.3g}. Towers learn badly from features far from "
            "unit scale: standardise them, with the mean and standard deviation of the training "
            "log for all logs.",
            stacklevel=3,
        )


def _check_rewards(objective: Objective, reward: np.ndarray) -> None:
    if objective.function is regression and not ((reward >= 0) & (reward <= 1)).all():
        row = int(np.argmax((reward < 0) | (reward > 1)))
        raise ValueError(
            f"objective 'regression' is a cross-entropy: rewards must be in [0, 1]; row {row} has "
            f"{reward[row]}. Use objective='squared_error', or rescale the rewards."
        )


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))
