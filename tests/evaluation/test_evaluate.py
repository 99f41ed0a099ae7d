"""Off-policy evaluation: by hand, against obp, coverage, diagnostics, what is rejected."""

import dataclasses

import helpers
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import PI, PI_0, Q_HAT, TableModel
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

import opl_lib as opl
from opl_lib.evaluation.estimators import FORMS
from opl_lib.evaluation.terms import policy_terms

ALL = list(FORMS)
table_policy = helpers.table_policy(PI)


class Memory(TableModel):
    """Predicts 1 for the rows it was fitted on and 0 for others."""

    def fit(self, feedback):
        self.seen = set(feedback.context[:, 0])
        return self

    def predict_reward(self, context, action_context):
        known = np.array([x in self.seen for x in context[:, 0]], dtype=float)
        return np.repeat(known[:, None], len(action_context), axis=1)


@pytest.fixture
def log(tiny_world):
    return tiny_world.sample(300, random_state=0)


@pytest.fixture
def hand_log():
    return opl.BanditFeedback(
        context=np.eye(2)[[0, 1, 0]],
        action=np.array([2, 0, 1]),
        reward=np.array([1.0, 0.0, 1.0]),
        pscore=np.array([0.25, 0.5, 0.6]),
        action_context=np.eye(3),
    )


# weights 0.5/0.25 = 2, 0.6/0.5 = 1.2, 0.3/0.6 = 0.5; q of the logged items 0.4, 0.3, 0.3
DIRECT = np.array([0.2 * 0.8 + 0.3 * 0.3 + 0.5 * 0.4, 0.6 * 0.3 + 0.3 * 0.7 + 0.1 * 0.2, 0.45])
HAND_TERMS = {
    "dm": DIRECT,
    "ips": np.array([2.0, 0.0, 0.5]),
    "dr": DIRECT + np.array([2 * 0.6, 1.2 * -0.3, 0.5 * 0.7]),
}


@pytest.mark.parametrize("estimator", HAND_TERMS)
@pytest.mark.parametrize(("confidence", "z"), [(0.95, 1.959964), (0.8, 1.281552)])
def test_estimates_errors_and_intervals_by_hand(estimator, confidence, z, hand_log):
    row = opl.evaluate(
        table_policy, hand_log, [estimator], reward_model=TableModel(), confidence=confidence
    ).loc[estimator]
    terms = HAND_TERMS[estimator]
    value = sum(terms) / 3
    error = np.sqrt(sum((terms - value) ** 2) / 2 / 3)
    if estimator == "dm":  # its error is that of q̂, which its terms do not show
        error = np.nan
    assert row.policy_value == pytest.approx(value)
    assert row.std_error == pytest.approx(error, nan_ok=True)
    assert row.ci_lower == pytest.approx(value - z * error, abs=1e-6, nan_ok=True)
    assert row.ci_upper == pytest.approx(value + z * error, abs=1e-6, nan_ok=True)


def test_snips_by_hand(hand_log):
    row = opl.evaluate(table_policy, hand_log, ["snips"]).loc["snips"]
    weights, rewards = np.array([2, 1.2, 0.5]), np.array([1, 0, 1])
    value = 2.5 / 3.7
    assert row.policy_value == pytest.approx(value)
    terms = weights * (rewards - value) / (3.7 / 3)
    assert row.std_error == pytest.approx(np.sqrt((terms**2).sum() / 2 / 3))


def test_diagnostics_by_hand(hand_log):
    table = opl.evaluate(table_policy, hand_log, ALL, reward_model=TableModel())
    for estimator in ("ips", "snips", "dr"):
        row = table.loc[estimator]
        assert row.ess == pytest.approx(3.7**2 / (4 + 1.44 + 0.25))
        assert row.mean_weight == pytest.approx(3.7 / 3)
        assert row.max_weight == pytest.approx(2)
        assert row.ess_reward == pytest.approx(2.5**2 / (4 + 0.25))
    assert table.loc["dm", ["ess", "mean_weight", "max_weight"]].isna().all()


def test_the_table_has_one_row_an_estimator_in_the_order_asked_for(log):
    table = opl.evaluate(table_policy, log, ["snips", "dm", "ips"], reward_model=TableModel())
    assert isinstance(table, pd.DataFrame)
    assert table.index.tolist() == ["snips", "dm", "ips"]
    assert table.index.name == "estimator"
    assert table.columns.tolist() == [
        "policy_value",
        "std_error",
        "ci_lower",
        "ci_upper",
        "ess",
        "mean_weight",
        "max_weight",
        "ess_reward",
    ]


