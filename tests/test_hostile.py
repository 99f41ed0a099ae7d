"""Hostile input over the whole public API: nothing wrong in silence, no bare error, few unclear."""

import inspect
import math
import time
from collections import Counter, defaultdict

import hostile
import numpy as np
import pytest
from hostile import Call, Case, Kind, attack, choice, count, judge, seed
from hostile_rooms import calls, words
from hostile_rooms.things import Coupons, Fits, Returns, Stump, things

import opl_lib as opl

# What the library makes and nobody makes by hand, and what is an error or a warning.
NOT_CALLED = {
    "Batch",
    "Columns",
    "CrossFittedRewardModel",
    "Learned",
    *(f"LogOnDisk.{name}" for name in dir(opl.BanditFeedback)),  # of which it is one
    "LogOnDisk",
    "LogReport",
    "LogWithoutPropensities",
    "NonFiniteLossError",
    "PolicyWarning",
    "PropensityEstimate",
    "Selection",
    "StopFit",
    "SupportReport",
    "Terms",
    "Terms.against_logging",
    "Terms.check_within",
    *(f"World.{name}" for name in dir(opl.World)),  # called on the worlds that know rewards
    *(f"{formula}.ask" for formula in ("Objective", "Regression")),  # with what a fit has checked
}
# Parameters that take what the library passes to a hook or a formula, or anything at all.
NOT_ATTACKED = {
    "read_parquet": {"names"},  # those of from_dataframe
    "get_params": {"deep"},
    "set_params": {"params"},
    "draw_context": {"n_rounds", "rng"},
    "draw_eligible": {"n_rounds", "rng"},
    "users_of": {"context"},
    "reward_probability": {"context"},
    "reward_probability_of": {"context", "action"},
    "per_row": {"terms", "w", "limit"},
    "link": {"reward"},
    "start": {"callback", "whole"},
    "for_fit": {"n_rounds", "is_regression"},
    "serving_temperature": {"is_regression"},
    "forward": {"context", "action_context"},
    "Form.sample": {"terms", "limit", "known"},
    "Objective": {"function"},  # as `given`, whose name is free
    "Estimator": {"form"},  # beside a name of its own
}


@pytest.fixture(scope="module")
def found():
    return list(attack(calls(), words))


def listed(found, *kinds):
    return [f"{case}: {outcome.said}" for case, outcome in found if outcome.kind in kinds]


@pytest.mark.parametrize("kind", ["wrong silently", "wrong type", "refused wrongly"])
def test_nothing_hostile_is_taken_and_nothing_odd_is_refused(found, kind):
    assert listed(found, kind) == []


def test_nearly_every_refusal_names_the_argument(found):
    assert len(listed(found, "unclear")) <= 20, listed(found, "unclear")


def test_there_are_thousands_of_inputs(found):
    counted = Counter(outcome.kind for _, outcome in found)
    assert counted["refused"] >= 5000 and counted["accepted"] >= 1000


# ---- the table


def public():
    """Public functions and methods, and the classes that can be made."""
    for name in opl.__all__:
        thing = getattr(opl, name)
        if not callable(thing):
            continue
        yield name, thing
        if inspect.isclass(thing):
            fields = getattr(thing, "__dataclass_fields__", {})
            for owner in thing.__mro__:
                for method, value in vars(owner).items():
                    own = owner.__module__.startswith("opl_lib.") and method not in fields
                    if own and not method.startswith("_") and not isinstance(value, property):
                        if callable(getattr(thing, method)):
                            yield f"{name}.{method}", getattr(thing, method)


def test_the_table_holds_the_whole_public_api():
    called = {call.name for call in calls()}
    assert {name for name, _ in public()} - called - NOT_CALLED == set()


def test_every_argument_is_attacked():
    """By one of the calls whose first word is the function."""
    attacked = defaultdict(set)
    for call in calls():
        attacked[call.name.split(" ")[0]] |= call.kinds.keys()
    missing = {}
    for name, thing in public():
        if name in NOT_CALLED:
            continue
        last = name.split(".")[-1]
        free = {"self", *NOT_ATTACKED.get(last, ()), *NOT_ATTACKED.get(name, ())}
        if lost := set(inspect.signature(thing).parameters) - attacked[name] - free:
            missing[name] = lost
    assert missing == {}


# ---- what a user's own function raises is the user's


class Own(Exception):
    pass


def fails(*_):
    raise Own("of the user's own")


class Unteachable:
    def fit(self, feedback):
        fails()


