"""Many fits side by side against one fit after the other."""

import copy
import dataclasses
import io
import pickle
import sys

import numpy as np
import pytest
import torch
import tqdm
from learning.learners import needs_q_hat
from sklearn.base import clone
from sklearn.linear_model import Ridge

import opl_lib as opl
from opl_lib.learning import batches, loop
from opl_lib.objectives import OBJECTIVES, get_objective


class Towers(torch.nn.Module):
    """A tower that the library did not make."""

    def __init__(self, width):
        super().__init__()
        self.linear = torch.nn.Linear(width, 4)

    def forward(self, features):
        return torch.tanh(self.linear(features))


def custom_towers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return opl.TwoTower(Towers(3), Towers(2))


def ips_minus_half(logits, batch):
    """An objective of one's own, of one model at a time."""
    assert logits.ndim == 2 and batch.action.ndim == 1
    return opl.ips(logits, batch._replace(reward=batch.reward - 0.5))


def own_batched(logits, batch):
    return (logits.log_softmax(dim=-1)[..., 0] * batch.reward).mean(dim=-1)


def make_learner(objective="ips", **settings):
    quick = {"epochs": 2, "batch_size": 50, "learning_rate": 5e-3, "hidden": (8,)}
    if needs_q_hat(get_objective(objective)):
        quick["reward_model"] = opl.SklearnRewardModel(Ridge())
    return opl.OffPolicyLearner(objective, **{**quick, "dim_embedding": 4, **settings})


def varied(objective="ips", **settings):
    """Learners that differ in all that learners of one stack may differ in.

    All have some weight decay: Adam scales up even a gradient that is 0 but for rounding, as that
    of the items' last bias, and rounding depends on who else is in the stack.
    """
    return [
        make_learner(objective, random_state=0, weight_decay=0.01, **settings),
        make_learner(
            objective,
            random_state=1,
            weight_decay=0.01,
            learning_rate=1e-2,
            temperature=0.5,
            **settings,
        ),
        make_learner(objective, random_state=2, weight_decay=0.1, temperature=2, **settings),
        make_learner(objective, random_state=1, weight_decay=0.1, **settings),
    ]


@pytest.fixture(scope="module")
def logs(small_world):
    """Four logs of one size, the first and the last of them the same object."""
    logs = [small_world.sample(120, random_state=seed) for seed in range(3)]
    return [*logs, logs[0]]


@pytest.fixture
def stack_sizes(monkeypatch):
    """The number of fits in each stack that was trained, in the order of training."""
    sizes, stack_models = [], loop.stack_models

    def spy(models):
        sizes.append(len(models))
        return stack_models(models)

    monkeypatch.setattr(loop, "stack_models", spy)
    return sizes


def probabilities(learner, log):
    return learner.policy_.predict_proba(log.context, log.action_context)


def weights_of(learner):
    return [weights.detach() for weights in learner.policy_.towers.parameters()]


def assert_same_fit(learner, single, log, atol=1e-5):
    np.testing.assert_allclose(
        probabilities(learner, log), probabilities(single, log), rtol=0, atol=atol
    )
    assert learner.history_.keys() == single.history_.keys()
    for name, curve in single.history_.items():
        np.testing.assert_allclose(learner.history_[name], curve, rtol=1e-3, atol=1e-4)


def assert_same_as_alone(learners, logs, callback=None):
    singles = [clone(learner) for learner in learners]
    assert opl.fit_many(learners, logs, callback) == learners
    for learner, single, log in zip(learners, singles, logs, strict=True):
        assert_same_fit(learner, single.fit(log, callback), log)


# ---- the same as alone


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_fits_side_by_side_learn_what_they_learn_alone(objective, logs, stack_sizes):
    learners = varied(objective)
    start = make_learner(objective, learning_rate=1e-12).fit(logs[0])
    assert_same_as_alone(learners, logs)
    assert stack_sizes == [1, 4, 1, 1, 1, 1]
    moved = probabilities(learners[0], logs[0]) - probabilities(start, logs[0])
    assert np.abs(moved).max() > 0.01


@pytest.mark.parametrize(
    "settings",
    [
        {"catalogue": "streamed"},
        {"catalogue": "sampled", "n_sampled": 2},
        {"catalogue": "sampled", "n_sampled": 3},
        {"shuffle": False},
        {"hidden": ()},
        {"hidden": (6, 5)},
        {"batch_size": 1000},
        {"batch_size": 7, "epochs": 1},
    ],
    ids=str,
)
def test_so_they_do_in_every_setting(settings, logs, stack_sizes):
    assert_same_as_alone(varied("dr", **settings), logs)
    assert stack_sizes[0] == 4