def test_estimates_equal_those_of_obp(log):
    ope = pytest.importorskip("obp.ope")
    theirs = ope.OffPolicyEvaluation(
        bandit_feedback=log.to_obp(),
        ope_estimators=[
            ope.DirectMethod(),
            ope.InverseProbabilityWeighting(),
            ope.SelfNormalizedInverseProbabilityWeighting(),
            ope.DoublyRobust(),
        ],
    ).estimate_policy_values(
        action_dist=table_policy(log.context, None)[:, :, None],
        estimated_rewards_by_reg_model=(log.context @ Q_HAT)[:, :, None],
    )
    ours = opl.evaluate(table_policy, log, ALL, reward_model=TableModel()).policy_value
    names = {"dm": "dm", "ips": "ipw", "snips": "snipw", "dr": "dr"}
    for name, their_name in names.items():
        assert ours[name] == pytest.approx(theirs[their_name], abs=1e-6), name


def test_evaluating_the_logging_policy_gives_the_mean_reward(tiny_world, log):
    def pi_0(context, action_context):
        return context @ tiny_world.pi_0

    table = opl.evaluate(pi_0, log, ["ips", "snips"])
    np.testing.assert_allclose(table.policy_value, log.reward.mean())
    error = log.reward.std(ddof=1) / np.sqrt(300)
    np.testing.assert_allclose(table.std_error, error)


def test_no_policy_is_not_the_uniform_one(log):
    with pytest.raises(TypeError, match=r"a policy is an object with predict_proba.*got NoneType"):
        opl.evaluate(None, log, ["ips"])


def test_chunks_change_nothing(log, monkeypatch):
    whole = opl.evaluate(table_policy, log, ALL, reward_model=TableModel())
    chunks = [slice(0, 1), slice(1, 250), slice(250, 300)]
    monkeypatch.setattr("opl_lib.evaluation.terms.row_chunks", lambda n, m: chunks)
    parts = opl.evaluate(table_policy, log, ALL, reward_model=TableModel())
    pd.testing.assert_frame_equal(parts, whole)


# ---- statistics


def test_snips_standard_error_is_that_of_the_bootstrap(log):
    row = opl.evaluate(table_policy, log, ["snips"]).loc["snips"]
    terms = policy_terms(table_policy, log)
    draws = np.random.default_rng(0).integers(0, 300, size=(4000, 300))
    weight, reward = terms.weight[draws], terms.reward[draws]
    bootstrap = ((weight * reward).sum(axis=1) / weight.sum(axis=1)).std()
    assert row.std_error == pytest.approx(bootstrap, rel=0.1)


def test_intervals_contain_the_truth_as_often_as_they_say(tiny_world):
    truth = tiny_world.value(PI)
    inside = pd.DataFrame(
        [
            (table.ci_lower < truth) & (truth < table.ci_upper)
            for seed in range(200)
            for table in [
                opl.evaluate(
                    table_policy,
                    tiny_world.sample(150, random_state=seed),
                    ["ips", "snips", "dr"],
                    reward_model=TableModel(),
                )
            ]
        ]
    )
    assert inside.shape == (200, 3)
    assert inside.mean().between(0.90, 0.99).all(), inside.mean()


def test_a_good_reward_model_makes_dr_more_certain_than_ips(tiny_world, log):
    class Truth(TableModel):
        def predict_reward(self, context, action_context):
            return context @ tiny_world.q

    table = opl.evaluate(table_policy, log, ["ips", "dr"], reward_model=Truth())
    assert table.std_error["dr"] < 0.8 * table.std_error["ips"]


@pytest.fixture
def users_log(log):
    """Each of 300 rounds four times: 300 users, of whom each says the same four times."""
    again = np.random.default_rng(0).permutation(np.repeat(np.arange(300), 4))
    return dataclasses.replace(log[again], user_id=[f"user {k}" for k in again])


@pytest.mark.parametrize("interval", ["normal", "student_t"])
@pytest.mark.parametrize("difference", [False, True])
def test_a_user_who_comes_back_is_no_further_evidence(interval, difference, log, users_log):
    settings = {"reward_model": TableModel(), "interval": interval, "difference": difference}
    names = [name for name in ALL if FORMS[name].default_limit is None]  # limits are of n
    columns = ["std_error", "ci_lower", "ci_upper"]
    once, again = (
        opl.evaluate(table_policy, each, names, **settings)[columns] for each in (log, users_log)
    )
    pd.testing.assert_frame_equal(once, again)
    forgotten = opl.evaluate(
        table_policy, dataclasses.replace(users_log, user_id=None), names, **settings
    )
    ratio = (once.std_error / forgotten.std_error).dropna()
    np.testing.assert_allclose(ratio, 2, rtol=0.01)


