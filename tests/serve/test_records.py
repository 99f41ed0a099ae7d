"""The service's log: whole lines, one fsync a batch, and what a kill leaves behind."""

import errno
import os

import pytest
from serve.records import Records, from_line, read_records, to_line

RECORDS = [{"kind": "shown", "id": "a", "pscore": 0.1}, {"kind": "reward", "id": "a", "x": "é\n"}]


def written(path, records=RECORDS):
    log = Records(path)
    log.append(records)
    log.close()
    return path.read_bytes()


def test_a_line_says_what_was_written():
    line = to_line(RECORDS[1])
    assert line.count(b"\n") == 1 and line.endswith(b"}\n")
    assert from_line(line) == RECORDS[1]


def test_a_line_with_any_byte_changed_is_none():
    line = to_line(RECORDS[0])
    for place in range(len(line)):
        for turned in (1, 128):
            changed = line[:place] + bytes([line[place] ^ turned]) + line[place + 1 :]
            assert from_line(changed) is None


def test_records_are_read_in_order(tmp_path):
    written(tmp_path / "log")
    assert list(read_records(tmp_path / "log")) == RECORDS
    again = Records(tmp_path / "log")
    assert again.known == RECORDS
    again.append([{"kind": "b"}])
    again.close()
    assert list(read_records(tmp_path / "log")) == [*RECORDS, {"kind": "b"}]


def test_an_end_that_was_torn_off_anywhere_is_cut_away(tmp_path):
    path = tmp_path / "log"
    whole = written(path)
    first = len(to_line(RECORDS[0]))
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert list(read_records(path)) == RECORDS[: int(end >= first)]
        Records(path).close()
        assert path.read_bytes() == whole[: first if end >= first else 0]
    path.write_bytes(whole + b"\0" * 100)  # as a machine leaves it that lost its power
    Records(path).close()
    assert path.read_bytes() == whole


def test_damage_before_the_end_is_named_and_nothing_is_changed(tmp_path):
    path = tmp_path / "log"
    damaged = b"#" + written(path)
    path.write_bytes(damaged)
    for read in (Records, lambda path: list(read_records(path))):
        with pytest.raises(ValueError, match="log: line 1 was damaged after it was written"):
            read(path)
    assert path.read_bytes() == damaged


def test_two_services_do_not_share_a_log(tmp_path):
    log = Records(tmp_path / "log")
    with pytest.raises(OSError, match="log is in use by another service"):
        Records(tmp_path / "log")
    log.close()
    Records(tmp_path / "log").close()


def test_records_that_cannot_be_written_leave_the_file_as_it_was(tmp_path, monkeypatch):
    whole = written(tmp_path / "log")
    log = Records(tmp_path / "log")

    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            log.append(RECORDS)
    assert (tmp_path / "log").read_bytes() == whole
    log.append(RECORDS)
    log.close()
    assert (tmp_path / "log").read_bytes() == 2 * whole
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_line({"pscore": float("nan")})


def test_a_batch_is_one_fsync(tmp_path, monkeypatch):
    log, calls = Records(tmp_path / "log"), []
    monkeypatch.setattr(os, "fsync", calls.append)
    log.append(RECORDS * 50)
    log.close()
    assert len(calls) == 1
