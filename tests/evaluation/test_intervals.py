"""Intervals: by hand, coverage by simulation, what has no interval, what is rejected."""

import math
import time

import numpy as np
import pytest
from helpers import PI, Q_HAT, table_policy

import opl_lib as opl
from opl_lib.evaluation.betting import betting
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
KNOWN = {"reward_range": (0, 1), "max_weight": 4}
SETTINGS = {"empirical_bernstein": KNOWN, "betting": KNOWN}
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


# ---- bets


def wealth(terms, mean, tail):
    """Every step of the gambler, in words: look back, bet, see the next term."""
    capital, most = 1.0, 0.0
    for i, term in enumerate(terms):
        seen, bet = terms[:i], 0.0
        if i and seen.any():
            variance = seen.var() + seen.mean() ** 2 / i
            bet = math.sqrt(2 * math.log(1 / tail) / (len(terms) * variance))
        capital *= 1 + min(bet, 0.75 / mean) * (term - mean)
        most = max(most, capital)
    return most


@pytest.mark.parametrize("tail", [0.05, 0.3])
def test_a_betting_bound_is_the_mean_at_which_the_gambler_becomes_rich(tail):
    terms = np.random.default_rng(3).exponential(size=60) * np.arange(60) % 3
    (lower, upper) = betting(terms - 2, tail, -2, 5, 7)
    order = np.random.default_rng(7).permutation(60)
    assert 0 < lower + 2 < terms.mean()
    assert wealth(terms[order], lower + 2, tail) == pytest.approx(1 / tail, rel=1e-6)
    assert wealth(7 - terms[order], 5 - upper, tail) == pytest.approx(1 / tail, rel=1e-6)


def test_betting_needs_one_end_only():
    terms = np.random.default_rng(0).exponential(size=500)
    lower, upper = betting(terms, 0.05, 0, math.inf)
    assert 0.85 * terms.mean() < lower < terms.mean() and upper == math.inf
    assert betting(-terms, 0.05, -math.inf, 0) == (-math.inf, -lower)
    assert betting(terms, 0.05, 0, 100)[0] == lower  # the other end plays no part


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_betting_bounds_have_the_unit_of_the_terms(unit):
    terms = np.random.default_rng(0).exponential(size=200)
    bounds = betting(unit * terms, 0.05, 0, 20 * unit)
    assert np.array(bounds) / unit == pytest.approx(betting(terms, 0.05, 0, 20))


@pytest.mark.parametrize("n", [2, 3, 50])
def test_terms_that_are_all_at_an_end_are_bounded_by_it(n):
    low = betting(np.zeros(n), 0.05, 0, 1)
    assert low[0] == 0 and low[1] <= 1
    high = betting(np.ones(n), 0.05, 0, 1)
    assert high[1] == 1 and high[0] >= 0


def test_betting_does_not_mind_how_a_log_is_sorted():
    terms = np.random.default_rng(0).exponential(size=2000)
    bounds = [betting(each, 0.05, 0, math.inf)[0] for each in (np.sort(terms), -np.sort(-terms))]
    assert bounds == pytest.approx([bounds[1], bounds[0]], rel=0.05)
    seeds = [betting(terms, 0.05, 0, math.inf, seed)[0] for seed in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2]


def test_betting_is_fast_on_a_long_log():
    terms = np.random.default_rng(0).exponential(size=100_000)
    start = time.perf_counter()
    betting(terms, 0.05, 0, 50)
    assert time.perf_counter() - start < 3  # some 0.3 s


HEAVY = {
    "clicks": (lambda rng, n: 10.0 * (rng.uniform(size=n) < 0.003), 0.03),
    "lognormal": (lambda rng, n: np.exp(1.5 * rng.normal(size=n) - 1.125), 1.0),
    "rare giants": (lambda rng, n: 200.0 * (rng.uniform(size=n) < 0.004), 0.8),
    "halves": (lambda rng, n: 1.0 * (rng.uniform(size=n) < 0.5), 0.5),
}


@pytest.mark.parametrize("name", HEAVY)
@pytest.mark.parametrize("tail", [0.05, 0.2])
@pytest.mark.parametrize("n", [20, 1000])
def test_a_betting_bound_fails_no_more_often_than_it_says(name, tail, n):
    draw, mean = HEAVY[name]
    lower = [betting(draw(np.random.default_rng(s), n), tail, 0, math.inf)[0] for s in range(500)]
    failed = np.mean(np.array(lower) > mean)
    assert failed <= tail + 3 * math.sqrt(tail * (1 - tail) / 500)


def test_both_ends_of_betting_hold():
    covered = share_covered(
        lambda terms: betting(terms, 0.1, 0, 1), lambda rng: rng.beta(0.2, 2, size=200), 1 / 11, 500
    )
    assert covered >= 0.8


@pytest.mark.parametrize(
    ("name", "n", "share"), [("clicks", 2000, 0.4), ("rare giants", 2000, 0.6), ("halves", 500, 1)]
)
def test_betting_is_tighter_than_empirical_bernstein(name, n, share):
    draw, mean = HEAVY[name]
    high = draw(np.random.default_rng(0), 10_000).max()
    widths = []
    for seed in range(50):
        terms = draw(np.random.default_rng(seed), n)
        ends = betting(terms, 0.05, 0, high)[0], empirical_bernstein(terms, 0.05, 0, high)[0]
        widths.append([mean - end for end in ends])
    ours, theirs = np.mean(widths, axis=0)
    assert ours < share * theirs


def test_evaluate_bounds_ips_from_below_without_a_largest_weight(tiny_world):
    log = tiny_world.sample(2000, random_state=0)
    how = {"interval": "betting", "reward_range": (0, 1), "difference": True}
    row = opl.evaluate(table_policy(), log, ["ips"], **how).loc["ips"]
    assert row.ci_upper == row.term_max == math.inf and row.term_min == -1
    normal_end = opl.evaluate(table_policy(), log, ["ips"], difference=True).loc["ips"].ci_lower
    assert normal_end - 0.3 * row.std_error - 1 < row.ci_lower < row.difference
    assert row.difference - row.ci_lower < 2 * (row.difference - normal_end)


def test_select_judges_by_bets(small_world):
    log = small_world.sample(3000, random_state=2)
    policies = {"uniform": opl.uniform(), "zipf": opl.zipf()}
    how = {"estimator": "ips", "interval": "betting", "reward_range": (0, 1)}
    table = opl.select(policies, log, progress=False, **how).table
    assert np.isfinite(table.lower_bound).all() and table.lower_bound["logging"] == 0


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
        ({"reward_range": (0, 1)}, "reward_range is used by .*'betting' only; leave"),
        ({"kind": "betting"}, "interval 'betting' needs the range of all possible rewards"),
        (
            {"kind": "betting", "reward_range": (0, 1), "max_weight": math.inf},
            "max_weight must be a finite number of at least 1; got inf",
        ),
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
