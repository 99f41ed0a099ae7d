"""Damaged tables and notes: none goes on in silence, and all are told before the first cell."""

import errno
import fcntl
import io
import json
import os
import pickle
import re
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from experiments import __main__, read_table, run, runner, tables
from experiments.__main__ import main
from experiments.figures import EXPERIMENTS, Experiment
from experiments.tables import TableError, here


@dataclass(frozen=True)
class Toy:
    """A cell that takes no time, with a row for each of `candidates`."""

    world: str
    n_rounds: int
    rate: float = 0.1
    ran: ClassVar[list] = []
    candidates: ClassVar[tuple] = ("one",)

    @property
    def settings(self):
        return asdict(self)

    @property
    def title(self):
        return f"{self.world} {self.n_rounds}"

    def cost(self, n_seeds):
        return self.n_rounds

    def run(self, seeds):
        self.ran.append((self, seeds))
        return [
            {
                **self.settings,
                "seed": seed,
                "candidate": candidate,
                "value": (self.n_rounds + seed + number) / 7,
                "lower_bound": float("nan") if seed else -0.5,
                "seconds": 0.25,
            }
            for seed in seeds
            for number, candidate in enumerate(self.candidates)
        ]


class Toys(Toy):
    candidates = ("one", "two, of three", "three")


CELLS = {
    kind: [kind(world, n) for world in ("ε-greedy", "uniform") for n in (10, 200)]
    for kind in (Toy, Toys)
}
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module", params=[Toy, Toys], ids=["a row a seed", "rows of a seed"])
def whole(request, tmp_path_factory):
    """A table as it is written: its cells, its text, its note and its rows."""
    folder = tmp_path_factory.mktemp("whole")
    cells = CELLS[request.param]
    run("table", cells, SEEDS, folder, n_jobs=1, progress=False)
    texts = [(folder / f"table.{suffix}").read_bytes() for suffix in ("csv", "json")]
    return cells, *texts, read_table(folder / "table.csv")


def outcome(folder, cells, expected):
    """What becomes of a run where a damaged table lies: "refused" or "right", else it fails."""
    Toy.ran.clear()
    try:
        table = run("table", cells, SEEDS, folder, n_jobs=1, progress=False)
    except TableError as error:
        assert Toy.ran == [], "only after a cell was run"
        assert re.search(re.escape(str(folder)) + r".*table\.(csv|json)", str(error))
        assert "move the file away" in str(error).lower()
        return "refused"
    pd.testing.assert_frame_equal(table, expected, check_exact=False, rtol=1e-5)
    assert len(read_table(folder / "table.csv")) == len(expected)
    return "right"


def put(folder, text, note):
    (folder / "table.csv").write_bytes(text)
    (folder / "table.json").write_bytes(note)


def damages(text, rng):
    """Texts of a damaged table, by what happened to it."""
    cuts = np.linspace(1, len(text) - 1, 40).astype(int)
    yield from (("cut off", text[:cut]) for cut in cuts)
    for _ in range(60):
        place, bit = rng.integers(len(text)), 1 << rng.integers(8)
        yield "a bit", text[:place] + bytes([text[place] ^ bit]) + text[place + 1 :]
    for _ in range(20):
        start, end = sorted(rng.integers(len(text), size=2))
        yield "a part gone", text[:start] + text[end:]
        yield "a part zero", text[:start] + bytes(end - start) + text[end:]
    lines = text.decode().splitlines()
    for _ in range(40):
        row, column = rng.integers(1, len(lines)), rng.integers(lines[0].count(",") + 1)
        values = lines[row].split(",")
        values[column] = str(rng.choice(["", "nan", "inf", "x", "0", "-1", "1e999", "0.1"]))
        changed = [*lines[:row], ",".join(values), *lines[row + 1 :]]
        yield "a value", "\n".join(changed).encode()


