"""The learner: one contract for every objective and architecture, known answers, bad settings."""

import copy
import functools
import itertools
import re

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import Ridge

import opl_lib as opl
from opl_lib.objectives import OBJECTIVES, get_objective

VALUE_OBJECTIVES = ["ips", "dm", "dr"]


class Squared(torch.nn.Module):
    """A tower that is no stack of layers of this library: features and their squares."""

    def __init__(self, width, dim_embedding):
        super().__init__()
        self.linear = torch.nn.Linear(2 * width, dim_embedding)

    def forward(self, features):
        return torch.tanh(self.linear(torch.cat([features, features**2], dim=1)))


def custom_towers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return opl.TwoTower(Squared(3, 5), Squared(2, 5))


def pretrained_towers():
    """Towers that have been through a fit."""
    world = opl.SyntheticWorld(4, dim_context=3, dim_action_context=2, random_state=0)
    learner = opl.OffPolicyLearner("regression", epochs=1, hidden=(6,), dim_embedding=4)
    return learner.fit(world.sample(60, random_state=3)).policy_.model


ARCHITECTURES = {
    "mlp": lambda: {"hidden": (8,), "dim_embedding": 4},
    "linear": lambda: {"hidden": (), "dim_embedding": 4},
    "custom": lambda: {"model": custom_towers()},
    "pretrained": lambda: {"model": pretrained_towers()},
}


def make_learner(objective="ips", architecture="mlp", **settings):
    quick = {"epochs": 3, "batch_size": 50, "learning_rate": 1e-2, "progress": False}
    if get_objective(objective).needs_reward_model:
        quick["reward_model"] = opl.SklearnRewardModel(Ridge())
    return opl.OffPolicyLearner(
        objective=objective, **{**quick, **ARCHITECTURES[architecture](), **settings}
    )


def probabilities(learner, log):
    return learner.policy_.predict_proba(log.context, log.action_context)


def with_columns(log, **change):
    columns = ("context", "action", "reward", "pscore", "action_context")
    return opl.BanditFeedback(**{**{name: getattr(log, name) for name in columns}, **change})


def checkerboard(n_rounds=240):
    """Three types of context, three items; a reward exactly if the item is that of the type."""
    rng = np.random.default_rng(0)
    context_type, action = rng.integers(0, 3, size=(2, n_rounds))
    return opl.BanditFeedback(
        context=np.eye(3)[context_type],
        action=action,
        reward=(action == context_type).astype(float),
        pscore=np.full(n_rounds, 1 / 3),
        action_context=np.eye(3)[::-1],
    )


# ---- the contract

every_objective = pytest.mark.parametrize("objective", OBJECTIVES)
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


@every_architecture
@every_objective
def test_contract_of_fit(objective, architecture, small_log):
    learner = make_learner(objective, architecture)
    settings = learner.get_params()
    columns = {name: np.copy(getattr(small_log, name)) for name in small_log.__dict__}
    model = copy.deepcopy(learner.model.state_dict()) if learner.model is not None else {}
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002

    assert learner.fit(small_log) is learner

    assert torch.equal(torch.get_rng_state(), torch_state), "torch's global generator moved"
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    for name, column in columns.items():
        np.testing.assert_array_equal(getattr(small_log, name), column, err_msg=name)
    for name, weights in model.items():
        assert torch.equal(learner.model.state_dict()[name], weights), f"model= changed: {name}"
    assert all(learner.get_params()[name] is value for name, value in settings.items())

    assert isinstance(learner.policy_, opl.TwoTowerPolicy)
    assert len(learner.history_["objective"]) == 3
    needs_reward_model = learner.objective_.needs_reward_model
    assert hasattr(learner, "reward_model_") == needs_reward_model
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
    q_hat = make_learner("regression", **settings)
    policy = make_learner(objective, reward_model=q_hat, **settings).fit(log).policy_
    np.testing.assert_array_equal(policy.greedy(np.eye(3), log.action_context), np.arange(3))


@pytest.mark.parametrize("objective", VALUE_OBJECTIVES)
def test_learning_beats_the_logging_policy_in_a_known_world(objective, small_world):
    world = opl.SyntheticWorld(5, dim_context=3, dim_action_context=3, random_state=1)
    learner = make_learner(objective, epochs=10).fit(world.sample(2000, random_state=0))
    reference = world.reference_values()
    gain = world.policy_value(learner.policy_) - reference["logging"]
    assert gain > 0.2 * (reference["optimum"] - reference["logging"])


