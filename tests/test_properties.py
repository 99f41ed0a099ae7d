"""Properties of logs, estimators, objectives and policies, over inputs of hypothesis."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import opl_lib as opl

# The same examples in every run, and as many as the suite has time for.
few = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def numbers(low, high, width=64):
    return st.floats(low, high, allow_nan=False, allow_subnormal=False, width=width)


@st.composite
def columns(draw, min_rounds=1, rewards=None):
    """The columns of any log: few rounds of few items, users that come back, ties in time."""
    n, n_actions = draw(st.integers(min_rounds, 12)), draw(st.integers(2, 5))
    dim, dim_items = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    given = {
        "context": arrays(float, (n, dim), elements=numbers(-3, 3)),
        "action": arrays(int, n, elements=st.integers(0, n_actions - 1)),
        "reward": arrays(float, n, elements=rewards or numbers(-5, 5)),
        "pscore": arrays(float, n, elements=numbers(0.01, 1)),
        "action_context": arrays(float, (n_actions, dim_items), elements=numbers(-3, 3)),
        "position": arrays(int, n, elements=st.integers(0, 2)),
        "user_id": arrays(np.int64, n, elements=st.integers(-(2**62), 2**62), fill=st.just(7)),
        "timestamp": arrays(int, n, elements=st.integers(0, 5)),
    }
    optional = draw(st.sets(st.sampled_from(["position", "user_id", "timestamp"])))
    required = [name for name in given if name not in ("position", "user_id", "timestamp")]
    return {name: draw(given[name]) for name in [*required, *sorted(optional)]}


@st.composite
def logs(draw, **about):
    return opl.BanditFeedback(**draw(columns(**about)))


def distributions(shape):
    """Any rows of probabilities: some items impossible, some certain."""
    weights = arrays(float, shape, elements=st.sampled_from([0.0, 0.01, 0.5, 1.0, 3.0]))
    return weights.map(lambda w: (w + (w.sum(axis=1, keepdims=True) == 0)) / 1.0).map(
        lambda w: w / w.sum(axis=1, keepdims=True)
    )


def rows_of(log):
    """Every round as a tuple, to be compared as a multiset."""
    names = ("context", "action", "reward", "pscore", "position", "user_id", "timestamp")
    given = [getattr(log, name) for name in names]
    found = [column.tolist() for column in given if column is not None]
    return sorted(zip(*found, strict=True))


# ---- logs


@few
@given(columns())
def test_a_log_holds_what_it_was_given_and_nobody_can_change_it(given_columns):
    log = opl.BanditFeedback(**given_columns)
    before = {name: column.copy() for name, column in given_columns.items()}
    for column in given_columns.values():
        column[...] = 1
    for name, column in before.items():
        kept = getattr(log, name)
        np.testing.assert_array_equal(kept, column)
        assert not kept.flags.writeable


@few
@given(logs(), st.randoms(use_true_random=False))
def test_rows_are_cut_and_joined_without_a_loss(log, random):
    order = np.array(random.sample(range(len(log)), len(log)))
    cut = random.randint(1, len(log))
    parts = [log[order[:cut]]] + ([log[order[cut:]]] if cut < len(log) else [])
    joined = opl.BanditFeedback.concatenate(parts)
    assert rows_of(joined) == rows_of(log)
    np.testing.assert_array_equal(joined.reward, log.reward[order])
    assert joined.units.name == log.units.name


@few
@given(logs(min_rounds=4), numbers(0.2, 0.8), st.integers(0, 2**32 - 1))
def test_a_split_covers_all_rounds_once_and_parts_no_user(log, fraction, number):
    try:
        first, second = log.split(fraction, number)
    except ValueError as error:
        assert "leaves one side empty" in str(error)
        return
    joined = opl.BanditFeedback.concatenate([first, second])
    assert rows_of(joined) == rows_of(log)
    if log.user_id is not None:
        assert not set(first.user_id.tolist()) & set(second.user_id.tolist())


@few
@given(logs(min_rounds=4), numbers(0.2, 0.8))
def test_a_split_by_time_puts_nothing_earlier_in_the_later_log(log, fraction):
    assume(log.timestamp is not None)
    try:
        first, second = log.split_by_time(fraction)
    except ValueError as error:
        assert "all timestamps are" in str(error) or "leaves one side empty" in str(error)
        return
    assert first.timestamp.max() < second.timestamp.min()
    assert len(first) + len(second) == len(log)


@few
@given(columns(), st.sampled_from(["context", "reward", "pscore", "action_context"]), st.data())
def test_one_entry_that_is_no_number_is_refused_at_its_place(given_columns, name, data):
    column = given_columns[name]
    place = tuple(data.draw(st.integers(0, size - 1)) for size in column.shape)
    column[place] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    with pytest.raises(ValueError, match=rf"{name}.* row {place[0]}\b"):
        opl.BanditFeedback(**given_columns)


# ---- estimators


@st.composite
def asked(draw, **about):
    """A log, and the probabilities of a policy in its rounds."""
    log = draw(logs(min_rounds=2, **about))
    return log, draw(distributions((len(log), log.n_actions)))


@few
@given(asked())
def test_estimates_are_what_their_formulas_say(pair):
    log, pi = pair
    weight = pi[np.arange(len(log)), log.action] / log.pscore
    assume(weight.sum() > 0)
    table = opl.evaluate(pi, log, ["avg", "ips", "snips"])
    value = table.policy_value
    np.testing.assert_allclose(value["avg"], log.reward.mean(), atol=1e-9)
    np.testing.assert_allclose(value["ips"], (weight * log.reward).mean(), atol=1e-9)
    np.testing.assert_allclose(value["snips"], (weight @ log.reward) / weight.sum(), atol=1e-9)
    assert log.reward.min() - 1e-9 <= value["snips"] <= log.reward.max() + 1e-9
    np.testing.assert_allclose(table.mean_weight[["ips", "snips"]], weight.mean(), rtol=1e-9)
    inside = (table.ci_lower <= value + 1e-9) & (value <= table.ci_upper + 1e-9)
    assert inside[["ips", "snips"]].all()


@few
@given(asked(), numbers(0.001, 1000), numbers(-3, 3))
def test_a_reward_in_another_unit_is_an_estimate_in_another_unit(pair, unit, offset):
    log, pi = pair
    weight = pi[np.arange(len(log)), log.action] / log.pscore
    assume(weight.sum() > 0.01)
    other = opl.BanditFeedback(
        log.context, log.action, log.reward * unit + offset, log.pscore, log.action_context
    )
    plain = opl.BanditFeedback(log.context, log.action, log.reward, log.pscore, log.action_context)
    one = opl.evaluate(pi, plain, ["ips", "snips"]).policy_value
    two = opl.evaluate(pi, other, ["ips", "snips"]).policy_value
    tolerance = {"rtol": 1e-6, "atol": 1e-6 * max(unit, 1)}
    np.testing.assert_allclose(two["snips"], one["snips"] * unit + offset, **tolerance)
    np.testing.assert_allclose(two["ips"], one["ips"] * unit + offset * weight.mean(), **tolerance)


@few
@given(asked(), st.data())
def test_doubly_robust_estimates_know_a_right_model(pair, data):
    """With q̂ that is the reward itself, nothing is left over, whatever the weights."""
    log, pi = pair
    q = data.draw(arrays(float, (len(log), log.n_actions), elements=numbers(-2, 2)))
    exact = opl.BanditFeedback(
        log.context, log.action, q[np.arange(len(log)), log.action], log.pscore, log.action_context
    )

    class Exact:
        def predict_reward(self, context, action_context):
            assert len(context) == len(q)
            return q

    value = opl.evaluate(pi, exact, ["dm", "dr", "switch_dr", "dros"], Exact()).policy_value
    np.testing.assert_allclose(value, (pi * q).sum(axis=1).mean(), atol=1e-9)


@few
@given(asked())
def test_the_logging_policy_is_no_better_than_itself(pair):
    log, pi = pair
    place = np.arange(len(log)), log.action
    assume((pi[place] > 0).all())
    own = opl.BanditFeedback(log.context, log.action, log.reward, pi[place], log.action_context)
    table = opl.evaluate(pi, own, ["ips", "snips"], difference=True)
    np.testing.assert_allclose(table["difference"], 0, atol=1e-9)
    np.testing.assert_allclose(table.std_error, 0, atol=1e-9)


@few
@given(asked())
def test_a_support_report_counts_what_the_weights_say(pair):
    log, pi = pair
    report = log.support_report(pi)
    weight = pi[np.arange(len(log)), log.action] / log.pscore
    assert report.mean_weight == pytest.approx(weight.mean())
    assert report.max_weight == pytest.approx(weight.max())
    assert 0 <= report.ess <= report.n_units + 1e-9
    never = np.setdiff1d(np.arange(log.n_actions), log.action)
    assert report.n_unsupported == len(never)
    assert report.unsupported_mass == pytest.approx(pi[:, never].sum() / len(log))


# ---- objectives

CLUSTER = (0, 0, 1, 1)
SMOOTH = [
    "ips",
    "snips",
    "dm",
    "dr",
    "clipped_ips",
    "implicit_exploration",
    "exponential_smoothing",
    "logarithmic_smoothing",
    "log_sum_exp",
    "likelihood",
    "exponential_likelihood",
    "dros",
    opl.top_k_ips(2),
    opl.baseline_ips(0.5),
    opl.poem(0.5),
    opl.mips(CLUSTER),
    opl.offcem(CLUSTER),
    opl.regularised("ips", entropy=0.1, imitation=0.1, kl=0.1),
]


@st.composite
def batches(draw, n_actions=4):
    n = draw(st.integers(2, 5))
    column = arrays(float, n, elements=numbers(0, 1))
    pscore = arrays(float, n, elements=numbers(0.05, 1))
    logits = draw(arrays(float, (n, n_actions), elements=numbers(-4, 4)))
    given = {
        "action": draw(arrays(int, n, elements=st.integers(0, n_actions - 1))),
        "reward": draw(column),
        "pscore": draw(pscore),
        "q_hat": draw(arrays(float, (n, n_actions), elements=numbers(0, 1))),
    }
    given["cluster_pscore"] = np.minimum(1, given["pscore"] * 1.5)
    return torch.tensor(logits), opl.Batch(**{k: torch.tensor(v) for k, v in given.items()})


@pytest.mark.parametrize("objective", SMOOTH, ids=str)
@settings(few, max_examples=8)
@given(pair=batches(), number=st.integers(0, 2**16))
def test_a_gradient_is_the_slope_of_the_value(objective, pair, number):
    """In a random direction, by central differences, where no weight is at its limit."""
    logits, batch = pair
    formula = opl.get_objective(objective)
    direction = torch.tensor(np.random.default_rng(number).normal(size=logits.shape))
    step = 1e-5
    ends = [formula(logits + sign * step * direction, batch)[0] for sign in (1, -1)]
    slope = float(ends[0] - ends[1]) / (2 * step)
    value, gradient = formula(logits, batch)
    weight = logits.softmax(-1).gather(-1, batch.action[:, None])[:, 0] / batch.pscore
    assume(((weight - 10).abs() > 0.01).all())  # where clipping has a corner
    spread = (weight * batch.reward).std()
    assume(str(formula) != "poem(penalty=0.5, max_weight=inf)" or spread > 1e-3)
    assert torch.isfinite(gradient).all() and torch.isfinite(value)
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("objective", SMOOTH, ids=str)
@settings(few, max_examples=8)
@given(pair=batches(), shift=numbers(-50, 50))
def test_a_policy_is_a_softmax_whatever_is_added_to_its_logits(objective, pair, shift):
    logits, batch = pair
    formula = opl.get_objective(objective)
    one, two = formula(logits, batch), formula(logits + shift, batch)
    for here, there in zip(one, two, strict=True):
        torch.testing.assert_close(here, there, rtol=1e-6, atol=1e-8)
    assert float(one[1].sum(dim=-1).abs().max()) < 1e-8  # the same for all logits: no change


@pytest.mark.parametrize("objective", SMOOTH, ids=str)
@settings(few, max_examples=8)
@given(pair=batches())
def test_the_order_of_the_rounds_does_not_matter(objective, pair):
    logits, batch = pair
    formula, back = opl.get_objective(objective), torch.arange(len(logits)).flip(0)
    turned = opl.Batch(*(None if column is None else column[back] for column in batch))
    one, two = formula(logits, batch), formula(logits[back], turned)
    torch.testing.assert_close(one[0], two[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(one[1][back], two[1], rtol=1e-7, atol=1e-10)


# ---- policies


@st.composite
def served(draw):
    """A policy of two towers, contexts and items, some of which may look the same."""
    dim, dim_items = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    n, n_actions = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    towers = opl.TwoTower.mlp(
        dim, dim_items, hidden=(3,), dim_embedding=2, random_state=draw(st.integers(0, 99))
    )
    temperature = draw(st.sampled_from([1e-3, 0.1, 1.0, 10.0]))
    context = draw(arrays(float, (n, dim), elements=numbers(-5, 5)))
    items = draw(arrays(float, (n_actions, dim_items), elements=st.sampled_from([-1.0, 0.0, 2.0])))
    return opl.TwoTowerPolicy(towers, temperature), context, items


@few
@given(served(), st.integers(0, 2**32 - 1))
def test_a_policy_is_a_distribution_and_draws_from_it(case, number):
    policy, context, items = case
    pi = policy.predict_proba(context, items)
    assert np.isfinite(pi).all() and (pi >= 0).all()
    np.testing.assert_allclose(pi.sum(axis=1), 1, atol=1e-12)
    action, pscore = policy.sample(context, items, number)
    np.testing.assert_allclose(pscore, pi[np.arange(len(pi)), action], rtol=1e-9)
    again = policy.sample(context, items, number)
    np.testing.assert_array_equal(action, again[0])


@few
@given(served())
def test_ranks_scores_and_probabilities_agree(case):
    policy, context, items = case
    scores = policy.scores(context, items)
    ranked = policy.top_k(context, items, k=len(items))
    in_order = np.take_along_axis(scores, ranked, axis=1)
    assert (np.diff(in_order, axis=1) <= 0).all()
    assert (np.sort(ranked, axis=1) == np.arange(len(items))).all()
    np.testing.assert_array_equal(policy.greedy(context, items), ranked[:, 0])
    greedy = policy.at_temperature(0).predict_proba(context, items)
    np.testing.assert_array_equal(greedy.argmax(axis=1), ranked[:, 0])
    twins = (items[:, None] == items[None]).all(axis=2)
    for one, other in np.argwhere(twins):
        np.testing.assert_array_equal(scores[:, one], scores[:, other])


@few
@given(served(), st.randoms(use_true_random=False))
def test_rows_and_items_are_served_each_for_itself(case, random):
    """In any order, in any company, encoded ahead of time or not."""
    policy, context, items = case
    pi = policy.predict_proba(context, items)
    order = random.sample(range(len(items)), len(items))
    np.testing.assert_allclose(
        policy.predict_proba(context, items[order]), pi[:, order], rtol=1e-3, atol=1e-9
    )
    row = random.randrange(len(context))
    np.testing.assert_allclose(
        policy.predict_proba(context[[row]], items)[0], pi[row], rtol=1e-3, atol=1e-9
    )
    ahead = policy.for_items(items)
    np.testing.assert_array_equal(ahead.predict_proba(context, items), pi)


@settings(few, max_examples=15)
@given(served())
def test_a_saved_policy_is_the_policy(case):
    policy, context, items = case
    with tempfile.TemporaryDirectory() as folder:
        policy.save(Path(folder) / "policy")
        read = opl.TwoTowerPolicy.load(Path(folder) / "policy")
    expected = policy.predict_proba(context, items)
    np.testing.assert_array_equal(read.predict_proba(context, items), expected)


@few
@given(
    arrays(np.float32, st.tuples(st.integers(1, 6), st.just(2)), elements=numbers(-4, 4, 32)),
    arrays(np.float32, st.tuples(st.integers(0, 4), st.just(2)), elements=numbers(-4, 4, 32)),
    st.data(),
)
def test_a_search_is_a_stable_sort(embeddings, queries, data):
    index = opl.ItemIndex(embeddings)
    k = data.draw(st.integers(1, len(embeddings)))
    items, scores = index.search(queries, k)
    everything = index.scores(queries)
    expected = np.argsort(-everything, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(items, expected)
    np.testing.assert_array_equal(scores, np.take_along_axis(everything, expected, axis=1))