def test_no_damage_by_chance_goes_on_in_silence(tmp_path, whole):
    cells, text, note, expected = whole
    counts = Counter()
    for kind, damaged in damages(text, np.random.default_rng(12)):
        put(tmp_path, damaged, note)
        counts[kind, outcome(tmp_path, cells, expected)] += 1
    assert counts["cut off", "refused"] >= 30
    assert counts["a bit", "refused"] >= 55
    assert counts["a part zero", "refused"] >= 19


HOSTILE = {
    "empty": lambda t: "",
    "rubbish": lambda t: "%PDF-1.7 \x01\x02",
    "zeros": lambda t: "\0" * len(t),
    "semicolons": lambda t: t.replace(",", ";"),
    "tabs": lambda t: t.replace(",", "\t"),
    "a byte order mark": lambda t: "\ufeff" + t,
    "no seeds": lambda t: t.replace(",seed,", ",sees,", 1),
    "a column less": lambda t: "\n".join(re.sub(",[^,]*$", "", line) for line in t.split("\n")),
    "a column more": lambda t: re.sub("\n(?=.)", ",1\n", t.replace("\n", ",note\n", 1) + "\n"),
    "a column named otherwise": lambda t: t.replace("value", "values", 1),
    "a column twice": lambda t: t.replace("value", "rate", 1),
    "names swapped": lambda t: t.replace("value,lower_bound", "lower_bound,value", 1),
    "an older setting": lambda t: t.replace("n_rounds", "rounds", 1),
    "a header once more": lambda t: t + t.split("\n")[0] + "\n",
    "a row twice": lambda t: t + t.splitlines()[2] + "\n",
    "all rows twice": lambda t: t + t.split("\n", 1)[1],
    "a row twice, with another value": lambda t: t + t.splitlines()[1].replace(".25,", ".26,"),
    "a row of another cell": lambda t: t + t.splitlines()[1].replace("greedy", "greed") + "\n",
    "an unknown seed": lambda t: t.replace(",1,one", ",1.5,one", 1),
    "what made it is unknown": lambda t: t.replace(here()[0], "9.9.9-elsewhere", 1),
    "an open quote": lambda t: t.replace("one", '"one', 1),
    "a merge": lambda t: t.replace("\n", "\n<<<<<<< HEAD\n", 2),
    "an empty line": lambda t: t.replace("\n", "\n\n", 2),
    "no last value": lambda t: t.rstrip("\n")[:-12],
    "text for a number": lambda t: t.replace("0.25", "a quarter", 1),
    "two rows exchanged in a column": lambda t: t.replace("-0.5", "?", 1).replace(",,", ",-0.5,", 1)
    .replace("?", "", 1),
}  # fmt: skip


@pytest.mark.parametrize("damage", HOSTILE)
def test_a_damaged_table_is_refused_before_the_first_cell(tmp_path, whole, damage):
    cells, text, note, expected = whole
    put(tmp_path, HOSTILE[damage](text.decode()).encode(), note)
    assert outcome(tmp_path, cells, expected) == "refused"


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_table_in_another_encoding_is_refused(tmp_path, whole, encoding):
    cells, text, note, expected = whole
    put(tmp_path, text.decode().replace("ε", "é").encode(encoding), note)
    assert outcome(tmp_path, cells, expected) == "refused"


def by_another_reader(text):
    return pd.read_csv(io.StringIO(text)).to_csv(index=False)


def last_seed_first(text):
    names, *rows = text.splitlines()
    return "\n".join([names, *sorted(rows, key=lambda row: row.split(",")[3], reverse=True)])


def first_seed_gone(text):
    return "\n".join(line for line in text.splitlines() if line.split(",")[3] != "0")


HARMLESS = {
    "line ends of Windows": lambda t: t.replace("\n", "\r\n"),
    "empty lines at the end": lambda t: t + "\n\n",
    "no last line end": lambda t: t.rstrip("\n"),
    "no rows": lambda t: t.split("\n")[0] + "\n",
    "rows in another order": last_seed_first,
    "rows deleted": first_seed_gone,
    "read and written by pandas": by_another_reader,
}


