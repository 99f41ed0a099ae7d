"""Runners that are killed, or fill one table together: no row is lost, and none outlives them."""

import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from experiments import EXPERIMENTS, read_table, run, runner
from experiments.__main__ import main
from experiments.figures import Experiment
from experiments.runner import Table
from tqdm import tqdm

# Python 3.12 warns of a fork beside threads; none of these holds a lock.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
KILLS = int(os.environ.get("KILLS", "72"))  # a few seconds; KILLS=1000 for more
started: list[int] = []  # where a forked runner tells of its cells


@dataclass(frozen=True)
class Quick:
    """A cell that tells when it starts: those that its runner had before are stored by then."""

    number: int
    takes: ClassVar[float] = 0.0005  # seconds

    @property
    def settings(self):
        return asdict(self)

    def cost(self, n_seeds):
        return 1 + self.number % 7

    def run(self, seeds):
        for seed in seeds:
            os.write(started[0], bytes([self.number, seed]))
        time.sleep(self.takes)
        return [
            {**self.settings, "seed": seed, "value": self.number + seed / 8, "seconds": 1}
            for seed in seeds
        ]


CELLS = [Quick(number) for number in range(24)]


class Runner:
    """A process of its own that fills a table, by fork: no new interpreter."""

    def __init__(self, fill, *args):
        self.pipe, into = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                tqdm.set_lock(threading.RLock())  # its own would be shared with whom we kill
                started[:] = [into]
                code = fill(*args)
            finally:
                os._exit(code)
        os.close(into)

    def end(self, how=0):
        """Its exit code, and the cells and seeds that it has stored for certain."""
        os.kill(self.pid, how)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        with open(self.pipe, "rb") as pipe:
            told = pipe.read()
        began = list(zip(told[::2], told[1::2], strict=True))
        return code, set(began if code == 0 else began[:-1])


def fill(folder, seeds):
    run("table", CELLS, seeds, folder, n_jobs=1, progress=False)
    return 0


def stored(folder):
    table, _ = Table("table", CELLS, folder).read()
    return {} if table.empty else dict(zip(zip(table.number, table.seed), table.value))  # noqa: B905


