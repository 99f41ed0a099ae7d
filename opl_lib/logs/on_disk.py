"""A log that is larger than memory: on disk, read block by block."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import read_only
from ..checks import check_flag, check_number, check_seed
from ..files import as_path
from .disk_format import SHARD, ColumnFile, check_column, read_header, read_table
from .eligible import Eligible
from .feedback import BanditFeedback
from .known_columns import from_text
from .report import LogReport
from .report_on_disk import report_on_disk

_N_PLACES = 16


class LogOnDisk(BanditFeedback):
    """A log whose columns stay on disk; `open_log` makes one.

    It is a `BanditFeedback`, and does what one does: but for training on it, which reads block by
    block, what looks at a whole column brings that column into memory. A part, ``log[:1000]``, is a
    log in memory.

    Parameters
    ----------
    columns, by_name : as of `BanditFeedback`
        Called with columns, as by `dataclasses.replace`, it makes a log in memory.

    Attributes
    ----------
    path : Path
        The folder.
    context, action, reward, pscore, action_context : arrays
        As of `BanditFeedback`; mapped from files.
    position, user_id, timestamp, cluster_pscore : arrays or None
    eligible : Eligible or None
    columns : Columns or None
    item_ids : array or None
    checksum : str
        Of the header, which holds those of all shards: equal for equal logs.
    """

    path: Path
    checksum: str
    _files: dict[str, ColumnFile]

    def __new__(cls, *columns: Any, **by_name: Any) -> Any:
        """Of columns, as of `dataclasses.replace`: a log in memory, checked like any other."""
        return BanditFeedback(*columns, **by_name)

    def __repr__(self) -> str:
        size = sum(file.width for file in self._files.values())
        return (
            f"LogOnDisk({self.n_rounds:,} rounds of {size:,} bytes, {self.n_actions:,} items, "
            f"{self.dim_context} context features, {self.dim_action_context} item features)"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return open_log, (self.path, False)

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Some rounds of a column, as a new array.

        Parameters
        ----------
        name : str
            ``"context"``, ``"action"``, …; ``"eligible"`` for the number of each round's set.
        start, stop : int
            From 0; before `stop`.

        Returns
        -------
        array of shape (stop − start, …)

        Raises
        ------
        ValueError
            If there is no such column, or there are no such rounds.
        """
        if not isinstance(name, str) or name not in self._files:
            raise ValueError(f"name must be one of {sorted(self._files)}; got {name!r}.")
        check_number("start", start, Integral, least=0, most=self.n_rounds)
        check_number("stop", stop, Integral, least=start, most=self.n_rounds)
        return self._files[name].read(start, stop)

    def chunks(self, name: str) -> Iterator[np.ndarray]:
        """A column, shard after shard: `BanditFeedback.chunks` from disk.

        Parameters
        ----------
        name : str

        Yields
        ------
        array of shape (m, …)
        """
        for start in range(0, self.n_rounds, SHARD):
            yield self.read(name, start, min(start + SHARD, self.n_rounds))

    def sample(self, n_rounds: int, random_state: int = 0) -> BanditFeedback:
        """A log in memory, of rounds from several random places of this one.

        For what needs a log in memory: the default learner, `learn`, `select`.

        Parameters
        ----------
        n_rounds : int
            How many; all if there are no more.
        random_state : int

        Returns
        -------
        BanditFeedback
            Runs of consecutive rounds, in their order.

        Raises
        ------
        ValueError
            If a number is out of range.
        """
        check_number("n_rounds", n_rounds, Integral, least=1)
        check_seed(random_state)
        if n_rounds >= self.n_rounds:
            return self[:]
        size = -(-n_rounds // _N_PLACES)
        starts = np.arange(0, self.n_rounds, size)
        drawn = np.random.default_rng(random_state).permutation(starts)[: -(-n_rounds // size)]
        starts = np.sort(drawn)
        return in_memory(self, starts, np.minimum(starts + size, self.n_rounds))[:n_rounds]

    def report(self) -> LogReport:
        """Say what this log holds: `BanditFeedback.report`, from one pass over its blocks.

        Returns
        -------
        LogReport
            Of up to 262,144 rounds, that of the log in memory. Of more, what adds up over rounds
            is exact: numbers of rounds and items, sets on offer, means and extremes of rewards,
            propensities and weights; times, where the log is in their order. Lines that compare
            users or slots, or put the rounds in an order, end in ``≈ of … rounds``: they are of a
            sample, of all rounds of users drawn by a hash of their id, or of rounds where no user
            is known; and ``≈ error of … rounds`` where the standard error alone is.

        Raises
        ------
        ValueError
            If a value is out of range, as after a disk has changed it; the message names the row of
            a block, and a note the block.
        """

        def block(start: int, stop: int) -> dict[str, np.ndarray]:
            return {name: file.read(start, stop) for name, file in self._files.items()}

        return report_on_disk(self, block, SHARD)


def in_memory(log: LogOnDisk, starts: np.ndarray, ends: np.ndarray) -> BanditFeedback:
    """Some runs of rounds, read past the mapped files: pages of these would stay in memory."""
    runs = list(zip(starts.tolist(), ends.tolist(), strict=True))
    parts: dict[str, Any] = {
        name: np.concatenate([file.read(*run) for run in runs]) for name, file in log._files.items()
    }
    if log.eligible is not None:
        parts["eligible"] = Eligible(log.eligible.sets, parts["eligible"])
    return BanditFeedback(**parts, **log._of_all_rounds())


def open_log(path: str | Path, check: bool = True) -> LogOnDisk:
    """Open a log that `write_log` wrote.

    Parameters
    ----------
    path : str or Path
        The folder.
    check : bool
        Compare every shard with its checksum, which reads the whole log once. Sizes are always
        compared, so that a truncated file is found either way.

    Returns
    -------
    LogOnDisk

    Raises
    ------
    FileNotFoundError
        If there is no log.
    ValueError
        If a file is truncated or damaged; the message names it and the shard.

    Examples
    --------
    >>> import tempfile
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=4, dim_context=3, dim_action_context=2, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     opl.write_log(f"{folder}/log", (world.sample(500, random_state=k) for k in range(3)))
    ...     log = opl.open_log(f"{folder}/log")
    ...     policy = opl.OffPolicyLearner("ips", epochs=1, hidden=(10,)).fit(log).policy_
    LogOnDisk(1,500 rounds of 48 bytes, 4 items, 3 context features, 2 item features)
    """
    folder = as_path("path", path, of_folder=True).absolute()
    check_flag("check", check)
    header = read_header(folder)
    files = {}
    for name, about in header["columns"].items():
        files[name] = ColumnFile(
            folder / f"{name}.bin", np.dtype(about["dtype"]), tuple(about["shape"])
        )
        check_column(files[name], about, header["n_rounds"], bool(check))
    tables = {
        name: read_only(read_table(folder / f"{name}.npy", crc))
        for name, crc in header["tables"].items()
    }
    log = object.__new__(LogOnDisk)
    parts: dict[str, Any] = {name: file.mapped() for name, file in files.items()}
    if "eligible" in parts:
        sets = np.unpackbits(tables.pop("sets"), axis=1, count=len(tables["action_context"]))
        parts["eligible"] = _eligible(sets.astype(bool), parts["eligible"])
    features = header["features"]
    columns = None if features is None else from_text(features)
    about_log = {"path": folder, "checksum": header["sha256"], "_files": files}
    for name, value in {**parts, **tables, "columns": columns, **about_log}.items():
        object.__setattr__(log, name, value)
    return log


def _eligible(sets: np.ndarray, number: np.ndarray) -> Eligible:
    """The sets of a log that was checked when it was written."""
    eligible = object.__new__(Eligible)
    object.__setattr__(eligible, "sets", read_only(sets))
    object.__setattr__(eligible, "number", number)
    return eligible
