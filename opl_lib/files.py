"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from errno import EACCES, EINVAL, EISDIR, ELOOP
from pathlib import Path
from typing import Any


def as_path(name: str, value: Any, of_folder: bool = False) -> Path:
    """A path; raise unless `value` is the name of a file, or of a folder."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{name} must be a str or a Path; got {value!r}.")
    text = os.fspath(value)
    try:
        can_exist = text and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        can_exist = False
    if not can_exist:
        raise ValueError(f"{name} must be a path that can exist; got {value!r}.")
    if text.endswith(("/", "/.")) and not of_folder:
        raise ValueError(f"{name} must be the path of a file, not of a folder; got {value!r}.")
    return Path(value)


def write_atomically(path: str | Path, content: bytes) -> None:
    """Put a file in the place of `path` that is there whole or not at all, whatever happens.

    It is written under a name that nobody else has, in the same folder; then it takes the place of
    the old file, whose mode it keeps, and its owner and group as far as the process may give them.
    A symbolic link stays one. Of a process that is killed meanwhile, a file whose name ends in
    ``.partial`` may be left over.

    Raises
    ------
    OSError
        With `path`, if the file cannot be written. The old one is then as it was.
    """
    path = as_path("path", path)
    try:
        _replace(Path(os.path.realpath(path)), content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace(target: Path, content: bytes) -> None:
    old = _status(target)
    mode = 0o666 if old is None else stat.S_IMODE(old.st_mode)
    # a part of the name suffices: names that are almost too long stay possible
    partial = target.with_name(f"{target.name[:50]}.{secrets.token_hex(8)}.partial")
    try:
        with open(partial, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            if old is not None:
                for owner, group in ((-1, old.st_gid), (old.st_uid, -1)):
                    with suppress(OSError):
                        os.chown(partial, owner, group)
                partial.chmod(mode)  # the last: chown takes rights, and umask has
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    with suppress(OSError):  # not every system opens a folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _status(target: Path) -> os.stat_result | None:
    """What the system says of a file, None if there is none; raise if it is not to be replaced."""
    try:
        status = os.lstat(target)
    except FileNotFoundError:
        return None
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        raise OSError(EISDIR, "Is a directory")
    if stat.S_ISLNK(mode):  # its target has been looked up: a link is left of a circle alone
        raise OSError(ELOOP, "Too many levels of symbolic links")
    if not stat.S_ISREG(mode):
        raise OSError(EINVAL, "Not a regular file")
    if not os.access(target, os.W_OK):
        raise OSError(EACCES, "Permission denied")
    return status