def test_the_bootstrap_draws_users(log, users_log):
    settings = {"reward_model": TableModel(), "interval": "bootstrap"}
    names = ["ips", "snips", "dr"]
    once, again = (opl.evaluate(table_policy, each, names, **settings) for each in (log, users_log))
    for column in ("ci_lower", "ci_upper"):
        np.testing.assert_allclose(once[column], again[column], atol=0.4 * once.std_error.min())


@pytest.mark.parametrize("interval", ["normal", "student_t", "bootstrap"])
def test_trust_in_the_weights_is_counted_by_users(interval, log, users_log):
    """Four equal visits of a user are one witness, not four."""
    settings = {"reward_model": TableModel(), "interval": interval}
    columns = ["ess", "mean_weight", "max_weight", "ess_reward"]
    once, again = (
        opl.evaluate(table_policy, each, ["ips", "dr"], **settings)[columns]
        for each in (log, users_log)
    )
    pd.testing.assert_frame_equal(once, again)


def test_users_who_all_came_once_change_nothing(log):
    named = dataclasses.replace(log, user_id=np.arange(300)[::-1])
    for interval in ("normal", "bootstrap"):
        pd.testing.assert_frame_equal(
            *(opl.evaluate(table_policy, x, ["snips"], interval=interval) for x in (log, named))
        )


def test_a_bound_for_independent_rows_is_refused_to_users(users_log):
    with pytest.raises(ValueError, match=r"1,200 rows are of 300 users\. Use 'student_t' or 'boot"):
        opl.evaluate(
            table_policy,
            users_log,
            ["ips"],
            interval="empirical_bernstein",
            reward_range=(0, 1),
            max_weight=10,
        )


def test_intervals_cover_the_value_for_new_users_as_often_as_they_say():
    """Fifty users of ten rounds; each has a taste of his own, which the context holds."""
    rng, covered = np.random.default_rng(0), {True: 0, False: 0}
    for _ in range(400):
        taste, user = rng.uniform(size=50), np.repeat(np.arange(50), 10)
        action = rng.integers(2, size=500)
        log = opl.BanditFeedback(
            context=taste[user, None],
            action=action,
            reward=rng.uniform(size=500) < np.where(action == 1, taste[user], 0.5),
            pscore=np.full(500, 0.5),
            action_context=np.eye(2),
            user_id=user,
        )
        for knows, each in ((True, log), (False, dataclasses.replace(log, user_id=None))):
            always_1 = opl.evaluate(
                lambda x, v: np.tile([0.0, 1.0], (len(x), 1)), each, ["snips"], interval="student_t"
            ).loc["snips"]
            covered[knows] += always_1.ci_lower < 0.5 < always_1.ci_upper
    assert 0.92 < covered[True] / 400 < 0.98
    assert covered[False] / 400 < 0.85


def test_one_round_has_an_infinite_interval(hand_log):
    row = opl.evaluate(table_policy, hand_log[:1], ["ips"]).loc["ips"]
    assert (row.std_error, row.ci_lower, row.ci_upper) == (np.inf, -np.inf, np.inf)


def test_snips_of_a_policy_that_was_never_logged_is_not_a_number(hand_log):
    def elsewhere(context, action_context):
        unlogged = np.array([[1.0, 0, 0], [0, 1, 0]])
        return context @ unlogged

    table = opl.evaluate(elsewhere, hand_log, ["ips", "snips"])
    assert np.isnan(table.policy_value["snips"])
    assert table.policy_value["ips"] == 0
    assert (table.ess == 0).all()


# ---- the difference from the logging policy


def test_differences_by_hand(hand_log):
    table = opl.evaluate(
        table_policy, hand_log, ["ips", "dr", "avg"], reward_model=TableModel(), difference=True
    )
    reward = np.array([1, 0, 1])
    for estimator in ("ips", "dr"):
        terms = HAND_TERMS[estimator] - reward
        assert table.difference[estimator] == pytest.approx(terms.mean())
        assert table.std_error[estimator] == pytest.approx(terms.std(ddof=1) / np.sqrt(3))
    assert table.loc["avg", ["difference", "std_error", "ci_lower"]].tolist() == [0, 0, 0]
    assert "policy_value" not in table


