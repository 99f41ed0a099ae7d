"""Fits side by side: each made ready, given its reward model, and trained."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..checks import warn_of_scale, warn_user
from ..logs.feedback import BanditFeedback, check_feedback
from ..logs.on_disk import LogOnDisk
from ..objectives import Objective, Regression, get_objective
from .checkpoints import Checkpoint, Engine
from .cross_fitting import CrossFittedRewardModel, cross_fit_many
from .fingerprint import fingerprint, fingerprints
from .fit import Callback, Fit, NonFiniteLossError, new_policy
from .group import Group
from .loop import train
from .moments import reward_moments
from .regressor import REWARD_MODELS, TwoTowerRegressor, raise_if_failed
from .rest import start_rest
from .streamed import StreamedFit, new_fit

# A mean reward of more standard deviations leaves single precision too few digits.
_MAX_OFFSET = 1_000


def fit_side_by_side(
    learners: Sequence[Any],
    feedbacks: Sequence[BanditFeedback],
    callbacks: Sequence[Callback | None],
    names: Sequence[str] | None = None,
    engine: Engine | None = None,
) -> None:
    """What `fit` and `fit_many` do; the learners are `OffPolicyLearner` or `TwoTowerRegressor`.

    An engine is that of a single learner.
    """
    engine = engine or Engine()
    called: Sequence[str | None] = [None] * len(learners) if names is None else names
    for learner, name in zip(learners, called, strict=True):
        with named(name):
            learner.forget()
    fits = []
    for learner, log, callback, name in zip(learners, feedbacks, callbacks, called, strict=True):
        with named(name):
            check_feedback(log)
            if isinstance(learner, TwoTowerRegressor):
                fits.append(learner.start(log, callback))
            else:
                fits.append(_start(learner, log, callback, engine))
    warn_of_scale(feedbacks)
    _warn_of_offset([fit for fit in fits if isinstance(fit.objective, Objective)])
    _add_reward_models(learners, fits, called, engine)
    try:
        train([fit for fit in fits if fit.error is None], engine)
    finally:  # an interrupt leaves what was best so far
        for fit in fits:
            if fit.finish is not None:
                fit.finish()
    raise_if_failed(fits, names)


def fit_one(
    learner: Any,
    feedback: BanditFeedback,
    callback: Callback | None,
    checkpoint: str | Path | None,
    group: Group | None = None,
) -> None:
    """Fit a learner, perhaps from where it was before, perhaps with other processes."""
    kept_in = None
    if checkpoint is not None or group is not None:
        check_feedback(feedback)
        learner.check()
        about = {**fingerprints(learner), "the log": fingerprint(feedback)}
        if group is not None:
            group.check_same(about)
        if checkpoint is not None:
            kept_in = _checkpoint(checkpoint, about, group)
    engine = Engine(kept_in, group)
    fit_side_by_side([learner], [feedback], [callback], engine=engine)


def _checkpoint(path: str | Path, about: dict[str, str], group: Group | None) -> Checkpoint:
    """Of several processes, the first reads and writes."""
    if group is None:
        return Checkpoint(path, about)
    own = [Checkpoint(path, about)] if group.rank == 0 else []
    kept = group.of_first(lambda: own[0].kept)
    return own[0] if own else Checkpoint(path, about, kept)


def _start(
    learner: Any, feedback: BanditFeedback, callback: Callback | None, engine: Engine
) -> Fit:
    """Make ready to train, but for the reward model; one process reads whole columns for all."""
    if learner.objective == "auto":
        if isinstance(feedback, LogOnDisk):
            raise ValueError(
                "objective 'auto' solves a regression and judges itself on held-out rounds, for "
                "which the log has to be in memory. Fit it on feedback.sample(n_rounds), or choose "
                "an objective that reads block by block, such as 'dr' or 'regression'."
            )
        return start_rest(learner, feedback, callback)
    objective = get_objective(learner.objective)
    engine.of_first(lambda: objective.check_log(feedback))
    known: dict[str, Any] = {}
    if isinstance(feedback, LogOnDisk):
        known["moments"] = engine.of_first(lambda: reward_moments(feedback))
    policy = new_policy(learner, feedback, isinstance(objective, Regression))
    fit = new_fit(
        *(feedback, policy, objective, learner),
        callback=callback,
        catalogue=learner.catalogue,
        n_sampled=learner.n_sampled,
        **known,
    )
    _ = fit.way  # a catalogue that the objective does not allow is an error now, not after q̂
    learner.objective_, learner.policy_, learner.history_ = objective, fit.policy, fit.history
    return fit


def _warn_of_offset(fits: Sequence[Fit]) -> None:
    """Warn once of every log whose rewards single precision can hardly tell apart."""
    for fit in {id(fit.feedback): fit for fit in fits}.values():
        mean, spread = fit.reward_moments()
        if abs(mean) > _MAX_OFFSET * spread > 0:
            warn_user(
                f"reward has mean {mean:.3g} and standard deviation {spread:.3g}: towers compute "
                "in single precision, and learn badly from so small a part. Subtract a constant."
            )


def _add_reward_models(
    learners: Sequence[Any], fits: Sequence[Fit], names: Sequence[str | None], engine: Engine
) -> None:
    """Give each fit its q̂: fitted side by side, or as it was given if it is cross-fitted."""
    to_fit = []
    for learner, fit, name in zip(learners, fits, names, strict=True):
        if not isinstance(fit.objective, Objective) or "q_hat" not in fit.objective.needs:
            continue
        given = learner.reward_model
        if isinstance(fit, StreamedFit):
            with named(name):
                learner.reward_model_ = _on_a_sample(learner, fit, engine)
            continue
        if not isinstance(given, CrossFittedRewardModel):
            model = learner.default_reward_model() if given is None else given
            to_fit.append((learner, fit, model))
            continue
        with named(name):
            if not given.is_for(fit.feedback):
                raise ValueError(
                    "reward_model was cross-fitted on another log, of "
                    f"{given.feedback.n_rounds:,} rounds. Pass one that opl.cross_fit made of this "
                    "very log, or an unfitted one."
                )
        learner.reward_model_ = fit.q_hat = given
    try:
        _cross_fit(to_fit, engine)
    except NonFiniteLossError:  # of some; the others go on
        for each in to_fit:
            try:
                _cross_fit([each], engine)
            except NonFiniteLossError as error:
                what, _, _ = str(error).partition(" policy_ holds")
                each[1].error = f"the reward model failed: {what} policy_ is not trained."


def _on_a_sample(learner: Any, fit: StreamedFit, engine: Engine) -> Any:
    """A reward model of some blocks of a log on disk, from which the policy does not learn."""
    given = learner.reward_model
    if isinstance(given, CrossFittedRewardModel):
        raise ValueError(
            "reward_model was cross-fitted on a log in memory. For a log on disk pass one that is "
            "not fitted, or opl.FittedRewardModel(model) of other rounds."
        )
    model = learner.default_reward_model() if given is None else copy.deepcopy(given)
    sample = fit.needs_sample(model)
    if sample is None:
        return model
    fitted = _fitted_or_kept([model], [sample], [1], [0], engine)[0]
    (fit.q_model,) = fitted.models
    return fitted


def _cross_fit(to_fit: Sequence[tuple[Any, Fit, Any]], engine: Engine) -> None:
    if not to_fit:
        return
    fitted = _fitted_or_kept(
        [model for _, _, model in to_fit],
        [fit.feedback for _, fit, _ in to_fit],
        [int(learner.n_folds) for learner, _, _ in to_fit],
        [int(learner.random_state) for learner, _, _ in to_fit],
        engine,
    )
    for (learner, fit, _), q_hat in zip(to_fit, fitted, strict=True):
        learner.reward_model_ = fit.q_hat = q_hat


def _fitted_or_kept(
    models: Sequence[Any],
    logs: Sequence[BanditFeedback],
    n_folds: Sequence[int],
    seeds: Sequence[int],
    engine: Engine,
) -> list[CrossFittedRewardModel]:
    """`cross_fit_many`, or what it made before."""
    kept = engine.kept("q_hat")
    if kept is None:
        fitted = cross_fit_many(models, logs, n_folds, seeds, engine)
        engine.keep("q_hat", lambda: [each.models for each in fitted], True, REWARD_MODELS)
        return fitted
    folds = [log.units.folds(n, s) for log, n, s in zip(logs, n_folds, seeds, strict=True)]
    return [CrossFittedRewardModel(*each) for each in zip(logs, folds, kept, strict=True)]


@contextmanager
def named(name: str | None) -> Iterator[None]:
    """Say in an error which learner it came from."""
    try:
        yield
    except Exception as error:
        if name is not None:
            error.add_note(f"This came from {name}.")
        raise
