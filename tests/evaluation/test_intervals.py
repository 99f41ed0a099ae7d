"""Intervals: by hand, coverage by simulation, what has no interval, what is rejected."""

import math

import numpy as np
import pytest
from helpers import PI, Q_HAT

import opl_lib as opl
from opl_lib.evaluation.intervals import (
    INTERVALS,
    Interval,
    bootstrap,
    empirical_bernstein,
    normal,
    student_t,
)
from opl_lib.evaluation.terms import Terms
from opl_lib.logs.units import Units

ROWS = np.array([0.0, 0.5, 1.0, 0.5])  # mean 0.5, sample variance 1/6, standard error sqrt(1/24)
SETTINGS = {"empirical_bernstein": {"reward_range": (0, 1), "max_weight": 4}}
IPS = opl.Estimator("ips")


def of_kind(kind):
    return Interval(kind, **SETTINGS.get(kind, {}))


def bounds_of(how, estimator, terms, tail=0.05):
    return how.bounds(estimator.sample(terms, how.reward_range, how.max_weight), tail)


def on_policy(reward):
    """The terms of a policy that is the logging policy: IPS is the mean reward."""
    return Terms(np.asarray(reward, dtype=float), np.ones(len(reward)))


# ---- by hand


@pytest.mark.parametrize(
    ("bounds", "tail", "width"),
    [
        (normal, 0.025, 1.959964 * math.sqrt(1 / 24)),
        (normal, 0.05, 1.644854 * math.sqrt(1 / 24)),
        (student_t, 0.025, 3.182446 * math.sqrt(1 / 24)),
        (student_t, 0.05, 2.353363 * math.sqrt(1 / 24)),
    ],
)
def test_symmetric_bounds_by_hand(bounds, tail, width):
    assert bounds(ROWS, tail) == pytest.approx((0.5 - width, 0.5 + width), abs=1e-6)


def test_empirical_bernstein_by_hand():
    """ln(2/0.05) = 3.688879; terms in [0, 1] and the same scaled to [-2, 8]."""
    width = math.sqrt(2 * (1 / 6) * 3.688879 / 4) + 7 * 3.688879 / (3 * 3)
    lower, upper = empirical_bernstein(ROWS, 0.05, 0, 1)
    assert (lower, upper) == pytest.approx((0.5 - width, 0.5 + width), abs=1e-6)
    scaled = empirical_bernstein(10 * ROWS - 2, 0.05, -2, 8)
    assert scaled == pytest.approx((10 * lower - 2, 10 * upper - 2))


def test_the_bootstrap_takes_percentiles_of_estimates_made_anew():
    rng = np.random.default_rng(1)
    terms = Terms(rng.binomial(1, 0.4, 50), rng.exponential(size=50))
    draws = np.random.default_rng(5).integers(50, size=(1000, 50))
    weight, reward = terms.weight[draws], terms.reward[draws]
    ratios = (weight * reward).sum(axis=1) / weight.sum(axis=1)
    expected = np.quantile(ratios, [0.1, 0.9])
    assert bootstrap(opl.Estimator("snips").sample(terms), 0.1, 5) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("name", ["ips", "sndr"])
@pytest.mark.parametrize("difference", [False, True])
def test_the_bootstrap_draws_users_with_all_of_their_rows(name, difference):
    rng = np.random.default_rng(1)
    user = rng.permutation(np.repeat(np.arange(20), rng.integers(1, 5, size=20)))
    n = len(user)
    terms = Terms(
        rng.binomial(1, 0.4, n).astype(float),
        rng.exponential(size=n),
        rng.uniform(size=n),
        rng.uniform(size=n),
        difference,
        Units.of(user, n),
    )
    draws, estimates = np.random.default_rng(5), []
    for _ in range(1000):
        drawn = draws.integers(20, size=20)
        rows = np.concatenate([np.flatnonzero(user == each) for each in drawn])
        columns = (terms.reward, terms.weight, terms.q_logged, terms.q_policy)
        resample = Terms(*(column[rows] for column in columns), difference)
        estimates.append(opl.Estimator(name).sample(resample).value)
    expected = np.quantile(estimates, [0.1, 0.9])
    found = bootstrap(opl.Estimator(name).sample(terms), 0.1, 5)
    assert found == pytest.approx(tuple(expected), rel=1e-12)


def test_the_bootstrap_of_many_users_adds_up_their_rows_once(monkeypatch):
    """A thousand resamples make no thousand passes over the rows."""
    sums, calls = Units.sums, []
    monkeypatch.setattr(Units, "sums", lambda self, terms: calls.append(1) or sums(self, terms))
    rng, user = np.random.default_rng(0), np.arange(2000) % 500
    terms = Terms(rng.uniform(size=2000), rng.exponential(size=2000), units=Units.of(user, 2000))
    bootstrap(opl.Estimator("snips").sample(terms), 0.05, 0)
    assert len(calls) <= 5