@pytest.mark.parametrize("catalogue", ["exact", "streamed", "sampled"])
def test_one_log_serves_all(catalogue, logs, stack_sizes):
    learners = varied("dr", catalogue=catalogue, n_sampled=2)
    singles = [clone(learner).fit(logs[0]) for learner in learners]
    stack_sizes.clear()
    opl.fit_many(learners, logs[0])
    assert stack_sizes[0] == 4
    for learner, single in zip(learners, singles, strict=True):
        assert_same_fit(learner, single, logs[0])


@pytest.mark.parametrize("stored", [True, False])
def test_streamed_stacks_learn_what_exact_ones_learn(stored, logs, monkeypatch):
    if not stored:
        monkeypatch.setattr(batches, "MAX_STORED_Q_HAT", 0)
    exact, streamed = (
        opl.fit_many(varied("dr", catalogue=catalogue), logs) for catalogue in ("exact", "streamed")
    )
    for learner, other, log in zip(streamed, exact, logs, strict=True):
        assert_same_fit(learner, other, log)


@pytest.mark.parametrize("frozen", [None, "context_tower", "action_tower"])
def test_towers_passed_in_are_copied_into_the_stack(frozen, logs, stack_sizes):
    towers = opl.TwoTower.mlp(3, 2, hidden=(6,), dim_embedding=4, random_state=5)
    if frozen:
        getattr(towers, frozen).requires_grad_(False)
    before = copy.deepcopy(towers.state_dict())
    learners = varied(towers=towers)
    assert_same_as_alone(learners, logs)
    assert stack_sizes[0] == 4
    for name, weights in before.items():
        assert torch.equal(towers.state_dict()[name], weights)
        for learner in learners:
            same = torch.equal(learner.policy_.towers.state_dict()[name], weights)
            assert same == (frozen is not None and name.startswith(frozen))


def test_every_column_of_a_batch_belongs_to_the_models_own_log(logs):
    """Rewards and propensities are made to name log and row; every other column must agree."""
    n_logs, rows = len(logs), np.arange(120)
    named = [
        opl.BanditFeedback(
            log.context,
            log.action,
            rows.astype(float),
            (1 + number) / 10 + rows / 2000,
            log.action_context,
            cluster_pscore=(2 + number) / 10 + rows / 2000,
        )
        for number, log in enumerate(logs)
    ]
    orders = [[] for _ in logs]

    class Table:
        def fit(self, feedback):
            return self

        def predict_reward(self, context, action_context):
            return np.outer(context[:, 0], 1 + np.arange(4))

    def check(logits, batch):
        assert batch.action.shape == (n_logs, batch.reward.shape[1])
        for k, log in enumerate(named):
            row = batch.reward[k].to(int).numpy()
            orders[k].extend(row)
            np.testing.assert_array_equal(batch.action[k], log.action[row])
            np.testing.assert_allclose(batch.pscore[k], log.pscore[row], rtol=1e-6)
            np.testing.assert_allclose(batch.cluster_pscore[k], log.cluster_pscore[row], rtol=1e-6)
            expected = np.outer(log.context[row, 0], 1 + np.arange(4))
            np.testing.assert_allclose(batch.q_hat[k], expected, rtol=1e-5)
        return opl.dr(logits, batch)

    objective = opl.Objective(check, needs=("q_hat",), batched=True)
    settings = {"reward_model": Table(), "epochs": 2}
    seeds = [0, 1, 2, 0]
    opl.fit_many([make_learner(objective, random_state=s, **settings) for s in seeds], named)
    for order in orders:
        assert sorted(order[:120]) == sorted(order[120:]) == list(range(120))
        assert order[:120] != order[120:] != list(range(120))
    assert orders[0] == orders[3] and orders[0] != orders[1] != orders[2]


# ---- sorting into stacks


def test_any_mixture_is_sorted_into_stacks(logs, small_world, stack_sizes):
    other_size = small_world.sample(60, random_state=0)
    fewer_items = opl.BanditFeedback(
        logs[0].context,
        logs[0].action % 3,
        logs[0].reward,
        logs[0].pscore,
        logs[0].action_context[:3],
    )
    own = opl.Objective(ips_minus_half)
    cases = [
        (make_learner(random_state=3), logs[0]),
        (make_learner("dr"), logs[1]),
        (make_learner(towers=custom_towers()), logs[0]),
        (make_learner(random_state=4), logs[1]),
        (make_learner(own), logs[0]),
        (make_learner(), other_size),
        (make_learner(own), logs[1]),
        (make_learner(), fewer_items),
        (make_learner(batch_size=40), logs[0]),
        (make_learner(hidden=(6,)), logs[0]),
        (make_learner("dr", random_state=1), logs[0]),
        (make_learner(towers=custom_towers(), random_state=1), logs[0]),
        (make_learner(epochs=1), logs[0]),
        (make_learner("snips"), logs[0]),
        (make_learner(catalogue="streamed"), logs[0]),
        (make_learner(shuffle=False), logs[0]),
    ]
    learners, feedbacks = (list(column) for column in zip(*cases, strict=True))
    singles = [clone(learner) for learner in learners]
    opl.fit_many(learners, feedbacks)
    assert sorted(size for size in stack_sizes if size) == [1] * 12 + [2] * 2
    for learner, single, log in zip(learners, singles, feedbacks, strict=True):
        single.fit(log)
        assert_same_fit(learner, single, log)
        if learner.towers is not None or learner.objective is own:
            np.testing.assert_array_equal(probabilities(learner, log), probabilities(single, log))


