"""The map: every learner learns from the same log and is chosen from the log alone."""

import numpy as np
import pytest
from experiments import learners, read_table, run
from experiments.learners import LEARNERS, make_regressor
from experiments.map import LOG_SEED, TEMPERATURES, WORLDS, MapCell, WorldSpec

from opl_lib.worlds.logging_policies import epsilon_greedy


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(WORLDS, "tiny", WorldSpec(epsilon_greedy(0.5), n_rounds=160, n_actions=4))
    monkeypatch.setattr(learners, "EPOCHS", 2)


@pytest.mark.filterwarnings("ignore")  # what other libraries say of a log this short
@pytest.mark.parametrize("learner", LEARNERS)
def test_a_learner_is_chosen_among_its_candidates(learner):
    (row,) = MapCell("tiny", learner).run((3,))
    assert (row["world"], row["learner"], row["seed"]) == ("tiny", learner, 3)
    assert row["kept_logging"] in (0, 1)
    assert np.isfinite(row["difference"]) and row["seconds"] > 0
    served_at = [row["chosen"].endswith(f"@ {t:g}") for t in TEMPERATURES]
    is_greedy_always = learner in ("obp classifier", "Vowpal Wabbit")
    assert any(served_at) != is_greedy_always


def gain(policy, log, q_hat):
    """DR's estimate of the gain over the logging policy, by hand."""
    rows, pi = np.arange(len(log.action)), policy.predict_proba(log.context, log.action_context)
    q = q_hat.predict_reward(log.context, log.action_context)
    weight = pi[rows, log.action] / log.pscore
    residual = log.reward - q[rows, log.action]
    return ((pi * q).sum(axis=1) + weight * residual - log.reward).mean()


def test_the_choice_is_the_largest_estimate_on_the_rounds_that_were_held_out():
    world = WORLDS["tiny"].world(3)
    to_fit, held_out = world.sample(160, LOG_SEED).split(0.25, random_state=0)
    (policies,) = LEARNERS["IPS"]([to_fit], [3])
    q_hat = make_regressor(3).fit(to_fit)
    served = {f"{n} @ {t:g}": p.at_temperature(t) for n, p in policies.items() for t in (0, 1)}
    gains = {name: gain(policy, held_out, q_hat) for name, policy in served.items()}
    (row,) = MapCell("tiny", "IPS").run((3,))
    assert row["chosen"] == max(gains, key=gains.get)
    assert row["difference"] == pytest.approx(max(gains.values()), abs=1e-5)
    values = {name: world.policy_value(policy) for name, policy in served.items()}
    assert row["policy_value"] == pytest.approx(values[row["chosen"]], abs=1e-5)
    assert row["best_value"] == pytest.approx(max(values.values()), abs=1e-5)


def test_worlds_differ_by_seed_and_are_shared_by_learners():
    one, two = MapCell("tiny", "regression").run((0, 1))
    (other,) = MapCell("tiny", "IPS").run((1,))
    assert two["optimum"] == other["optimum"] != one["optimum"]


def test_every_world_can_be_made():
    for name, spec in WORLDS.items():
        world = spec.world(0)
        assert 0 < world.reference_values()["optimum"] <= 1, name


def test_the_runner_stores_the_map_and_goes_on(tmp_path):
    cells = [MapCell("tiny", learner) for learner in ("regression", "IPS")]
    run("map", cells[:1], [0], tmp_path, n_jobs=1, progress=False)
    table = run("map", cells, [0], tmp_path, n_jobs=1, progress=False)
    assert list(table.learner) == ["regression", "IPS"]
    assert len(read_table(tmp_path / "map.csv")) == 2
