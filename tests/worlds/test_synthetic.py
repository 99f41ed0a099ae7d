"""Synthetic worlds: the rows of obp, exact values, frequencies, moments."""

import itertools
import tracemalloc

import numpy as np
import pytest

import opl_lib as opl
from opl_lib.protocols import KnownWorld

LOGGING_POLICIES = [
    opl.uniform(),
    opl.zipf(1.0),
    opl.epsilon_greedy(0.3),
    opl.epsilon_greedy_as_published(0.1),
    opl.softmax(0.5),
]
REWARD_FUNCTIONS = ["logistic", "logistic_as_published"]


def make_world(**settings):
    default = {"n_actions": 6, "dim_context": 4, "dim_action_context": 4, "n_eval_contexts": 40}
    return opl.SyntheticWorld(**{**default, **settings})


def logit(q):
    return np.log(q / (1 - q))


# ---- the same rows as obp


@pytest.mark.parametrize("reward_function", REWARD_FUNCTIONS)
@pytest.mark.parametrize("logging_policy", LOGGING_POLICIES, ids=str)
def test_sample_draws_the_rows_of_obp_to_the_bit(logging_policy, reward_function):
    world = make_world(logging_policy=logging_policy, reward_function=reward_function)
    ours = world.sample(300, random_state=12)
    theirs = world.to_obp(random_state=12).obtain_batch_bandit_feedback(n_rounds=300)
    for name in ("context", "action", "reward", "pscore", "action_context"):
        np.testing.assert_array_equal(getattr(ours, name), theirs[name], err_msg=name)
    np.testing.assert_array_equal(theirs["expected_reward"], world.expected_reward(ours.context))


def test_obp_computes_the_same_policy_value():
    world = make_world()
    pi = opl.softmax(0.3)(world.eval_context, world.action_context)
    theirs = world.to_obp().calc_ground_truth_policy_value(
        expected_reward=world.expected_reward(world.eval_context), action_dist=pi[:, :, None]
    )
    assert world.policy_value(opl.softmax(0.3)) == pytest.approx(theirs, abs=1e-12)


# ---- values


def test_policy_value_equals_the_loop_over_contexts_and_items():
    world, policy = make_world(), opl.softmax(0.3)
    total = 0.0
    for x in world.eval_context:
        pi, q = policy(x[None], world.action_context)[0], world.expected_reward(x[None])[0]
        total += sum(pi[a] * q[a] for a in range(6))
    assert world.policy_value(policy) == pytest.approx(total / 40, abs=1e-12)


def test_policy_value_takes_other_contexts():
    world, policy = make_world(), opl.softmax(0.3)
    context = world.eval_context[:7]
    q = world.expected_reward(context)
    expected = (policy(context, world.action_context) * q).sum(axis=1).mean()
    assert world.policy_value(policy, context) == pytest.approx(expected, abs=1e-12)


def test_policy_value_takes_a_policy_object():
    world = make_world()
    policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(4, 4, hidden=(), dim_embedding=2, random_state=0))
    assert world.policy_value(policy) == world.policy_value(policy.predict_proba)


def test_reference_values_equal_brute_force_and_are_in_order():
    world = make_world(logging_policy=opl.epsilon_greedy(0.2))
    q = world.expected_reward(world.eval_context)
    pi_0 = world.logging_policy(world.eval_context, world.action_context)
    references = world.reference_values()
    assert references == pytest.approx(
        {
            "logging": (pi_0 * q).sum(axis=1).mean(),
            "uniform": q.mean(),
            "best_constant_item": max(q[:, a].mean() for a in range(6)),
            "optimum": q.max(axis=1).mean(),
        },
        abs=1e-12,
    )
    assert references["uniform"] < references["best_constant_item"] < references["optimum"]


def test_chunks_change_neither_values_nor_rows(small_chunks):
    world = make_world(logging_policy=opl.softmax(0.5))
    whole = world.sample(50, random_state=1), world.reference_values()
    small_chunks()
    parts = world.sample(50, random_state=1), world.reference_values()
    assert parts[1] == pytest.approx(whole[1], abs=1e-12)
    for name in ("context", "action", "reward"):
        np.testing.assert_array_equal(getattr(parts[0], name), getattr(whole[0], name))
    np.testing.assert_allclose(parts[0].pscore, whole[0].pscore, rtol=1e-12)


