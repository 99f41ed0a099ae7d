"""Serving asks of features what a log asks, computes no nonsense, and owns what it serves."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

import opl_lib as opl

ITEMS = np.eye(2)
CALLS = ["predict_proba", "scores", "greedy", "sample", "to_obp", "top_k"]


@pytest.fixture
def policy():
    return opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 2, (4,), 4, random_state=0), 0.5)


def ask(policy, call, context, items):
    more = {"top_k": {"k": 1}, "sample": {"random_state": 0}}
    return getattr(policy, call)(context, items, **more.get(call, {}))


def masked():
    return np.ma.masked_array(np.full((2, 3), -999.0), mask=[[0, 0, 0], [0, 1, 0]])


def with_missing():
    column = pd.array([1, None], dtype="Int64")
    return pd.DataFrame({"a": column, "b": [0.5, 0.5], "c": [0.5, 0.5]})


HOSTILE = {
    "masked": (masked, "is masked in row 1"),
    "text": (lambda: np.ones((2, 3)).astype(str), "row 0, column 0 has '1.0', a number stored"),
    "categories": (lambda: [["a", "b", "c"]], "row 0, column 0 has 'a'. Encode categories"),
    "complex": (lambda: np.ones((2, 3)) * 1j, "must be numeric; got dtype complex128"),
    "missing": (with_missing, "row 1, column 0 is missing"),
    "None": (lambda: [[1.0, None, 2.0]], "row 0, column 1 is missing"),
    "sparse": (lambda: scipy.sparse.eye(3).tocsr(), r"is a sparse matrix, and .*toarray\(\)"),
    "dates": (lambda: np.full((2, 3), np.datetime64("2020-01-01")), "got dtype datetime64"),
    "ragged": (lambda: [[1.0, 2.0, 3.0], [1.0]], "cannot be read as an array"),
    "nothing": (lambda: None, "must be an array; got None"),
    "a mapping": (lambda: {}, "must be an array; got {}"),
    "a word": (lambda: "context", "must be an array; got 'context'"),
    "an empty list": (lambda: [], r"must have 2 dimensions; got shape \(0,\)"),
    "no columns": (lambda: np.ones((2, 0)), "has no columns"),
    "infinite": (lambda: np.array([[1, 1, 1], [1, 1, np.inf]]), "must be finite; row 1, column 2"),
    "too large": (lambda: np.full((2, 3), 1e39), "is too large for single precision: row 0"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("name", ["context", "action_context"])
def test_features_that_no_log_takes_are_not_served(policy, call, what, name):
    make, message = HOSTILE[what]
    features = {"context": np.ones((2, 3)), "action_context": np.ones((2, 2))}
    with pytest.raises(ValueError, match=f"^{name} .*{message}"):
        ask(policy, call, *(features | {name: make()}).values())


@pytest.mark.parametrize(
    "make",
    [
        np.ndarray.tolist,
        pd.DataFrame,
        lambda x: x.astype(">f8"),
        lambda x: x.astype(np.float16),
        lambda x: x.astype(bool),
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: np.ma.masked_array(x),
    ],
    ids="list frame big-endian half bool Fortran strided unmasked".split(),
)
def test_features_of_any_numeric_kind_are_served(policy, make):
    context = np.array([[1.0, 0, 1], [0, 0, 1]])
    expected = policy.predict_proba(context, ITEMS)
    np.testing.assert_allclose(
        policy.predict_proba(make(context), make(ITEMS)), expected, rtol=1e-6
    )


# ---- scores that are no numbers


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("temperature", [0, 1e-38, 1])
def test_scores_that_overflow_are_an_error_with_their_row(call, temperature):
    towers = opl.TwoTower(torch.nn.Identity(), torch.nn.Identity())
    context, items = np.array([[1.0], [2.0], [3e38]]), np.array([[1.0], [-3.0]])
    served = opl.TwoTowerPolicy(towers, temperature)
    with pytest.raises(ValueError, match="score of item 1 for row 2 of context is -inf"):
        ask(served, call, context, items)
    ask(served, call, context[:2], items)


def test_sampling_names_the_row_of_all_contexts(small_chunks):
    small_chunks()
    towers = opl.TwoTower(torch.nn.Identity(), torch.nn.Identity())
    context = np.ones((50, 1))
    context[37] = 1e38
    for temperature in (0, 1):
        with pytest.raises(ValueError, match="for row 37 of context is inf"):
            opl.TwoTowerPolicy(towers, temperature).sample(context, np.full((5, 1), 10.0))
    linear = torch.nn.Linear(1, 1)
    with torch.no_grad():
        linear.weight.fill_(10)
    with pytest.raises(ValueError, match="no finite embedding for row 37 of context"):
        opl.TwoTowerPolicy(opl.TwoTower(linear, linear)).sample(context, np.ones((5, 1)))


@pytest.mark.parametrize("weight", [1e25, 1e30, 3e38])
@pytest.mark.parametrize("temperature", [0, 1])
def test_giant_weights_are_an_error_and_no_choice(policy, weight, temperature):
    with torch.no_grad():
        for weights in policy.towers.parameters():
            weights.fill_(weight)
    with pytest.raises(ValueError, match="finite"):
        policy.at_temperature(temperature).sample(np.ones((1, 3)), ITEMS, 0)


@pytest.mark.parametrize("temperature", [-1, np.nan, 1e-310, "1", None, True, [1.0], 2**2000])
def test_a_temperature_is_checked_where_it_is_assigned(policy, temperature):
    with pytest.raises(ValueError, match="temperature must be a finite number of at least"):
        policy.temperature = temperature
    with pytest.raises(ValueError, match="temperature must be a finite number of at least"):
        policy.at_temperature(temperature)
    assert policy.temperature == 0.5


@pytest.mark.parametrize("seed", [-1, 0.5, "0", True, 2**32, np.random.default_rng(0)], ids=str)
def test_a_seed_is_an_integer(policy, seed):
    with pytest.raises(ValueError, match="random_state must be an integer"):
        policy.sample(np.ones((1, 3)), ITEMS, seed)


# ---- towers of one's own


class Returns(torch.nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, features):
        return self.make(features)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda x: x.numpy(), TypeError, "must return a tensor, .*; it returned ndarray"),
        (lambda x: (x, x), TypeError, "must return a tensor, .*; it returned tuple"),
        (lambda x: x[:, 0], ValueError, r"of shape \(5, dim_embedding\); .*of shape \(5,\)"),
        (lambda x: x[:1], ValueError, r"it returned torch.float32 of shape \(1, 2\)"),
        (lambda x: x * 1j, ValueError, "must return real numbers"),
        (lambda x: x / 0, ValueError, "no finite embedding for row 0 of context"),
        (lambda x: torch.cat([x, x], 1), ValueError, "give both towers the same dim_embedding"),
    ],
    ids=["array", "tuple", "vector", "a row", "complex", "infinite", "another size"],
)
def test_what_a_tower_returns_is_checked(make, error, message):
    policy = opl.TwoTowerPolicy(opl.TwoTower(Returns(make), torch.nn.Identity()))
    with pytest.raises(error, match=message):
        policy.predict_proba(np.ones((5, 2)), ITEMS)


def test_towers_of_ones_own_say_their_width():
    towers = opl.TwoTower(torch.nn.Sequential(torch.nn.Linear(3, 2)), torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="context has 4 features, but this policy was made for 3"):
        opl.TwoTowerPolicy(towers).predict_proba(np.ones((5, 4)), ITEMS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tower: tower.double(), r"is of dtype torch.float64, .*towers.float\(\)"),
        (lambda tower: tower.half(), "is of dtype torch.float16"),
        (lambda tower: tower.to("meta"), r"is on meta. Move it: towers.cpu\(\)"),
        (lambda tower: torch.nn.LazyLinear(2), "has no size yet. Call the towers on features"),
    ],
    ids=["double", "half", "meta", "lazy"],
)
def test_towers_that_cannot_be_served_are_refused(change, message):
    towers = opl.TwoTower(change(torch.nn.Linear(3, 2)), torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=f"towers: context_tower.weight {message}"):
        opl.TwoTowerPolicy(towers)


def test_towers_with_dropout_predict_without_it_in_any_thread():
    layers = [
        torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(width, 4)) for width in (3, 2)
    ]
    policy = opl.TwoTowerPolicy(opl.TwoTower(*layers).train())
    rng = np.random.default_rng(0)
    context, items = rng.normal(size=(5, 3)), rng.normal(size=(4, 2))
    expected, interval = policy.predict_proba(context, items), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda _: policy.predict_proba(context, items), range(600)))
    finally:
        sys.setswitchinterval(interval)
    assert all(np.array_equal(pi, expected) for pi in got)
    assert all(module.training for module in policy.towers.modules())


# ---- memory and modes


def test_embeddings_that_are_handed_out_are_the_callers(policy):
    """As `faiss.normalize_L2` does, which divides in place."""
    items, context = np.random.default_rng(0).normal(size=(6, 2)), np.ones((1, 3))
    served = policy.for_items(items)
    expected = served.predict_proba(context, items)
    for embeddings in (served.embed_items(items), policy.embed_items(items)):
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    np.testing.assert_array_equal(served.predict_proba(context, items), expected)
    np.testing.assert_array_equal(policy.predict_proba(context, items), expected)


@pytest.mark.parametrize("n_items", [3, 4], ids=["alone", "with twins"])
def test_embeddings_are_no_weights(n_items):
    table = torch.nn.Parameter(torch.eye(4)[:n_items])

    class Table(torch.nn.Module):
        def forward(self, features):
            return table

    policy = opl.TwoTowerPolicy(opl.TwoTower(Table(), Table()))
    features = np.array([[1.0], [2.0], [3.0], [3.0]])[:n_items]
    before = table.detach().clone()
    policy.embed_items(features)[:] = 7
    policy.embed_context(features)[:] = 7
    assert torch.equal(table, before)


def test_items_that_are_edited_change_nothing_that_was_encoded(policy):
    items, context = np.random.default_rng(0).normal(size=(6, 2)), np.ones((1, 3))
    served = policy.for_items(items)
    expected = served.predict_proba(context, items)
    items += 1
    np.testing.assert_array_equal(served.predict_proba(context, items), expected)
    assert not np.array_equal(policy.predict_proba(context, items), expected)
    assert not np.array_equal(served.predict_proba(context, items.copy()), expected)


def test_towers_are_not_exchanged(policy):
    """Items that are encoded already would stay those of the old ones."""
    with pytest.raises(AttributeError, match="towers"):
        policy.towers = opl.TwoTower.mlp(3, 2, (4,), 4, random_state=1)


@pytest.mark.parametrize("call", CALLS)
def test_what_is_served_is_the_same_whatever_the_modes_of_numpy_and_torch(policy, call):
    rng = np.random.default_rng(0)
    context, items = rng.normal(size=(5, 3)), rng.normal(size=(4, 2))
    cold = policy.at_temperature(1e-3)

    def answers():
        return [
            ask(served, call, context, items) for served in (policy, cold, policy.at_temperature(0))
        ]

    expected = answers()
    torch.set_default_dtype(torch.float64)
    try:
        with np.errstate(all="raise"), torch.autocast("cpu", dtype=torch.bfloat16):
            got = answers()
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)
