"""The learner: one contract for every objective and architecture, and known answers."""

import copy
from dataclasses import fields

import numpy as np
import pytest
import torch
from learning.learners import (
    ARCHITECTURES,
    Squared,
    checkerboard,
    custom_towers,
    make_learner,
    make_regressor,
    needs_q_hat,
    probabilities,
    with_columns,
)
from sklearn.linear_model import Ridge

import opl_lib as opl
from opl_lib.objectives import OBJECTIVES

VALUE_OBJECTIVES = ["ips", "dm", "dr"]

# ---- the contract

every_objective = pytest.mark.parametrize("objective", OBJECTIVES)
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


@every_architecture
@every_objective
def test_contract_of_fit(objective, architecture, small_log):
    learner = make_learner(objective, architecture)
    settings = learner.get_params()
    columns = {each.name: np.copy(getattr(small_log, each.name)) for each in fields(small_log)}
    model = copy.deepcopy(learner.towers.state_dict()) if learner.towers is not None else {}
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002

    assert learner.fit(small_log) is learner

    assert torch.equal(torch.get_rng_state(), torch_state), "torch's global generator moved"
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    for name, column in columns.items():
        np.testing.assert_array_equal(getattr(small_log, name), column, err_msg=name)
    for name, weights in model.items():
        assert torch.equal(learner.towers.state_dict()[name], weights), f"towers= changed: {name}"
    assert all(learner.get_params()[name] is value for name, value in settings.items())

    assert isinstance(learner.policy_, opl.TwoTowerPolicy)
    assert len(learner.history_["objective"]) == 3
    assert hasattr(learner, "reward_model_") == needs_q_hat(learner.objective_)
    pi = probabilities(learner, small_log)
    assert pi.shape == (120, 4) and (pi >= 0).all()
    np.testing.assert_allclose(pi.sum(axis=1), 1)

    again = probabilities(make_learner(objective, architecture).fit(small_log), small_log)
    np.testing.assert_array_equal(again, pi)
    other = make_learner(objective, architecture, random_state=1).fit(small_log)
    assert not np.array_equal(probabilities(other, small_log), pi)


@every_architecture
@pytest.mark.parametrize("objective", sorted(set(OBJECTIVES) - {"switch_dr"}))  # it has jumps
def test_the_objective_improves_on_the_log(objective, architecture, small_log):
    """With batches of one size, whose mean is that over the rounds."""
    learner = make_learner(objective, architecture, epochs=15, batch_size=60).fit(small_log)
    curve = learner.history_["objective"]
    assert curve[-1] > curve[0] + 1e-3


@every_objective
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_objective_solves_the_checkerboard(objective, shuffle):
    log = checkerboard()
    settings = {"epochs": 30, "batch_size": 40, "shuffle": shuffle}
    q_hat = make_regressor(**settings)
    policy = make_learner(objective, reward_model=q_hat, **settings).fit(log).policy_
    np.testing.assert_array_equal(policy.greedy(np.eye(3), log.action_context), np.arange(3))


@pytest.mark.parametrize("objective", VALUE_OBJECTIVES)
def test_learning_beats_the_logging_policy_in_a_known_world(objective, small_world):
    world = opl.SyntheticWorld(5, dim_context=3, dim_action_context=3, random_state=1)
    learner = make_learner(objective, epochs=10).fit(world.sample(2000, random_state=0))
    reference = world.reference_values()
    gain = world.policy_value(learner.policy_) - reference["logging"]
    assert gain > 0.2 * (reference["optimum"] - reference["logging"])


# ---- its reward model


@pytest.mark.parametrize("n_folds", [1, 2, 5])
def test_reward_model_is_cross_fitted_in_n_folds(n_folds, small_log):
    learner = make_learner("dr", n_folds=n_folds).fit(small_log)
    assert isinstance(learner.reward_model_, opl.CrossFittedRewardModel)
    assert len(learner.reward_model_.models) == n_folds
    assert learner.reward_model_.feedback is small_log


def test_default_reward_model_has_the_towers_of_the_learner(small_log):
    learner = make_learner("dr", reward_model=None, random_state=7).fit(small_log)
    for model in learner.reward_model_.models:
        assert (model.hidden, model.dim_embedding, model.random_state) == ((8,), 4, 7)
        assert model.objective_ is opl.regression


def test_default_reward_model_is_trained_for_as_long_as_the_learner(small_log):
    learner = make_learner("dr", reward_model=None, epochs=4, batch_size=30, learning_rate=0.5)
    for model in learner.fit(small_log).reward_model_.models:
        assert (model.epochs, model.batch_size) == (4, 30)
        assert model.learning_rate is None
        assert model.for_fit(small_log.n_rounds, is_regression=True).learning_rate == 1e-3
        assert model.progress is False


def test_default_reward_model_of_other_rewards_is_squared_error(small_log):
    log = with_columns(small_log, reward=small_log.reward * 2)
    learner = make_learner("dr", reward_model=None).fit(log)
    assert learner.reward_model_.models[0].objective_ is opl.squared_error


def test_a_two_tower_can_be_the_reward_model(small_log):
    q_hat = make_regressor()
    learner = make_learner("dr", reward_model=q_hat).fit(small_log)
    assert not hasattr(q_hat, "policy_")
    assert learner.reward_model_.predict_rows(np.arange(3)).shape == (3, 4)