def test_no_array_of_all_rows_and_items_is_made(small_chunks):
    """A policy is asked for a few rows at a time, so that a large catalogue fits in memory."""
    rows_asked = []

    def policy(context, action_context):
        rows_asked.append(len(context))
        return np.full((len(context), 6), 1 / 6)

    small_chunks()
    world = make_world(logging_policy=policy)
    world.sample(10, random_state=0)
    world.policy_value(policy)
    assert max(rows_asked) == 3 and sum(rows_asked) == 50


# ---- a large catalogue logged without regard to the context


@pytest.mark.parametrize(("policy", "n_shown"), [(opl.uniform(), 900), (opl.zipf(), 500)], ids=str)
def test_a_policy_without_context_draws_the_same_rounds_by_one_row_of_probabilities(
    policy, n_shown
):
    """A function that returns its probabilities takes the long way, the policy the short one."""

    def long_way(context, action_context):
        return policy(context, action_context)

    size = {"n_actions": 997, "n_eval_contexts": 1}
    short = make_world(**size, logging_policy=policy).sample(3000, random_state=4)
    long = make_world(**size, logging_policy=long_way).sample(3000, random_state=4)
    for name in ("context", "action", "reward", "pscore"):
        np.testing.assert_array_equal(getattr(short, name), getattr(long, name), err_msg=name)
    assert len(np.unique(short.action)) > n_shown


