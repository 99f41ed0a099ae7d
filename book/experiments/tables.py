"""Stored tables: read and written exactly, each row with what made it and a check of its values."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

import opl_lib
from opl_lib import files

from .cells import exact

RESULTS = Path(__file__).resolve().parents[2] / "results"
PACKAGES = ("torch", "numpy", "scikit-learn", "pandas")
MAY_BE_EMPTY = "lower_bound"  # of a candidate that has none
MAY_BE_INFINITE = "ess_change"  # of one that changes nothing
_IN_EVERY_TABLE = ("seed", "seconds", "made_with", "check")
_FINGERPRINT = re.compile(r".*-[0-9a-f]{8}")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?", re.IGNORECASE)


class TableError(ValueError):
    """A stored table, or the note beside it, is not as it was written."""

    @classmethod
    def at(cls, path: Path, what: str, row: int | None = None) -> TableError:
        """The error of a file, or of one of its rows, with what to do."""
        place, cure = f"{path}", "Move the file away"
        if row is not None:
            place += f", row {row} (line {row + 1})"
            cure = "Delete this row, or move the file away"
        return cls(f"{place}: {what}. {cure}; what is missing is run again.")


def read_table(path: str | Path) -> pd.DataFrame:
    """A table as `run` wrote it; empty if there is none yet.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    ValueError
        If it is no such table, or if one of its rows is not as it was written.
    """
    table = read_with_checks(path)
    return table.drop(columns="check", errors="ignore")


def read_with_checks(path: str | Path) -> pd.DataFrame:
    """As `read_table`, with the column ``check``, which rows of one cell and seed share."""
    path = files.as_path("path", path)
    if not path.exists():
        return pd.DataFrame()
    text = _text(path)
    _check_rows(path, _rows(path, text))
    return pd.read_csv(
        io.StringIO(text),
        keep_default_na=False,  # no learning rates to choose from are an empty string
        na_values={MAY_BE_EMPTY: ""},
        dtype={"learning_rates": str, "made_with": str, "check": str},
    )


def write_table(path: Path, table: pd.DataFrame, kind: type, made_with: Mapping[str, dict]) -> None:
    """Write a table, and beside it what made its rows.

    Parameters
    ----------
    path : Path
        Of the table, which ends in ``.csv``; the note beside it ends in ``.json``.
    table : DataFrame
        Settings are written so that they read back exactly, results with six digits. Rows of one
        cell and seed get the same ``check``, by which `read_table` sees whether all are there and
        none has changed. Of a table without rows only the note is written.
    kind : type
        Of the cells; its fields are the settings.
    made_with : mapping of str to dict
        By the table's column ``made_with``; see `here`. What no row was made with is left out.
    """
    # The note first: stopped in between, it explains rows too many, and never too few.
    note = json.dumps(note_for(table, kind, made_with), indent=2)
    files.write_atomically(path.with_suffix(".json"), (note + "\n").encode())
    if len(table):
        files.write_atomically(path, _with_checks(table, kind).encode())


def note_for(table: pd.DataFrame, kind: type, made_with: Mapping[str, dict]) -> dict[str, Any]:
    """What is written beside a table: its size, and what its rows were made with."""
    if table.empty:
        return {"kind": kind.__name__, "made_with": {}, "cells": 0, "seeds": [], "core_hours": 0.0}
    return {
        "kind": kind.__name__,
        "made_with": {name: made_with[name] for name in sorted(table["made_with"].unique())},
        "cells": len({key(row, kind) for row in table.to_dict("records")}),
        "seeds": sorted(int(seed) for seed in table["seed"].unique()),
        "core_hours": round(float(table["seconds"].sum()) / 3600, 3),
    }


def note_of(path: Path) -> dict[str, Any]:
    """What lies beside a table, and says how it was made; empty if nothing does."""
    path = path.with_suffix(".json")
    if not path.exists():
        return {}
    text = _text(path)
    try:
        note = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TableError.at(path, f"it is no JSON: {error}") from error
    if not isinstance(note, dict):
        raise TableError.at(path, "it does not say how a table was made")
    return note


def made_with_of(path: Path, table: pd.DataFrame, kind: type) -> dict[str, dict]:
    """What the rows of a table were made with, as the note beside it says; raise if it does not."""
    if table.empty:
        return {}
    note, beside = note_of(path), path.with_suffix(".json").name
    if note.get("kind") != kind.__name__:
        found = f"is of {note['kind']!r}" if "kind" in note else "does not say of which kind it is"
        raise TableError.at(
            path, f"by {beside} beside it, it {found}, and {kind.__name__} is asked"
        )
    made_with = note.get("made_with")
    for index, name in table["made_with"].drop_duplicates().items():
        versions = made_with.get(name) if isinstance(made_with, dict) else None
        explained = isinstance(versions, dict) and isinstance(versions.get("opl_lib"), str)
        if not explained or (_FINGERPRINT.fullmatch(name) and name != _name_of(versions)):
            what = f"{beside} beside it does not explain {name!r} of made_with"
            raise TableError.at(path, what, index + 1)
    return made_with


def here() -> tuple[str, dict[str, str]]:
    """What a row is made with here and now, and its name: the version and a fingerprint of all."""
    versions = {
        "opl_lib": opl_lib.__version__,
        **{name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": machine(),
    }
    return _name_of(versions), versions


def _name_of(versions: Mapping[str, str]) -> str:
    text = json.dumps(versions, sort_keys=True).encode()
    return f"{versions['opl_lib']}-{hashlib.sha256(text).hexdigest()[:8]}"


def setting_names(kind: type) -> list[str]:
    """The columns of a table that say which cell a row is of: the fields of the cells."""
    return [field.name for field in fields(kind)]


def columns_of(kind: type) -> set[str] | None:
    """The columns that a table of a kind of cells has; None if it is not known before a run."""
    results = getattr(kind, "results", None)
    if results is None:
        return None
    return {*setting_names(kind), *results, *_IN_EVERY_TABLE} - {"check"}


def key(row: Mapping[str, Any], kind: type) -> tuple[str, ...]:
    """What identifies a cell in a table; a tuned learning rate is a result, not a setting."""
    values = {name: row[name] for name in setting_names(kind)}
    if values.get("learning_rates"):
        values["learning_rate"] = ""
    return tuple(map(_canonical, values.values()))


def machine() -> str:
    """Processor and number of cores, without names of hosts."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores"