@pytest.mark.parametrize("change", HARMLESS)
def test_what_does_not_matter_is_accepted(tmp_path, whole, change):
    cells, text, note, expected = whole
    put(tmp_path, HARMLESS[change](text.decode()).encode(), note)
    assert outcome(tmp_path, cells, expected) == "right"


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\0" * 9,
        b"\xff",
        b"[" * 100_000,
        b"{}",
        b'{"kind": "Toy"}',
        b'{"kind": "Cell", "made_with": {}}',
        b'{"kind": "Toy", "made_with": 3}',
    ],
    ids=lambda note: str(note[:30]),
)
def test_a_damaged_note_is_refused_and_no_matter_beside_another_table(tmp_path, whole, note):
    cells, text, _, expected = whole
    put(tmp_path, text, note)
    assert outcome(tmp_path, cells, expected) == "refused"
    table = run("other", cells, SEEDS, tmp_path, n_jobs=1, progress=False)
    assert len(Toy.ran) == len(cells) and len(table) == len(expected)


def test_a_note_that_is_gone_or_says_otherwise_is_refused(tmp_path, whole):
    cells, text, note, expected = whole
    put(tmp_path, text, note.replace(b'"torch": "2', b'"torch": "3'))
    assert outcome(tmp_path, cells, expected) == "refused"
    (tmp_path / "table.json").unlink()
    assert outcome(tmp_path, cells, expected) == "refused"


def test_a_damaged_table_beside_is_left_and_its_cells_are_run(tmp_path, whole):
    cells, text, note, expected = whole
    put(tmp_path, text[:-40], note)
    Toy.ran.clear()
    table = run("other", cells, SEEDS, tmp_path, n_jobs=1, progress=False)
    pd.testing.assert_frame_equal(read_table(tmp_path / "other.csv"), expected)
    assert len(Toy.ran) == len(cells) and len(table) == len(expected)


def test_a_note_from_before_the_last_row_is_repaired(tmp_path, whole):
    cells, text, note, expected = whole
    stale = {**json.loads(note), "cells": 2, "core_hours": 0.1}
    put(tmp_path, text, json.dumps(stale).encode())
    assert outcome(tmp_path, cells, expected) == "right"
    assert (tmp_path / "table.json").read_bytes() == note


def test_a_complete_table_is_not_touched(tmp_path, whole):
    cells, text, note, expected = whole
    put(tmp_path, text, note)
    before = [(path.name, path.stat().st_ino) for path in sorted(tmp_path.iterdir())]
    assert outcome(tmp_path, cells, expected) == "right" and Toy.ran == []
    assert [(path.name, path.stat().st_ino) for path in sorted(tmp_path.iterdir())] == before


def test_an_error_names_path_row_and_cure(tmp_path, whole):
    _, text, note, _ = whole
    lines = text.decode().splitlines(keepends=True)
    put(tmp_path, "".join([*lines[:3], lines[3][:30] + "\n", *lines[4:]]).encode(), note)
    with pytest.raises(
        ValueError, match=r"table\.csv, row 3 \(line 4\): .* Delete this row"
    ) as raised:
        read_table(tmp_path / "table.csv")
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)  # from a worker
    with pytest.raises(TypeError, match="path"):
        read_table(None)