def test_a_difference_is_far_more_certain_than_two_values(tiny_world, log):
    """A policy near the logging policy: most noise is common to both."""

    def near(context, action_context):
        return context @ (0.9 * tiny_world.pi_0 + 0.1 * PI)

    paired = opl.evaluate(near, log, ["ips"], difference=True).loc["ips"]
    apart = opl.evaluate(near, log, ["ips", "avg"])
    assert paired.difference == pytest.approx(apart.policy_value["ips"] - apart.policy_value["avg"])
    assert paired.std_error < 0.2 * np.sqrt((apart.std_error**2).sum())


def test_the_difference_of_the_logging_policy_is_exactly_zero(tiny_world, log):
    row = opl.evaluate(lambda x, a: x @ tiny_world.pi_0, log, ["ips"], difference=True).loc["ips"]
    assert row[["difference", "std_error", "ci_lower", "ci_upper"]].tolist() == [0, 0, 0, 0]


# ---- rounds that show a change


@pytest.mark.parametrize(("apart", "is_change"), [(1e-7, False), (1e-5, True)])
def test_a_weight_agrees_with_the_log_up_to_single_precision(apart, is_change):
    """Ten rounds show item 0 a little more often; a hundred show it as often."""
    log = helpers.log_of([0] * 10 + [1] * 100, [0] * 110, [1] * 110)
    pi = PI_0 + np.array([[0.5, -0.5, 0], [0, 0, 0]]) * apart
    found = policy_terms(helpers.table_policy(pi), log).ess_change
    assert found == pytest.approx(10 if is_change else np.inf)


def test_weights_that_only_fall_show_nothing_of_the_change():
    log = helpers.log_of([0, 0], [0, 0], [1, 1])
    pi = PI_0 - np.array([[0.1, -0.1, 0], [0, 0, 0]])
    assert policy_terms(helpers.table_policy(pi), log).ess_change == 0


# ---- reward models


@pytest.fixture
def numbered_log(tiny_world):
    log = tiny_world.sample(60, random_state=1)
    return opl.BanditFeedback(
        context=np.arange(60.0)[:, None],
        action=log.action,
        reward=log.reward,
        pscore=log.pscore,
        action_context=log.action_context,
    )


def test_a_model_cross_fitted_on_the_log_predicts_out_of_fold(numbered_log):
    reward_model = opl.cross_fit(Memory(), numbered_log, n_folds=3)
    uniform = opl.uniform()
    own = opl.evaluate(uniform, numbered_log, ["dm", "dr"], reward_model=reward_model).policy_value
    assert own["dm"] == 0
    ips = opl.evaluate(uniform, numbered_log, ["ips"]).policy_value["ips"]
    assert own["dr"] == pytest.approx(ips)
    copy = opl.evaluate(uniform, numbered_log[:], ["dm"], reward_model=reward_model).policy_value
    assert copy["dm"] == 0
    # on any other log it is the mean of the folds: two of three saw each row
    other = opl.evaluate(uniform, numbered_log[1:], ["dm"], reward_model=reward_model).policy_value
    assert other["dm"] == pytest.approx(2 / 3)


def test_without_overlap_there_is_no_interval(small_log):
    def unlogged_item(context, action_context):
        return np.tile(np.eye(5)[4], (len(context), 1))

    items = np.vstack([small_log.action_context, small_log.action_context[:1]])
    log = opl.BanditFeedback(
        small_log.context, small_log.action, small_log.reward, small_log.pscore, items
    )
    table = opl.evaluate(unlogged_item, log, ["ips", "snips", "dr"])
    assert (table.ess == 0).all() and (table.ess_reward == 0).all()
    assert table[["std_error", "ci_lower", "ci_upper"]].isna().all(axis=None)


def test_the_default_reward_model_never_judges_rows_it_saw(small_log, monkeypatch):
    folds = []

    def spy(model, feedback, *arguments, **settings):
        folds.append(opl.cross_fit(model, feedback, *arguments, **settings))
        return folds[-1]

    monkeypatch.setattr("opl_lib.evaluation.evaluate.cross_fit", spy)
    opl.evaluate(opl.uniform(), small_log, ["dr"])
    assert len(folds[0].models) > 1 and len(np.unique(folds[0].fold)) == len(folds[0].models)


