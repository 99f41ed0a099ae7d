"""What is learned does not depend on the unit, the offset or the rarity of the reward."""

import math

import numpy as np
import pytest
import torch
from learning.learners import with_columns
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import PoissonRegressor, Ridge, RidgeClassifier
from sklearn.neural_network import MLPRegressor

import opl_lib as opl

UNITS = [(1e-6, 0.0), (1e6, 0.0), (1.0, 100.0)]
SMALL = {"epochs": 3, "hidden": (8,), "dim_embedding": 4, "progress": False}


@pytest.fixture(scope="module")
def world():
    return opl.SyntheticWorld(5, 3, 3, random_state=0)


@pytest.fixture(scope="module")
def revenue(world):
    log = world.sample(800, random_state=1)
    noise = np.random.default_rng(0).normal(size=len(log))
    return with_columns(log, reward=log.context[:, 0] + log.action + noise)


def in_unit(log, unit, offset):
    return with_columns(log, reward=log.reward * unit + offset)


@pytest.mark.parametrize(("unit", "offset"), UNITS)
@pytest.mark.parametrize("objective", ["auto", "squared_error", "mrdr"])
def test_a_regressor_predicts_the_same_in_any_unit(revenue, objective, unit, offset):
    first, second = (
        opl.TwoTowerRegressor(objective, **SMALL)
        .fit(log)
        .predict_reward(log.context, log.action_context)
        for log in (revenue, in_unit(revenue, unit, offset))
    )
    np.testing.assert_allclose((second - offset) / unit, first, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("unit", "offset"), UNITS)
def test_a_network_of_scikit_learn_predicts_the_same_in_any_unit(revenue, unit, offset):
    model = opl.SklearnRewardModel(
        MLPRegressor(hidden_layer_sizes=(5,), max_iter=20, random_state=0)
    )
    with pytest.warns(match="Maximum iterations"):
        first, second = (
            opl.cross_fit(model, log).predict_reward(log.context, log.action_context)
            for log in (revenue, in_unit(revenue, unit, offset))
        )
    np.testing.assert_allclose((second - offset) / unit, first, rtol=1e-4, atol=1e-4)


def test_an_estimator_of_counts_gets_the_rewards_as_they_are_if_asked(revenue):
    counts = with_columns(revenue, reward=np.abs(revenue.reward).round())
    with pytest.raises(ValueError, match="out of the valid range") as caught:
        opl.SklearnRewardModel(PoissonRegressor()).fit(counts)
    assert "standardise=False" in caught.value.__notes__[0]
    model = opl.SklearnRewardModel(PoissonRegressor(), standardise=False).fit(counts)
    assert (model.predict_reward(counts.context, counts.action_context) > 0).all()


@pytest.mark.parametrize(("unit", "offset"), UNITS)
def test_a_policy_of_a_regression_is_the_same_in_any_unit(revenue, unit, offset):
    first, second = (
        opl.OffPolicyLearner("squared_error", **SMALL)
        .fit(log)
        .policy_.predict_proba(log.context, log.action_context)
        for log in (revenue, in_unit(revenue, unit, offset))
    )
    np.testing.assert_allclose(second, first, atol=1e-3)


@pytest.mark.parametrize("objective", ["ips", "dr", "snips"])
def test_units_that_are_powers_of_two_give_the_same_bits(revenue, objective):
    first, second = (
        opl.OffPolicyLearner(objective, **SMALL)
        .fit(log)
        .policy_.scores(log.context, log.action_context)
        for log in (revenue, in_unit(revenue, 2.0**-20, 0.0))
    )
    np.testing.assert_array_equal(second, first)


@pytest.mark.parametrize("unit", [1e-8, 1e-4, 1e4])
def test_tiny_and_huge_rewards_are_learned_from_as_well(world, unit):
    log = world.sample(2000, random_state=2)
    learner = opl.OffPolicyLearner("ips", **{**SMALL, "epochs": 15}, learning_rate=1e-2)
    first, second = (
        world.policy_value(learner.fit(each).policy_) for each in (log, in_unit(log, unit, 0.0))
    )
    assert first > world.policy_value(opl.uniform()) + 0.01
    assert second == pytest.approx(first, abs=0.005)


@pytest.mark.parametrize(
    ("reward", "expected"),
    [([0, 1], "regression"), ([1, 1], "squared_error"), ([0, 0.5], "squared_error")],
)
def test_the_loss_is_chosen_by_what_the_reward_is(revenue, reward, expected):
    log = with_columns(revenue, reward=np.resize(reward, len(revenue)))
    assert str(opl.TwoTowerRegressor(**SMALL).fit(log).objective_) == expected