@pytest.mark.parametrize("policy", [opl.uniform(), opl.zipf()], ids=str)
def test_a_log_without_contexts_in_its_policy_needs_no_array_of_rounds_by_items(policy):
    size = {"n_actions": 200_000, "dim_context": 2, "dim_action_context": 2}
    world = make_world(**size, logging_policy=policy)
    for grown in (world, world.with_new_items(5)):
        tracemalloc.start()
        grown.sample(2000, random_state=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20e6  # rounds by items are 3.2e9 bytes; one row of probabilities 1.6e6


# ---- frequencies


@pytest.mark.parametrize("logging_policy", LOGGING_POLICIES, ids=str)
def test_a_long_log_is_what_world_and_logging_policy_say(logging_policy):
    world = make_world(logging_policy=logging_policy)
    log, n = world.sample(20_000, random_state=5), 20_000
    pi_0 = logging_policy(log.context, log.action_context)
    q = world.expected_reward(log.context)
    np.testing.assert_allclose(log.pscore, pi_0[np.arange(n), log.action], rtol=1e-12)

    value = world.policy_value(logging_policy, log.context)
    assert abs(log.reward.mean() - value) < 4 * log.reward.std() / np.sqrt(n)
    for item in range(6):
        shown = log.action == item
        error = np.sqrt((pi_0[:, item] * (1 - pi_0[:, item])).sum()) / n
        assert abs(shown.mean() - pi_0[:, item].mean()) < 4 * error
        q_item = q[shown, item]
        error = np.sqrt((q_item * (1 - q_item)).sum()) / shown.sum()
        assert abs(log.reward[shown].mean() - q_item.mean()) < 4 * error
    # rewards follow q row by row: low where q is low, high where it is high
    q_logged = q[np.arange(n), log.action]
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        rows = (q_logged >= low) & (q_logged < high)
        error = np.sqrt((q_logged[rows] * (1 - q_logged[rows])).sum()) / rows.sum()
        assert abs(log.reward[rows].mean() - q_logged[rows].mean()) < 4 * error


def test_contexts_are_standard_normal():
    context = make_world().sample(20_000, random_state=0).context
    np.testing.assert_allclose(context.mean(axis=0), 0, atol=4 / np.sqrt(20_000))
    np.testing.assert_allclose(np.cov(context.T), np.eye(4), atol=4 * np.sqrt(2 / 20_000))


# ---- the reward function


def raw_logit(seed, context, n_actions):
    """The bilinear logit before it is standardised, term by term."""
    width = context.shape[1]
    rng = np.random.default_rng(seed)
    items = rng.uniform(size=(n_actions, width))
    bilinear = rng.uniform(-1, 1, size=(width + 1, width + 1))
    theta_x, theta_a = rng.uniform(-1, 1, size=(2, width + 1))
    x = np.column_stack([np.ones(len(context)), context])
    a = np.column_stack([np.ones(n_actions), items])
    return x @ bilinear @ a.T + (x @ theta_x)[:, None] + a @ theta_a


@pytest.mark.parametrize("seed", [0, 3])
def test_logit_is_the_bilinear_form_standardised(seed):
    context = np.random.default_rng(1).normal(size=(100_000, 4))
    raw = raw_logit(seed, context, 6)
    mean, std = raw.mean(), raw.std()
    standardised = logit(make_world(random_state=seed).expected_reward(context))
    np.testing.assert_allclose(standardised, (raw - mean) / std, atol=0.03)
    published = make_world(random_state=seed, reward_function="logistic_as_published")
    # in the published form the mean is divided by the standard deviation, the logit is not
    shift = (raw - logit(published.expected_reward(context))).mean()
    assert shift == pytest.approx(mean / std, abs=0.02)
    spread = (raw - logit(published.expected_reward(context))).std()
    assert spread < 1e-6


@pytest.mark.parametrize("dim", [2, 50])
def test_logistic_logit_has_mean_0_and_standard_deviation_1(dim):
    world = make_world(dim_context=dim, dim_action_context=dim)
    z = logit(world.expected_reward(np.random.default_rng(0).normal(size=(20_000, dim))))
    for terms, expected in ((z.mean(axis=1), 0), (np.square(z).mean(axis=1), 1)):
        assert abs(terms.mean() - expected) < 4 * terms.std() / np.sqrt(20_000)


def test_published_world_is_saturated_at_50_dimensions_and_the_other_is_not():
    def share_saturated(reward_function):
        world = make_world(dim_context=50, dim_action_context=50, reward_function=reward_function)
        q = world.expected_reward(np.random.default_rng(0).normal(size=(2000, 50)))
        return ((q < 0.01) | (q > 0.99)).mean()

    assert share_saturated("logistic_as_published") > 0.6
    assert share_saturated("logistic") < 0.01


def test_expected_reward_is_a_probability_however_far_the_context():
    q = make_world().expected_reward(np.full((1, 4), 1e6))
    assert ((q >= 0) & (q <= 1)).all()


def test_scale_multiplies_the_standardised_logit():
    context = np.random.default_rng(0).normal(size=(5, 4))
    for reward_function in REWARD_FUNCTIONS:
        once = make_world(reward_function=reward_function)
        three_times = make_world(reward_function=reward_function, scale=3.0)
        np.testing.assert_allclose(
            logit(three_times.expected_reward(context)), 3 * logit(once.expected_reward(context))
        )


def test_scale_runs_from_pure_noise_to_certainty():
    flat, sharp = (make_world(scale=s).expected_reward(np.ones((1, 4))) for s in (1e-6, 1e6))
    np.testing.assert_allclose(flat, 0.5, atol=1e-5)
    assert np.minimum(sharp, 1 - sharp).max() < 1e-12 and 0 < sharp.mean() < 1


def slopes(world):
    """The context coefficients of every item, (n_actions, dim_context), from q alone."""
    context = np.vstack([np.zeros(world.dim_context), np.eye(world.dim_context)])
    z = logit(world.expected_reward(context))
    return (z[1:] - z[0]).T


def share_explained(world):
    """R² of a linear regression of the items' coefficients on the items' features."""
    y = slopes(world) - slopes(world).mean(axis=0)
    features = np.column_stack([np.ones(world.n_actions), world.action_context])
    residual = y - features @ np.linalg.lstsq(features, y, rcond=None)[0]
    return 1 - np.square(residual).sum() / np.square(y).sum()


@pytest.mark.parametrize("unexplained", [0.0, 0.3, 1.0])
def test_item_features_explain_all_but_the_stated_share(unexplained):
    world = make_world(n_actions=4000, unexplained=unexplained)
    assert share_explained(world) == pytest.approx(1 - unexplained, abs=0.02)


def test_own_effects_leave_what_sets_items_apart_as_large_as_it_was():
    worlds = [make_world(n_actions=4000, unexplained=share) for share in (0.0, 0.5, 1.0)]
    spreads = [slopes(world).std(axis=0) for world in worlds]
    np.testing.assert_allclose(spreads[1:], [spreads[0]] * 2, rtol=0.05)
    common = [slopes(world).mean(axis=0) for world in worlds]
    np.testing.assert_allclose(common[1:], [common[0]] * 2, atol=0.03)


def test_own_effects_are_drawn_anew_for_new_items_and_other_seeds():
    world = make_world(n_actions=500, unexplained=1.0)
    old, new = np.split(slopes(world.with_new_items(500)), 2)
    elsewhere = slopes(make_world(n_actions=500, unexplained=1.0, random_state=1))
    for other in (new, elsewhere):
        for feature in range(4):
            correlation = np.corrcoef(old[:, feature], other[:, feature])[0, 1]
            assert abs(correlation) < 4.5 / np.sqrt(500)


# ---- new items


def test_new_items_follow_the_old_ones_which_stay_as_they_were():
    old = make_world(unexplained=0.4)
    new = old.with_new_items(3)
    assert (old.n_actions, new.n_actions) == (6, 9)
    assert new.is_new.tolist() == [False] * 6 + [True] * 3
    np.testing.assert_array_equal(new.action_context[:6], old.action_context)
    np.testing.assert_array_equal(new.eval_context, old.eval_context)
    np.testing.assert_allclose(
        new.expected_reward(old.eval_context)[:, :6], old.expected_reward(old.eval_context)
    )
    assert ((new.action_context[6:] >= 0) & (new.action_context[6:] < 1)).all()
    assert len(np.unique(new.action_context[:, 0])) == 9


def test_new_items_have_the_same_reward_function():
    """Without own effects, a logit is linear in the item features: old items tell all of it."""
    world = make_world(n_actions=20).with_new_items(5)
    z = logit(world.expected_reward(world.eval_context))
    features = np.column_stack([np.ones(25), world.action_context])
    weights = np.linalg.lstsq(features[:20], z[:, :20].T, rcond=None)[0]
    np.testing.assert_allclose(features[20:] @ weights, z[:, 20:].T, atol=1e-8)


def test_own_effects_of_new_items_cannot_be_told_from_their_features():
    world = make_world(n_actions=50, unexplained=1.0).with_new_items(4000)
    z = slopes(world)[50:] - slopes(world)[50:].mean(axis=0)
    features = world.action_context[50:] - world.action_context[50:].mean(axis=0)
    correlation = features.T @ z / len(z) / np.outer(features.std(axis=0), z.std(axis=0))
    assert np.abs(correlation).max() < 4.5 / np.sqrt(4000)


def test_adding_more_items_adds_to_the_same_ones():
    few, many = make_world().with_new_items(2), make_world().with_new_items(5)
    np.testing.assert_array_equal(few.action_context, many.action_context[:8])
    again = few.with_new_items(1)
    assert again.is_new.sum() == 3 and len(np.unique(again.action_context[:, 0])) == 9


@pytest.mark.parametrize("logging_policy", LOGGING_POLICIES, ids=str)
def test_a_log_never_shows_new_items_and_has_the_rounds_of_the_old_world(logging_policy):
    old = make_world(logging_policy=logging_policy)
    new = old.with_new_items(3).with_new_items(2)
    for name in ("context", "action", "reward", "pscore"):
        one, other = (getattr(w.sample(500, random_state=2), name) for w in (old, new))
        np.testing.assert_allclose(one, other, rtol=1e-12, err_msg=name)
    assert new.sample(500).action.max() == 5
    assert new.reference_values()["logging"] == pytest.approx(old.reference_values()["logging"])


def test_new_items_raise_the_optimum():
    old = make_world()
    q = old.with_new_items(3).expected_reward(old.eval_context)
    references = old.with_new_items(3).reference_values()
    assert references["optimum"] == pytest.approx(q.max(axis=1).mean())
    assert references["optimum"] > old.reference_values()["optimum"]


def test_value_by_group_equals_the_sum_by_hand(small_chunks):
    world, policy = make_world().with_new_items(2), opl.softmax(0.3)
    pi = policy(world.eval_context, world.action_context)
    q = world.expected_reward(world.eval_context)
    small_chunks()
    table = world.value_by_group(policy, np.array(list("aabbbacc")))
    for label, items in {"a": [0, 1, 5], "b": [2, 3, 4], "c": [6, 7]}.items():
        share, value = pi[:, items].sum() / 40, (pi * q)[:, items].sum() / 40
        assert table.loc[label].tolist() == pytest.approx([share, value, value / share])
    assert list(table.columns) == ["share", "value", "mean_reward"]
    assert table.share.sum() == pytest.approx(1)
    assert table.value.sum() == pytest.approx(world.policy_value(policy))


def test_a_group_that_is_never_shown_has_no_mean_reward():
    world = make_world().with_new_items(2)
    never = world.value_by_group(world.logging_policy, world.is_new).loc[True]
    assert (never.share, never.value) == (0, 0) and np.isnan(never.mean_reward)


def test_value_by_group_takes_other_contexts_and_policy_objects():
    world = make_world()
    policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(4, 4, hidden=(), dim_embedding=2, random_state=0))
    context = world.eval_context[:7]
    total = world.value_by_group(policy, np.zeros(6), context).value.sum()
    assert total == pytest.approx(world.policy_value(policy, context))