def test_a_cell_that_returns_no_number_is_named_and_not_stored(tmp_path, monkeypatch):
    bad = Toy("uniform", 10, rate=0.2)
    monkeypatch.setattr(Toy, "run", lambda cell, seeds: [
        {**cell.settings, "seed": s, "value": float("nan"), "seconds": 1.0} for s in seeds
    ])  # fmt: skip
    with pytest.raises(ValueError, match=r"Toy\(.*rate=0.2.*\): value is nan for seed 3"):
        run("table", [bad], [3], tmp_path, n_jobs=1, progress=False)
    monkeypatch.setattr(Toy, "run", lambda cell, seeds: [])
    with pytest.raises(ValueError, match="rows of the seeds"):
        run("table", [bad], [3], tmp_path, n_jobs=1, progress=False)
    assert not (tmp_path / "table.csv").exists()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"name": "a/b"}, "name"),
        ({"name": ""}, "name"),
        ({"name": 3}, "name"),
        ({"cells": []}, "cells"),
        ({"cells": None}, "cells"),
        ({"cells": ["ips"]}, "cells"),
        ({"cells": [Toy("a", 1), Toys("a", 1)]}, "cells"),
        ({"cells": [Toy("a", 1), Toy("a", 1)]}, "cells"),
        ({"seeds": []}, "seeds"),
        ({"seeds": 3}, "seeds"),
        ({"seeds": [0, 0]}, "seeds"),
        ({"seeds": [0, -1]}, r"seeds\[1\]"),
        ({"seeds": [0.5]}, r"seeds\[0\]"),
        ({"seeds": "01"}, "seeds"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"n_jobs": -1}, "n_jobs"),
        ({"n_jobs": True}, "n_jobs"),
        ({"n_jobs": "2"}, "n_jobs"),
        ({"progress": "no"}, "progress"),
        ({"folder": None}, "folder"),
        ({"folder": 3}, "folder"),
        ({"folder": ""}, "folder"),
        ({"folder": "\ud800"}, "folder"),
    ],
    ids=lambda each: ascii(each)[:40],
)
def test_arguments_are_checked_before_anything_is_made(tmp_path, wrong, message):
    right = {"name": "table", "cells": [Toy("a", 1)], "seeds": [0], "folder": tmp_path, "n_jobs": 1}
    with pytest.raises((ValueError, TypeError), match=message):
        run(**right | wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def toys(monkeypatch):
    """The command line with a single experiment."""
    for name in list(EXPERIMENTS):
        monkeypatch.delitem(EXPERIMENTS, name)
    for name in ("first", "second"):
        monkeypatch.setitem(EXPERIMENTS, name, Experiment("ε", tuple(CELLS[Toy]), SEEDS))


def test_the_command_line_tells_of_a_damaged_table_before_it_fills_another(tmp_path, toys, capsys):
    (tmp_path / "second.csv").write_text("<<<<<<< HEAD\n")
    for arguments in (["--jobs", "1"], ["--dry-run"]):
        assert main(["--folder", str(tmp_path), *arguments]) == 1
        assert "second.csv" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["second.csv"]


def test_the_command_line_refuses_a_file_as_folder(tmp_path, toys, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(["--folder", str(tmp_path / "file"), "--jobs", "1"]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("jobs", ["0", "-3", "two", "1.5", ""])
def test_the_command_line_refuses_odd_numbers_of_processes(tmp_path, toys, jobs, capsys):
    with pytest.raises(SystemExit):
        main(["--folder", str(tmp_path), "--jobs", jobs, "--dry-run"])
    assert f"--jobs: must be an integer of at least 1; got {jobs!r}" in capsys.readouterr().err


def test_help_goes_into_a_pipe_that_has_few_letters(toys, monkeypatch):
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", pipe)
    with pytest.raises(SystemExit):
        main(["--help"])
    pipe.flush()
    assert b"4 cells x  3 seeds   ?" in pipe.buffer.getvalue()


@pytest.mark.parametrize("which", ["table.json", "table.csv"])
def test_a_full_disk_is_told_with_its_path_before_the_first_cell(tmp_path, monkeypatch, which):
    """As the system tells it, of the file that does not fit."""
    run("table", CELLS[Toy][:1], SEEDS, tmp_path, n_jobs=1, progress=False)
    before = (tmp_path / "table.csv").read_bytes()
    write = os.fsync

    def full(descriptor):
        name = os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
        if name.startswith(which):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    Toy.ran.clear()
    with pytest.raises(OSError, match=f"No space left on device: .*{which}"):
        run("table", CELLS[Toy], SEEDS, tmp_path, n_jobs=1, progress=False)
    assert Toy.ran == [] and (tmp_path / "table.csv").read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))


def returning(monkeypatch, *changes):
    """Let cells return a row a seed, each with another change."""
    right = {"candidate": "one", "value": 0.5, "lower_bound": 0.1, "seconds": 0.25}
    monkeypatch.setattr(Toy, "run", lambda cell, seeds: [
        {**cell.settings, "seed": seed, **right, **change}
        for seed, change in zip(seeds, changes, strict=False)
    ])  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        *(None, pd.NA, pd.NaT, Decimal("nan"), Decimal("0.5"), Fraction(1, 2), 1 + 0j),
        *(torch.tensor(0.5), np.array(0.5), [0.5], b"half", np.datetime64("2026-01-01")),
        *(float("inf"), np.float32("nan"), 10**400, 2**63),
        *("a\rb", "a\nb", "a\0b", "\x1b[0m", "\ud800"),
    ],
    ids=lambda value: ascii(value)[:30],
)
@pytest.mark.parametrize("name", ["value", "lower_bound", "candidate"])
def test_a_value_that_no_table_can_hold_is_refused(tmp_path, monkeypatch, name, value):
    returning(monkeypatch, {name: value})
    if name == "lower_bound" and isinstance(value, np.floating):
        assert len(run("table", CELLS[Toy], [3], tmp_path, n_jobs=1, progress=False)) == 4
        return
    with pytest.raises(ValueError, match=rf"Toy\(.*: {name} is .* for seed 3, and "):
        run("table", CELLS[Toy], [3], tmp_path, n_jobs=1, progress=False)
    assert not (tmp_path / "table.csv").exists()


