"""Fill an experiment's table, cell after cell; a run that was stopped goes on where it was."""

from __future__ import annotations

import math
import os
import threading
import time
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass
from errno import ENOTDIR
from numbers import Integral
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from joblib import Parallel, delayed
from tqdm import tqdm

from opl_lib import files
from opl_lib.checks import check_flag, check_number, check_seed

from .cells import Cell
from .tables import (
    MAY_BE_EMPTY,
    MAY_BE_INFINITE,
    RESULTS,
    TableError,
    columns_of,
    here,
    key,
    made_with_of,
    note_for,
    note_of,
    read_table,
    read_with_checks,
    setting_names,
    write_table,
)

_TIMED_BATCHES = 20
_SECONDS_BETWEEN_LOOKS = 0.5


class Runnable(Protocol):
    """A frozen dataclass of settings that can be run: `Cell`, `MapCell`, `BoundsCell`, …"""

    @property
    def settings(self) -> dict[str, Any]: ...

    @property
    def title(self) -> str: ...

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]: ...

    def cost(self, n_seeds: int) -> int: ...


def run(
    name: str,
    cells: Sequence[Runnable],
    seeds: Sequence[int],
    folder: str | Path = RESULTS,
    n_jobs: int = 2,
    progress: bool = True,
) -> pd.DataFrame:
    """Run the cells that no table of the folder has yet, and return the table.

    Each finished cell is added to ``folder/name.csv``, which is replaced as a whole, so that it is
    complete and valid at any moment. Its column ``made_with`` says with what each row was made, and
    ``folder/name.json`` explains it. Cells run in processes through joblib: inside
    ``joblib.parallel_config(backend=…)`` they run elsewhere. Several runs may fill one table at a
    time: none loses what another has stored, and they begin at different ends.

    Parameters
    ----------
    name : str
        Of the table.
    cells : sequence of Cell, MapCell, BoundsCell or RehearsalCell
        A frozen dataclass whose fields are the settings, with methods ``run(seeds)``, to the rows
        of the table, and ``cost(n_seeds)``, relative to other cells.
    seeds : sequence of int
    folder : str or Path
    n_jobs : int
        Processes, with one thread each. They end soon after this one, even if that is killed.
    progress : bool
        Show a bar, in the time that cells are expected to take relative to each other.

    Returns
    -------
    pandas.DataFrame
        One row a cell and seed, in the order of the cells; see `Cell.run`.

    Raises
    ------
    ValueError
        Before the first cell, if a row of the table is not as it was written, or is of no cell; and
        if a cell returns what is no finite number.
    OSError
        Before the first cell, if the folder does not take files.

    Warns
    -----
    UserWarning
        If the table has rows of another version of the library; they are kept.
    """
    table, seeds = Table(name, cells, folder), _checked(seeds)
    check_number("n_jobs", n_jobs, Integral, least=1)
    check_flag("progress", progress)
    done, made_with = table.read()
    todo = missing(cells, seeds, done)
    if todo or note_of(table.path) != note_for(done, table.kind, made_with):
        # Written even if no other table has anything: what forbids it shows before the first cell.
        done, made_with = table.add(*table.found_elsewhere(todo, set(done)))
        todo = missing(cells, seeds, done)
    _warn_of_other_versions(table.path, done, made_with)
    if not todo:
        return done
    costs = [cell.cost(len(lacking)) for cell, lacking in todo]
    with (
        _locked(table.path, "runner", wait=False) as is_first,
        tqdm(total=sum(costs), desc=name, unit_scale=True, unit="", disable=not progress) as bar,
    ):
        # The longest first; where another runner is at it, from the other end.
        order = sorted(range(len(todo)), key=costs.__getitem__, reverse=is_first)
        workers = Parallel(
            min(n_jobs, len(todo)),
            return_as="generator_unordered",
            initializer=_end_with,
            initargs=(os.getpid(),),
        )
        for number, rows, maker, versions in workers(
            delayed(_numbered)(number, *todo[number], table.path) for number in order
        ):
            done, _ = table.add(pd.DataFrame(rows).assign(made_with=maker), {maker: versions})
            bar.update(costs[number])
    if todo := missing(cells, seeds, done):
        raise TableError(
            f"{table.path}: {len(todo)} cells are missing after the run; perhaps another process "
            "has changed the table meanwhile. Run it again."
        )
    return done