@pytest.mark.parametrize(
    ("limit", "value", "sizes"),
    [
        ("_MAX_STACK", 3, [3, 1]),
        ("_MAX_STACK", 1, [1, 1, 1, 1]),
        ("_MAX_STACK_ROWS", 2 * 54, [2, 2]),  # batches of 50 rounds and 4 items
        ("_MAX_STACK_ROWS", 2 * 54 - 1, [1, 1, 1, 1]),
        ("_MAX_STACK_ROWS", 1, [1, 1, 1, 1]),
    ],
)
def test_large_stacks_are_cut_into_smaller_ones(
    limit, value, sizes, logs, stack_sizes, monkeypatch
):
    whole = opl.fit_many(varied(), logs)
    stack_sizes.clear()
    monkeypatch.setattr(loop, limit, value)
    parts = opl.fit_many(varied(), logs)
    assert stack_sizes == sizes
    for part, fit, log in zip(parts, whole, logs, strict=True):
        assert_same_fit(part, fit, log)


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        ({"objective": "regression"}, 50 + 4),
        ({"objective": "regression", "batch_size": 3, "epochs": 1}, 3 + 3),
        ({"catalogue": "streamed"}, 50 + 4),
        ({"catalogue": "sampled", "n_sampled": 2}, 50 + 2),
    ],
    ids=str,
)
def test_stacks_are_as_large_as_their_steps_are_small(
    settings, rows, logs, stack_sizes, monkeypatch
):
    monkeypatch.setattr(loop, "_MAX_STACK_ROWS", 4 * rows)
    opl.fit_many(varied(**settings), logs)
    monkeypatch.setattr(loop, "_MAX_STACK_ROWS", 4 * rows - 1)
    opl.fit_many(varied(**settings), logs)
    assert stack_sizes == [4, 3, 1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: opl.clipped_ips(5),
        lambda: opl.clipped_ips(max_weight=5.0),
        lambda: opl.dros(4),
        lambda: opl.mips([0, 0, 1, 1]),
        lambda: opl.regularised(opl.clipped_ips(5), kl=0.1),
        lambda: opl.Objective(own_batched, batched=True),
        lambda: clone(make_learner(opl.poem(2))).objective,
        lambda: pickle.loads(pickle.dumps(opl.ips)),
    ],
    ids=["positional", "by name", "dros", "mips", "regularised", "own", "cloned", "pickled"],
)
def test_learners_with_equal_objectives_are_one_stack(make, logs, stack_sizes):
    log = dataclasses.replace(logs[0], cluster_pscore=np.ones(120))
    opl.fit_many([make_learner(make(), random_state=seed) for seed in range(3)], log)
    assert stack_sizes[0] == 3


def test_learners_with_other_settings_of_an_objective_are_other_stacks(logs, stack_sizes):
    settings = (5, 5, 6)
    opl.fit_many([make_learner(opl.clipped_ips(each)) for each in settings], logs[0])
    assert sorted(stack_sizes) == [1, 2]


# ---- learners with a fit of their own


class Marked(opl.OffPolicyLearner):
    """A subclass that notes its calls."""

    def fit(self, feedback, callback=None):
        self.fitted_on, self.given = feedback, callback
        return super().fit(feedback, callback)


class Plain:
    """Not of this library."""

    def fit(self, feedback):
        self.policy_ = opl.uniform()
        return self


def test_the_fit_of_a_subclass_is_called(logs, stack_sizes):
    settings = make_learner().get_params()
    learners = [make_learner(), Marked(**settings), make_learner(random_state=1), Plain()]

    def look(policy):
        return {"a": 1}

    assert opl.fit_many(learners, logs, [None, look, None, None]) == learners
    assert learners[1].fitted_on is logs[1] and learners[1].given is look
    assert learners[1].history_["a"] == [1, 1, 1]
    assert stack_sizes == [2, 1] and hasattr(learners[3], "policy_")
    single = make_learner().fit(logs[1])
    assert all(map(torch.equal, weights_of(learners[1]), weights_of(single)))


