"""The service's log: whole lines, one fsync a batch, and what a kill leaves behind."""

import errno
import os
import resource
import subprocess
import sys

import pytest
from serve.records import Records, by_request, from_line, read_records, to_line

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


KILLS = """
import os, signal, sys
from serve import records

path = sys.argv[1]
torn = open(path, "rb").read()

def killed_at(line):
    seen = 0
    def trace(frame, event, _):
        nonlocal seen
        if frame.f_code.co_filename != records.__file__:
            return None
        seen += event == "line"
        if seen == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    records.Records(path).close()
    os._exit(0)

for line in range(1, 1000):
    with open(path, "wb") as file:
        file.write(torn)
    child = os.fork() or killed_at(line)
    if os.WIFEXITED(os.waitpid(child, 0)[1]):
        break
    after = open(path, "rb").read()
    assert after in (torn, torn[: int(sys.argv[2])]), after
    again = records.Records(path)
    assert [each["id"] for each in again.known] == ["a", "a"]
    again.close()
    assert open(path, "rb").read() == torn[: int(sys.argv[2])]
print(line)
"""


def test_a_start_that_is_killed_at_any_line_loses_nothing_and_the_next_one_mends(tmp_path):
    whole = written(tmp_path / "log")
    (tmp_path / "log").write_bytes(whole + whole[:20])
    command = [sys.executable, "-c", KILLS, str(tmp_path / "log"), str(len(whole))]
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30  # lines of a start, at each of which one was killed


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


@pytest.fixture
def small_disk():
    """Call it to let no file grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_of_what_a_full_disk_took_half_of_nothing_is_left(tmp_path, small_disk):
    path = tmp_path / "log"
    whole = written(path)
    log = Records(path)
    small_disk(len(whole) + 30)
    with pytest.raises(OSError, match="File too large"):
        log.append(RECORDS)
    assert path.read_bytes() == whole
    small_disk(10 * len(whole))
    log.append(RECORDS)
    log.close()
    assert path.read_bytes() == 2 * whole


def test_a_log_that_cannot_be_is_named_with_the_cure(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for wrong in (tmp_path, tmp_path / "none" / "log", tmp_path / "file" / "log"):
        with pytest.raises(OSError, match=rf"{wrong} cannot be appended to: .* Name a file"):
            Records(wrong)


SHOWN = {"kind": "shown", "id": "a"}
REWARD = {"kind": "reward", "id": "a", "reward": 1.0}


@pytest.mark.parametrize(
    "twice", [[SHOWN, SHOWN], [SHOWN, REWARD, REWARD], [REWARD], [REWARD, SHOWN]]
)
def test_a_log_put_together_of_several_is_refused(twice):
    with pytest.raises(ValueError, match=r"the log: a second .* of request 'a', or a reward"):
        by_request(twice, "the log")


def test_a_batch_is_one_fsync(tmp_path, monkeypatch):
    log, calls = Records(tmp_path / "log"), []
    monkeypatch.setattr(os, "fsync", calls.append)
    log.append(RECORDS * 50)
    log.close()
    assert len(calls) == 1