# ---- what training does, step by step


@pytest.mark.parametrize("objective", ["ips", "regression"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_one_full_batch_is_one_step_of_adam_on_the_mean_objective(
    objective, temperature, small_log
):
    """The loop against the plainest possible version of it, with torch's own Adam."""
    start = opl.TwoTower.mlp(3, 2, hidden=(8,), dim_embedding=4, random_state=0)
    learner = make_learner(
        objective,
        model=start,
        epochs=1,
        batch_size=120,
        temperature=temperature,
        weight_decay=0.1,
        learning_rate=0.05,
    ).fit(small_log)

    model = copy.deepcopy(start)
    adam = torch.optim.Adam(model.parameters(), lr=0.05, weight_decay=0.1)
    context, items, reward, pscore = (
        torch.tensor(np.asarray(column), dtype=torch.float32)
        for column in (
            small_log.context,
            small_log.action_context,
            small_log.reward,
            small_log.pscore,
        )
    )
    action, rows = torch.tensor(small_log.action), torch.arange(120)
    scores = model(context, items)
    if objective == "ips":
        pi = torch.softmax(scores / temperature, dim=1)
        loss = -(pi[rows, action] * reward / pscore).mean()
    else:
        logged = scores[rows, action]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logged, reward)
    loss.backward()
    adam.step()
    assert learner.history_["objective"] == pytest.approx([-float(loss.detach())], rel=1e-5)
    for name, weights in model.state_dict().items():
        torch.testing.assert_close(
            learner.policy_.model.state_dict()[name], weights, rtol=1e-3, atol=1e-4
        )


def seen_rows(n_rounds, batch_size, **settings):
    """The rows of each batch of each epoch, recognised by their rewards."""
    batches = []

    def spy(logits, batch):
        batches.append(batch.reward.to(int).tolist())
        return opl.ips(logits, batch)

    world = opl.SyntheticWorld(4, dim_context=3, dim_action_context=2, random_state=0)
    log = with_columns(world.sample(n_rounds, random_state=0), reward=np.arange(n_rounds))
    make_learner(opl.Objective(spy), batch_size=batch_size, epochs=2, **settings).fit(log)
    return batches


@pytest.mark.parametrize(
    ("n_rounds", "batch_size", "sizes"),
    [(10, 5, [5, 5]), (10, 4, [4, 4, 2]), (10, 100, [10]), (3, 1, [1, 1, 1])],
)
def test_every_epoch_takes_every_round_once(n_rounds, batch_size, sizes):
    batches = seen_rows(n_rounds, batch_size)
    assert [len(batch) for batch in batches] == 2 * sizes
    for epoch in (batches[: len(sizes)], batches[len(sizes) :]):
        assert sorted(itertools.chain(*epoch)) == list(range(n_rounds))


def test_shuffle_takes_a_new_order_every_epoch():
    first, second = seen_rows(20, 20)
    assert first != second != list(range(20)) != first


def test_without_shuffle_the_log_is_read_in_order():
    assert seen_rows(20, 20, shuffle=False) == 2 * [list(range(20))]


def test_batches_are_aligned_across_columns(small_log):
    """Every column of a batch, q_hat included, belongs to the same row."""
    table = np.random.default_rng(0).normal(size=(120, 4))
    log = with_columns(
        small_log,
        context=np.arange(360.0).reshape(120, 3) / 360,
        reward=np.arange(120),
        pscore=(1 + np.arange(120)) / 120,
    )

    class Table:
        def fit(self, feedback):
            return self

        def predict_reward(self, context, action_context):
            return table[np.rint(context[:, 0] * 120).astype(int)]

    def check(logits, batch):
        rows = batch.reward.to(int).numpy()
        np.testing.assert_array_equal(batch.action.numpy(), log.action[rows])
        np.testing.assert_allclose(batch.pscore.numpy(), log.pscore[rows], rtol=1e-6)
        np.testing.assert_allclose(batch.q_hat.numpy(), table[rows], rtol=1e-6)
        return opl.dr(logits, batch)

    learner = make_learner(opl.Objective(check, needs_reward_model=True), reward_model=Table())
    learner.fit(log)


@pytest.mark.parametrize("objective", ["dm", "dr"])
def test_q_hat_computed_batch_by_batch_gives_the_same_policy(objective, small_log, monkeypatch):
    stored = make_learner(objective).fit(small_log)
    monkeypatch.setattr("opl_lib.learning.loop._MAX_STORED_Q_HAT", 10)
    by_batch = make_learner(objective).fit(small_log)
    np.testing.assert_allclose(
        probabilities(by_batch, small_log), probabilities(stored, small_log), rtol=1e-5
    )


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
        assert model.objective == "regression"


def test_default_reward_model_is_trained_for_as_long_as_the_learner(small_log):
    learner = make_learner("dr", reward_model=None, epochs=4, batch_size=30, learning_rate=0.5)
    for model in learner.fit(small_log).reward_model_.models:
        assert (model.epochs, model.batch_size) == (4, 30)
        assert model.learning_rate == 1e-3
        assert model.progress is False


def test_default_reward_model_of_other_rewards_is_squared_error(small_log):
    log = with_columns(small_log, reward=small_log.reward * 2)
    learner = make_learner("dr", reward_model=None).fit(log)
    assert learner.reward_model_.models[0].objective == "squared_error"


def test_a_two_tower_can_be_the_reward_model(small_log):
    q_hat = make_learner("regression")
    learner = make_learner("dr", reward_model=q_hat).fit(small_log)
    assert not hasattr(q_hat, "policy_")
    assert learner.reward_model_.predict_logged(np.arange(3)).shape == (3, 4)


# ---- callbacks and history


@every_objective
def test_callbacks_see_the_policy_before_the_first_epoch_and_after_each(objective, small_log):
    def mean_of_item_0(policy):
        return float(policy.predict_proba(small_log.context, small_log.action_context)[:, 0].mean())

    learner = make_learner(objective).fit(small_log, callbacks={"item 0": mean_of_item_0})
    curve = learner.history_["item 0"]
    assert len(curve) == 4 and len(set(curve)) == 4
    assert curve[-1] == mean_of_item_0(learner.policy_)


def test_callbacks_do_not_change_what_is_learned(small_log):
    def careless(policy):
        policy.predict_proba(small_log.context, small_log.action_context)
        policy.model.eval()
        return torch.rand(())

    with torch.random.fork_rng(devices=[]):
        watched = make_learner("ips").fit(small_log, callbacks={"careless": careless})
    np.testing.assert_array_equal(
        probabilities(watched, small_log), probabilities(make_learner().fit(small_log), small_log)
    )


@pytest.fixture
def dropout_towers():
    """Towers whose context embedding is drawn anew at every training step."""
    drawing = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5))
    return opl.TwoTower(drawing, torch.nn.Linear(2, 8))


