"""Which items could be shown in which round: the distinct sets, and the number of each round's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ..arrays import as_array, integers, read_only, row_numbers
from .catalogue import sets_of_dates

_CURE = (
    "Pass a boolean mask of shape (n_rounds, n_actions), one of opl.Eligible, or two date columns "
    "of the items' table to from_dataframe."
)


@dataclass(frozen=True, eq=False, repr=False)
class Eligible:
    """The items that could be shown in each round of a log.

    A catalogue changes less often than rounds go by. So a log keeps each set of items once, and a
    small number a round: 10 million rounds of 5,000 items and 2,000 sets take 30 MB.

    Parameters
    ----------
    sets : boolean array of shape (n_sets, n_actions)
        The sets, each of at least one item.
    number : integer array of shape (n_rounds,), in [0, n_sets)
        The set of each round.

    Raises
    ------
    ValueError
        If a set is empty, or a number is that of no set.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> eligible = opl.Eligible.of_dates(
    ...     timestamp=np.array(["2026-03-02", "2026-03-03", "2026-03-05"], dtype="M8[D]"),
    ...     start=np.array(["NaT", "NaT", "2026-03-04"], dtype="M8[D]"),
    ...     end=np.array(["2026-03-04", "NaT", "NaT"], dtype="M8[D]"),
    ... )
    >>> eligible
    Eligible(3 rounds, 3 items, 2 sets of 2 to 2 items)
    >>> eligible.mask().astype(int)
    array([[1, 1, 0],
           [1, 1, 0],
           [0, 1, 1]])
    """

    sets: np.ndarray
    number: np.ndarray

    def __post_init__(self) -> None:
        sets, number = boolean("sets", self.sets, 2), integers("number", self.number)
        if not (sets.size and number.size):
            raise ValueError(f"sets and number are empty: {sets.shape} and {number.shape}. {_CURE}")
        if not (offers := sets.any(axis=1)).all():
            raise ValueError(f"sets: row {offers.argmin()} has no item; each needs at least one.")
        if not (good := (number >= 0) & (number < len(sets))).all():
            row = int(good.argmin())
            raise ValueError(
                f"number must be in [0, {len(sets) - 1}], a row of sets; row {row} has "
                f"{number[row]}. Number the sets from 0."
            )
        self._set(read_only(sets), number)

    def _set(self, sets: np.ndarray, number: np.ndarray) -> Self:
        """Take what is known to be right: the sets as they are."""
        object.__setattr__(self, "sets", sets)  # the dataclass is frozen
        number = number.astype(np.min_scalar_type(len(sets) - 1))
        object.__setattr__(self, "number", read_only(number))
        return self

    def __repr__(self) -> str:
        size = self.sets.sum(axis=1)
        return (
            f"Eligible({len(self):,} rounds, {self.n_actions:,} items, {len(self.sets):,} sets of "
            f"{size.min():,} to {size.max():,} items)"
        )

    @classmethod
    def of_mask(cls, mask: Any) -> Self:
        """Find the distinct sets in a mask.

        Parameters
        ----------
        mask : boolean array of shape (n_rounds, n_actions)
            Whether an item could be shown in a round.

        Returns
        -------
        Eligible

        Raises
        ------
        ValueError
            If it is no such mask, or a round has no item; the message names the row.

        Examples
        --------
        >>> import opl_lib as opl
        >>> opl.Eligible.of_mask([[True, False], [True, True], [True, False]]).number
        array([0, 1, 0], dtype=uint8)
        """
        mask = boolean("eligible", mask, 2)
        if mask.size == 0:
            raise ValueError(f"eligible is empty: it has shape {mask.shape}. {_CURE}")
        if not (offers := mask.any(axis=1)).all():
            raise ValueError(
                f"eligible: row {offers.argmin()} has no item that could be shown. Drop the round, "
                "or mark what was on offer."
            )
        packed = np.packbits(mask, axis=1)
        starts = np.append(True, (packed[1:] != packed[:-1]).any(axis=1))  # of a run of equals
        rows = packed[starts].view(f"V{packed.shape[1]}").ravel()
        _, first, number = np.unique(rows, return_index=True, return_inverse=True)
        sets = mask[np.flatnonzero(starts)[first]]
        return object.__new__(cls)._set(read_only(sets), number[np.cumsum(starts) - 1])

    @classmethod
    def of_dates(cls, timestamp: Any, start: Any, end: Any) -> Self:
        """An item can be shown from its start on, and before its end.

        Parameters
        ----------
        timestamp : array of shape (n_rounds,)
            Times of the rounds: numbers or dates.
        start, end : arrays of shape (n_actions,)
            Times of the items, of the same kind; where one is missing, the item was always there,
            or still is.

        Returns
        -------
        Eligible

        Raises
        ------
        ValueError
            If an item ends before it starts, a round has no item, or times cannot be compared; the
            message names the row.

        Examples
        --------
        >>> import opl_lib as opl
        >>> opl.Eligible.of_dates([0, 1, 2], start=[0, 1], end=[2, None]).mask()
        array([[ True, False],
               [ True,  True],
               [False,  True]])
        """
        sets, number = sets_of_dates(timestamp, start, end)
        distinct = cls.of_mask(sets)
        return object.__new__(cls)._set(distinct.sets, distinct.number[number])

    @property
    def n_actions(self) -> int:
        """Number of items of the catalogue."""
        return self.sets.shape[1]

    @property
    def n_eligible(self) -> np.ndarray:
        """How many items could be shown in each round, (n_rounds,)."""
        return self.sets.sum(axis=1)[self.number]

    @property
    def n_offered(self) -> np.ndarray:
        """In how many rounds each item could be shown, (n_actions,)."""
        return np.bincount(self.number, minlength=len(self.sets)) @ self.sets

    def __len__(self) -> int:
        return len(self.number)

    def __reduce__(self) -> tuple[Any, ...]:
        """What is unpickled is checked, and nobody can write to it either."""
        return type(self), (self.sets, self.number)

    def __getitem__(self, rows: Any) -> Self:
        """Those of some rounds: a slice, row numbers or a boolean mask."""
        number = self.number[row_numbers(rows, len(self))]
        return object.__new__(type(self))._set(self.sets, number)

    def mask(self, rows: Any = slice(None)) -> np.ndarray:
        """Whether each item could be shown in some rounds, boolean (m, n_actions)."""
        return self.sets[self.number[row_numbers(rows, len(self))]]


def as_eligible(eligible: Any, n_rounds: int, n_actions: int) -> Eligible:
    """What a log is passed, one of these or a mask; raise unless it is of the log's size."""
    if not isinstance(eligible, Eligible):
        eligible = Eligible.of_mask(eligible)
    shape = (len(eligible), eligible.n_actions)
    if shape != (n_rounds, n_actions):
        raise ValueError(
            f"eligible is for {shape[0]:,} rounds and {shape[1]:,} items; the log has "
            f"{n_rounds:,} and {n_actions:,}. It needs a row a round and a column an item."
        )
    return eligible


