"""Estimators: terms by hand, unbiasedness by enumeration, limits, ranges, against obp."""

import numpy as np
import pytest

import opl_lib as opl
from opl_lib.evaluation.estimators import FORMS, Terms, as_estimator

# The rows of test_evaluation's hand_log: weights 0.5/0.25, 0.6/0.5, 0.3/0.6
W = np.array([2.0, 1.2, 0.5])
R = np.array([1.0, 0.0, 1.0])
Q_LOGGED = np.array([0.4, 0.3, 0.3])
Q_POLICY = np.array([0.45, 0.41, 0.45])
TERMS = Terms(R, W, Q_LOGGED, Q_POLICY)
RESIDUAL = np.array([0.6, -0.3, 0.7])
PI = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
Q_HAT = np.array([[0.8, 0.3, 0.4], [0.3, 0.7, 0.2]])


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
    np.testing.assert_allclose(estimator.per_row(TERMS), terms)
    paired = estimator.per_row(TERMS.against_logging())
    np.testing.assert_allclose(paired, np.array(terms) - R, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "plain", "residual"), [("snips", 0, R), ("sndr", Q_POLICY.mean(), RESIDUAL)]
)
def test_self_normalised_estimates_by_hand(name, plain, residual):
    ratio = (W * residual).sum() / W.sum()
    terms = opl.Estimator(name).per_row(TERMS)
    assert terms.mean() == pytest.approx(plain + ratio)
    direct = Q_POLICY if name == "sndr" else 0
    np.testing.assert_allclose(terms, direct + ratio + W * (residual - ratio) / W.mean())


def test_the_paired_terms_of_ips_and_dr_are_those_of_the_formulas():
    paired = TERMS.against_logging()
    np.testing.assert_allclose(opl.Estimator("ips").per_row(paired), (W - 1) * R)
    by_hand = (Q_POLICY - Q_LOGGED) + (W - 1) * (R - Q_LOGGED)
    np.testing.assert_allclose(opl.Estimator("dr").per_row(paired), by_hand)


def expectation(world, estimator, n_rounds, difference=False):
    """Mean of an estimate over every log that the world can make."""
    total = 0.0
    for p, x, a, r in world.logs(n_rounds):
        weight = PI[x, a] / world.pi_0[x, a]
        terms = Terms(r, weight, Q_HAT[x, a], (PI * Q_HAT).sum(axis=1)[x], difference)
        total += p * as_estimator(estimator).per_row(terms).mean()
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


@pytest.mark.parametrize(
    ("limited", "limit", "limit_of"),
    [
        ("clipped_ips", 1e9, "ips"),
        ("switch_dr", 1e9, "dr"),
        ("dros", 1e12, "dr"),
        ("switch_dr", 1e-9, "dm"),
        ("dros", 1e-12, "dm"),
    ],
)
def test_extreme_limits_give_the_estimators_in_between(limited, limit, limit_of):
    ours = opl.Estimator(limited, limit).per_row(TERMS)
    np.testing.assert_allclose(ours, opl.Estimator(limit_of).per_row(TERMS), rtol=1e-9)


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


@pytest.mark.parametrize("name", FORMS)
def test_samples_of_rows_are_estimated_as_one_by_one(name):
    draws = np.random.default_rng(0).integers(3, size=(4, 3))
    estimator = opl.Estimator(name)
    together = estimator.per_row(TERMS.rows(draws))
    assert together.shape == (4, 3)
    for one, rows in zip(together, draws, strict=True):
        np.testing.assert_allclose(one, estimator.per_row(TERMS.rows(rows)))


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
        (opl.Estimator("switch_dr", 3), (0, 1), None, False, (-3, 4)),
        (opl.Estimator("dros", 16), (0, 1), None, False, (-2, 3)),
    ],
    ids=str,
)
def test_ranges_by_hand(estimator, rewards, max_weight, difference, expected):
    found = as_estimator(estimator).term_range(100, rewards, max_weight, difference)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("difference", [False, True])
@pytest.mark.parametrize("name", [name for name in FORMS if name not in ("snips", "sndr")])
def test_no_term_leaves_the_range(name, difference):
    rng = np.random.default_rng(0)
    columns = [rng.choice([-1, 2, rng.uniform(-1, 2)], size=500) for _ in range(3)]
    weight = rng.choice([0, 30, *rng.uniform(0, 30, size=9)], size=500)
    terms = Terms(columns[0], weight, columns[1], columns[2], difference)
    estimator = opl.Estimator(name)
    low, high = estimator.term_range(500, (-1, 2), 30, difference)
    per_row = estimator.per_row(terms)
    assert low - 1e-9 <= per_row.min() and per_row.max() <= high + 1e-9


# ---- names and what is rejected


def test_estimators_are_shown_by_name_and_limit():
    assert str(opl.Estimator("clipped_ips")) == "clipped_ips"
    assert str(opl.Estimator("clipped_ips", 10)) == "clipped_ips(10)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ipw",), r"an estimator is one of \['avg', .*; got 'ipw'"),
        ((None,), "an estimator is one of .*; got None"),
        (("ips", 10), "'ips' does not limit its weights; only .*'clipped_ips'.*limit=10 out"),
        (("clipped_ips", 0), "limit must be a finite number above 0; got 0"),
        (("dros", float("nan")), "limit must be a finite number above 0; got nan"),
        (("switch_dr", "5"), "limit must be a finite number above 0; got '5'"),
    ],
    ids=str,
)
def test_what_is_no_estimator_is_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        opl.Estimator(*arguments)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("snips", "share the mean weight. Use 'ips'"),
        ("sndr", "share the mean weight"),
        ("ips", r"weights of 'ips' have none that is known. Pass max_weight=…, .*uniform"),
        ("dr", "weights of 'dr' have none that is known"),
    ],
)
def test_terms_without_a_known_bound_have_no_range(name, message):
    with pytest.raises(ValueError, match=message):
        opl.Estimator(name).term_range(100, (0, 1), None, False)
