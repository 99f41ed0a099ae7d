"""Estimators: terms by hand, unbiasedness by enumeration, limits, ranges, against obp."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import PI, Q_HAT, TableModel, table_policy

import opl_lib as opl
from opl_lib.evaluation.estimators import FORMS, as_estimator
from opl_lib.evaluation.intervals import Interval
from opl_lib.evaluation.terms import Terms

# The rows of test_evaluation's hand_log: weights 0.5/0.25, 0.6/0.5, 0.3/0.6
W = np.array([2.0, 1.2, 0.5])
R = np.array([1.0, 0.0, 1.0])
Q_LOGGED = np.array([0.4, 0.3, 0.3])
Q_POLICY = np.array([0.45, 0.41, 0.45])
TERMS = Terms(R, W, Q_LOGGED, Q_POLICY)
RESIDUAL = np.array([0.6, -0.3, 0.7])


@pytest.mark.parametrize(
    ("estimator", "terms"),
    [
        ("avg", [1, 0, 1]),
        ("dm", Q_POLICY),
        ("ips", [2, 0, 0.5]),
        (opl.Estimator("clipped_ips", 1.5), [1.5, 0, 0.5]),
        (opl.Estimator("clipped_ips", 1), [1, 0, 0.5]),
        ("clipped_ips", [3**0.5, 0, 0.5]),
        ("dr", [0.45 + 1.2, 0.41 - 0.36, 0.45 + 0.35]),
        (opl.Estimator("clipped_dr", 1.5), [0.45 + 0.9, 0.41 - 0.36, 0.45 + 0.35]),
        (opl.Estimator("clipped_dr", 1), [0.45 + 0.6, 0.41 - 0.3, 0.45 + 0.35]),
        ("clipped_dr", [0.45 + 0.6 * 3**0.5, 0.41 - 0.36, 0.45 + 0.35]),
        (opl.Estimator("switch_dr", 1.2), [0.45, 0.41 - 0.36, 0.45 + 0.35]),
        (opl.Estimator("switch_dr", 1), [0.45, 0.41, 0.45 + 0.35]),
        ("switch_dr", [0.45, 0.41 - 0.36, 0.45 + 0.35]),
        (
            opl.Estimator("dros", 4),  # weights 8/8, 4.8/5.44, 2/4.25
            [0.45 + 0.6, 0.41 - 0.3 * 4.8 / 5.44, 0.45 + 0.7 * 2 / 4.25],
        ),
        ("dros", [0.45 + 0.6 * 6 / 7, 0.41 - 0.3 * 3.6 / 4.44, 0.45 + 0.7 * 1.5 / 3.25]),
    ],
    ids=str,
)
def test_terms_by_hand(estimator, terms):
    estimator = as_estimator(estimator)
    np.testing.assert_allclose(estimator.sample(TERMS).terms, terms)
    paired = estimator.sample(TERMS.against_logging()).terms
    np.testing.assert_allclose(paired, np.array(terms) - R, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "plain", "residual"), [("snips", 0, R), ("sndr", Q_POLICY.mean(), RESIDUAL)]
)
def test_self_normalised_estimates_by_hand(name, plain, residual):
    ratio = (W * residual).sum() / W.sum()
    terms = opl.Estimator(name).sample(TERMS).terms
    assert terms.mean() == pytest.approx(plain + ratio)
    direct = Q_POLICY if name == "sndr" else 0
    np.testing.assert_allclose(terms, direct + ratio + W * (residual - ratio) / W.mean())


def test_the_paired_terms_of_ips_and_dr_are_those_of_the_formulas():
    paired = TERMS.against_logging()
    np.testing.assert_allclose(opl.Estimator("ips").sample(paired).terms, (W - 1) * R)
    by_hand = (Q_POLICY - Q_LOGGED) + (W - 1) * (R - Q_LOGGED)
    np.testing.assert_allclose(opl.Estimator("dr").sample(paired).terms, by_hand)


def expectation(world, estimator, n_rounds, difference=False):
    """Mean of an estimate over every log that the world can make."""
    total = 0.0
    for p, x, a, r in world.logs(n_rounds):
        weight = PI[x, a] / world.pi_0[x, a]
        terms = Terms(r, weight, Q_HAT[x, a], (PI * Q_HAT).sum(axis=1)[x], difference)
        total += p * as_estimator(estimator).sample(terms).terms.mean()
    return total


@pytest.mark.parametrize("name", ["ips", "dr"])
def test_ips_and_dr_are_unbiased_and_so_are_their_differences(name, tiny_world):
    value = tiny_world.value(PI)
    assert expectation(tiny_world, name, 2) == pytest.approx(value)
    against = value - tiny_world.value(tiny_world.pi_0)
    assert expectation(tiny_world, name, 2, difference=True) == pytest.approx(against)


def test_avg_is_unbiased_for_the_logging_policy(tiny_world):
    assert expectation(tiny_world, "avg", 2) == pytest.approx(tiny_world.value(tiny_world.pi_0))


@pytest.mark.parametrize(
    ("name", "limit", "kept"),
    [
        ("clipped_ips", 1.5, lambda w: np.minimum(w, 1.5)),
        ("clipped_dr", 1.5, lambda w: np.minimum(w, 1.5)),
        ("switch_dr", 1.5, lambda w: w * (w <= 1.5)),
        ("dros", 9, lambda w: 9 * w / (w**2 + 9)),
    ],
)
def test_the_bias_of_a_limit_is_that_of_the_lost_weight(name, limit, kept, tiny_world):
    """E[estimate] − V = E_π0[(f(w) − w)(q − q̂)], with q̂ = 0 for clipped IPS."""
    w = PI / tiny_world.pi_0
    q_hat = 0 if name == "clipped_ips" else Q_HAT
    lost = (kept(w) - w) * (tiny_world.q - q_hat)
    bias = (tiny_world.p_x[:, None] * tiny_world.pi_0 * lost).sum()
    assert abs(bias) > 0.01
    estimate = expectation(tiny_world, opl.Estimator(name, limit), 1)
    assert estimate - tiny_world.value(PI) == pytest.approx(bias)


@pytest.mark.parametrize("name", ["snips", "sndr"])
def test_self_normalisation_is_biased_less_in_longer_logs(name, tiny_world):
    bias = [abs(expectation(tiny_world, name, n) - tiny_world.value(PI)) for n in (1, 2, 3)]
    assert bias[0] > bias[1] > bias[2] > 0


# ---- optimal coefficients, and a mean that damps giants


def drawn(difference=False, n=4000, unit=1.0, units=None):
    """A log of heavy weights, a reward model that knows something, and rewards from 1 to 2."""
    rng = np.random.default_rng(0)
    weight = np.exp(rng.normal(size=n) - 0.5)
    reward = 1 + rng.binomial(1, 0.3 + 0.4 * (weight > 1))
    q_logged = 1.2 + 0.3 * (weight > 1) + 0.1 * rng.normal(size=n)
    q_policy = np.full(n, (weight * q_logged).mean() / weight.mean())
    columns = (unit * reward, weight, unit * q_logged, unit * q_policy)
    return Terms(*columns, difference, *([] if units is None else [units]))


@pytest.mark.parametrize("difference", [False, True])
def test_beta_ips_and_beta_dr_are_the_intercepts_of_least_squares(difference):
    terms = drawn(difference)
    target = (terms.weight - difference) * terms.reward
    known = [terms.weight - 1, terms.weight * terms.q_logged - terms.q_policy]
    for name, controls in (("beta_ips", known[:1]), ("beta_dr", known)):
        columns = np.column_stack([np.ones(len(target)), *controls])
        coefficients = np.linalg.lstsq(columns, target)[0]
        found = opl.Estimator(name).sample(terms)
        assert found.value == pytest.approx(coefficients[0], rel=1e-10)
        # the delta method: the rows' residuals, times their weights in the intercept
        influence = len(target) * np.linalg.pinv(columns)[0] * (target - columns @ coefficients)
        np.testing.assert_allclose(found.terms - found.value, influence, atol=1e-10)


def test_beta_ips_in_five_lines():
    terms = drawn()
    w, r = terms.weight, terms.reward
    beta = np.cov(w, w * r)[0, 1] / w.var(ddof=1)
    by_hand = (w * (r - beta)).mean() + beta
    assert opl.Estimator("beta_ips").sample(terms).value == pytest.approx(by_hand)
    # the article's form of the same baseline
    article = (w * (w - 1) * r).mean() / (w * (w - 1)).mean()
    assert beta == pytest.approx(article, rel=0.01)


@pytest.mark.parametrize("difference", [False, True])
def test_the_spread_of_beta_dr_is_never_above_that_of_ips_snips_dr_and_sndr(difference):
    terms = drawn(difference)
    error = {name: opl.Estimator(name).sample(terms).standard_error for name in FORMS}
    for name in ("ips", "snips", "beta_ips", "dr", "sndr"):
        assert error["beta_dr"] <= 1.03 * error[name], name
    assert error["beta_ips"] <= 1.03 * min(error["ips"], error["snips"])


@pytest.mark.parametrize("name", ["beta_ips", "beta_dr"])
def test_one_more_for_every_reward_is_one_more_for_the_estimate(name):
    """As SNIPS is, and IPS is not; and nothing more for a difference."""
    for difference in (False, True):
        terms = drawn(difference)
        more = replace(terms, reward=terms.reward + 7)
        sample = opl.Estimator(name).sample
        added = sample(more).value - sample(terms).value
        assert added == pytest.approx(0 if difference else 7, abs=1e-9)


@pytest.mark.parametrize("difference", [False, True])
@pytest.mark.parametrize("name", ["beta_ips", "beta_dr", "lse"])
def test_new_estimators_have_the_unit_of_the_reward(name, difference):
    one = opl.Estimator(name).sample(drawn(difference))
    for unit in (1e-9, 1e9):
        found = opl.Estimator(name).sample(drawn(difference, unit=unit))
        assert found.value / unit == pytest.approx(one.value, rel=1e-9)
        assert found.standard_error / unit == pytest.approx(one.standard_error, rel=1e-9)


@pytest.mark.parametrize("difference", [False, True])
@pytest.mark.parametrize("name", ["beta_ips", "beta_dr", "lse"])
def test_gradients_are_those_of_differences(name, difference):
    terms = drawn(difference)
    numeric = opl.Estimator("own", form=replace(FORMS[name], gradient=None))
    limit = FORMS[name].default_limit and FORMS[name].default_limit(len(terms.reward))
    assert limit is None or numeric._limit_for(len(terms.reward)) == limit
    found = opl.Estimator(name).sample(terms).terms
    np.testing.assert_allclose(found, numeric.sample(terms).terms, atol=1e-3 * found.std())


@pytest.mark.parametrize("name", ["beta_ips", "beta_dr"])
def test_a_policy_that_changes_nothing_gains_nothing_and_surely(name):
    terms = replace(drawn(True), weight=np.ones(4000))
    terms = replace(terms, q_policy=terms.q_logged)
    found = opl.Estimator(name).sample(terms)
    assert (found.value, found.standard_error) == (0, 0)
    rng = np.random.default_rng(1)
    rounded = replace(terms, weight=1 + 1e-7 * rng.normal(size=4000))
    found = opl.Estimator(name).sample(rounded)
    assert abs(found.value) < 1e-7 and found.standard_error < 1e-7


@pytest.mark.parametrize("column", ["q_logged", "q_policy"])
def test_a_reward_model_that_says_one_number_adds_nothing_to_beta_ips(column):
    terms = replace(drawn(), q_logged=np.full(4000, 1.5), q_policy=np.full(4000, 1.5))
    ours, without = (opl.Estimator(name).sample(terms) for name in ("beta_dr", "beta_ips"))
    assert ours.value == pytest.approx(without.value)
    assert ours.standard_error == pytest.approx(without.standard_error, rel=1e-6)


def share_of_snips(name, draw, truth, n_logs=300):
    """The mean squared error, as a share of that of SNIPS."""
    errors = {"snips": [], name: []}
    for seed in range(n_logs):
        terms = draw(np.random.default_rng(seed))
        for each, found in errors.items():
            found.append(opl.Estimator(each).sample(terms).value - truth)
    return np.mean(np.square(errors[name])) / np.mean(np.square(errors["snips"]))


def test_beta_ips_errs_less_than_snips_where_large_weights_see_other_rewards():
    """Weights of 10 and rewards of 1 where the logging policy rarely goes; else 1/3 and a half."""

    def draw(rng):
        rare = rng.uniform(size=500) < 0.07
        reward = np.where(rare, rng.uniform(size=500) < 0.98, rng.uniform(size=500) < 0.3)
        return Terms(reward.astype(float), np.where(rare, 10, 0.3 / 0.93))

    truth = 0.7 * 0.98 + 0.3 * 0.3
    assert share_of_snips("beta_ips", draw, truth) < 0.4


def test_log_sum_exp_by_hand():
    terms = drawn()
    weighted = terms.weight * terms.reward
    rate = 0.3 / weighted.std()
    by_hand = -np.log(np.exp(-rate * weighted).mean()) / rate
    assert opl.Estimator("lse", 0.3).sample(terms).value == pytest.approx(by_hand)
    default = opl.Estimator("lse", 0.5 / len(weighted) ** 0.5).sample(terms).value
    assert opl.Estimator("lse").sample(terms).value == default


def test_log_sum_exp_is_ips_for_a_small_limit_and_the_least_term_for_a_large_one():
    terms = drawn()
    weighted = terms.weight * terms.reward
    assert opl.Estimator("lse", 1e-9).sample(terms).value == pytest.approx(weighted.mean())
    with np.errstate(under="ignore"):
        largest = opl.Estimator("lse", 1e9).sample(terms).value
    assert largest == pytest.approx(weighted.min(), abs=1e-5)


@pytest.mark.parametrize("rewards", [[-1e6, 5.0, 3e6], [0.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
def test_log_sum_exp_of_any_rewards_is_a_number_between_them(rewards):
    terms = Terms(np.array(rewards), np.ones(3))
    found = opl.Estimator("lse", 100).sample(terms)
    assert min(rewards) <= found.value <= max(rewards) and np.isfinite(found.standard_error)


@pytest.mark.parametrize(
    ("limited", "limit", "limit_of"),
    [
        ("clipped_ips", 1e9, "ips"),
        ("clipped_dr", 1e9, "dr"),
        ("clipped_dr", 1e-12, "dm"),
        ("switch_dr", 1e9, "dr"),
        ("dros", 1e12, "dr"),
        ("switch_dr", 1e-9, "dm"),
        ("dros", 1e-12, "dm"),
    ],
)
def test_extreme_limits_give_the_estimators_in_between(limited, limit, limit_of):
    ours = opl.Estimator(limited, limit).sample(TERMS).terms
    np.testing.assert_allclose(ours, opl.Estimator(limit_of).sample(TERMS).terms, rtol=1e-9)


def test_estimates_equal_those_of_obp(tiny_world):
    ope = pytest.importorskip("obp.ope")
    log = tiny_world.sample(300, random_state=0)

    def policy(context, action_context):
        return context @ PI

    class Model:
        def predict_reward(self, context, action_context):
            return context @ Q_HAT

    theirs = ope.OffPolicyEvaluation(
        bandit_feedback=log.to_obp(),
        ope_estimators=[
            ope.SelfNormalizedDoublyRobust(),
            ope.SwitchDoublyRobust(tau=1.5),
            ope.DoublyRobustWithShrinkage(lambda_=2.0),
        ],
    ).estimate_policy_values(
        action_dist=(log.context @ PI)[:, :, None],
        estimated_rewards_by_reg_model=(log.context @ Q_HAT)[:, :, None],
    )
    estimators = ["sndr", opl.Estimator("switch_dr", 1.5), opl.Estimator("dros", 2.0)]
    ours = opl.evaluate(policy, log, estimators, reward_model=Model()).policy_value
    assert list(ours) == pytest.approx([theirs[n] for n in ("sndr", "switch-dr", "dr-os")])


def test_mips_is_ips_on_a_log_of_clusters(tiny_world):
    """Items 0 and 1 are one cluster of equal expected reward: unbiased, by enumeration."""
    cluster, q = np.array([0, 0, 1]), np.array([[0.9, 0.9, 0.5], [0.1, 0.1, 0.4]])
    world = type(tiny_world)(tiny_world.p_x, tiny_world.pi_0, q)
    of_cluster = np.eye(2)[cluster]

    def cluster_policy(context, cluster_context):
        return context @ PI @ of_cluster

    mean = 0.0
    for p, x, a, r in world.logs(1):
        log = opl.BanditFeedback(
            context=np.eye(2)[x],
            action=cluster[a],
            reward=r,
            pscore=(world.pi_0 @ of_cluster)[x, cluster[a]],
            action_context=np.eye(2),
        )
        mean += p * opl.evaluate(cluster_policy, log, ["ips"]).policy_value["ips"]
    assert mean == pytest.approx(world.value(PI))


# ---- ranges


@pytest.mark.parametrize(
    ("estimator", "rewards", "max_weight", "difference", "expected"),
    [
        ("avg", (0, 1), None, False, (0, 1)),
        ("avg", (0, 1), None, True, (0, 0)),
        ("dm", (0, 1), None, False, (0, 1)),
        ("ips", (0, 1), 5, False, (0, 5)),
        ("ips", (0, 1), 5, True, (-1, 4)),
        ("ips", (-1, 1), 5, True, (-4, 4)),
        ("ips", (1, 2), 5, True, (-2, 8)),
        (opl.Estimator("clipped_ips", 2), (0, 1), None, False, (0, 2)),
        (opl.Estimator("clipped_ips", 9), (0, 1), 5, False, (0, 5)),
        ("dr", (0, 1), 5, False, (-5, 6)),
        ("dr", (0, 1), 5, True, (-5, 5)),
        (opl.Estimator("clipped_dr", 2), (0, 1), None, False, (-2, 3)),
        (opl.Estimator("switch_dr", 3), (0, 1), None, False, (-3, 4)),
        (opl.Estimator("dros", 16), (0, 1), None, False, (-2, 3)),
    ],
    ids=str,
)
def test_ranges_by_hand(estimator, rewards, max_weight, difference, expected):
    found = as_estimator(estimator).term_range(100, rewards, max_weight, difference)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("difference", [False, True])
@pytest.mark.parametrize("name", [name for name in FORMS if FORMS[name].estimate is None])
def test_no_term_leaves_the_range(name, difference):
    rng = np.random.default_rng(0)
    columns = [rng.choice([-1, 2, rng.uniform(-1, 2)], size=500) for _ in range(3)]
    weight = rng.choice([0, 30, *rng.uniform(0, 30, size=9)], size=500)
    terms = Terms(columns[0], weight, columns[1], columns[2], difference)
    estimator = opl.Estimator(name)
    low, high = estimator.term_range(500, (-1, 2), 30, difference)
    per_row = estimator.sample(terms).terms
    assert low - 1e-9 <= per_row.min() and per_row.max() <= high + 1e-9


@pytest.mark.parametrize(
    ("estimator", "rewards", "difference", "expected"),
    [
        ("ips", (0, 1), False, (0, np.inf)),
        ("ips", (0, 1), True, (-1, np.inf)),
        ("ips", (-1, 0), False, (-np.inf, 0)),
        ("ips", (1, 2), True, (-2, np.inf)),
        (opl.Estimator("clipped_ips", 2), (0, 1), True, (-1, 1)),
        ("avg", (0, 1), False, (0, 1)),
    ],
    ids=str,
)
def test_an_infinite_weight_may_leave_one_end(estimator, rewards, difference, expected):
    found = as_estimator(estimator).term_range(100, rewards, np.inf, difference)
    assert found == expected


@pytest.mark.parametrize(("name", "rewards"), [("ips", (-1, 1)), ("dr", (0, 1))])
def test_an_infinite_weight_that_leaves_no_end_is_an_error(name, rewards):
    with pytest.raises(ValueError, match=f"weights of '{name}' have none that is known"):
        opl.Estimator(name).term_range(100, rewards, np.inf)


# ---- estimators of one's own

LAMBDA = 0.5
LOG_SUM_EXP = opl.Form(
    lambda terms, w: (np.exp(-LAMBDA * w * terms.reward),), lambda m: -np.log(m) / LAMBDA
)
OWN = {
    "own_lse": LOG_SUM_EXP,
    "power_ips": opl.Form(lambda terms, w: w**0.7 * terms.reward),
    "power_dr": opl.Form(
        lambda terms, w: terms.q_policy + w * (terms.reward - terms.q_logged),
        weight=lambda w, power: w**power,
        needs_reward_model=True,
        default_limit=lambda n_rounds: 0.7,
    ),
    "own_snips": opl.Form(lambda terms, w: (w * terms.reward, w), lambda a, b: a / b),
}


@pytest.mark.parametrize("difference", [False, True])
@pytest.mark.parametrize("interval", ["normal", "student_t", "bootstrap"])
def test_an_estimator_of_ones_own_has_every_interval(interval, difference, tiny_world):
    log = tiny_world.sample(2000, random_state=0)
    own = [opl.Estimator(name, form=form) for name, form in OWN.items()]
    table = opl.evaluate(
        table_policy(), log, own, TableModel(), interval=interval, difference=difference
    )
    w = PI[log.context.argmax(axis=1), log.action] / log.pscore
    less = log.reward.mean() if difference else 0
    by_hand = {
        "own_lse": -np.log(np.exp(-LAMBDA * w * log.reward).mean()) / LAMBDA - less,
        "power_ips": (w**0.7 * log.reward).mean() - less,
        "own_snips": (w * log.reward).sum() / w.sum() - less,
    }
    for name, value in by_hand.items():
        assert table.iloc[:, 0][name] == pytest.approx(value, abs=1e-12)
    width = (table.ci_upper - table.ci_lower) / 2
    np.testing.assert_allclose(width, 1.96 * table.std_error, rtol=0.08)


def test_the_error_of_a_function_of_means_is_that_of_its_derivative():
    """Of −log(m)/λ it is se(m)/(λ m); central differences find it to many digits."""
    found = opl.Estimator("own_lse", form=LOG_SUM_EXP).sample(TERMS)
    column = np.exp(-LAMBDA * W * R)
    by_hand = column.std(ddof=1) / np.sqrt(3) / (LAMBDA * column.mean())
    assert found.standard_error == pytest.approx(by_hand, rel=1e-8)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("difference", [False, True])
def test_without_a_gradient_a_ratio_has_the_error_that_it_has_with_one(scale, difference):
    terms = Terms(scale * R, W, difference=difference)
    with_one = opl.Estimator("snips").sample(terms)
    without = opl.Estimator("own", form=OWN["own_snips"]).sample(terms)
    np.testing.assert_allclose(without.terms, with_one.terms, rtol=1e-8)


def test_a_column_that_is_zero_has_a_derivative_too():
    form = opl.Form(lambda terms, w: (w, terms.reward * 0), lambda a, b: a + np.exp(b))
    assert opl.Estimator("own", form=form).sample(TERMS).value == pytest.approx(W.mean() + 1)


def test_own_terms_of_a_known_bound_have_a_range():
    form = opl.Form(
        lambda terms, w: w * terms.reward,
        weight=lambda w, limit: np.tanh(w / limit) * limit,
        most=float,
        default_limit=lambda n_rounds: 3.0,
    )
    assert opl.Estimator("tanh", form=form).term_range(100, (0, 1)) == pytest.approx((0, 3))
    assert opl.Estimator("tanh", 2, form).term_range(100, (0, 1), None, True) == (-1, 1)
    with pytest.raises(ValueError, match="'own_lse' is a function of several"):
        opl.Estimator("own_lse", form=LOG_SUM_EXP).term_range(100, (0, 1), 5)


def test_columns_may_ask_for_the_limit():
    form = opl.Form(lambda t, w, limit: limit * w * t.reward, default_limit=lambda n: 3.0)
    assert opl.Estimator("own", form=form).sample(TERMS).value == pytest.approx(3 * (W * R).mean())
    assert opl.Estimator("own", 2, form).sample(TERMS).value == pytest.approx(2 * (W * R).mean())
    optional = opl.Form(lambda t, w, power=2: w**power, default_limit=lambda n: 3.0)
    assert opl.Estimator("own", form=optional).sample(TERMS).value == pytest.approx((W**2).mean())


def test_select_and_early_stopping_take_estimators_of_ones_own(small_world):
    log = small_world.sample(600, random_state=2)
    learner = opl.OffPolicyLearner("ips", epochs=3, learning_rate=1e-2, hidden=(8,))
    own = opl.Estimator("own_lse", form=LOG_SUM_EXP)
    stopping = opl.EarlyStopping(learner, estimator=own)
    chosen = opl.select({"stopped": stopping}, log, estimator=own)
    assert np.isfinite(chosen.table.lower_bound).all()
    assert "by own_lse" in repr(chosen)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (opl.Form(lambda t, w: w.mean()), "what columns of a form returned must be an array"),
        (opl.Form(lambda t, w: None), "what columns of a form returned must be an array; got None"),
        (opl.Form(lambda t, w: w.astype(str)), "what columns of a form returned must be numeric"),
        (opl.Form(lambda t, w: (w, w)), "columns of a form must return one array .*; got 2"),
        (opl.Form(lambda t, w: ()), "columns of a form must return one array .*; got 0"),
        (
            opl.Form(lambda t, w: (w[:2],), lambda m: m),
            r"columns of a form must return shape \(3,\); got \(2,\)",
        ),
        (
            opl.Form(lambda t, w: w, weight=lambda w, limit: w[:2]),
            r"weight of a form must return shape \(3,\); got \(2,\)",
        ),
        (
            opl.Form(lambda t, w: w, lambda m: m, gradient=lambda m: [1, 2]),
            r"gradient of a form must return shape \(1,\); got \(2,\)",
        ),
        (
            opl.Form(lambda t, w: w, lambda m: [m, m]),
            r"estimate of a form must return shape \(\) for means of shape \(\); got list",
        ),
        (
            opl.Form(lambda t, w: w, lambda m: np.log(m - 100)),
            "the estimate 'own' is not finite.*largest weight is 2, in row 0.*not defined here",
        ),
    ],
    ids=range(10),
)
def test_what_a_form_returns_is_checked(form, message):
    with pytest.raises(ValueError, match=message):
        opl.Estimator("own", form=form).sample(TERMS)


def test_the_bootstrap_asks_an_estimate_for_one_number_a_resample():
    form = opl.Form(lambda terms, w: w * terms.reward, lambda m: np.float64(0.5), lambda m: [1.0])
    sample = opl.Estimator("constant", form=form).sample(TERMS)
    with pytest.raises(ValueError, match=r"must return shape \(1000,\) for means of .*\(1000,\)"):
        Interval("bootstrap").bounds(sample, 0.1)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"columns": None}, TypeError, "columns of a form must be a function; got None"),
        ({"estimate": 3}, TypeError, "estimate of a form must be a function; got 3"),
        ({"default_limit": 3}, TypeError, "default_limit of a form must be a function; got 3"),
        ({"weighs": "no"}, ValueError, "weighs must be True or False; got 'no'"),
        ({"needs_reward_model": 1}, ValueError, "needs_reward_model must be True or False; got 1"),
    ],
)
def test_a_form_is_made_of_functions_and_flags(settings, error, message):
    with pytest.raises(error, match=message):
        opl.Form(**{"columns": lambda terms, w: w, **settings})


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"reward": None}, ValueError, "reward must be an array; got None"),
        ({"reward": ["a", "b", "c"]}, ValueError, "reward must be numeric.*row 0 has"),
        ({"reward": []}, ValueError, "weight has 3 rows but reward has 0"),
        ({"reward": [], "weight": []}, ValueError, "reward has no rows"),
        ({"weight": [1.0, 2.0]}, ValueError, "weight has 2 rows but reward has 3"),
        ({"weight": [1.0, -2.0, 1.0]}, ValueError, "weight must be at least 0; row 1 has -2"),
        ({"weight": [1.0, np.inf, 1.0]}, ValueError, "weight must be finite; row 1 has inf"),
        ({"weight": np.ones((3, 1))}, ValueError, r"weight must have 1 dimension"),
        ({"q_logged": [1j, 1, 1]}, ValueError, "q_logged must be numeric.*complex"),
        ({"q_policy": [0.0, np.nan, 0]}, ValueError, "q_policy must be finite; row 1 has nan"),
        ({"difference": "no"}, ValueError, "difference must be True or False; got 'no'"),
        ({"units": 3}, ValueError, "units must be those of the 3 rows"),
    ],
    ids=str,
)
def test_terms_check_themselves(columns, error, message):
    with pytest.raises(error, match=message):
        opl.Terms(**{"reward": [1.0, 0.0, 1.0], "weight": [1, 2, 0], **columns})


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda e: e.sample(None), TypeError, r"terms must be opl.Terms; got NoneType"),
        (lambda e: e.term_range(0, (0, 1), 5), ValueError, "n_rounds must be an integer of at"),
        (lambda e: e.term_range(9, (1, 0), 5), ValueError, "reward_range must be two finite"),
        (lambda e: e.term_range(9, (0, 10**400), 5), ValueError, "reward_range must be two fin"),
        (lambda e: e.term_range(9, {0, 1}, 5), ValueError, "reward_range must be two finite"),
        (lambda e: e.term_range(9, (-1e308, 1e308), 5), ValueError, "reward_range must be two"),
        (lambda e: e.term_range(9, (0, 1), -1), ValueError, "max_weight must be .* above 0"),
        (lambda e: e.term_range(9, (0, 1), 5, "no"), ValueError, "difference must be True or"),
    ],
    ids=range(8),
)
def test_what_an_estimator_is_asked_is_checked(ask, error, message):
    with pytest.raises(error, match=message):
        ask(opl.Estimator("ips"))


def test_a_doubly_robust_estimator_needs_terms_with_predictions():
    with pytest.raises(ValueError, match="'dr' needs q_logged and q_policy: pass a reward model"):
        opl.Estimator("dr").sample(opl.Terms([1.0, 0.0], [1.0, 1.0]))


def test_terms_whose_squares_overflow_are_an_error_and_clipped_ones_are_not():
    terms = opl.Terms([1.0, 0.0, 1.0], [1.0, 1.0, 1e300])
    for name in ("avg", "ips"):
        sample = opl.Estimator(name).sample
        with pytest.raises(ValueError, match=rf"'{name}' is not finite.* 1e\+300, in row 2"):
            sample(terms if name == "ips" else replace(terms, reward=terms.weight))
    assert opl.Estimator("clipped_ips", 2).sample(terms).value == 1


# ---- names and what is rejected


def test_estimators_are_shown_by_name_and_limit():
    assert str(opl.Estimator("clipped_ips")) == "clipped_ips"
    assert str(opl.Estimator("clipped_ips", 10)) == "clipped_ips(10)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ipw",), r"an estimator is one of \['avg', .*; got 'ipw'"),
        ((None,), "an estimator is one of .*; got None"),
        (("ips", None, LOG_SUM_EXP), "name of an own form must be a new one; got 'ips'"),
        ((3, None, LOG_SUM_EXP), "name of an own form must be a new one; got 3"),
        (("own_lse", 5, LOG_SUM_EXP), "'own_lse' does not limit its weights"),
        (("ips", 10), "'ips' does not limit its weights; only .*'clipped_ips'.*limit=10 out"),
        (("clipped_ips", 0), "limit must be a finite number above 0; got 0"),
        (("dros", float("nan")), "limit must be a finite number above 0; got nan"),
        (("switch_dr", "5"), "limit must be a finite number above 0; got '5'"),
    ],
    ids=range(9),
)
def test_what_is_no_estimator_is_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        opl.Estimator(*arguments)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("snips", "'snips' is a function of several. Use 'ips'"),
        ("sndr", "'sndr' is a function of several"),
        ("ips", r"weights of 'ips' have none that is known. Pass max_weight=…, .*uniform"),
        ("dr", "weights of 'dr' have none that is known"),
    ],
)
def test_terms_without_a_known_bound_have_no_range(name, message):
    with pytest.raises(ValueError, match=message):
        opl.Estimator(name).term_range(100, (0, 1), None, False)


# ---- what estimators share


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_a_reward_range_is_taken_in_its_own_unit(unit):
    terms = Terms(unit * np.array([0.0, 1.0, 900.0]), np.ones(3))
    with pytest.raises(ValueError, match=r"reward must be in .*row 2 has 9"):
        opl.Estimator("ips").sample(terms, (0, unit), max_weight=1)
    nearly = Terms(unit * np.array([0.0, 1.0, 1 + 1e-7]), np.ones(3))
    opl.Estimator("ips").sample(nearly, (0, unit), max_weight=1)


def test_a_form_cannot_change_the_terms_of_other_estimators(tiny_world):
    def doubles(terms, w):
        w *= 2
        return w * terms.reward

    own = opl.Estimator("doubles", form=opl.Form(doubles))
    with pytest.raises(ValueError, match="read-only"):
        opl.evaluate(table_policy(), tiny_world.sample(50, 0), [own, "ips"])


def test_terms_are_copies_in_double_precision():
    reward = np.ones(3, dtype=np.float32)
    terms = Terms(reward, W)
    reward[:] = 5
    for column in (terms.reward, terms.weight):
        assert column.dtype == np.float64 and not column.flags.writeable
    assert terms.reward.tolist() == [1, 1, 1]