class Table:
    """The table of an experiment on disk, to which several runners may add at once."""

    def __init__(self, name: str, cells: Sequence[Runnable], folder: str | Path) -> None:
        if not isinstance(name, str) or not name or Path(name).name != name or "\0" in name:
            raise ValueError(f"name must be that of a table, without a folder; got {name!r}.")
        # Workers may stand in another folder than this process.
        folder = files.as_path("folder", folder, of_folder=True).absolute()
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(ENOTDIR, "Not a folder for tables", str(folder))
        self.path, self.kind = folder / f"{name}.csv", _kind(cells)
        self._place = {key(cell.settings, self.kind): n for n, cell in enumerate(cells)}
        if len(self._place) < len(cells):
            raise ValueError("cells must differ from each other; two have the same settings.")

    def read(self) -> tuple[pd.DataFrame, dict[str, dict]]:
        """Its rows, and what they were made with; raise if one is not as it was written."""
        table = read_with_checks(self.path)
        made_with = made_with_of(self.path, table, self.kind)
        known = columns_of(self.kind)
        if len(table) and known and (odd := sorted(known ^ (set(table) - {"check"}))):
            what = f"in the columns {odd} it is not of {self.kind.__name__} as it is now"
            raise TableError.at(self.path, f"{what}: another version has written it")
        checks: dict[tuple, str] = {}
        for number, row in enumerate(table.to_dict("records"), start=1):
            if lacking := [name for name in setting_names(self.kind) if name not in row]:
                what = f"it lacks the columns {lacking} of {self.kind.__name__}"
                raise TableError.at(self.path, f"{what}: another version has written it")
            of_cell = key(row, self.kind)
            if of_cell not in self._place:
                raise TableError.at(self.path, "it is of no cell of this experiment", number)
            if checks.setdefault((of_cell, row["seed"]), row["check"]) != row["check"]:
                raise TableError.at(self.path, "its cell and seed have other rows, too", number)
        return self._in_order(table.drop(columns="check", errors="ignore")), made_with

    def add(
        self, rows: pd.DataFrame, made_with: Mapping[str, dict]
    ) -> tuple[pd.DataFrame, dict[str, dict]]:
        """Write the table with those rows that it lacks; return it, and what they were made with.

        It is read again before, since another runner may have added to it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.path, "table", wait=True):
            done, known = self.read()
            have = set(self._keys(done))
            new = rows[[each not in have for each in self._keys(rows)]]
            if len(done) and len(new) and set(done) != set(new):
                odd = sorted(set(done) ^ set(new))
                raise TableError.at(
                    self.path, f"new rows differ from its rows in the columns {odd}"
                )
            done = self._in_order(pd.concat([done, new])) if len(new) else done
            made_with = {**known, **made_with}
            write_table(self.path, done, self.kind, made_with)
        return done, made_with

    def found_elsewhere(
        self, todo: Sequence[tuple[Runnable, tuple[int, ...]]], columns: Set[str] = frozenset()
    ) -> tuple[pd.DataFrame, dict[str, dict]]:
        """Rows of missing cells in other tables of the folder, with the columns of this one.

        What cannot be read is left, as are tables of other columns, of older code.
        """
        columns = columns or columns_of(self.kind) or set()
        wanted = {(key(cell.settings, self.kind), seed) for cell, seeds in todo for seed in seeds}
        found, made_with = [], {}
        for other in sorted(set(self.path.parent.glob("*.csv")) - {self.path}):
            with suppress(OSError, TableError):
                if note_of(other).get("kind") == self.kind.__name__:
                    table = read_table(other)
                    explained = made_with_of(other, table, self.kind)
                    named = columns or {*setting_names(self.kind), *table}
                    if table.empty or set(table) != named:
                        continue
                    rows = table[[each in wanted for each in self._keys(table)]]
                    if len(rows):
                        columns = set(table)
                        wanted -= set(self._keys(rows))
                        made_with |= explained
                        found.append(rows)
        return pd.concat(found) if found else pd.DataFrame(), made_with

    def _in_order(self, table: pd.DataFrame) -> pd.DataFrame:
        """By cells, as they are given, and by seeds."""
        places = [(self._place[of_cell], seed) for of_cell, seed in self._keys(table)]
        order = sorted(range(len(table)), key=places.__getitem__)
        return table.iloc[order].reset_index(drop=True)

    def _keys(self, table: pd.DataFrame) -> list[tuple]:
        return [(key(row, self.kind), row["seed"]) for row in table.to_dict("records")]


def missing(
    cells: Sequence[Runnable], seeds: Sequence[int], done: pd.DataFrame
) -> list[tuple[Any, tuple[int, ...]]]:
    """The cells that a table lacks, each with the seeds that it lacks."""
    have = {(key(row, type(cells[0])), row["seed"]) for row in done.to_dict("records")}
    todo = []
    for cell in cells:
        of_cell = key(cell.settings, type(cell))
        lacking = tuple(seed for seed in seeds if (of_cell, seed) not in have)
        if lacking:
            todo.append((cell, lacking))
    return todo


def _warn_of_other_versions(path: Path, done: pd.DataFrame, made_with: Mapping[str, dict]) -> None:
    if done.empty:
        return
    maker, versions = here()
    by_version = done["made_with"].map(lambda name: made_with[name]["opl_lib"]).value_counts()
    others = by_version.drop(versions["opl_lib"], errors="ignore")
    if len(others):
        told = ", ".join(f"{n} by version {number}" for number, n in others.items())
        warnings.warn(
            f"{path.name} has {len(done)} rows, of which {told} of opl_lib; this is {maker}. They "
            "are kept: to make them again, delete them from the table first.",
            stacklevel=3,
        )


def expected_seconds(todo: Sequence[tuple[Runnable, tuple[int, ...]]]) -> list[float]:
    """Time a few updates of each cell; return what whole cells should take on one core.

    Without the fits of DR's reward model, which are a small part; NaN for other kinds of
    cell, of which no part stands for the whole.
    """
    per_update: dict[tuple, float] = {}
    seconds = []
    for cell, seeds in todo:
        if not isinstance(cell, Cell):
            seconds.append(math.nan)
            continue
        short = cell.shorter(1 + _TIMED_BATCHES), len(seeds)
        if short not in per_update:
            few, many = (_seconds(cell.shorter(n), seeds) for n in (1, 1 + _TIMED_BATCHES))
            # On a busy machine the short run may take longer; then all of the long one counts.
            per_update[short] = (many - few if many > few else many) / _TIMED_BATCHES
        seconds.append(per_update[short] * cell.n_epochs * cell.updates_per_epoch)
    return seconds


def _seconds(cell: Cell, seeds: tuple[int, ...]) -> float:
    with _one_thread():
        start = time.perf_counter()
        cell.run(seeds)
        return time.perf_counter() - start


def _numbered(
    number: int, cell: Runnable, seeds: tuple[int, ...], path: Path
) -> tuple[int, list[dict], str, dict]:
    """The rows of a cell, without the seeds that another runner has stored meanwhile."""
    rows = []
    for _, lacking in missing([cell], seeds, read_table(path)):
        with _one_thread():
            rows = cell.run(lacking)
        _check_rows(cell, lacking, rows)
    return number, rows, *here()


def _check_rows(cell: Runnable, seeds: tuple[int, ...], rows: list[dict[str, Any]]) -> None:
    """Raise unless a cell has made rows that a table can have."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TypeError(f"{cell!r}: run(seeds) must return a list of dicts; got {rows!r}.")
    for row in rows:
        for name, value in row.items():
            if not isinstance(name, str) or _no_value(name):
                raise ValueError(f"{cell!r}: no column can have the name {name!r}.")
            if what := _no_value(value, name):
                raise ValueError(
                    f"{cell!r}: {name} is {value!r} for seed {row.get('seed')}, and {what}. Look "
                    "at what this cell computes."
                )
    if {row.get("seed") for row in rows} != set(seeds):
        raise ValueError(f"{cell!r}: run(seeds) must return rows of the seeds {seeds}.")
    always = {*setting_names(type(cell)), "seconds", "made_with"}
    known = columns_of(type(cell)) or {*rows[0], *always} - {"check"}
    for row in rows:
        if odd := sorted(known ^ {*row, "made_with"}, key=str):
            raise ValueError(
                f"{cell!r}: the row of seed {row['seed']} lacks columns that it must have, or has "
                f"others: {odd}."
            )
        if key(row, type(cell)) != key(cell.settings, type(cell)):
            raise ValueError(f"{cell!r}: the row of seed {row['seed']} has other settings: {row}.")