def test_towers_that_draw_do_so_in_training_only_and_from_the_seed(dropout_towers, small_log):
    def weights(seed=0, drawn_before=0, callbacks=None):
        with torch.random.fork_rng(devices=[]):
            torch.rand(drawn_before)
            learner = make_learner("ips", model=dropout_towers, random_state=seed)
            learner.fit(small_log, callbacks=callbacks)
        assert not learner.policy_.model.training
        return torch.nn.utils.parameters_to_vector(learner.policy_.model.parameters()).detach()

    start = weights()
    assert torch.equal(weights(drawn_before=7), start)
    assert torch.equal(weights(callbacks={"draw": lambda policy: float(torch.rand(3)[0])}), start)
    dropout_towers.context_tower[1].p = 0.0
    assert not torch.equal(weights(), start)


class ModeSpy(torch.nn.Linear):
    """A tower that notes whether it is in training mode, at every call with gradients."""

    def __init__(self):
        super().__init__(3, 2)
        self.modes = []

    def forward(self, x):
        if torch.is_grad_enabled():
            self.modes.append(self.training)
        return super().forward(x)

    def __deepcopy__(self, memo):
        return self


def test_every_step_of_every_epoch_is_in_training_mode(small_log):
    spy = ModeSpy()
    towers = opl.TwoTower(spy, torch.nn.Linear(2, 2)).eval()
    make_learner("ips", model=towers, epochs=3, batch_size=60).fit(small_log)
    assert spy.modes == [True] * 3 * 2


