"""One fit: its steps, its callbacks, its history, its failures."""

import copy
import itertools

import numpy as np
import pytest
import torch
from learning.learners import make_learner, make_regressor, probabilities, with_columns

import opl_lib as opl
from opl_lib.objectives import OBJECTIVES

every_objective = pytest.mark.parametrize("objective", OBJECTIVES)

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
        towers=start,
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
        logged = scores[rows, action] + torch.logit(reward.mean())  # it starts there
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logged, reward)
    loss.backward()
    adam.step()
    assert learner.history_["objective"] == pytest.approx([-float(loss.detach())], rel=1e-5)
    for name, weights in model.state_dict().items():
        torch.testing.assert_close(
            learner.policy_.towers.state_dict()[name], weights, rtol=1e-3, atol=1e-4
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

    learner = make_learner(opl.Objective(check, needs=("q_hat",)), reward_model=Table())
    learner.fit(log)


@pytest.mark.parametrize("objective", ["dm", "dr"])
def test_q_hat_computed_batch_by_batch_gives_the_same_policy(objective, small_log, monkeypatch):
    stored = make_learner(objective).fit(small_log)
    monkeypatch.setattr("opl_lib.learning.batches.MAX_STORED_Q_HAT", 10)
    by_batch = make_learner(objective).fit(small_log)
    np.testing.assert_allclose(
        probabilities(by_batch, small_log), probabilities(stored, small_log), rtol=1e-5
    )


def towers_that_note_items(seen):
    """The feature of an item is its number; a linear tower that keeps the numbers it is given."""

    class Notes(torch.nn.Linear):
        def forward(self, features):
            if self.training:
                seen.append((features[:, 0] * 40).round().to(int).tolist())
            return super().forward(features)

        def __deepcopy__(self, memo):
            return self

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return opl.TwoTower(torch.nn.Linear(3, 4), Notes(2, 4))


def seen_with(catalogue, shuffle):
    """Rounds of each batch, and the items that stand for all others, in a fit of three epochs."""
    rounds, items = [], []

    def spy(logits, batch):
        rounds.append(batch.reward.to(int).tolist())
        return opl.ips(logits, batch)

    world = opl.SyntheticWorld(40, dim_context=3, dim_action_context=2, random_state=0)
    log = with_columns(
        world.sample(60, random_state=0),
        reward=np.arange(60),
        action_context=np.repeat(np.arange(40)[:, None] / 40, 2, axis=1),
    )
    objective = opl.Objective(spy, only_logged_item=True)
    settings = {"catalogue": catalogue, "n_sampled": 10, "shuffle": shuffle, "batch_size": 20}
    towers = towers_that_note_items(items)
    make_learner(objective, towers=towers, learning_rate=1e-12, **settings).fit(log)
    return rounds, [each[20:] for each in items if len(each) == 20 + 10]  # after the logged ones


def test_the_order_of_the_rounds_and_the_sampled_items_are_drawn_apart():
    """By generators of their own: neither changes when the other is not asked for."""
    rounds, items = seen_with("sampled", shuffle=True)
    assert len(rounds) == len(items) == 9
    assert rounds == seen_with("exact", shuffle=True)[0]
    assert items == seen_with("sampled", shuffle=False)[1]
    assert len({tuple(each) for each in items}) == 9


# ---- callbacks and history


@every_objective
def test_a_callback_sees_the_policy_before_the_first_epoch_and_after_each(objective, small_log):
    def mean_of_item_0(policy):
        pi = policy.predict_proba(small_log.context, small_log.action_context)
        return {"item 0": float(pi[:, 0].mean())}

    learner = make_learner(objective).fit(small_log, callback=mean_of_item_0)
    curve = learner.history_["item 0"]
    assert len(curve) == 4 and len(set(curve)) == 4
    assert curve[-1] == mean_of_item_0(learner.policy_)["item 0"]


def test_a_callback_may_return_many_numbers_or_none(small_log):
    looks = iter([None, {"a": 1, "b": 2}, {}, {"a": 3}])
    learner = make_learner().fit(small_log, callback=lambda policy: next(looks))
    nan = np.nan
    np.testing.assert_array_equal(learner.history_["a"], [nan, 1, nan, 3])
    np.testing.assert_array_equal(learner.history_["b"], [nan, 2, nan, nan])
    assert len(learner.history_["objective"]) == 3


def test_a_callback_does_not_change_what_is_learned(small_log):
    def careless(policy):
        policy.predict_proba(small_log.context, small_log.action_context)
        policy.towers.eval()
        return {"careless": float(torch.rand(()))}

    with torch.random.fork_rng(devices=[]):
        watched = make_learner("ips").fit(small_log, callback=careless)
    np.testing.assert_array_equal(
        probabilities(watched, small_log), probabilities(make_learner().fit(small_log), small_log)
    )


@pytest.fixture
def dropout_towers():
    """Towers whose context embedding is drawn anew at every training step."""
    drawing = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5))
    return opl.TwoTower(drawing, torch.nn.Linear(2, 8))


