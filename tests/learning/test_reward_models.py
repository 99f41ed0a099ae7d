"""Reward models of scikit-learn, and those that are fitted already."""

import copy

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeClassifier

import opl_lib as opl


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


# ---- fitted already


class Constant:
    """Predicts 1 for everything."""

    def fit(self, feedback):
        return self

    def predict_reward(self, context, action_context):
        return np.ones((len(context), len(action_context)))

    def predictor(self, context, action_context):
        return lambda rows, items: np.ones((len(rows), len(items)))


def test_what_is_fitted_already_stays_as_it_is(small_log):
    """Also in copies, and with the predictor that it may have."""
    model = Constant().fit(small_log)
    fitted = opl.FittedRewardModel(model)
    assert copy.deepcopy(fitted).fit(small_log[:10]) is fitted
    assert fitted.predict_reward == model.predict_reward
    assert fitted.predictor == model.predictor
    assert not hasattr(opl.FittedRewardModel(opl.SklearnRewardModel(Ridge())), "predictor")


def test_only_a_reward_model_can_be_kept_as_it_is():
    with pytest.raises(
        TypeError, match=r"Ridge has none\. Wrap a scikit-learn estimator in opl\.Skl"
    ):
        opl.FittedRewardModel(Ridge())
