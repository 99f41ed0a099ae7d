"""Policies among what can be shown: masked before top-k, renormalised, or refused with the row."""

import numpy as np
import pytest
from helpers import PI, TableModel

import opl_lib as opl
from opl_lib.answers import action_probabilities

N, M = 40, 7
rng = np.random.default_rng(0)
CONTEXT, ITEMS = rng.normal(size=(N, 3)), rng.normal(size=(M, 2))
MASK = rng.random((N, M)) < 0.5
MASK[:, 6] = MASK[:, 2] = True


def policy_at(temperature):
    return opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 2, random_state=0), temperature)


def among(pi, mask):
    kept = pi * mask
    return kept / kept.sum(axis=1, keepdims=True)


def test_probabilities_are_those_of_a_softmax_over_the_eligible(small_chunks):
    policy = policy_at(0.3)
    pi = policy.predict_proba(CONTEXT, ITEMS, eligible=MASK)
    np.testing.assert_allclose(pi, among(policy.predict_proba(CONTEXT, ITEMS), MASK))
    served = policy.for_items(ITEMS)
    assert np.array_equal(served.predict_proba(CONTEXT, ITEMS, eligible=MASK), pi)
    assert np.array_equal(policy.to_obp(CONTEXT, ITEMS, eligible=MASK)[:, :, 0], pi)
    everything = np.ones(M, bool)
    plain = policy.predict_proba(CONTEXT, ITEMS)
    assert np.array_equal(policy.predict_proba(CONTEXT, ITEMS, eligible=everything), plain)


def test_an_object_one_row_and_a_list_are_masks_too():
    policy = policy_at(1.0)
    one = policy.predict_proba(CONTEXT, ITEMS, eligible=MASK[0])
    assert np.array_equal(
        one, policy.predict_proba(CONTEXT, ITEMS, eligible=[MASK[0].tolist()] * N)
    )
    sets = opl.Eligible.of_mask(MASK)
    pi = policy.predict_proba(CONTEXT, ITEMS, eligible=sets)
    assert np.array_equal(pi, policy.predict_proba(CONTEXT, ITEMS, eligible=MASK))


@pytest.mark.parametrize("temperature", [0, 0.5])
def test_the_best_are_the_best_of_the_eligible(temperature, small_chunks):
    small_chunks()
    policy = policy_at(temperature)
    scores = np.where(MASK, policy.scores(CONTEXT, ITEMS), -np.inf)
    best = np.argsort(-scores, axis=1)
    assert np.array_equal(policy.top_k(CONTEXT, ITEMS, 2, eligible=MASK), best[:, :2])
    assert np.array_equal(policy.greedy(CONTEXT, ITEMS, eligible=MASK), best[:, 0])
    if temperature == 0:
        pi = policy.predict_proba(CONTEXT, ITEMS, eligible=MASK)
        assert np.array_equal(pi.argmax(axis=1), best[:, 0]) and set(np.unique(pi)) == {0, 1}


def test_what_is_served_is_eligible_and_logged_with_its_probability(small_chunks):
    small_chunks()
    for temperature in (0, 0.5):
        policy = policy_at(temperature)
        pi = policy.predict_proba(CONTEXT, ITEMS, eligible=MASK)
        counts = np.zeros((N, M))
        for seed in range(300):
            action, pscore = policy.sample(CONTEXT, ITEMS, random_state=seed, eligible=MASK)
            assert np.allclose(pscore, pi[np.arange(N), action])
            counts[np.arange(N), action] += 1
        assert not counts[~MASK].any()
        assert np.abs(counts / 300 - pi).max() < 0.15


@pytest.mark.parametrize("temperature", [0, 0.5])
def test_pages_are_of_the_eligible_by_their_chances(temperature, small_chunks):
    small_chunks()
    policy, rows = policy_at(temperature), np.arange(N)
    pi = policy.predict_proba(CONTEXT, ITEMS, eligible=MASK)
    page, pscore = policy.recommend(CONTEXT, ITEMS, 2, random_state=0, eligible=MASK)
    assert MASK[rows[:, None], page].all() and (page[:, 0] != page[:, 1]).all()
    if temperature == 0:
        np.testing.assert_array_equal(page, policy.top_k(CONTEXT, ITEMS, 2, eligible=MASK))
        assert (pscore == 1).all()
        return
    np.testing.assert_allclose(pscore[:, 0], pi[rows, page[:, 0]], rtol=1e-6)
    left = 1 - pi[rows, page[:, 0]]
    np.testing.assert_allclose(pscore[:, 1], pi[rows, page[:, 1]] / left, rtol=1e-6)
    two = np.isin(np.arange(M), [2, 6])  # all of them are a page, however unlikely
    page, pscore = policy_at(1e-3).recommend(CONTEXT, ITEMS, 2, random_state=0, eligible=two)
    assert (np.sort(page, axis=1) == [2, 6]).all()
    np.testing.assert_allclose(pscore[:, 1], 1)