# ---- some items of each context, and lists


def test_expected_reward_of_some_items_is_that_of_all_items_there():
    world, rng = make_world(), np.random.default_rng(0)
    q = world.expected_reward(world.eval_context)
    one, lists = rng.integers(0, 6, 40), rng.integers(0, 6, (40, 3))
    got = world.expected_reward(world.eval_context, one)
    np.testing.assert_allclose(got, q[np.arange(40), one], rtol=1e-12)
    got = world.expected_reward(world.eval_context, lists)
    np.testing.assert_allclose(got, np.take_along_axis(q, lists, axis=1), rtol=1e-12)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(39, int), r"action must have shape \(n,\) or \(n, k\), with n = 40 .*\(39,\)"),
        (np.zeros((40, 1, 1), int), r"action must have shape .*\(40, 1, 1\)"),
        (np.zeros(40), "action must hold integers; got dtype float64"),
        (np.full(40, 6), r"action must be in \[0, 5\], .*row 0 has 6"),
        (np.full((40, 2), -1), r"action must be in \[0, 5\], .*row 0, column 0 has -1"),
    ],
)
def test_items_that_are_none_are_rejected(action, message):
    world = make_world()
    with pytest.raises(ValueError, match=message):
        world.expected_reward(world.eval_context, action)


def test_a_cascade_is_the_chance_that_some_item_pleases(small_chunks):
    """Enumerates every outcome of three independent tastes."""
    world = make_world()
    lists = np.array([np.random.default_rng(row).permutation(6)[:3] for row in range(40)])
    q = np.take_along_axis(world.expected_reward(world.eval_context), lists, axis=1)
    clicked = 0.0
    for outcome in itertools.product([0, 1], repeat=3):
        chance = np.where(outcome, q, 1 - q).prod(axis=1)
        clicked += chance * any(outcome)
    small_chunks()
    assert world.list_value(lists) == pytest.approx(clicked.mean())
    assert world.list_value(lists[:, ::-1]) == pytest.approx(clicked.mean())
    assert world.list_value(lists, user="best") == pytest.approx(q.max(axis=1).mean())


