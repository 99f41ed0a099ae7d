"""Rehearsals: what was chosen and bounded on many logs, beside the truth."""

import json

import pytest
from experiments import read_table, rehearsal, run
from experiments.map import TEMPERATURES, WorldSpec
from experiments.rehearsal import REHEARSED, BoundsCell, RehearsalCell

from opl_lib.worlds.logging_policies import epsilon_greedy


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(REHEARSED, "tiny", WorldSpec(epsilon_greedy(0.5), n_actions=4))


def test_cells_of_another_kind_are_not_taken_for_ones_own(tmp_path):
    """A cell of `bounds` has the fields of one of `rehearsal`, and other rows."""
    bounds = run("bounds", [BoundsCell("tiny", 80)], [0], tmp_path, n_jobs=1, progress=False)
    table = run("rehearsal", [RehearsalCell("tiny", 80)], [0], tmp_path, n_jobs=1, progress=False)
    assert len(bounds) == 8 and len(table) == 1
    assert list(read_table(tmp_path / "rehearsal.csv")) == list(table)
    assert json.loads((tmp_path / "bounds.json").read_text())["kind"] == "BoundsCell"


def test_a_rehearsal_is_graded_by_the_truth():
    """What `select` says of one log, again from its bounds and their truths."""
    world = REHEARSED["tiny"].world(rehearsal.WORLD_SEED)
    (row,) = RehearsalCell("tiny", 2_000).run((3,))
    (selection,) = rehearsal.selections([world], 2_000, [3])
    assert row["best"] == selection.best
    logging = world.policy_value(world.logging_policy)
    gains = {
        name: world.policy_value(policy) - logging for name, policy in selection.policies.items()
    }
    believed = selection.table[selection.table.trusted].drop("logging").lower_bound
    assert row["trusted"] == len(believed)
    assert row["too_high"] == sum(believed[name] > gains[name] for name in believed.index)
    assert row["difference"] == {**gains, "logging": 0}[selection.best]


def test_bounds_are_shown_whatever_they_rest_on(monkeypatch):
    monkeypatch.setitem(REHEARSED, "tiny", WorldSpec(epsilon_greedy(0.05), n_actions=4))
    rows = BoundsCell("tiny", 400).run((5,))
    assert len(rows) == len(rehearsal.OBJECTIVES) * len(TEMPERATURES)
    assert min(row["ess_change"] for row in rows) < 10
    world = REHEARSED["tiny"].world(5)
    (selection,) = rehearsal.selections([world], 400, [5])
    for row in rows:
        judged = selection.table.loc[row["candidate"]]
        assert row["lower_bound"] == judged.lower_bound
        assert row["trusted"] >= judged.trusted == (row["trusted"] and judged.ess_change >= 10)
