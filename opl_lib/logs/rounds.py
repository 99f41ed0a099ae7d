"""The rounds of a log: checked when they are made, indexed, joined."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any, Self

import numpy as np

from ..arrays import (
    feature_matrix,
    integers,
    numbers,
    read_only,
    round_down_to_one,
    row_numbers,
)
from ..checks import plain_arithmetic
from .columns import Columns, check_columns
from .eligible import Eligible, as_eligible
from .identity import labels, times
from .joining import check_logs, join
from .units import Units
from .values import check_on_offer, check_values, checked_ids


def _contexts(name: str, values: Any) -> np.ndarray:
    context = feature_matrix(name, values)
    if len(context) == 0:
        raise ValueError(f"the log is empty: {name} has 0 rows. Check the filter that made it.")
    return context


def _probabilities(name: str, values: Any) -> np.ndarray:
    p = numbers(name, values, ndim=1, check_finite=False)
    p = p.astype(np.promote_types(p.dtype, np.float32), copy=False)  # sums of halves overflow
    return round_down_to_one(p)


_COLUMNS: dict[str, Callable[[str, Any], np.ndarray]] = {
    "context": _contexts,
    "action": integers,
    "reward": partial(numbers, ndim=1),
    "pscore": _probabilities,
    "position": integers,
    "user_id": labels,
    "timestamp": times,
    "cluster_pscore": _probabilities,
}
OPTIONAL = ("position", "user_id", "timestamp", "cluster_pscore")


SURE = 1 - 1e-6  # a pscore above it is 1, to the rounding of single precision


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
    eligible: Eligible | None = None
    columns: Columns | None = None
    item_ids: np.ndarray | None = None

    @plain_arithmetic
    def __post_init__(self) -> None:
        set_column = partial(object.__setattr__, self)  # the dataclass is frozen
        items = feature_matrix("action_context", self.action_context)
        set_column("action_context", read_only(items))
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
        check_values(self)
        check_columns(self.columns, (self.dim_context, self.dim_action_context))
        if self.item_ids is not None:
            set_column("item_ids", read_only(checked_ids(self.item_ids, self.n_actions)))
        if self.eligible is not None:
            set_column("eligible", as_eligible(self.eligible, self.n_rounds, self.n_actions))
            check_on_offer(self.action, self.eligible)

    def _check_lengths(self) -> None:
        n_rounds = len(self.context)
        for name in _COLUMNS:
            column = getattr(self, name)
            if column is not None and len(column) != n_rounds:
                raise ValueError(
                    f"{name} has {len(column)} rows but context has {n_rounds}: "
                    "every column needs one entry per round."
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

    @property
    def is_deterministic(self) -> bool:
        """Whether every pscore is 1, to rounding, as where a rule chooses what is shown."""
        return bool((self.pscore > SURE).all())

    @cached_property
    def units(self) -> Units:
        """What is independent of what: the rounds, or the users where some come back."""
        return Units.of(self.user_id, self.n_rounds)

    def __len__(self) -> int:
        return self.n_rounds

    def chunks(self, name: str) -> Iterator[np.ndarray]:
        """A column in parts, one after the other; of a log in memory, in one.

        Parameters
        ----------
        name : str
            ``"reward"``, say.

        Yields
        ------
        array of shape (m, …)

        Raises
        ------
        ValueError
            If the log has no such column.
        """
        column = getattr(self, name) if isinstance(name, str) and name in _COLUMNS else None
        if column is None:
            raise ValueError(f"name must be that of a column of this log; got {name!r}.")
        yield column

    def __getitem__(self, rows: Any) -> Self:
        """Return the log of some rounds: a slice, row numbers or a boolean mask."""
        rows = row_numbers(rows, self.n_rounds)
        columns = {name: getattr(self, name) for name in _COLUMNS}
        chosen: dict[str, Any] = {
            name: None if column is None else column[rows] for name, column in columns.items()
        }
        if self.eligible is not None:
            chosen["eligible"] = self.eligible[rows]
        return type(self)(**chosen, **self._of_all_rounds())

    def _of_all_rounds(self) -> dict[str, Any]:
        names = "action_context", "columns", "item_ids"
        return {name: getattr(self, name) for name in names}

    def __iter__(self) -> Iterator[Self]:
        """The rounds, each a log of one."""
        return (self[row] for row in range(self.n_rounds))

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy and an unpickled log are made and checked like any other."""
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    def to_obp(self) -> dict[str, Any]:
        """Return the dictionary that ``obp.ope.OffPolicyEvaluation`` takes."""
        sizes = ("n_rounds", "n_actions")
        arrays = ("context", "action_context", "action", "position", "reward", "pscore")
        mask = {} if self.eligible is None else {"eligible": self.eligible.mask()}
        return {name: getattr(self, name) for name in (*sizes, *arrays)} | mask

    @classmethod
    def concatenate(cls, logs: Iterable[Self]) -> Self:
        """Join logs over the same items, each with the pscore of its own logging policy.

        Parameters
        ----------
        logs : sequence of BanditFeedback
            At least one; all with equal `action_context` and the same optional columns, of types
            that can be joined without changing a value.

        Returns
        -------
        BanditFeedback
        """
        logs = check_logs(logs, cls)
        columns = {name: [getattr(log, name) for log in logs] for name in _COLUMNS}
        joined: Any = {name: join(name, column) for name, column in columns.items()}
        joined["eligible"] = join("eligible", [log.eligible for log in logs])
        return cls(**joined, **logs[0]._of_all_rounds())
