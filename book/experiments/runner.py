"""Fill an experiment's table, cell after cell; a run that was stopped goes on where it was."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from joblib import Parallel, delayed
from tqdm import tqdm

from .cells import Cell
from .tables import RESULTS, here, key, note_of, read_table, write_table

_TIMED_BATCHES = 20


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
    ``joblib.parallel_config(backend=…)`` they run elsewhere.

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
        Processes, with one thread each.
    progress : bool
        Show a bar, in the time that cells are expected to take relative to each other.

    Returns
    -------
    pandas.DataFrame
        One row a cell and seed, in the order of the cells; see `Cell.run`.

    Warns
    -----
    UserWarning
        If the table has rows of another version of the library; they are kept.
    """
    path, kind = Path(folder) / f"{name}.csv", type(cells[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    done, made_with = _taken_over(cells, seeds, path)
    _warn_of_other_versions(done, made_with, path)
    todo = missing(cells, seeds, done)
    costs = [cell.cost(len(lacking)) for cell, lacking in todo]
    order = sorted(range(len(todo)), key=costs.__getitem__, reverse=True)  # the longest first
    results = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
        delayed(_numbered)(number, *todo[number]) for number in order
    )
    with tqdm(total=sum(costs), desc=name, unit_scale=True, unit="", disable=not progress) as bar:
        for number, rows, maker, versions in results:
            made_with[maker] = versions
            done = _joined(done, pd.DataFrame(rows).assign(made_with=maker), cells)
            write_table(path, done, kind, made_with)
            bar.update(costs[number])
    return done


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


def _taken_over(
    cells: Sequence[Runnable], seeds: Sequence[int], path: Path
) -> tuple[pd.DataFrame, dict[str, dict]]:
    """A table with the rows that it lacks and that other tables of its folder have."""
    kind = type(cells[0])
    done, made_with = read_table(path), dict(note_of(path).get("made_with", {}))
    for other in sorted(set(path.parent.glob("*.csv")) - {path}):
        note = note_of(other)
        if note.get("kind") != kind.__name__:
            continue
        wanted = {
            (key(cell.settings, kind), seed)
            for cell, lacking in missing(cells, seeds, done)
            for seed in lacking
        }
        table = read_table(other)
        is_wanted = [(key(r, kind), r["seed"]) in wanted for r in table.to_dict("records")]
        if any(is_wanted):
            made_with |= note["made_with"]
            done = _joined(done, table[is_wanted], cells)
            write_table(path, done, kind, made_with)
    return done, made_with


def _warn_of_other_versions(done: pd.DataFrame, made_with: dict[str, dict], path: Path) -> None:
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
    number: int, cell: Runnable, seeds: tuple[int, ...]
) -> tuple[int, list[dict], str, dict]:
    with _one_thread():
        return number, cell.run(seeds), *here()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Cells run side by side, so each has one core; afterwards all is as before."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _joined(done: pd.DataFrame, rows: pd.DataFrame, cells: Sequence[Runnable]) -> pd.DataFrame:
    """Both, in the order of the cells."""
    kind = type(cells[0])
    table = pd.concat([done, rows])
    place = {key(cell.settings, kind): number for number, cell in enumerate(cells)}
    order = [place.get(key(row, kind), len(place)) for row in table.to_dict("records")]
    return table.assign(_order=order).sort_values(["_order", "seed"]).drop(columns="_order")