def test_looking_at_a_policy_leaves_its_towers_in_their_mode(dropout_towers, small_log):
    dropout_towers.train()
    policy = opl.TwoTowerPolicy(dropout_towers)
    first, second = (policy.scores(small_log.context, small_log.action_context) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert all(module.training for module in dropout_towers.modules())


def test_predicted_rewards_are_those_of_the_objective_that_was_fitted(small_log):
    learner = make_learner("ips").fit(small_log).set_params(objective="regression")
    with pytest.raises(ValueError, match="objective 'ips' learns a policy, not rewards"):
        learner.predict_reward(small_log.context, small_log.action_context)


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
    with pytest.raises(ValueError, match="model does not take this log: 3 context features"):
        make_learner("ips", model=towers).fit(small_log)


def test_a_callback_cannot_take_the_name_of_the_objective(small_log):
    with pytest.raises(ValueError, match="'objective' is what history_ calls its own curve"):
        make_learner().fit(small_log, callbacks={"objective": len})


def test_history_is_the_mean_over_the_epochs_batches(small_log):
    values = []

    def spy(logits, batch):
        value, gradient = opl.ips(logits, batch)
        values.append(float(value))
        return value, gradient

    learner = make_learner(opl.Objective(spy), epochs=2, batch_size=50).fit(small_log)
    expected = [np.mean(values[:3]), np.mean(values[3:])]
    assert learner.history_["objective"] == pytest.approx(expected)


def test_a_second_fit_starts_afresh(small_log):
    learner = make_learner().fit(small_log)
    once = probabilities(learner, small_log)
    np.testing.assert_array_equal(probabilities(learner.fit(small_log), small_log), once)
    assert len(learner.history_["objective"]) == 3


@pytest.mark.parametrize(("progress", "shown"), [(True, True), (False, False), (None, False)])
def test_progress_bar_is_shown_on_demand(progress, shown, small_log, capsys):
    make_learner(progress=progress).fit(small_log)
    assert ("fit ips" in capsys.readouterr().err) == shown


# ---- models passed in


def test_training_starts_from_the_model_passed_in(small_log):
    start = custom_towers()
    learner = make_learner(model=start, learning_rate=1e-12).fit(small_log)
    np.testing.assert_allclose(
        probabilities(learner, small_log),
        opl.TwoTowerPolicy(start).predict_proba(small_log.context, small_log.action_context),
        rtol=1e-5,
    )


def test_frozen_towers_stay_and_the_others_learn(small_log):
    start = custom_towers()
    for weights in start.action_tower.parameters():
        weights.requires_grad_(False)
    learned = make_learner(model=start).fit(small_log).policy_.model.state_dict()
    for name, weights in start.state_dict().items():
        assert torch.equal(learned[name], weights) == name.startswith("action_tower"), name


def test_one_tower_may_serve_both_sides():
    log = checkerboard()
    tower = torch.nn.Linear(3, 3, bias=False)
    torch.nn.init.eye_(tower.weight)
    learner = make_learner(model=opl.TwoTower(tower, tower), epochs=2).fit(log)
    model = learner.policy_.model
    assert model.context_tower is model.action_tower
    assert not torch.equal(model.context_tower.weight, tower.weight)


@every_objective
def test_towers_with_dropout_are_as_reproducible_as_others(objective, small_log):
    dropout = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5))
    settings = {"model": opl.TwoTower(dropout, torch.nn.Linear(2, 8))}
    before = torch.get_rng_state()
    first, second = (make_learner(objective, **settings).fit(small_log) for _ in range(2))
    np.testing.assert_array_equal(probabilities(first, small_log), probabilities(second, small_log))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("dim_context", "dim_action_context", "message"),
    [(5, 2, "context has 3 features, .* 5"), (3, 4, "action_context has 2 features, .* 4")],
)
def test_a_model_of_other_widths_is_rejected(dim_context, dim_action_context, message, small_log):
    model = opl.TwoTower.mlp(dim_context, dim_action_context, hidden=(4,), dim_embedding=2)
    with pytest.raises(ValueError, match=message):
        make_learner(model=model).fit(small_log)


# ---- objectives and rewards


def test_an_objective_of_ones_own_is_used(small_log):
    def ips_minus_half(logits, batch):
        return opl.ips(logits, batch._replace(reward=batch.reward - 0.5))

    own = make_learner(opl.Objective(ips_minus_half)).fit(small_log)
    shifted = make_learner("ips").fit(with_columns(small_log, reward=small_log.reward - 0.5))
    np.testing.assert_array_equal(probabilities(own, small_log), probabilities(shifted, small_log))


