"""Worlds of one's own, and what every world is asked: checked, whatever comes."""

import numpy as np
import pytest

import opl_lib as opl

Q = np.array([[0.9, 0.2, 0.5], [0.1, 0.8, 0.4]])


class Coupons(opl.World):
    """Two kinds of visitors and three items; what a subclass answers can be changed."""

    def __init__(self, q=Q, drawn=None, **changed):
        self.q, self.drawn = q, drawn
        super().__init__(
            **{
                "action_context": np.eye(3),
                "eval_context": np.eye(2),
                "logging_policy": opl.uniform(),
                **changed,
            }
        )

    def draw_context(self, n_rounds, rng):
        return np.eye(2)[rng.randint(2, size=n_rounds)] if self.drawn is None else self.drawn

    def reward_probability(self, context):
        return context @ self.q if isinstance(self.q, np.ndarray) else self.q


WORLDS = {
    "own": Coupons(),
    "synthetic": opl.SyntheticWorld(3, 2, 2, n_eval_contexts=20),
    "digits": opl.DigitsWorld(n_eval_contexts=20),
}


@pytest.fixture(params=WORLDS)
def world(request):
    return WORLDS[request.param]


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"action_context": None}, ValueError, "action_context must be an array; got None"),
        ({"action_context": np.ones((0, 2))}, ValueError, "action_context has no rows"),
        ({"eval_context": np.ones((0, 2))}, ValueError, "eval_context has no rows"),
        ({"eval_context": [["a"]]}, ValueError, "eval_context must be numeric"),
        ({"eval_context": np.full((2, 2), np.nan)}, ValueError, "eval_context must be finite"),
        ({"logging_policy": None}, TypeError, "a policy is an object .*; got NoneType"),
        ({"logging_policy": opl.uniform}, TypeError, "the class uniform: make an object of it"),
        ({"logging_policy": np.eye(2)}, TypeError, "got ndarray. An array of probabilities"),
        ({"random_state": -1}, ValueError, "random_state must be an integer"),
        ({"random_state": None}, ValueError, "random_state must be an integer"),
        ({"random_state": 2**128}, ValueError, "random_state must be .*SeedSequence"),
    ],
    ids=range(11),
)
def test_what_a_world_is_made_of_is_checked(changed, error, message):
    with pytest.raises(error, match=message):
        Coupons(**changed)


def test_a_world_owns_its_contexts_and_items():
    items, context = np.eye(3), np.eye(2)
    world = Coupons(action_context=items, eval_context=context)
    value = world.policy_value(opl.uniform())
    items[:], context[:] = 0, 0
    assert world.policy_value(opl.uniform()) == value
    for array in (world.action_context, world.eval_context):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


@pytest.mark.parametrize(
    "n_rounds", [0, -1, True, 1.0, None, "5", [5], np.array(5.0), 2**40, 10**30], ids=repr
)
def test_a_number_of_rounds_is_a_count(world, n_rounds):
    with pytest.raises(ValueError, match="n_rounds must be"):
        world.sample(n_rounds, random_state=0)


@pytest.mark.parametrize("seed", [-1, True, 1.5, "0", [0], 2**32, 2**128], ids=repr)
def test_the_seed_of_a_log_is_a_seed(world, seed):
    with pytest.raises(ValueError, match="random_state must be an integer"):
        world.sample(5, random_state=seed)


def test_integers_of_numpy_count_and_seed(world):
    plain = world.sample(5, random_state=2)
    for kind in (np.int64, np.uint8):
        np.testing.assert_array_equal(world.sample(kind(5), kind(2)).action, plain.action)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (lambda c: np.where(c == c, np.nan, c), "context must be finite; row 0, column 0 has nan"),
        (lambda c: c[:0], "context has no rows"),
        (lambda c: c[:, :1], r"context must have shape \(n, \d+\) in this world; got \(\d+, 1\)"),
        (lambda c: c[0], r"context must have shape \(n, \d+\) in this world"),
        (lambda c: c.astype(str), "context must be numeric.*number stored as text"),
        (lambda c: c * 1j, "context must be numeric.*real part"),
        (lambda c: np.ma.array(c, mask=True), "context is masked in row 0"),
        (lambda c: "x", "context must be an array"),
    ],
    ids=range(8),
)
def test_contexts_of_an_average_are_checked(world, context, message):
    context = context(np.array(world.eval_context))
    group, lists = np.arange(world.n_actions), np.zeros((len(world.eval_context), 1), int)
    for ask in (
        lambda: world.policy_value(opl.uniform(), context),
        lambda: world.value_by_group(opl.uniform(), group, context),
        lambda: world.list_value(lists, context=context),
    ):
        with pytest.raises(ValueError, match=message):
            ask()


