"""Many fits side by side against one fit after the other."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from learning.side_by_side import (
    assert_same_as_alone,
    assert_same_fit,
    custom_towers,
    make_learner,
    probabilities,
    varied,
    weights_of,
)
from sklearn.base import clone

import opl_lib as opl
from opl_lib.learning import batches, loop
from opl_lib.objectives import OBJECTIVES


def ips_minus_half(logits, batch):
    """An objective of one's own, of one model at a time."""
    assert logits.ndim == 2 and batch.action.ndim == 1
    return opl.ips(logits, batch._replace(reward=batch.reward - 0.5))


def own_batched(logits, batch):
    return (logits.log_softmax(dim=-1)[..., 0] * batch.reward).mean(dim=-1)


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


# ---- bits and draws


def test_the_same_fits_give_the_same_bits(logs):
    one, again = (opl.fit_many(varied("dr", catalogue="streamed"), logs) for _ in range(2))
    for learner, other in zip(one, again, strict=True):
        assert all(map(torch.equal, weights_of(learner), weights_of(other)))
        assert learner.history_ == other.history_


def test_global_generators_do_not_move(logs):
    before = torch.get_rng_state()
    learners = varied(catalogue="sampled", n_sampled=2)
    opl.fit_many(learners, logs, first_probability(logs[0]))
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

    looks = []

    def stop(policy):
        looks.append(None)
        if len(looks) > n_epochs:
            raise opl.StopFit

    learners = opl.fit_many(varied(**settings), logs, [None, stop, None, None])
    assert stack_sizes == [4, 4]
    for k in (0, 2, 3):
        assert all(map(torch.equal, weights_of(learners[k]), weights_of(whole[k])))
        assert learners[k].history_ == whole[k].history_
    assert learners[1].history_["objective"] == whole[1].history_["objective"][:n_epochs]
    short = varied(**{**settings, "epochs": max(n_epochs, 1)})[1]
    if n_epochs == 0:
        short.set_params(learning_rate=1e-12)
    np.testing.assert_allclose(
        probabilities(learners[1], logs[1]), probabilities(short.fit(logs[1]), logs[1]), atol=1e-5
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
        r"epoch 1, batch 1 \(objective inf\).*policy_ holds the weights from before epoch 1\."
        r"\nThis came from learner 1\.$"
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
    with pytest.raises(
        opl.NonFiniteLossError, match=r"epoch 1.* 2 of 4\.\nThis .* learner 0, learner 1\.$"
    ):
        opl.fit_many(learners, logs[0])
    for learner in learners[2:]:
        assert_same_fit(learner, clone(learner).fit(logs[0]), logs[0])


def test_a_reward_model_that_fails_leaves_the_others_complete(logs):
    learners = [make_learner("dr", random_state=seed) for seed in range(3)]
    start = make_learner("ips", random_state=1, learning_rate=1e-12).fit(logs[0])
    learners[1].reward_model = opl.TwoTowerRegressor("squared_error", learning_rate=1e30)
    message = "the reward model failed: .*stopped being finite in .*policy_ is not trained"
    with pytest.raises(opl.NonFiniteLossError, match=message):
        opl.fit_many(learners, logs[0])
    np.testing.assert_allclose(
        probabilities(learners[1], logs[0]), probabilities(start, logs[0]), rtol=1e-4
    )
    assert learners[1].history_ == {"objective": []}
    for k in (0, 2):
        assert_same_fit(learners[k], clone(learners[k]).fit(logs[0]), logs[0])


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


# ---- the head of a sampled softmax


def test_the_head_is_found_anew_after_epochs_1_2_4_8(small_world, monkeypatch):
    calls, find_head, sampled = [], loop.find_head, loop.sampled

    def spy_find_head(setup, context, size, eligible):
        calls.append(("head", context.shape[1], size))
        return find_head(setup, context, size, eligible)

    def spy_sampled(setup, step, n_sampled, draws, head=None):
        calls.append(("step", n_sampled, None if head is None else head.items.shape[1]))
        return sampled(setup, step, n_sampled, draws, head)

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


def test_denormals_are_treated_as_before_after_a_fit(logs):
    tiny = torch.tensor(1e-39)
    for before in (False, True):
        torch.set_flush_denormal(before)
        try:
            make_learner().fit(logs[0])
            assert (float(tiny * 1) == 0) == before
        finally:
            torch.set_flush_denormal(False)
