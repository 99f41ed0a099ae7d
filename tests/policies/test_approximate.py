"""Approximate indices, each against exact search and among eligible items."""

import sys

import numpy as np
import pytest

import opl_lib as opl

N_ITEMS = 3000


@pytest.fixture(scope="module")
def embeddings():
    return np.random.default_rng(0).normal(size=(N_ITEMS, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def queries():
    return np.random.default_rng(1).normal(size=(60, 8)).astype(np.float32)


@pytest.fixture(scope="module", params=[opl.HNSWIndex, opl.CompressedIndex])
def make(request):
    return request.param


@pytest.fixture(scope="module")
def index(make, embeddings):
    return make(embeddings)


def recall(items, exact):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(items, exact, strict=True)])


def test_scores_are_inner_products_best_first(index, embeddings, queries):
    items, scores = index.search(queries, 10)
    assert items.shape == scores.shape == (60, 10) and len(index) == N_ITEMS
    np.testing.assert_allclose(
        scores, np.take_along_axis(queries @ embeddings.T, items, 1), 1e-4, 1e-5
    )
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.01])
def test_only_eligible_items_are_found_and_nearly_all_of_the_best(
    index, embeddings, queries, share
):
    eligible = np.random.default_rng(2).random((60, N_ITEMS)) < share
    eligible[:, :10] = True
    items, _ = index.search(queries, 10, eligible)
    assert np.take_along_axis(eligible, items, axis=1).all()
    exact = opl.ItemIndex(embeddings).search(queries, 10, eligible)[0]
    assert recall(items, exact) > 0.97


def test_among_few_items_the_search_is_exact(index, embeddings, queries):
    eligible = np.arange(N_ITEMS) % 300 == 0  # ten of them
    items, scores = index.search(queries, 10, eligible)
    exact = opl.ItemIndex(embeddings).search(queries, 10, eligible)
    np.testing.assert_array_equal(items, exact[0])
    np.testing.assert_allclose(scores, exact[1], rtol=1e-4, atol=1e-5)


def test_items_far_from_the_origin_are_found_as_those_around_it(make, embeddings, queries):
    """Their mean shifts all scores alike."""
    moved = embeddings + np.float32(5)
    items, scores = make(moved).search(queries, 10)
    exact = opl.ItemIndex(moved).search(queries, 10)[0]
    assert recall(items, exact) > 0.95
    expected = np.take_along_axis(queries @ moved.T, items, 1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)


def test_equal_scores_are_ordered_by_item_number(make):
    index = make(np.tile([[1.0, 0.0]], (20, 1)), breadth=10)
    np.testing.assert_array_equal(index.search([[1.0, 1.0]], 20)[0][0], np.arange(20))


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (np.ones((2, 4)), 1, r"queries must have shape \(n, 8\); got \(2, 4\)"),
        (np.full((1, 8), np.nan), 1, "queries must be finite; row 0"),
        (np.ones((2, 8)), 0, "k must be an integer of at least 1 and at most 3000; got 0"),
        (np.ones((2, 8)), N_ITEMS + 1, "k must be an integer"),
        (np.full((2, 8), 3e38), 1, "score of item .* for row 0 of queries is .*must be finite"),
    ],
)
def test_bad_requests_are_refused(index, queries, k, message):
    with pytest.raises(ValueError, match=message):
        index.search(queries, k)


def test_more_items_than_are_eligible_are_refused(index, queries):
    eligible = np.arange(N_ITEMS) < 3
    with pytest.raises(ValueError, match="k=4 items are asked for, but row 0 of eligible has 3"):
        index.search(queries, 4, eligible)