def joined(parts: Sequence[Eligible]) -> Eligible:
    """The rounds of several, end to end."""
    distinct = Eligible.of_mask(np.concatenate([part.sets for part in parts]))
    start = np.cumsum([0, *(len(part.sets) for part in parts[:-1])])
    number = [at + part.number.astype(int) for at, part in zip(start, parts, strict=True)]
    return Eligible(distinct.sets, distinct.number[np.concatenate(number)])


def boolean(name: str, values: Any, ndim: int | None) -> np.ndarray:
    """True and False, of so many dimensions."""
    mask = as_array(name, values)
    if mask.dtype.kind != "b" and mask.size:
        raise ValueError(
            f"{name} must hold True and False; got dtype {mask.dtype}. Of 0 and 1, pass "
            f"{name}.astype(bool)."
        )
    if ndim is not None and mask.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions; got shape {mask.shape}. {_CURE}")
    return mask


def eligible_mask(eligible: Any, n_rows: int, n_actions: int) -> np.ndarray:
    """What a policy is passed, as a mask of shape (n_rows, n_actions); one row may be for all."""
    if isinstance(eligible, Eligible):
        return as_eligible(eligible, n_rows, n_actions).mask()
    mask = boolean("eligible", eligible, None)
    if mask.shape not in ((n_actions,), (n_rows, n_actions)):
        raise ValueError(
            f"eligible has shape {mask.shape}; expected (n, n_actions) = {(n_rows, n_actions)}, or "
            f"({n_actions},) for all rows alike."
        )
    mask = np.broadcast_to(mask, (n_rows, n_actions))
    if not (offers := mask.any(axis=1)).all():
        raise ValueError(
            f"eligible: row {offers.argmin()} has no item that could be shown. Mark what is on "
            "offer, or leave the row out."
        )
    return mask


def eligible_rows(eligible: Any, n_rows: int, n_actions: int) -> Callable[[slice], np.ndarray]:
    """The same by rows, so that the sets of many rows are never a mask of all."""
    if isinstance(eligible, Eligible):
        return as_eligible(eligible, n_rows, n_actions).mask
    return eligible_mask(eligible, n_rows, n_actions).__getitem__
