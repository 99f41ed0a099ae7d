"""The training loop: one fit, or many side by side."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..checks import told_of_scale, warn_of_scale
from ..logs.feedback import BanditFeedback, check_feedback
from ..objectives import Batch, Objective, get_objective
from ..policies.towers import TwoTower
from ..policies.two_tower import TwoTowerPolicy
from .optimizer import FlatAdam
from .reward_models import CrossFittedRewardModel, cross_fit_many
from .stacks import FlatWeights, is_plain_mlp, stack_models
from .steps import Step, encodes_by_round, exact, find_head, logged_only, sampled, streamed, take

if TYPE_CHECKING:
    from .learner import OffPolicyLearner

Callbacks = Mapping[str, Callable[[TwoTowerPolicy], float]]

# A q̂ of up to this many numbers is computed once; a larger one for each batch and tile.
_MAX_STORED_Q_HAT = 2**25
# Batches with up to this many logits are taken whole; larger ones tile by tile.
_MAX_LOGITS = 2**22
# A stack encodes up to this many rows a step: beyond, its numbers leave the processor's cache.
_MAX_STACK_ROWS = 4096
_MAX_STACK = 64
# The head of a sampled softmax is found from this many contexts.
_HEAD_CONTEXTS = 64


class NonFiniteLossError(ArithmeticError):
    """The objective became infinite or not a number; the policy keeps its last good epoch."""


def fit_many(
    learners: Iterable[OffPolicyLearner],
    feedbacks: BanditFeedback | Iterable[BanditFeedback],
    callbacks: Callbacks | Iterable[Callbacks | None] | None = None,
) -> list[OffPolicyLearner]:
    """Fit many learners, those that are alike side by side.

    Each gets what its own ``fit`` would give it, to rounding. Learners with the same objective,
    towers, batch size, epochs and sizes of the log are trained as one stack of models, which for
    small networks takes a fraction of the time; seeds, logs, learning rates, weight decays and
    temperatures may differ within a stack. Any mixture is allowed: it is sorted into stacks.

    Parameters
    ----------
    learners : iterable of OffPolicyLearner
        All different objects; they are fitted in place.
    feedbacks : BanditFeedback or iterable of BanditFeedback
        One log for all, or one a learner.
    callbacks : mapping, or iterable of mappings, optional
        As in `OffPolicyLearner.fit`; one for all, or one a learner.

    Returns
    -------
    list of OffPolicyLearner
        The learners, fitted.

    Raises
    ------
    ValueError
        If the numbers of learners, logs and callbacks differ, or a learner comes twice.
    NonFiniteLossError
        At the end, if any fit stopped being finite; all others are complete.

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=5, dim_context=5, dim_action_context=5, random_state=0)
    >>> log = world.sample(1000, random_state=1)
    >>> learners = [opl.OffPolicyLearner("ips", epochs=2, random_state=seed) for seed in range(3)]
    >>> [learner.policy_ for learner in opl.fit_many(learners, log)][0]
    TwoTowerPolicy(61,800 weights, temperature=1)
    """
    learners = list(learners)
    one_for_all = isinstance(feedbacks, BanditFeedback)
    feedbacks = [feedbacks] * len(learners) if one_for_all else list(feedbacks)
    if callbacks is None or isinstance(callbacks, Mapping):
        callbacks = [callbacks] * len(learners)
    callbacks = [dict(calls or {}) for calls in callbacks]
    if not len(learners) == len(feedbacks) == len(callbacks):
        raise ValueError(
            f"fit_many needs one log and one mapping of callbacks a learner; got {len(learners)} "
            f"learners, {len(feedbacks)} logs and {len(callbacks)} mappings."
        )
    if len({id(learner) for learner in learners}) < len(learners):
        raise ValueError("a learner comes twice: make one for each fit, as with copy.copy.")
    fits = [_Fit.of(*each) for each in zip(learners, feedbacks, callbacks, strict=True)]
    warn_of_scale(feedbacks)
    errors = [error for stack in _stacks(fits) for error in _train(stack)]
    if errors:
        others = f" Fits that failed: {len(errors)} of {len(fits)}." if len(errors) > 1 else ""
        raise NonFiniteLossError(errors[0] + others)
    return learners


@dataclass(eq=False)
class _Fit:
    """One learner with its log, checked and ready to be trained."""

    learner: OffPolicyLearner
    feedback: BanditFeedback
    callbacks: Callbacks
    objective: Objective
    model: TwoTower
    softmax: str

    @classmethod
    def of(cls, learner: OffPolicyLearner, feedback: BanditFeedback, callbacks: dict) -> _Fit:
        check_feedback(feedback)
        objective = get_objective(learner.objective)
        if "objective" in callbacks:
            raise ValueError(
                "'objective' is what history_ calls its own curve; rename the callback."
            )
        objective.check_log(feedback)
        model = _initial_model(learner, feedback)
        softmax = _softmax(learner, objective, feedback.n_actions)
        return cls(learner, feedback, callbacks, objective, model, softmax)

    def start(self) -> None:
        """Set the learned attributes, and let the callbacks see the policy before it learns."""
        self.learner.objective_ = self.objective
        self.learner.policy_ = TwoTowerPolicy(self.model, self.learner.temperature)
        self.learner.history_ = {name: [] for name in ("objective", *self.callbacks)}
        self.call_back()

    def call_back(self) -> None:
        """Let the callbacks look at the current policy, without touching the fit's random draws."""
        for name, callback in self.callbacks.items():
            with torch.random.fork_rng(devices=[]):
                self.learner.history_[name].append(callback(self.learner.policy_))

    def leave_stack(self) -> None:
        """Give the model weights of its own."""
        for parameter in self.model.parameters():
            parameter.data, parameter.grad = parameter.data.clone(), None

    @property
    def kind(self) -> tuple:
        """Equal for fits that can be trained side by side."""
        learner, log, model = self.learner, self.feedback, self.model
        alone = not (self.objective.stacks and is_plain_mlp(model))
        return (
            id(self) if alone else self.objective,
            self.softmax,
            *(log.n_rounds, log.n_actions, log.dim_context, log.dim_action_context),
            *(learner.batch_size, learner.epochs, learner.shuffle, learner.n_sampled),
            *(learner.progress, log.cluster_pscore is None),
            tuple((*p.shape, p.requires_grad) for p in model.parameters()),
        )

    @property
    def rows_encoded(self) -> int:
        """Rows that a step passes through the towers."""
        batch_size, n_actions = self.learner.batch_size, self.feedback.n_actions
        by_round = self.softmax == "logged" and encodes_by_round(n_actions, batch_size)
        other = {"logged": batch_size if by_round else n_actions, "sampled": self.learner.n_sampled}
        return batch_size + other.get(self.softmax, n_actions)


