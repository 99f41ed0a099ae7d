"""Fill an experiment's table, cell after cell; a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from .cells import Cell

_TIMED_BATCHES = 20


def run(
    name: str,
    cells: Sequence[Cell],
    seeds: Sequence[int],
    folder: str | Path = "results",
    n_jobs: int = 2,
    progress: bool = True,
) -> pd.DataFrame:
    """Run the cells that no table of the folder has yet, and return the table.

    Each finished cell is added to ``folder/name.csv``, which is replaced as a whole, so that it is
    complete and valid at any moment; ``folder/name.json`` says with what it was made. Cells run in
    processes through joblib: inside ``joblib.parallel_config(backend=…)`` they run elsewhere.

    Parameters
    ----------
    name : str
        Of the table.
    cells : sequence of Cell, MapCell or RehearsalCell
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
    """
    path = Path(folder) / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    done = _taken_over(cells, seeds, read_table(path), path)
    todo = missing(cells, seeds, done)
    costs = [cell.cost(len(lacking)) for cell, lacking in todo]
    order = sorted(range(len(todo)), key=costs.__getitem__, reverse=True)  # the longest first
    results = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
        delayed(_numbered)(number, *todo[number]) for number in order
    )
    with tqdm(total=sum(costs), desc=name, unit_scale=True, unit="", disable=not progress) as bar:
        for number, rows in results:
            done = _in_order(pd.concat([done, pd.DataFrame(rows)]), cells)
            _write(path, done, type(cells[0]))
            bar.update(costs[number])
    return done


def missing(
    cells: Sequence[Cell], seeds: Sequence[int], done: pd.DataFrame
) -> list[tuple[Cell, tuple[int, ...]]]:
    """The cells that a table lacks, each with the seeds that it lacks."""
    have = {(_key(row, type(cells[0])), row["seed"]) for row in done.to_dict("records")}
    todo = []
    for cell in cells:
        key = _key(cell.settings, type(cell))
        lacking = tuple(seed for seed in seeds if (key, seed) not in have)
        if lacking:
            todo.append((cell, lacking))
    return todo


def _taken_over(
    cells: Sequence[Cell], seeds: Sequence[int], done: pd.DataFrame, path: Path
) -> pd.DataFrame:
    """A table with the rows that it lacks and that other tables of its folder have."""
    kind = type(cells[0])
    for other in sorted(set(path.parent.glob("*.csv")) - {path}):
        if _kind(other) != kind.__name__:
            continue
        table = read_table(other)
        wanted = {
            (_key(cell.settings, kind), seed)
            for cell, lacking in missing(cells, seeds, done)
            for seed in lacking
        }
        rows = [row for row in table.to_dict("records") if (_key(row, kind), row["seed"]) in wanted]
        if rows:
            done = _in_order(pd.concat([done, pd.DataFrame(rows)]), cells)
            _write(path, done, kind)
    return done


def _kind(path: Path) -> str | None:
    """What kind of cell a table is made of."""
    note = path.with_suffix(".json")
    return json.loads(note.read_text(encoding="utf-8")).get("kind") if note.exists() else None


def read_table(path: str | Path) -> pd.DataFrame:
    """A table as `run` wrote it; empty if there is none yet.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    pandas.DataFrame
    """
    if not Path(path).exists():
        return pd.DataFrame()
    return pd.read_csv(
        path,
        keep_default_na=False,  # no learning rates to choose from are an empty string
        na_values={"lower_bound": ""},
        dtype={"learning_rates": str},
    )


def expected_seconds(todo: Sequence[tuple[Cell, tuple[int, ...]]]) -> list[float]:
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
        key = cell.shorter(_TIMED_BATCHES), len(seeds)
        if key not in per_update:
            few, many = (_seconds(cell.shorter(n), seeds) for n in (1, 1 + _TIMED_BATCHES))
            per_update[key] = max(many - few, 0) / _TIMED_BATCHES
        seconds.append(per_update[key] * cell.n_epochs * cell.updates_per_epoch)
    return seconds


def _seconds(cell: Cell, seeds: tuple[int, ...]) -> float:
    start = time.perf_counter()
    cell.run(seeds)
    return time.perf_counter() - start


def _numbered(number: int, cell: Cell, seeds: tuple[int, ...]) -> tuple[int, list[dict]]:
    return number, cell.run(seeds)


def _key(row: dict[str, Any], kind: type) -> tuple:
    """What identifies a cell in a table; a tuned learning rate is a result, not a setting."""
    values = {name: row[name] for name in kind.__dataclass_fields__}
    if values.get("learning_rates"):
        values["learning_rate"] = ""
    return tuple(v if isinstance(v, str) else float(v) for v in values.values())


def _in_order(table: pd.DataFrame, cells: Sequence[Cell]) -> pd.DataFrame:
    kind = type(cells[0])
    place = {_key(cell.settings, kind): number for number, cell in enumerate(cells)}
    order = [place.get(_key(row, kind), len(place)) for row in table.to_dict("records")]
    return table.assign(_order=order).sort_values(["_order", "seed"]).drop(columns="_order")


def _write(path: Path, table: pd.DataFrame, kind: type) -> None:
    made_with = {
        "kind": kind.__name__,
        "opl_lib": version("opl-lib"),
        **{name: version(name) for name in ("torch", "numpy", "scikit-learn", "pandas")},
        "python": platform.python_version(),
        "machine": machine(),
        "cells": len({_key(row, kind) for row in table.to_dict("records")}),
        "seeds": sorted(int(seed) for seed in table["seed"].unique()),
        "core_hours": round(float(table["seconds"].sum()) / 3600, 3),
    }
    write_atomically(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_atomically(path.with_suffix(".json"), json.dumps(made_with, indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is complete at any moment: the old one, or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def machine() -> str:
    """Processor and number of cores, without names of hosts."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores"