def test_out_of_fold_predictions_are_aligned_with_the_rows_in_chunks(numbered_log, monkeypatch):
    from sklearn.tree import DecisionTreeRegressor

    reward_model = opl.cross_fit(opl.SklearnRewardModel(DecisionTreeRegressor()), numbered_log)
    chunks = [slice(0, 7), slice(7, 60)]
    monkeypatch.setattr("opl_lib.evaluation.terms.row_chunks", lambda n, m: chunks)
    terms = policy_terms(opl.uniform(), numbered_log, reward_model)
    q_hat = reward_model.predict_rows(np.arange(60))
    np.testing.assert_allclose(terms.q_logged, q_hat[np.arange(60), numbered_log.action])
    np.testing.assert_allclose(terms.q_policy, q_hat.mean(axis=1))


def test_without_a_reward_model_two_towers_are_cross_fitted(small_log):
    table = opl.evaluate(opl.uniform(), small_log, ["dm", "dr"])
    assert table.policy_value.between(0, 1).all()
    pd.testing.assert_frame_equal(opl.evaluate(opl.uniform(), small_log, ["dm", "dr"]), table)


def test_no_reward_model_is_asked_if_no_estimator_needs_it(hand_log):
    class Silent(TableModel):
        def predict_reward(self, context, action_context):
            raise AssertionError("nobody needs to know")

    opl.evaluate(table_policy, hand_log, ["ips", "snips"], Silent())


def test_no_reward_model_is_fitted_if_none_is_needed(small_log, monkeypatch):
    monkeypatch.setattr("opl_lib.evaluation.evaluate.cross_fit", None)
    opl.evaluate(opl.uniform(), small_log, ["ips", "snips"])


# ---- what is rejected


@pytest.mark.parametrize("estimators", ["ips", [], ["ipw"], ["ips", "DR"], [None]], ids=str)
def test_unknown_estimators_are_rejected_with_the_list_of_known_ones(estimators, hand_log):
    message = r"estimators must be a list of \['avg', 'beta_dr', .*opl.Estimator.*; got"
    with pytest.raises(ValueError, match=message):
        opl.evaluate(table_policy, hand_log, estimators)


def test_the_default_estimators_are_those_that_the_interval_can_bound(log):
    known = {"interval": "empirical_bernstein", "reward_range": (0, 1), "max_weight": 10}
    table = opl.evaluate(table_policy, log, reward_model=TableModel(), **known)
    assert table.index.tolist() == ["ips", "dr"]
    assert table.term_max.tolist() == [10, 11]
    known = {"interval": "betting", "reward_range": (0, 1)}
    table = opl.evaluate(table_policy, log, reward_model=TableModel(), **known)
    assert table.index.tolist() == ["ips"]
    table = opl.evaluate(table_policy, log, reward_model=TableModel(), **known, max_weight=10)
    assert table.index.tolist() == ["ips", "dr"]
    table = opl.evaluate(table_policy, log, reward_model=TableModel())
    assert table.index.tolist() == ["ips", "snips", "dr"]
    with pytest.raises(ValueError, match="Pass max_weight=…"):
        opl.evaluate(table_policy, log, interval="empirical_bernstein", reward_range=(0, 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interval": "empirical_bernstein", "reward_range": (0, 1)}, "Pass max_weight=…"),
        ({"interval": "bootstrap", "confidence": 0.999}, "too few to see a tail of 0.0005"),
    ],
)
def test_what_cannot_be_bounded_is_rejected_before_any_fit(settings, message, log, monkeypatch):
    monkeypatch.setattr("opl_lib.evaluation.evaluate.cross_fit", None)
    with pytest.raises(ValueError, match=message):
        opl.evaluate(table_policy, log, ["dr"], **settings)


def test_users_are_no_independent_rows_and_that_is_said_before_any_fit(users_log, monkeypatch):
    monkeypatch.setattr("opl_lib.evaluation.evaluate.cross_fit", None)
    known = {"interval": "empirical_bernstein", "reward_range": (0, 1), "max_weight": 10}
    with pytest.raises(ValueError, match="rows are of 300 users"):
        opl.evaluate(table_policy, users_log, **known)


@pytest.mark.parametrize("confidence", [0, 1, 95, -0.5, float("nan")])
def test_confidence_out_of_range_is_rejected(confidence, hand_log):
    with pytest.raises(ValueError, match=rf"confidence must be in \(0, 1\); got {confidence}"):
        opl.evaluate(table_policy, hand_log, ["ips"], confidence=confidence)