CALLED_BACK = {
    "a policy": lambda t: opl.evaluate(fails_for_two, t.log, ["ips"]),
    "a policy in a report": lambda t: t.log.support_report(Returns(fails)),
    "a policy in a world": lambda t: t.world.policy_value(Returns(fails)),
    "a reward model": lambda t: opl.evaluate(opl.uniform(), t.log, ["dm"], Returns(fails)),
    "a reward model in a fit": lambda t: t.learner("dr", reward_model=Fits(fails)).fit(t.log),
    "a callback": lambda t: t.learner().fit(t.log, fails_for_one),
    "a callback of the default": lambda t: t.learner("auto").fit(t.log, fails_for_one),
    "a policy in learn": lambda t: opl.learn(t.log, {"a": fails_for_two}, estimator="ips"),
    "a learner in learn": lambda t: opl.learn(t.log, {"a": Unteachable()}, estimator="ips"),
    "a callback of early stopping": lambda t: opl.EarlyStopping(t.learner()).fit(
        t.log, fails_for_one
    ),
    "an objective": lambda t: t.learner(fails_for_two).fit(t.log),
    "a form": lambda t: opl.evaluate(
        opl.uniform(), t.log, [opl.Estimator("own", form=opl.Form(fails_for_two))]
    ),
    "a choice": lambda t: opl.rehearse(fails_for_one, t.world, 5, 1),
    "a classifier": lambda t: opl.estimate_propensities(t.context, t.action, 3, Stump(fails)),
    "a world's rewards": lambda t: Coupons(rewards=fails).sample(5, 0),
}


def fails_for_one(one):
    fails()


def fails_for_two(one, other):
    fails()


@pytest.mark.parametrize("called", CALLED_BACK.values(), ids=CALLED_BACK)
def test_an_error_of_ones_own_comes_through(called):
    with pytest.raises(Own, match="of the user's own"):
        called(things())


# ---- the judge can say no


def call(function, **right):
    return Call("none", "f", function, right, {"x": Kind(lambda right: {})})


def verdict(function, wanted="refused", value=None, expected=None, **right):
    case = Case(call(function, **{"x": 1, **right}), "x", "label", value, wanted)
    return judge(case, "x", expected, folder=__file__).kind


def refuses(x):
    raise ValueError(f"x must be a number; got {x!r}.")


def refuses_as_a_type(x):
    raise TypeError(f"x must be a number; got {x!r}.")


def refuses_without_a_name(x):
    raise ValueError("that is no number.")


def lets_python_speak(x):
    return float(x)


def lets_numpy_speak(x):
    return np.zeros(3) + np.zeros(4)


def looks_up(x):
    return {}[x]


def raises_another(x):
    raise RuntimeError(f"x must be a number; got {x!r}.")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (refuses, "refused"),
        (refuses_as_a_type, "refused"),
        (refuses_without_a_name, "unclear"),
        (lets_python_speak, "wrong type"),
        (lets_numpy_speak, "wrong type"),
        (looks_up, "wrong type"),
        (raises_another, "wrong type"),
        (lambda x: 3, "wrong silently"),
    ],
)
def test_the_judge_tells_a_refusal_from_an_escape(function, expected):
    assert verdict(function) == expected


def test_the_judge_wants_what_is_odd_to_mean_the_same():
    assert verdict(lambda x: x, "accepted", value=1.0, expected=1) == "accepted"
    assert verdict(lambda x: x, "accepted", value=2.0, expected=1) == "wrong silently"
    assert verdict(refuses, "accepted", value=1.0, expected=1) == "refused wrongly"
    assert verdict(refuses, "either") == "refused"
    assert verdict(looks_up, "either") == "wrong type"


def test_the_judge_does_not_take_a_longer_name_for_the_argument():
    def other(x):
        raise ValueError("max must be a number.")

    assert verdict(other) == "unclear"


def test_the_judge_does_not_wait_for_ever():
    error = hostile.ask(lambda x: time.sleep(5), {"x": 1}, seconds=0.05)[1]
    assert isinstance(error, TimeoutError)


def test_a_right_call_that_fails_is_no_success():
    broken = Call("none", "f", refuses, {"x": 1}, {"x": count()})
    ((_, outcome),) = attack([broken], words)
    assert outcome.kind == "refused wrongly"


def test_a_function_that_takes_everything_is_found_out():
    kinds = {"x": count(), "y": seed(), "z": choice()}
    lenient = Call("none", "f", lambda x, y, z: 0, {"x": 1, "y": 0, "z": "a"}, kinds)
    found = Counter(outcome.kind for _, outcome in attack([lenient], words))
    assert found["wrong silently"] > 40 and found["refused"] == 0


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (np.array([0.5, math.nan]), np.array([0.5, math.nan]), True),
        (np.array([0.5]), np.array([0.51]), False),
        (np.array([0.5]), np.array([0.5, 0.5]), False),
        ({"a": 1}, {"b": 1}, False),
        ((1, 2), (1, 3), False),
        ("a", "b", False),
    ],
)
def test_facts_are_compared_by_their_values(one, other, equal):
    assert hostile.same(one, other) == equal
