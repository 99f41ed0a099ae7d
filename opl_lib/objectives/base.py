"""What every objective is: one formula with its settings, and what it needs of a log."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..checks import check_choice, check_flag, check_number
from ..logs.feedback import BanditFeedback, check_feedback
from .batch import CURES, Batch, checked
from .differentiable import ask_differentiably, check_formula, is_pair
from .logged import first_bad

# What a formula returns: its value, or its value and the gradient of that in the logits.
Found = Tensor | tuple[Tensor, Tensor]
_RETURNS = (
    "a value that torch can differentiate in the logits, or a value and its gradient in the "
    "logits, tensors of floating-point numbers"
)
# Formulas calculate in single precision, where numbers below this are next to 0.
SMALLEST = 1e-38


@dataclass(frozen=True, repr=False, eq=False)
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
    # whether it gives its gradient: not known before its first call, unless its annotation says so
    _gives_gradient: list[bool] = field(default_factory=list, init=False, compare=False)

    sees_items: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.settings, Mapping) or not all(
            isinstance(name, str) for name in self.settings
        ):
            raise TypeError(f"settings must be values by their names; got {self.settings!r}.")
        object.__setattr__(self, "settings", dict(self.settings))
        check_formula(self.function, self.settings)
        returns = getattr(self.function, "__annotations__", {}).get("return")
        self._gives_gradient[:] = [True] if str(returns).startswith("tuple[") else []
        check_flag("batched", self.batched)
        for name in ("min_reward", "max_reward"):
            check_number(name, getattr(self, name), finite=False)
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a str; got {self.name!r}.")
        if not self.name:
            name = getattr(self.function, "__name__", "objective").lstrip("_")
            object.__setattr__(self, "name", name + _shown(self.settings))

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        if self is other or type(self) is not type(other):
            return self is other
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self) if f.compare)
        try:
            return all(own == its for own, its in pairs)
        except (ValueError, RuntimeError):  # of arrays among the settings
            return False

    def __repr__(self) -> str:
        return self.name

    def __call__(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Value, and its gradient in the logits: the formula's own, or torch's."""
        with torch.inference_mode(False):
            return self.ask(*checked(logits, batch, self.sees_items))

    def ask(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """What a call returns, of what is known to be logits and a batch."""
        if self._gives_gradient == [True]:
            found = self.function(logits, batch, **self.settings)
            if is_pair(found):
                return self._returned(found[0], logits), self._returned(found[1], logits)
        found, inputs = ask_differentiably(
            lambda logits: self.function(logits, batch, **self.settings),
            *(logits, not self._gives_gradient),
        )
        self._gives_gradient[:] = [is_pair(found)]
        if is_pair(found):
            pair = self._returned(found[0], logits), self._returned(found[1], logits)
            return pair if inputs is logits else (pair[0].detach(), pair[1].detach())
        with torch.enable_grad():
            value, slope = self._returned(found, logits), None
            if value.requires_grad:
                slope = torch.autograd.grad(value.sum(), inputs, allow_unused=True)[0]
        if slope is None:
            raise ValueError(
                f"objective {self.name!r} must return {_RETURNS}; got Tensor without gradient."
            )
        return value.detach(), slope

    def _returned(self, part: Any, logits: Tensor) -> Tensor:
        """A value or a gradient in the precision of the logits."""
        if not isinstance(part, Tensor) or not part.is_floating_point():
            got = f"Tensor of {part.dtype}" if isinstance(part, Tensor) else type(part).__name__
            raise ValueError(f"objective {self.name!r} must return {_RETURNS}; got {got}.")
        return part if part.dtype == logits.dtype else part.to(logits.dtype)

    def check_log(self, feedback: BanditFeedback) -> None:
        """Raise ValueError at the first reward that the formula is not made for."""
        check_feedback(feedback)
        least, most = self.min_reward, self.max_reward
        if found := first_bad(
            feedback, "reward", lambda reward: (reward < least) | (reward > most)
        ):
            raise ValueError(
                f"objective {self.name!r} is made for rewards from {least:g} to {most:g}; row "
                f"{found[0]} has {found[1]:.9g}. Rescale the rewards, or take an objective for any "
                "reward, such as 'squared_error' or 'dr'."
            )


@dataclass(frozen=True, repr=False, eq=False)
class Objective(Formula):
    """An objective of a policy: one formula, its settings, and what it needs.

    Calling it with logits and a batch gives its value and the gradient of that in the logits, in
    the precision of these.

    Parameters
    ----------
    function : callable
        ``(logits, batch, **settings) -> value``, to be maximised: logits of shape (B, n_actions),
        a `Batch` of B rounds, a scalar. Torch differentiates it in the logits; one that returns
        ``(value, gradient)`` is faster, and `check_objective` tells whether its gradient is right.
        One defined at the top of a module can be sent to other processes. What it draws from
        torch's global generator is the caller's: no `random_state` fixes it. Its softmax runs over
        the items that could be shown, whose logits alone are not next to −infinity; a sum over
        items that has no ``π(a|x)`` in it has to leave out the others, by ``batch.eligible``.
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

    sees_items: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.needs, tuple | list):
            raise TypeError(f"needs must be a tuple of names of columns; got {self.needs!r}.")
        for column in self.needs:
            check_choice("needs", column, CURES)
        object.__setattr__(self, "needs", tuple(self.needs))
        check_flag("only_logged_item", self.only_logged_item)
        if self.n_actions is not None:
            check_number("n_actions", self.n_actions, Integral, least=1)

    def ask(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """What a call returns; items that could not be shown, whose logits are `NEVER`, get 0."""
        value, gradient = super().ask(logits, batch)
        if batch.eligible is not None and not self._is_softmax:
            gradient = torch.where(batch.eligible, gradient, 0)
        return value, gradient

    @property
    def _is_softmax(self) -> bool:
        """Whether logits have a say through probabilities only, as in the library's formulas."""
        return str(getattr(self.function, "__module__", "")).startswith(
            "opl_lib.objectives."
        ) and all(
            part._is_softmax for part in self.settings.values() if isinstance(part, Objective)
        )

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
        for name in ("pscore", "cluster_pscore"):
            if getattr(feedback, name) is not None:
                _check_single(name, feedback)


def _check_single(name: str, feedback: BanditFeedback) -> None:
    """Raise if a propensity has no weight in single precision."""
    if found := first_bad(feedback, name, lambda pscore: pscore < SMALLEST):
        raise ValueError(
            f"{name} is too small for single precision: row {found[0]} has {found[1]:.3g}, and its "
            "weight would be infinite. Drop such rows, or correct them; feedback.report() counts "
            "the small ones."
        )


def _shown(settings: Mapping[str, Any]) -> str:
    if not settings:
        return ""
    shown = (f"{k}={v:g}" if isinstance(v, Real) else f"{k}={v!r}" for k, v in settings.items())
    return f"({', '.join(shown)})"
