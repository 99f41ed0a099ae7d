"""Tamed weights on hard logs, and two candidates on one log: cells beside the truth, and stored."""

import numpy as np
import pytest
from experiments import pairs, read_table, tails
from experiments.estimation import LOG_SEED, LOGGED, LoggedSpec
from experiments.pairs import ESTIMATED, PAIRS, PairsCell, delta_beta
from experiments.tables import RESULTS
from experiments.tails import DEFAULT, DEVELOPMENT, LOGS, REPORTED, TAMED, TailsCell

import opl_lib as opl
from opl_lib.evaluation.terms import policy_terms


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(LOGGED, "tiny", LoggedSpec(None, beta=5, n_actions=4))
    (row, *_) = PairsCell("tiny", 400).run((3,))
    world = LOGGED["tiny"].world(3)
    log = world.sample(400, LOG_SEED)
    policies = pairs._pairs("tiny", world, 3)
    return row, world, [policy_terms(each, log) for each in policies[PAIRS[0]]], policies


def test_a_pair_is_estimated_row_by_row(tiny):
    row, world, (one, other), policies = tiny
    per_row = (one.weight - other.weight) * one.reward
    assert row["ips"] == pytest.approx(per_row.mean())
    assert row["ips_se"] == pytest.approx(per_row.std(ddof=1) / 20)
    errors = [(each.weight * each.reward).std(ddof=1) / 20 for each in (one, other)]
    assert row["ips_apart"] == pytest.approx(np.hypot(*errors))
    first, second = policies[row["pair"]]
    assert row["difference"] == world.policy_value(first) - world.policy_value(second)


def test_no_other_baseline_has_a_smaller_spread(tiny):
    _, _, (one, other), _ = tiny
    gap = one.weight - other.weight
    least = delta_beta(one, other).std()
    for baseline in np.linspace(-1, 2, 31):
        assert (gap * (one.reward - baseline)).std() >= least - 1e-12


def test_what_is_done_to_a_log_leaves_the_values_of_policies():
    world = tails.site(0)
    log, rng = world.sample(20_000, 1), np.random.default_rng(0)
    priced = tails.priced(log, rng)
    assert (priced.reward > 0).tolist() == (log.reward > 0).tolist()
    paid = priced.reward[priced.reward > 0]
    assert paid.min() >= (tails.TAIL - 1) / tails.TAIL
    assert np.median(paid) == pytest.approx(2 ** (1 / tails.TAIL) / 3, rel=0.03)
    noise = np.log(tails.misrecorded(log, rng).pscore / log.pscore)
    unclipped = noise[log.pscore < 0.05]  # these are hardly ever cut off at 1
    assert np.median(unclipped) == pytest.approx(0, abs=0.05)
    assert unclipped.std() == pytest.approx(tails.NOISE, rel=0.05)


def test_development_and_report_share_no_seed():
    assert not set(DEVELOPMENT) & set(REPORTED)


def test_a_cell_is_a_learner_of_the_library():
    (row,) = TailsCell("clicks", "log_sum_exp", 0.1, 5e-3).run((0,))
    world = tails.site(0)
    learner = opl.OffPolicyLearner(
        opl.log_sum_exp(0.1), learning_rate=5e-3, random_state=0, progress=False, **tails.FIT
    )
    policy = learner.fit(world.sample(tails.N_ROUNDS, tails.LOG_SEED)).policy_
    assert row["softmax_value"] == pytest.approx(world.policy_value(policy), abs=1e-6)
    greedy = world.policy_value(policy.at_temperature(0))
    assert row["greedy_value"] == pytest.approx(greedy, abs=1e-6)


def test_all_that_is_tried_is_in_the_table():
    cells = tails.tails_cells()
    assert {cell.log for cell in cells} == set(LOGS)
    assert {cell.objective for cell in cells} == {*TAMED, DEFAULT}
    assert len(set(cells)) == len(cells)


@pytest.mark.skipif(not (RESULTS / "pairs.csv").exists(), reason="no stored table")
def test_a_log_of_the_stored_pairs_repeats():
    row = read_table(RESULTS / "pairs.csv").iloc[0]
    again = PairsCell(row.world, int(row.n_rounds)).run((int(row.seed),))
    for name in ("difference", "agree", "delta_beta", *ESTIMATED):
        assert again[0][name] == pytest.approx(row[name], abs=1e-4), name