def test_features_far_from_unit_scale_are_named(small_log):
    context = small_log.context.copy()
    context[:, 1] = 40 + 20 * context[:, 1]
    log = opl.BanditFeedback(
        context, small_log.action, small_log.reward, small_log.pscore, small_log.action_context
    )
    with pytest.warns(UserWarning, match="context, column 1 has mean .*standardise"):
        make_learner("ips", epochs=1).fit(log)


def test_towers_that_do_not_fit_the_log_are_named(small_log):
    towers = opl.TwoTower(torch.nn.Linear(5, 3), torch.nn.Linear(2, 3))
    with pytest.raises(ValueError, match=r"context has 3 features, .* 5"):
        make_learner("ips", towers=towers).fit(small_log)
    with pytest.raises(ValueError, match="towers do not take this log: 3 context features"):
        make_learner("ips", towers=opl.TwoTower(Squared(5, 3), Squared(2, 3))).fit(small_log)


# ---- towers passed in


def test_training_starts_from_the_towers_passed_in(small_log):
    start = custom_towers()
    learner = make_learner(towers=start, learning_rate=1e-12).fit(small_log)
    np.testing.assert_allclose(
        probabilities(learner, small_log),
        opl.TwoTowerPolicy(start).predict_proba(small_log.context, small_log.action_context),
        rtol=1e-5,
    )


def test_frozen_towers_stay_and_the_others_learn(small_log):
    start = custom_towers()
    for weights in start.action_tower.parameters():
        weights.requires_grad_(False)
    learned = make_learner(towers=start).fit(small_log).policy_.towers.state_dict()
    for name, weights in start.state_dict().items():
        assert torch.equal(learned[name], weights) == name.startswith("action_tower"), name


def test_one_tower_may_serve_both_sides():
    log = checkerboard()
    tower = torch.nn.Linear(3, 3, bias=False)
    torch.nn.init.eye_(tower.weight)
    learner = make_learner(towers=opl.TwoTower(tower, tower), epochs=2).fit(log)
    learned = learner.policy_.towers
    assert learned.context_tower is learned.action_tower
    assert not torch.equal(learned.context_tower.weight, tower.weight)


@every_objective
def test_towers_with_dropout_are_as_reproducible_as_others(objective, small_log):
    dropout = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5))
    settings = {"towers": opl.TwoTower(dropout, torch.nn.Linear(2, 8))}
    before = torch.get_rng_state()
    first, second = (make_learner(objective, **settings).fit(small_log) for _ in range(2))
    np.testing.assert_array_equal(probabilities(first, small_log), probabilities(second, small_log))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("dim_context", "dim_action_context", "message"),
    [(5, 2, "context has 3 features, .* 5"), (3, 4, "action_context has 2 features, .* 4")],
)
def test_towers_of_other_widths_are_rejected(dim_context, dim_action_context, message, small_log):
    towers = opl.TwoTower.mlp(dim_context, dim_action_context, hidden=(4,), dim_embedding=2)
    with pytest.raises(ValueError, match=message):
        make_learner(towers=towers).fit(small_log)


# ---- objectives and rewards


def test_an_objective_of_ones_own_is_used(small_log):
    def ips_minus_half(logits, batch):
        return opl.ips(logits, batch._replace(reward=batch.reward - 0.5))

    log = with_columns(small_log, reward=small_log.reward + 2)
    own = make_learner(opl.Objective(ips_minus_half)).fit(log)
    shifted = make_learner("ips").fit(with_columns(log, reward=log.reward - 0.5))
    np.testing.assert_array_equal(probabilities(own, small_log), probabilities(shifted, small_log))


@pytest.mark.parametrize("objective", ["squared_error", "ips", "dr", "dm"])
def test_rewards_outside_the_unit_interval_are_learned_from(objective):
    log = checkerboard()
    log = with_columns(log, reward=10 * log.reward - 3)
    settings = {"epochs": 40, "batch_size": 40}
    q_hat = make_regressor("squared_error", **settings)
    policy = make_learner(objective, reward_model=q_hat, **settings).fit(log).policy_
    np.testing.assert_array_equal(policy.greedy(np.eye(3), log.action_context), np.arange(3))


def test_a_policy_is_no_reward_model(small_log):
    with pytest.raises(TypeError, match=r"predict_reward.*got OffPolicyLearner"):
        make_learner("dr", reward_model=make_learner("regression")).fit(small_log)


@pytest.mark.parametrize("reward_model", [3, Ridge(), "ridge"], ids=str)
def test_what_is_no_reward_model_is_rejected(reward_model, small_log):
    message = "reward_model must have fit.*got .*Wrap a scikit-learn estimator"
    with pytest.raises(TypeError, match=message):
        make_learner("dr", reward_model=reward_model).fit(small_log)


def test_more_folds_than_rounds_are_rejected(small_log):
    with pytest.raises(ValueError, match=r"n_folds .*500.* 120 rounds"):
        make_learner("dr", n_folds=500).fit(with_columns(small_log))


def test_a_dictionary_is_not_a_log(small_log):
    with pytest.raises(TypeError, match=r"BanditFeedback.*from_obp"):
        make_learner().fit(small_log.to_obp())