def test_an_unknown_interval_is_rejected(hand_log):
    with pytest.raises(ValueError, match=r"interval must be one of .*; got 'exact'"):
        opl.evaluate(table_policy, hand_log, ["ips"], interval="exact")


@pytest.mark.parametrize(
    ("policy", "error", "message"),
    [
        (lambda x, a: 3 * x @ PI, ValueError, r"row 0 .*sum 3.*Did it return logits\?"),
        (lambda x, a: (x @ PI)[:, :2], ValueError, r"shape \(3, 2\); expected .* \(3, 3\)"),
        (lambda x, a: (x @ PI)[:, :, None], ValueError, r"shape \(3, 3, 1\); expected"),
        (
            PI,
            ValueError,
            r"policy is an array of shape \(2, 3\); .* \(n_rounds, n_act.* = \(3, 3\)",
        ),
        (PI[0], ValueError, r"policy is an array of shape \(3,\)"),
        (np.full((3, 3), 1.0), ValueError, r"array, has no probability .* row 0 .*\(sum 3"),
        (np.where(np.eye(3) > 0, np.nan, 0.5), ValueError, "array, has nan for item 0 in row 0"),
        (np.ma.masked_equal([[1, 0, 0]] * 3, 0), ValueError, "policy is masked in row 0"),
        (np.full((3, 3), "1"), ValueError, "policy must be numeric.*number stored as text"),
        (np.full((3, 3), 1j), ValueError, "policy must be numeric.*real part"),
        (csr_matrix(np.eye(3)), ValueError, r"policy is a sparse matrix.*toarray"),
        ([[1, 0, 0], [1, 0]], ValueError, "policy cannot be read as an array"),
        ([table_policy], TypeError, "a policy is an object with predict_proba.*got list"),
        (np.float64(0.5), TypeError, "a policy is an object with predict_proba.*got float64"),
        (None, TypeError, "a policy is an object with predict_proba.*got NoneType"),
        ("dr", TypeError, "a policy is an object with predict_proba.*got str"),
        (opl.uniform, TypeError, "got the class uniform: make an object of it first"),
        (opl.TwoTowerPolicy, TypeError, "got the class TwoTowerPolicy: make an object of it"),
        (opl.TwoTower, TypeError, "got the class TwoTower: make an object of it first"),
        (
            lambda context, action_context, eligible: None,
            TypeError,
            "cannot be called without eligible=….*eligible=None",
        ),
        (LogisticRegression(), TypeError, "LogisticRegression does not take these two"),
        (lambda x, a: None, ValueError, "what the policy returned must be an array; got None"),
        (lambda x, a: (x @ PI).astype(str), ValueError, "what the policy returned must be num"),
        (lambda x, a: (x @ PI) * 1j, ValueError, "what the policy returned must be num.*real part"),
        (lambda x, a: np.ma.masked_less(x @ PI, 0.3), ValueError, "policy returned is masked in r"),
    ],
    ids=range(25),
)
def test_what_is_no_policy_is_rejected(policy, error, message, hand_log):
    with pytest.raises(error, match=message):
        opl.evaluate(policy, hand_log, ["ips"])


def test_a_policy_of_other_widths_is_rejected(hand_log):
    policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(4, 3, hidden=(), dim_embedding=2))
    with pytest.raises(ValueError, match="context has 2 features, but this policy was made for 4"):
        opl.evaluate(policy, hand_log, ["ips"])


class Returns(TableModel):
    def __init__(self, predictions):
        self.predictions = predictions

    def predict_reward(self, context, action_context):
        return self.predictions


@pytest.mark.parametrize(
    ("reward_model", "error", "message"),
    [
        (3, TypeError, "a reward model .*predict_reward.*int has none. Wrap a scikit-learn"),
        (opl.TwoTowerRegressor(), ValueError, "not fitted; call fit"),
        (Returns(np.zeros((3, 2))), ValueError, r"shape \(3, 2\); expected .* \(3, 3\)"),
        (Returns(np.zeros((3, 1))), ValueError, r"shape \(3, 1\); expected .* \(3, 3\)"),
        (Returns(np.full((3, 3), np.inf)), ValueError, "are not all finite, first in row 0"),
        (Returns(np.full((3, 3), "0.5")), ValueError, "reward model returned must be numeric"),
        (Returns(np.full((3, 3), 0.5j)), ValueError, "reward model returned must be numeric.*real"),
        (
            Returns(np.ma.masked_less(Q_HAT[[0, 1, 0]], 0.4)),
            ValueError,
            "returned is masked in row",
        ),
        (Returns(None), ValueError, "what the reward model returned must be an array; got None"),
        (TableModel, TypeError, "got the class TableModel: make an object of it first"),
        (Returns(np.full((3, 3), 1e300)), ValueError, "'dr' is not finite.* reward model in far"),
    ],
    ids=range(11),
)
def test_what_is_no_fitted_reward_model_is_rejected(reward_model, error, message, hand_log):
    with pytest.raises(error, match=message):
        opl.evaluate(table_policy, hand_log, ["dr"], reward_model=reward_model)