def _text(path: Path) -> str:
    content = path.read_bytes()
    if b"\0" in content:
        raise TableError.at(path, "it has bytes that are 0, as after a power cut")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise TableError.at(path, f"it is no UTF-8: {error}") from error
    if text.startswith("\ufeff"):
        raise TableError.at(
            path, "another program has written it: it begins with a byte order mark"
        )
    return text


def _rows(path: Path, text: str) -> list[dict[str, str]]:
    """The rows as they stand in the file; raise if they are none of a table."""
    rows: list[dict[str, str]] = []
    lines = csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), strict=True)
    try:
        names = next(lines, [])
        if lacking := [name for name in _IN_EVERY_TABLE if name not in names]:
            start = text[:60]
            raise TableError.at(path, f"it begins with {start!r} and lacks the columns {lacking}")
        if len(set(names)) < len(names):
            raise TableError.at(path, f"two of its columns have one name: {names}")
        for values in lines:
            if len(values) != len(names):
                what = f"it has {len(values)} values for {len(names)} columns"
                raise TableError.at(path, what, len(rows) + 1)
            rows.append(dict(zip(names, values, strict=True)))
    except csv.Error as error:
        raise TableError.at(path, f"it is no row of a table: {error}", len(rows) + 1) from error
    return rows


def _check_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """Raise unless all rows are as they were written, with the others of their cell and seed."""
    groups, seen = defaultdict(list), {}
    for number, row in enumerate(rows, start=1):
        first = seen.setdefault(tuple(row.values()), number)
        if first != number:
            raise TableError.at(path, f"it is row {first} once more", number)
        groups[row["check"]].append((number, row))
    wrong = [group for check, group in groups.items() if check != _check(r for _, r in group)]
    if len(wrong) == len(groups) > 1:
        raise TableError.at(path, "no row is as it was written; perhaps a column was changed")
    if wrong:
        number, row = wrong[0][0]
        what = "its values are not those that were written"
        if len(wrong[0]) > 1:
            what = f"it or another row of the check {row['check']} was changed or is gone"
        raise TableError.at(path, what, number)


def _check(rows: Iterable[Mapping[str, str]]) -> str:
    """A fingerprint of all values of some rows, in whatever order; what made them is explained."""
    values = sorted(
        sorted((name, _canonical(row[name])) for name in row if name not in ("made_with", "check"))
        for row in rows
    )
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]


def _canonical(value: Any) -> str:
    """A value as text; of a number count twelve digits, fewer than any reader keeps."""
    text = "" if value is None else str(value)
    return f"{float(text):.12g}" if _NUMBER.fullmatch(text) else text


def _with_checks(table: pd.DataFrame, kind: type) -> str:
    """The text of a table, with the column ``check``."""
    settings = {
        name: table[name].map(exact)
        for name in setting_names(kind)
        if pd.api.types.is_float_dtype(table[name])
    }
    text = table.assign(**settings).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    groups = defaultdict(list)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    for row in rows:
        groups[key(row, kind), row["seed"]].append(row)
    for group in groups.values():
        check = _check(group)
        for row in group:
            row["check"] = check
    written = io.StringIO()
    lines = csv.DictWriter(written, [*table.columns, "check"], lineterminator="\n")
    lines.writeheader()
    lines.writerows(rows)
    return written.getvalue()
