"""Estimated propensities: cross-fitting, floor, calibration and weights by hand, findings."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler

import opl_lib as opl


class Table(ClassifierMixin, BaseEstimator):
    """Knows the probabilities: those of row ``context[i, 0]`` of a table."""

    def __init__(self, table):
        self.table = table

    def fit(self, context, action):
        self.classes_ = np.arange(np.shape(self.table)[1])
        return self

    def predict_proba(self, context):
        return np.asarray(self.table)[context[:, 0].astype(int)]


POPULARITY = DummyClassifier(strategy="prior")
TABLE = [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]


def by_hand(**settings):
    """Five rounds of two contexts, with known probabilities."""
    context = np.array([[0.0], [0.0], [1.0], [1.0], [1.0]])
    action = np.array([0, 2, 2, 2, 1])
    default = {"n_actions": 3, "classifier": Table(TABLE), "n_folds": 2}
    return opl.estimate_propensities(context, action, **{**default, **settings})


def estimate_of(log, **settings):
    return opl.estimate_propensities(log.context, log.action, log.n_actions, **settings)


def sample(logging_policy, n_rounds=5000, n_actions=5):
    world = opl.SyntheticWorld(n_actions, 4, 4, logging_policy=logging_policy, n_eval_contexts=1)
    return world.sample(n_rounds, random_state=0)


# ---- by hand


def test_pscore_is_the_probability_of_the_shown_item():
    assert by_hand().pscore.tolist() == [0.5, 0.2, 0.7, 0.7, 0.2]


def test_weights_are_those_of_one_item_for_everyone_and_of_uniform():
    estimate, w = by_hand(), 1 / np.array([0.5, 0.2, 0.7, 0.7, 0.2])
    items = estimate.item_weights
    assert items.n_shown.tolist() == [1, 1, 3]
    assert items.mean_weight.tolist() == pytest.approx(
        [w[0] / 5, w[4] / 5, (w[1] + w[2] + w[3]) / 5]
    )
    for item, shown in enumerate(([1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 1, 1, 1, 0])):
        expected = (w * shown).std(ddof=1) / np.sqrt(5)
        assert items.std_error[item] == pytest.approx(expected)
    assert estimate.mean_weight == pytest.approx(w.mean() / 3)
    assert estimate.mean_weight_se == pytest.approx((w / 3).std(ddof=1) / np.sqrt(5))
    assert items.mean_weight.mean() == pytest.approx(estimate.mean_weight)


def test_calibration_counts_pairs_and_shown_items_by_bin():
    """Two bins, cut at the median pscore, 0.5: below are 0.3 and 0.2 twice, 0.1 and 0.2 thrice."""
    estimate = by_hand(n_bins=2)
    table = estimate.calibration
    assert table.n_pairs.tolist() == [10, 5]
    assert table.n_shown.tolist() == [2, 3]
    assert table.predicted.tolist() == pytest.approx([1.9 / 10, 3.1 / 5])
    assert table.observed.tolist() == pytest.approx([2 / 10, 3 / 5])
    # a round of context 0 is in a bin with chance 0.5, one of context 1 with chance 0.3 or 0.7
    error = np.sqrt(2 * 0.5 * 0.5 + 3 * 0.3 * 0.7)
    assert table.std_error.tolist() == pytest.approx([error / 10, error / 5])
    assert estimate.calibration_error == pytest.approx((abs(2 - 1.9) + abs(3 - 3.1)) / 5)


def test_one_bin_holds_everything():
    table = by_hand(n_bins=1).calibration
    assert (table.n_pairs.item(), table.n_shown.item()) == (15, 5)
    assert table.predicted.item() == table.observed.item() == pytest.approx(1 / 3)


def test_the_floor_raises_small_estimates_and_counts_them():
    estimate = by_hand(floor=0.25, n_bins=1)
    assert estimate.pscore.tolist() == [0.5, 0.25, 0.7, 0.7, 0.25]
    assert (estimate.n_floored, estimate.floor) == (2, 0.25)
    # the calibration is of what is used: 0.2 and 0.1 are 0.25 for all pairs
    assert estimate.calibration.predicted.item() == pytest.approx((2 * 1.05 + 3 * 1.2) / 15)
    assert "40.0% of the rounds are at the floor" in " ".join(estimate.findings)


def test_the_default_floor_is_a_hundredth_of_uniform():
    never = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    assert by_hand(classifier=Table(never)).pscore.min() == pytest.approx(0.01 / 3)


def test_mean_weights_of_right_propensities_are_1_in_expectation(tiny_world):
    """Over every log of two rounds, each with its probability."""
    uniform, items = 0.0, np.zeros(3)
    for p, x, action, reward in tiny_world.logs(2):
        if reward.any():  # rewards do not matter: count every pair of rounds once
            continue
        p /= np.prod([1 - tiny_world.q[i, a] for i, a in zip(x, action, strict=True)])
        model = Table(tiny_world.pi_0)
        estimate = opl.estimate_propensities(x[:, None], action, 3, model, n_folds=2)
        uniform += p * estimate.mean_weight
        items += p * estimate.item_weights.mean_weight.to_numpy()
    assert uniform == pytest.approx(1)
    np.testing.assert_allclose(items, 1)


# ---- cross-fitting


class Witness(Table):
    """Refuses to predict a round that it was fitted to; column 1 names the round."""

    def fit(self, context, action):
        self.seen_, self.counts_ = set(context[:, 1]), np.bincount(action, minlength=3)
        self.log.append(self)
        return super().fit(context, action)

    def predict_proba(self, context):
        assert not self.seen_ & set(context[:, 1])
        return super().predict_proba(context)


def test_every_round_is_predicted_by_a_model_that_did_not_see_it(monkeypatch):
    monkeypatch.setattr(Witness, "log", [], raising=False)
    action = np.repeat([0, 1, 2], [9, 6, 3])
    context = np.column_stack([np.arange(18) % 2, np.arange(18)])
    opl.estimate_propensities(context, action, 3, Witness(TABLE), n_folds=3)
    assert [len(model.seen_) for model in Witness.log] == [12, 12, 12]
    # each fold holds a third of the rounds of every item
    assert [model.counts_.tolist() for model in Witness.log] == [[6, 4, 2]] * 3


def test_popularity_is_the_share_of_an_item_in_the_other_folds():
    action = np.repeat([0, 1, 2], [10, 6, 4])
    estimate = opl.estimate_propensities(np.zeros((20, 1)), action, 3, POPULARITY, n_folds=2)
    np.testing.assert_allclose(estimate.pscore, np.repeat([0.5, 0.3, 0.2], [10, 6, 4]))
    assert estimate.mean_weight == pytest.approx(1)


def test_an_item_that_a_fold_has_not_seen_gets_the_floor_there():
    action = np.array([0] * 10 + [1] * 9 + [2])
    estimate = opl.estimate_propensities(np.zeros((20, 1)), action, 4, POPULARITY, n_folds=2)
    assert estimate.pscore[-1] == estimate.floor == 0.01 / 4
    assert estimate.n_floored == 1
    assert "items never shown: 1" in " ".join(estimate.findings)


def test_the_classifier_is_cloned():
    model = LogisticRegression(max_iter=1000)
    estimate_of(sample(opl.uniform(), 200), classifier=model)
    assert not hasattr(model, "classes_")


def test_seeds_fix_the_folds():
    log = sample(opl.softmax(1.0), 500)
    one, same, other = (estimate_of(log, random_state=seed).pscore for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_chunks_change_nothing(small_chunks):
    log = sample(opl.softmax(1.0), 300)
    whole = estimate_of(log)
    small_chunks()
    parts = estimate_of(log)
    np.testing.assert_allclose(parts.pscore, whole.pscore)
    np.testing.assert_allclose(parts.calibration, whole.calibration)
    np.testing.assert_allclose(parts.item_weights, whole.item_weights)


# ---- what it finds in logs whose propensities are known


def test_a_softmax_logging_policy_is_recovered():
    log = sample(opl.softmax(1.0))
    estimate = estimate_of(log)
    assert np.abs(estimate.pscore - log.pscore).mean() < 0.02
    assert estimate.findings == [] and estimate.calibration_error < 0.05
    assert abs(estimate.mean_weight - 1) < 0.03
    assert estimate.calibration.n_shown.tolist() == pytest.approx([500] * 10, abs=1)


def test_estimated_propensities_judge_a_policy_as_the_recorded_ones_do():
    log = sample(opl.softmax(1.0))
    columns = {"context": log.context, "action": log.action, "reward": log.reward}
    guessed = opl.BanditFeedback(
        **columns, pscore=estimate_of(log).pscore, action_context=log.action_context
    )
    policy = opl.softmax(0.5)
    theirs = opl.evaluate(policy, log, ["snips"]).loc["snips"]
    ours = opl.evaluate(policy, guessed, ["snips"]).loc["snips"]
    assert abs(ours.policy_value - theirs.policy_value) < theirs.std_error


def test_a_model_of_the_wrong_form_is_found_out():
    estimate = estimate_of(sample(opl.epsilon_greedy(0.3)))
    weights, calibration = estimate.findings
    assert "the mean weight is not 1" in weights
    assert "items are shown more or less often than estimated" in calibration
    assert all(f"  ! {finding}" in repr(estimate) for finding in estimate.findings)


def test_only_balance_finds_out_a_popularity_model_of_a_personal_policy():
    log = sample(opl.softmax(0.5))
    estimate = estimate_of(log, classifier=POPULARITY)
    assert np.abs(estimate.pscore - log.pscore).mean() > 0.1
    (finding,) = estimate.findings
    assert "is shown with feature x" in finding
    shifted = opl.estimate_propensities(
        100 + 10 * log.context, log.action, 5, classifier=POPULARITY
    )
    np.testing.assert_allclose(shifted.balance, estimate.balance, atol=1e-6)


def test_balance_by_hand():
    context = np.random.default_rng(0).permutation(np.arange(120) % 2)[:, None]
    action = np.random.default_rng(1).integers(3, size=120)
    table = opl.estimate_propensities(context, action, 3, classifier=Table(TABLE)).balance
    pi_0 = np.asarray(TABLE)[context[:, 0]]
    for row, f in enumerate([np.ones(120), context[:, 0] - 0.5]):
        for item in range(3):
            total = (f * ((action == item) - pi_0[:, item])).sum()
            variance = (f**2 * pi_0[:, item] * (1 - pi_0[:, item])).sum()
            assert table.iloc[row, item] == pytest.approx(total / np.sqrt(variance))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.25])
def test_the_right_model_is_rarely_out_of_balance(temperature):
    """By the limit, one log of a hundred; of sharp policies, whose weights have giants, too."""
    world = opl.SyntheticWorld(5, 4, 4, logging_policy=opl.softmax(temperature), n_eval_contexts=1)

    class Right(Table):
        def predict_proba(self, context):
            return world.logging_policy(context, world.action_context)

    found = 0
    for seed in range(100):
        log = world.sample(1000, seed)
        model = Right(np.eye(5))
        estimate = opl.estimate_propensities(log.context, log.action, 5, model, n_folds=2)
        found += any("does not know whom" in finding for finding in estimate.findings)
    assert found <= 6  # of a Poisson with mean 1: 0.01 %


def test_repr_shows_the_checks():
    assert repr(by_hand(floor=0.1)).splitlines()[:4] == [
        "PropensityEstimate(5 rounds, 3 items)",
        "  mean importance weight     0.990  (uniform policy; should be 1; standard error 0.278)",
        "  calibration error          0.040  (probability a round in the wrong bin)",
        "  rounds at the floor            0  (pscore = 0.1)",
    ]


# ---- what it rejects


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"n_actions": 1}, "n_actions must be an integer of at least 2 and at most .*; got 1"),
        ({"n_actions": 2}, r"action must be in \[0, 1\]; row 1 has 2. Renumber the items"),
        ({"n_folds": 1}, "n_folds must be an integer of at least 2; got 1"),
        ({"n_folds": 6}, "n_folds is 6, but the log has only 5 rounds"),
        ({"n_actions": 2**40}, "n_actions must be an integer of at least 2 and at most 8388608"),
        ({"n_actions": "3"}, "n_actions must be an integer"),
        ({"n_folds": True}, "n_folds must be an integer of at least 2; got True"),
        ({"floor": 1e-300}, "floor must be a finite number of at least 1e-100"),
        ({"floor": "0.1"}, "floor must be a finite number of at least 1e-100; got '0.1'"),
        ({"random_state": -1}, "random_state must be an integer of at least 0; got -1"),
        ({"random_state": None}, "random_state must be an integer of at least 0; got None"),
        ({"random_state": 2**128}, "random_state must be an integer of at most 4294967295"),
        ({"user_id": [1.0, 2.0**60, 1, 2, 3]}, "user_id has 1.15.* in row 1"),
        ({"user_id": 3}, "user_id must be an array; got 3"),
        ({"n_bins": 0}, "n_bins must be an integer of at least 1; got 0"),
        ({"floor": 0}, "floor must be a finite number of at least 1e-100; got 0"),
        ({"floor": 0.4}, r"floor must be at most 1 / n_actions = 0.3333; got 0.4"),
    ],
)
def test_bad_settings_are_rejected(setting, message):
    with pytest.raises(ValueError, match=message):
        by_hand(**setting)


@pytest.mark.parametrize(
    ("context", "action", "message"),
    [
        (np.zeros(5), np.zeros(5, int), "context must have 2 dimensions"),
        (np.zeros((5, 1)), np.zeros(4, int), "action has 4 rows but context has 5"),
        (np.zeros((5, 1)), np.zeros(5), "action must hold integers"),
        (np.full((5, 1), np.nan), np.zeros(5, int), "context must be finite; row 0"),
        (None, np.zeros(5, int), "context must be an array; got None"),
        (np.zeros((5, 1)), None, "action must be an array; got None"),
        (np.zeros((0, 1)), np.zeros(0, int), "n_folds is 5, but the log has only 0 rounds"),
    ],
)
def test_bad_columns_are_rejected(context, action, message):
    with pytest.raises(ValueError, match=message):
        opl.estimate_propensities(context, action, 3)


def test_a_model_without_probabilities_is_rejected():
    with pytest.raises(TypeError, match="classifier with predict_proba; object has none"):
        by_hand(classifier=type("object", (), {"fit": lambda *_: None})())


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        (LogisticRegression, r"got the class LogisticRegression: make an object of it, Log"),
        (3, "with fit; int has none"),
        (lambda context: context, "with fit; function has none"),
        (StandardScaler(), "with predict_proba; StandardScaler has none"),
        (LinearRegression(), "with predict_proba; LinearRegression has none"),
    ],
    ids=range(5),
)
def test_what_is_no_classifier_is_rejected(classifier, message):
    with pytest.raises(TypeError, match=f"classifier must be a scikit-learn classifier.*{message}"):
        by_hand(classifier=classifier)


def test_a_classifier_that_cannot_be_cloned_is_rejected():
    class Alone:
        fit = predict_proba = lambda *_: None

    with pytest.raises(TypeError, match="classifier with get_params; Alone has none"):
        by_hand(classifier=Alone())


NO_PROBABILITIES = {
    "nan": lambda table: np.full_like(table, np.nan),
    "one nan": lambda table: np.where(table == 0.7, np.nan, table),
    "infinite": lambda table: np.where(table == 0.7, np.inf, table),
    "negative": lambda table: table * [1, -1, 1] + [0, 2 * 0.25, 0],
    "logits": np.log,
    "not normalised": lambda table: table * 1.01,
}


@pytest.mark.parametrize("name", NO_PROBABILITIES)
def test_what_a_classifier_predicts_must_be_probabilities(name):
    bad = NO_PROBABILITIES[name](np.array(TABLE))
    message = r"classifier\.predict_proba returned for row \d of the log is no probability dist"
    with pytest.raises(ValueError, match=message):
        by_hand(classifier=Table(bad))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "what classifier.predict_proba returned must be an array; got None"),
        ("ab", "must be an array; got 'ab'"),
        ([["a"] * 3] * 2, "must be numeric"),
        (np.ones((2, 3)) * 1j, "must be numeric"),
        ([0.5, 0.5], r"has shape \(2,\); expected \(n, n_classes\) = \(\d, 3\)"),
        (np.eye(2), r"has shape \(2, 2\); expected \(n, n_classes\) = \(\d, 3\)"),
        ([[0.5], [0.2, 0.8]], "cannot be read as an array"),
    ],
    ids=range(7),
)
def test_what_a_classifier_predicts_must_be_a_table(returned, message):
    class Returns(Table):
        def predict_proba(self, context):
            return returned

    with pytest.raises(ValueError, match=message):
        by_hand(classifier=Returns(TABLE))


@pytest.mark.parametrize("classes", [None, ["a", "b", "c"], [0, 1, 3], [-1, 0, 1], [0.0, 1.0, 2.0]])
def test_the_classes_of_a_classifier_must_be_items(classes):
    class Other(Table):
        def fit(self, context, action):
            self.classes_ = classes
            return self

    with pytest.raises(ValueError, match=r"classifier must have classes_ .*in \[0, 2\]; Other has"):
        by_hand(classifier=Other(TABLE))


@pytest.mark.parametrize("classifier", [None, LogisticRegression(), POPULARITY], ids=range(3))
def test_an_item_that_is_always_shown_has_all_of_the_probability(classifier):
    context = np.random.default_rng(0).normal(size=(60, 2))
    estimate = opl.estimate_propensities(context, np.zeros(60, int), 3, classifier)
    np.testing.assert_array_equal(estimate.pscore, 1)
    weight, *_, never = estimate.findings
    assert "the mean weight is not 1" in weight and "items never shown: 2" in never
    once = np.zeros(60, int)
    once[5] = 1
    estimate = opl.estimate_propensities(context, once, 3, classifier)
    assert estimate.pscore[5] == estimate.floor and estimate.n_floored == 1
    assert (estimate.pscore[once == 0] > 0.9).all()


def test_errors_of_a_classifier_go_through():
    class Fails(Table):
        def fit(self, context, action):
            raise ValueError("a reason of its own")

    with pytest.raises(ValueError, match=r"^a reason of its own$"):
        by_hand(classifier=Fails(TABLE))


def test_a_giant_weight_is_found():
    context = np.zeros((40, 1))
    action = np.r_[1, np.zeros(39, int)]
    estimate = opl.estimate_propensities(context, action, 2, POPULARITY, floor=1e-90)
    assert any(f.startswith("the largest weight is 5e+89") for f in estimate.findings)
    assert np.isfinite(estimate.item_weights).all(axis=None)


@pytest.mark.parametrize("power", [-1000, -400, 400, 1000])
def test_the_default_classifier_takes_features_of_any_size(power):
    log = sample(opl.softmax(1.0), 500)
    huge = opl.estimate_propensities(np.ldexp(log.context, power), log.action, 5)
    np.testing.assert_allclose(huge.pscore, estimate_of(log).pscore, rtol=1e-6)


def test_counts_may_be_of_small_types_and_the_callers_error_state_is_not_asked():
    expected = by_hand().pscore
    with np.errstate(all="raise"):
        estimate = by_hand(n_actions=np.int8(3), n_folds=np.int8(2), random_state=np.uint8(0))
    np.testing.assert_array_equal(estimate.pscore, expected)
    assert by_hand(n_bins=10**12).calibration.equals(by_hand(n_bins=5).calibration)
