"""The runner's tables: complete, resumable, and repeatable."""

import json
from dataclasses import fields, replace

import pytest
import torch
from experiments import EXPERIMENTS, Cell, read_table, run, runner
from experiments.__main__ import main
from experiments.runner import expected_seconds, missing
from experiments.tables import here

TINY = Cell("ips", n_actions=4, n_rounds=60, batch_size=20, epochs=2, n_eval_contexts=20)
CELLS = [TINY, replace(TINY, objective="regression"), replace(TINY, n_rounds=80)]


def test_a_row_has_the_settings_the_values_and_the_references():
    one, two = TINY.run((0, 1))
    assert {field.name for field in fields(Cell)} < set(one)
    assert (one["seed"], two["seed"]) == (0, 1)
    world = TINY.world(1)
    assert two["optimum"] == world.reference_values()["optimum"]
    log, learner = world.sample(60, 1), TINY.learner(1, TINY.learning_rate)
    policy = learner.fit(log).policy_
    assert two["softmax_value"] == pytest.approx(world.policy_value(policy), abs=1e-6)
    greedy = world.policy_value(policy.at_temperature(0))
    assert two["greedy_value"] == pytest.approx(greedy, abs=1e-6)
    served = world.policy_value(policy.at_temperature(two["temperature"]))
    assert two["tuned_value"] == pytest.approx(served, abs=1e-6)


def test_the_kept_learning_rate_has_the_largest_estimate():
    cell = replace(TINY, learning_rates=(1e-12, 1e-2), epochs=30, objective="regression")
    (row,) = cell.run((0,))
    kept = replace(cell, learning_rates=(), learning_rate=row["learning_rate"])
    assert kept.run((0,))[0]["softmax_value"] == pytest.approx(row["softmax_value"], abs=1e-6)
    assert row["learning_rate"] in cell.learning_rates
    assert row["learning_rates"] == "1e-12 0.01"


@pytest.mark.parametrize(
    "cell, epochs", [(TINY, 2), (replace(TINY, n_updates=7), 2), (replace(TINY, n_updates=1), 1)]
)
def test_epochs_follow_from_the_number_of_updates(cell, epochs):
    assert cell.n_epochs == epochs


def test_an_unknown_logging_policy_is_an_error():
    with pytest.raises(ValueError, match="epsilon_greedy"):
        replace(TINY, logging_policy="best item").world(0)


def test_run_stores_every_cell_and_seed_with_its_provenance(tmp_path):
    table = run("table", CELLS, [0, 1], tmp_path, n_jobs=1, progress=False)
    stored = read_table(tmp_path / "table.csv")
    assert len(stored) == len(table) == 6
    assert list(stored["objective"]) == ["ips", "ips", "regression", "regression", "ips", "ips"]
    note = json.loads((tmp_path / "table.json").read_text())
    assert note["cells"] == 3 and note["seeds"] == [0, 1]
    assert set(stored["made_with"]) == set(note["made_with"]) == {here()[0]}
    assert note["made_with"][here()[0]]["torch"]
    assert not list(tmp_path.glob("*.partial"))


def test_a_cell_is_the_same_alone_and_beside_others(tmp_path):
    table = run("table", CELLS, [0, 1, 2], tmp_path, n_jobs=2, progress=False)
    (alone,) = CELLS[1].run((2,))
    row = table[(table.objective == "regression") & (table.seed == 2)].iloc[0]
    assert row.softmax_value == pytest.approx(alone["softmax_value"], abs=1e-6)


def test_a_run_goes_on_where_it_was(tmp_path, monkeypatch):
    run("table", CELLS[:2], [0], tmp_path, n_jobs=1, progress=False)
    before = read_table(tmp_path / "table.csv")
    ran = []

    train = Cell.run

    def spy(cell, seeds):
        ran.append((cell, seeds))
        return train(cell, seeds)

    monkeypatch.setattr(Cell, "run", spy)
    table = run("table", CELLS, [0, 1], tmp_path, n_jobs=1, progress=False)
    assert sorted(seeds for _, seeds in ran) == [(0, 1), (1,), (1,)]
    assert len(table) == 6
    again = read_table(tmp_path / "table.csv").merge(before)
    assert len(again) == len(before)
    ran.clear()
    run("table", CELLS, [0, 1], tmp_path, n_jobs=1, progress=False)
    assert ran == []


def test_cells_that_another_table_has_are_not_run_again(tmp_path, monkeypatch):
    run("one", CELLS[:2], [0, 1], tmp_path, n_jobs=1, progress=False)
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    monkeypatch.setattr(Cell, "run", lambda cell, seeds: pytest.fail("it was run"))
    table = run("two", CELLS[1:2], [1], tmp_path, n_jobs=1, progress=False)
    assert list(table["objective"]) == ["regression"] and list(table["seed"]) == [1]
    assert len(read_table(tmp_path / "two.csv")) == 1