def test_the_bootstrap_is_seeded():
    terms = on_policy(np.arange(30.0))
    bounds = [bootstrap(IPS.sample(terms), 0.05, seed) for seed in (0, 0, 1)]
    assert bounds[0] == bounds[1] != bounds[2]


@pytest.mark.parametrize("kind", INTERVALS)
def test_each_end_is_a_one_sided_bound(kind, tiny_world):
    """evaluate at 90 % puts 5 % in each tail."""
    log = tiny_world.sample(80, random_state=0)
    row = opl.evaluate(
        opl.uniform(), log, ["ips"], confidence=0.9, interval=kind, **SETTINGS.get(kind, {})
    ).loc["ips"]
    terms = Terms(log.reward, 1 / 3 / log.pscore)
    ends = bounds_of(of_kind(kind), IPS, terms)
    assert (row.ci_lower, row.ci_upper) == pytest.approx(ends)


def test_the_table_says_which_range_was_used(tiny_world):
    log = tiny_world.sample(80, random_state=0)
    setting = {"interval": "empirical_bernstein", "reward_range": (0, 1)}
    table = opl.evaluate(opl.uniform(), log, ["avg", opl.Estimator("clipped_ips", 2)], **setting)
    assert table.term_min.tolist() == [0, 0]
    assert table.term_max.tolist() == [1, 2]
    wider = opl.evaluate(opl.uniform(), log, ["ips"], **setting, max_weight=10).loc["ips"]
    assert wider.term_max == 10
    # 7 R ln(2/0.025) / (3 (n - 1)) of the width, each side
    most = 7 * 10 * math.log(80) / (3 * 79)
    spread = math.sqrt(2 * math.log(80)) * wider.std_error
    assert wider.ci_upper - wider.policy_value == pytest.approx(most + spread)


# ---- coverage


def share_covered(bounds, draw, truth, n_logs):
    ends = [bounds(draw(np.random.default_rng(seed))) for seed in range(n_logs)]
    return np.mean([lower <= truth <= upper for lower, upper in ends])


@pytest.mark.parametrize("tail", [0.025, 0.1])
def test_students_t_covers_as_often_as_it_says_for_few_normal_terms(tail):
    covered = share_covered(
        lambda rows: student_t(rows, tail), lambda rng: rng.normal(size=5), 0, n_logs=4000
    )
    error = math.sqrt(2 * tail * (1 - 2 * tail) / 4000)
    assert covered == pytest.approx(1 - 2 * tail, abs=4 * error)
    # the normal one is too narrow here: the reason for Student's
    narrower = share_covered(
        lambda rows: normal(rows, tail), lambda rng: rng.normal(size=5), 0, n_logs=4000
    )
    assert narrower < 1 - 2 * tail - 4 * error


def test_one_sided_bounds_fail_as_often_as_they_say():
    lower = [student_t(np.random.default_rng(s).normal(size=8), 0.05)[0] for s in range(4000)]
    assert np.mean(np.array(lower) > 0) == pytest.approx(0.05, abs=4 * math.sqrt(0.0475 / 4000))


@pytest.mark.parametrize("kind", ["normal", "student_t", "bootstrap"])
@pytest.mark.parametrize("name", ["ips", "sndr"])
def test_intervals_of_a_longer_log_cover_as_often_as_they_say(kind, name, tiny_world):
    pi, q_hat = PI, Q_HAT
    estimator, how = opl.Estimator(name), of_kind(kind)

    def draw(rng):
        x = rng.choice(2, size=300, p=tiny_world.p_x)
        a = (tiny_world.pi_0[x].cumsum(axis=1) < rng.uniform(size=(300, 1))).sum(axis=1)
        r = rng.binomial(1, tiny_world.q[x, a]).astype(float)
        weight = pi[x, a] / tiny_world.pi_0[x, a]
        return Terms(r, weight, q_hat[x, a], (pi * q_hat).sum(axis=1)[x])

    covered = share_covered(
        lambda terms: bounds_of(how, estimator, terms), draw, tiny_world.value(pi), n_logs=400
    )
    # 0.9 within four standard errors of the simulation, 0.015, and a little for the approximation
    assert covered == pytest.approx(0.9, abs=0.07)


