"""Stored tables: read and written exactly, each row with what made it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from .cells import exact

RESULTS = Path(__file__).resolve().parents[2] / "results"
PACKAGES = ("torch", "numpy", "scikit-learn", "pandas")


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
        dtype={"learning_rates": str, "made_with": str},
    )


def write_table(path: Path, table: pd.DataFrame, kind: type, made_with: Mapping[str, dict]) -> None:
    """Write a table, and beside it what made its rows.

    Parameters
    ----------
    path : Path
        Of the table, which ends in ``.csv``; the note beside it ends in ``.json``.
    table : DataFrame
        Settings are written so that they read back exactly, results with six digits.
    kind : type
        Of the cells; its fields are the settings.
    made_with : mapping of str to dict
        By the table's column ``made_with``; see `here`. What no row was made with is left out.
    """
    settings = {
        name: table[name].map(exact)
        for name in kind.__dataclass_fields__
        if pd.api.types.is_float_dtype(table[name])
    }
    note = {
        "kind": kind.__name__,
        "made_with": {name: made_with[name] for name in sorted(table["made_with"].unique())},
        "cells": len({key(row, kind) for row in table.to_dict("records")}),
        "seeds": sorted(int(seed) for seed in table["seed"].unique()),
        "core_hours": round(float(table["seconds"].sum()) / 3600, 3),
    }
    text = table.assign(**settings).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    # The note first: stopped in between, it explains rows too many, and never too few.
    write_atomically(path.with_suffix(".json"), json.dumps(note, indent=2) + "\n")
    write_atomically(path, text)


def note_of(path: Path) -> dict[str, Any]:
    """What lies beside a table, and says how it was made; empty if nothing does."""
    note = path.with_suffix(".json")
    return json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}


def here() -> tuple[str, dict[str, str]]:
    """What a row is made with here and now, and its name: the version and a fingerprint of all."""
    versions = {
        "opl_lib": version("opl-lib"),
        **{name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": machine(),
    }
    text = json.dumps(versions, sort_keys=True).encode()
    return f"{versions['opl_lib']}-{hashlib.sha256(text).hexdigest()[:8]}", versions


def key(row: Mapping[str, Any], kind: type) -> tuple:
    """What identifies a cell in a table; a tuned learning rate is a result, not a setting.

    Twelve digits of a number count: fewer than are written, and than any reader keeps.
    """
    values = {name: row[name] for name in kind.__dataclass_fields__}
    if values.get("learning_rates"):
        values["learning_rate"] = ""
    return tuple(v if isinstance(v, str) else float(f"{v:.12g}") for v in values.values())


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