def test_an_exploring_policy_retrieves_by_it(make):
    rng = np.random.default_rng(0)
    learned = opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 4, (5,), 4, random_state=0), 0.1)
    context, items = rng.normal(size=(500, 3)), rng.normal(size=(N_ITEMS, 4))
    policy = opl.ExploringPolicy(learned, 0.1, k=20, index=make).for_items(items)
    eligible = rng.random(N_ITEMS) < 0.7
    action, pscore = policy.sample(context, items, 0, eligible)
    pi = policy.predict_proba(context, items, eligible)
    np.testing.assert_allclose(pi.sum(axis=1), 1)
    np.testing.assert_allclose(pi[np.arange(500), action], pscore, rtol=1e-5)


def test_faiss_that_is_not_installed_is_named(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "opl-lib\[ann\]"'):
        make(np.eye(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embeddings": np.ones((0, 3))}, "embeddings has no rows"),
        ({"embeddings": [[np.inf, 1.0]]}, "embeddings must be finite; row 0, column 0"),
        ({"breadth": 0}, "breadth must be an integer of at least 1 and at most 1000000; got 0"),
    ],
)
def test_bad_settings_are_refused(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**{"embeddings": np.eye(3), **settings})


# ---- the compressed index


def spread(kind, n, dim=32):
    rng = np.random.default_rng(n)
    vectors = rng.normal(size=(n, dim))
    if kind == "few are popular":
        vectors *= np.exp(rng.normal(size=(n, 1)) / 2)
    if kind == "few directions":
        vectors = vectors / np.arange(1, dim + 1) @ np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    if kind == "one large column":
        vectors[:, 0] *= 50
    return vectors.astype(np.float32)


@pytest.mark.parametrize(
    "kind", ["random", "few are popular", "few directions", "one large column"]
)
def test_codes_find_nearly_all_whatever_the_embeddings_are_like(kind):
    embeddings, queries = spread(kind, 8000), spread("random", 100)
    exact = opl.ItemIndex(embeddings)
    index = opl.CompressedIndex(embeddings)
    for k in (1, 10, 50):
        found = index.search(queries, k)[0]
        assert recall(found, exact.search(queries, k)[0]) > 0.97
    index.breadth = 1  # then 4 k are compared
    assert recall(index.search(queries, 1)[0], exact.search(queries, 1)[0]) < 0.97


@pytest.mark.parametrize("scale", [1e-35, 1.0, 1e35])
def test_codes_do_not_depend_on_the_unit(embeddings, queries, scale):
    scale = np.float32(scale)
    index = opl.CompressedIndex(embeddings * scale)
    expected = opl.CompressedIndex(embeddings).search(queries, 10)[0]
    assert recall(index.search(queries, 10)[0], expected) > 0.99
    if scale < 1:
        assert recall(index.search(queries / scale, 10)[0], expected) > 0.99


def test_if_only_the_worst_are_eligible_the_search_is_still_exact(embeddings):
    query = np.ones((1, 8), np.float32)
    eligible = np.zeros(N_ITEMS, bool)
    eligible[np.argsort(embeddings @ query[0])[:2500]] = True
    index = opl.CompressedIndex(embeddings, breadth=40)
    exact = opl.ItemIndex(embeddings).search(query, 10, eligible)[0]
    np.testing.assert_array_equal(index.search(query, 10, eligible)[0], exact)


@pytest.mark.parametrize(("n_items", "dim"), [(1, 1), (2, 3), (15, 2), (700, 1), (701, 33)])
def test_codes_of_any_size_are_searched(n_items, dim):
    embeddings, queries = spread("random", n_items, dim), spread("random", 5, dim)
    k = min(3, n_items)
    items, _ = opl.CompressedIndex(embeddings).search(queries, k)
    np.testing.assert_array_equal(items, opl.ItemIndex(embeddings).search(queries, k)[0])


def test_equal_embeddings_give_equal_indices(embeddings, queries):
    one, other = (opl.CompressedIndex(embeddings, breadth=40) for _ in range(2))
    for got, expected in zip(one.search(queries, 10), other.search(queries, 10), strict=True):
        np.testing.assert_array_equal(got, expected)