def test_regressors_and_learners_are_fitted_by_one_call(logs):
    model = opl.TwoTowerRegressor(epochs=2, hidden=(8,), dim_embedding=4)
    learner = make_learner()
    alone = clone(model).fit(logs[0])
    assert opl.fit_many([model, learner], logs[0]) == [model, learner]
    pair = logs[0].context, logs[0].action_context
    np.testing.assert_array_equal(model.predict_reward(*pair), alone.predict_reward(*pair))
    assert hasattr(learner, "policy_")


class Breaks(Plain):
    def fit(self, feedback):
        raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("learner", "kind"),
    [
        (lambda: make_learner(learning_rate=1e30), opl.NonFiniteLossError),
        (lambda: make_learner(opl.mips([0, 0, 1, 1])), ValueError),
        (Breaks, RuntimeError),
    ],
    ids=["diverges", "lacks a column", "breaks"],
)
@pytest.mark.parametrize("names", [None, ["good", "bad"]])
def test_an_error_says_which_learner_it_came_from(learner, kind, names, logs):
    with pytest.raises(kind) as error:
        opl.fit_many([make_learner(), learner()], logs[0], names=names)
    assert error.value.__notes__ == [f"This came from {'bad' if names else 'learner 1'}."]


def test_many_fits_warn_once_of_a_log_far_from_unit_scale(logs):
    log = dataclasses.replace(logs[0], context=logs[0].context + np.array([0, 40, 0]))
    learners = [make_learner("dr", reward_model=None, random_state=seed) for seed in range(3)]
    with pytest.warns(UserWarning, match="context, column 1 has mean") as caught:
        opl.fit_many(learners, log)
    assert len(caught) == 1


def test_no_learners_are_no_work(logs):
    assert opl.fit_many([], logs[0]) == opl.fit_many([], []) == []


def test_iterables_will_do(logs):
    learners = varied()
    fitted = opl.fit_many(iter(learners), iter(logs), iter([None] * 4))
    assert fitted == learners and all(hasattr(learner, "policy_") for learner in learners)


# ---- bits and draws


def test_the_same_fits_give_the_same_bits(logs):
    one, again = (opl.fit_many(varied("dr", catalogue="streamed"), logs) for _ in range(2))
    for learner, other in zip(one, again, strict=True):
        assert all(map(torch.equal, weights_of(learner), weights_of(other)))
        assert learner.history_ == other.history_


def test_global_generators_do_not_move(logs):
    before = torch.get_rng_state()
    learners = varied(catalogue="sampled", n_sampled=2)
    opl.fit_many(learners, logs, lambda policy: {"draw": float(torch.rand(()))})
    assert torch.equal(torch.get_rng_state(), before)


# ---- callbacks


def first_probability(log):
    """A callback."""

    def look(policy):
        return {"p": float(policy.predict_proba(log.context, log.action_context)[0, 0])}

    return look


def test_one_callback_serves_all(logs):
    learners, look = varied(), first_probability(logs[0])
    assert_same_as_alone(learners, logs, look)
    for learner in learners:
        assert len(set(learner.history_["p"])) == 3
        assert learner.history_["p"][-1] == look(learner.policy_)["p"]


def test_every_learner_may_have_a_callback_of_its_own(logs):
    look = first_probability(logs[0])
    callbacks = [look, None, lambda policy: {"b": id(policy), "c": 1}, lambda policy: None]
    learners = opl.fit_many(varied(), logs, callbacks)
    names = [{"objective", "p"}, {"objective"}, {"objective", "b", "c"}, {"objective"}]
    assert [set(learner.history_) for learner in learners] == names
    assert set(learners[2].history_["b"]) == {id(learners[2].policy_)}
    single = varied()[0].fit(logs[0], look)
    np.testing.assert_allclose(learners[0].history_["p"], single.history_["p"], atol=1e-5)


