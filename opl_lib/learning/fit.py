"""One fit: a log, the towers that learn from it, and what is recorded on the way."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

from ..logs.feedback import BanditFeedback
from ..objectives import Objective, Regression
from ..objectives.regressions import Link, mean_and_scale
from ..policies.towers import TwoTower
from ..policies.two_tower import TwoTowerPolicy
from .batches import PredictsRows
from .eligible import restricts
from .settings import SettledSettings, TwoTowerSettings
from .stacks import is_plain_mlp
from .steps import encodes_by_round
from .surroundings import own_modes

Callback = Callable[[TwoTowerPolicy], Mapping[str, float] | None]

# Batches with up to this many logits are taken whole; larger ones tile by tile.
_MAX_LOGITS = 2**22


class NonFiniteLossError(ArithmeticError):
    """The objective became infinite or not a number; the policy keeps its last good epoch."""


class StopFit(Exception):
    """Raised by a callback, it ends the fit: the policy keeps the weights of this moment."""


@dataclass(eq=False)
class Fit:
    """One log and the towers that learn from it; training fills `history` and `error`.

    Attributes
    ----------
    feedback : BanditFeedback
    policy : TwoTowerPolicy
        Its towers are what learns, in place.
    objective : Objective or Regression
    settings : TwoTowerSettings
    q_hat : cross-fitted reward model, optional
        Of this very log, for the objectives that need it.
    callback : callable, optional
        From the policy to numbers for `history`; called before the first epoch and after each.
    catalogue, n_sampled
        How a step of a value objective sees the items, as in `OffPolicyLearner`.
    link : Link, optional
        From the scores of a regression, which sees standardised rewards, to those of the log; if
        not given, it is made by this log.
    finish : callable, optional
        Called when training has ended.
    """

    feedback: BanditFeedback
    policy: TwoTowerPolicy
    objective: Objective | Regression
    settings: TwoTowerSettings
    q_hat: PredictsRows | None = None
    callback: Callback | None = None
    catalogue: str = "auto"
    n_sampled: int = 256
    link: Link | None = None
    finish: Callable[[], None] | None = None
    history: dict[str, list[float]] = field(default_factory=lambda: {"objective": []})
    error: str | None = None
    ended: bool = False
    settled: SettledSettings = field(init=False)

    def __post_init__(self) -> None:
        check_callback(self.callback)
        is_regression = isinstance(self.objective, Regression)
        self.settled = self.settings.for_fit(self.feedback.n_rounds, is_regression)
        self.n_sampled = int(self.n_sampled)
        if isinstance(self.objective, Regression):
            self._standardise(self.objective)

    def _standardise(self, objective: Regression) -> None:
        """Let the rewards be what the scores are to predict."""
        self.link = self.link or objective.link(self.feedback.reward)
        self.feedback = self.link.standardise(self.feedback)

    def reward_moments(self) -> tuple[float, float]:
        """Mean and standard deviation of the rewards that it learns from."""
        return mean_and_scale(self.feedback.reward.astype(np.float64))

    def own_log(self) -> Any:
        """Where steps read from, if that is not memory."""
        return None

    @property
    def way(self) -> str:
        """How a step sees the items, chosen from the sizes."""
        objective, asked = self.objective, self.catalogue
        if isinstance(objective, Regression):
            return "logged"
        n_actions, batch_size = self.feedback.n_actions, self.settled.batch_size
        if asked in ("streamed", "sampled") and not objective.only_logged_item:
            raise ValueError(
                f"catalogue={asked!r} shows an objective fewer columns than items: if yours allows "
                "that, say so with opl.Objective(…, only_logged_item=True), else use "
                "catalogue='exact'."
            )
        if asked == "auto":
            few = batch_size * n_actions <= _MAX_LOGITS or not objective.only_logged_item
            return "exact" if few else "streamed"
        if asked == "sampled" and self.n_sampled >= n_actions:
            return "exact"  # a sample of that size costs more and says less
        return asked

    @property
    def unit(self) -> float:
        """Size of the gradient's unit, that of the rewards: 1 for clicks."""
        reward = self.feedback.reward
        if isinstance(self.objective, Regression) or np.isin(reward, (0, 1)).all():
            return 1.0
        largest = float(np.abs(reward).max())
        size = largest * math.sqrt(np.square(reward / largest).mean())
        return 2.0 ** round(math.log2(size))  # a power of two: dividing by it loses no bit

    @property
    def kind(self) -> tuple:
        """Equal for fits that can be trained side by side."""
        s, log, towers = self.settled, self.feedback, self.policy.towers
        alone = not (self.objective.batched and is_plain_mlp(towers))
        return (
            id(self) if alone else self.objective,
            self.way,
            *(log.n_rounds, log.n_actions, log.dim_context, log.dim_action_context),
            *(s.batch_size, s.epochs, s.shuffle, self.n_sampled, s.progress),
            self.policy.device,
            *(log.cluster_pscore is None, self.way != "logged" and restricts(log)),
            tuple((*p.shape, p.requires_grad) for p in towers.parameters()),
        )

    @property
    def rows_encoded(self) -> int:
        """Rows that a step passes through the towers."""
        batch_size, n_actions = self.settled.batch_size, self.feedback.n_actions
        by_round = self.way == "logged" and encodes_by_round(n_actions, batch_size)
        other = {"logged": batch_size if by_round else n_actions}
        return batch_size + {**other, "sampled": self.n_sampled}.get(self.way, n_actions)

    def call_back(self) -> None:
        """Let the callback look at the policy."""
        if self.callback is None:
            return
        try:
            found = self.callback(self.policy)
        except StopFit:
            self.ended = True
            return
        keep(self.history, recorded(found), n_before=len(self.history["objective"]))


