"""The folder of a log on disk: columns of fixed width, small tables, a header with checksums."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FORMAT = "opl_lib log 1"
HEADER = "log.json"
PARTIAL = ".partial"
# Rounds of a column that share a checksum.
SHARD = 2**16


class ColumnFile(NamedTuple):
    """A column of a log: numbers, dates or text of one width, round after round.

    Attributes
    ----------
    path : Path
    dtype : numpy dtype
    shape : tuple of int
        Of one round: () or (n_features,).
    """

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """Bytes of a round."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=int))

    def read(self, start: int, stop: int) -> np.ndarray:
        """The rounds from start to before stop, as a new array: pages of the file are not kept."""
        count = (stop - start) * (self.width // self.dtype.itemsize)
        found = np.fromfile(self.path, self.dtype, count, offset=start * self.width)
        if len(found) < count:
            raise ValueError(f"{self.path} ends before round {stop:,}: it was truncated.")
        return found.reshape(-1, *self.shape)

    def mapped(self) -> np.ndarray:
        """The whole column, of which only what is looked at is read."""
        mapped = np.memmap(self.path, self.dtype, mode="r").view(np.ndarray)
        return mapped.reshape(-1, *self.shape)

    def about(self) -> dict[str, Any]:
        """What the header says of the column."""
        crcs = list(_checksums(self.path, SHARD * self.width))
        return {"dtype": self.dtype.str, "shape": list(self.shape), "crc32": crcs}


def _checksums(path: Path, size: int) -> Iterator[int]:
    """One a shard."""
    with open(path, "rb") as file:
        while shard := file.read(size):
            yield zlib.crc32(shard)


def write_header(folder: Path, content: dict[str, Any]) -> None:
    """Write the header with a checksum of its own."""
    text = json.dumps({**content, "sha256": _digest(content)}, indent=1)
    (folder / HEADER).write_text(text, encoding="utf-8")


def read_header(folder: Path) -> dict[str, Any]:
    """The header of a folder; raise unless it is as it was written."""
    path = folder / HEADER
    if not path.exists() and folder.suffix == PARTIAL:
        raise FileNotFoundError(
            f"{folder} is still written, or was given up by a process that was killed: a log has "
            "the name that was asked for when it is complete."
        )
    if not path.exists():
        raise FileNotFoundError(
            f"{folder} holds no log: there is no {HEADER} in it. A log on disk is a folder that "
            "opl.write_log made."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        digest = content.pop("sha256")
        right = digest == _digest(content)
    except Exception as error:  # whatever a damaged file makes of its reader
        raise ValueError(f"{path} is damaged: it cannot be read. {_AGAIN}") from error
    if not right:
        raise ValueError(f"{path} is damaged: it is not that of its checksum. {_AGAIN}")
    if content["format"] != FORMAT:
        raise ValueError(
            f"{path} has the format {content['format']!r}, and this version reads {FORMAT!r}."
        )
    _check_header(path, content)
    return {**content, "sha256": digest}


def _check_header(path: Path, content: dict[str, Any]) -> None:
    """Raise unless a header that is whole says what a log needs."""
    for name in ("n_rounds", "columns", "tables", "features"):
        if name not in content:
            raise ValueError(f"{path} has no {name}: it was not written by opl.write_log. {_AGAIN}")
    for name in ("context", "action", "reward", "pscore"):
        if name not in content["columns"]:
            raise ValueError(f"{path} has no column {name}. {_AGAIN}")
    n_shards = -(-content["n_rounds"] // SHARD)
    for name, about in content["columns"].items():
        if not name.isidentifier():
            raise ValueError(f"{path} has a column {name!r}, which is no name. {_AGAIN}")
        if np.dtype(about["dtype"]).hasobject:
            raise ValueError(f"{path} says that {name} is of type {about['dtype']!r}. {_AGAIN}")
        if len(about["crc32"]) != n_shards:
            raise ValueError(
                f"{path} has {len(about['crc32'])} checksums of {name}, and the column has "
                f"{n_shards} shard{'s' * (n_shards != 1)}. {_AGAIN}"
            )


_AGAIN = "Write the log again, or take another copy of it."


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_column(column: ColumnFile, about: dict[str, Any], n_rounds: int, content: bool) -> None:
    """Raise, with the name of the file and the shard, if a column is not as it was written."""
    size = column.path.stat().st_size if column.path.exists() else 0
    if size > (needed := n_rounds * column.width):
        raise ValueError(
            f"{column.path} is longer than it was written: it has {size:,} of {needed:,} bytes. "
            f"{_AGAIN}"
        )
    if size < needed:
        raise ValueError(
            f"{column.path} was truncated or is missing: it has {size:,} of {needed:,} bytes, so "
            f"that shard {size // (SHARD * max(column.width, 1))} ends early. {_AGAIN}"
        )
    if not content:
        return
    found = _checksums(column.path, SHARD * column.width)
    for shard, (crc, known) in enumerate(zip(found, about["crc32"], strict=True)):
        if crc != known:
            last = min((shard + 1) * SHARD, n_rounds) - 1
            raise ValueError(
                f"{column.path} is damaged in shard {shard}, rounds {shard * SHARD:,} to "
                f"{last:,}: its checksum is another one. {_AGAIN}"
            )


def write_table(path: Path, array: np.ndarray) -> int:
    """Write an array that does not grow with the log; return its checksum."""
    np.save(path, array, allow_pickle=False)
    return zlib.crc32(path.read_bytes())


def read_table(path: Path, crc: int) -> np.ndarray:
    """What `write_table` wrote; raise, with its name, if it is another array."""
    if not path.exists() or zlib.crc32(path.read_bytes()) != crc:
        raise ValueError(f"{path} is damaged or missing: its checksum is another one. {_AGAIN}")
    return np.load(path, allow_pickle=False)
