"""The choice among candidates from their terms: joint bounds, who is preferred, what is advised."""

import math

import numpy as np
import pytest
from scipy.stats import norm, t

import opl_lib as opl
from opl_lib.evaluation.intervals import Interval
from opl_lib.logs.units import Units
from opl_lib.selection.choice import choose
from opl_lib.selection.joint import critical_value
from opl_lib.selection.judge import Judge
from opl_lib.selection.tests_in_public import rounds_of_a_test

# ---- joint bounds


def correlated(n_candidates, n_units, correlation, seed=0):
    """Terms of candidates that share a part of their noise; every mean is 0."""
    rng = np.random.default_rng(seed)
    shared, own = rng.normal(size=(1, n_units)), rng.normal(size=(n_candidates, n_units))
    return math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own


@pytest.mark.parametrize("n_units", [2, 10, 1_000])
@pytest.mark.parametrize("tail", [0.05, 0.2, 0.5])
def test_of_one_candidate_it_is_students_t(n_units, tail):
    assert critical_value(correlated(1, n_units, 0), tail) == pytest.approx(
        t.ppf(1 - tail, n_units - 1), abs=1e-9
    )


@pytest.mark.parametrize("correlation", [0, 0.5, 0.9])
def test_of_many_it_lies_between_one_and_bonferroni(correlation):
    terms = correlated(8, 500, correlation)
    found = critical_value(terms, 0.05)
    assert t.ppf(0.95, 499) < found <= t.ppf(1 - 0.05 / 8, 499)


def test_it_falls_with_the_correlation():
    found = [critical_value(correlated(8, 500, each), 0.05) for each in (0, 0.5, 0.9, 0.99)]
    assert sorted(found, reverse=True) == found and found[0] - found[-1] > 0.4


def test_of_identical_candidates_it_is_that_of_one():
    terms = np.repeat(correlated(1, 300, 0), 6, axis=0) * np.arange(1, 7)[:, None]
    assert critical_value(terms, 0.05) == pytest.approx(t.ppf(0.95, 299), abs=0.03)


@pytest.mark.parametrize("n_candidates", [2, 10])
def test_of_independent_candidates_it_is_exact(n_candidates):
    """The largest of K independent normals is below z with probability Φ(z) to the K."""
    terms = correlated(n_candidates, 20_000, 0)
    exact = norm.ppf(0.95 ** (1 / n_candidates))
    assert critical_value(terms, 0.05) == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize("correlation", [0, 0.9])
def test_all_bounds_hold_together_with_the_stated_confidence(correlation):
    wrong, n_logs, n_units = 0, 300, 60
    for seed in range(n_logs):
        terms = correlated(5, n_units, correlation, seed)
        away = critical_value(terms, 0.05)
        bounds = terms.mean(axis=1) - away * terms.std(axis=1, ddof=1) / math.sqrt(n_units)
        wrong += bounds.max() > 0
    assert abs(wrong / n_logs - 0.05) < 3 * math.sqrt(0.05 * 0.95 / n_logs)


def test_candidates_without_an_error_cost_the_others_nothing():
    """A policy that changes nothing gains 0 in every round."""
    terms = correlated(1, 300, 0)
    more = np.vstack([terms, np.zeros((5, 300)), np.full((1, 300), 0.5)])
    assert critical_value(more, 0.05) == critical_value(terms, 0.05)
    assert np.isfinite(critical_value(np.zeros((3, 20)), 0.05))


@pytest.mark.parametrize("tail", [1e-3, 1e-6, 1e-12])
def test_of_tails_that_no_draw_shows_it_is_bonferronis(tail):
    terms = correlated(5, 500, 0)
    assert critical_value(terms, tail) == pytest.approx(t.ppf(1 - tail / 5, 499), rel=1e-6)


@pytest.mark.parametrize("scale", [1e-200, 1e6, 1e200])
def test_it_does_not_depend_on_the_unit(scale):
    terms = correlated(4, 100, 0.5)
    assert critical_value(scale * terms, 0.05) == pytest.approx(critical_value(terms, 0.05))


# ---- the choice


def log_of(reward):
    n = len(reward)
    return opl.BanditFeedback(np.ones((n, 1)), np.arange(n) % 2, reward, np.full(n, 0.5), np.eye(2))


def chosen(terms, reward=None, confidence=0.95, min_ess=10.0, min_rewards=5.0):
    judge = Judge(opl.Estimator("ips"), confidence, min_ess, min_rewards, Interval("student_t"))
    reward = next(iter(terms.values())).reward if reward is None else reward
    return choose(judge, terms, log_of(reward), dict.fromkeys(terms, 1.0))