def test_lists_of_one_are_a_policy():
    world = make_world()
    item = np.arange(40) % 6
    value = world.policy_value(lambda context, items: np.eye(6)[item])
    for user in ("cascade", "best"):
        assert world.list_value(item[:, None], user) == pytest.approx(value)


def test_list_value_takes_other_contexts():
    world = make_world()
    lists, context = np.array([[1, 2], [3, 0]]), world.eval_context[5:7]
    q = world.expected_reward(context)
    expected = (1 - (1 - q[0, 1]) * (1 - q[0, 2]) + 1 - (1 - q[1, 3]) * (1 - q[1, 0])) / 2
    assert world.list_value(lists, context=context) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("items", "user", "message"),
    [
        (
            np.tile([0, 1], (40, 1)),
            "random",
            r"user must be one of \['cascade', 'best'\]; got 'random'",
        ),
        (np.zeros(40, int), "best", r"items must have shape \(n, k\), a list for each of the 40"),
        (np.tile([0, 1], (39, 1)), "best", r"items must have shape .*got \(39, 2\)"),
        (np.zeros((40, 0), int), "best", r"items must have shape .*got \(40, 0\)"),
        (np.tile([3, 1, 3], (40, 1)), "best", "the list of row 0 shows an item twice"),
    ],
)
def test_bad_lists_are_rejected(items, user, message):
    with pytest.raises(ValueError, match=message):
        make_world().list_value(items, user)


# ---- seeds


def fingerprint(world):
    log = world.sample(20)
    return [
        world.action_context,
        world.eval_context,
        world.expected_reward(world.eval_context),
        log.context,
        log.action,
        log.reward,
    ]