def test_towers_that_draw_do_so_in_training_only_and_from_the_seed(dropout_towers, small_log):
    def weights(seed=0, drawn_before=0, callback=None):
        with torch.random.fork_rng(devices=[]):
            torch.rand(drawn_before)
            learner = make_learner("ips", towers=dropout_towers, random_state=seed)
            learner.fit(small_log, callback=callback)
        assert not learner.policy_.towers.training
        return torch.nn.utils.parameters_to_vector(learner.policy_.towers.parameters()).detach()

    start = weights()
    assert torch.equal(weights(drawn_before=7), start)
    assert torch.equal(weights(callback=lambda policy: {"draw": float(torch.rand(()))}), start)
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
    make_learner("ips", towers=towers, epochs=3, batch_size=60).fit(small_log)
    assert spy.modes == [True] * 3 * 2


def test_looking_at_a_policy_leaves_its_towers_in_their_mode(dropout_towers, small_log):
    dropout_towers.train()
    policy = opl.TwoTowerPolicy(dropout_towers)
    first, second = (policy.scores(small_log.context, small_log.action_context) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert all(module.training for module in dropout_towers.modules())


def test_a_callback_cannot_take_the_name_of_the_objective(small_log):
    with pytest.raises(ValueError, match="'objective' is what history_ calls its own curve"):
        make_learner().fit(small_log, callback=lambda policy: {"objective": 1})


@pytest.mark.parametrize("n_rounds", [120, 101])  # the last batch has 20 rounds, or one
def test_history_is_the_mean_over_the_epochs_rounds(n_rounds, small_log):
    values = []

    def spy(logits, batch):
        value, gradient = opl.ips(logits, batch)
        values.append(float(value))
        return value, gradient

    learner = make_learner(opl.Objective(spy), epochs=2, batch_size=50).fit(small_log[:n_rounds])
    sizes = [50, 50, n_rounds - 100]
    expected = [np.average(each, weights=sizes) for each in (values[:3], values[3:])]
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


# ---- the end of a fit


@pytest.mark.parametrize("n_epochs", [0, 1, 2])
def test_a_callback_may_end_the_fit(n_epochs, small_log):
    """The policy keeps the weights of that moment; what came before is that of a whole fit."""
    looks = []

    def callback(policy):
        looks.append(None)
        if len(looks) > n_epochs:
            raise opl.StopFit
        return {"looks": len(looks)}

    learner = make_learner(epochs=5).fit(small_log, callback=callback)
    assert len(looks) == n_epochs + 1
    assert len(learner.history_["objective"]) == n_epochs
    assert learner.history_.get("looks", []) == list(range(1, n_epochs + 1))
    expected = make_learner(epochs=max(n_epochs, 1), learning_rate=1e-2 if n_epochs else 1e-12)
    np.testing.assert_allclose(
        probabilities(learner, small_log),
        probabilities(expected.fit(small_log), small_log),
        rtol=1e-5,
    )


def test_another_error_of_a_callback_is_raised(small_log):
    with pytest.raises(ZeroDivisionError):
        make_learner().fit(small_log, callback=lambda policy: {"a": 1 / 0})


# ---- failures


@every_objective
def test_a_learning_rate_that_explodes_is_an_error_and_the_last_good_policy_is_kept(
    objective, small_log
):
    learner = make_learner(objective, learning_rate=1e30)
    with pytest.raises(opl.NonFiniteLossError, match=r"in epoch 1, batch \d.*Lower the learning"):
        learner.fit(small_log, callback=lambda policy: {"one": 1})
    untrained = make_learner(objective, learning_rate=1e-12, epochs=1).fit(small_log)
    np.testing.assert_allclose(
        probabilities(learner, small_log), probabilities(untrained, small_log), rtol=1e-4
    )
    assert learner.history_ == {"objective": [], "one": [1]}


def test_epochs_that_ended_well_are_kept_when_a_later_one_fails(small_log):
    calls = []

    def fails_in_epoch_3(logits, batch):
        calls.append(None)
        value, gradient = opl.ips(logits, batch)
        return (value * float("nan") if len(calls) > 7 else value), gradient

    learner = make_learner(fails_in_epoch_3, epochs=5)
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


def test_a_failed_refit_leaves_no_old_policy(small_log):
    """Not that of the earlier log: the error says that the weights are those before epoch 1."""
    learner = make_learner(epochs=1).fit(small_log)
    start = probabilities(make_learner(epochs=1, learning_rate=1e-12).fit(small_log), small_log)
    assert not np.allclose(probabilities(learner, small_log), start, rtol=1e-4)
    with pytest.raises(opl.NonFiniteLossError, match="from before epoch 1"):
        learner.set_params(learning_rate=1e30).fit(small_log)
    np.testing.assert_allclose(probabilities(learner, small_log), start, rtol=1e-4)
    assert learner.history_ == {"objective": []}


def test_a_reward_model_that_fails_leaves_no_old_policy_and_says_so(small_log):
    learner = make_learner("dr", epochs=1).fit(small_log)
    start = make_learner("ips", epochs=1, learning_rate=1e-12).fit(small_log)
    learner.set_params(reward_model=make_regressor("squared_error", learning_rate=1e30))
    message = r"the reward model failed: .* in epoch 1.*policy_ is not trained\.$"
    with pytest.raises(opl.NonFiniteLossError, match=message) as error:
        learner.fit(small_log)
    assert "policy_ holds" not in str(error.value)
    np.testing.assert_allclose(
        probabilities(learner, small_log), probabilities(start, small_log), rtol=1e-4
    )
    assert learner.history_ == {"objective": []} and not hasattr(learner, "reward_model_")


def test_a_refit_with_bad_input_leaves_nothing_of_the_first(small_log):
    learner = make_learner("dr").fit(small_log)
    with pytest.raises(ValueError, match="n_folds"):
        learner.set_params(n_folds=500).fit(small_log)
    assert learner.history_ == {"objective": []} and not hasattr(learner, "reward_model_")


def test_a_refit_without_reward_model_has_none(small_log):
    learner = make_learner("dr").fit(small_log)
    assert hasattr(learner, "reward_model_")
    learner.set_params(objective="ips").fit(small_log)
    assert not hasattr(learner, "reward_model_")


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


# ---- callbacks that are none


@pytest.mark.parametrize("callback", [3, "look", {"a": None}, [print], dict], ids=repr)
def test_what_cannot_be_called_is_refused_before_anything_is_fitted(callback, small_log):
    fitted = []

    class Counts(Predicts):
        def fit(self, feedback):
            fitted.append(feedback)

    learner = make_learner("dr", reward_model=Counts(lambda n, m: np.zeros((n, m))))
    for fit in (learner.fit, make_regressor().fit):
        with pytest.raises(TypeError, match="callback"):
            fit(small_log, callback)
    assert not fitted


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (3, "must return None or a dictionary of numbers by their names; got int"),
        ([1.0], "must return None or a dictionary .*got list"),
        ("ess", "must return None or a dictionary .*got str"),
        ({"ess": "high"}, "must return numbers by their names; got 'ess' with a value of type str"),
        ({"ess": None}, "got 'ess' with a value of type NoneType"),
        ({"ess": [1.0]}, "got 'ess' with a value of type list"),
        ({"ess": np.ones(2)}, "got 'ess' with a value of type ndarray"),
        ({3: 1.0}, "got 3 with a value of type float"),
    ],
)
def test_what_a_callback_returns_is_checked(returned, message, small_log):
    with pytest.raises(TypeError, match=message):
        make_learner().fit(small_log, lambda policy: returned)