@pytest.mark.parametrize("reward", [[0, 0, 0, 1], [3.0, 5.0], [7.0], [1], [0]])
def test_predictions_start_at_the_mean(revenue, reward):
    log = with_columns(revenue, reward=np.resize(reward, len(revenue)))
    model = opl.TwoTowerRegressor(**SMALL, learning_rate=1e-12).fit(log)
    predicted = model.predict_reward(log.context, log.action_context)
    assert predicted.mean() == pytest.approx(np.mean(reward), abs=max(1e-3, 0.3 * np.std(reward)))


@pytest.mark.parametrize(("n_rounds", "n_clicks"), [(400, 4), (1500, 9)])
def test_dr_has_no_much_larger_error_than_ips_where_clicks_are_rare(n_rounds, n_clicks):
    ratios = []
    for seed in range(4):
        log = opl.SyntheticWorld(10, 5, 5, random_state=seed).sample(n_rounds, random_state=seed)
        clicked = np.random.default_rng(seed).permutation(n_rounds)[:n_clicks]
        log = with_columns(log, reward=np.isin(np.arange(n_rounds), clicked).astype(float))
        error = opl.evaluate(opl.epsilon_greedy(0.3), log, ["ips", "dr"]).std_error
        ratios.append(error["dr"] / error["ips"])
    assert max(ratios) < 1.3  # up to ten without shrinking


def slope_of(log, objective="auto"):
    q_hat = opl.cross_fit(opl.TwoTowerRegressor(objective, progress=False), log)
    assert len({model.link_ for model in q_hat.models}) == 1
    return q_hat.models[0].link_.slope, q_hat


def test_noise_is_shrunk_to_the_mean_and_signal_is_kept(world):
    log = world.sample(4000, random_state=3)
    shuffled = np.random.default_rng(0).permutation(log.reward)
    slope, q_hat = slope_of(with_columns(log, reward=shuffled))
    assert slope < 0.1
    rows = q_hat.predict_rows(np.arange(len(log)))
    assert rows.mean() == pytest.approx(log.reward.mean(), abs=0.01)
    assert slope_of(log)[0] > 0.5
    assert slope_of(with_columns(log, reward=log.reward * 3 - 1))[0] > 0.5


def test_one_fold_is_not_shrunk(world):
    log = world.sample(500, random_state=3)
    q_hat = opl.cross_fit(opl.TwoTowerRegressor(**SMALL), log, n_folds=1)
    assert q_hat.models[0].link_.slope == 1


def estimated(log):
    """Estimates and standard errors of a policy, and a choice by them."""
    log = log[:400]
    table = opl.evaluate(opl.softmax(1.0), log, ["snips", "dr", "dm", "sndr"])
    candidates = {"u": opl.uniform(), "e": opl.epsilon_greedy(0.5)}
    return table, opl.select(candidates, log, estimator="dr").best


@pytest.fixture(scope="module")
def as_it_is(revenue):
    return estimated(revenue)


@pytest.mark.parametrize(("unit", "offset"), [(1e-3, 0.0), (1e3, 0.0), (1.0, 50.0)])
def test_estimates_and_choices_do_not_depend_on_the_unit(revenue, as_it_is, unit, offset):
    first, chosen = as_it_is
    table, its_choice = estimated(in_unit(revenue, unit, offset))
    values = first.policy_value, (table.policy_value - offset) / unit
    np.testing.assert_allclose(*values, rtol=1e-3)
    errors = first.std_error.dropna(), table.std_error.dropna() / unit
    np.testing.assert_allclose(*errors, rtol=1e-3)
    assert its_choice == chosen


def revenue_of_few(seed, n_rounds=600):
    log = opl.SyntheticWorld(5, 3, 3, random_state=seed).sample(n_rounds, random_state=seed)
    rng = np.random.default_rng(seed)
    bought = rng.uniform(size=n_rounds) < 0.03
    return with_columns(log, reward=bought * rng.lognormal(3, 1.5, size=n_rounds))


@pytest.mark.parametrize("seed", range(4))
def test_rare_revenue_is_predicted_at_its_mean(seed):
    log = revenue_of_few(seed)
    q_hat = opl.cross_fit(opl.TwoTowerRegressor(**SMALL), log)
    assert q_hat.predict_logged_item().mean() == pytest.approx(log.reward.mean(), rel=0.02)


@pytest.mark.parametrize("size", [2.0, 2e6])
def test_one_reward_that_is_not_nought_does_no_harm(revenue, size):
    log = with_columns(revenue, reward=np.r_[size, np.zeros(len(revenue) - 1)])
    table = opl.evaluate(opl.uniform(), log, ["dm", "dr", "ips"])
    assert (table.policy_value / log.reward.mean()).between(0.5, 1.5).all()


def test_folds_learn_one_objective(revenue):
    """A reward of 2 among clicks: all folds have the squared error."""
    click = (np.random.default_rng(0).uniform(size=len(revenue)) < 0.05).astype(float)
    click[8] = 2
    q_hat = opl.cross_fit(opl.TwoTowerRegressor(**SMALL), with_columns(revenue, reward=click))
    assert [str(model.objective_) for model in q_hat.models] == ["squared_error"] * 2
    assert q_hat.predict_logged_item().mean() == pytest.approx(click.mean(), rel=0.02)


