"""Logs that judge what was learned from another: of the same items, and of other rounds."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from ..checks import warn_user
from ..logs.feedback import BanditFeedback
from ..logs.joining import check_same_columns
from ..logs.on_disk import LogOnDisk

_MANY = 0.5  # parts of one log share none, but for rounds that nothing tells apart
_MOST_COLUMNS = 16  # of contexts are compared


def check_alike(logs: Mapping[str, BanditFeedback]) -> None:
    """Raise unless logs have the same items, and contexts of the same features."""
    (first, log), *others = logs.items()
    for name, other in others:
        check_same_columns(other, name, log, first)
        for columns in ("dim_context", "n_actions", "dim_action_context"):
            ours, theirs = getattr(log, columns), getattr(other, columns)
            if ours != theirs:
                raise ValueError(
                    f"{name} has {columns} = {theirs} but {first} has {ours}: both need the same "
                    "context features, and the action_context of all items."
                )
        if not np.array_equal(log.action_context, other.action_context):
            raise ValueError(
                f"{name} has another action_context than {first}: encode the items of all logs "
                "together, in one order."
            )


def warn_of_shared_rounds(logs: Mapping[str, BanditFeedback]) -> None:
    """Warn if of logs to learn from and to judge by, two have most of their rounds in common."""
    for (first, log), (second, other) in combinations(logs.items(), 2):
        share = shared_rounds(log, other)
        if share > _MANY:
            warn_user(
                f"{first} and {second} have {share:.0%} of their rounds in common: what is learned "
                "or chosen on one looks better on the other than it is. Pass logs without a common "
                "round, as feedback.split(0.3) makes them."
            )


def shared_rounds(log: BanditFeedback, other: BanditFeedback) -> float:
    """The share of the shorter log's rounds that are in the other; 0 if too many look alike.

    Rounds are compared by contexts, actions, rewards and propensities, those on disk as a whole.
    """
    if log is other:
        return 1.0
    if isinstance(log, LogOnDisk) or isinstance(other, LogOnDisk):
        marks = (getattr(each, "checksum", None) for each in (log, other))
        return float(len(set(marks)) == 1)
    shorter, longer = sorted((_marks(log), _marks(other)), key=len)
    if not len(shorter) or not len(longer):
        return 0.0
    return float(np.isin(shorter, longer).mean())


def _marks(log: BanditFeedback) -> np.ndarray:
    """A number for each round that no other of its log has; none if most rounds look alike."""
    import pandas as pd

    columns = np.linspace(0, log.dim_context - 1, min(log.dim_context, _MOST_COLUMNS)).astype(int)
    rounds = pd.DataFrame(log.context[:, columns]).assign(
        action=log.action, reward=log.reward, pscore=log.pscore
    )
    marks, times = np.unique(
        pd.util.hash_pandas_object(rounds, index=False).to_numpy(), return_counts=True
    )
    single = marks[times == 1]
    return single if 2 * len(single) > log.n_rounds else single[:0]