def test_no_kill_loses_a_row_of_one_runner_or_two(tmp_path):
    """Half of the kills meet a runner alone; else two fill a table, with the same seeds or not."""
    rng, folder, before, kills, alive = np.random.default_rng(12), tmp_path / "0", {}, 0, 0
    while kills < KILLS:
        together = [[(0,)], [(1,)], [(0,), (1,)], [(0,), (0,)]][kills // 2 % 4]
        runners = [Runner(fill, folder, seeds) for seeds in together]
        time.sleep(rng.uniform(0, 0.06))
        ends = [runner.end(signal.SIGKILL) for runner in runners]
        kills += len(ends)
        alive += sum(code == -signal.SIGKILL for code, _ in ends)
        now = stored(folder)
        assert set(before).union(*(told for _, told in ends)) <= set(now)
        assert all(value == number + seed / 8 for (number, seed), value in now.items())
        before = now
        if len(now) == 2 * len(CELLS):
            folder, before = tmp_path / str(kills), {}
    assert alive > kills / 2
    assert Runner(fill, folder, (0, 1)).end()[0] == 0
    assert len(stored(folder)) == 2 * len(CELLS)


@pytest.mark.parametrize("seeds", [[(0,), (1,)], [(0, 1), (0, 1)], [(0, 1), (1, 2), (2, 3)]])
def test_runners_of_one_table_lose_nothing(tmp_path, seeds):
    ends = [runner.end() for runner in [Runner(fill, tmp_path, each) for each in seeds]]
    assert [code for code, _ in ends] == [0] * len(seeds)
    wanted = {(cell.number, seed) for cell in CELLS for each in seeds for seed in each}
    assert set(stored(tmp_path)) == wanted
    assert not list(tmp_path.glob("*.partial"))


def test_runners_of_one_table_share_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(Quick, "takes", 0.03)
    ends = [runner.end() for runner in [Runner(fill, tmp_path, (0, 1)) for _ in range(2)]]
    assert len(stored(tmp_path)) == 2 * len(CELLS)
    assert sum(len(told) for _, told in ends) <= 2 * (len(CELLS) + 4)


@dataclass(frozen=True)
class Endless(Quick):
    """All cells but the first take long."""

    title = "endless"

    def cost(self, n_seeds):
        return 9 - self.number

    def run(self, seeds):
        (Path(os.environ["FOLDER"]) / str(os.getpid())).touch()
        if self.number:
            time.sleep(900)
        return [{**self.settings, "seed": seed, "value": 1, "seconds": 1} for seed in seeds]


def fill_by_command(folder, n_jobs):
    """As by the command line, with what it says in a file."""
    os.environ["FOLDER"] = str(folder)
    os.dup2(os.open(folder / "said", os.O_CREAT | os.O_WRONLY), sys.stderr.fileno())
    sys.stderr = os.fdopen(sys.stderr.fileno(), "w", buffering=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in the background
    EXPERIMENTS.clear()
    EXPERIMENTS["table"] = Experiment("for a test", tuple(map(Endless, range(3))), (0,))
    return main(["table", "--folder", str(folder), "--jobs", str(n_jobs)])


def wait_until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    "how, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_stopped_run_leaves_its_finished_cells(tmp_path, how, code):
    runner = Runner(fill_by_command, tmp_path, 1)
    wait_until(lambda: len(read_table(tmp_path / "table.csv")))
    assert runner.end(how)[0] == code
    assert list(read_table(tmp_path / "table.csv")["number"]) == [0]
    said = (tmp_path / "said").read_text()
    assert ("the same command goes on from there" in said) == (how != signal.SIGKILL)


def is_alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_runner(tmp_path, how):
    def busy():
        return [int(path.name) for path in tmp_path.iterdir() if path.name.isdecimal()]

    runner = Runner(fill_by_command, tmp_path, 2)
    wait_until(lambda: len(read_table(tmp_path / "table.csv")) and len(busy()) == 2)
    runner.end(how)
    wait_until(lambda: not any(map(is_alive, busy())), seconds=5)


@dataclass(frozen=True)
class Here(Quick):
    """A cell that tells in which process it was run."""

    def run(self, seeds):
        return [
            {**self.settings, "seed": seed, "process": os.getpid(), "seconds": 1} for seed in seeds
        ]


def test_a_relative_folder_is_that_of_this_process(tmp_path, monkeypatch):
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        table = run("table", list(map(Here, range(4))), [0], "tables", progress=False)
        assert len(table) == len(read_table(tmp_path / name / "tables" / "table.csv")) == 4


def test_no_more_workers_than_cells_are_started(tmp_path, monkeypatch):
    asked = []

    class Spy(runner.Parallel):
        def __init__(self, n_jobs, **settings):
            asked.append(n_jobs)
            super().__init__(1, **settings)

    monkeypatch.setattr(runner, "Parallel", Spy)
    for n_jobs in (1, 2, 64):
        run(f"table{n_jobs}", list(map(Here, range(3))), [n_jobs], tmp_path,
            n_jobs=n_jobs, progress=False)  # fmt: skip
    assert asked == [1, 2, 3]


@dataclass(frozen=True)
class Killed(Here):
    """A cell whose worker the system kills."""

    title = "killed"

    def run(self, seeds):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_ends_the_command_with_a_line(tmp_path, monkeypatch, capsys):
    cells = tuple(map(Killed, range(2)))
    monkeypatch.setitem(EXPERIMENTS, "table", Experiment("for a test", cells, (0,)))
    assert main(["table", "--folder", str(tmp_path), "--jobs", "2"]) == 1
    assert "table: a worker was killed" in capsys.readouterr().err
