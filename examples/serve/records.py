"""An append-only log of JSON lines: what was acknowledged is on the disk, whatever happens then."""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

_CHECK = b',"crc":'


def to_line(record: dict[str, Any]) -> bytes:
    """A record as a line of JSON, whose last entry is a checksum of the others."""
    text = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return text[:-1] + _CHECK + str(zlib.crc32(text)).encode() + b"}\n"


def from_line(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None if the line is not what was written."""
    text, found, check = line.rpartition(_CHECK)
    if not found or check != str(zlib.crc32(text + b"}")).encode() + b"}\n":
        return None
    return json.loads(text + b"}")


def read_records(path: str | Path) -> Iterator[dict[str, Any]]:
    """The records of a file, one after the other; what a kill has torn off its end is left out.

    Raises
    ------
    ValueError
        If a damaged line is followed by good ones: nobody's kill did that.
    """
    with open(path, "rb") as file:
        for record, _ in _good_lines(file, path):
            yield record


def _good_lines(file: Any, path: str | Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Records, and where each ends."""
    end, torn = 0, 0
    for number, line in enumerate(file, 1):
        record = from_line(line)
        if record is None:
            torn = torn or number
            continue
        if torn:
            raise ValueError(
                f"{path}: line {torn} was damaged after it was written. Take a copy of the file, "
                "or remove the line, and with it a request."
            )
        end += len(line)
        yield record, end


def by_request(
    records: Iterable[dict[str, Any]], path: str | Path
) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """What was shown, and rewards, by the id of the request.

    Raises
    ------
    ValueError
        If an id was shown twice or has two rewards, or a reward that nothing was shown for: then
        the log is not one that a single service has written.
    """
    shown: dict[str, dict[str, Any]] = {}
    rewards: dict[str, float] = {}
    for record in records:
        name, is_reward = record["id"], record["kind"] == "reward"
        if name in (rewards if is_reward else shown) or (is_reward and name not in shown):
            raise ValueError(
                f"{path}: a second {record['kind']!r} of request {name!r}, or a reward without a "
                "request. Was it put together of several logs? Take them one by one."
            )
        if is_reward:
            rewards[name] = record["reward"]
        else:
            shown[name] = record
    return shown, rewards


class Records:
    """A file of records that one process appends to.

    Whatever a kill has torn off the end is cut away when the file is opened: it was never
    acknowledged. Opening it twice at once is refused.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.known = Path(path), []
        try:
            self._file = open(path, "ab+", buffering=0)
        except OSError as error:
            raise OSError(
                f"{path} cannot be appended to: {error.strerror}. Name a file, new or old, in a "
                "folder that is there and may be written to."
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise OSError(
                f"{path} is in use by another service: end it, or use another."
            ) from error
        try:
            self._end = self._recover()
        except BaseException:
            self._file.close()
            raise

    def _recover(self) -> int:
        end = 0
        with open(self.path, "rb") as file:
            for record, its_end in _good_lines(file, self.path):
                self.known.append(record)
                end = its_end
        self._file.truncate(end)
        self._sync()
        folder = os.open(self.path.resolve().parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the file's own name may be new
        finally:
            os.close(folder)
        return end

    def append(self, records: Sequence[dict[str, Any]]) -> None:
        """Write records, all of them by one fsync; raise an OSError if they may not be there.

        Then none of them is: the file ends where it did.
        """
        content = memoryview(b"".join(map(to_line, records)))
        try:
            written = 0
            while written < len(content):
                written += self._file.write(content[written:])
            self._sync()
        except OSError:
            self._file.truncate(self._end)
            raise
        self._end += len(content)

    def _sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