@pytest.mark.parametrize("objective", ["squared_error", "ips", "dr", "dm"])
def test_rewards_outside_the_unit_interval_are_learned_from(objective):
    log = checkerboard()
    log = with_columns(log, reward=10 * log.reward - 3)
    settings = {"epochs": 40, "batch_size": 40}
    q_hat = make_learner("squared_error", **settings)
    policy = make_learner(objective, reward_model=q_hat, **settings).fit(log).policy_
    np.testing.assert_array_equal(policy.greedy(np.eye(3), log.action_context), np.arange(3))


@pytest.mark.parametrize("objective", ["regression", OBJECTIVES["regression"]], ids=["name", "own"])
@pytest.mark.parametrize("value", [2.0, -0.5])
def test_regression_rejects_rewards_outside_the_unit_interval(objective, value, small_log):
    reward = np.where(np.arange(120) == 17, value, small_log.reward)
    message = f"made for rewards from 0 to 1; row 17 has {value:g}.*squared_error"
    with pytest.raises(ValueError, match=message):
        make_learner(objective).fit(with_columns(small_log, reward=reward))


def test_fractional_rewards_are_good_for_regression(small_log):
    log = with_columns(small_log, reward=small_log.reward / 2)
    assert np.isfinite(make_learner("regression").fit(log).history_["objective"]).all()


@pytest.mark.parametrize(
    ("objective", "to_reward"),
    [("regression", lambda s: 1 / (1 + np.exp(-s))), ("squared_error", lambda s: s)],
)
def test_regressions_predict_rewards_from_scores(objective, to_reward, small_log):
    learner = make_learner(objective, temperature=0.5).fit(small_log)
    predicted = learner.predict_reward(small_log.context, small_log.action_context)
    scores = learner.policy_.scores(small_log.context, small_log.action_context)
    np.testing.assert_allclose(predicted, to_reward(scores), rtol=1e-5)


def test_predicted_rewards_are_close_to_the_truth_on_the_checkerboard():
    log = checkerboard()
    learner = make_learner("regression", epochs=60, batch_size=40).fit(log)
    predicted = learner.predict_reward(np.eye(3), log.action_context)
    np.testing.assert_allclose(predicted, np.eye(3), atol=0.1)


every_prediction = pytest.mark.parametrize("method", ["predict_reward", "predictor"])


@every_prediction
@pytest.mark.parametrize("objective", [*VALUE_OBJECTIVES, opl.clipped_ips(3)], ids=str)
def test_value_objectives_do_not_predict_rewards(objective, method, small_log):
    learner = make_learner(objective).fit(small_log)
    message = f"objective '{objective}' learns a policy, not rewards; use 'regression'"
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(learner, method)(small_log.context, small_log.action_context)


@every_prediction
def test_an_unfitted_learner_says_so(method, small_log):
    with pytest.raises(ValueError, match="this learner is not fitted; call fit"):
        getattr(make_learner("regression"), method)(small_log.context, small_log.action_context)


def test_a_policy_is_no_reward_model(small_log):
    with pytest.raises(ValueError, match="objective 'ips' learns a policy, not rewards"):
        make_learner("dr", reward_model=make_learner("ips")).fit(small_log)


# ---- failures


@every_objective
def test_a_learning_rate_that_explodes_is_an_error_and_the_last_good_policy_is_kept(
    objective, small_log
):
    learner = make_learner(objective, learning_rate=1e30)
    curve = {"one": lambda policy: 1}
    with pytest.raises(opl.NonFiniteLossError, match=r"in epoch 1, batch \d.*Lower the learning"):
        learner.fit(small_log, callbacks=curve)
    untrained = make_learner(objective, learning_rate=1e-12, epochs=1).fit(small_log)
    np.testing.assert_allclose(
        probabilities(learner, small_log), probabilities(untrained, small_log), rtol=1e-4
    )
    assert learner.history_ == {"objective": [], "one": [1]}


