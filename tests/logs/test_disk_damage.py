"""What may happen to a folder of a log: each is said by name, before anything is learned."""

import errno
import json
import shutil

import numpy as np
import pytest

import opl_lib as opl
from opl_lib.logs import disk_format, written

SMALL = {"epochs": 1, "batch_size": 50, "hidden": (4,), "dim_embedding": 2}


@pytest.fixture
def folder(small_world, tmp_path):
    opl.write_log(tmp_path / "log", small_world.sample(300, random_state=0))
    return tmp_path / "log"


@pytest.fixture
def other(small_world, tmp_path):
    opl.write_log(tmp_path / "other", small_world.sample(300, random_state=1))
    return tmp_path / "other"


def header(folder, change):
    """Change a header and its checksum, as somebody with an editor and this library could."""
    content = disk_format.read_header(folder)
    del content["sha256"]
    change(content)
    disk_format.write_header(folder, content)


def flipped(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


KINDS = {
    "a bit changed": (lambda f, o: flipped(f / "reward.bin", 1000), r"reward\.bin is damaged"),
    "cut off": (
        lambda f, o: (f / "pscore.bin").write_bytes((f / "pscore.bin").read_bytes()[:-8]),
        r"pscore\.bin was truncated or is missing: it has 2,392 of 2,400 bytes",
    ),
    "emptied": (lambda f, o: (f / "action.bin").write_bytes(b""), r"action\.bin was truncated"),
    "longer": (
        lambda f, o: (f / "reward.bin").write_bytes((f / "reward.bin").read_bytes() + bytes(8)),
        r"reward\.bin is longer than it was written: it has 2,408 of 2,400 bytes",
    ),
    "missing": (lambda f, o: (f / "context.bin").unlink(), r"context\.bin was truncated or is mis"),
    "of another log": (
        lambda f, o: shutil.copy(o / "reward.bin", f / "reward.bin"),
        r"reward\.bin is damaged in shard 0",
    ),
    "a table of another log": (
        lambda f, o: np.save(f / "action_context.npy", np.zeros((4, 2))),
        r"action_context\.npy is damaged or missing",
    ),
    "no table": (lambda f, o: (f / "action_context.npy").unlink(), r"action_context\.npy is dam"),
    "no header": (lambda f, o: (f / "log.json").unlink(), "holds no log"),
    "an edited header": (
        lambda f, o: (f / "log.json").write_text(
            (f / "log.json").read_text().replace('"n_rounds": 300', '"n_rounds": 299')
        ),
        r"log\.json is damaged: it is not that of its checksum",
    ),
    "the header of another log": (
        lambda f, o: shutil.copy(o / "log.json", f / "log.json"),
        r"\.bin is damaged in shard 0",
    ),
    "a header of a later version": (
        lambda f, o: header(f, lambda c: c.update(format="opl_lib log 2")),
        "has the format 'opl_lib log 2', and this version reads",
    ),
    "a header without a column": (
        lambda f, o: header(f, lambda c: c["columns"].pop("reward")),
        r"log\.json has no column reward",
    ),
    "a header without its number of rounds": (
        lambda f, o: header(f, lambda c: c.pop("n_rounds")),
        r"log\.json has no n_rounds",
    ),
    "a header with fewer checksums": (
        lambda f, o: header(f, lambda c: c["columns"]["reward"].update(crc32=[])),
        r"log\.json has 0 checksums of reward, and the column has 1 shard",
    ),
    "a column of Python objects": (
        lambda f, o: header(f, lambda c: c["columns"]["reward"].update(dtype="|O")),
        r"log\.json says that reward is of type '\|O'",
    ),
    "a header that leads elsewhere": (
        lambda f, o: header(
            f, lambda c: c["columns"].update({"../other/reward": c["columns"]["reward"]})
        ),
        r"log\.json has a column '\.\./other/reward'",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_as_it_was_written_is_said_by_name(folder, other, kind):
    spoil, message = KINDS[kind]
    spoil(folder, other)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        opl.open_log(folder)
    assert opl.open_log(other).n_rounds == 300


def test_a_log_that_is_still_written_is_none(small_world, tmp_path):
    def pieces():
        for seed in range(3):
            (partial,) = tmp_path.iterdir()
            with pytest.raises(FileNotFoundError, match="holds no log"):
                opl.open_log(tmp_path / "log")
            with pytest.raises(FileNotFoundError, match="is still written, or was given up"):
                opl.open_log(partial)
            yield small_world.sample(50, random_state=seed)

    assert opl.write_log(tmp_path / "log", pieces()).n_rounds == 150


def test_of_two_who_write_a_log_one_is_told(small_world, tmp_path):
    def pieces():
        opl.write_log(tmp_path / "log", small_world.sample(70, random_state=1))
        yield small_world.sample(50, random_state=0)

    with pytest.raises(OSError, match=r"log"):
        opl.write_log(tmp_path / "log", pieces())
    assert opl.open_log(tmp_path / "log").n_rounds == 70
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_full_disk_is_said_and_nothing_is_left(small_world, tmp_path, monkeypatch):
    append, n_calls = written._Growing._append, []

    def full(self, values):
        n_calls.append(0)
        if len(n_calls) > 6:
            raise OSError(errno.ENOSPC, "No space left on device", str(self.file.path))
        append(self, values)

    monkeypatch.setattr(written._Growing, "_append", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        opl.write_log(tmp_path / "log", (small_world.sample(50, random_state=k) for k in range(9)))
    assert "No log was written: piece 1" in raised.value.__notes__[0]
    assert not list(tmp_path.iterdir())


def test_what_is_cut_off_while_a_fit_reads_it_ends_the_fit_with_its_name(folder):
    log = opl.open_log(folder)
    path = folder / "context.bin"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"context\.bin ends before round 300"):
        opl.OffPolicyLearner("ips", **SMALL).fit(log)


def test_the_header_is_text_that_says_what_the_files_are(folder):
    content = json.loads((folder / "log.json").read_text())
    assert content["n_rounds"] == 300 and content["columns"]["reward"]["shape"] == []
