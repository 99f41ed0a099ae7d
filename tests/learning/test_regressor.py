"""Two towers that predict rewards."""

import numpy as np
import pytest
from learning.learners import (
    checkerboard,
    make_learner,
    make_regressor,
    probabilities,
    with_columns,
)

import opl_lib as opl
from opl_lib.objectives import OBJECTIVES


def test_predicted_rewards_are_those_of_the_objective_that_was_fitted(small_log):
    model = make_regressor("regression").fit(small_log)
    before = model.predict_reward(small_log.context, small_log.action_context)
    model.set_params(objective="squared_error")
    after = model.predict_reward(small_log.context, small_log.action_context)
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("objective", ["regression", OBJECTIVES["regression"]], ids=["name", "own"])
@pytest.mark.parametrize("value", [2.0, -0.5])
def test_regression_rejects_rewards_outside_the_unit_interval(objective, value, small_log):
    reward = np.where(np.arange(120) == 17, value, small_log.reward)
    message = f"made for rewards from 0 to 1; row 17 has {value:g}.*squared_error"
    with pytest.raises(ValueError, match=message):
        make_regressor(objective).fit(with_columns(small_log, reward=reward))


def test_fractional_rewards_are_good_for_regression(small_log):
    log = with_columns(small_log, reward=small_log.reward / 2)
    assert np.isfinite(make_regressor("regression").fit(log).history_["objective"]).all()


def test_regressions_predict_rewards_from_scores(small_log):
    mean, spread = small_log.reward.mean(), small_log.reward.std()
    for objective, to_reward in (
        ("regression", lambda s: 1 / (1 + np.exp(-s) * (1 - mean) / mean)),
        ("squared_error", lambda s: mean + spread * s),
    ):
        model = make_regressor(objective, temperature=0.5).fit(small_log)
        predicted = model.predict_reward(small_log.context, small_log.action_context)
        scores = model.policy_.scores(small_log.context, small_log.action_context)
        np.testing.assert_allclose(predicted, to_reward(scores), rtol=1e-5, atol=1e-6)


def test_predicted_rewards_are_close_to_the_truth_on_the_checkerboard():
    log = checkerboard()
    model = make_regressor(epochs=60, batch_size=40).fit(log)
    predicted = model.predict_reward(np.eye(3), log.action_context)
    np.testing.assert_allclose(predicted, np.eye(3), atol=0.1)


@pytest.mark.parametrize("method", ["predict_reward", "predictor"])
def test_an_unfitted_regressor_says_so(method, small_log):
    with pytest.raises(ValueError, match="this regressor is not fitted; call fit"):
        getattr(make_regressor(), method)(small_log.context, small_log.action_context)


@pytest.mark.parametrize(
    "objective",
    ["ips", opl.clipped_ips(3), lambda z, b: z.mean()],
    ids=("name", "made", "function"),
)
def test_an_objective_of_a_policy_predicts_no_rewards(objective):
    for make in (
        lambda: opl.TwoTowerRegressor(objective),
        lambda: opl.TwoTowerRegressor().set_params(objective=objective),
    ):
        with pytest.raises(ValueError, match="learns a policy, not rewards; use 'auto'"):
            make()


@pytest.mark.parametrize(
    ("scale", "expected"), [(1, "regression"), (0.5, "squared_error"), (2, "squared_error")]
)
def test_auto_is_the_regression_for_the_rewards_at_hand(scale, expected, small_log):
    log = with_columns(small_log, reward=small_log.reward * scale)
    auto, named = (make_regressor(name).fit(log) for name in ("auto", expected))
    assert auto.objective_ is named.objective_ is OBJECTIVES[expected]
    pair = small_log.context, small_log.action_context
    np.testing.assert_array_equal(auto.predict_reward(*pair), named.predict_reward(*pair))


def test_a_regressor_scores_items_as_the_learner_of_that_name_does(small_log):
    model = make_regressor("squared_error").fit(small_log)
    learner = make_learner("squared_error").fit(small_log)
    np.testing.assert_array_equal(
        probabilities(model, small_log), probabilities(learner, small_log)
    )
    assert model.history_ == learner.history_


def absolute_error(scores, batch):
    return -(batch.reward - scores).abs().mean(dim=-1)


def test_a_regression_of_ones_own_needs_a_value_only():
    log = checkerboard()
    own = make_regressor(opl.Regression(absolute_error), epochs=60, batch_size=40).fit(log)
    predicted = own.predict_reward(np.eye(3), log.action_context)
    np.testing.assert_array_equal(predicted.argmax(axis=1), np.arange(3))


@pytest.mark.parametrize("objective", ["regression", "squared_error"])
def test_a_predictor_gives_the_predictions_of_some_rows_and_items(objective, small_log):
    model = make_regressor(objective).fit(small_log)
    predict = model.predictor(small_log.context, small_log.action_context)
    expected = model.predict_reward(small_log.context, small_log.action_context)
    rows, items = np.array([5, 119, 5]), np.array([2, 0])
    np.testing.assert_allclose(predict(rows, items), expected[rows[:, None], items], rtol=1e-5)


def test_a_callback_sees_the_policy_of_a_regressor(small_log):
    model = make_regressor().fit(small_log, callback=lambda policy: {"is": policy is not None})
    assert model.history_["is"] == [1, 1, 1, 1]


def test_a_failed_refit_leaves_no_old_predictions(small_log):
    model = make_regressor("squared_error").fit(small_log)
    before = model.predict_reward(small_log.context, small_log.action_context)
    with pytest.raises(opl.NonFiniteLossError, match="before epoch 1"):
        model.set_params(learning_rate=1e30).fit(small_log)
    after = model.predict_reward(small_log.context, small_log.action_context)
    assert not np.array_equal(after, before) and model.history_ == {"objective": []}
