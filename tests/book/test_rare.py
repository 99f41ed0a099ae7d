"""Rare clicks, wrong propensities and rules: what the tables count, again by hand."""

from dataclasses import replace

import numpy as np
import pytest
from experiments import EXPERIMENTS, faults, rare, rare_bounds, rule
from experiments.faults import CATALOGUES, FAULTS, FaultsCell, UnloggedCell, faulty
from experiments.rare import RARE_WORLDS, RareMapCell, RareRehearsalCell
from experiments.rare_bounds import ExplorationCell, RareBoundsCell, bolder_than, explored
from experiments.rare_typed import TypedCell
from experiments.rule import RuleCell

import opl_lib as opl

OURS = ("rare_map", "rare_typed", "rare_rehearsal", "rare_bounds")


def tiny(click_rate, seed):
    return opl.ShopWorld(
        n_items=8, n_users=60, n_eval_pages=50, click_rate=click_rate, random_state=seed
    )


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(RARE_WORLDS, "tiny", tiny)
    monkeypatch.setitem(CATALOGUES, "tiny", {"n_items": 8, "n_users": 200})
    for module in (rare, rule, rare_bounds):
        monkeypatch.setattr(module, "SETTINGS", {**rare.SETTINGS, "epochs": 2})


@pytest.mark.parametrize("name", OURS)
def test_every_world_clicks_in_one_round_of_seventy(name):
    cells = EXPERIMENTS[name].cells
    assert {cell.world for cell in cells} == {"ten items", "shop"}
    assert {cell.click_rate for cell in cells} <= {0.015, 0.5}
    log = cells[0].made(3).sample(20_000, 1)
    assert 0.01 < log.reward.mean() < 0.02


def test_the_map_has_the_truth_of_each_learner():
    rows = RareMapCell("tiny", 0.1, 300).run((3,))
    assert [row["learner"] for row in rows] == [
        *("regression", "ips", "snips", "dr", "dros", "likelihood", "constant item")
    ]
    world = tiny(0.1, 3)
    log = world.sample(300, rare.LOG_SEED)
    policy = rare.learner("ips", 3).fit(log).policy_
    (row,) = (row for row in rows if row["learner"] == "ips")
    assert row["greedy"] == pytest.approx(world.policy_value(policy.at_temperature(0)), abs=1e-5)
    assert row["softmax"] == pytest.approx(world.policy_value(policy.at_temperature(1)), abs=1e-5)
    assert row["clicks"] == log.reward.sum()
    constant = opl.ConstantItemLearner().fit(log).policy_
    assert rows[-1]["greedy"] == rows[-1]["softmax"] == world.policy_value(constant)


def test_what_learn_decides_is_graded_by_the_truth():
    (row,) = TypedCell("tiny", 0.1, 400).run((3,))
    world = tiny(0.1, 3)
    found = opl.learn(world.sample(400, rare.LOG_SEED), progress=False)
    assert (row["decision"], row["chosen"]) == (found.decision, found.best)
    assert row["chosen_value"] == pytest.approx(world.policy_value(found.policy), abs=1e-5)
    assert row["too_few_clicks"] == sum("min_rewards" in why for why in found.not_trusted.values())
    assert row["served_gain"] == 0 or found.decision == "serve"


def test_a_rehearsal_serves_or_keeps():
    (row,) = RareRehearsalCell("tiny", 0.1, 400).run((3,))
    assert row["served"] != "logging" or row["served_gain"] == 0
    assert 0 <= row["n_trusted"] <= 2 * len(rare.SELECTED)


def test_a_bound_is_an_estimate_less_its_error():
    rows = RareBoundsCell("tiny", 0.1, 400).run((3, 4))
    assert len(rows) == 2 * 3 * len(rare_bounds.ESTIMATORS)
    world = tiny(0.1, rare_bounds.WORLD_SEED)
    row = rows[0]
    assert (row["policy"], row["estimator"]) == ("uniform", "ips")
    logging = world.policy_value(world.logging_policy)
    assert row["gain"] == pytest.approx(world.policy_value(opl.uniform()) - logging)
    judged = opl.evaluate(
        opl.uniform(), world.sample(400, 3), ["ips"], difference=True, interval="student_t",
        confidence=0.9,
    ).loc["ips"]  # fmt: skip
    assert row["difference"] == pytest.approx(judged.difference)
    assert row["bound"] == pytest.approx(judged.ci_lower)


def test_a_shop_explores_more_and_stays_the_same_shop(monkeypatch):
    monkeypatch.setattr(rare_bounds, "shop", lambda rate, seed, **dials: replace(
        tiny(rate, seed), **dials
    ))  # fmt: skip
    little, much = explored(0.05, 3), explored(0.4, 3)
    a, b = little.reference_values(), much.reference_values()
    assert b["uniform"] == pytest.approx(a["uniform"], rel=0.02)
    assert b["logging"] < a["logging"]
    assert (little.logging_policy.exploration, much.logging_policy.exploration) == (0.05, 0.4)
    (row,) = ExplorationCell(0.4, 300).run((3,))
    assert row["gain"] == pytest.approx(much.policy_value(bolder_than(much)) - b["logging"])


def test_every_fault_but_none_changes_the_propensities():
    right = faulty("right", "tiny", 400, 3)
    for fault in FAULTS:
        log = faulty(fault, "tiny", 400, 3)
        assert (log.pscore == right.pscore).all() == (fault == "right"), fault
        np.testing.assert_array_equal(log.action, right.action)
    digits = faults.one_digit(np.array([0.0149, 0.0151, 0.96, 0.3, 1.0]))
    np.testing.assert_allclose(digits, [0.01, 0.02, 1.0, 0.3, 1.0])


def test_a_report_is_asked_about_each_fault():
    rows = {row["fault"]: row for row in FaultsCell("tiny", 3000).run((3,))}
    assert list(rows) == list(FAULTS)
    assert rows["halved"]["found"] == rows["halved"]["called_wrong"] == 1
    assert rows["halved"]["by"] == "mean weight"
    assert rows["one digit"]["found"] == 1
    assert rows["right"]["by"] == "none"


def test_a_log_without_propensities_is_judged_by_what_takes_their_place():
    rows = {row["pscore"]: row for row in UnloggedCell("tiny", 2000).run((3,))}
    assert list(rows) == list(faults.SOURCES)
    error = {name: abs(row["estimate"] - row["truth"]) for name, row in rows.items()}
    assert error["recorded"] < error["all 1"]
    assert rows["all 1"]["n_findings"] >= 1


def test_a_rule_shows_one_item_and_explores_as_told():
    rows = RuleCell(0.0, 0.0, 400).run((3,)) + RuleCell(0.2, 0.0, 400).run((3,))
    worlds = [RuleCell(epsilon, 0.0, 400).world(3) for epsilon in (0.0, 0.2)]
    logs = [world.sample(400, rule.LOG_SEED) for world in worlds]
    assert logs[0].is_deterministic and not logs[1].is_deterministic
    assert set(logs[1].pscore.round(6)) == {0.81, 0.01}
    assert rows[0]["optimum"] == rows[1]["optimum"]
    assert rows[0]["logging"] > rows[1]["logging"]