@pytest.mark.parametrize("value", [3, np.int8(3), 0.5, np.float32(0.5), True, np.True_, "ε, 1"])
def test_numbers_of_every_size_and_text_are_stored_and_read(tmp_path, monkeypatch, value):
    returning(monkeypatch, {"value": value})
    run("table", CELLS[Toy], [3], tmp_path, n_jobs=1, progress=False)
    assert list(read_table(tmp_path / "table.csv")["value"]) == [value] * 4


@pytest.mark.parametrize(
    "change",
    [{"more": 1}, {"check": "a"}, {"more\r": 1}, {3: 1}, {"world": "another"}],
    ids=ascii,
)
def test_rows_of_other_columns_or_settings_are_refused(tmp_path, monkeypatch, change):
    returning(monkeypatch, {}, change)
    with pytest.raises(ValueError, match=r"Toy\(.*: (the row of seed 4|no column)"):
        run("table", CELLS[Toy], [3, 4], tmp_path, n_jobs=1, progress=False)
    assert not (tmp_path / "table.csv").exists()


def test_rows_without_their_time_or_settings_are_refused(tmp_path, monkeypatch):
    for row in ({"seconds": 1}, {**CELLS[Toy][0].settings, "value": 1}):
        monkeypatch.setattr(Toy, "run", lambda cell, seeds, row=row: [{**row, "seed": seeds[0]}])
        with pytest.raises(ValueError, match="lacks columns that it must have"):
            run("table", CELLS[Toy][:1], [3], tmp_path, n_jobs=1, progress=False)


@pytest.fixture
def newer(monkeypatch):
    """Code whose cells return one more column than those of the stored table."""
    older = ("candidate", "value", "lower_bound")
    monkeypatch.setattr(Toy, "results", (*older, "more"), raising=False)
    returning(monkeypatch, *[{"more": 1}] * 3)
    before = Toy.run
    monkeypatch.setattr(
        Toy, "run", lambda cell, seeds: [Toy.ran.append(cell), before(cell, seeds)][1]
    )


def test_a_table_of_other_results_is_told_before_a_cell_is_computed(tmp_path, request):
    run("table", CELLS[Toy][:2], SEEDS, tmp_path, n_jobs=1, progress=False)
    request.getfixturevalue("newer")
    Toy.ran.clear()
    with pytest.raises(TableError, match=r"table\.csv: in the columns \['more'\] it is not of Toy"):
        run("table", CELLS[Toy], SEEDS, tmp_path, n_jobs=1, progress=False)
    assert Toy.ran == []


