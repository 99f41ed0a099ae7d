"""The process is the caller's: its modes change no result, and its generators are left alone."""

import functools
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import hostile
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hostile_rooms import calls
from hostile_rooms.things import things

import opl_lib as opl


@functools.cache
def right_calls():
    """Every call of the table, by its name and number."""
    return {f"{call.name} {number}": call for number, call in enumerate(calls())}


@contextmanager
def everything_raises():
    with np.errstate(all="raise"):
        yield


@contextmanager
def double_precision():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES = {
    "numpy raises": everything_raises,
    "double precision": double_precision,
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
}


@pytest.fixture(scope="module")
def plain():
    """What every call returns in a plain process."""
    return {name: result(call) for name, call in right_calls().items()}


def result(call):
    try:
        return hostile.facts(call.function(**call.right))
    finally:
        plt.close("all")


def generators():
    """The state of every generator that a process shares."""
    kind, keys, place, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), torch.get_rng_state().tolist(), (kind, keys.tolist(), place, rest)


def settings():
    """Modes that a process shares."""
    return (
        np.geterr(),
        np.get_printoptions()["precision"],
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        np.geterrcall(),
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore")
def test_the_modes_of_a_process_change_no_result(mode, plain):
    """Bit by bit: what is computed is what was asked for, and not what the process is like."""
    different = []
    for name, call in right_calls().items():
        before = settings()
        with MODES[mode]():
            try:
                found = result(call)
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
        if not equal(found, plain[name]):
            different.append(f"{name}: {str(found)[:100]}")
        if settings() != before:
            different.append(f"{name} left other settings")
    assert different == []


def equal(one, other):
    """To the last bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        if one.dtype.kind == "f":
            return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)
        return np.array_equal(one, other)
    return one == other or one != one


SHARP = {
    "evaluate": lambda log: opl.evaluate(opl.softmax(0.005), log, ["ips", "snips"]),
    "evaluate by the bootstrap": lambda log: opl.evaluate(
        opl.softmax(0.005), log, ["snips"], interval="bootstrap"
    ),
    "support_report": lambda log: repr(log.support_report(opl.softmax(0.005))),
    "balance": lambda log: log.balance(),
    "select": lambda log: opl.select({"a": opl.softmax(0.005)}, log, estimator="ips").table,
    "watch": lambda log: opl.Watch(log)(opl.softmax(0.005)),
    "propensities": lambda log: opl.estimate_propensities(log.context, log.action, 4),
    "world": lambda log: opl.SyntheticWorld(
        4, 3, 3, logging_policy=opl.softmax(0.005), scale=500.0, random_state=0
    ).reference_values(),
    "serving": lambda log: opl.TwoTowerPolicy(
        opl.TwoTower.mlp(3, 3, random_state=0), 1e-6
    ).predict_proba(log.context, log.action_context),
    "sample": lambda log: opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 3, random_state=0), 1e-6).sample(
        log.context, log.action_context, 0
    ),
    "fit": lambda log: things().learner(learning_rate=10.0, temperature=1e-3).fit(log),
}


@pytest.mark.parametrize("name", SHARP)
@pytest.mark.filterwarnings("ignore")
def test_what_underflows_stops_nothing(name):
    """Probabilities next to 0, weights next to 0, and propensities of 1e-30."""
    world = opl.SyntheticWorld(4, 3, 3, logging_policy=opl.softmax(1.0), random_state=0)
    log = world.sample(300, random_state=1)
    log = replace(log, pscore=np.r_[1e-30, log.pscore[1:]])
    plain = hostile.facts(SHARP[name](log))
    with np.errstate(all="raise"):
        assert equal(hostile.facts(SHARP[name](log)), plain)


@pytest.mark.filterwarnings("ignore")
def test_no_call_draws_from_a_generator_of_the_process():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    moved = []
    for name, call in right_calls().items():
        before = generators()
        result(call)
        if generators() != before:
            moved.append(name)
    assert moved == []


@pytest.mark.parametrize(
    "draw",
    [
        lambda: opl.TwoTower.mlp(2, 2, hidden=(), dim_embedding=2).context_tower[0].weight.tolist(),
        lambda: things().policy.sample(things().context, things().items)[0].tolist(),
    ],
    ids=["towers", "sample"],
)
def test_what_has_no_seed_draws_anew_and_leaves_the_generators_alone(draw):
    before = generators()
    assert len({str(draw()) for _ in range(8)}) > 1
    assert generators() == before


@pytest.mark.filterwarnings("ignore")
def test_the_state_of_the_generators_decides_nothing(plain):
    random.seed(2)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(2)
    assert [
        name for name, call in right_calls().items() if not equal(result(call), plain[name])
    ] == []


# ---- threads


@pytest.mark.filterwarnings("ignore")
def test_calls_in_threads_are_the_calls_alone(plain, short_turns):
    """A hundred and more calls, four at a time, each of them twice."""
    rooms = ("learning", "policies", "selection", "evaluation")
    names = [name for name, call in right_calls().items() if call.room in rooms] * 2
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: result_in_thread(right_calls()[name]), names))
    assert len(names) > 100
    different = [n for n, f in zip(names, found, strict=True) if not equal(f, plain[n])]
    assert different == []


def result_in_thread(call):
    try:
        return hostile.facts(call.function(**call.right))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.fixture
def short_turns():
    """Threads that take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("objective", ["ips", "dr", "regression"])
def test_pairs_of_fits_in_threads_have_the_bits_of_their_seeds(objective, short_turns):
    log = things().log

    def weights(number):
        learner = things().learner(objective, random_state=number)
        towers = learner.fit(log).policy_.towers
        return [weight.detach().numpy().copy() for weight in towers.parameters()]

    alone = [weights(number) for number in range(4)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(weights, [number % 4 for number in range(80)]))
    off = [
        number
        for number, found in enumerate(together)
        if not all(map(np.array_equal, found, alone[number % 4]))
    ]
    assert off == []


def test_towers_made_in_threads_have_the_bits_of_their_seed(short_turns):
    def weight(number):
        towers = opl.TwoTower.mlp(5, 5, hidden=(4,), random_state=number)
        return towers.action_tower[0].weight.detach().numpy()

    alone = [weight(number) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(weight, [number % 4 for number in range(400)]))
    assert all(np.array_equal(found, alone[n % 4]) for n, found in enumerate(together))