def test_numbers_of_numpy_and_torch_are_numbers(small_log):
    numbers = {"a": np.float32(0.5), "b": np.array(2.0), "c": torch.tensor(3), "d": True}
    history = make_learner(epochs=1).fit(small_log, lambda policy: numbers).history_
    assert [history[name] for name in "abcd"] == [[0.5] * 2, [2.0] * 2, [3] * 2, [True] * 2]


def test_an_error_in_training_names_the_objective(small_log):
    def mine(logits, batch):
        return logits.mean() * float("nan")

    message = r"^objective 'mine' or the weights stopped being finite in epoch 1, batch 1 \(obj"
    with pytest.raises(opl.NonFiniteLossError, match=message):
        make_learner(mine).fit(small_log)


@pytest.mark.parametrize("names", [1, 2])
def test_a_number_that_a_callback_leaves_out_of_an_epoch_is_not_a_number(names, small_log):
    looks = iter([None, {"v": 1.0}, {"w": 2.0}][:: 1 if names == 1 else -1])
    history = make_learner(epochs=2).fit(small_log, callback=lambda policy: next(looks)).history_
    nan = np.nan
    expected = {"v": [nan, 1, nan], "w": [nan, nan, 2]}
    if names == 2:
        expected = {name: values[::-1] for name, values in expected.items()}
    for name, values in expected.items():
        np.testing.assert_array_equal(history[name], values)