@pytest.mark.parametrize("temperature", [0, 0.5])
def test_a_page_of_more_than_is_eligible_is_refused_with_its_row(temperature, small_chunks):
    small_chunks()
    mask = MASK.copy()
    mask[9] = np.arange(M) < 2
    with pytest.raises(ValueError, match="k=3 items are asked for, but row 9 of eligible has 2"):
        policy_at(temperature).recommend(
            CONTEXT, ITEMS, 3, eligible=mask | (np.arange(N) < 9)[:, None]
        )


def test_a_search_is_among_the_eligible():
    embeddings, queries = rng.normal(size=(M, 4)), rng.normal(size=(N, 4))
    index = opl.ItemIndex(embeddings)
    items, scores = index.search(queries, 2, eligible=MASK)
    best = np.argsort(-np.where(MASK, queries @ embeddings.T, -np.inf), axis=1)[:, :2]
    assert np.array_equal(items, best) and np.isfinite(scores).all()
    with pytest.raises(ValueError, match=r"k=3 items are asked for, but row \d+ of eligible has 2"):
        index.search(queries, 3, eligible=np.arange(M) < 2)


def test_both_stages_choose_among_the_eligible():
    context, mask = np.eye(2), np.array([[True, False, True], [False, True, True]])
    policy = opl.TwoStagePolicy(lambda x, items: x @ PI, TableModel(), [0, 0, 1])
    pi = policy.predict_proba(context, np.eye(3), eligible=mask)
    np.testing.assert_allclose(pi, among(PI, mask))  # one item a cluster is left
    clusters = opl.TwoStagePolicy(lambda x, items: x @ PI, TableModel(), [0, 1, 1])
    pi = clusters.predict_proba(context, np.eye(3), eligible=np.array([False, True, True]))
    np.testing.assert_allclose(pi, [[0, 0, 1], [0, 1, 0]])  # q̂ is 0.3 < 0.4 and 0.7 > 0.2


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (MASK.astype(int), "eligible must hold True and False; got dtype int64"),
        (MASK[:, :5], r"eligible has shape \(40, 5\); expected \(n, n_actions\) = \(40, 7\), or"),
        (MASK & (np.arange(N) != 9)[:, None], "eligible: row 9 has no item"),
        (opl.Eligible.of_mask(MASK[:9]), "eligible is for 9 rounds"),
    ],
    ids=range(4),
)
def test_what_is_no_mask_is_refused(mask, message):
    policy = policy_at(1.0)
    for call in (policy.predict_proba, policy.greedy, policy.sample, policy.recommend):
        with pytest.raises(ValueError, match=message):
            call(CONTEXT, ITEMS, eligible=mask)


# ---- any kind of policy


def test_a_policy_that_knows_no_mask_is_restricted_and_renormalised():
    context = np.eye(2)
    mask = np.array([[True, True, False], [False, True, True]])
    pi = action_probabilities(lambda x, items: x @ PI, context, np.eye(3), eligible=mask)
    np.testing.assert_allclose(pi, among(PI, mask))


def test_a_policy_that_has_nothing_on_offer_is_an_error_with_its_row():
    def greedy(x, items):
        return np.eye(3)[[0] * len(x)]

    mask = np.array([[True, True, False], [False, True, True]])
    with pytest.raises(ValueError, match=r"no probability on .* in row 11 of the 50 .*, 2 of 3\."):
        action_probabilities(greedy, np.eye(2), np.eye(3), 10, 50, eligible=mask)


def test_a_policy_that_takes_the_mask_must_keep_to_it():
    def careless(x, items, eligible=None):
        return x @ PI

    mask = np.array([[True, True, False], [True, True, True]])
    with pytest.raises(
        ValueError, match=r"returned 0\.5 for item 2, which is not eligible in row 0"
    ):
        action_probabilities(careless, np.eye(2), np.eye(3), eligible=mask)
