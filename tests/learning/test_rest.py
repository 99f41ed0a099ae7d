"""The default learner: a bilinear regression, and towers that learn what it leaves."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from learning.learners import custom_towers, probabilities, with_columns
from learning.side_by_side import assert_same_fit
from sklearn.base import clone

import opl_lib as opl
from opl_lib.learning import rest
from opl_lib.policies.towers import SideBySide

ITEMS = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])


def learner(**settings):
    quick = {"epochs": 15, "learning_rate": 1e-2, "hidden": (20,), "dim_embedding": 5}
    return opl.OffPolicyLearner(**{**quick, "progress": False, **settings})


def rates(context, items=ITEMS):
    """Click rates of products of two context features, beside a small part that is bilinear."""
    curved = np.sign(context[:, :1] * context[:, 1:2])
    return 0.5 + 0.35 * curved * items[:, 0] + 0.14 * np.tanh(context[:, 2:]) * items[:, 1]


def curved_log(n=1_600, seed=0, **columns):
    rng = np.random.default_rng(seed)
    context, action = rng.normal(size=(n, 3)), rng.integers(0, 4, n)
    click = rng.random(n) < rates(context)[np.arange(n), action]
    return opl.BanditFeedback(context, action, click, np.full(n, 0.25), ITEMS, **columns)


def straight_log(n=400, seed=0):
    """Of a world in which nothing is left of a bilinear regression."""
    rng = np.random.default_rng(seed)
    context, action = rng.normal(size=(n, 3)), rng.integers(0, 4, n)
    reward = context[:, 0] * ITEMS[action, 0] + 0.3 * rng.normal(size=n)
    return opl.BanditFeedback(context, action, reward, np.full(n, 0.25), ITEMS)


def value(policy):
    """Of a policy in the world of `curved_log`: 0.5 without a choice, some 0.85 at most."""
    context = np.random.default_rng(9).normal(size=(3_000, 3))
    return (policy.predict_proba(context, ITEMS) * rates(context)).sum(axis=1).mean()


@pytest.fixture(scope="module")
def log():
    return curved_log()


@pytest.fixture(scope="module")
def fitted(log):
    return learner().fit(log)


# ---- what is learned


def test_towers_learn_what_the_bilinear_regression_cannot(log, fitted):
    assert value(opl.BilinearLearner().fit(log).policy_) < 0.6
    assert value(fitted.policy_) > 0.75
    assert isinstance(fitted.policy_.towers.context_tower, SideBySide)
    assert fitted.policy_.temperature == 0
    assert fitted.objective_ is opl.squared_error
    assert not hasattr(fitted, "reward_model_")


def test_towers_that_gain_nothing_clear_are_left_out():
    log = straight_log()
    policy, expected = learner().fit(log).policy_, opl.BilinearLearner().fit(log).policy_
    assert policy.towers.mlp_settings["hidden"] == []
    np.testing.assert_array_equal(
        policy.scores(log.context, ITEMS), expected.scores(log.context, ITEMS)
    )


def test_both_parts_are_added_in_one_unit(log, fitted):
    """Scores are q̂ of the bilinear part and of the towers, in units of what is left."""
    bilinear = opl.BilinearLearner().fit(log)
    towers = fitted.policy_.towers
    first, second = (
        opl.TwoTowerPolicy(opl.TwoTower(towers.context_tower[k], towers.action_tower[k])).scores(
            log.context, ITEMS
        )
        for k in (0, 1)
    )
    np.testing.assert_allclose(fitted.policy_.scores(log.context, ITEMS), first + second, atol=1e-5)
    expected = bilinear.policy_.scores(log.context, ITEMS)
    factor = first.std() / expected.std()
    np.testing.assert_allclose(first, factor * expected, atol=1e-4 * np.abs(first).max())


@pytest.mark.parametrize(("scale", "offset"), [(2.0**20, 0), (2.0**-20, 3.0), (2.0**400, 0)])
def test_unit_and_offset_of_the_reward_change_nothing(scale, offset, log, fitted):
    other = learner().fit(with_columns(log, reward=scale * (log.reward + offset)))
    np.testing.assert_allclose(
        other.policy_.at_temperature(1).predict_proba(log.context, ITEMS),
        fitted.policy_.at_temperature(1).predict_proba(log.context, ITEMS),
        atol=5e-3,
    )
    np.testing.assert_allclose(
        np.array(other.history_["held_out"]) / scale / scale,
        fitted.history_["held_out"],
        rtol=1e-2,
    )


def test_a_softmax_is_in_units_of_the_bilinear_part():
    log = straight_log()
    policy = learner(temperature=0.5).fit(log).policy_
    expected = opl.BilinearLearner(temperature=0.5).fit(log).policy_
    np.testing.assert_allclose(
        policy.predict_proba(log.context, ITEMS), expected.predict_proba(log.context, ITEMS)
    )
    curved = curved_log()
    warm = learner(temperature=0.5).fit(curved)
    both, spread = warm.policy_, opl.BilinearLearner().fit(curved).spread_ or curved.reward.std()
    assert both.temperature == pytest.approx(0.5 * spread / curved.reward.std(), rel=0.1)


# ---- the held-out stop


def test_history_holds_the_error_on_rounds_that_the_towers_have_not_seen(log, fitted):
    curve = fitted.history_["held_out"]
    assert len(curve) == len(fitted.history_["objective"]) + 1 == 16
    _, unseen = log.split(0.2, 0)
    assert curve[0] == pytest.approx(-unseen.reward.var(), rel=0.05)
    assert max(curve) > 0.95 * curve[0] and max(curve) > curve[0]


def test_a_fit_ends_when_held_out_rounds_show_no_more_gain(monkeypatch):
    monkeypatch.setattr(rest, "_PATIENCE", 6)
    log = straight_log()  # two updates an epoch
    stopped = learner(epochs=50).fit(log)
    curve = stopped.history_["held_out"]
    best = int(np.argmax(curve))
    assert len(stopped.history_["objective"]) == best + 3 < 50
    assert len(curve) == best + 3  # the last look ended it, and is not recorded


@pytest.mark.parametrize(("n", "epochs"), [(400, 3), (60, 6), (20_000, 2)])
def test_patience_is_counted_in_updates(n, epochs, monkeypatch):
    """A batch that the log does not fill is an update as well."""
    monkeypatch.setattr(rest, "_PATIENCE", 6)
    monkeypatch.setattr(rest._Rest, "__call__", lambda self, own: None)
    seen, made = [], rest._Rest.__init__

    def look(self, *given):
        made(self, *given)
        seen.append(self.patience)

    monkeypatch.setattr(rest._Rest, "__init__", look)
    learner(epochs=1).fit(straight_log(n))
    assert seen == [epochs]


def test_the_towers_of_the_best_epoch_are_served(log, monkeypatch):
    seen = []

    def look(policy):
        seen.append(copy.deepcopy(policy))

    found = learner(epochs=8).fit(log, look)
    best = int(np.argmax(found.history_["held_out"]))
    np.testing.assert_array_equal(
        found.policy_.scores(log.context, ITEMS), seen[best].scores(log.context, ITEMS)
    )


def test_users_are_held_out_whole(monkeypatch):
    seen, without = [], rest._without_bilinear
    monkeypatch.setattr(
        rest, "_without_bilinear", lambda *given: seen.append(given) or without(*given)
    )
    log = curved_log(200, user_id=np.arange(200) % 40)
    learner(epochs=1).fit(log)
    ((to_fit, unseen, _),) = seen
    assert set(to_fit.user_id).isdisjoint(unseen.user_id)
    assert to_fit.n_rounds + unseen.n_rounds == 200


# ---- callbacks, ends and interrupts


def test_a_callback_sees_one_policy_of_both_parts(log):
    seen, values = [], []

    def look(policy):
        seen.append(policy)
        values.append(value(policy))
        return {"value": values[-1]}

    found = learner(epochs=6).fit(log, look)
    assert len({id(policy) for policy in seen}) == 1
    assert values[0] < 0.6 < values[-1]
    assert found.history_["value"] == values and len(values) == 7
    assert found.policy_ is seen[0]


def test_a_callback_may_end_the_fit(log):
    calls = []

    def stop(policy):
        calls.append(policy)
        if len(calls) == 6:
            raise opl.StopFit

    found = learner().fit(log, stop)
    assert len(calls) == 6 and len(found.history_["objective"]) == 5
    assert value(found.policy_) > 0.6


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("when", [1, 8])
def test_an_interrupt_leaves_the_best_so_far(error, when, log):
    calls = []

    def fail(policy):
        calls.append(policy)
        if len(calls) == when:
            raise error

    found = learner()
    with pytest.raises(error):
        found.fit(log, fail)
    assert value(found.policy_) > (0.7 if when == 8 else 0.45)
    assert probabilities(found, log).shape == (log.n_rounds, 4)


def test_weights_that_are_no_longer_finite_leave_the_best_so_far(log):
    found = learner(learning_rate=1e30)
    with pytest.raises(opl.NonFiniteLossError, match="squared_error"):
        found.fit(log)
    np.testing.assert_array_equal(
        found.policy_.scores(log.context, ITEMS),
        opl.BilinearLearner().fit(log).policy_.scores(log.context, ITEMS),
    )


def test_early_stopping_and_watch_take_the_default_learner():
    log = curved_log(600)
    stopped = opl.EarlyStopping(learner(epochs=4), min_ess=0).fit(log)
    assert len(stopped.history_["held_out"]) == 5
    assert isinstance(stopped.policy_, opl.TwoTowerPolicy)
    watch = opl.Watch(log)
    learner(epochs=2).fit(log, watch)
    assert len(watch.table) == 3


# ---- towers


def test_the_towers_are_those_of_mlp_with_a_linear_layer_beside(fitted, tmp_path):
    towers = fitted.policy_.towers
    settings = towers.mlp_settings
    assert settings["dim_linear"] == 4 and settings["hidden"] == [20]
    made = opl.TwoTower.mlp(**settings, random_state=0)
    assert repr(made) == repr(towers)
    made.load_state_dict(towers.state_dict())
    for layer in (made.context_tower, made.action_tower):
        assert layer(torch.zeros(4, layer[0].in_features)).shape == (4, 4 + 5)


def test_a_saved_policy_is_the_same(fitted, log, tmp_path):
    fitted.policy_.save(tmp_path / "both.pt")
    again = opl.TwoTowerPolicy.load(tmp_path / "both.pt")
    for one, other in [
        (fitted.policy_, again),
        (pickle.loads(pickle.dumps(fitted)).policy_, again),
    ]:
        for temperature in (0, 1):
            np.testing.assert_array_equal(
                one.at_temperature(temperature).predict_proba(log.context, ITEMS),
                other.at_temperature(temperature).predict_proba(log.context, ITEMS),
            )


def test_towers_of_ones_own_learn_the_rest(tmp_path):
    log = straight_log()
    large = np.sign(np.square(log.context[:, 0]) - 0.5)
    curved = with_columns(log, reward=large * ITEMS[log.action, 0])
    start = custom_towers()
    before = copy.deepcopy(start.state_dict())
    found = learner(towers=start, epochs=60).fit(curved)
    assert all(torch.equal(before[name], w) for name, w in start.state_dict().items())
    assert isinstance(found.policy_.towers.context_tower, SideBySide)
    found.policy_.save(tmp_path / "own.pt")
    with pytest.raises(ValueError, match="towers of your own: pass an untrained copy"):
        opl.TwoTowerPolicy.load(tmp_path / "own.pt")
    for given in (custom_towers(), copy.deepcopy(found.policy_.towers)):
        again = opl.TwoTowerPolicy.load(tmp_path / "own.pt", given)
        np.testing.assert_array_equal(
            again.scores(log.context, ITEMS), found.policy_.scores(log.context, ITEMS)
        )
    with pytest.raises(ValueError, match="holds the weights of other towers than these"):
        opl.TwoTowerPolicy.load(tmp_path / "own.pt", opl.TwoTower.mlp(3, 2, hidden=(5,)))


def test_towers_of_an_earlier_fit_may_be_gone_on_with(log, fitted, tmp_path):
    again = learner(towers=fitted.policy_.towers, epochs=2).fit(log)
    assert value(again.policy_) > 0.7
    again.policy_.save(tmp_path / "again.pt")
    loaded = opl.TwoTowerPolicy.load(
        tmp_path / "again.pt",
        None if again.policy_.towers.mlp_settings else copy.deepcopy(again.policy_.towers),
    )
    np.testing.assert_array_equal(
        loaded.scores(log.context, ITEMS), again.policy_.scores(log.context, ITEMS)
    )


def test_towers_that_do_not_fit_the_log_are_named(log):
    towers = opl.TwoTower.mlp(7, 2, hidden=(4,), dim_embedding=2)
    with pytest.raises(ValueError, match=r"context has 3 features, .* 7"):
        learner(towers=towers).fit(log)


# ---- logs and surroundings


@pytest.mark.parametrize("n", [1, 2, 3, 9, 10, 11])
def test_of_a_tiny_log_the_bilinear_part_is_all_there_is(n):
    log = straight_log(n)
    found = learner(epochs=2).fit(log)
    assert found.policy_.towers.mlp_settings["hidden"] == []
    assert len(found.history_["objective"]) == (0 if n < 10 else 2)
    assert np.isfinite(found.history_["held_out"]).all()
    np.testing.assert_allclose(probabilities(found, log).sum(axis=1), 1)


@pytest.mark.parametrize("reward", [np.ones(60), np.arange(60) == 3, 1e300 * np.arange(60.0)])
def test_rewards_of_every_kind_are_learned_from(reward):
    log = with_columns(straight_log(60), reward=reward)
    found = learner(epochs=2).fit(log)
    assert np.isfinite(probabilities(found, log)).all()


def test_many_fits_are_each_what_they_are_alone(stack_sizes):
    logs = [curved_log(300, seed) for seed in range(3)]
    learners = [learner(epochs=4, random_state=k, weight_decay=0.01) for k in range(3)]
    singles = [clone(each).fit(log) for each, log in zip(learners, logs, strict=True)]
    stack_sizes.clear()
    opl.fit_many(learners, logs)
    assert stack_sizes == [3]
    for many, single, log in zip(learners, singles, logs, strict=True):
        assert many.history_.keys() == single.history_.keys() == {"objective", "held_out"}
        assert_same_fit(many, single, log)


def test_an_end_of_one_fit_is_not_the_end_of_others(stack_sizes, monkeypatch):
    monkeypatch.setattr(rest, "_PATIENCE", 2)
    logs = [straight_log(1_000), curved_log(1_000)]
    learners = [learner(epochs=12, weight_decay=0.01) for _ in logs]
    singles = [clone(each).fit(log) for each, log in zip(learners, logs, strict=True)]
    opl.fit_many(learners, logs)
    for many, single in zip(learners, singles, strict=True):
        n_epochs = len(many.history_["objective"])
        assert n_epochs == len(single.history_["objective"])
    assert len({len(each.history_["objective"]) for each in learners}) == 2


def test_the_seed_decides(log):
    first, second, other = (learner(epochs=3, random_state=k).fit(log) for k in (0, 0, 1))
    np.testing.assert_array_equal(
        first.policy_.scores(log.context, ITEMS), second.policy_.scores(log.context, ITEMS)
    )
    assert first.history_ == second.history_ != other.history_


def test_fits_in_threads_are_those_of_one(log, fitted):
    torch_state = torch.get_rng_state()
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: learner().fit(log), range(2)))
    for each in found:
        np.testing.assert_array_equal(
            each.policy_.scores(log.context, ITEMS), fitted.policy_.scores(log.context, ITEMS)
        )
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_it_is_what_a_learner_is_by_default():
    plain = opl.OffPolicyLearner()
    assert plain.objective == "auto"
    assert clone(plain).get_params() == plain.get_params()
    with pytest.raises(ValueError, match="temperature"):
        plain.set_params(temperature=-1)
    with pytest.raises(ValueError, match="objective"):
        plain.set_params(objective="automatic")