@pytest.mark.parametrize(
    ("policy", "error", "message"),
    [
        (None, TypeError, "a policy is an object with predict_proba"),
        (3, TypeError, "a policy is an object with predict_proba.*got int"),
        (opl.TwoTowerPolicy, TypeError, "got the class TwoTowerPolicy: make an object"),
        (opl.uniform, TypeError, "got the class uniform: make an object"),
        (np.eye(3), TypeError, "An array of probabilities for the rounds of a log is taken by"),
        (lambda x, a: None, ValueError, "what the policy returned must be an array"),
        (lambda x, a: np.full((len(x), len(a)), np.nan), ValueError, "returned nan for item 0"),
    ],
    ids=range(7),
)
def test_what_is_no_policy_has_no_value(world, policy, error, message):
    for ask in (
        lambda: world.policy_value(policy),
        lambda: world.value_by_group(policy, np.arange(world.n_actions)),
    ):
        with pytest.raises(error, match=message):
            ask()


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ([0.0, np.nan, 1.0], "group is missing in row 1"),
        (["a", None, "b"], "group is missing in row 1"),
        ([1, "a", 2], "group"),
        ([0, 1], "group must hold one label an item"),
        (None, "group must be an array; got None"),
        ([[0], [1], [2]], "group must hold one label an item"),
    ],
    ids=range(6),
)
def test_every_item_has_a_group(group, message):
    if group == [1, "a", 2]:
        group = np.array(group, dtype=object)
    with pytest.raises(ValueError, match=message):
        Coupons().value_by_group(opl.uniform(), group)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (None, "items must be an array"),
        ([[0.0], [1.0]], "items must hold integers"),
        ([["a"], ["b"]], "items must hold integers"),
        ([[0], [None]], "items is missing"),
        ([[0, 1], [1]], "items cannot be read as an array"),
        ([[0, 1], [1, 3]], r"items must be in \[0, 2\], .*; row 1, column 1 has 3"),
        ([[0, 1], [1, -1]], r"items must be in \[0, 2\], .*; row 1, column 1 has -1"),
    ],
    ids=range(7),
)
def test_items_of_a_list_are_row_numbers(items, message):
    with pytest.raises(ValueError, match=message):
        Coupons().list_value(items)


@pytest.mark.parametrize("user", [None, 3, ["best"], "Best"], ids=repr)
def test_a_user_is_one_of_two(user):
    with pytest.raises(ValueError, match="user must be one of"):
        Coupons().list_value([[0], [1]], user)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"q": Q + 1},
            r"reward_probability returned 1\.\d+ in row 0, column \d, .* not in \[0, 1\]",
        ),
        ({"q": Q * np.nan}, "reward_probability returned nan in row 0"),
        ({"q": Q[:, :2]}, r"reward_probability returned shape \(\d, 2\); expected"),
        ({"q": None}, "what reward_probability returned must be an array; got None"),
        ({"drawn": np.eye(2)}, r"draw_context returned shape \(2, 2\); expected .* \(5, 2\)"),
        ({"drawn": np.ones((5, 3))}, r"draw_context returned shape \(5, 3\)"),
        ({"drawn": np.full((5, 2), np.nan)}, "what draw_context returned must be finite"),
        ({"drawn": "x"}, "what draw_context returned must be an array"),
    ],
    ids=range(8),
)
def test_what_a_subclass_answers_is_checked(answers, message):
    world = Coupons(**answers)
    with pytest.raises(ValueError, match=message):
        world.sample(5, random_state=0)


def test_a_probability_that_rounding_has_put_above_one_is_one():
    world = Coupons(np.where(Q == 0.9, np.nextafter(1, 2), Q))
    assert world.expected_reward(np.eye(2)).max() == 1
    assert world.sample(20, random_state=0).n_rounds == 20


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_actions": 2**40}, "n_actions must be at most"),
        ({"dim_context": True}, "dim_context must be an integer"),
        ({"scale": 1e300}, "scale must be at most 1e"),
        ({"scale": "1"}, "scale must be a finite number"),
        ({"scale": 2**2000}, "scale must be a finite number"),
        ({"unexplained": None}, "unexplained must be a finite number"),
        ({"reward_function": ["logistic"]}, "reward_function must be one of"),
        ({"random_state": "0"}, "random_state must be an integer"),
    ],
)
def test_settings_of_a_synthetic_world_are_checked(changed, message):
    with pytest.raises(ValueError, match=message):
        opl.SyntheticWorld(**changed)


@pytest.mark.parametrize("changed", [{"alpha": "0"}, {"alpha": True}, {"random_state": 2**40}])
def test_settings_of_the_digits_are_checked(changed):
    with pytest.raises(ValueError, match=f"{next(iter(changed))} must be"):
        opl.DigitsWorld(**changed)


def test_only_images_of_logs_have_users():
    world = WORLDS["digits"]
    np.testing.assert_array_equal(world.users_of(world.log_context[[3, 1]]), [3, 1])
    with pytest.raises(ValueError, match="row 1 is no row of log_context"):
        world.users_of(np.vstack([world.log_context[:1], np.full((1, 64), 0.5)]))


def test_worlds_do_not_ask_for_numpys_error_state(world):
    def ask():
        log = world.sample(20, random_state=0)
        return [log.reward.mean(), *world.reference_values().values()]

    plain = ask()
    with np.errstate(all="raise"):
        assert ask() == plain
