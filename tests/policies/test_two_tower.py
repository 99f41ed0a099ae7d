"""The policy: probabilities, temperature, sampling, ranking, new items, saving and loading."""

import errno
import os

import numpy as np
import pytest
import torch

import opl_lib as opl


@pytest.fixture
def policy():
    model = opl.TwoTower.mlp(3, 2, hidden=(6,), dim_embedding=4, random_state=0)
    return opl.TwoTowerPolicy(model, temperature=0.1)


@pytest.fixture
def context():
    return np.random.default_rng(0).normal(size=(8, 3))


@pytest.fixture
def items():
    return np.random.default_rng(1).normal(size=(5, 2))


def policy_of_scores(temperature=1.0):
    """Context 1.0 scores each item by its only feature, so that scores can be given by hand."""
    model = opl.TwoTower(torch.nn.Identity(), torch.nn.Identity())
    return opl.TwoTowerPolicy(model, temperature)


def own_towers(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return opl.TwoTower(torch.nn.Linear(3, 4), torch.nn.Sequential(torch.nn.Linear(2, 4)))


# ---- probabilities


def test_probabilities_are_the_softmax_of_scores_over_temperature(policy, context, items):
    scores = policy.scores(context, items).astype(float)
    weights = np.exp(scores / 0.1)
    expected = weights / weights.sum(axis=1, keepdims=True)
    pi = policy.predict_proba(context, items)
    np.testing.assert_allclose(pi, expected, rtol=1e-12)
    assert pi.dtype == np.float64


def test_scores_are_inner_products_of_the_embeddings(policy, context, items):
    expected = policy.embed_context(context) @ policy.embed_items(items).T
    np.testing.assert_allclose(policy.scores(context, items), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("low", [-1e4, 0.0])
def test_probabilities_sum_to_1_over_many_items_with_huge_scores(low):
    items = np.linspace(low, 1e4, 100_000)[:, None]
    pi = policy_of_scores().predict_proba(np.ones((1, 1)), items)
    assert np.isfinite(pi).all() and (pi >= 0).all()
    assert pi.sum() == pytest.approx(1, abs=1e-12)
    assert pi.argmax() == 99_999


def test_equal_scores_of_many_items_are_uniform_to_float64():
    pi = policy_of_scores().predict_proba(np.ones((1, 1)), np.full((100_000, 1), 1e4))
    np.testing.assert_allclose(pi, 1e-5, rtol=1e-9)


def test_low_temperature_is_greedy_and_high_is_uniform(policy, context, items):
    greedy = policy.at_temperature(0).predict_proba(context, items)
    cold = policy.at_temperature(1e-9).predict_proba(context, items)
    np.testing.assert_allclose(cold, greedy, atol=1e-9)
    hot = policy.at_temperature(1e9).predict_proba(context, items)
    np.testing.assert_allclose(hot, 1 / 5, atol=1e-6)


def test_temperature_0_puts_all_probability_on_the_best_item(policy, context, items):
    pi = policy.at_temperature(0).predict_proba(context, items)
    assert ((pi == 0) | (pi == 1)).all()
    np.testing.assert_array_equal(pi.sum(axis=1), 1)
    np.testing.assert_array_equal(pi.argmax(axis=1), policy.greedy(context, items))


@pytest.mark.parametrize("n_items", [3, 100, 100_000])
def test_temperature_0_gives_ties_to_the_lowest_item_number_in_little_memory(n_items):
    cold = policy_of_scores(0)
    items = np.zeros((n_items, 1))
    items[1:] = 1.0
    pi = cold.predict_proba(np.ones((2, 1)), items)
    np.testing.assert_array_equal(pi.argmax(axis=1), 1)
    np.testing.assert_array_equal(cold.greedy(np.ones((2, 1)), items), 1)


def test_the_temperature_is_1_if_none_is_given(policy):
    assert opl.TwoTowerPolicy(policy.towers).temperature == 1


def test_at_temperature_shares_the_towers_and_leaves_the_policy(policy):
    other = policy.at_temperature(2)
    assert other.towers is policy.towers
    assert (policy.temperature, other.temperature) == (0.1, 2)


# ---- items that look the same


@pytest.fixture
def twins():
    """Sixty items, each twice or more, in no order."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 2))[rng.integers(60, size=200)]


@pytest.fixture
def visitors():
    return np.random.default_rng(1).normal(size=(2000, 3))


@pytest.fixture
def deep(policy):
    return opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 2, random_state=0), temperature=0)


def first_of(items):
    """The number of the first item that looks the same."""
    return np.array([int((items == item).all(axis=1).argmax()) for item in items])


@pytest.mark.parametrize("n_rows", [1, 7, 2000])
def test_a_greedy_policy_agrees_with_itself_where_items_are_twins(deep, twins, visitors, n_rows):
    context = visitors[:n_rows]
    chosen = deep.predict_proba(context, twins).argmax(axis=1)
    np.testing.assert_array_equal(first_of(twins)[chosen], chosen)
    np.testing.assert_array_equal(deep.greedy(context, twins), chosen)
    np.testing.assert_array_equal(deep.top_k(context, twins, 5)[:, 0], chosen)
    np.testing.assert_array_equal(deep.sample(context, twins)[0], chosen)
    index = opl.ItemIndex(deep.embed_items(twins))
    np.testing.assert_array_equal(index.search(deep.embed_context(context), 1)[0][:, 0], chosen)


@pytest.mark.parametrize("at_once", [600, 75, 1])
def test_a_log_of_a_greedy_policy_gives_that_policy_a_mean_weight_of_1(
    deep, twins, visitors, at_once
):
    parts = [visitors[i : i + at_once] for i in range(0, 600, at_once)]
    action = np.concatenate([deep.sample(part, twins)[0] for part in parts])
    log = opl.BanditFeedback(visitors[:600], action, np.zeros(600), np.ones(600), twins)
    assert log.support_report(deep).mean_weight == 1


def test_twins_have_equal_scores_and_probabilities_to_the_last_bit(deep, twins, visitors):
    first = first_of(twins)
    for n_rows in (1, 13):
        scores = deep.scores(visitors[:n_rows], twins)
        np.testing.assert_array_equal(scores, scores[:, first])
        pi = deep.at_temperature(1).predict_proba(visitors[:n_rows], twins)
        np.testing.assert_array_equal(pi, pi[:, first])


def test_equal_features_are_equal_where_their_zeros_have_signs(deep):
    items = np.array([[0.0, 1.0], [-0.0, 1.0]])
    assert len(np.unique(deep.embed_items(items), axis=0)) == 1


def test_towers_that_hand_out_their_weights_keep_them():
    table = torch.nn.Embedding(3, 2).requires_grad_(False).weight

    class Table(torch.nn.Module):
        def forward(self, features):
            return table

    policy = opl.TwoTowerPolicy(opl.TwoTower(torch.nn.Linear(3, 2), Table()))
    before = table.clone()
    embedded = policy.embed_items(np.ones((3, 1)))
    np.testing.assert_array_equal(embedded, embedded[[0, 0, 0]])
    assert torch.equal(table, before)


# ---- sampling


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_sampled_frequencies_are_the_probabilities(policy, items, temperature):
    n, served = 20_000, policy.at_temperature(temperature)
    one_context = np.array([[0.5, -1.0, 2.0]])
    pi = served.predict_proba(one_context, items)[0]
    action, _ = served.sample(np.repeat(one_context, n, axis=0), items, random_state=4)
    frequency = np.bincount(action, minlength=5) / n
    assert (np.abs(frequency - pi) <= 4 * np.sqrt(pi * (1 - pi) / n) + 1e-12).all()


def test_sampled_pscore_is_the_predicted_probability(policy, context, items):
    action, pscore = policy.sample(context, items)
    pi = policy.predict_proba(context, items)
    np.testing.assert_allclose(pscore, pi[np.arange(8), action], rtol=1e-9)


def test_what_is_sampled_makes_a_log_with_a_clean_bill(policy):
    rng = np.random.default_rng(3)
    context, items = rng.normal(size=(3000, 3)), rng.normal(size=(5, 2))
    served = policy.at_temperature(1)
    action, pscore = served.sample(context, items, random_state=0)
    log = opl.BanditFeedback(context, action, np.zeros(3000), pscore, items)
    assert log.support_report(opl.uniform()).findings == []
    assert log.support_report(served).ess == pytest.approx(3000)


def test_sampling_follows_random_state(policy, items):
    context = np.zeros((100, 3))
    one, same, other = (policy.sample(context, items, random_state=s)[0] for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_requests_without_a_seed_share_no_noise(policy, items):
    """One request a call, as in serving."""
    visitor, served = np.zeros((1, 3)), policy.at_temperature(10)
    shown = {int(served.sample(visitor, items)[0][0]) for _ in range(100)}
    assert len(shown) > 1
    seeded = {int(served.sample(visitor, items, random_state=3)[0][0]) for _ in range(100)}
    assert len(seeded) == 1


def test_rows_of_one_context_are_drawn_independently(policy, items):
    action = policy.at_temperature(10).sample(np.zeros((200, 3)), items, random_state=0)[0]
    assert set(action) == {0, 1, 2, 3, 4}


def test_sampling_at_temperature_0_is_greedy_with_certainty(policy, context, items):
    action, pscore = policy.at_temperature(0).sample(context, items)
    np.testing.assert_array_equal(action, policy.greedy(context, items))
    np.testing.assert_array_equal(pscore, 1)


@pytest.mark.parametrize("temperature", [0, 0.1])
def test_sampling_in_chunks_draws_the_same(policy, context, items, temperature, small_chunks):
    served = policy.at_temperature(temperature)
    whole = served.sample(context, items, random_state=0)
    small_chunks()
    parts = served.sample(context, items, random_state=0)
    np.testing.assert_array_equal(parts[0], whole[0])
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-5)


# ---- ranking


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_is_a_sort_of_the_scores(policy, context, items, k):
    expected = np.argsort(-policy.scores(context, items), axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(policy.top_k(context, items, k), expected)
    np.testing.assert_array_equal(policy.greedy(context, items), expected[:, 0])


def test_top_k_gives_ties_in_the_order_of_item_numbers():
    items = np.array([1.0, 2.0, 1.0, 2.0, 1.0])[:, None]
    ranked = policy_of_scores().top_k(np.ones((1, 1)), items, k=4)
    assert ranked.tolist() == [[1, 3, 0, 2]]


def test_an_index_of_the_embeddings_serves_the_same_items(policy, context, items):
    index = opl.ItemIndex(policy.embed_items(items))
    found, scores = index.search(policy.embed_context(context), 3)
    np.testing.assert_array_equal(found, policy.top_k(context, items, 3))
    expected = np.take_along_axis(policy.scores(context, items), found, axis=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-7)


# ---- new items


def test_new_items_leave_the_ratios_of_old_ones(policy, context, items):
    new = np.vstack([items, [[3.0, -2.0], [0.1, 0.2]]])
    old_pi, new_pi = policy.predict_proba(context, items), policy.predict_proba(context, new)
    np.testing.assert_allclose(new_pi[:, :5] / new_pi[:, :1], old_pi / old_pi[:, :1], rtol=1e-5)
    assert (new_pi[:, 5:] > 0).all()


def test_the_order_of_the_items_does_not_matter(policy, context, items):
    order = np.array([4, 2, 0, 1, 3])
    np.testing.assert_allclose(
        policy.predict_proba(context, items[order]),
        policy.predict_proba(context, items)[:, order],
        rtol=1e-5,
    )


def test_a_row_does_not_depend_on_the_other_rows_even_with_batch_statistics(context, items):
    towers = [torch.nn.Sequential(torch.nn.Linear(w, 4), torch.nn.BatchNorm1d(4)) for w in (3, 2)]
    policy = opl.TwoTowerPolicy(opl.TwoTower(*towers).train())
    together = policy.predict_proba(context, items)
    alone = [policy.predict_proba(context[i : i + 1], items)[0] for i in range(8)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


@pytest.mark.parametrize("mode", [True, False])
def test_looking_leaves_each_tower_in_its_own_mode(mode, policy, context, items):
    policy.towers.context_tower.train(mode)
    policy.towers.action_tower.train(not mode)
    policy.predict_proba(context, items)
    policy.embed_items(items)
    assert policy.towers.context_tower.training == mode
    assert policy.towers.action_tower.training != mode


def test_frozen_parts_of_a_tower_stay_frozen(context, items):
    towers = [torch.nn.Sequential(torch.nn.Linear(w, 4), torch.nn.Dropout()) for w in (3, 2)]
    policy = opl.TwoTowerPolicy(opl.TwoTower(*towers).train())
    towers[0][1].eval()
    policy.predict_proba(context, items)
    modes = [[tower.training, *(layer.training for layer in tower)] for tower in towers]
    assert modes == [[True, True, False], [True, True, True]]


def test_a_tower_that_fails_keeps_its_mode(policy, items):
    def fail(*arguments):
        raise RuntimeError("out of memory")

    policy.towers.train().context_tower.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        policy.scores(np.ones((1, 3)), items)
    assert policy.towers.context_tower.training


def test_diverged_weights_are_an_error_and_no_choice(policy, context, items):
    with torch.no_grad():
        policy.towers.context_tower[0].weight.fill_(float("nan"))
    message = "no finite embedding for row 0 of context: .* did training diverge"
    for temperature in (0, 1):
        with pytest.raises(ValueError, match=message):
            policy.at_temperature(temperature).predict_proba(context, items)


def test_predictions_touch_neither_inputs_nor_global_generators(policy, context, items):
    before = torch.get_rng_state(), context.copy(), items.copy()
    policy.predict_proba(context, items)
    policy.sample(context, items)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(context, before[1])
    np.testing.assert_array_equal(items, before[2])


def test_no_contexts_give_no_rows(policy, items):
    nobody = np.empty((0, 3))
    assert policy.predict_proba(nobody, items).shape == (0, 5)
    assert policy.top_k(nobody, items, 2).shape == (0, 2)
    assert [len(part) for part in policy.sample(nobody, items)] == [0, 0]


# ---- save and load


@pytest.mark.parametrize("temperature", [0, 0.3, 1, np.float32(0.5)])
def test_a_loaded_policy_is_the_saved_one(policy, context, items, tmp_path, temperature):
    saved = policy.at_temperature(temperature)
    saved.save(tmp_path / "policy.pt")
    loaded = opl.TwoTowerPolicy.load(tmp_path / "policy.pt")
    assert loaded.temperature == temperature
    np.testing.assert_array_equal(
        loaded.predict_proba(context, items), saved.predict_proba(context, items)
    )


def test_path_may_be_a_string(policy, tmp_path):
    policy.save(f"{tmp_path}/policy")
    assert repr(opl.TwoTowerPolicy.load(f"{tmp_path}/policy")) == repr(policy)


def test_a_trained_policy_is_saved_at_its_own_size(small_log, tmp_path):
    learner = opl.OffPolicyLearner("ips", epochs=1, hidden=(6,), dim_embedding=4)
    learner.fit(small_log).policy_.save(tmp_path / "trained")
    untrained = opl.TwoTower.mlp(3, 2, hidden=(6,), dim_embedding=4)
    opl.TwoTowerPolicy(untrained).save(tmp_path / "untrained")
    sizes = [(tmp_path / name).stat().st_size for name in ("trained", "untrained")]
    assert abs(sizes[0] - sizes[1]) < 500


def test_a_saved_file_holds_no_code(policy, tmp_path):
    policy.save(tmp_path / "policy")
    content = torch.load(tmp_path / "policy", weights_only=True)
    assert content["temperature"] == 0.1


class Bomb:
    """Unpickling it makes a folder: code that a loaded file must not run."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_loading_a_file_runs_none_of_its_code(tmp_path):
    torch.save({"weights": Bomb(tmp_path / "ran")}, tmp_path / "policy")
    with pytest.raises(ValueError, match="policy was not written by"):
        opl.TwoTowerPolicy.load(tmp_path / "policy")
    assert not (tmp_path / "ran").exists()


def test_saving_leaves_one_file_and_replaces_the_old_one(policy, tmp_path):
    path = tmp_path / "policy"
    policy.save(path)
    policy.at_temperature(7).save(path)
    assert list(tmp_path.iterdir()) == [path]
    assert opl.TwoTowerPolicy.load(path).temperature == 7


def test_a_crash_while_saving_keeps_the_old_file_and_no_other(policy, tmp_path, monkeypatch):
    path = tmp_path / "policy"
    policy.save(path)

    def disk_full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        policy.at_temperature(7).save(path)
    assert opl.TwoTowerPolicy.load(path).temperature == 0.1
    assert list(tmp_path.iterdir()) == [path]


def test_towers_of_ones_own_are_loaded_into_a_copy_of_the_model_given(context, items, tmp_path):
    saved, given = opl.TwoTowerPolicy(own_towers(0), 0.5), own_towers(1)
    saved.save(tmp_path / "policy")
    before = {name: weights.clone() for name, weights in given.state_dict().items()}
    loaded = opl.TwoTowerPolicy.load(tmp_path / "policy", towers=given)
    np.testing.assert_array_equal(
        loaded.predict_proba(context, items), saved.predict_proba(context, items)
    )
    assert all(torch.equal(given.state_dict()[name], old) for name, old in before.items())


def test_towers_of_ones_own_cannot_be_loaded_without_them(tmp_path):
    opl.TwoTowerPolicy(own_towers(0)).save(tmp_path / "policy")
    with pytest.raises(ValueError, match="saved from towers of your own: pass an untrained copy"):
        opl.TwoTowerPolicy.load(tmp_path / "policy")


def test_a_model_of_another_architecture_is_rejected(policy, tmp_path):
    policy.save(tmp_path / "policy")
    with pytest.raises(ValueError, match="policy holds the weights of other towers than these"):
        opl.TwoTowerPolicy.load(tmp_path / "policy", towers=own_towers(0))


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_policy_is_rejected(content, tmp_path):
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(ValueError, match=r"other was not written by TwoTowerPolicy.save"):
        opl.TwoTowerPolicy.load(tmp_path / "other")


@pytest.mark.parametrize("content", [{"weights": {}}, [1, 2]], ids=str)
def test_another_file_of_torch_is_rejected(content, tmp_path):
    torch.save(content, tmp_path / "other")
    with pytest.raises(ValueError, match=r"other was not written by TwoTowerPolicy.save"):
        opl.TwoTowerPolicy.load(tmp_path / "other")


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="policy"):
        opl.TwoTowerPolicy.load(tmp_path / "policy")


# ---- obp


def test_obp_takes_the_policy_as_it_is(policy, small_log):
    ope = pytest.importorskip("obp.ope")
    action_dist = policy.to_obp(small_log.context, small_log.action_context)
    assert action_dist.shape == (120, 4, 1)
    estimate = ope.OffPolicyEvaluation(
        bandit_feedback=small_log[:].to_obp() | {"position": None},
        ope_estimators=[ope.InverseProbabilityWeighting()],
    ).estimate_policy_values(action_dist=action_dist)
    assert estimate["ipw"] == pytest.approx(
        opl.evaluate(policy, small_log, ["ips"]).policy_value["ips"]
    )


# ---- what a policy rejects


def test_only_two_towers_make_a_policy():
    with pytest.raises(TypeError, match="towers must be a TwoTower; got Linear"):
        opl.TwoTowerPolicy(torch.nn.Linear(2, 2))


class Scaled(opl.TwoTower):
    """Its forward is not what the towers say."""

    def forward(self, context, action_context):
        return 3 * super().forward(context, action_context)


def test_a_forward_of_ones_own_is_refused(small_log):
    """It would not be called."""
    towers = Scaled(torch.nn.Linear(3, 4), torch.nn.Linear(2, 4))
    message = "Scaled has a forward of its own, .*Move what it does into context_tower and action_t"
    with pytest.raises(TypeError, match=message):
        opl.TwoTowerPolicy(towers)
    with pytest.raises(TypeError, match=message):
        opl.OffPolicyLearner("ips", towers=towers).fit(small_log)


def test_a_subclass_that_only_names_its_towers_is_welcome(small_log):
    class Named(opl.TwoTower):
        def __init__(self):
            super().__init__(torch.nn.Linear(3, 4), torch.nn.Linear(2, 4))

    learner = opl.OffPolicyLearner("ips", epochs=1, towers=Named()).fit(small_log)
    assert isinstance(learner.policy_.towers, Named)


@pytest.mark.parametrize("temperature", [-0.1, float("nan"), float("inf")])
def test_temperature_must_be_finite_and_not_negative(policy, temperature):
    message = f"temperature must be a finite number of at least 0; got {temperature}"
    with pytest.raises(ValueError, match=message):
        policy.at_temperature(temperature)


def test_a_temperature_too_small_to_divide_by_is_refused(policy, context, items):
    with pytest.raises(ValueError, match=r"temperature must be .*at least 1e-38; got 1e-320"):
        policy.at_temperature(1e-320)
    pi = policy.at_temperature(1e-38).predict_proba(context, items)
    np.testing.assert_array_equal(pi, policy.at_temperature(0).predict_proba(context, items))


@pytest.mark.parametrize("call", ["predict_proba", "scores", "greedy", "sample", "to_obp"])
@pytest.mark.parametrize(
    ("context", "items", "message"),
    [
        (np.ones((1, 5)), np.ones((4, 2)), "context has 5 features, .* for 3; encode new data"),
        (np.ones((1, 3)), np.ones((4, 3)), "action_context has 3 features, .* made for 2"),
        (np.ones(3), np.ones((4, 2)), r"context must have 2 dimensions; got shape \(3,\)"),
        (np.ones((1, 3)), np.ones((1, 4, 2)), "action_context must have 2 dimensions"),
        (np.array([[1.0, 1, 1], [1, np.nan, 1]]), np.ones((4, 2)), "context must be finite; row 1"),
        (np.ones((1, 3)), np.full((4, 2), np.inf), "action_context must be finite; row 0"),
        (np.ones((1, 3)), np.ones((0, 2)), "action_context has no rows: there is no item to show"),
    ],
)
def test_features_the_towers_do_not_know_are_rejected(policy, call, context, items, message):
    with pytest.raises(ValueError, match=message):
        getattr(policy, call)(context, items)


def test_repr_counts_weights():
    model = opl.TwoTower.mlp(50, 50)
    assert repr(opl.TwoTowerPolicy(model, 0.5)) == "TwoTowerPolicy(70,800 weights, temperature=0.5)"


def test_items_are_encoded_once_for_all_chunks(small_chunks):
    world = opl.SyntheticWorld(n_actions=6, dim_context=4, dim_action_context=3, n_eval_contexts=50)
    policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(4, 3, random_state=0))
    log = world.sample(40, random_state=0)
    whole = world.policy_value(policy), opl.evaluate(policy, log, ["ips"]).policy_value["ips"]
    calls = []
    policy.towers.action_tower.register_forward_hook(lambda *arguments: calls.append(1))
    small_chunks()
    np.testing.assert_allclose(world.policy_value(policy), whole[0])
    np.testing.assert_allclose(opl.evaluate(policy, log, ["ips"]).policy_value["ips"], whole[1])
    policy.sample(log.context, log.action_context)
    assert len(calls) == 3


def test_for_items_encodes_other_items_as_usual():
    policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(4, 3, random_state=0))
    rng = np.random.default_rng(0)
    context, items, others = rng.normal(size=(5, 4)), rng.normal(size=(7, 3)), np.eye(3)
    served = policy.for_items(items)
    for catalogue in (items, others):
        expected = policy.predict_proba(context, catalogue)
        np.testing.assert_array_equal(served.predict_proba(context, catalogue), expected)
