"""Many fits at once, those that are alike side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..checks import plain_arithmetic
from ..logs.feedback import BanditFeedback, check_feedback
from .fit import Callback, check_callback
from .learner import OffPolicyLearner
from .regressor import TwoTowerRegressor
from .together import fit_side_by_side, named


@plain_arithmetic
def fit_many(
    learners: Iterable[Any],
    feedbacks: BanditFeedback | Iterable[BanditFeedback],
    callbacks: Callback | Iterable[Callback | None] | None = None,
    names: Sequence[str] | None = None,
) -> list[Any]:
    """Fit many learners, those that are alike side by side.

    Each gets what its own ``fit`` would give it, to rounding. Learners of this library with the
    same objective, towers, batch size, epochs and sizes of the log are trained as one stack of
    models, which for small networks takes a fraction of the time; seeds, logs, learning rates,
    weight decays and temperatures may differ within a stack. Any mixture is allowed: it is sorted
    into stacks, and what has a ``fit`` of its own is fitted by that.

    Parameters
    ----------
    learners : iterable of learners
        `OffPolicyLearner`, `TwoTowerRegressor`, or anything with ``fit(feedback)``; all different
        objects. They are fitted in place.
    feedbacks : BanditFeedback or iterable of BanditFeedback
        One log for all, or one a learner.
    callbacks : callable, or iterable of callables or None, optional
        As in `OffPolicyLearner.fit`; one for all, or one a learner.
    names : sequence of str, optional
        What an error calls the learner that it came from.

    Returns
    -------
    list of learners
        The learners, fitted.

    Raises
    ------
    ValueError
        If the numbers of learners, logs and callbacks differ, or a learner comes twice.
    TypeError
        If there is no learner, log or callback where one should be; nothing is fitted then.
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
    columns: tuple[list[Any], ...] = listed(learners, feedbacks, callbacks, names)
    learners, logs, of_each, names = columns
    n = len(learners)
    ours = [number for number in range(n) if _has_our_fit(learners[number])]
    own: list[Any] = [[column[number] for number in ours] for column in columns]
    fit_side_by_side(own[0], own[1], own[2], own[3])
    for number in sorted(set(range(n)) - set(ours)):
        callback = {} if of_each[number] is None else {"callback": of_each[number]}
        with named(names[number]):
            learners[number].fit(logs[number], **callback)
    return learners


def _has_our_fit(learner: Any) -> bool:
    """Whether the library fits it; a subclass may have a fit of its own."""
    return getattr(type(learner), "fit", None) in (OffPolicyLearner.fit, TwoTowerRegressor.fit)


def listed(
    learners: Any, feedbacks: Any, callbacks: Any, names: Any
) -> tuple[list[Any], list[Any], list[Any], list[str]]:
    """What `fit_many` was given, one of each a learner; raise if it cannot be meant."""
    learners = _list("learners", "learners", learners)
    n = len(learners)
    one_log = isinstance(feedbacks, BanditFeedback)
    logs = [feedbacks] * n if one_log else _list("feedbacks", "logs, or one log,", feedbacks)
    one = callbacks is None or callable(callbacks)
    of_each = [callbacks] * n if one else _list("callbacks", "functions", callbacks)
    called = [f"learner {k}" for k in range(n)] if names is None else _list("names", "str", names)
    if not n == len(logs) == len(of_each) == len(called):
        raise ValueError(
            f"fit_many needs one log, one callback and one name a learner; got {n} learners, "
            f"{len(logs)} logs, {len(of_each)} callbacks and {len(called)} names."
        )
    if len({id(learner) for learner in learners}) < n:
        raise ValueError("a learner comes twice: make one for each fit, as with copy.copy.")
    for learner, log, callback, name in zip(learners, logs, of_each, called, strict=True):
        if not isinstance(name, str):
            raise TypeError(f"names must be a sequence of str; got {name!r} among them.")
        with named(name):
            _check_learner(learner)
            check_feedback(log)
            check_callback(callback)
    return learners, logs, of_each, called


def _list(name: str, what: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes | dict) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence of {what}; got {type(values).__name__}.")
    return list(values)


def _check_learner(learner: Any) -> None:
    if isinstance(learner, type):
        raise TypeError(f"learners: {learner.__name__} is a class; make an object of it first.")
    if not callable(getattr(learner, "fit", None)):
        raise TypeError(f"learners: {type(learner).__name__} has no method fit(feedback).")
