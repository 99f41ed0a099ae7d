"""Logging policies: probabilities by hand, the article's numbers, rejected settings."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

import opl_lib as opl

CONTEXT = np.array([[1.0, 0.0], [0.0, 2.0]])
ITEMS = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.25]])
POLICIES = [
    opl.uniform(),
    opl.zipf(1.0),
    opl.epsilon_greedy(0.3),
    opl.epsilon_greedy_as_published(0.3),
    opl.softmax(0.5),
]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_rows_are_distributions(policy):
    rng = np.random.default_rng(0)
    pi = policy(rng.normal(size=(20, 4)), rng.normal(size=(7, 4)))
    assert pi.shape == (20, 7) and (pi > 0).all()
    np.testing.assert_allclose(pi.sum(axis=1), 1)


def test_uniform_by_hand():
    np.testing.assert_array_equal(opl.uniform()(CONTEXT, ITEMS), np.full((2, 3), 1 / 3))


def test_uniform_needs_no_common_width():
    assert opl.uniform()(np.ones((2, 5)), np.ones((4, 3))).shape == (2, 4)


def test_zipf_by_hand():
    np.testing.assert_allclose(opl.zipf(1)(CONTEXT, ITEMS), [[6 / 11, 3 / 11, 2 / 11]] * 2)
    np.testing.assert_allclose(opl.zipf(2.0)(CONTEXT, ITEMS), [[36 / 49, 9 / 49, 4 / 49]] * 2)
    assert opl.zipf(0)(np.ones((2, 5)), ITEMS).tolist() == opl.uniform()(CONTEXT, ITEMS).tolist()
    assert (opl.zipf(10)(np.ones((1, 2)), np.ones((100_000, 1))) > 0).all()


@pytest.mark.parametrize("exponent", [-0.1, 10.1, float("nan"), None, "1"])
def test_an_exponent_out_of_range_is_rejected(exponent):
    with pytest.raises(ValueError, match=f"exponent must be .* at most 10; got {exponent!r}"):
        opl.zipf(exponent)


def test_epsilon_greedy_by_hand():
    expected = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]
    np.testing.assert_allclose(opl.epsilon_greedy(0.3)(CONTEXT, ITEMS), expected)


def test_epsilon_of_one_is_uniform():
    np.testing.assert_allclose(opl.epsilon_greedy(1)(CONTEXT, ITEMS), 1 / 3)


def test_softmax_by_hand():
    weights = np.exp([[2.0, 0.0, 1.0], [0.0, 4.0, 1.0]])
    expected = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(opl.softmax(0.5)(CONTEXT, ITEMS), expected)


def test_softmax_survives_huge_inner_products():
    pi = opl.softmax(1.0)(1e4 * CONTEXT, ITEMS)
    np.testing.assert_allclose(pi, [[1, 0, 0], [0, 1, 0]])


def test_published_epsilon_greedy_is_the_softmax_of_the_probabilities():
    weights = np.exp([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    expected = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(opl.epsilon_greedy_as_published(0.3)(CONTEXT, ITEMS), expected)


@pytest.mark.parametrize(
    ("policy", "n_actions", "best", "digits"),
    [
        (opl.epsilon_greedy(0.1), 10, 0.91, 6),
        (opl.epsilon_greedy_as_published(0.1), 10, 0.215, 3),
        (opl.epsilon_greedy(0.1), 5000, 0.90002, 6),
        (opl.epsilon_greedy_as_published(0.1), 5000, 0.0005, 4),
    ],
    ids=str,
)
def test_the_best_item_has_the_probability_that_the_book_reports(policy, n_actions, best, digits):
    rng = np.random.default_rng(0)
    context, items = rng.normal(size=(3, 5)), rng.uniform(size=(n_actions, 5))
    largest = policy(context, items).max(axis=1)
    np.testing.assert_array_equal(largest.round(digits), best)


@pytest.mark.parametrize("policy", POLICIES[2:], ids=str)
def test_inner_products_need_one_width(policy):
    with pytest.raises(
        ValueError, match="contexts have 4 features and items 3; give both the same"
    ):
        policy(np.ones((2, 4)), np.ones((5, 3)))


@pytest.mark.parametrize("make", [opl.epsilon_greedy, opl.epsilon_greedy_as_published])
@pytest.mark.parametrize("epsilon", [0, -0.1, 1.1, float("nan")])
def test_epsilon_out_of_range_is_rejected(make, epsilon):
    with pytest.raises(ValueError, match=rf"epsilon must be in \(0, 1\]; got {epsilon}. At 0 the"):
        make(epsilon)


@pytest.mark.parametrize("temperature", [0, 1e-320, -1.0, float("nan"), float("inf")])
def test_temperature_out_of_range_is_rejected(temperature):
    with pytest.raises(
        ValueError, match=f"temperature must be .* at least 1e-38; got {temperature}"
    ):
        opl.softmax(temperature)


def test_policies_with_equal_settings_are_equal_and_print_them():
    assert opl.epsilon_greedy(0.2) == opl.epsilon_greedy(0.2) != opl.epsilon_greedy(0.3)
    assert repr(opl.softmax(2.0)) == "softmax(temperature=2.0)"


@pytest.mark.parametrize(
    ("context", "items", "message"),
    [
        (None, ITEMS, "context must be an array; got None"),
        ("x", ITEMS, "context must be an array; got 'x'"),
        ([["1", "2"]], ITEMS, "context must be numeric.*number stored as text"),
        (np.ones(2), ITEMS, "context must have 2 dimensions"),
        ([[1, 2], [3]], ITEMS, "context cannot be read as an array"),
        (np.array([[1.0, np.nan]]), ITEMS, "context must be finite; row 0, column 1 has nan"),
        (np.ma.masked_equal([[1.0, 2.0]], 2), ITEMS, "context is masked in row 0"),
        (np.array([[1j, 0]]), ITEMS, "context must be numeric.*real part"),
        (csr_matrix(np.eye(2)), ITEMS, "context is a sparse matrix"),
        (np.ones((2, 0)), ITEMS, "context has no columns"),
        (CONTEXT, np.ones((0, 2)), "action_context has no rows"),
        (CONTEXT, None, "action_context must be an array; got None"),
        (CONTEXT, np.ones(2), "action_context must have 2 dimensions"),
        (
            CONTEXT,
            np.full((3, 2), np.inf),
            "action_context must be finite; row 0, column 0 has inf",
        ),
    ],
    ids=range(14),
)
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_a_logging_policy_checks_what_it_is_asked_about(policy, context, items, message):
    with pytest.raises(ValueError, match=message):
        policy(context, items)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_a_logging_policy_takes_whatever_are_numbers(policy):
    expected = policy(CONTEXT, ITEMS)
    strided = np.asfortranarray(np.repeat(CONTEXT, 2, axis=0)[::2])
    strided.flags.writeable = False
    for context in (CONTEXT.tolist(), pd.DataFrame(CONTEXT), strided, CONTEXT.astype(">f8")):
        np.testing.assert_array_equal(policy(context, ITEMS.tolist()), expected)
    assert policy(CONTEXT[:0], ITEMS).shape == (0, len(ITEMS))


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_a_logging_policy_does_not_ask_for_numpys_error_state(policy):
    far = np.array([[1000.0, -1000.0], [0.0, 1e-200]])
    expected = policy(far, ITEMS)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(policy(far, ITEMS), expected)


@pytest.mark.parametrize("policy", POLICIES[2:], ids=str)
def test_inner_products_that_overflow_are_an_error(policy):
    with pytest.raises(ValueError, match=r"inner products .* not finite, first in row 1, column"):
        policy(np.array([[1.0, 1.0], [1e308, 1e308]]), 100 * ITEMS + 100)


def test_a_temperature_too_low_for_the_inner_products_is_an_error():
    policy = opl.softmax(1e-38)
    with pytest.raises(ValueError, match=r"temperature=1e-38 are not finite, first in row 0"):
        policy(np.full((1, 2), 1e300), ITEMS + 1)


@pytest.mark.parametrize("setting", [True, None, "0.1", [0.1], np.array([0.1]), 1j])
@pytest.mark.parametrize("make", [opl.epsilon_greedy, opl.epsilon_greedy_as_published, opl.softmax])
def test_what_is_no_number_is_no_setting(make, setting):
    name = "temperature" if make is opl.softmax else "epsilon"
    with pytest.raises(ValueError, match=f"{name} must be .*; got"):
        make(setting)