def test_epochs_that_ended_well_are_kept_when_a_later_one_fails(small_log):
    def fails_in_epoch_3(logits, batch, calls):
        calls.append(None)
        value, gradient = opl.ips(logits, batch)
        return (value * float("nan") if len(calls) > 7 else value), gradient

    own = opl.Objective(functools.partial(fails_in_epoch_3, calls=[]))
    learner = make_learner(own, epochs=5)
    with pytest.raises(opl.NonFiniteLossError, match=r"epoch 3, batch 2 .*before epoch 3"):
        learner.fit(small_log)
    assert len(learner.history_["objective"]) == 2
    np.testing.assert_array_equal(
        probabilities(learner, small_log),
        probabilities(make_learner(epochs=2).fit(small_log), small_log),
    )


def test_a_gradient_that_is_not_finite_is_an_error_too(small_log):
    def bad_gradient(logits, batch):
        value, gradient = opl.ips(logits, batch)
        return value, gradient * float("nan")

    learner = make_learner(opl.Objective(bad_gradient), batch_size=120, epochs=1)
    with pytest.raises(opl.NonFiniteLossError, match="weights stopped being finite in epoch 1"):
        learner.fit(small_log)
    assert np.isfinite(probabilities(learner, small_log)).all()


class Predicts:
    """A reward model that returns what it is told to."""

    def __init__(self, make):
        self.make = make

    def fit(self, feedback):
        return self

    def predict_reward(self, context, action_context):
        return self.make(len(context), len(action_context))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n, m: np.zeros((n, 2)), r"shape \(60, 2\); expected .*\(60, 4\)"),
        (lambda n, m: np.zeros((n, 1)), r"shape \(60, 1\); expected .*\(60, 4\)"),
        (lambda n, m: np.zeros(m), r"shape \(4,\); expected .*\(60, 4\)"),
        (lambda n, m: np.full((n, m), np.nan), "finite"),
    ],
)
def test_what_a_reward_model_returns_is_checked(make, message, small_log):
    with pytest.raises(ValueError, match=message):
        make_learner("dr", reward_model=Predicts(make)).fit(small_log)


@pytest.mark.parametrize("reward_model", [3, Ridge(), "ridge"], ids=str)
def test_what_is_no_reward_model_is_rejected(reward_model, small_log):
    message = "a reward model needs a method .*Wrap a scikit-learn estimator"
    with pytest.raises(TypeError, match=message):
        make_learner("dr", reward_model=reward_model).fit(small_log)


def test_more_folds_than_rounds_are_rejected(small_log):
    with pytest.raises(ValueError, match=r"n_folds .*500.* 120 rounds"):
        make_learner("dr", n_folds=500).fit(with_columns(small_log))


def test_a_dictionary_is_not_a_log(small_log):
    with pytest.raises(TypeError, match=r"BanditFeedback.*from_obp"):
        make_learner().fit(small_log.to_obp())


# ---- settings

BAD_SETTINGS = [
    ({"objective": "IPS"}, "objective must be one of .* got 'IPS'"),
    ({"objective": None}, "objective must be one of"),
    (
        {"objective": opl.ips},
        "objective must be one of .*or an opl.Objective.*Pass its name, 'ips'",
    ),
    ({"objective": "mips"}, r"made of its settings, such as opl\.mips\(cluster\)"),
    ({"objective": opl.mips}, r"made of its settings, such as opl\.mips\(cluster\)"),
    ({"objective": opl.clipped_ips}, r"Call it, opl\.clipped_ips\(\), or pass its name, 'clipped_"),
    ({"objective": len}, r"Wrap a function of \(logits, batch\): opl\.Objective\(function\)"),
    ({"epochs": 0}, "epochs must be an integer of at least 1; got 0"),
    ({"epochs": 1.5}, "epochs must be an integer of at least 1; got 1.5"),
    ({"epochs": True}, "epochs must be an integer of at least 1; got True"),
    ({"epochs": "10"}, "epochs must be an integer of at least 1; got '10'"),
    ({"batch_size": 0}, "batch_size must be an integer of at least 1; got 0"),
    ({"batch_size": None}, "batch_size must be an integer of at least 1; got None"),
    ({"n_folds": 0}, "n_folds must be an integer of at least 1; got 0"),
    ({"dim_embedding": 0}, "dim_embedding must be an integer of at least 1; got 0"),
    ({"hidden": (8, 0)}, r"hidden\[1\] must be an integer of at least 1; got 0"),
    ({"hidden": (8.0,)}, r"hidden\[0\] must be an integer of at least 1; got 8.0"),
    ({"hidden": 8}, "hidden must be a .*got 8"),
    ({"hidden": None}, "hidden must be a .*got None"),
    ({"learning_rate": 0}, "learning_rate must be a finite number above 0; got 0"),
    ({"learning_rate": -1e-3}, "learning_rate must be a finite number above 0; got -0.001"),
    ({"learning_rate": float("nan")}, "learning_rate must be a finite number above 0; got nan"),
    ({"learning_rate": float("inf")}, "learning_rate must be a finite number above 0; got inf"),
    ({"learning_rate": "fast"}, "learning_rate must be a finite number above 0; got 'fast'"),
    ({"weight_decay": -1e-6}, "weight_decay must be a finite number of at least 0; got -1e-06"),
    ({"temperature": 0}, "temperature must be a finite number above 0; got 0"),
    ({"temperature": -1}, "temperature must be a finite number above 0; got -1"),
    ({"random_state": -1}, "random_state must be an integer of at least 0; got -1"),
    ({"random_state": None}, "random_state must be an integer of at least 0; got None"),
    ({"model": torch.nn.Linear(2, 2)}, "model must be a TwoTower or None; got Linear"),
]