def keep(history: dict[str, list[float]], found: Mapping[str, Any], n_before: int) -> None:
    """Add what a callback has returned to a history; NaN where it returned no such number."""
    for name in [*found, *(history.keys() - found.keys() - {"objective"})]:
        values = history.setdefault(name, [])
        values += [math.nan] * (n_before - len(values)) + [found.get(name, math.nan)]


def recorded(found: Any) -> dict[str, Any]:
    """The numbers that a callback has returned, by their names."""
    if found is not None and not isinstance(found, Mapping):
        raise TypeError(
            "a callback must return None or a dictionary of numbers by their names; "
            f"got {type(found).__name__}."
        )
    return {name: _number(name, value) for name, value in (found or {}).items()}


def _number(name: Any, value: Any) -> Any:
    if name == "objective":
        raise ValueError("'objective' is what history_ calls its own curve; rename the number.")
    if isinstance(value, np.ndarray | Tensor) and value.ndim == 0:
        value = value.item()
    if not isinstance(name, str) or not isinstance(value, Real | np.bool_):
        raise TypeError(
            "a callback must return numbers by their names; "
            f"got {name!r} with a value of type {type(value).__name__}."
        )
    return value


def check_callback(callback: Any) -> None:
    """Raise unless this can be called with a policy, or is None."""
    what = type(callback).__name__
    if isinstance(callback, type):
        raise TypeError(f"callback is the class {callback.__name__}: make an object of it first.")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be a function of the policy, or None; got {what}.")


@own_modes()
def new_policy(
    settings: TwoTowerSettings, feedback: BanditFeedback, is_regression: bool
) -> TwoTowerPolicy:
    """Towers to start from: new ones, or a copy of those that were given."""
    temperature = settings.serving_temperature(is_regression)
    if settings.towers is None:
        towers = TwoTower.mlp(
            feedback.dim_context,
            feedback.dim_action_context,
            hidden=tuple(settings.hidden),
            dim_embedding=settings.dim_embedding,
            random_state=int(settings.random_state),
        )
        return TwoTowerPolicy(towers, temperature, feedback.columns, settings.device)
    towers = copy.deepcopy(settings.towers)
    policy = TwoTowerPolicy(towers, temperature, device=settings.device)
    try:
        policy.scores(feedback.context[:1], feedback.action_context[:1])
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"towers do not take this log: {feedback.dim_context} context features and "
            f"{feedback.dim_action_context} item features as float32, to embeddings of one "
            f"size: {error}"
        ) from error
    return TwoTowerPolicy(policy.towers, temperature, feedback.columns)


def what_failed(objective: Objective | Regression, values: Tensor, epoch: int) -> str:
    """What `NonFiniteLossError` says."""
    bad = (~values.isfinite()).nonzero()[:, 0]
    batch = int(bad[0]) if len(bad) else len(values) - 1
    return (
        f"objective {objective.name!r} or the weights stopped being finite in epoch {epoch}, "
        f"batch {batch + 1} (objective {float(values[batch])}). Lower the learning rate, "
        "standardise the features, or look for tiny pscores with feedback.report(). "
        f"policy_ holds the weights from before epoch {epoch}."
    )
