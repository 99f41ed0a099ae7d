"""The graph: its breadth, and its file."""

import json

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


def test_all_items_are_found_if_all_are_asked_for(embeddings, queries):
    """Also those that the graph does not lead to."""
    index = opl.HNSWIndex(embeddings[:200], links=2, build_breadth=1, breadth=1)
    items, _ = index.search(queries, 200)
    np.testing.assert_array_equal(np.sort(items, axis=1), np.tile(np.arange(200), (60, 1)))


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
