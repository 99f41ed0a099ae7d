"""One fit: a log, the towers that learn from it, and what is recorded on the way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..logs.feedback import BanditFeedback
from ..objectives import Objective, Regression
from ..policies.towers import TwoTower
from ..policies.two_tower import TwoTowerPolicy
from .batches import PredictsRows
from .settings import TwoTowerSettings
from .stacks import is_plain_mlp
from .steps import encodes_by_round

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
    """

    feedback: BanditFeedback
    policy: TwoTowerPolicy
    objective: Objective | Regression
    settings: TwoTowerSettings
    q_hat: PredictsRows | None = None
    callback: Callback | None = None
    catalogue: str = "auto"
    n_sampled: int = 256
    history: dict[str, list[float]] = field(default_factory=lambda: {"objective": []})
    error: str | None = None
    ended: bool = False

    @property
    def way(self) -> str:
        """How a step sees the items, chosen from the sizes."""
        objective, asked = self.objective, self.catalogue
        if isinstance(objective, Regression):
            return "logged"
        n_actions, batch_size = self.feedback.n_actions, self.settings.batch_size
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
    def kind(self) -> tuple:
        """Equal for fits that can be trained side by side."""
        s, log, towers = self.settings, self.feedback, self.policy.towers
        alone = not (self.objective.batched and is_plain_mlp(towers))
        return (
            id(self) if alone else self.objective,
            self.way,
            *(log.n_rounds, log.n_actions, log.dim_context, log.dim_action_context),
            *(s.batch_size, s.epochs, s.shuffle, self.n_sampled, s.progress),
            log.cluster_pscore is None,
            tuple((*p.shape, p.requires_grad) for p in towers.parameters()),
        )

    @property
    def rows_encoded(self) -> int:
        """Rows that a step passes through the towers."""
        batch_size, n_actions = self.settings.batch_size, self.feedback.n_actions
        by_round = self.way == "logged" and encodes_by_round(n_actions, batch_size)
        other = {"logged": batch_size if by_round else n_actions}
        return batch_size + {**other, "sampled": self.n_sampled}.get(self.way, n_actions)

    def call_back(self) -> None:
        """Let the callback look at the policy, without touching the fit's random draws."""
        if self.callback is None:
            return
        try:
            with torch.random.fork_rng(devices=[]):
                numbers = self.callback(self.policy) or {}
        except StopFit:
            self.ended = True
            return
        if "objective" in numbers:
            raise ValueError("'objective' is what history_ calls its own curve; rename the number.")
        for name, number in numbers.items():
            self.history.setdefault(name, []).append(number)


def new_policy(settings: TwoTowerSettings, feedback: BanditFeedback) -> TwoTowerPolicy:
    """Towers to start from: new ones, or a copy of those that were given."""
    if settings.towers is None:
        towers = TwoTower.mlp(
            feedback.dim_context,
            feedback.dim_action_context,
            hidden=tuple(settings.hidden),
            dim_embedding=settings.dim_embedding,
            random_state=int(settings.random_state),
        )
        return TwoTowerPolicy(towers, settings.temperature)
    policy = TwoTowerPolicy(copy.deepcopy(settings.towers), settings.temperature)
    try:
        policy.scores(feedback.context[:1], feedback.action_context[:1])
    except RuntimeError as error:
        raise ValueError(
            f"towers do not take this log: {feedback.dim_context} context features and "
            f"{feedback.dim_action_context} item features as float32, to embeddings of one "
            f"size. PyTorch says: {error}"
        ) from error
    return policy


def what_failed(values: Tensor, epoch: int) -> str:
    bad = (~values.isfinite()).nonzero()[:, 0]
    batch = int(bad[0]) if len(bad) else len(values) - 1
    return (
        f"the objective or the weights stopped being finite in epoch {epoch}, batch {batch + 1} "
        f"(objective {float(values[batch])}). Lower the learning rate, standardise the features, "
        "or look for tiny pscores with feedback.support_report(). policy_ holds the weights from "
        f"before epoch {epoch}."
    )