def test_one_seed_is_one_world():
    for one, other in zip(fingerprint(make_world()), fingerprint(make_world()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_seed_draws_what_it_always_drew():
    log = opl.SyntheticWorld(logging_policy=opl.softmax(1.0)).sample(12, random_state=3)
    assert log.action.tolist() == [2, 9, 1, 8, 7, 7, 2, 8, 4, 8, 1, 7]
    assert log.reward.tolist() == [0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0]
    large = opl.SyntheticWorld(n_actions=5000).sample(5, random_state=3)
    assert large.action.tolist() == [2260, 2674, 3454, 447, 2159]


@pytest.mark.parametrize("setting", [{"scale": 2.0}, {"unexplained": 0.5}])
def test_other_rewards_leave_items_and_contexts(setting):
    plain, other = make_world(), make_world(**setting)
    np.testing.assert_array_equal(plain.action_context, other.action_context)
    np.testing.assert_array_equal(plain.eval_context, other.eval_context)
    np.testing.assert_array_equal(plain.sample(50).action, other.sample(50).action)


def test_another_seed_is_another_world():
    pairs = zip(fingerprint(make_world()), fingerprint(make_world(random_state=1)), strict=True)
    assert not any(np.array_equal(one, other) for one, other in pairs)


def test_the_reward_function_and_logging_policy_do_not_change_the_items():
    other = make_world(reward_function="logistic_as_published", logging_policy=opl.softmax(1.0))
    np.testing.assert_array_equal(other.action_context, make_world().action_context)
    np.testing.assert_array_equal(other.eval_context, make_world().eval_context)


def test_samples_without_a_seed_continue_and_those_with_one_repeat():
    world = make_world()
    first, second = world.sample(10), world.sample(10)
    assert not np.array_equal(first.context, second.context)
    third, fourth = world.sample(10, random_state=3), world.sample(10, random_state=3)
    np.testing.assert_array_equal(third.context, fourth.context)


def test_a_seeded_sample_does_not_move_the_worlds_own_stream():
    world, other = make_world(), make_world()
    world.sample(10, random_state=3)
    np.testing.assert_array_equal(world.sample(10).context, other.sample(10).context)


def test_evaluation_contexts_are_never_those_of_a_log():
    world = make_world()
    logged = np.concatenate([world.sample(50).context, world.sample(50, random_state=0).context])
    assert not (logged[:, None] == world.eval_context[None]).all(axis=2).any()


# ---- what a world rejects


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"n_actions": 1}, "n_actions must be an integer of at least 2; got 1"),
        ({"n_actions": 2.0}, "n_actions must be an integer of at least 2; got 2.0"),
        ({"dim_context": 0}, "dim_context must be an integer of at least 1; got 0"),
        ({"dim_action_context": 0}, "dim_action_context must be an integer of at least 1; got 0"),
        ({"n_eval_contexts": 0}, "n_eval_contexts must be an integer of at least 1; got 0"),
        ({"random_state": -1}, "random_state must be an integer of at least 0; got -1"),
        ({"reward_function": "linear"}, "reward_function must be one of .*; got 'linear'"),
        ({"scale": 0}, "scale must be a finite number above 0; got 0"),
        ({"unexplained": -0.1}, "unexplained must be .*at least 0 and at most 1; got -0.1"),
        ({"unexplained": 1.1}, "unexplained must be .*at most 1; got 1.1"),
    ],
)
def test_bad_settings_of_a_world_are_rejected(setting, message):
    with pytest.raises(ValueError, match=message):
        make_world(**setting)


@pytest.mark.parametrize("n_new", [0, 1.5])
def test_at_least_one_item_is_new(n_new):
    with pytest.raises(ValueError, match=f"n_new must be an integer of at least 1; got {n_new}"):
        make_world().with_new_items(n_new)


@pytest.mark.parametrize("group", [np.zeros(5), np.zeros((6, 1))], ids=["short", "table"])
def test_groups_have_one_label_an_item(group):
    with pytest.raises(ValueError, match=r"one label an item, shape \(6,\)"):
        make_world().value_by_group(opl.uniform(), group)


@pytest.mark.parametrize("n_rounds", [0, -5, 1.5])
def test_a_sample_has_at_least_one_round(n_rounds):
    with pytest.raises(ValueError, match=f"n_rounds must be .*at least 1; got {n_rounds}"):
        make_world().sample(n_rounds)


