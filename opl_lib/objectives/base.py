"""What every objective is: one formula with its settings, and what it needs of a log."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import check_number
from ..logs.feedback import BanditFeedback
from .batch import Batch

# What a formula returns: its value, or its value and the gradient of that in the logits.
Found = Tensor | tuple[Tensor, Tensor]


@dataclass(frozen=True, repr=False)
class Formula:
    """A formula of a batch with its settings: what objectives and regressions share.

    Two are equal if their formula and settings are.
    """

    function: Callable[..., Found]
    settings: Mapping[str, Any] = field(default_factory=dict)
    batched: bool = False
    name: str = ""
    min_reward: float = -math.inf
    max_reward: float = math.inf
    _value_only: list[bool] = field(default_factory=list, init=False, compare=False)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(
                "function must be a formula (logits, batch) -> value, or -> (value, gradient); "
                f"got {self.function!r}."
            )
        if not self.name:
            name = getattr(self.function, "__name__", "objective").lstrip("_")
            object.__setattr__(self, "name", name + _shown(self.settings))

    def __hash__(self) -> int:
        return hash((self.function, self.name))

    def __repr__(self) -> str:
        return self.name

    def __call__(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Value, and its gradient in the logits: the formula's own, or torch's."""
        if not self._value_only:
            found = self.function(logits, batch, **self.settings)
            if isinstance(found, tuple) and len(found) == 2:
                return found
            self._value_only[:] = [True]
        with torch.enable_grad():
            logits = logits.detach().requires_grad_()
            value = self.function(logits, batch, **self.settings)
            if not isinstance(value, Tensor) or not value.requires_grad:
                raise ValueError(
                    f"objective {self.name!r} must return a value that torch can differentiate in "
                    "the logits, or a value and its gradient in the logits, two tensors; got "
                    f"{type(value).__name__}."
                )
            return value.detach(), torch.autograd.grad(value.sum(), logits)[0]

    def check_log(self, feedback: BanditFeedback) -> None:
        """Raise ValueError at the first reward that the formula is not made for."""
        reward = feedback.reward
        outside = (reward < self.min_reward) | (reward > self.max_reward)
        if outside.any():
            row = int(np.argmax(outside))
            raise ValueError(
                f"objective {self.name!r} is made for rewards from {self.min_reward:g} to "
                f"{self.max_reward:g}; row {row} has {reward[row]:.9g}. Rescale the rewards, or "
                "take an objective for any reward, such as 'squared_error' or 'dr'."
            )


@dataclass(frozen=True, repr=False, eq=True)
class Objective(Formula):
    """An objective of a policy: one formula, its settings, and what it needs.

    Calling it with logits and a batch gives its value and the gradient of that in the logits.

    Parameters
    ----------
    function : callable
        ``(logits, batch, **settings) -> value``, to be maximised: logits of shape (B, n_actions),
        a `Batch` of B rounds, a scalar. Torch differentiates it in the logits; one that returns
        ``(value, gradient)`` is faster, and `check_objective` tells whether its gradient is right.
        One defined at the top of a module can be sent to other processes.
    settings : mapping of str to value
        Passed to the function by name; objectives of one function with equal settings are equal.
    batched : bool
        Say True if the function also takes a leading axis of models, (K, B, n_actions), and returns
        K values, as reductions over ``dim=-1`` do. `fit_many` may then train K models as one.
    name : str, optional
        How it is printed; if not given, the function's name with the settings.
    min_reward, max_reward : float
        The rewards that the objective is made for.
    needs : tuple of {"q_hat", "cluster_pscore"}
        The columns of `Batch` that must be filled.
    only_logged_item : bool
        Say True if the value depends on the policy only through ``π(a_i|x_i)`` of the logged item
        and, with a reward model, has ``mean_i Σ_a π(a|x_i) q̂(x_i, a)`` added to that. The learner
        may then stream or sample the items of a large catalogue, and calls the function with fewer
        columns: column 0 is the logged item, ``batch.action`` is 0, and the others stand for all
        other items. An entropy bonus or a look-up by item number is another thing.
    n_actions : int, optional
        The number of items that it is made for, if it knows them by number.

    Examples
    --------
    An objective of one's own: IPS with a constant baseline.

    >>> import opl_lib as opl
    >>> def ips_minus_half(logits, batch):
    ...     log_pi = logits.log_softmax(dim=-1).gather(-1, batch.action[..., None])[..., 0]
    ...     return (log_pi.exp() / batch.pscore * (batch.reward - 0.5)).mean(dim=-1)
    >>> objective = opl.Objective(ips_minus_half, batched=True, only_logged_item=True)
    >>> opl.check_objective(objective)
    >>> learner = opl.OffPolicyLearner(objective)
    """

    needs: tuple[str, ...] = ()
    only_logged_item: bool = False
    n_actions: int | None = None

    __hash__ = Formula.__hash__

    def check_log(self, feedback: BanditFeedback) -> None:
        """Raise ValueError if a log lacks what the objective needs, or has other items."""
        super().check_log(feedback)
        if self.n_actions is not None and self.n_actions != feedback.n_actions:
            raise ValueError(
                f"objective {self.name!r} is made for {self.n_actions} items, but the log has "
                f"{feedback.n_actions}. Give its cluster one entry an item, the same as to "
                "opl.with_clusters(feedback, cluster)."
            )
        if "cluster_pscore" in self.needs and feedback.cluster_pscore is None:
            raise ValueError(
                f"objective {self.name!r} needs the propensities of clusters, and this log has no "
                "cluster_pscore. Make it with opl.with_clusters(feedback, cluster)."
            )


