"""Writing a log to disk in pieces, whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import plain_arithmetic
from ..files import as_path
from .disk_format import FORMAT, PARTIAL, SHARD, ColumnFile, write_header, write_table
from .eligible import Eligible
from .feedback import BanditFeedback, check_feedback
from .identity import example
from .joining import check_logs
from .known_columns import to_text
from .on_disk import LogOnDisk, open_log
from .rounds import OPTIONAL

_ALWAYS = ("context", "action", "reward", "pscore")


@plain_arithmetic
def write_log(path: str | Path, pieces: BanditFeedback | Iterable[BanditFeedback]) -> LogOnDisk:
    """Write a log to disk, piece by piece, so that it may be larger than memory.

    Parameters
    ----------
    path : str or Path
        The folder to make; there is none yet. It appears when it is complete: of a process that was
        killed, a folder whose name ends in ``.partial`` may be left over.
    pieces : BanditFeedback or iterable of BanditFeedback
        The rounds in their order, with the same items, columns and optional parts; a generator
        keeps one piece in memory at a time. Of frames: ``BanditFeedback.from_dataframe(frame, …)``
        for each, all but the first with ``columns=first.columns``; of Parquet: `read_parquet`.

    Returns
    -------
    LogOnDisk

    Raises
    ------
    FileExistsError
        If the folder exists.
    TypeError
        If a piece is no log.
    ValueError
        If a piece does not fit the first, or labels have no fixed width; nothing is left then.

    Notes
    -----
    A column is a file of numbers without a header, ``numpy.fromfile`` reads it; `log.json` has
    their types and a checksum for every 65,536 rounds. Text takes the width of its longest value.
    """
    path = as_path("path", path, of_folder=True).absolute()
    if path.exists():
        raise FileExistsError(f"{path} exists: take another path, or delete it first.")
    partial = path.with_name(f"{path.name[:50]}.{secrets.token_hex(8)}{PARTIAL}")
    partial.mkdir(parents=True)
    try:
        _write(partial, _pieces(pieces))
        for file in (*partial.iterdir(), partial):
            _sync(file)
        os.rename(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    with suppress(OSError):  # not every system opens a folder
        _sync(path.parent)
    return open_log(path, check=False)


def _pieces(pieces: Any) -> Iterable[Any]:
    if isinstance(pieces, BanditFeedback):
        return [pieces]
    if not isinstance(pieces, Iterable) or isinstance(pieces, str | bytes | dict):
        raise TypeError(f"pieces must be logs; got {type(pieces).__name__}.")
    return pieces


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _write(folder: Path, pieces: Iterable[Any]) -> None:
    """All files of a log."""
    first: BanditFeedback | None = None
    written: dict[str, _Growing] = {}
    sets, n_rounds = _Sets(), 0
    for number, piece in enumerate(pieces):
        check_feedback(piece, f"pieces: piece {number}")
        if first is None:
            first = piece[:1]
            names = [name for name in (*OPTIONAL, "eligible") if getattr(piece, name) is not None]
            written = {name: _Growing(folder, name) for name in (*_ALWAYS, *names)}
        _check_alike(first, piece, number)
        try:
            for name, column in written.items():
                values = getattr(piece, name)
                column.add(sets.numbers(values) if name == "eligible" else values, number)
        except OSError as error:
            error.add_note(f"No log was written: piece {number} did not fit on {folder.parent}.")
            raise
        n_rounds += piece.n_rounds
    if first is None:
        raise ValueError("pieces has no log in it: there is nothing to write.")
    tables = {"action_context": first.action_context}
    if first.item_ids is not None:
        tables["item_ids"] = _fixed_width("item_ids", first.item_ids)
    if first.eligible is not None:
        tables["sets"] = np.frombuffer(b"".join(sets.packed), np.uint8).reshape(
            len(sets.packed), -1
        )
    content = {
        "format": FORMAT,
        "n_rounds": n_rounds,
        "columns": {name: column.file.about() for name, column in written.items()},
        "tables": {name: write_table(folder / f"{name}.npy", a) for name, a in tables.items()},
        "features": None if first.columns is None else to_text(first.columns),
    }
    write_header(folder, content)


def _check_alike(first: BanditFeedback, piece: BanditFeedback, number: int) -> None:
    """Raise unless a piece continues the first."""
    try:
        if piece.action_context is not first.action_context:
            check_logs([first, piece], BanditFeedback)
    except ValueError as error:
        error.add_note(f"Log 0 is piece 0 and log 1 is piece {number}.")
        raise
    for name in (*OPTIONAL, "eligible"):
        if (getattr(first, name) is None) != (getattr(piece, name) is None):
            has, lacks = (0, number) if getattr(piece, name) is None else (number, 0)
            raise ValueError(f"piece {has} has {name}, and piece {lacks} has none: add or drop it.")


class _Sets:
    """The distinct sets of items of all pieces."""

    def __init__(self) -> None:
        self.packed: dict[bytes, int] = {}

    def numbers(self, eligible: Eligible) -> np.ndarray:
        """The set of each round of a piece, (n_rounds,)."""
        rows = np.packbits(eligible.sets, axis=1)
        known = [self.packed.setdefault(row.tobytes(), len(self.packed)) for row in rows]
        return np.array(known, dtype=np.int32)[eligible.number]


class _Growing:
    """A column file that grows piece by piece, and is widened where a type does not suffice."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.file = name, ColumnFile(folder / f"{name}.bin", np.dtype("V1"), ())
        self.n_rounds = 0

    def add(self, values: np.ndarray, piece: int) -> None:
        values = _fixed_width(self.name, values)
        if self.n_rounds == 0:
            self.file = self.file._replace(dtype=values.dtype, shape=values.shape[1:])
        dtype = self._common(values, piece)
        if dtype != self.file.dtype:
            self._widen(dtype)
        self._append(values.astype(dtype, copy=False))
        self.n_rounds += len(values)

    def _common(self, values: np.ndarray, piece: int) -> np.dtype:
        """A type for all values so far; raise if there is none that keeps them."""
        ours, theirs = self.file.dtype, values.dtype
        wider = None
        with suppress(TypeError):
            wider = np.promote_types(ours, theirs)
        if (
            wider is None
            or not wider.kind == ours.kind == theirs.kind
            or values.shape[1:] != self.file.shape
        ):
            raise ValueError(
                f"{self.name} of piece {piece} is {theirs}, such as {example(values)}, and that of "
                f"earlier pieces {ours}: convert all pieces to one type."
            )
        return wider

    def _widen(self, dtype: np.dtype) -> None:
        """Write what was written once more, in another type."""
        old = self.file.path.rename(self.file.path.with_suffix(".narrow"))
        narrow = self.file._replace(path=old)
        self.file = self.file._replace(dtype=dtype)
        for start in range(0, self.n_rounds, SHARD):
            self._append(narrow.read(start, min(start + SHARD, self.n_rounds)).astype(dtype))
        old.unlink()

    def _append(self, values: np.ndarray) -> None:
        with open(self.file.path, "ab") as file:
            values.tofile(file)


def _fixed_width(name: str, values: np.ndarray) -> np.ndarray:
    """Labels as numbers, dates or text of one width; raise if they are none of these."""
    if values.dtype.kind != "O":
        return values
    fixed = np.array(values.tolist())
    if fixed.dtype.kind == "O" or fixed.tolist() != values.tolist():
        raise ValueError(
            f"{name} holds {type(values[0]).__name__}, such as {values[0]!r}, which has no fixed "
            "width on disk: convert it to numbers, text or numpy's dates."
        )
    return fixed