@pytest.mark.parametrize("context", [np.ones((3, 5)), np.ones(4)], ids=["width", "one row"])
def test_contexts_of_another_shape_are_rejected(context):
    with pytest.raises(ValueError, match=r"context must have shape \(n, 4\)"):
        make_world().policy_value(opl.uniform(), context=context)


def test_logits_are_not_taken_for_probabilities():
    def logits(context, action_context):
        return context @ action_context.T

    world = make_world(logging_policy=logits)
    message = r"no probability distribution in row 0 .*Did it return logits\? Apply a softmax"
    with pytest.raises(ValueError, match=message):
        world.sample(5)
    with pytest.raises(ValueError, match=message):
        world.policy_value(logits)


def test_a_logging_policy_of_inner_products_needs_one_width():
    world = make_world(dim_action_context=3, logging_policy=opl.softmax(1.0))
    with pytest.raises(ValueError, match="contexts have 4 features and items 3"):
        world.sample(5)


def test_repr_shows_how_to_make_the_world_again():
    assert repr(make_world(logging_policy=opl.epsilon_greedy(0.1))) == (
        "SyntheticWorld(n_actions=6, dim_context=4, dim_action_context=4, "
        "reward_function='logistic', logging_policy=epsilon_greedy(epsilon=0.1), "
        "n_eval_contexts=40, random_state=0, scale=1, unexplained=0)"
    )
    assert repr(make_world(scale=0.5, unexplained=0.25).with_new_items(2)).endswith(
        "random_state=0, scale=0.5, unexplained=0.25).with_new_items(2)"
    )
    assert repr(make_world(click_rate=0.02)).endswith("unexplained=0, click_rate=0.02)")


# ---- worlds of one's own


class Coupons(opl.World):
    def draw_context(self, n_rounds, rng):
        return np.eye(2)[rng.randint(2, size=n_rounds)]

    def reward_probability(self, context):
        return context @ np.array([[0.9, 0.2, 0.5], [0.1, 0.8, 0.4]])


def test_a_world_of_ones_own_says_two_things_and_has_the_rest():
    world = Coupons(np.eye(3), np.eye(2), opl.uniform())
    assert world.expected_reward(np.eye(2), np.array([0, 1])).tolist() == [0.9, 0.8]
    assert world.expected_reward(np.eye(2), np.array([[0, 2], [1, 1]])).tolist() == [
        [0.9, 0.5], [0.8, 0.8]
    ]  # fmt: skip
    assert world.expected_reward(np.empty((0, 2)), np.empty((0, 2), int)).shape == (0, 2)
    assert world.list_value(np.array([[0, 1], [1, 0]]), "best") == pytest.approx(0.85)
    log, same = (world.sample(50, random_state=1) for _ in range(2))
    np.testing.assert_array_equal(log.reward, same.reward)
    assert log.user_id is None
    assert not np.array_equal(world.sample(50).reward, world.sample(50).reward)
    assert isinstance(world, KnownWorld)


def test_a_logging_policy_is_a_policy_of_any_kind():
    towers = opl.TwoTowerPolicy(opl.TwoTower.mlp(4, 4, (), 2, random_state=0))
    world = make_world(logging_policy=towers).with_new_items(1)
    log = world.sample(200, random_state=0)
    assert log.support_report(world.logging_policy).mean_weight == pytest.approx(1)
    with pytest.raises(TypeError, match=r"a policy is an object .* function .*got str"):
        make_world(logging_policy="uniform")


@pytest.mark.parametrize("missing", ["draw_context", "reward_probability"])
def test_a_world_that_lacks_a_hook_says_which(missing):
    world = type("Half", (Coupons,), {missing: getattr(opl.World, missing)})
    with pytest.raises(NotImplementedError, match=rf"Half must define {missing}\("):
        world(np.eye(3), np.eye(2), opl.uniform()).sample(5)


def test_logs_share_the_items_of_their_world():
    world = make_world()
    assert world.sample(5).action_context is world.action_context
    later = world.with_new_items(2)
    assert later.sample(5).action_context is later.action_context


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64, 1.5])
def test_seeds_of_a_log_have_a_range(seed):
    with pytest.raises(ValueError, match="random_state must be an integer of at "):
        make_world().sample(5, random_state=seed)
    with pytest.raises(ValueError, match="random_state must be an integer of at "):
        make_world(random_state=seed)
    make_world(random_state=2**32 - 1).sample(5, random_state=2**32 - 1)
