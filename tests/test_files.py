"""Files that are written whole or not at all."""

import errno
import os
import resource
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from opl_lib.files import as_path, write_atomically


@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_is_written_and_replaced(kind, tmp_path):
    path = kind(tmp_path / "file")
    for content in (b"one", b"", b"two\r\n\0" * 1000):
        write_atomically(path, content)
        assert Path(path).read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


def test_a_new_file_has_the_mode_that_the_process_gives_and_an_old_one_keeps_its_own(tmp_path):
    path, before = tmp_path / "file", os.umask(0o027)
    try:
        write_atomically(path, b"one")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        for mode in (0o600, 0o664, 0o755):
            path.chmod(mode)
            write_atomically(path, b"two")
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


@pytest.mark.parametrize("target", ["file", "there/file"], ids=["beside", "elsewhere"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_one_and_its_target_is_written(target, exists, tmp_path):
    (tmp_path / "there").mkdir()
    if exists:
        (tmp_path / target).write_bytes(b"old")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "to the link").symlink_to("link")
    write_atomically(tmp_path / "to the link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "to the link").is_symlink()
    assert (tmp_path / target).read_bytes() == b"new"


def test_nobody_elses_file_is_touched(tmp_path):
    others = ["file.partial", ".file", "file~", "file.tmp", "file.0.partial"]
    for name in others:
        (tmp_path / name).write_text(name)
    write_atomically(tmp_path / "file", b"new")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "file"])
    assert all((tmp_path / name).read_text() == name for name in others)


def test_names_may_be_long_and_in_any_letters(tmp_path):
    for name in ("n" * 255, "ü" * 127, "a b\n", ".hidden"):
        write_atomically(tmp_path / name, b"new")
        assert (tmp_path / name).read_bytes() == b"new"


@pytest.mark.parametrize("step", ["fsync", "replace", "open"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_failure_at_any_step_leaves_the_old_file_and_no_other(step, error, tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*arguments, **settings):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)) as raised:
        write_atomically(path, b"new")
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert raised.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_disk_that_is_full_says_which_file(tmp_path):
    """As a limit of the process, which a child has for itself."""
    path = tmp_path / "file"
    write_atomically(path, b"old")
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_atomically(path, bytes(10_000))
        except OSError as error:
            os._exit(0 if error.filename == str(path) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_cannot_be_written_is_an_oserror_with_the_path(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "fifo")
    for path, error in (
        (tmp_path / "missing" / "file", FileNotFoundError),
        (tmp_path / "file" / "below", NotADirectoryError),
        (tmp_path, IsADirectoryError),
        (tmp_path / "circle", OSError),
        (tmp_path / "fifo", OSError),
        ("/dev/null", OSError),
        (tmp_path / ("n" * 256), OSError),
    ):
        with pytest.raises(error) as raised:
            write_atomically(path, b"new")
        assert raised.value.filename == str(path)
    assert (tmp_path / "circle").is_symlink() and stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_file_that_is_write_protected_stays(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write all
    with pytest.raises(PermissionError, match=f"Permission denied: '{path}'"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_several_writers_leave_one_whole_file(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([letter]) * 100_000 for letter in b"abcd"]

    def write(content):
        for _ in range(20):
            write_atomically(path, content)
            assert path.read_bytes() in contents

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, contents))
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("value", [None, 3, b"file", ["file"], {}], ids=repr)
def test_what_is_no_path_is_a_typeerror(value):
    with pytest.raises(TypeError, match="log must be a str or a Path; got"):
        as_path("log", value)


@pytest.mark.parametrize("value", ["", "a\0b", "\ud800"], ids=ascii)
def test_what_names_no_file_is_a_valueerror(value):
    with pytest.raises(ValueError, match="log must be a path that can exist; got"):
        as_path("log", value)


@pytest.mark.parametrize("value", ["a/", "a/b//", "/", "a/."])
def test_the_path_of_a_folder_is_a_valueerror_for_a_file(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="log must be the path of a file, not of a folder"):
        as_path("log", value)
    with pytest.raises(ValueError, match="path must be the path of a file"):
        write_atomically(value, b"new")
    assert os.listdir(tmp_path) == []
    assert as_path("folder", value, of_folder=True) == Path(value)


@pytest.mark.parametrize("allowed", [True, False])
def test_an_old_file_keeps_its_owner_and_group_where_the_process_may(
    allowed, tmp_path, monkeypatch
):
    path, given = tmp_path / "file", []
    path.write_bytes(b"old")
    old = path.stat()

    def chown(name, owner, group):
        assert Path(name).suffix == ".partial"
        given.append((owner, group))
        if not allowed:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)
    write_atomically(path, b"new")
    assert sorted(given) == sorted([(old.st_uid, -1), (-1, old.st_gid)])
    assert path.read_bytes() == b"new"
    write_atomically(tmp_path / "another", b"new")
    assert len(given) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files to others")
def test_a_file_of_another_stays_theirs(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 4321, 1234)
    path.chmod(0o2640)
    write_atomically(path, b"new")
    now = path.stat()
    assert (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)) == (4321, 1234, 0o2640)