def test_rows_of_other_results_are_not_taken_from_another_table(tmp_path, request):
    run("older", CELLS[Toy][:2], SEEDS, tmp_path, n_jobs=1, progress=False)
    request.getfixturevalue("newer")
    Toy.ran.clear()
    table = run("table", CELLS[Toy], SEEDS, tmp_path, n_jobs=1, progress=False)
    assert len(Toy.ran) == 4 and list(table["more"]) == [1] * 12


def test_the_results_that_are_known_are_those_of_the_stored_tables():
    for name, experiment in EXPERIMENTS.items():
        if not (tables.RESULTS / f"{name}.csv").exists():  # `make figures` would run it
            continue
        stored = read_table(tables.RESULTS / f"{name}.csv")
        assert set(stored) == tables.columns_of(type(experiment.cells[0]))


def test_cells_that_stay_missing_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_numbered", lambda number, *_: (number, [], *here()))
    with pytest.raises(TableError, match=r"table\.csv: 4 cells are missing after the run"):
        run("table", CELLS[Toy], SEEDS, tmp_path, n_jobs=1, progress=False)


@pytest.mark.parametrize("folder", ["", "\ud800"], ids=ascii)
def test_the_command_line_refuses_a_folder_that_cannot_be(
    toys, tmp_path, monkeypatch, folder, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["--folder", folder, "--jobs", "1"])
    assert "--folder: must be a path that can exist" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_takes_a_folder_with_a_slash(toys, tmp_path):
    assert main(["--folder", f"{tmp_path}/new/", "--jobs", "1"]) == 0
    assert len(read_table(tmp_path / "new" / "first.csv")) == 12


def test_a_killed_worker_is_told_in_one_line(toys, tmp_path, monkeypatch, capsys):
    def killed(*args):
        raise BrokenProcessPool("A worker process managed by the executor was terminated")

    monkeypatch.setattr(__main__, "run", killed)
    assert main(["first", "--folder", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "first: a worker was killed" in line
    assert "fewer --jobs; finished cells are kept" in line


def test_a_dry_run_ends_quietly_with_its_reader(toys, tmp_path, monkeypatch, capfd):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        assert main(["--dry-run", "--folder", str(tmp_path)]) == 141
        pipe.write("more")  # without an error when it is closed
    assert capfd.readouterr().err == ""


def test_links_to_a_table_share_its_lock_and_no_name_has_that_of_another(tmp_path):
    (tmp_path / "link.csv").symlink_to("a.csv")
    (tmp_path / "folder").symlink_to(tmp_path)
    a, same = tmp_path / "a.csv", [tmp_path / "link.csv", tmp_path / "folder" / "a.csv"]
    others = [tmp_path / name for name in ("a.runner.csv", "a.table.csv", ".a.csv", "a.csv.csv")]
    for what in ("table", "runner"):
        with runner._locked(a, what, wait=True):
            for path in same:
                with runner._locked(path, what, wait=False) as held:
                    assert not held
            for path in [a, *others]:
                for which in {"table", "runner"} - ({what} if path == a else set()):
                    with runner._locked(path, which, wait=False) as held:
                        assert held


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_told_with_path_and_cure(tmp_path, monkeypatch, number):
    def flock(descriptor, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    Toy.ran.clear()
    with pytest.raises(OSError, match=f"disk that can lock files: '{tmp_path}/") as raised:
        run("table", CELLS[Toy], SEEDS, tmp_path, n_jobs=1, progress=False)
    assert raised.value.errno == number and Toy.ran == []


def test_a_candidate_that_changes_nothing_has_infinitely_many_rounds_of_change(
    tmp_path, monkeypatch
):
    returning(monkeypatch, {"ess_change": float("inf"), "lower_bound": float("nan")})
    run("table", CELLS[Toy], [3], tmp_path, n_jobs=1, progress=False)
    stored = read_table(tmp_path / "table.csv")
    assert list(stored["ess_change"]) == [float("inf")] * 4 and stored["lower_bound"].isna().all()
