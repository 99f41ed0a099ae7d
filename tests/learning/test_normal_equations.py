"""The normal equations, by iterations and written out, against columns written out by hand."""

import numpy as np
import pytest

from opl_lib.learning import normal_equations
from opl_lib.learning.normal_equations import NormalEquations

D, R = 4, 3


def sums(n_items, n_given=0, seed=0, rounds_each=(0, 40), items=None):
    """Equations of rounds whose contexts depend on the item, their columns, and their targets."""
    rng = np.random.default_rng(seed)
    items = rng.normal(size=(n_items, R)) if items is None else items
    given = rng.normal(size=(n_given, n_items, D))
    squares, moments = np.zeros((n_items, D, D)), np.zeros((n_items, D))
    columns, targets = [], []
    for number in range(n_items):
        size = (rng.integers(*rounds_each), D)
        x = rng.normal(size=size) * rng.gamma(1, size=D) + rng.normal(size=D)
        y = rng.normal(size=len(x)) + x[:, 0]
        squares[number], moments[number] = x.T @ x, x.T @ y
        products = np.einsum("nd,r->ndr", x, items[number]).reshape(len(x), D * R)
        columns.append(np.hstack([products, x @ given[:, number].T]))
        targets.append(y)
    return NormalEquations(squares, moments, items, given), np.vstack(columns), np.hstack(targets)


def by_hand(columns, targets, penalty, of_factor):
    gram = columns.T @ columns
    penalties = np.full(len(gram), penalty)
    penalties[D * R :] = of_factor * np.diag(gram)[D * R :]
    return np.linalg.solve(gram + np.diag(penalties), columns.T @ targets)


@pytest.fixture(autouse=True)
def many_products(monkeypatch):
    monkeypatch.setattr(normal_equations, "_FEW_PRODUCTS", 0)


@pytest.mark.parametrize("penalty", [1e-2, 1.0, 1e3])
@pytest.mark.parametrize("n_given", [0, 1])
@pytest.mark.parametrize("n_items", [2, 8, 9, 30])  # from 9 = R² on they are written out
def test_what_is_found_solves_the_equations(n_items, n_given, penalty):
    equations, columns, targets = sums(n_items, n_given)
    found = equations.solved(penalty, 0.3)
    np.testing.assert_allclose(found, by_hand(columns, targets, penalty, 0.3), rtol=0, atol=1e-8)
    w, factors = equations.split(found)
    assert (w.shape, factors.shape) == ((D, R), (n_given,))


@pytest.mark.parametrize("n_given", [0, 1])
def test_both_ways_find_the_same(n_given):
    equations = sums(20, n_given)[0]
    penalties = np.append(np.full(D * R, 0.1), 0.3 * equations._sizes)
    iterated, factored = equations._iterated(penalties), equations._factored(penalties)
    np.testing.assert_allclose(iterated, factored, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "items",
    [np.zeros((5, R)), np.ones((5, R)), np.eye(5, R), 1e6 * np.eye(5, R)],
    ids=["zeros", "alike", "some zero", "large"],
)
def test_items_that_say_little_are_no_obstacle(items):
    equations, columns, targets = sums(5, items=items)
    found = equations.solved(0.1, 0.3)
    assert np.isfinite(found).all()
    predicted = columns @ found
    expected = columns @ by_hand(columns, targets, 0.1, 0.3)
    np.testing.assert_allclose(predicted, expected, atol=1e-6)


def test_without_rounds_the_answer_is_0():
    assert not sums(5, rounds_each=(0, 1))[0].solved(1.0, 0.3).any()


def test_iterations_that_do_not_get_there_are_replaced(monkeypatch):
    equations, columns, targets = sums(5, 1)
    monkeypatch.setattr(normal_equations, "_MAX_ITERATIONS", 1)
    assert equations._iterated(np.append(np.full(D * R, 0.1), 0.3 * equations._sizes)) is None
    found = equations.solved(0.1, 0.3)
    np.testing.assert_allclose(found, by_hand(columns, targets, 0.1, 0.3), rtol=0, atol=1e-8)


@pytest.mark.parametrize("seed", range(20))
def test_items_shown_to_different_contexts_need_some_dozen_iterations(seed, monkeypatch):
    equations, columns, targets = sums(6, 1, seed, rounds_each=(1, 400))
    monkeypatch.setattr(NormalEquations, "_factored", None)  # it is not asked
    found = equations.solved(len(targets) * 1e-3, 1e-3)
    expected = by_hand(columns, targets, len(targets) * 1e-3, 1e-3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_few_products_are_written_out(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(NormalEquations, "_iterated", None)  # it is not asked
    equations, columns, targets = sums(2)
    found = equations.solved(0.1, 0.3)
    np.testing.assert_allclose(found, by_hand(columns, targets, 0.1, 0.3), rtol=0, atol=1e-8)
