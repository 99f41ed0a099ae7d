"""The card of a log on disk: one pass over it, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..checks import plain_arithmetic
from .eligible import Eligible
from .feedback import BanditFeedback
from .report import LogReport, report_of
from .report_facts import Facts, Line
from .report_totals import Totals

Columns = dict[str, np.ndarray]

# A sample of so many rounds at most is held in memory.
MOST_ROUNDS = 2**18
# Users who are counted as they come, to find one with a large share of all rounds.
_N_COUNTED = 64
_COUNTED_WHOLE = "rounds", "tail of rewards", "propensities", "items never logged"
_ERROR_OF_SAMPLE = "rewards", "mean weight"
_IF_IN_ORDER = "time", "items on offer"


@plain_arithmetic
def report_on_disk(
    log: BanditFeedback, read: Callable[[int, int], Columns], block: int
) -> LogReport:
    """The report of `LogOnDisk.report`; what reads some of its rounds is called block by block.

    What adds up over rounds is exact. What compares users, or orders rounds, is of a sample: all
    rounds of the users whose hash is below a limit, which falls as the sample grows; of rounds so,
    where no user is known.
    """
    totals: Totals | None = None
    sample, counts = _Sample(), _Counts()
    for start in range(0, log.n_rounds, block):
        stop = min(start + block, log.n_rounds)
        columns = read(start, stop)
        here = Totals.of(_checked(log, columns, start))
        totals = here if totals is None else totals.then(here)
        key = _keys(columns.get("user_id"), start, stop)
        if log.user_id is not None:
            counts.add(key)
        sample.add(columns, key)
    assert totals is not None
    if sample.n_rounds == log.n_rounds:
        return report_of(Facts(log[:]))
    kept = _log_of(log, sample.columns())
    factor = sample.one_in if log.user_id is not None else log.n_rounds / kept.n_rounds
    report = report_of(Facts(kept, totals, factor, counts.most))
    in_order = totals.times is None or totals.times.in_order
    lines = [_said(line, kept.n_rounds, in_order) for line in report.lines]
    return LogReport(f"{report.title}; ≈ is of a sample", lines)


def _checked(log: BanditFeedback, columns: Columns, start: int) -> BanditFeedback:
    try:
        return _log_of(log, columns)
    except (TypeError, ValueError) as error:
        error.add_note(f"In the block of {log!r} that begins with row {start:,}.")
        raise


def _log_of(log: BanditFeedback, columns: Columns) -> BanditFeedback:
    parts: dict[str, Any] = dict(columns)
    if log.eligible is not None:
        parts["eligible"] = Eligible(log.eligible.sets, parts["eligible"])
    return BanditFeedback(**parts, **log._of_all_rounds())


def _said(line: Line, n_rounds: int, in_order: bool) -> Line:
    """A line that says what of it is of a sample."""
    if line.name in _COUNTED_WHOLE or (line.name in _IF_IN_ORDER and in_order):
        return line
    of_what = "error" if line.name in _ERROR_OF_SAMPLE else ""
    return replace(
        line, text=f"{line.text}; ≈ {of_what + ' ' * bool(of_what)}of {n_rounds:,} rounds"
    )


def _keys(user_id: np.ndarray | None, start: int, stop: int) -> np.ndarray:
    """A hash of each round's user, or of its number: (n,), spread over all 64 bits."""
    from pandas.util import hash_array

    if user_id is None:
        return hash_array(np.arange(start, stop))
    users, number = np.unique(user_id, return_inverse=True)
    return hash_array(users.astype(object) if users.dtype.kind in "SU" else users)[number]


class _Sample:
    """All rounds of some units: of those whose hash is below a limit."""

    def __init__(self) -> None:
        self.n_rounds, self.one_in = 0, 1
        self._parts: list[Columns] = []
        self._left_out = np.array([], dtype=np.uint64)

    def add(self, columns: Columns, key: np.ndarray) -> None:
        self._parts.append(self._chosen({**columns, "key": key}))
        self.n_rounds = sum(len(part["key"]) for part in self._parts)
        while self.n_rounds > MOST_ROUNDS:
            self._shrink()

    def columns(self) -> Columns:
        """What is kept, in the order of the log."""
        names = self._parts[0].keys() - {"key"}
        return {name: np.concatenate([part[name] for part in self._parts]) for name in names}

    def _shrink(self) -> None:
        """Leave out a unit with a quarter of the sample, which no limit would divide; else half."""
        unit, count = np.unique(
            np.concatenate([part["key"] for part in self._parts]), return_counts=True
        )
        large = unit[count > MOST_ROUNDS // 4]
        self._left_out = np.append(self._left_out, large)
        if len(large) == 0:
            self.one_in *= 2
        self._parts = [self._chosen(part) for part in self._parts]
        self.n_rounds = sum(len(part["key"]) for part in self._parts)

    def _chosen(self, part: Columns) -> Columns:
        key = part["key"]
        chosen = (key <= np.uint64(2**64 // self.one_in - 1)) & ~np.isin(key, self._left_out)
        return {name: column[chosen] for name, column in part.items()}


class _Counts:
    """Rounds of the users with the most: at most a 64th of all too few.

    References
    ----------
    Misra and Gries, "Finding repeated elements", Science of Computer Programming 1982.
    """

    def __init__(self) -> None:
        self._key, self._count = np.array([], dtype=np.uint64), np.array([], dtype=np.int64)

    def add(self, key: np.ndarray) -> None:
        unit, count = np.unique(key, return_counts=True)
        both, place = np.unique(np.append(self._key, unit), return_inverse=True)
        total = np.zeros(len(both), dtype=np.int64)
        np.add.at(total, place, np.append(self._count, count))
        if len(both) > _N_COUNTED:
            total -= np.sort(total)[-_N_COUNTED - 1]
        self._key, self._count = both[total > 0], total[total > 0]

    @property
    def most(self) -> int:
        """Of one user, at least."""
        return int(self._count.max(initial=0))