@pytest.mark.parametrize("n", [5, 50, 500])
def test_empirical_bernstein_covers_at_least_as_often_as_it_says(n):
    """Rare large terms, for which the normal interval is far too narrow."""

    def draw(rng):
        return 10.0 * rng.binomial(1, 0.02, size=n)

    covered = share_covered(lambda rows: empirical_bernstein(rows, 0.05, 0, 10), draw, 0.2, 1000)
    assert covered >= 0.9
    if n < 500:
        assert share_covered(lambda rows: normal(rows, 0.05), draw, 0.2, 1000) < 0.8


# ---- what has no interval


@pytest.mark.parametrize("kind", INTERVALS)
def test_one_round_has_an_infinite_interval(kind):
    assert bounds_of(of_kind(kind), IPS, on_policy([1.0])) == (-math.inf, math.inf)


@pytest.mark.parametrize("kind", INTERVALS)
@pytest.mark.parametrize("name", ["ips", "dr", "clipped_ips", "switch_dr", "dros"])
def test_no_weight_gives_no_interval(kind, name):
    zeros = np.zeros(20)
    terms = Terms(np.arange(20) % 2.0, zeros, zeros + 0.5, zeros + 0.5)
    assert np.isnan(bounds_of(of_kind(kind), opl.Estimator(name), terms)).all()


def test_a_switch_that_drops_every_weight_is_the_direct_method_and_has_no_interval():
    terms = Terms(np.arange(20) % 2.0, np.full(20, 5.0), np.full(20, 0.5), np.full(20, 0.5))
    assert np.isnan(bounds_of(Interval(), opl.Estimator("switch_dr", 1), terms)).all()
    assert np.isfinite(bounds_of(Interval(), opl.Estimator("switch_dr", 6), terms)).all()


def test_a_resample_without_any_weight_leaves_the_bootstrap_without_a_number():
    terms = Terms(np.ones(5), np.array([1.0, 0, 0, 0, 0]))
    assert np.isnan(bootstrap(opl.Estimator("snips").sample(terms), 0.05, 0)).all()
    assert np.isfinite(bootstrap(IPS.sample(terms), 0.05, 0)).all()


# ---- what is rejected


def test_a_tail_that_no_resample_reaches_is_rejected():
    two = IPS.sample(on_policy([0, 1]))
    Interval("bootstrap").bounds(two, 0.001)
    with pytest.raises(ValueError, match=r"1,000 resamples, too few to see a tail of 0\.0005"):
        Interval("bootstrap").bounds(two, 0.0005)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "t"}, r"interval must be one of \['normal', .*; got 't'"),
        ({"kind": None}, "interval must be one of .*; got None"),
        ({"random_state": -1}, "random_state must be an integer of at least 0; got -1"),
        ({"reward_range": (0, 1)}, "reward_range is used by interval='empirical_bernstein' only"),
        ({"kind": "bootstrap", "max_weight": 5}, "max_weight is used by .* only; leave it out"),
        ({"kind": "empirical_bernstein"}, r"pass reward_range=\(0, 1\) for clicks"),
        ({"kind": "empirical_bernstein", "reward_range": (1, 0)}, r"the smaller first; got \(1, 0"),
        ({"kind": "empirical_bernstein", "reward_range": 1}, "must be two finite numbers.*got 1"),
        (
            {"kind": "empirical_bernstein", "reward_range": (0, math.inf)},
            "reward_range must be two finite numbers",
        ),
        (
            {"kind": "empirical_bernstein", "reward_range": (0, 1), "max_weight": 0.5},
            "max_weight must be a finite number of at least 1; got 0.5",
        ),
    ],
    ids=str,
)
def test_bad_settings_are_rejected(settings, message):
    with pytest.raises(ValueError, match=message):
        Interval(**settings)


@pytest.mark.parametrize(
    ("estimator", "terms", "message"),
    [
        (
            "ips",
            Terms(np.array([0.0, 2.0]), np.ones(2)),
            "reward .*reward_range says; row 1 has 2.0",
        ),
        (
            "ips",
            Terms(np.ones(2), np.array([4.5, 1])),
            "weight .*max_weight says; row 0 has 4.5",
        ),
        (
            "dr",
            Terms(np.ones(2), np.ones(2), np.array([0.5, 1.2]), np.ones(2)),
            r"prediction \(q_logged\) must be in \[0, 1\], .*; row 1 has 1.2.*classifier",
        ),
        (
            "dr",
            Terms(np.ones(2), np.ones(2), np.ones(2), np.array([-0.1, 1])),
            r"\(q_policy\) must be in \[0, 1\], as reward_range says; row 0 has -0.1",
        ),
        ("snips", on_policy([0, 1]), "'snips' is a function of several"),
    ],
)
def test_a_log_outside_the_stated_range_is_rejected(estimator, terms, message):
    with pytest.raises(ValueError, match=message):
        bounds_of(of_kind("empirical_bernstein"), opl.Estimator(estimator), terms)