@pytest.mark.parametrize("catalogue", ["exact", "sampled"])
@pytest.mark.parametrize("n_epochs", [0, 2])
def test_a_fit_that_is_ended_by_its_callback_leaves_the_others_as_they_were(
    n_epochs, catalogue, logs, stack_sizes
):
    settings = {"epochs": 4, "catalogue": catalogue, "n_sampled": 2}
    whole = opl.fit_many(varied(**settings), logs)

    def stop(policy, looks=[]):  # noqa: B006
        looks.append(None)
        if len(looks) > n_epochs:
            raise opl.StopFit

    learners = opl.fit_many(varied(**settings), logs, [None, stop, None, None])
    assert stack_sizes == [4, 4]
    for k in (0, 2, 3):
        assert all(map(torch.equal, weights_of(learners[k]), weights_of(whole[k])))
        assert learners[k].history_ == whole[k].history_
    short = varied(**{**settings, "epochs": max(n_epochs, 1)})[1]
    short.fit(logs[1] if n_epochs else logs[0], None)
    assert learners[1].history_["objective"] == whole[1].history_["objective"][:n_epochs]
    if n_epochs:
        assert_same_fit(learners[1], short, logs[1])
    else:
        start = short.set_params(learning_rate=1e-12, weight_decay=0).fit(logs[1])
        np.testing.assert_allclose(
            probabilities(learners[1], logs[1]), probabilities(start, logs[1]), rtol=1e-5
        )


def test_when_all_fits_are_ended_training_stops(logs):
    def stop(policy):
        raise opl.StopFit

    learners = opl.fit_many(varied(epochs=10**9), logs, stop)
    assert all(learner.history_ == {"objective": []} for learner in learners)


def test_a_callback_that_raises_leaves_policies_that_own_their_weights(logs):
    learners = varied()

    def stop(policy):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opl.fit_many(learners, logs, [None, None, stop, None])
    assert_own_weights(learner for learner in learners if hasattr(learner, "policy_"))
    assert hasattr(learners[0], "policy_")


# ---- failures


@pytest.mark.parametrize("catalogue", ["exact", "streamed", "sampled"])
def test_a_fit_that_fails_leaves_the_others_complete(catalogue, logs, stack_sizes):
    log = logs[1]
    huge = opl.BanditFeedback(
        log.context, log.action, np.full(120, 1e38), log.pscore, log.action_context
    )
    learners, watch = varied(catalogue=catalogue, n_sampled=2), lambda policy: {"one": 1}
    singles = [clone(learner) for learner in learners]
    message = (
        r"epoch 1, batch 1 \(objective inf\).*policy_ holds the weights from before epoch 1\.$"
    )
    with pytest.raises(opl.NonFiniteLossError, match=message):
        opl.fit_many(learners, [logs[0], huge, *logs[2:]], watch)
    assert stack_sizes == [4]
    for k in (0, 2, 3):
        assert_same_fit(learners[k], singles[k].fit(logs[k], watch), logs[k])
    untrained = clone(learners[1]).set_params(learning_rate=1e-12, epochs=1).fit(logs[1])
    np.testing.assert_allclose(
        probabilities(learners[1], logs[1]), probabilities(untrained, logs[1]), atol=1e-6
    )
    assert learners[1].history_ == {"objective": [], "one": [1]}


@pytest.mark.parametrize("broken", ["value", "gradient"])
def test_a_fit_that_fails_later_keeps_its_last_good_epoch(broken, logs):
    calls = []

    def fails(logits, batch):
        calls.append(None)
        value, gradient = opl.ips(logits, batch)
        if len(calls) == 8:  # batch 2 of epoch 3
            {"value": value, "gradient": gradient}[broken][1] = float("nan")
        return value, gradient

    own = opl.Objective(fails, batched=True)
    learners = [make_learner(own, epochs=5, random_state=seed) for seed in range(3)]
    with pytest.raises(opl.NonFiniteLossError, match=r"in epoch 3, batch [23] "):
        opl.fit_many(learners, logs[:3])
    for seed, epochs in enumerate([5, 2, 5]):
        single = make_learner(epochs=epochs, random_state=seed).fit(logs[seed])
        assert_same_fit(learners[seed], single, logs[seed])


def test_all_stacks_are_trained_before_the_failures_are_told(logs):
    explodes = [make_learner(learning_rate=1e30), make_learner("snips", learning_rate=1e30)]
    learners = [*explodes, make_learner("dr"), make_learner(towers=custom_towers())]
    with pytest.raises(opl.NonFiniteLossError, match=r"epoch 1.* 2 of 4\.$"):
        opl.fit_many(learners, logs[0])
    for learner in learners[2:]:
        assert_same_fit(learner, clone(learner).fit(logs[0]), logs[0])


def test_a_reward_model_that_fails_leaves_the_others_complete(logs):
    learners = [make_learner("dr", random_state=seed) for seed in range(3)]
    start = make_learner("ips", random_state=1, learning_rate=1e-12).fit(logs[0])
    learners[1].reward_model = opl.TwoTowerRegressor("squared_error", learning_rate=1e30)
    message = "the reward model failed: .*stopped being finite in epoch 1.*policy_ is not trained"
    with pytest.raises(opl.NonFiniteLossError, match=message):
        opl.fit_many(learners, logs[0])
    np.testing.assert_allclose(
        probabilities(learners[1], logs[0]), probabilities(start, logs[0]), rtol=1e-4
    )
    assert learners[1].history_ == {"objective": []}
    for k in (0, 2):
        assert_same_fit(learners[k], clone(learners[k]).fit(logs[0]), logs[0])