def _stacks(fits: Sequence[_Fit]) -> list[list[_Fit]]:
    """Sort fits into stacks of one kind, not too large for the processor's cache."""
    kinds: dict[tuple, list[_Fit]] = {}
    for fit in fits:
        kinds.setdefault(fit.kind, []).append(fit)
    stacks = []
    for alike in kinds.values():
        # Neighbours with one learning rate and weight decay share an update.
        alike.sort(key=lambda fit: (fit.learner.learning_rate, fit.learner.weight_decay))
        size = min(max(_MAX_STACK_ROWS // alike[0].rows_encoded, 1), _MAX_STACK)
        stacks += [alike[start : start + size] for start in range(0, len(alike), size)]
    return stacks


def _train(fits: Sequence[_Fit]) -> list[str]:
    """Train one stack; return what went wrong, a message for each fit that failed."""
    learners, first = [fit.learner for fit in fits], fits[0].learner
    try:
        log = _StackedLog(fits)
    except NonFiniteLossError as error:  # of some fit's reward model
        if len(fits) == 1:
            return [str(error)]
        return [message for fit in fits for message in _train([fit])]
    stack = stack_models([fit.model for fit in fits])
    optimizer = FlatAdam(
        stack.flat,
        [learner.learning_rate for learner in learners],
        [learner.weight_decay for learner in learners],
    )
    temperature = torch.tensor([[[float(learner.temperature)]] for learner in learners])
    orders, draws = (
        [torch.Generator().manual_seed(int(learner.random_state) + k) for learner in learners]
        for k in (0, 1)
    )
    take_step = {"logged": logged_only, "exact": exact, "streamed": streamed}.get(
        fits[0].softmax, partial(sampled, n_sampled=first.n_sampled, generators=draws)
    )
    failed: dict[int, str] = {}
    try:
        for fit in fits:
            fit.start()
        with _denormals_as_zero(), torch.random.fork_rng(devices=[]), _progress_bar(fits) as bar:
            torch.manual_seed(int(first.random_state))  # for towers that draw, as dropout does
            for epoch in range(1, first.epochs + 1):
                stack.train()
                last_good, values = stack.flat.weights.clone(), []
                if fits[0].softmax == "sampled" and (epoch - 1).bit_count() == 1:
                    # The policy moves ever more slowly: after epochs 1, 2, 4, 8, …
                    size, contexts = first.n_sampled // 2, log.context[:, :_HEAD_CONTEXTS]
                    head = find_head(stack, contexts, log.action_context, temperature, size)
                    n_tail = first.n_sampled - size
                    take_step = partial(sampled, n_sampled=n_tail, generators=draws, head=head)
                for context, batch, q_hat, q_logged in log.batches(orders):
                    inputs = (context, log.action_context, batch, temperature, q_hat, q_logged)
                    values.append(take_step(Step(stack, fits[0].objective, *inputs)))
                    optimizer.step()
                    bar.update()
                stack.train(False)
                values = torch.stack(values)
                _undo_failures(failed, stack.flat, last_good, values, epoch)
                for number, fit in enumerate(fits):
                    if number not in failed:
                        fit.learner.history_["objective"].append(float(values[:, number].mean()))
                        fit.call_back()
                if len(failed) == len(fits):
                    break
    finally:
        for fit in fits:
            fit.leave_stack()
    return list(failed.values())


@contextmanager
def _denormals_as_zero() -> Iterator[None]:
    """Take numbers below 1e-38 for 0, as probabilities of a sharp policy are: they are slow."""
    was_on = float(torch.tensor(1e-39) * 1) == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_on)


def _undo_failures(
    failed: dict[int, str], flat: FlatWeights, last_good: Tensor, values: Tensor, epoch: int
) -> None:
    """Add the models that are no longer finite to `failed`; give all failed their last weights."""
    for number in range(values.shape[1]):
        own, before = (flat.of_models(v, number, number + 1) for v in (flat.weights, last_good))
        finite = values[:, number].isfinite().all() and all(part.isfinite().all() for part in own)
        if not finite:
            failed.setdefault(number, _what_failed(values[:, number], epoch))
        if number in failed:
            for part, good in zip(own, before, strict=True):
                part.copy_(good)


class _StackedLog:
    """The logs of K fits as tensors, one row of each table a fit, or one row for all."""

    def __init__(self, fits: Sequence[_Fit]) -> None:
        logs = [fit.feedback for fit in fits]
        self.n_models, self.n_rounds = len(logs), logs[0].n_rounds
        self.batch_size, self.shuffle = fits[0].learner.batch_size, fits[0].learner.shuffle
        self.context = _table([log.context for log in logs])
        self.action_context = _table([log.action_context for log in logs])
        self.batch = Batch(
            _table([log.action for log in logs], np.int64),
            _table([log.reward for log in logs]),
            _table([log.pscore for log in logs]),
            cluster_pscore=None
            if logs[0].cluster_pscore is None
            else _table([log.cluster_pscore for log in logs]),
        )
        self.q_hat, self.q_logged = None, None
        if fits[0].objective.needs_reward_model:
            self._predict(fits)

    def batches(self, orders: Sequence[torch.Generator]) -> Iterable[tuple]:
        """One epoch: contexts, columns, and q̂ of each batch."""
        rows = torch.arange(self.n_rounds).expand(self.n_models, -1)
        if self.shuffle:
            rows = torch.stack([torch.randperm(self.n_rounds, generator=g) for g in orders])
        tables = {
            "rows": rows,
            "context": take(self.context, rows),
            "q_logged": self.q_logged if self.q_logged is None else self.q_logged.gather(1, rows),
            **{
                name: None if column is None else take(column, rows)
                for name, column in self.batch._asdict().items()
            },
        }
        for start in range(0, self.n_rounds, self.batch_size):
            part = {
                name: None if table is None else table[:, start : start + self.batch_size]
                for name, table in tables.items()
            }
            batch = Batch(*(part[name] for name in Batch._fields))
            q_hat = self.q_hat and partial(self.q_hat, part["rows"])
            yield part["context"], batch, q_hat, part["q_logged"]

    def _predict(self, fits: Sequence[_Fit]) -> None:
        """Fit the reward models, and set `q_hat`, from rows and items to predictions (K, B, m)."""
        of_fits = _reward_models(fits)
        models = list({id(model): model for model in of_fits}.values())
        which = torch.tensor([[models.index(model)] for model in of_fits])
        actions = self.batch.action.expand(len(fits), -1)
        n_actions = fits[0].feedback.n_actions
        if len(models) * self.n_rounds * n_actions <= _MAX_STORED_Q_HAT:
            every_row = np.arange(self.n_rounds)
            stored = torch.stack([_tensor(model.predict_logged(every_row)) for model in models])

            def q_hat(rows: Tensor, items: Tensor | None) -> Tensor:
                if items is None:
                    return stored[which, rows]
                return stored[which[..., None], rows[..., None], items[:, None, :]]

            self.q_logged = stored[which, torch.arange(self.n_rounds), actions]
        else:

            def q_hat(rows: Tensor, items: Tensor | None) -> Tensor:
                if items is None:
                    items = torch.arange(n_actions)[None]
                pairs = zip(of_fits, rows.numpy(), items.expand(len(rows), -1).numpy(), strict=True)
                found = [_tensor(model.predict_logged(*pair)) for model, *pair in pairs]
                return found[0][None] if len(found) == 1 else torch.stack(found)

            self.q_logged = torch.stack([_tensor(model.predict_shown()) for model in models])
            self.q_logged = self.q_logged[which[:, 0]]
        self.q_hat = q_hat


def _table(columns: Sequence[np.ndarray], dtype: type = np.float32) -> Tensor:
    """Stack one array a fit, or keep a single one if all are the same."""
    if all(column is columns[0] for column in columns):
        columns = columns[:1]
    return torch.from_numpy(np.array(columns, dtype=dtype))


def _initial_model(learner: OffPolicyLearner, feedback: BanditFeedback) -> TwoTower:
    if learner.model is None:
        return TwoTower.mlp(
            feedback.dim_context,
            feedback.dim_action_context,
            hidden=tuple(learner.hidden),
            dim_embedding=learner.dim_embedding,
            random_state=int(learner.random_state),
        )
    model = copy.deepcopy(learner.model)
    try:
        TwoTowerPolicy(model).scores(feedback.context[:1], feedback.action_context[:1])
    except RuntimeError as error:
        raise ValueError(
            f"model does not take this log: {feedback.dim_context} context features and "
            f"{feedback.dim_action_context} item features as float32, to embeddings of one "
            f"size. PyTorch says: {error}"
        ) from error
    return model


def _reward_models(fits: Sequence[_Fit]) -> list[CrossFittedRewardModel]:
    """Each fit's q̂: fitted side by side, or as it was given if it is cross-fitted already."""
    to_fit = []
    for fit in fits:
        given = fit.learner.reward_model
        if not isinstance(given, CrossFittedRewardModel):
            to_fit.append(
                (fit, fit.learner.default_reward_model(fit.feedback) if given is None else given)
            )
        elif not given.is_for(fit.feedback):
            raise ValueError(
                f"reward_model was cross-fitted on another log, of {given.feedback.n_rounds:,} "
                "rounds. Pass one that opl.cross_fit made of this very log, or an unfitted one."
            )
        else:
            fit.learner.reward_model_ = given
    with told_of_scale():
        fitted = cross_fit_many(
            [model for _, model in to_fit],
            [fit.feedback for fit, _ in to_fit],
            [fit.learner.n_folds for fit, _ in to_fit],
            [int(fit.learner.random_state) for fit, _ in to_fit],
        )
    for (fit, _), model in zip(to_fit, fitted, strict=True):
        fit.learner.reward_model_ = model
    return [fit.learner.reward_model_ for fit in fits]


def _softmax(learner: OffPolicyLearner, objective: Objective, n_actions: int) -> str:
    """Choose from the sizes how a step sees the items."""
    softmax = learner.softmax
    if objective.is_regression:
        return "logged"
    if softmax in ("streamed", "sampled") and not objective.collapses:
        raise ValueError(
            f"softmax={softmax!r} shows an objective fewer columns than items: if yours allows "
            "that, say so with opl.Objective(…, collapses=True), else use softmax='exact'."
        )
    if softmax == "auto":
        few = learner.batch_size * n_actions <= _MAX_LOGITS or not objective.collapses
        return "exact" if few else "streamed"
    if softmax == "sampled" and learner.n_sampled >= n_actions:
        return "exact"  # a sample of that size costs more and says less
    return softmax


def _progress_bar(fits: Sequence[_Fit]) -> tqdm:
    learner = fits[0].learner
    name = f"fit {learner.objective}" if isinstance(learner.objective, str) else "fit"
    return tqdm(
        total=learner.epochs * math.ceil(fits[0].feedback.n_rounds / learner.batch_size),
        desc=name if len(fits) == 1 else f"{name}, {len(fits)} models",
        unit="batch",
        disable=None if learner.progress is None else not learner.progress,
        delay=0 if learner.progress else 1,
    )


def _what_failed(values: Tensor, epoch: int) -> str:
    bad = (~values.isfinite()).nonzero()[:, 0]
    batch = int(bad[0]) if len(bad) else len(values) - 1
    return (
        f"the objective or the weights stopped being finite in epoch {epoch}, batch {batch + 1} "
        f"(objective {float(values[batch])}). Lower the learning rate, standardise the features, "
        "or look for tiny pscores with feedback.support_report(). policy_ holds the weights from "
        f"before epoch {epoch}."
    )


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(array, np.float32, "W"))
