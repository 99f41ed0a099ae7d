"""The rounds of a log: checked when they are made, cut into parts, joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import numpy as np

from ..arrays import (
    check_rows,
    feature_matrix,
    integers,
    labels,
    numbers,
    read_only,
    round_down_to_one,
)
from .units import Units


def _probabilities(name: str, values: Any) -> np.ndarray:
    return round_down_to_one(numbers(name, values, ndim=1, check_finite=False))


_COLUMNS: dict[str, Callable[[str, Any], np.ndarray]] = {
    "context": feature_matrix,
    "action": integers,
    "reward": partial(numbers, ndim=1),
    "pscore": _probabilities,
    "position": integers,
    "user_id": labels,
    "timestamp": labels,
    "cluster_pscore": _probabilities,
}
OPTIONAL = ("position", "user_id", "timestamp", "cluster_pscore")
_NO_PROBABILITY = (
    "A logging policy that can never show the logged item cannot be reweighted (was epsilon = 0?); "
    "above 1 is no probability (a weight, or another column?)."
)


@dataclass(frozen=True, eq=False, repr=False)
class Rounds:
    """The columns of a log; `BanditFeedback` says what they are."""

    context: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    pscore: np.ndarray
    action_context: np.ndarray
    position: np.ndarray | None = None
    user_id: np.ndarray | None = None
    timestamp: np.ndarray | None = None
    cluster_pscore: np.ndarray | None = None

    def __post_init__(self) -> None:
        set_column = partial(object.__setattr__, self)  # the dataclass is frozen
        set_column(
            "action_context", read_only(feature_matrix("action_context", self.action_context))
        )
        if self.n_actions < 2:
            raise ValueError(
                f"action_context has {self.n_actions} row: with one item there is nothing to "
                "choose. Pass the features of every item that could have been shown."
            )
        for name, check in _COLUMNS.items():
            if name in OPTIONAL and getattr(self, name) is None:
                continue
            set_column(name, read_only(check(name, getattr(self, name))))
        self._check_lengths()
        self._check_values()

    def _check_lengths(self) -> None:
        n_rounds = len(self.context)
        if n_rounds == 0:
            raise ValueError("the log is empty: context has 0 rows. Check the filter that made it.")
        for name in _COLUMNS:
            column = getattr(self, name)
            if column is not None and len(column) != n_rounds:
                raise ValueError(
                    f"{name} has {len(column)} rows but context has {n_rounds}: "
                    "every column needs one entry per round."
                )

    def _check_values(self) -> None:
        check_rows(
            "action",
            self.action,
            (self.action >= 0) & (self.action < self.n_actions),
            f"in [0, {self.n_actions - 1}], a row number of action_context",
            "Renumber the items, or pass the features of all of them.",
        )
        for name, p in (("pscore", self.pscore), ("cluster_pscore", self.cluster_pscore)):
            if p is not None:
                check_rows(name, p, (p > 0) & (p <= 1), "in (0, 1]", _NO_PROBABILITY)
        if self.cluster_pscore is not None:
            check_rows(
                "cluster_pscore",
                self.cluster_pscore,
                self.cluster_pscore >= self.pscore * (1 - 1e-6),
                "at least pscore, for the cluster holds the item",
                "Sum the logging policy's probabilities over the cluster, or raise an estimate "
                "with np.maximum(cluster_pscore, pscore).",
            )
        if self.position is not None:
            check_rows(
                "position",
                self.position,
                self.position >= 0,
                "0 or more",
                "Positions count from 0; leave position out if the log has no slots.",
            )

    @property
    def n_rounds(self) -> int:
        """Number of logged rounds."""
        return len(self.action)

    @property
    def n_actions(self) -> int:
        """Number of items that can be shown."""
        return len(self.action_context)

    @property
    def dim_context(self) -> int:
        """Number of context features."""
        return self.context.shape[1]

    @property
    def dim_action_context(self) -> int:
        """Number of item features."""
        return self.action_context.shape[1]

    @cached_property
    def units(self) -> Units:
        """What is independent of what: the rounds, or the users where some come back."""
        return Units.of(self.user_id, self.n_rounds)

    def __len__(self) -> int:
        return self.n_rounds

    def __getitem__(self, rows: Any) -> Self:
        """Return the log of some rounds: a slice, row numbers or a boolean mask."""
        rows = np.atleast_1d(np.arange(self.n_rounds)[rows])
        columns = {name: getattr(self, name) for name in _COLUMNS}
        chosen: dict[str, Any] = {
            name: None if column is None else column[rows] for name, column in columns.items()
        }
        return type(self)(**chosen, action_context=self.action_context)

    def split(self, test_fraction: float = 0.3, random_state: int = 0) -> tuple[Self, Self]:
        """Split at random; a user who came back is on one side with all rounds.

        Parameters
        ----------
        test_fraction : float in (0, 1)
            Share of the rounds, or of the users if some came back, that goes to the second log.
        random_state : int
            Fixes the draw.

        Returns
        -------
        first, second : BanditFeedback
        """
        n_test = _n_test(test_fraction, len(self.units), self.units.name + "s")
        in_test = self.units.draw(n_test, random_state)
        return self[~in_test], self[in_test]

    def split_by_time(self, test_fraction: float = 0.3) -> tuple[Self, Self]:
        """Split so that every round of the second log is later than every round of the first.

        Parameters
        ----------
        test_fraction : float in (0, 1)
            Share of the rounds that goes to the second log; rounds with equal timestamps stay
            together, so the share is met as nearly as they allow.

        Returns
        -------
        first, second : BanditFeedback

        Raises
        ------
        ValueError
            If the log has no timestamps, or all are equal.
        """
        if self.timestamp is None:
            raise ValueError("split_by_time needs timestamps; this log has none. Pass timestamp=…")
        n_test = _n_test(test_fraction, self.n_rounds, "rounds")
        times, first = np.unique(np.sort(self.timestamp), return_index=True)
        if len(times) == 1:
            raise ValueError(f"all timestamps are {times[0]}: the log cannot be split by time.")
        n_later = self.n_rounds - first[1:]  # if the second log begins at each of times[1:]
        later = self.timestamp >= times[1:][np.abs(n_later - n_test).argmin()]
        return self[~later], self[later]

    @classmethod
    def concatenate(cls, logs: Sequence[Self]) -> Self:
        """Join logs over the same items, each with the pscore of its own logging policy.

        Parameters
        ----------
        logs : sequence of BanditFeedback
            At least one; all with equal `action_context` and the same optional columns.

        Returns
        -------
        BanditFeedback
        """
        if not logs:
            raise ValueError("concatenate needs at least one log; got none.")
        for number, log in enumerate(logs):
            if not np.array_equal(log.action_context, logs[0].action_context):
                raise ValueError(
                    f"log {number} has other item features than log 0; encode the items of all "
                    "logs together before joining them."
                )
            if log.dim_context != logs[0].dim_context:
                raise ValueError(
                    f"log {number} has {log.dim_context} context features but log 0 has "
                    f"{logs[0].dim_context}; encode the contexts of all logs together."
                )
        joined: dict[str, Any] = {}
        for name in _COLUMNS:
            columns = [getattr(log, name) for log in logs]
            missing = [number for number, column in enumerate(columns) if column is None]
            if missing and len(missing) < len(logs):
                raise ValueError(f"log {missing[0]} has no {name} but others have; add or drop it.")
            joined[name] = None if missing else np.concatenate(columns)
        return cls(**joined, action_context=logs[0].action_context)


def _n_test(test_fraction: float, n: int, what: str) -> int:
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must be in (0, 1); got {test_fraction}.")
    n_test = round(test_fraction * n)
    if not 0 < n_test < n:
        raise ValueError(
            f"test_fraction={test_fraction} of {n} {what} leaves one side empty; "
            "take another fraction or a longer log."
        )
    return n_test
