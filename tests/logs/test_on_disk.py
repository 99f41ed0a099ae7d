"""Logs on disk: what is written is read again, whole or not at all, and damage is found by name."""

import copy
import json
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import opl_lib as opl
from opl_lib.logs import disk_format
from opl_lib.logs.rounds import _COLUMNS

COLUMNS = [*_COLUMNS, "action_context", "item_ids"]


def labelled(log, name="user", n_sets=2):
    """A log with everything that a log can have."""
    shown = np.eye(log.n_actions, dtype=bool)[log.action]
    return replace(
        log,
        user_id=np.array([f"{name}-{k % 30}" for k in range(log.n_rounds)], dtype=object),
        timestamp=np.datetime64("2026-01-01", "s") + np.arange(log.n_rounds),
        position=np.arange(log.n_rounds) % 3,
        cluster_pscore=np.ones(log.n_rounds),
        item_ids=np.array(["a", "b", "c", "d"]),
        eligible=shown | (np.arange(log.n_actions) < np.arange(log.n_rounds)[:, None] % n_sets),
    )


@pytest.fixture
def pieces(small_world):
    logs = [small_world.sample(100 + k, random_state=k) for k in range(3)]
    return [labelled(log, "user" * (k + 1), k + 2) for k, log in enumerate(logs)]


@pytest.fixture
def small_shards(monkeypatch):
    for module in ("disk_format", "on_disk", "written"):
        monkeypatch.setattr(f"opl_lib.logs.{module}.SHARD", 64)


def test_what_is_read_is_what_was_written(pieces, tmp_path, small_shards):
    written, whole = opl.write_log(tmp_path / "log", iter(pieces)), None
    whole = opl.BanditFeedback.concatenate(pieces)
    for log in (written, opl.open_log(tmp_path / "log"), pickle.loads(pickle.dumps(written))):
        assert isinstance(log, opl.LogOnDisk) and isinstance(log, opl.BanditFeedback)
        for name in COLUMNS:
            ours, theirs = getattr(log, name), getattr(whole, name)
            assert np.array_equal(ours, theirs), name
            assert ours.dtype == theirs.dtype or name == "user_id"
            assert not ours.flags.writeable
        assert np.array_equal(log.eligible.mask(), whole.eligible.mask())
        assert len(log.eligible.sets) == len(whole.eligible.sets)
    chunks = list(written.chunks("user_id"))
    assert [len(chunk) for chunk in chunks] == [64, 64, 64, 64, 47]
    assert np.array_equal(np.concatenate(chunks), whole.user_id)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_part_is_a_log_in_memory(pieces, tmp_path):
    log = opl.write_log(tmp_path / "log", pieces)
    for part in (log[3:9], replace(log, reward=np.arange(303.0)), log.sample(50), log.sample(999)):
        assert type(part) is opl.BanditFeedback
    assert isinstance(copy.deepcopy(log), opl.LogOnDisk)
    sample = log.sample(50, random_state=1)
    assert sample.n_rounds == 50 and 3 < np.sum(np.diff(sample.timestamp).astype(int) > 1) < 17
    assert log.split(0.5)[0].n_rounds + log.split(0.5)[1].n_rounds == 303
    assert log.report().findings == opl.BanditFeedback.concatenate(pieces).report().findings


def test_a_log_keeps_its_columns(tmp_path):
    items = pd.DataFrame({"id": ["x", "y"], "brand": ["North", "South"]})
    frame = pd.DataFrame({"age": [31, 52, 4], "item": ["y", "x", "x"], "click": 1, "prob": 0.5})
    names = {"action": "item", "reward": "click", "pscore": "prob", "items": items}
    first = opl.BanditFeedback.from_dataframe(frame, context=["age"], item_id="id", **names)
    later = opl.BanditFeedback.from_dataframe(frame[:1], columns=first.columns, **names)
    log = opl.write_log(tmp_path / "log", [first, later])
    assert log.columns == first.columns and log.item_ids.tolist() == ["x", "y"]


# ---- refused


def test_pieces_that_do_not_continue_the_first_are_refused(pieces, tmp_path, small_world):
    other = opl.SyntheticWorld(4, dim_context=3, dim_action_context=2, random_state=9)
    plain = small_world.sample(20, random_state=9)
    wrong = {
        "other item features": labelled(other.sample(20, random_state=0)),
        "has position, and piece 1 has none": plain,
        "user_id of piece 1 is int64": replace(pieces[1], user_id=np.arange(101)),
        "timestamp of piece 1": replace(pieces[1], timestamp=np.arange(101)),
    }
    for message, piece in wrong.items():
        with pytest.raises(ValueError, match=message):
            opl.write_log(tmp_path / "log", [pieces[0], piece])
    with pytest.raises(ValueError, match="no fixed width"):
        users = np.array([2**70 + k for k in range(100)], dtype=object)
        opl.write_log(tmp_path / "log", replace(pieces[0], user_id=users))
    with pytest.raises(ValueError, match="no log in it"):
        opl.write_log(tmp_path / "log", [])
    with pytest.raises(TypeError, match="piece 1 must be a BanditFeedback"):
        opl.write_log(tmp_path / "log", [pieces[0], "text"])
    assert not list(tmp_path.iterdir())