@pytest.mark.parametrize(
    "setting",
    [
        {"learning_rates": (1e-4, 1e-2)},
        {"learning_rates": (1 / 3000, 1e-2)},
        {"learning_rate": 1 / 3000},
        {"weight_decay": 0.1 + 0.2},
    ],
    ids=["tuned", "tuned, long", "long", "off in the last digit"],
)
def test_a_cell_is_found_again_whatever_its_digits(tmp_path, setting):
    cells = [replace(TINY, **setting)]
    run("table", cells, [0], tmp_path, n_jobs=1, progress=False)
    assert missing(cells, [0], read_table(tmp_path / "table.csv")) == []


def test_results_are_written_as_they_are_read(tmp_path):
    """A table that goes on keeps what it has, to the last digit."""
    run("table", CELLS[:2], [0], tmp_path, n_jobs=1, progress=False)
    before = (tmp_path / "table.csv").read_text().splitlines()
    run("table", CELLS, [0], tmp_path, n_jobs=1, progress=False)
    assert (tmp_path / "table.csv").read_text().splitlines()[:3] == before


def made_elsewhere(table):
    """Say of a table that an older version made it."""
    note = json.loads(table.with_suffix(".json").read_text())
    (versions,) = note["made_with"].values()
    note["made_with"] = {"0.0.9-elsewhere": {**versions, "opl_lib": "0.0.9"}}
    table.with_suffix(".json").write_text(json.dumps(note))
    table.write_text(table.read_text().replace(here()[0], "0.0.9-elsewhere"))


def test_rows_keep_what_made_them_and_those_of_another_version_are_named(tmp_path):
    run("one", CELLS[:2], [0], tmp_path, n_jobs=1, progress=False)
    made_elsewhere(tmp_path / "one.csv")
    with pytest.warns(UserWarning, match=r"one.csv has 2 rows, of which 2 by version 0\.0\.9"):
        table = run("one", CELLS, [0], tmp_path, n_jobs=1, progress=False)
    assert list(table["made_with"]) == ["0.0.9-elsewhere"] * 2 + [here()[0]]
    assert set(json.loads((tmp_path / "one.json").read_text())["made_with"]) == set(table.made_with)
    with pytest.warns(UserWarning, match="delete them"):  # also where another table has them
        table = run("two", CELLS[1:2], [0], tmp_path, n_jobs=1, progress=False)
    made_with = json.loads((tmp_path / "two.json").read_text())["made_with"]
    assert list(table["made_with"]) == list(made_with) == ["0.0.9-elsewhere"]
    assert made_with["0.0.9-elsewhere"]["opl_lib"] == "0.0.9"


def test_cells_have_one_thread_and_leave_the_others_as_they_were(tmp_path, monkeypatch):
    train, seen = Cell.run, []

    def spy(cell, seeds):
        seen.append(torch.get_num_threads())
        return train(cell, seeds)

    monkeypatch.setattr(Cell, "run", spy)
    torch.set_num_threads(2)
    try:
        run("table", CELLS[:1], [0], tmp_path, n_jobs=1, progress=False)
        assert seen == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_expected_seconds_count_the_updates_and_not_what_a_cell_does_once(monkeypatch):
    def seconds(cell, seeds):
        return 5 + 0.01 * cell.updates_per_epoch * cell.n_epochs * len(seeds)

    monkeypatch.setattr(runner, "_seconds", seconds)
    cell = replace(TINY, n_rounds=4000, epochs=5)  # 200 updates an epoch
    assert expected_seconds([(cell, (0, 1))] * 2) == pytest.approx([20, 20])


def test_expected_seconds_are_above_0_where_the_clock_sees_no_difference(monkeypatch):
    monkeypatch.setattr(runner, "_seconds", lambda cell, seeds: 0.2)
    assert expected_seconds([(TINY, (0,))]) == pytest.approx([0.01 * 2 * 3])


def test_the_command_line_lists_and_estimates(tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in EXPERIMENTS)
    with pytest.raises(SystemExit):
        main(["figure9"])
    assert "no such experiment" in capsys.readouterr().err
    monkeypatch.setitem(EXPERIMENTS, "table", replace(EXPERIMENTS["figure1_intended"]))
    short = tuple(replace(TINY, n_rounds=n) for n in (40, 60))
    monkeypatch.setitem(
        EXPERIMENTS, "table", replace(EXPERIMENTS["table"], cells=short, seeds=(0,))
    )
    assert main(["table", "--dry-run", "--folder", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "0 of 2 cells are done" in shown and "60 rounds" in shown and "on 2" in shown
    assert main(["table", "--folder", str(tmp_path), "--jobs", "1"]) == 0
    main(["table", "--dry-run", "--folder", str(tmp_path)])
    assert "2 of 2 cells are done" in capsys.readouterr().out