@pytest.mark.parametrize(("setting", "message"), BAD_SETTINGS)
def test_bad_settings_are_rejected_by_the_constructor(setting, message):
    with pytest.raises(ValueError, match=message):
        opl.OffPolicyLearner(**setting)


@pytest.mark.parametrize(("setting", "message"), BAD_SETTINGS)
def test_bad_settings_in_set_params_change_nothing(setting, message):
    learner = make_learner("ips")
    before = learner.get_params()
    with pytest.raises(ValueError, match=message):
        learner.set_params(**{"shuffle": False, **setting})
    assert learner.get_params() == before


def test_set_params_names_the_settings_there_are():
    with pytest.raises(
        ValueError, match=r"'lr' is not a setting; the settings are .*learning_rate"
    ):
        make_learner().set_params(lr=1e-3)


@pytest.mark.parametrize("bad", [{"shuffle": "no"}, {"shuffle": None}, {"progress": "yes"}])
def test_switches_are_true_or_false(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be True"):
        opl.OffPolicyLearner(**bad)


@pytest.mark.parametrize("edge", [{"weight_decay": 0}, {"hidden": ()}, {"random_state": 0}])
def test_edges_of_the_allowed_range_are_good(edge):
    opl.OffPolicyLearner(**edge)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", np.int64(2)),
        ("batch_size", np.int64(50)),
        ("hidden", (np.int64(8),)),
        ("hidden", [8]),
        ("hidden", np.array([8])),
        ("dim_embedding", np.int64(4)),
        ("random_state", np.int64(0)),
        ("n_folds", np.int64(2)),
        ("learning_rate", np.float64(1e-2)),
        ("temperature", np.float64(1.0)),
        ("weight_decay", np.float32(1e-6)),
    ],
)
def test_numbers_of_numpy_do_what_numbers_of_python_do(name, value, small_log, tmp_path):
    plain = value.item() if isinstance(value, np.generic) else (8,)
    numpy_learner = make_learner("dr", **{name: value}).fit(small_log)
    plain_learner = make_learner("dr", **{name: plain}).fit(small_log)
    np.testing.assert_array_equal(
        probabilities(numpy_learner, small_log), probabilities(plain_learner, small_log)
    )
    numpy_learner.policy_.save(tmp_path / "policy")
    opl.TwoTowerPolicy.load(tmp_path / "policy")


@every_architecture
@every_objective
def test_scikit_learn_clones_a_learner_without_what_it_learned(objective, architecture, small_log):
    learner = make_learner(objective, architecture).fit(small_log)
    copied = clone(learner)
    assert not hasattr(copied, "policy_")
    assert {name: repr(value) for name, value in copied.get_params().items()} == {
        name: repr(value) for name, value in learner.get_params().items()
    }
    np.testing.assert_array_equal(
        probabilities(copied.fit(small_log), small_log), probabilities(learner, small_log)
    )


def test_get_params_and_set_params_round_trip():
    settings = make_learner("dr", "custom", n_folds=3, random_state=5).get_params()
    other = opl.OffPolicyLearner()
    assert other.set_params(**settings) is other
    assert other.get_params() == settings


def test_settings_are_stored_as_given():
    hidden = [4, 4]
    assert opl.OffPolicyLearner(hidden=hidden).hidden is hidden