def test_a_log_is_never_overwritten(pieces, tmp_path):
    opl.write_log(tmp_path / "log", pieces[0])
    with pytest.raises(FileExistsError, match="take another path"):
        opl.write_log(tmp_path / "log", pieces[1])
    assert opl.open_log(tmp_path / "log").n_rounds == 100


def test_a_generator_that_fails_leaves_nothing(pieces, tmp_path):
    def broken():
        yield pieces[0]
        raise RuntimeError("the source is gone")

    with pytest.raises(RuntimeError, match="the source is gone"):
        opl.write_log(tmp_path / "log", broken())
    assert not list(tmp_path.iterdir())


def test_a_killed_writer_leaves_no_log(tmp_path):
    code = (
        "import os, signal, opl_lib as opl\n"
        "world = opl.SyntheticWorld(4, 3, 2, random_state=0)\n"
        "def pieces():\n"
        "    yield world.sample(50, random_state=0)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"opl.write_log({str(tmp_path / 'log')!r}, pieces())"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".partial"
    with pytest.raises(FileNotFoundError, match="or was given up by a process that was killed"):
        opl.open_log(left)


@pytest.mark.parametrize("name", ["context", "action", "reward", "pscore", "user_id", "eligible"])
def test_damage_is_found_by_file_and_shard(pieces, tmp_path, small_shards, name):
    log = opl.write_log(tmp_path / "log", pieces)
    path = tmp_path / "log" / f"{name}.bin"
    content, width = path.read_bytes(), log._files[name].width
    at = 130 * width
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(ValueError, match=rf"{name}.bin is damaged in shard 2, rounds 128 to 191"):
        opl.open_log(tmp_path / "log")
    assert opl.open_log(tmp_path / "log", check=False).n_rounds == 303
    path.write_bytes(content[:at])
    for check in (True, False):
        with pytest.raises(ValueError, match=rf"{name}.bin was truncated .* shard 2 ends early"):
            opl.open_log(tmp_path / "log", check=check)
    path.unlink()
    with pytest.raises(ValueError, match=rf"{name}.bin was truncated or is missing"):
        opl.open_log(tmp_path / "log")


@pytest.mark.parametrize("name", ["action_context.npy", "sets.npy", "item_ids.npy"])
def test_damage_of_tables_is_found(pieces, tmp_path, name):
    opl.write_log(tmp_path / "log", pieces)
    path = tmp_path / "log" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        opl.open_log(tmp_path / "log")


def test_damage_of_the_header_is_found(pieces, tmp_path):
    opl.write_log(tmp_path / "log", pieces)
    path = tmp_path / "log" / disk_format.HEADER
    text = path.read_text(encoding="utf-8")
    for wrong in ("", text[:-9], text.replace("303", "302"), "[]"):
        path.write_text(wrong, encoding="utf-8")
        with pytest.raises(ValueError, match=r"log\.json is damaged"):
            opl.open_log(tmp_path / "log")
    content = json.loads(text)
    del content["sha256"]
    disk_format.write_header(tmp_path / "log", {**content, "format": "opl_lib log 9"})
    with pytest.raises(ValueError, match="format 'opl_lib log 9'"):
        opl.open_log(tmp_path / "log")


# ---- Parquet


def test_parquet_files_become_a_log(tmp_path, small_world):
    log = small_world.sample(250, random_state=0)
    frame = pd.DataFrame(log.context, columns=["x", "y", "z"]).assign(
        item=log.action, click=log.reward, prob=log.pscore, who=[f"u{k}" for k in range(250)]
    )
    paths = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    frame[:150].to_parquet(paths[0], row_group_size=40)
    frame[150:].to_parquet(paths[1])
    names = {
        "context": ["x", "y", "z"],
        **{"action": "item", "reward": "click", "pscore": "prob", "user_id": "who"},
        "items": log.action_context,
    }
    pieces = list(opl.read_parquet(paths, rows_at_once=60, **names))
    assert [piece.n_rounds for piece in pieces] == [60, 60, 30, 60, 40]
    read = opl.write_log(tmp_path / "log", pieces)
    whole = opl.BanditFeedback.from_dataframe(
        frame, **{**names, "columns": pieces[0].columns} | {"context": None}
    )
    for name in ("context", "action", "reward", "pscore", "user_id"):
        assert np.array_equal(getattr(read, name), getattr(whole, name)), name


def test_a_bad_row_of_a_parquet_file_is_found(tmp_path):
    path = tmp_path / "clicks.parquet"
    pd.DataFrame({"x": 1.0, "item": 0, "click": 1, "prob": [0.5] * 5 + [1.5]}).to_parquet(path)
    names = {"context": ["x"], "action": "item", "reward": "click", "items": np.eye(2)}
    with pytest.raises(ValueError, match="pscore must be in") as raised:
        list(opl.read_parquet(path, rows_at_once=4, pscore="prob", **names))
    assert raised.value.__notes__ == [f"In {path}, the piece that begins with row 4."]
    with pytest.raises(ValueError, match="pscore must name the column"):
        opl.read_parquet(path, **names)