HALF = np.tile([1.0, 0.0], 200)  # the rewards


def noisy(gain, seed, size=0.3):
    """Weights of mean 1 whose terms of the gain have exactly that mean, with noise around it."""
    noise = np.random.default_rng(seed).uniform(-size, size, (200, 2))
    more = noise - noise.mean(axis=0) + [2 * gain, -2 * gain]
    return opl.Terms(HALF, 1 + more.ravel())


def test_the_first_is_preferred_unless_another_is_clearly_better():
    shared = {"a": noisy(0.010, 0, size=0.1), "b": noisy(0.011, 1, size=0.1)}
    assert chosen(shared).best == "a"
    assert chosen({name: shared[name] for name in "ba"}).best == "b"
    assert chosen(shared | {"c": noisy(0.04, 2, size=0.1)}).best == "c"
    both = shared | {"c": noisy(0.04, 2, size=0.1), "d": noisy(0.03, 3, size=0.1)}
    assert chosen(both).best == "c"


def test_a_difference_is_judged_on_the_same_rounds():
    """Two estimates with large errors of their own, of which one is surely the larger."""
    first = noisy(0.02, 0)
    other = opl.Terms(HALF, first.weight + np.where(HALF, 0.01, -0.01))
    assert chosen({"a": first, "b": other}).best == "b"


def test_where_bounds_are_above_0_only_those_are_chosen_from():
    found = chosen({"a": noisy(0.02, 0, size=0.9), "b": noisy(0.02, 1, size=0.02)})
    assert (found.best, found.decision) == ("b", "serve")
    assert found.table.lower_bound["a"] < 0 < found.table.lower_bound["b"]
    assert found.table.index[0] == "b"


def test_bounds_are_joint():
    terms = {"a": noisy(0.02, 0), "b": noisy(0.01, 1), "c": noisy(-0.02, 2)}
    found = chosen(terms)
    stacked = np.stack([(each.weight - 1) * HALF for each in terms.values()])
    away = critical_value(stacked, 0.05)
    for name, own in zip(terms, stacked, strict=True):
        row = found.table.loc[name]
        assert row.difference == pytest.approx(own.mean())
        assert row.std_error == pytest.approx(own.std(ddof=1) / 20)
        assert row.lower_bound == pytest.approx(own.mean() - away * row.std_error)


@pytest.mark.parametrize(
    ("mean", "size", "decision"), [(0.1, 0.3, "serve"), (0.01, 0.3, "test"), (-0.1, 0.3, "keep")]
)
def test_each_decision_is_reached(mean, size, decision):
    found = chosen({"a": noisy(mean, 0, size=size)})
    assert found.decision == decision
    said = " / ".join(found.reasons)
    assert f"its estimated gain is {mean:.3g} (standard error" in said
    assert f"{2 * mean:+.0%} of the logging policy's" in said  # whose value is one half
    expected = {
        "serve": "with 95% confidence the gain is at least",
        "test": "this log cannot tell it from none / an A/B test of",
        "keep": "'a' is not expected to be better than what runs now",
    }
    assert expected[decision] in said


def test_what_is_kept_is_no_claim_about_candidates_that_are_not_preferred():
    found = chosen({"a": noisy(-0.001, 0), "b": noisy(0.001, 1)})
    assert found.decision == "keep"
    assert found.table.difference["b"] > 0
    assert "no other candidate that can be judged is clearly better than it" in found.reasons[-1]


def test_a_policy_that_changes_nothing_gains_exactly_nothing():
    """Whatever a reward model leaves by rounding."""
    rng = np.random.default_rng(0)
    q_logged = rng.normal(size=400)
    same = opl.Terms(np.ones(400), np.ones(400), q_logged, q_logged + 1e-17)
    judge = Judge(opl.Estimator("dr"), 0.95, 10, 5, Interval("student_t"))
    found = choose(judge, {"same": same}, log_of(np.ones(400)), {"same": 1.0})
    assert found.decision == "keep"
    row = found.table.loc["same"]
    assert (row.difference, row.std_error, row.lower_bound, row.trusted) == (0, 0, 0, True)
    assert found.report.loc["difference"].tolist() == [0, 0, 0, 0]


# ---- who is trusted