def test_a_reward_model_that_nobody_asks_is_checked_too(hand_log):
    with pytest.raises(TypeError, match="a reward model has a method predict_reward"):
        opl.evaluate(table_policy, hand_log, ["ips"], reward_model=3)


@pytest.mark.parametrize(
    "wrap",
    [
        np.asarray,
        np.asfortranarray,
        lambda pi: pi[:, :, None],  # what obp calls action_dist
        lambda pi: pi.tolist(),
        pd.DataFrame,
        torch.as_tensor,
        lambda pi: np.ma.array(pi, mask=False),
    ],
    ids=range(7),
)
def test_an_array_of_probabilities_is_as_good_as_its_policy(wrap, log):
    pi = wrap(table_policy(log.context, log.action_context))
    how = {"estimators": ALL, "reward_model": TableModel(), "difference": True}
    of_policy = opl.evaluate(table_policy, log, **how)
    pd.testing.assert_frame_equal(opl.evaluate(pi, log, **how), of_policy)
    assert log.support_report(pi) == log.support_report(table_policy)


def test_an_array_of_zeros_and_ones_is_a_policy_that_decides(log):
    chosen = np.eye(log.n_actions)[log.action]
    for pi in (chosen, chosen.astype(bool), chosen.astype(int), chosen.astype(np.float16)):
        table = opl.evaluate(pi, log, ["ips"])
        assert table.max_weight.ips == pytest.approx((1 / log.pscore).max())


@pytest.mark.parametrize("column", [np.array([[0.2, 0.8]]), np.array([[np.nan, 1]])], ids=str)
def test_the_row_of_a_bad_probability_is_that_of_the_log(column, log, small_chunks):
    pi = np.full((log.n_rounds, 3), 1 / 3)
    pi[201, :2] = column
    small_chunks()

    class Late:
        asked = 0

        def predict_proba(self, context, action_context):
            self.asked += len(context)
            return pi[self.asked - len(context) : self.asked]

    for policy in (pi, Late()):
        with pytest.raises(ValueError, match=f"in row 201 of the {log.n_rounds} "):
            opl.evaluate(policy, log, ["ips"])


def test_who_is_a_policy_is_known_before_a_reward_model_is_fitted(log, monkeypatch):
    monkeypatch.setattr("opl_lib.evaluation.evaluate.cross_fit", None)
    for policy in (3, opl.uniform, np.ones((3, 3))):
        with pytest.raises((TypeError, ValueError), match="policy"):
            opl.evaluate(policy, log, ["dr"])


def test_a_propensity_that_dwarfs_all_others_is_never_a_silent_nan(hand_log):
    log = dataclasses.replace(hand_log, pscore=[1e-300, 0.5, 0.6])
    with pytest.raises(ValueError, match=r"'ips' is not finite.*in row 0.*feedback\.report"):
        opl.evaluate(table_policy, log, ["ips"])
    table = opl.evaluate(table_policy, log, ["snips", "clipped_ips"])
    assert np.isfinite(table).all(axis=None)
    assert table.ess.tolist() == [pytest.approx(1)] * 2