@pytest.mark.parametrize(
    ("n_learners", "n_logs", "n_callbacks"), [(3, 2, 3), (3, 4, 3), (3, 3, 1), (0, 1, 0)]
)
def test_numbers_must_agree(n_learners, n_logs, n_callbacks, logs):
    message = f"got {n_learners} learners, {n_logs} logs, {n_callbacks} callbacks and"
    with pytest.raises(ValueError, match=message):
        opl.fit_many(varied()[:n_learners], logs[:n_logs], [None] * n_callbacks)


def test_a_learner_can_be_fitted_once_at_a_time(logs):
    learner = make_learner()
    with pytest.raises(ValueError, match="a learner comes twice: make one for each fit"):
        opl.fit_many([learner, make_learner(), learner], logs[0])


def test_every_learner_and_log_is_checked_before_any_is_fitted(logs):
    learners = [make_learner(), make_learner(towers=opl.TwoTower.mlp(9, 9, (4,)))]
    with pytest.raises(ValueError, match="9"):
        opl.fit_many(learners, logs[0])
    assert learners[0].history_ == {"objective": []}
    with pytest.raises(TypeError, match="BanditFeedback"):
        opl.fit_many(varied(), [*logs[:3], logs[3].to_obp()])


CLUSTERED = {
    "mips": opl.mips([0, 0, 1, 1]),
    "offcem": opl.offcem([0, 0, 1, 1]),
    "potec": opl.potec([0, 0, 1, 1]),
    "regularised": opl.regularised(opl.mips([0, 0, 1, 1]), kl=0.1),
}


@pytest.mark.parametrize("objective", CLUSTERED.values(), ids=CLUSTERED)
def test_what_an_objective_needs_of_a_log_is_checked_before_anything_is_fitted(objective, logs):
    clustered = opl.BanditFeedback(
        *(getattr(logs[0], name) for name in ("context", "action", "reward", "pscore")),
        np.vstack([logs[0].action_context, [[0.0, 1.0]]]),
        cluster_pscore=np.full(120, 0.5),
    )
    for log, message in (
        (logs[0], r"no cluster_pscore\. Make it with opl\.with_clusters\(feedback, cluster\)"),
        (clustered, r"made for 4 items, but the log has 5\. Give its cluster .*opl\.with_clusters"),
    ):
        learner, other = make_learner(objective), make_learner()
        with pytest.raises(ValueError, match=message) as error:
            opl.fit_many([other, learner], [logs[0], log])
        assert repr(objective) in str(error.value)
        assert other.history_ == {"objective": []}
        assert not hasattr(learner, "policy_") and not hasattr(learner, "reward_model_")


RETURNED = {
    "a number": (lambda z, b: 0.5, r"a value that torch can differentiate .*got float"),
    "nothing": (lambda z, b: None, r"a value that torch can differentiate .*got NoneType"),
    "no slope": (lambda z, b: b.reward.mean(), "a value that torch can differentiate .*got Tensor"),
    "terms": (lambda z, b: z[:, 0], r"must return a scalar, .*got \(50,\) and \(50, 4\)"),
    "terms and a gradient": (
        lambda z, b: (b.reward, torch.zeros_like(z)),
        r"must return a scalar, .*got \(50,\) and \(50, 4\)",
    ),
    "one row": (
        lambda z, b: (z.mean(), torch.zeros(4)),
        r"of the shape of the logits, \(50, 4\); got \(\) and \(4,\)",
    ),
}


@pytest.mark.parametrize(("function", "message"), RETURNED.values(), ids=RETURNED)
def test_what_an_objective_of_ones_own_returns_is_checked(function, message, logs):
    own = opl.Objective(function, name="mine")
    with pytest.raises(ValueError, match=message) as error:
        make_learner(own).fit(logs[0])
    assert "objective 'mine'" in str(error.value)


@pytest.mark.parametrize("n_models", [1, 3])
def test_a_batched_objective_returns_a_value_a_model(n_models, logs):
    own = opl.Objective(lambda z, b: (z.mean(), torch.zeros_like(z)), batched=True, name="mine")
    learners = [make_learner(own, random_state=k) for k in range(n_models)]
    with pytest.raises(ValueError, match="'mine' must return a scalar"):
        opl.fit_many(learners, logs[0])