def test_few_effective_rounds_are_said_in_words():
    weight = np.full(400, 0.5)
    weight[:3] = 1 + 0.5 * 397 / 3
    found = chosen({"a": opl.Terms(np.ones(400), weight)})
    assert not found.table.trusted["a"] and np.isnan(found.table.lower_bound["a"])
    assert found.not_trusted["a"].startswith(
        "the effective rounds of the change are 3, below min_ess=10, of 400 that judge."
    )


def test_few_rewards_are_said_in_words():
    reward = np.zeros(400)
    reward[[0, 2, 4, 6]] = 1
    weight = np.tile([1.9, 0.1], 200)
    found = chosen({"a": opl.Terms(reward, weight)}, reward)
    assert found.table.ess_change["a"] == pytest.approx(200)
    assert found.table.ess_reward_change["a"] == pytest.approx(4)
    assert found.not_trusted["a"] == (
        "the effective rounds of the change that carry a reward are 4, below min_rewards=5: a "
        "longer log, or one with more exploration, would have more"
    )
    assert found.decision == "test"
    assert (
        "no bound can be believed: the effective rounds of the change that carry"
        in (found.reasons[1])
    )
    assert chosen({"a": opl.Terms(reward, weight)}, reward, min_rewards=4).not_trusted == {}


def test_rewards_of_both_signs_count_by_their_size():
    """Their sum may be 0, of however many rounds."""
    rng = np.random.default_rng(0)
    reward, weight = rng.normal(size=400), np.tile([1.9, 0.1], 200)
    terms = opl.Terms(reward, weight)
    assert terms.ess_reward_change == opl.Terms(-reward, weight).ess_reward_change
    assert 50 < terms.ess_reward_change < 200
    ones = opl.Terms(np.ones(400), weight)
    assert ones.ess_reward_change == pytest.approx(ones.ess_change) == pytest.approx(200)
    assert opl.Terms(reward, np.ones(400)).ess_reward_change == math.inf


def test_rewards_of_a_user_count_as_one():
    weight, reward = np.tile([1.9, 0.1], 200), np.ones(400)
    users = Units.of(np.arange(400) // 40, 400)
    assert opl.Terms(reward, weight, units=users).ess_reward_change == pytest.approx(10)


def test_a_wrong_propensity_is_said_in_words():
    found = chosen({"a": opl.Terms(np.ones(400), np.full(400, 1.5))})
    assert found.not_trusted["a"].startswith("the mean weight is 1.5 (standard error 0)")
    assert found.decision == "test"


def test_of_candidates_none_of_which_can_be_judged_the_first_is_preferred():
    few = np.full(400, 0.9)
    few[:2] += 0.1 * 200
    terms = {name: opl.Terms(np.ones(400), few) for name in "ab"}
    found = chosen(terms)
    assert found.best == "a" and set(found.not_trusted) == {"a", "b"}


def test_of_one_unit_nothing_is_bounded():
    users = Units.of(np.zeros(400), 400)
    same = noisy(0.1, 0)
    terms = opl.Terms(HALF, same.weight, units=users)
    found = chosen({"a": terms}, min_ess=0, min_rewards=0)
    assert found.table.lower_bound["a"] == -math.inf and found.decision == "test"


# ---- the size of a test


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_size_of_a_test_is_the_textbooks(confidence):
    reward, gain = np.repeat([0.0, 1.0], [700, 300]), 0.02
    z = norm.ppf(confidence) + norm.ppf(0.8)
    expected = math.ceil(2 * 0.3 * 0.7 * z**2 / gain**2)
    assert rounds_of_a_test(reward, gain, confidence) == expected


def test_a_test_of_that_size_sees_the_gain_four_times_of_five():
    rng, rate, gain = np.random.default_rng(0), 0.3, 0.05
    n = rounds_of_a_test(np.repeat([0.0, 1.0], [700, 300]), gain, 0.95)
    new, old = rng.binomial(n, rate + gain, 4_000) / n, rng.binomial(n, rate, 4_000) / n
    error = np.sqrt((new * (1 - new) + old * (1 - old)) / n)
    assert np.mean(new - old > 1.645 * error) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(
    ("reward", "gain"),
    [
        (np.ones(5), 0.1),
        (1e300 * np.arange(5.0), 1e290),
        (1e-200 * np.arange(5.0), 1e-201),
        (np.arange(5.0), 1e-300),
        (1e300 * np.arange(5.0), 1e-300),
    ],
)
def test_the_size_of_a_test_is_a_number_at_every_scale(reward, gain):
    assert rounds_of_a_test(reward, gain, 0.95) >= 1
