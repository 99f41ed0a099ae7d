"""What a fit has done so far, in a file that is whole or not there, whatever happens."""

from __future__ import annotations

import hashlib
import pickle
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..files import as_path, write_atomically

_T = TypeVar("_T")
_FORMAT = b"opl_lib checkpoint 1\n"
# A checkpoint is written after so many seconds, and takes at most a twentieth of the time.
EVERY_SECONDS = 30.0
_MAX_SHARE = 20


class Checkpoint:
    """The results of a fit by their names, kept in a file.

    The file is a pickle with a checksum: open none that somebody else made.

    Parameters
    ----------
    path : str or Path
        Read if it is there; the folder is made if it is not.
    about : mapping of str to str
        What the fit is of: a file of something else is refused.
    kept : dict, optional
        What another process has read from the file; this one then neither reads nor writes it.
    """

    def __init__(
        self, path: str | Path, about: Mapping[str, str], kept: dict[str, Any] | None = None
    ) -> None:
        self.path, self.about = as_path("checkpoint", path).absolute(), dict(about)
        self.writes = kept is None
        self.kept = self._read() if kept is None else kept
        self._last, self._cost = time.monotonic(), 0.0

    def due(self) -> bool:
        """Whether it is time to write what is running."""
        wait = max(EVERY_SECONDS, _MAX_SHARE * self._cost)
        return self.writes and time.monotonic() - self._last >= wait

    def put(self, name: str, value: Any, without: str | None = None) -> None:
        """Keep a result, perhaps in the place of others whose names begin with `without`."""
        if without is not None:
            self.kept = {k: v for k, v in self.kept.items() if not k.startswith(without)}
        self.kept[name] = value
        if self.writes:
            start = time.monotonic()
            content = pickle.dumps({"about": self.about, "kept": self.kept})
            digest = hashlib.sha256(content).hexdigest().encode()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, _FORMAT + digest + b"\n" + content)
            self._last = time.monotonic()
            self._cost = self._last - start

    def _read(self) -> dict[str, Any]:
        if not self.path.exists():
            return {}
        if self.path.is_dir():
            raise ValueError(f"checkpoint must be a file; {self.path} is a folder.")
        start, _, rest = self.path.read_bytes().partition(b"\n")
        digest, _, content = rest.partition(b"\n")
        if start + b"\n" != _FORMAT or hashlib.sha256(content).hexdigest().encode() != digest:
            raise ValueError(
                f"{self.path} is no checkpoint of this version, or was damaged: its content is not "
                "that of its checksum. Delete it to begin again, or pass another checkpoint=…"
            )
        found = pickle.loads(content)
        _check_same(self.path, found["about"], self.about)
        return found["kept"]


def _check_same(path: Path, its: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Raise, with the reason, if a checkpoint is of something else."""
    for name in [*its, *(ours.keys() - its.keys())]:
        was, now = its.get(name, "not there"), ours.get(name, "not there")
        if was != now:
            raise ValueError(
                f"{path} is the checkpoint of another fit: {name} was {was}, and is {now}. Fit "
                "with the same log and settings to go on, or pass another checkpoint=… to begin."
            )


class Engine:
    """How fits run: what they are kept in, and with which other processes they are shared."""

    def __init__(self, checkpoint: Checkpoint | None = None, group: Any = None) -> None:
        self.checkpoint, self.group = checkpoint, group

    @property
    def processes(self) -> tuple[int, int]:
        """Number of this process, and of all."""
        return (0, 1) if self.group is None else (self.group.rank, self.group.size)

    def of_first(self, make: Callable[[], _T]) -> _T:
        """What one process makes, for all of them; its error is raised in all."""
        return make() if self.group is None else self.group.of_first(make)

    def kept(self, name: str) -> Any:
        """A result from before, or None."""
        return None if self.checkpoint is None else self.checkpoint.kept.get(name)

    def keep(
        self, name: str, value: Callable[[], Any], done: bool = False, without: str | None = None
    ) -> None:
        """Keep what a function returns, if it is time or all is done."""
        if self.checkpoint is not None and (done or self.checkpoint.due()):
            self.checkpoint.put(name, value(), without)
