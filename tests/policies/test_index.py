"""The item index against a full sort."""

import numpy as np
import pytest
import torch

import opl_lib as opl


def by_sorting(embeddings, queries, k):
    """Items by falling score, ties by item number."""
    scores = queries @ embeddings.T
    return np.array(
        [sorted(range(len(row)), key=lambda a, r=row: (-r[a], a))[:k] for row in scores]
    )


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("k", [1, 3, 49, 50])
def test_search_equals_sorting_all_scores(rng, k):
    embeddings, queries = rng.normal(size=(50, 6)), rng.normal(size=(20, 6))
    items, scores = opl.ItemIndex(embeddings).search(queries, k)
    np.testing.assert_array_equal(items, by_sorting(embeddings, queries, k))
    expected = np.take_along_axis(queries @ embeddings.T, items, axis=1)
    np.testing.assert_allclose(scores, expected)
    assert items.shape == scores.shape == (20, k)


@pytest.mark.parametrize("n_items", [31, 32, 33, 1000, 5003])
@pytest.mark.parametrize("k", [1, 2, 10])
def test_search_by_blocks_equals_sorting_all_scores(rng, n_items, k):
    """Ties within and between blocks, and rows with few eligible items."""
    embeddings = rng.integers(-9, 10, size=(n_items, 2)).astype(np.float32)
    queries = rng.integers(-3, 4, size=(12, 2)).astype(np.float32)
    eligible = rng.random((12, n_items)) < np.linspace(0.01, 1, 12)[:, np.newaxis]
    eligible[:, :k] = True
    scores = np.where(eligible, queries @ embeddings.T, -np.inf)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    items, _ = opl.ItemIndex(embeddings).search(queries, k, eligible)
    np.testing.assert_array_equal(items, expected)


@pytest.mark.parametrize("k", [1, 2, 5, 17, 40])
def test_ties_are_ordered_by_item_number(rng, k):
    embeddings = rng.integers(-1, 2, size=(40, 2)).astype(float)
    queries = rng.integers(-1, 2, size=(30, 2)).astype(float)
    items, _ = opl.ItemIndex(embeddings).search(queries, k)
    np.testing.assert_array_equal(items, by_sorting(embeddings, queries, k))


def test_chunks_change_nothing(rng, small_chunks):
    embeddings, queries = rng.normal(size=(50, 6)), rng.normal(size=(20, 6))
    index = opl.ItemIndex(embeddings)
    whole = index.search(queries, 4)
    small_chunks()
    for got, expected in zip(index.search(queries, 4), whole, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_no_queries_give_no_items(rng):
    items, scores = opl.ItemIndex(rng.normal(size=(5, 2))).search(np.empty((0, 2)), 3)
    assert items.shape == scores.shape == (0, 3)


def test_length_is_the_number_of_items(rng):
    assert len(opl.ItemIndex(rng.normal(size=(5, 2)))) == 5


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (np.ones(3), r"embeddings must .*\(3,\)"),
        (np.ones((0, 3)), "embeddings"),
        (np.array([["a"]]), "embeddings must be numeric"),
        (np.array([[1.0, 0.0], [np.nan, 1.0]]), "embeddings must be finite; row 1, column 0"),
    ],
)
def test_bad_embeddings_are_rejected(embeddings, message):
    with pytest.raises(ValueError, match=message):
        opl.ItemIndex(embeddings)


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (np.ones((2, 4)), 1, r"queries must have shape \(n, 3\); got \(2, 4\)"),
        (np.ones(3), 1, r"queries must have .*got shape \(3,\)"),
        (np.full((1, 3), np.inf), 1, "queries must be finite; row 0"),
        (None, 1, "queries must be an array; got None"),
        ([["1", "2", "3"]], 1, "queries .*row 0, column 0 has '1', a number stored as text"),
        (np.ones((2, 3)) * 1j, 1, "queries must be numeric; got dtype complex128"),
        (np.ma.masked_equal(np.eye(3), 1), 1, "queries is masked in row 0"),
        (np.ones((2, 3)), 0, r"k must be an integer in \[1, 5\], the number of items; got 0"),
        (np.ones((2, 3)), 2.0, r"k must be an integer in \[1, 5\]"),
        (np.ones((2, 3)), True, r"k must be an integer in \[1, 5\], .*got True"),
        (np.ones((2, 3)), 6, r"k must be an integer in \[1, 5\], the number of items; got 6"),
    ],
)
def test_bad_requests_are_rejected(queries, k, message):
    with pytest.raises(ValueError, match=message):
        opl.ItemIndex(np.ones((5, 3))).search(queries, k)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_that_overflow_are_an_error_and_no_ranking(dtype, sign):
    index = opl.ItemIndex(np.array([[1, 0], [sign * np.finfo(dtype).max, 0]], dtype=dtype))
    queries = np.array([[0, 1], [0, 2], [3, 0]], dtype=dtype)
    message = f"score of item 1 for row 2 of queries is {'-' * (sign < 0)}inf, and must be finite"
    for ask in (lambda: index.scores(queries), lambda: index.search(queries, 1)):
        with pytest.raises(ValueError, match=message):
            ask()
    index.search(queries[:2], 1)


def test_a_message_names_the_row_of_all_queries(small_chunks):
    small_chunks()
    queries = np.ones((30, 1))
    queries[23] = 1e308
    with pytest.raises(ValueError, match="for row 23 of queries"):
        opl.ItemIndex(np.full((5, 1), 10.0)).search(queries, 1)


def test_an_index_owns_its_data():
    embeddings = np.eye(3)
    index = opl.ItemIndex(embeddings)
    before = index.scores(np.eye(3))
    embeddings[:] = 7
    np.testing.assert_array_equal(index.scores(np.eye(3)), before)
    with pytest.raises(ValueError, match="read-only"):
        index.embeddings[0] = 7


@pytest.mark.parametrize(
    "make",
    [
        np.ndarray.tolist,
        lambda x: x.astype(">f4"),
        lambda x: x.astype(np.float16),
        lambda x: x.astype(np.longdouble),
        lambda x: x.astype(int),
        np.asfortranarray,
        lambda x: np.broadcast_to(x, (1, *x.shape))[0],
    ],
    ids=["list", "big-endian", "half", "long", "integers", "Fortran", "read-only"],
)
def test_any_array_of_numbers_is_an_index_and_a_query(make):
    x = np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 1.0]])
    items, scores = opl.ItemIndex(make(x)).search(make(x), 2)
    np.testing.assert_array_equal(items, by_sorting(x, x, 2))
    np.testing.assert_allclose(scores, np.take_along_axis(x @ x.T, items, axis=1))


def test_search_is_the_same_whatever_the_modes_of_numpy_and_torch(rng):
    embeddings, queries = rng.normal(size=(50, 6)), rng.normal(size=(20, 6))
    index = opl.ItemIndex(embeddings.astype(np.float32))
    expected = index.search(queries.astype(np.float32), 4)
    with np.errstate(all="raise"), torch.autocast("cpu", dtype=torch.bfloat16):
        got = index.search(queries.astype(np.float32), 4)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)
