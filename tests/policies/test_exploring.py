"""The policy that is served: closed form, draws, and a log that it judges right."""

import numpy as np
import pandas as pd
import pytest

import opl_lib as opl

N_ITEMS = 7


@pytest.fixture
def learned():
    return opl.TwoTowerPolicy(opl.TwoTower.mlp(3, N_ITEMS, (5,), 4, random_state=0), 0.1)


@pytest.fixture
def context():
    return np.random.default_rng(1).normal(size=(40, 3))


ITEMS = np.eye(N_ITEMS)


@pytest.fixture
def mask():
    mask = np.random.default_rng(2).random((40, N_ITEMS)) < 0.5
    mask[:, 0] |= ~mask.any(axis=1)
    return mask


def by_hand(learned, epsilon, k, context, mask):
    """The formula, row by row."""
    pi = np.zeros((len(context), N_ITEMS))
    for row, scores in enumerate(learned.scores(context, ITEMS).astype(float)):
        eligible = np.flatnonzero(mask[row])
        best = sorted(eligible, key=lambda a, s=scores: -s[a])[:k]
        weight = np.exp((scores[best] - scores[best].max()) / learned.temperature)
        pi[row, eligible] = epsilon / len(eligible)
        pi[row, best] += (1 - epsilon) * weight / weight.sum()
    return pi


@pytest.mark.parametrize("k", [1, 3, N_ITEMS, 100])
@pytest.mark.parametrize("epsilon", [0, 0.3, 1])
def test_probabilities_are_those_of_the_formula(learned, context, mask, epsilon, k):
    policy = opl.ExploringPolicy(learned, epsilon, k)
    expected = by_hand(learned, epsilon, k, context, mask)
    got = policy.predict_proba(context, ITEMS, eligible=mask)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    everything = np.ones_like(mask)
    np.testing.assert_allclose(
        policy.predict_proba(context, ITEMS),
        by_hand(learned, epsilon, k, context, everything),
        atol=1e-6,
    )


def test_all_items_and_no_chance_are_the_learned_policy(learned, context):
    policy = opl.ExploringPolicy(learned, epsilon=0, k=N_ITEMS)
    expected = learned.predict_proba(context, ITEMS)
    np.testing.assert_allclose(policy.predict_proba(context, ITEMS), expected, atol=1e-6)


def test_a_greedy_policy_shows_its_best_item_or_any(learned, context, mask):
    policy = opl.ExploringPolicy(learned.at_temperature(0), epsilon=0.2, k=3)
    pi = policy.predict_proba(context, ITEMS, eligible=mask)
    best = learned.greedy(context, ITEMS, eligible=mask)
    floor = 0.2 / mask.sum(axis=1)
    np.testing.assert_allclose(pi[np.arange(40), best], 0.8 + floor)


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("epsilon", [0, 0.3, 1])
def test_draws_have_the_propensity_that_is_said(learned, context, mask, epsilon, with_mask):
    policy = opl.ExploringPolicy(learned, epsilon, k=2)
    eligible = mask if with_mask else None
    drawn = policy.draw(context, ITEMS, 0, eligible)
    pi = policy.predict_proba(context, ITEMS, eligible)
    np.testing.assert_allclose(drawn.pscore, pi[np.arange(40), drawn.action], rtol=1e-6)
    for row, items in enumerate(drawn.retrieved):
        likely = np.flatnonzero(pi[row] > epsilon / (mask[row].sum() if with_mask else N_ITEMS))
        assert set(likely) <= set(items[items >= 0])
        assert (items >= 0).sum() == min(2, mask[row].sum() if with_mask else 2)


def test_items_are_drawn_as_often_as_is_said(learned, context, mask):
    policy, n = opl.ExploringPolicy(learned, 0.3, k=2), 20_000
    same = np.repeat(context[:1], n, axis=0)
    action, _ = policy.sample(same, ITEMS, 0, mask[0])
    pi = policy.predict_proba(context[:1], ITEMS, mask[0])[0]
    share = np.bincount(action, minlength=N_ITEMS) / n
    assert (np.abs(share - pi) <= 4 * np.sqrt(pi * (1 - pi) / n)).all()
    assert (pi[mask[0]] > 0).all() and (share[~mask[0]] == 0).all()