def test_an_objective_may_return_what_autograd_still_holds(logs):
    def by_autograd(logits, batch):
        logits = logits.clone().requires_grad_()
        value, gradient = opl.ips(logits, batch)
        return value, gradient

    own = make_learner(opl.Objective(by_autograd)).fit(logs[0])
    named = make_learner().fit(logs[0])
    assert all(map(torch.equal, weights_of(own), weights_of(named)))
    assert own.history_ == named.history_


# ---- who owns the weights


def assert_own_weights(learners):
    owners = {}
    for number, learner in enumerate(learners):
        for weights in learner.policy_.towers.parameters():
            storage = weights.untyped_storage()
            assert owners.setdefault(storage.data_ptr(), number) == number
            assert storage.nbytes() == weights.numel() * 4 and weights.grad is None


def test_policies_own_their_weights(logs):
    learners = opl.fit_many(varied(), logs)
    assert_own_weights(learners)
    before = probabilities(learners[1], logs[1])
    for weights in weights_of(learners[0]):
        weights.zero_()
    np.testing.assert_array_equal(probabilities(learners[1], logs[1]), before)
    assert probabilities(learners[0], logs[0]) == pytest.approx(0.25)


def test_a_pickled_policy_is_as_small_as_its_model(logs):
    learners = opl.fit_many([make_learner(random_state=seed) for seed in range(16)], logs[0])
    alone = len(pickle.dumps(opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 2, (8,), 4))))
    sizes = [len(pickle.dumps(learner.policy_)) for learner in learners]
    assert max(sizes) < 1.2 * alone
    copied = pickle.loads(pickle.dumps(learners[3].policy_))
    expected = probabilities(learners[3], logs[0])
    np.testing.assert_array_equal(
        copied.predict_proba(logs[0].context, logs[0].action_context), expected
    )


def test_a_fitted_model_can_be_fitted_further(logs):
    learners = opl.fit_many(varied(), logs)
    further = make_learner(towers=learners[0].policy_.towers, random_state=9)
    before = weights_of(copy.deepcopy(learners[0]))
    further.fit(logs[0])
    assert all(map(torch.equal, weights_of(learners[0]), before))


# ---- reward models


def test_reward_models_are_fitted_side_by_side(logs, stack_sizes):
    learners = varied("dr", reward_model=None)
    singles = [clone(learner) for learner in learners]
    opl.fit_many(learners, logs)
    assert stack_sizes == [4, 8]  # two folds of each log, all of 60 rounds
    for learner, single, log in zip(learners, singles, logs, strict=True):
        single.fit(log)
        assert_same_fit(learner, single, log)
        np.testing.assert_array_equal(learner.reward_model_.fold, single.reward_model_.fold)
        q_hat, expected = (m.reward_model_.predict_rows(np.arange(120)) for m in (learner, single))
        np.testing.assert_allclose(q_hat, expected, rtol=0, atol=1e-5)
        assert learner.reward_model_.feedback is log


def test_folds_may_differ_within_a_stack(logs, stack_sizes):
    learners = varied("dr")
    for learner, n_folds in zip(learners, [1, 2, 3, 5], strict=True):
        learner.n_folds = n_folds
    assert_same_as_alone(learners, logs)
    assert max(stack_sizes) == 4
    assert [len(learner.reward_model_.models) for learner in learners] == [1, 2, 3, 5]


def reward_models_of_every_kind(log):
    learners = varied("dr")
    learners[1].reward_model = make_learner("regression")
    learners[2].reward_model = None
    learners[3].reward_model = opl.SklearnRewardModel(Ridge(alpha=9))
    return learners


@pytest.mark.parametrize("catalogue", ["exact", "streamed", "sampled"])
@pytest.mark.parametrize("n_tables", [1, 4])
def test_a_large_q_hat_is_predicted_by_the_tile(n_tables, catalogue, logs, monkeypatch):
    feedbacks = logs if n_tables == 4 else logs[:1] * 4

    def fitted():
        learners = reward_models_of_every_kind(logs[0])
        for learner in learners:
            learner.set_params(catalogue=catalogue, n_sampled=3)
        return opl.fit_many(learners, feedbacks)

    stored = fitted()
    monkeypatch.setattr(batches, "MAX_STORED_Q_HAT", 4 * 120 * 4)
    monkeypatch.setattr(opl.CrossFittedRewardModel, "predict_logged_item", None)
    fitted()  # as much as may be stored
    monkeypatch.undo()
    monkeypatch.setattr(batches, "MAX_STORED_Q_HAT", 4 * 120 * 4 - 1)
    for learner, other, log in zip(fitted(), stored, feedbacks, strict=True):
        assert_same_fit(learner, other, log)


# ---- the head of a sampled softmax