def test_a_regressor_with_a_fit_of_its_own_has_a_unit_a_fold_and_is_not_shrunk():
    class Own(opl.TwoTowerRegressor):
        def fit(self, feedback, callback=None):
            return super().fit(feedback, callback)

    log = revenue_of_few(0)
    q_hat = opl.cross_fit(Own(**SMALL), log)
    assert [model.link_.slope for model in q_hat.models] == [1, 1]
    for k, model in enumerate(q_hat.models):
        assert model.link_.mean == pytest.approx(log.reward[q_hat.fold != k].mean())


def test_bounds_of_rewards_that_are_scores_do_not_shrink(revenue):
    def error(scores, batch):
        return -(batch.reward - scores).square().mean(dim=-1)

    rated = with_columns(revenue, reward=(revenue.reward + 1).clip(0, 5))
    free, bounded = (
        slope_of(rated, opl.Regression(error, min_reward=low, max_reward=high))[0]
        for low, high in ((-np.inf, np.inf), (0.0, 5.0))
    )
    assert free == pytest.approx(bounded) and free > 0.3


def test_regressions_of_ones_own_are_shrunk_as_they_are_fitted(revenue):
    def poisson(scores, batch):
        assert scores.dtype == batch.reward.dtype == torch.float32
        weight = batch.pscore / batch.cluster_pscore
        return (weight * (batch.reward * scores - scores.exp())).mean(dim=-1)

    counts = with_columns(
        revenue, reward=np.abs(revenue.reward).round(), cluster_pscore=np.ones(len(revenue))
    )
    for reward in (counts.reward, counts.reward * 0):
        log = with_columns(counts, reward=reward, cluster_pscore=np.ones(len(revenue)))
        objective = opl.Regression(
            poisson, to_reward=torch.exp, from_reward=math.log, min_reward=0.0
        )
        predicted = opl.cross_fit(
            opl.TwoTowerRegressor(objective, **SMALL), log
        ).predict_logged_item()
        assert predicted.mean() == pytest.approx(reward.mean(), abs=0.05)


@pytest.mark.parametrize("objective", ["dr", "dm", "switch_dr"])
@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1])
def test_nothing_is_learned_of_rewards_that_are_all_the_same(revenue, objective, constant):
    log = with_columns(revenue, reward=np.full(len(revenue), constant))
    learner = opl.OffPolicyLearner(objective, **SMALL, learning_rate=1e-2, random_state=3)
    untrained = opl.TwoTower.mlp(3, 3, hidden=(8,), dim_embedding=4, random_state=3)
    first, last = (
        policy.predict_proba(log.context, log.action_context)
        for policy in (opl.TwoTowerPolicy(untrained), learner.fit(log).policy_)
    )
    np.testing.assert_allclose(last, first, atol=0.05)


def test_a_mean_far_beyond_the_spread_is_warned_of(revenue):
    log = with_columns(revenue, reward=revenue.reward + 1e5)
    with pytest.warns(UserWarning, match="reward has mean 1e\\+05 and standard deviation"):
        opl.OffPolicyLearner("ips", **SMALL).fit(log)


def test_links_that_lead_nowhere_are_refused(revenue):
    def error(scores, batch):
        return -(batch.reward - scores).square().mean(dim=-1)

    nowhere = opl.Regression(error, to_reward=torch.exp, from_reward=lambda mean: math.nan)
    with pytest.raises(ValueError, match=r"from_reward.* must be a finite number; got nan"):
        opl.TwoTowerRegressor(nowhere, **SMALL).fit(revenue)
    nothing = opl.Regression(error, to_reward=lambda scores: None)
    model = opl.TwoTowerRegressor(nothing, **SMALL).fit(revenue)
    with pytest.raises(TypeError, match="to_reward must return a tensor; got NoneType"):
        model.predict_reward(revenue.context, revenue.action_context)


@pytest.mark.parametrize("estimator", [RidgeClassifier(), KMeans(), IsolationForest()], ids=repr)
def test_estimators_without_probabilities_or_rewards_are_refused(estimator):
    with pytest.raises(TypeError, match=r"estimator must be a regressor .* predict_proba"):
        opl.SklearnRewardModel(estimator)


def test_what_scikit_learn_predicts_is_checked_and_so_are_settings(revenue):
    class Odd(Ridge):
        def predict(self, pairs):
            return np.full(len(pairs), np.nan)

    model = opl.SklearnRewardModel(Odd()).fit(revenue)
    with pytest.raises(ValueError, match=r"Odd.* predictions are not all finite"):
        model.predict_reward(revenue.context, revenue.action_context)
    model.standardise = "no"
    with pytest.raises(ValueError, match="standardise must be True or False; got 'no'"):
        model.fit(revenue)