def test_a_log_that_it_sampled_has_mean_weight_one(learned):
    rng = np.random.default_rng(3)
    context = rng.normal(size=(5000, 3))
    eligible = rng.random((5000, N_ITEMS)) < 0.6
    eligible[:, 0] = True
    policy = opl.ExploringPolicy(learned, 0.2, k=3).for_items(ITEMS)
    action, pscore = policy.sample(context, ITEMS, 0, eligible)
    log = opl.BanditFeedback(context, action, np.ones(5000), pscore, ITEMS, eligible=eligible)
    weight = policy.predict_proba(context, ITEMS, eligible)[np.arange(5000), action] / log.pscore
    np.testing.assert_allclose(weight, 1, rtol=1e-5)  # of its own log
    other = learned.predict_proba(context, ITEMS, eligible)[np.arange(5000), action] / pscore
    assert abs(other.mean() - 1) < 3 * other.std() / np.sqrt(5000)  # of another that it supports
    shown_by_softmax = learned.sample(context, ITEMS, 0, eligible)[0]
    pi = policy.predict_proba(context, ITEMS, eligible)[np.arange(5000), shown_by_softmax]
    wrong = learned.predict_proba(context, ITEMS, eligible)[np.arange(5000), shown_by_softmax] / pi
    assert abs(wrong.mean() - 1) > 3 * wrong.std() / np.sqrt(5000)  # the check can fail


def test_propensities_are_those_of_what_a_poor_index_finds(learned, context):
    class Poor:
        """Finds the worst items first."""

        def __init__(self, embeddings):
            self.exact = opl.ItemIndex(-embeddings)

        def __len__(self):
            return len(self.exact)

        def search(self, queries, k, eligible=None):
            items, scores = self.exact.search(queries, k, eligible)
            return items, -scores

    policy = opl.ExploringPolicy(learned.at_temperature(1), 0.1, k=2, index=Poor)
    pi = policy.predict_proba(context, ITEMS)
    worst = np.argsort(learned.scores(context, ITEMS), axis=1)[:, :2]
    assert (np.take_along_axis(pi, worst, axis=1) > 0.1).all()
    np.testing.assert_allclose(pi.sum(axis=1), 1)
    action, pscore = policy.sample(context, ITEMS, 0)
    np.testing.assert_allclose(pscore, pi[np.arange(40), action], rtol=1e-6)


def test_chunks_change_no_probability(learned, context, mask, small_chunks):
    policy = opl.ExploringPolicy(learned, 0.3, k=2)
    whole = policy.predict_proba(context, ITEMS, mask)
    small_chunks()
    np.testing.assert_allclose(policy.predict_proba(context, ITEMS, mask), whole, atol=1e-6)


def test_items_of_a_table_are_returned_by_their_ids():
    rng = np.random.default_rng(0)
    visits = pd.DataFrame({"x": rng.normal(size=30), "item": ["b", "a", "c"] * 10})
    visits = visits.assign(click=1.0, prob=0.5)
    items = pd.DataFrame({"id": ["a", "b", "c"], "f": [0.1, 0.5, 0.9]})
    log = opl.BanditFeedback.from_dataframe(
        visits,
        context=["x"],
        action="item",
        reward="click",
        pscore="prob",
        items=items,
        item_id="id",
    )
    towers = opl.TwoTower.mlp(log.dim_context, log.dim_action_context, random_state=0)
    policy = opl.ExploringPolicy(opl.TwoTowerPolicy(towers, columns=log.columns), k=2)
    action, pscore = policy.for_items(items).sample(visits, items, 0)
    assert set(action) <= {"a", "b", "c"} and (pscore > 0).all()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"policy": "towers"}, TypeError, "policy must be a TwoTowerPolicy; got str"),
        ({"epsilon": 1.5}, ValueError, "epsilon must be .*got 1.5"),
        ({"k": 0}, ValueError, "k must be an integer of at least 1; got 0"),
        ({"index": 3}, TypeError, "index must be a function .*got int"),
    ],
)
def test_bad_settings_are_refused(learned, settings, error, message):
    with pytest.raises(error, match=message):
        opl.ExploringPolicy(**{"policy": learned, **settings})