@pytest.mark.parametrize("interval", ["normal", "student_t", "bootstrap"])
def test_an_evaluation_does_not_ask_for_numpys_error_state(interval):
    world = opl.SyntheticWorld(4, 3, 3, logging_policy=opl.softmax(1.0), random_state=0)
    log = world.sample(300, random_state=1)
    sharp = opl.softmax(0.01)
    plain = opl.evaluate(sharp, log, ["ips", "snips", "clipped_ips"], interval=interval)
    with np.errstate(all="raise"):
        raising = opl.evaluate(sharp, log, ["ips", "snips", "clipped_ips"], interval=interval)
    pd.testing.assert_frame_equal(raising, plain)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"difference": "no"}, "difference must be True or False; got 'no'"),
        ({"difference": 1}, "difference must be True or False; got 1"),
        ({"difference": None}, "difference must be True or False; got None"),
        ({"confidence": None}, r"confidence must be in \(0, 1\); got None"),
        ({"confidence": "0.9"}, r"confidence must be in \(0, 1\); got '0.9'"),
        ({"confidence": True}, r"confidence must be in \(0, 1\); got True"),
        ({"confidence": np.array([0.9])}, r"confidence must be in \(0, 1\); got array"),
        ({"confidence": 1 - 1e-16}, "'normal' cannot tell a tail of .* lower the confidence"),
        ({"confidence": 2**2000}, r"confidence must be in \(0, 1\)"),
        ({"interval": ["normal"]}, r"interval must be one of .*; got \['normal'\]"),
        ({"interval": np.array(["normal", "t"])}, "interval must be one of"),
        ({"random_state": None}, "random_state must be an integer of at least 0; got None"),
        ({"random_state": True}, "random_state must be an integer of at least 0; got True"),
        ({"random_state": 2**40}, "random_state must be an integer of at most 4294967295"),
        ({"random_state": 1.5}, "random_state must be an integer of at least 0; got 1.5"),
        ({"estimators": 3}, "estimators must be a list of .*; got 3"),
        ({"estimators": [["ips"]]}, "estimators must be a list of"),
        ({"estimators": {"ips": 1}}, "estimators must be a list of"),
        ({"estimators": opl.Estimator("ips")}, "estimators must be a list of"),
        ({"estimators": [opl.Estimator]}, "estimators must be a list of"),
    ],
    ids=range(20),
)
def test_settings_out_of_range_are_named(settings, message, hand_log):
    with pytest.raises(ValueError, match=message):
        opl.evaluate(table_policy, hand_log, **{"estimators": ["ips"], **settings})


@pytest.mark.parametrize(
    "estimators", [("ips",), iter(["ips"]), np.array(["ips"]), pd.Index(["ips"])], ids=range(4)
)
def test_estimators_may_come_in_any_list(estimators, hand_log):
    assert opl.evaluate(table_policy, hand_log, estimators).index.tolist() == ["ips"]


def test_a_dictionary_is_not_a_log(hand_log):
    with pytest.raises(TypeError, match=r"feedback must be a BanditFeedback; got dict.*from_obp"):
        opl.evaluate(table_policy, hand_log.to_obp(), ["ips"])


# ---- probabilities in half precision, and tensors


def half_precision(n_rounds, n_actions):
    draws = np.random.default_rng(0).dirichlet(np.ones(n_actions), n_rounds)
    return draws.astype(np.float16)


def wide_log(n_actions, n_rounds=20):
    world = opl.SyntheticWorld(n_actions, dim_context=2, dim_action_context=2, random_state=0)
    return world.sample(n_rounds, random_state=1)


@pytest.mark.parametrize("n_actions", [3, 10, 1000])
def test_probabilities_in_half_precision_are_those_of_single_precision(n_actions):
    log = wide_log(n_actions)
    pi = half_precision(20, n_actions)
    found = opl.evaluate(pi, log, ["ips"]).policy_value["ips"]
    asked = opl.evaluate(lambda x, items: pi, log, ["ips"]).policy_value["ips"]
    logged = pi.astype(np.float64)[np.arange(20), log.action]
    assert found == asked == pytest.approx((logged / log.pscore * log.reward).mean())
    opl.Watch(log, estimator="ips")(lambda x, items: pi)


def test_half_precision_that_is_too_rough_says_so():
    log = wide_log(10)
    with pytest.raises(ValueError, match=r"\(sum 0\.9\d*.*normalise in float32"):
        opl.evaluate((half_precision(20, 10) * 0.95).astype(np.float16), log, ["ips"])
    with pytest.raises(ValueError, match="Apply a softmax first"):
        opl.evaluate(np.full((20, 10), 3, dtype=np.float16), log, ["ips"])


@pytest.mark.parametrize("change", ["bfloat16", "requires_grad_"])
def test_tensors_that_are_no_arrays_say_how_to_convert_them(change):
    log = wide_log(4)
    pi = getattr(torch.full((20, 4), 0.25), change)()
    for policy in (pi, lambda context, items: pi):
        with pytest.raises(ValueError, match=r"\.detach\(\)\.float\(\)"):
            opl.evaluate(policy, log, ["ips"])
    served = opl.TwoTowerPolicy(opl.TwoTower.mlp(4, 2, random_state=0))
    with pytest.raises(ValueError, match=r"context .*\.detach\(\)\.float\(\)"):
        served.predict_proba(pi, np.eye(2))
