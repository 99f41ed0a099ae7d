"""Cross-fitting: who is fitted on what, and who predicts which rows."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import opl_lib as opl
from opl_lib.learning.cross_fitting import cross_fit_many


class Memory:
    """Predicts 1 for the contexts it was fitted on and 0 for others: it shows who saw what."""

    def fit(self, feedback):
        self.seen = {tuple(row) for row in feedback.context}
        return self

    def predict_reward(self, context, action_context):
        known = np.array([tuple(row) in self.seen for row in context], dtype=float)
        return np.repeat(known[:, None], len(action_context), axis=1)


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
        got = fitted.predict_rows(np.array([7, 119, 0]), np.array([3, 1]))
        np.testing.assert_array_equal(got, [[73, 71], [1193, 1191], [3, 1]])
    fitted.predict_rows(np.arange(120))
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
    for predict in (lambda: fitted.predict_rows(np.arange(120)), fitted.predict_logged_item):
        with pytest.raises(ValueError, match=f"HasPredictor.predictor.*{message}"):
            predict()


def test_what_was_prepared_is_not_pickled(small_log):
    fitted = opl.cross_fit(opl.SklearnRewardModel(Ridge()), small_log)
    before = len(pickle.dumps(fitted))
    predicted = fitted.predict_rows(np.arange(120))
    assert len(pickle.dumps(fitted)) == before
    copied = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copied.predict_rows(np.arange(120)), predicted)


@pytest.mark.parametrize("n_rounds", [1, 120, 255, 256, 257, 600])
def test_predict_logged_item_is_the_prediction_of_the_logged_item(n_rounds, small_world):
    log = small_world.sample(n_rounds, random_state=0)
    fitted = opl.cross_fit(opl.SklearnRewardModel(Ridge()), log, n_folds=min(3, n_rounds - 1) or 1)
    everything = fitted.predict_rows(np.arange(n_rounds))
    expected = everything[np.arange(n_rounds), log.action]
    np.testing.assert_allclose(fitted.predict_logged_item(), expected)


# ---- cross-fitting


@pytest.mark.parametrize("n_folds", [2, 3, 7])
def test_no_model_ever_saw_its_fold(n_folds, small_log):
    fitted = opl.cross_fit(Memory(), small_log, n_folds=n_folds)
    assert len(fitted.models) == n_folds
    for k, model in enumerate(fitted.models):
        expected = {tuple(row) for row in small_log.context[fitted.fold != k]}
        assert model.seen == expected
    assert (fitted.predict_rows(np.arange(120)) == 0).all()


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
    assert (fitted.predict_rows(np.arange(120)) == 1).all()


def test_as_many_folds_as_rounds_leave_one_out(small_log):
    fitted = opl.cross_fit(Memory(), small_log[:6], n_folds=6)
    assert sorted(fitted.fold) == list(range(6))


@pytest.mark.parametrize("rows", [[5], [119, 3, 3, 60], list(range(120))[::-1], []], ids=len)
def test_predict_rows_gives_the_rows_asked_for_in_their_order(rows, small_log):
    fitted = opl.cross_fit(opl.SklearnRewardModel(Ridge()), small_log, n_folds=3)
    rows = np.array(rows, dtype=int)
    got = fitted.predict_rows(rows)
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
    model = opl.TwoTowerRegressor("squared_error", epochs=1, hidden=(4,), dim_embedding=2)
    fitted = opl.cross_fit(model, small_log)
    assert fitted.predict_rows(np.arange(4)).shape == (4, 4)


def test_many_are_cross_fitted_as_one_is(small_log, small_world):
    towers = opl.TwoTowerRegressor("squared_error", epochs=1, hidden=(4,), dim_embedding=2)
    models = [towers, opl.SklearnRewardModel(Ridge()), towers, Memory()]
    other = small_world.sample(80, random_state=5)
    logs, n_folds, seeds = [small_log, other, small_log, other], [2, 3, 4, 2], [0, 1, 2, 0]
    together = cross_fit_many(models, logs, n_folds, seeds)
    for fitted, model, log, n, seed in zip(together, models, logs, n_folds, seeds, strict=True):
        alone = opl.cross_fit(model, log, n, seed)
        np.testing.assert_array_equal(fitted.fold, alone.fold)
        rows = np.arange(log.n_rounds)
        np.testing.assert_allclose(fitted.predict_rows(rows), alone.predict_rows(rows), atol=1e-5)
        assert fitted.feedback is log
    assert not hasattr(towers, "policy_")


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


def test_a_copy_is_the_object_itself_and_holds_no_second_log(small_log):
    """`select` and `EarlyStopping` copy learners, and learners may share one of these."""
    fitted = opl.cross_fit(opl.SklearnRewardModel(Ridge()), small_log)
    assert copy.deepcopy(fitted) is fitted
    learner = opl.OffPolicyLearner("dr", reward_model=fitted, epochs=1, hidden=(4,))
    copied = copy.deepcopy(learner).fit(small_log)
    assert copied.reward_model_.feedback is small_log


class Marked(opl.TwoTowerRegressor):
    """A subclass that notes its calls."""

    calls = 0

    def fit(self, feedback, callback=None):
        Marked.calls += 1
        return super().fit(feedback, callback)


def test_the_fit_of_a_subclass_is_called(small_log, monkeypatch):
    settings = {"epochs": 1, "hidden": (4,), "dim_embedding": 2}
    monkeypatch.setattr(Marked, "calls", 0)
    fitted = opl.cross_fit(Marked(**settings), small_log, n_folds=3)
    assert Marked.calls == 3
    plain = opl.cross_fit(opl.TwoTowerRegressor(**settings), small_log, n_folds=3)
    rows = np.arange(120)
    np.testing.assert_allclose(fitted.predict_rows(rows), plain.predict_rows(rows), atol=1e-5)
    opl.OffPolicyLearner("dr", reward_model=Marked(**settings), **settings).fit(small_log)
    assert Marked.calls == 5


def test_cross_fitting_warns_once_of_features_far_from_unit_scale(small_log):
    log = dataclasses.replace(small_log, context=small_log.context + np.array([0, 40, 0]))
    model = opl.TwoTowerRegressor(epochs=1, hidden=(4,), dim_embedding=2)
    with pytest.warns(UserWarning, match="context, column 1 has mean") as caught:
        opl.cross_fit(model, log, n_folds=3)
    assert len(caught) == 1


class FitsWithoutReturning(Memory):
    def fit(self, feedback):
        super().fit(feedback)


def test_fit_need_not_return_the_model(small_log):
    fitted = opl.cross_fit(FitsWithoutReturning(), small_log)
    assert (fitted.predict_rows(np.arange(120)) == 0).all()


@pytest.mark.parametrize("model", [Ridge(), 3, None], ids=str)
def test_what_is_no_reward_model_is_rejected_with_the_cure(model, small_log):
    message = (
        rf"must have fit\(feedback\) .*; got {type(model).__name__}\. Wrap a scikit-learn estimator"
    )
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


@pytest.mark.parametrize("method", ["predict_rows", "predict_reward"])
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
        "predict_rows": (np.arange(6),),
        "predict_reward": (small_log.context[:6], small_log.action_context),
    }[method]
    with pytest.raises(ValueError, match=message):
        getattr(fitted, method)(*arguments)


def test_repr_says_how_many_models_of_which_kind(small_log):
    fitted = opl.cross_fit(opl.SklearnRewardModel(Ridge()), small_log, n_folds=3)
    assert repr(fitted) == "CrossFittedRewardModel(3 x SklearnRewardModel(Ridge()))"