def _no_value(value: Any, column: str = "") -> str:
    """Why a table cannot hold a value in a column and give it back; empty if it can."""
    if isinstance(value, str):
        odd = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value)
        return "text in a table has no control characters" if odd else ""
    if isinstance(value, bool | np.bool_):
        return ""
    if isinstance(value, int | np.integer):
        return "" if -(2**63) <= value < 2**63 else "a table holds integers of 64 bits"
    if not isinstance(value, float | np.floating):
        return "a table holds integers, floats, bools and text"
    may_be = (column == MAY_BE_EMPTY and math.isnan(value)) or (
        column == MAY_BE_INFINITE and value == math.inf
    )
    return "" if may_be or math.isfinite(value) else "a table holds finite numbers"


def _end_with(runner: int) -> None:
    """Let a worker end soon after the process that it works for, even if that was killed."""

    def watch() -> None:
        while os.getppid() == runner:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    if os.getppid() == runner:
        threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _locked(path: Path, what: str, wait: bool) -> Iterator[bool]:
    """Hold a lock of a file, which the system opens when its holder ends, however that ends.

    It yields whether it has it, without waiting if another process has. All links to a file
    share its locks.
    """
    path = Path(os.path.realpath(path))
    lock = FileLock(path.with_name(f".{path.name}.{what}.lock"))
    held = True
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        held = False
    except OSError as error:
        if error.filename is not None:
            raise
        told = f"{error.strerror}; choose a folder on a disk that can lock files"
        raise OSError(error.errno, told, str(lock.lock_file)) from error
    try:
        yield held
    finally:
        lock.release()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Cells run side by side, so each has one core; afterwards all is as before."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _kind(cells: Sequence[Runnable]) -> type:
    """The one class of all cells."""
    if not isinstance(cells, Sequence) or isinstance(cells, str) or not cells:
        raise TypeError(f"cells must be a list or tuple of one cell or more; got {cells!r}.")
    kind = type(cells[0])
    for number, cell in enumerate(cells):
        if type(cell) is not kind or not is_dataclass(kind) or not hasattr(kind, "run"):
            raise TypeError(
                "cells must be frozen dataclasses of one kind, with a method run(seeds), such as "
                f"Cell; cell {number} is {cell!r}."
            )
    return kind


def _checked(seeds: Sequence[int]) -> list[int]:
    if not isinstance(seeds, Sequence | np.ndarray) or isinstance(seeds, str) or not len(seeds):
        raise TypeError(f"seeds must be a list of one integer or more; got {seeds!r}.")
    for number, seed in enumerate(seeds):
        check_seed(seed, f"seeds[{number}]")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must differ from each other; got {list(seeds)}.")
    return [int(seed) for seed in seeds]
