"""Estimates of many estimators beside the truth."""

import numpy as np
import pytest
from experiments import estimation, read_table
from experiments.estimation import ESTIMATORS, LOGGED, POLICIES, EstimationCell, LoggedSpec
from experiments.tables import RESULTS

import opl_lib as opl


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(LOGGED, "tiny", LoggedSpec(None, beta=-5, n_actions=4))


def test_each_policy_is_estimated_as_evaluate_does():
    rows = EstimationCell("tiny", 400).run((3,))
    assert [row["policy"] for row in rows] == list(POLICIES)
    world = LOGGED["tiny"].world(3)
    log = world.sample(400, estimation.LOG_SEED)
    q_hat = opl.cross_fit(estimation.Ridge(), log, random_state=3)
    policies = estimation._policies(LOGGED["tiny"], world, 3)
    for row in rows:
        policy = policies[row["policy"]]
        table = opl.evaluate(policy, log, list(ESTIMATORS), q_hat, difference=True)
        assert [row[name] for name in ESTIMATORS] == pytest.approx(table.difference.tolist())
        assert [row[f"{name}_se"] for name in ESTIMATORS] == pytest.approx(table.std_error.tolist())
        gain = world.policy_value(policy) - world.policy_value(world.logging_policy)
        assert row["difference"] == gain
        assert abs(row["dr_truth"] - gain) < 0.2


def test_a_negative_beta_shows_what_is_bad():
    world = LOGGED["tiny"].world(0)
    values = world.reference_values()
    assert values["logging"] < values["uniform"]
    pi = world.logging_policy(world.eval_context, world.action_context)
    q = world.expected_reward(world.eval_context)
    first = np.log(pi[:, 0] / pi[:, 1])
    np.testing.assert_allclose(first, -5 * (q[:, 0] - q[:, 1]), atol=1e-9)


def test_the_ridge_of_many_rows_finds_what_is_bilinear():
    world = LOGGED["tiny"].world(0)
    model = estimation.Ridge().fit(LOGGED["tiny"].made(0, opl.uniform()).sample(5_000, 1))
    q = world.expected_reward(world.eval_context)
    found = model.predict_reward(world.eval_context, world.action_context)
    assert np.corrcoef(found.ravel(), q.ravel())[0, 1] > 0.9


@pytest.mark.skipif(not (RESULTS / "estimators.csv").exists(), reason="no stored table")
def test_a_log_of_the_stored_estimators_repeats():
    table = read_table(RESULTS / "estimators.csv")
    row = table[(table.n_rounds == 1_000) & (table.world == "uniform")].iloc[0]
    again = EstimationCell(row.world, 1_000).run((int(row.seed),))
    for name in ("difference", "logging", *ESTIMATORS):
        assert again[0][name] == pytest.approx(row[name], abs=1e-4), name
