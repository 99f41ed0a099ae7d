"""The map: every learner learns from the same log and is chosen from the log alone."""

import numpy as np
import pytest
from experiments import atlas as atlas_module
from experiments import read_table, run
from experiments.map import LEARNERS, WORLDS, MapCell, Setting

from opl_lib.worlds.logging_policies import epsilon_greedy


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(WORLDS, "tiny", Setting(epsilon_greedy(0.5), n_rounds=160, n_actions=4))
    monkeypatch.setattr(atlas_module, "EPOCHS", 2)


@pytest.mark.filterwarnings("ignore")  # what other libraries say of a log this short
@pytest.mark.parametrize("learner", LEARNERS)
def test_a_learner_is_chosen_among_its_candidates(learner):
    (row,) = MapCell("tiny", learner).run((3,))
    assert (row["world"], row["learner"], row["seed"]) == ("tiny", learner, 3)
    assert max(row["policy_value"], row["bound_value"]) <= row["best_value"] <= row["optimum"]
    assert row["kept_logging"] in (0, 1)
    assert np.isfinite(row["difference"]) and row["seconds"] > 0
    served_at = [row["chosen"].endswith(f"@ {t:g}") for t in atlas_module.TEMPERATURES]
    is_greedy_always = learner in ("obp classifier", "Vowpal Wabbit")
    assert any(served_at) != is_greedy_always


def test_worlds_differ_by_seed_and_are_shared_by_learners():
    one, two = MapCell("tiny", "regression").run((0, 1))
    (other,) = MapCell("tiny", "IPS").run((1,))
    assert two["optimum"] == other["optimum"] != one["optimum"]


def test_every_world_can_be_made():
    for name, setting in WORLDS.items():
        world = setting.world(0)
        assert 0 < world.reference_values()["optimum"] <= 1, name


def test_the_runner_stores_the_map_and_goes_on(tmp_path):
    cells = [MapCell("tiny", learner) for learner in ("regression", "IPS")]
    run("map", cells[:1], [0], tmp_path, n_jobs=1, progress=False)
    table = run("map", cells, [0], tmp_path, n_jobs=1, progress=False)
    assert list(table.learner) == ["regression", "IPS"]
    assert len(read_table(tmp_path / "map.csv")) == 2
