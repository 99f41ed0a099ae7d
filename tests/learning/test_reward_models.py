"""Reward models: what they are fitted on, what they predict, cross-fitting."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import opl_lib as opl
from opl_lib.learning import reward_models
from opl_lib.learning.reward_models import cross_fit_many


class Memory:
    """Predicts 1 for the contexts it was fitted on and 0 for others: it shows who saw what."""

    def fit(self, feedback):
        self.seen = {tuple(row) for row in feedback.context}
        return self

    def predict_reward(self, context, action_context):
        known = np.array([tuple(row) in self.seen for row in context], dtype=float)
        return np.repeat(known[:, None], len(action_context), axis=1)


def pairs(context, items):
    return np.array([[*x, *a] for x in context for a in items])


# ---- scikit-learn


def test_a_regressor_is_fitted_on_logged_pairs_and_predicts_all_pairs(small_log):
    context, items = small_log.context, small_log.action_context
    model = opl.SklearnRewardModel(Ridge()).fit(small_log)
    logged = np.array([[*x, *items[a]] for x, a in zip(context, small_log.action, strict=True)])
    by_hand = Ridge().fit(logged, small_log.reward).predict(pairs(context, items))
    np.testing.assert_allclose(model.predict_reward(context, items), by_hand.reshape(120, 4))


@pytest.mark.parametrize(
    "classifier", [LogisticRegression(), DecisionTreeClassifier(max_depth=3, random_state=0)]
)
def test_a_classifier_predicts_the_probability_of_reward_1(classifier, small_log):
    model = opl.SklearnRewardModel(classifier).fit(small_log)
    predicted = model.predict_reward(small_log.context, small_log.action_context)
    everything = pairs(small_log.context, small_log.action_context)
    expected = model.estimator_.predict_proba(everything)[:, 1].reshape(120, 4)
    np.testing.assert_allclose(predicted, expected)
    logged = predicted[np.arange(120), small_log.action]
    assert logged[small_log.reward == 1].mean() > logged[small_log.reward == 0].mean()


def test_the_estimator_passed_in_is_not_fitted(small_log):
    estimator = Ridge()
    opl.SklearnRewardModel(estimator).fit(small_log)
    assert not hasattr(estimator, "coef_")


def test_predictions_in_chunks_are_the_same(small_log, monkeypatch):
    model = opl.SklearnRewardModel(Ridge()).fit(small_log)
    whole = model.predict_reward(small_log.context, small_log.action_context)
    chunks = [slice(0, 1), slice(1, 100), slice(100, 120)]
    monkeypatch.setattr("opl_lib.learning.reward_models.row_chunks", lambda n, m: chunks)
    parts = model.predict_reward(small_log.context, small_log.action_context)
    np.testing.assert_allclose(parts, whole)


def test_items_that_were_never_logged_are_predicted_too(small_log):
    model = opl.SklearnRewardModel(Ridge()).fit(small_log)
    assert model.predict_reward(small_log.context[:3], np.ones((9, 2))).shape == (3, 9)


def test_an_unfitted_model_says_so(small_log):
    with pytest.raises(ValueError, match=r"not fitted; call fit\(feedback\) first"):
        opl.SklearnRewardModel(Ridge()).predict_reward(small_log.context, small_log.action_context)
    with pytest.raises(ValueError, match=r"not fitted; call fit\(feedback\) first"):
        opl.SklearnRewardModel(Ridge()).predictor(small_log.context, small_log.action_context)


@pytest.mark.parametrize("reward", [0.0, 1.0, 2.0, 0.5])
def test_a_classifier_needs_both_outcomes(reward, small_log):
    columns = {name: getattr(small_log, name) for name in ("context", "action", "pscore")}
    log = opl.BanditFeedback(
        **columns, reward=np.full(120, reward), action_context=small_log.action_context
    )
    with pytest.raises(ValueError, match=r"a classifier needs rewards 0 and 1, .*Use a regressor"):
        opl.SklearnRewardModel(LogisticRegression()).fit(log)


def test_repr_names_the_estimator():
    assert repr(opl.SklearnRewardModel(Ridge(alpha=2))) == "SklearnRewardModel(Ridge(alpha=2))"


# ---- predictions of some rows and items at a time

NETWORKS = {
    "relu": MLPRegressor(hidden_layer_sizes=(7, 5), activation="relu"),
    "tanh": MLPRegressor(hidden_layer_sizes=(7,), activation="tanh"),
    "logistic": MLPRegressor(hidden_layer_sizes=(7,), activation="logistic"),
    "identity": MLPRegressor(hidden_layer_sizes=(7,), activation="identity"),
    "classifier, relu": MLPClassifier(hidden_layer_sizes=(7, 5), activation="relu"),
    "classifier, tanh": MLPClassifier(hidden_layer_sizes=(7,), activation="tanh"),
}
if "loss" in MLPRegressor().get_params():  # since scikit-learn 1.7
    NETWORKS["poisson"] = MLPRegressor(loss="poisson", hidden_layer_sizes=(7,))
OTHERS = {
    "linear": Ridge(),
    "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), NETWORKS["relu"]),
}


def fitted_on(log, estimator):
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    if "max_iter" in last.get_params() and "hidden_layer_sizes" in last.get_params():
        last.set_params(max_iter=20, random_state=0)
    return opl.SklearnRewardModel(estimator).fit(log)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("max_hidden", [1, 50, 2**18])
@pytest.mark.parametrize("name", [*NETWORKS, *OTHERS])
def test_a_predictor_gives_the_predictions_of_some_rows_and_items(
    name, max_hidden, small_log, monkeypatch
):
    monkeypatch.setattr(reward_models, "_MAX_HIDDEN", max_hidden)
    model = fitted_on(small_log, {**NETWORKS, **OTHERS}[name])
    expected = model.predict_reward(small_log.context, small_log.action_context)
    predict = model.predictor(small_log.context, small_log.action_context)
    assert expected.std() > 0.01
    for rows, items in ((np.arange(120), np.arange(4)), ([5, 119, 5], [2, 0]), ([7], [3, 3])):
        rows, items = np.array(rows), np.array(items)
        np.testing.assert_allclose(predict(rows, items), expected[rows[:, None], items], atol=1e-9)
    assert predict(np.array([], dtype=int), np.arange(4)).shape == (0, 4)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(("name", "calls"), [("relu", 0), ("pipeline", 1)])
def test_only_networks_are_taken_apart(name, calls, small_log, monkeypatch):
    model, count = fitted_on(small_log, {**NETWORKS, **OTHERS}[name]), []
    predict_reward = model.predict_reward
    monkeypatch.setattr(
        model, "predict_reward", lambda *pair: (count.append(pair), predict_reward(*pair))[1]
    )
    model.predictor(small_log.context, small_log.action_context)(np.arange(3), np.arange(4))
    assert len(count) == calls


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_probabilities_of_a_network_that_is_sure_of_itself_are_0_and_1(small_log):
    model = fitted_on(small_log, NETWORKS["classifier, relu"])
    model.estimator_.coefs_[-1] *= 1e6
    predict = model.predictor(small_log.context, small_log.action_context)
    predicted = predict(np.arange(120), np.arange(4))
    expected = model.predict_reward(small_log.context, small_log.action_context)
    np.testing.assert_allclose(predicted, expected, atol=1e-9)
    assert predicted.min() == 0 and predicted.max() == 1


@pytest.mark.parametrize("objective", ["regression", "squared_error"])
def test_two_towers_have_a_predictor_too(objective, small_log):
    model = opl.OffPolicyLearner(objective, epochs=1, hidden=(4,), dim_embedding=2).fit(small_log)
    predict = model.predictor(small_log.context, small_log.action_context)
    expected = model.predict_reward(small_log.context, small_log.action_context)
    rows, items = np.array([5, 119, 5]), np.array([2, 0])
    np.testing.assert_allclose(predict(rows, items), expected[rows[:, None], items], rtol=1e-5)


class HasPredictor(Memory):
    """Predicts the row and the item number; `made` counts how often it was prepared."""

    made = 0

    def predictor(self, context, action_context):
        HasPredictor.made += 1
        assert len(context) == 120 and len(action_context) == 4
        return lambda rows, items: 10.0 * rows[:, None] + items


def test_a_predictor_is_made_once_a_fold_and_asked_for_what_is_needed(small_log, monkeypatch):
    monkeypatch.setattr(HasPredictor, "made", 0)
    fitted = opl.cross_fit(HasPredictor(), small_log, n_folds=3)
    for _ in range(2):
        got = fitted.predict_logged(np.array([7, 119, 0]), np.array([3, 1]))
        np.testing.assert_array_equal(got, [[73, 71], [1193, 1191], [3, 1]])
    fitted.predict_logged(np.arange(120))
    assert HasPredictor.made == 3


@pytest.mark.parametrize("n_folds", [1, 2])
@pytest.mark.parametrize(
    ("found", "message"),
    [
        (lambda rows, items: np.zeros((len(rows), 1)), r"shape \(\d+, 1\); expected .*\(\d+, 4\)"),
        (lambda rows, items: np.zeros(len(items)), r"shape \(4,\); expected .*\(\d+, 4\)"),
        (
            lambda rows, items: np.where(rows[:, None] == 7, np.inf, np.zeros(len(items))),
            r"predictions are not all finite, first in row \d+ of the \d+",
        ),
    ],
)
def test_what_a_predictor_returns_is_checked(found, message, n_folds, small_log, monkeypatch):
    monkeypatch.setattr(HasPredictor, "predictor", lambda *arguments: found)
    fitted = opl.cross_fit(HasPredictor(), small_log, n_folds=n_folds)
    for predict in (lambda: fitted.predict_logged(np.arange(120)), fitted.predict_shown):
        with pytest.raises(ValueError, match=f"HasPredictor.predictor.*{message}"):
            predict()


def test_what_was_prepared_is_not_pickled(small_log):
    fitted = opl.cross_fit(opl.SklearnRewardModel(Ridge()), small_log)
    before = len(pickle.dumps(fitted))
    predicted = fitted.predict_logged(np.arange(120))
    assert len(pickle.dumps(fitted)) == before
    copied = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copied.predict_logged(np.arange(120)), predicted)


@pytest.mark.parametrize("n_rounds", [1, 120, 255, 256, 257, 600])
def test_predict_shown_is_the_prediction_of_the_logged_item(n_rounds, small_world):
    log = small_world.sample(n_rounds, random_state=0)
    fitted = opl.cross_fit(opl.SklearnRewardModel(Ridge()), log, n_folds=min(3, n_rounds - 1) or 1)
    everything = fitted.predict_logged(np.arange(n_rounds))
    expected = everything[np.arange(n_rounds), log.action]
    np.testing.assert_allclose(fitted.predict_shown(), expected)


# ---- cross-fitting


@pytest.mark.parametrize("n_folds", [2, 3, 7])
def test_no_model_ever_saw_its_fold(n_folds, small_log):
    fitted = opl.cross_fit(Memory(), small_log, n_folds=n_folds)
    assert len(fitted.models) == n_folds
    for k, model in enumerate(fitted.models):
        expected = {tuple(row) for row in small_log.context[fitted.fold != k]}
        assert model.seen == expected
    assert (fitted.predict_logged(np.arange(120)) == 0).all()


@pytest.mark.parametrize("n_folds", [2, 3, 7])
def test_folds_are_of_equal_size_and_random(n_folds, small_log):
    log = dataclasses.replace(small_log, user_id=None)
    fold = opl.cross_fit(Memory(), log, n_folds=n_folds).fold
    sizes = np.bincount(fold)
    assert len(sizes) == n_folds and sizes.max() - sizes.min() <= 1
    assert not np.array_equal(fold, np.arange(120) % n_folds)
    assert not np.array_equal(fold, np.sort(fold))


def test_a_user_is_in_one_fold(small_log):
    user = np.random.default_rng(0).permutation(np.arange(small_log.n_rounds) % 40)
    log = dataclasses.replace(small_log, user_id=user)
    fold = opl.cross_fit(Memory(), log, n_folds=4).fold
    users_in = [set(user[fold == k]) for k in range(4)]
    assert sorted(len(users) for users in users_in) == [10] * 4
    assert len(set.union(*users_in)) == 40
    with pytest.raises(ValueError, match="n_folds is 41, but the log has only 40 users"):
        opl.cross_fit(Memory(), log, n_folds=41)


def test_folds_follow_random_state(small_log):
    one, same, other = (
        opl.cross_fit(Memory(), small_log, random_state=seed).fold for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_one_fold_fits_and_predicts_the_same_rows(small_log):
    fitted = opl.cross_fit(Memory(), small_log, n_folds=1)
    assert len(fitted.models) == 1
    assert (fitted.predict_logged(np.arange(120)) == 1).all()


def test_as_many_folds_as_rounds_leave_one_out(small_log):
    fitted = opl.cross_fit(Memory(), small_log[:6], n_folds=6)
    assert sorted(fitted.fold) == list(range(6))


@pytest.mark.parametrize("rows", [[5], [119, 3, 3, 60], list(range(120))[::-1], []], ids=len)
def test_predict_logged_gives_the_rows_asked_for_in_their_order(rows, small_log):
    fitted = opl.cross_fit(opl.SklearnRewardModel(Ridge()), small_log, n_folds=3)
    rows = np.array(rows, dtype=int)
    got = fitted.predict_logged(rows)
    assert got.shape == (len(rows), 4)
    for place, row in enumerate(rows):
        model = fitted.models[fitted.fold[row]]
        expected = model.predict_reward(small_log.context[[row]], small_log.action_context)
        np.testing.assert_allclose(got[place], expected[0])


def test_new_rows_are_predicted_by_the_mean_of_the_folds(small_log, small_world):
    fitted = opl.cross_fit(opl.SklearnRewardModel(Ridge()), small_log, n_folds=3)
    new = small_world.sample(5, random_state=9)
    expected = sum(m.predict_reward(new.context, new.action_context) for m in fitted.models) / 3
    np.testing.assert_allclose(fitted.predict_reward(new.context, new.action_context), expected)


def test_the_model_passed_in_is_copied_not_fitted(small_log):
    model = Memory()
    opl.cross_fit(model, small_log)
    assert not hasattr(model, "seen")


def test_two_towers_can_be_cross_fitted(small_log):
    model = opl.OffPolicyLearner("squared_error", epochs=1, hidden=(4,), dim_embedding=2)
    fitted = opl.cross_fit(model, small_log)
    assert fitted.predict_logged(np.arange(4)).shape == (4, 4)


def test_many_are_cross_fitted_as_one_is(small_log, small_world):
    towers = opl.OffPolicyLearner("squared_error", epochs=1, hidden=(4,), dim_embedding=2)
    models = [towers, opl.SklearnRewardModel(Ridge()), towers, Memory()]
    other = small_world.sample(80, random_state=5)
    logs, n_folds, seeds = [small_log, other, small_log, other], [2, 3, 4, 2], [0, 1, 2, 0]
    together = cross_fit_many(models, logs, n_folds, seeds)
    for fitted, model, log, n, seed in zip(together, models, logs, n_folds, seeds, strict=True):
        alone = opl.cross_fit(model, log, n, seed)
        np.testing.assert_array_equal(fitted.fold, alone.fold)
        rows = np.arange(log.n_rounds)
        np.testing.assert_allclose(
            fitted.predict_logged(rows), alone.predict_logged(rows), atol=1e-5
        )
        assert fitted.feedback is log
    assert not hasattr(towers, "policy_")


def test_what_is_fitted_already_stays_as_it_is(small_log):
    """Also in copies, and with the predictor that it may have."""
    model = HasPredictor().fit(small_log)
    fitted = opl.FittedRewardModel(model)
    assert copy.deepcopy(fitted).fit(small_log[:10]) is fitted
    assert fitted.predict_reward == model.predict_reward
    assert fitted.predictor == model.predictor
    assert not hasattr(opl.FittedRewardModel(Memory().fit(small_log)), "predictor")


def test_only_a_reward_model_can_be_kept_as_it_is():
    with pytest.raises(
        TypeError, match=r"Ridge has none\. Wrap a scikit-learn estimator in opl\.Skl"
    ):
        opl.FittedRewardModel(Ridge())


@pytest.mark.parametrize("name", ["action", "reward", "pscore", "context", "action_context"])
def test_a_log_that_differs_in_any_column_is_another(name, small_log):
    fitted = opl.cross_fit(Memory(), small_log)
    column = np.copy(getattr(small_log, name))
    same = dataclasses.replace(small_log, **{name: column})
    assert fitted.is_for(small_log) and fitted.is_for(same)
    column[0] = (column[0] + 1) % 4 if name == "action" else column[0] / 2 + 0.1
    assert not fitted.is_for(dataclasses.replace(small_log, **{name: column}))


def test_a_shorter_log_is_another(small_log):
    assert not opl.cross_fit(Memory(), small_log).is_for(small_log[:50])


class FitsWithoutReturning(Memory):
    def fit(self, feedback):
        super().fit(feedback)


def test_fit_need_not_return_the_model(small_log):
    fitted = opl.cross_fit(FitsWithoutReturning(), small_log)
    assert (fitted.predict_logged(np.arange(120)) == 0).all()


@pytest.mark.parametrize("model", [Ridge(), 3, None], ids=str)
def test_what_is_no_reward_model_is_rejected_with_the_cure(model, small_log):
    message = f"needs a method .*; {type(model).__name__} has none. Wrap a scikit-learn estimator"
    with pytest.raises(TypeError, match=message):
        opl.cross_fit(model, small_log)


@pytest.mark.parametrize(("n_rounds", "what"), [(1, "1 round to"), (2, "2 rounds to")])
def test_a_log_too_short_for_folds_is_told_what_to_do(n_rounds, what, small_log):
    short = dataclasses.replace(small_log[:n_rounds], user_id=None)
    message = f"only {what} .*Pass a fitted reward_model, use 'ips' or 'snips', .* or n_folds=1"
    with pytest.raises(ValueError, match=message):
        opl.cross_fit(Memory(), short, n_folds=3)


@pytest.mark.parametrize("n_folds", [0, -1, 1.5, 121])
def test_the_number_of_folds_must_fit_the_log(n_folds, small_log):
    with pytest.raises(ValueError, match=f"n_folds .*{n_folds}"):
        opl.cross_fit(Memory(), small_log, n_folds=n_folds)


class Predicts(Memory):
    def __init__(self, shape, value=0.0):
        self.predictions = shape, value

    def predict_reward(self, context, action_context):
        return np.full(*self.predictions)


@pytest.mark.parametrize("method", ["predict_logged", "predict_reward"])
@pytest.mark.parametrize(
    ("shape", "value", "message"),
    [
        ((6, 3), 0.0, r"returned shape \(6, 3\); expected .* \(6, 4\)"),
        ((6, 1), 0.0, r"returned shape \(6, 1\); expected .* \(6, 4\)"),
        ((4,), 0.0, r"returned shape \(4,\); expected .* \(6, 4\)"),
        ((6, 4), np.nan, "predictions are not all finite, first in row 0"),
    ],
)
def test_predictions_of_a_wrong_shape_or_value_are_rejected(
    method, shape, value, message, small_log
):
    fitted = opl.cross_fit(Predicts(shape, value), small_log[:6], n_folds=1)
    arguments = {
        "predict_logged": (np.arange(6),),
        "predict_reward": (small_log.context[:6], small_log.action_context),
    }[method]
    with pytest.raises(ValueError, match=message):
        getattr(fitted, method)(*arguments)


def test_repr_says_how_many_models_of_which_kind(small_log):
    fitted = opl.cross_fit(opl.SklearnRewardModel(Ridge()), small_log, n_folds=3)
    assert repr(fitted) == "CrossFittedRewardModel(3 x SklearnRewardModel(Ridge()))"