def test_the_head_is_found_anew_after_epochs_1_2_4_8(small_world, monkeypatch):
    calls, find_head, sampled = [], loop.find_head, loop.sampled

    def spy_find_head(setup, context, size):
        calls.append(("head", context.shape[1], size))
        return find_head(setup, context, size)

    def spy_sampled(setup, step, n_sampled, generators, head=None):
        calls.append(("step", n_sampled, None if head is None else head.items.shape[1]))
        return sampled(setup, step, n_sampled, generators, head)

    monkeypatch.setattr(loop, "find_head", spy_find_head)
    monkeypatch.setattr(loop, "sampled", spy_sampled)
    log = small_world.sample(120, random_state=0)
    settings = {"catalogue": "sampled", "n_sampled": 3, "batch_size": 120, "epochs": 9}
    opl.fit_many([make_learner(random_state=seed, **settings) for seed in range(2)], log)
    head, first, later = ("head", 64, 1), ("step", 3, None), ("step", 2, 1)
    expected = [first]
    for n_epochs in (1, 2, 4, 1):
        expected += [head] + [later] * n_epochs
    assert calls == expected


def test_the_head_holds_most_of_the_policy_whatever_the_order_of_the_log(monkeypatch):
    """Eight kinds of users with items of their own, logged one kind after the other."""
    heads, find_head = [], loop.find_head
    monkeypatch.setattr(
        loop, "find_head", lambda *inputs: heads.append(find_head(*inputs)) or heads[-1]
    )
    rng, n_kinds, n_items = np.random.default_rng(0), 8, 5000
    context = np.repeat(np.eye(n_kinds), 75, axis=0)
    log = opl.BanditFeedback(
        context,
        rng.integers(n_items, size=len(context)),
        rng.integers(2, size=len(context)),
        np.full(len(context), 1 / n_items),
        rng.normal(size=(n_items, n_kinds)),
    )
    towers = opl.TwoTower(torch.nn.Linear(n_kinds, n_kinds), torch.nn.Linear(n_kinds, n_kinds))
    for tower, scale in ((towers.context_tower, 8), (towers.action_tower, 1)):
        tower.weight.data, tower.bias.data = scale * torch.eye(n_kinds), torch.zeros(n_kinds)
    settings = {"catalogue": "sampled", "towers": towers, "learning_rate": 1e-9}
    learner = make_learner(**settings, n_sampled=256, random_state=3).fit(log)
    pi = learner.policy_.predict_proba(log.context, log.action_context)
    (head,) = heads
    assert head.items.shape == (1, 128)
    mass = pi[:, head.items[0].numpy()].sum(axis=1)
    assert mass.mean() > 0.9 and mass.min() > 0.8


# ---- the progress bar


@pytest.mark.parametrize(("n_learners", "name"), [(1, "fit ips:"), (3, "fit ips, 3 models:")])
def test_a_progress_bar_says_how_many_models_it_trains(n_learners, name, logs, capsys):
    opl.fit_many(varied(progress=True)[:n_learners], logs[:n_learners])
    assert name in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("progress", "names"), [(None, ["fit:", "fit dr"]), (False, [])])
def test_the_default_reward_model_shows_as_much_as_the_learner(progress, names, logs, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = tqdm.tqdm
    at_once = {"delay": 0, "mininterval": 0}
    monkeypatch.setattr(tqdm, "tqdm", lambda **settings: bar(**{**settings, **at_once}))
    make_learner("dr", reward_model=None, progress=progress).fit(logs[0])
    shown = terminal.getvalue()
    assert all(name in shown for name in names) and bool(shown) == bool(names)


def test_learners_share_a_reward_model_that_is_cross_fitted_already(small_log):
    settings = {"epochs": 2, "batch_size": 30, "hidden": (8,), "progress": False}
    own = opl.OffPolicyLearner("dr", **settings).fit(small_log)
    q_hat = opl.cross_fit(own.default_reward_model(), small_log)
    shared = [opl.OffPolicyLearner(name, reward_model=q_hat, **settings) for name in ("dr", "dm")]
    opl.fit_many(shared, small_log)
    assert all(learner.reward_model_ is q_hat for learner in shared)
    asked = small_log.context, small_log.action_context
    np.testing.assert_allclose(
        shared[0].policy_.predict_proba(*asked), own.policy_.predict_proba(*asked), rtol=1e-5
    )
    with pytest.raises(ValueError, match="another log"):
        opl.OffPolicyLearner("dr", reward_model=q_hat, **settings).fit(small_log[:50])


def test_denormals_are_treated_as_before_after_a_fit(logs):
    tiny = torch.tensor(1e-39)
    for before in (False, True):
        torch.set_flush_denormal(before)
        try:
            make_learner().fit(logs[0])
            assert (float(tiny * 1) == 0) == before
        finally:
            torch.set_flush_denormal(False)