# The library's formulas by their names, with their default settings.
OBJECTIVES: dict[str, Formula] = {}


def objective(**about: Any) -> Callable[[Callable[..., Found]], Objective]:
    """Decorate a formula without settings: it becomes an `Objective`, found by its name."""
    return lambda function: register(Objective(function, batched=True, **about))


def register(formula: Any) -> Any:
    """Let a formula be found by its function's name, and documented as its function is."""
    function = OBJECTIVES.setdefault(formula.name, formula).function
    for name in ("__doc__", "__module__", "__name__"):
        object.__setattr__(formula, name, getattr(function, name))
    object.__setattr__(formula, "__wrapped__", function)
    function.__qualname__ += ".function"  # where pickle finds it
    return formula


def objective_of_settings(
    limits: Mapping[str, Mapping[str, Any]], **about: Any
) -> Callable[[Callable[..., Found]], Callable[..., Objective]]:
    """Decorate a formula with settings: it becomes a function of them that makes an `Objective`.

    `limits` says for each setting what `check_number` asks of it. If all have defaults, the name
    alone stands for the objective with these.
    """

    def decorate(function: Callable[..., Found]) -> Callable[..., Objective]:
        signature = inspect.signature(function)
        _, _, *parameters = signature.parameters.values()
        signature = signature.replace(parameters=parameters, return_annotation="Objective")

        @wraps(function)
        def make(*args: Any, **kwargs: Any) -> Objective:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            for name, limit in limits.items():
                check_number(name, bound.arguments[name], **{"kind": Real, **limit})
            return Objective(function, bound.arguments, batched=True, **about)

        make.__signature__, make.function = signature, function  # type: ignore[attr-defined]
        function.__qualname__ += ".function"  # where pickle finds it
        if all(parameter.default is not parameter.empty for parameter in parameters):
            OBJECTIVES[function.__name__] = make()
        return make

    return decorate


def get_objective(objective: Any) -> Any:
    """Look up an objective or a regression by name, or wrap a function of one's own.

    Parameters
    ----------
    objective : str, Objective, Regression or callable
        A function is taken for an `Objective` that sees all items, one model at a time.

    Returns
    -------
    Objective or Regression

    Raises
    ------
    ValueError
        If it is none of these, or a function of the library that makes objectives of settings.
    """
    if isinstance(objective, Formula):
        return objective
    if isinstance(objective, str) and objective in OBJECTIVES:
        return OBJECTIVES[objective]
    if callable(objective) and not str(objective.__module__).startswith("opl_lib."):
        return Objective(objective)
    raise ValueError(
        f"objective must be one of {sorted(OBJECTIVES)}, an opl.Objective or a function of "
        f"(logits, batch); got {objective!r}. One with settings is made of them, "
        "for example opl.clipped_ips(max_weight=5) or opl.mips(cluster)."
    )


def _shown(settings: Mapping[str, Any]) -> str:
    if not settings:
        return ""
    shown = (f"{k}={v:g}" if isinstance(v, Real) else f"{k}={v!r}" for k, v in settings.items())
    return f"({', '.join(shown)})"
