"""The approximate index: against exact search, among eligible items, and its file."""

import json
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


@pytest.fixture(scope="module")
def index(embeddings):
    return opl.HNSWIndex(embeddings)


def recall(items, exact):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(items, exact, strict=True)])


def test_a_broad_search_finds_nearly_all_and_a_narrow_one_fewer(embeddings, queries):
    index = opl.HNSWIndex(embeddings, links=16, build_breadth=40)
    exact = opl.ItemIndex(embeddings).search(queries, 10)[0]
    found = {}
    for breadth in (1, 500):
        index.breadth = breadth
        found[breadth] = recall(index.search(queries, 10)[0], exact)
    assert found[500] > 0.98 > found[1] + 0.02


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


def test_all_items_are_found_if_all_are_asked_for(embeddings, queries):
    """Also those that the graph does not lead to."""
    index = opl.HNSWIndex(embeddings[:200], links=2, build_breadth=1, breadth=1)
    items, _ = index.search(queries, 200)
    np.testing.assert_array_equal(np.sort(items, axis=1), np.tile(np.arange(200), (60, 1)))


def test_items_far_from_the_origin_are_found_as_those_around_it(embeddings, queries):
    """Their mean shifts all scores alike."""
    moved = embeddings + np.float32(5)
    items, scores = opl.HNSWIndex(moved, links=16, build_breadth=40).search(queries, 10)
    exact = opl.ItemIndex(moved).search(queries, 10)[0]
    assert recall(items, exact) > 0.95
    expected = np.take_along_axis(queries @ moved.T, items, 1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)


def test_equal_scores_are_ordered_by_item_number():
    index = opl.HNSWIndex(np.tile([[1.0, 0.0]], (20, 1)))
    np.testing.assert_array_equal(index.search([[1.0, 1.0]], 20)[0][0], np.arange(20))


def test_a_saved_index_finds_the_same(index, embeddings, queries, tmp_path):
    index.save(tmp_path / "index")
    loaded = opl.HNSWIndex.load(tmp_path / "index", embeddings)
    assert loaded.breadth == index.breadth
    for got, expected in zip(loaded.search(queries, 10), index.search(queries, 10), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_an_index_of_another_policy_is_refused(index, embeddings, tmp_path):
    index.save(tmp_path / "index")
    moved = embeddings.copy()
    moved[17, 3] += 0.01
    with pytest.raises(ValueError, match=r"another policy or of other items: .*row 17"):
        opl.HNSWIndex.load(tmp_path / "index", moved)
    with pytest.raises(ValueError, match=r"shape \(3000, 8\); embeddings has \(2999, 8\)"):
        opl.HNSWIndex.load(tmp_path / "index", embeddings[:-1])


def without_end(content):
    return content[:-1]


def without_graph(content):
    return content.partition(b"\n")[0]


def with_other_breadth(content):
    head, _, graph = content.partition(b"\n")
    return json.dumps({**json.loads(head), "breadth": 7}).encode() + b"\n" + graph


def with_a_bit_turned(content):
    return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]


DAMAGES = [without_end, without_graph, with_other_breadth, with_a_bit_turned, lambda content: b""]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused(index, embeddings, tmp_path, damage):
    path = tmp_path / "index"
    index.save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        ValueError, match=r"index was not written by HNSWIndex.save, or was damaged"
    ):
        opl.HNSWIndex.load(path, embeddings)


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


def test_an_exploring_policy_retrieves_by_it():
    rng = np.random.default_rng(0)
    learned = opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 4, (5,), 4, random_state=0), 0.1)
    context, items = rng.normal(size=(500, 3)), rng.normal(size=(N_ITEMS, 4))
    policy = opl.ExploringPolicy(learned, 0.1, k=20, index=opl.HNSWIndex).for_items(items)
    eligible = rng.random(N_ITEMS) < 0.7
    action, pscore = policy.sample(context, items, 0, eligible)
    pi = policy.predict_proba(context, items, eligible)
    np.testing.assert_allclose(pi.sum(axis=1), 1)
    np.testing.assert_allclose(pi[np.arange(500), action], pscore, rtol=1e-5)


def test_faiss_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "opl-lib\[ann\]"'):
        opl.HNSWIndex(np.eye(3))
