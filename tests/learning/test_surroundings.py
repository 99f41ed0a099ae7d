"""A fit takes nothing from its surroundings and leaves nothing there."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from learning.learners import make_learner, make_regressor, probabilities, with_columns

import opl_lib as opl

TINY = {"epochs": 2, "batch_size": 60}


def dropout_towers():
    context_tower = torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.Dropout(0.5))
    return opl.TwoTower(context_tower, torch.nn.Linear(2, 6))


FITS = {
    "ips": lambda: make_learner("ips", **TINY),
    "sampled": lambda: make_learner("ips", catalogue="sampled", n_sampled=2, **TINY),
    "dr": lambda: make_learner("dr", reward_model=make_regressor("auto", **TINY), **TINY),
    "regression": lambda: make_learner("regression", **TINY),
    "custom towers": lambda: make_learner("ips", "custom", **TINY),
}


@pytest.fixture
def impatient_threads():
    """Threads that take turns as often as they can."""
    before, n_threads = sys.getswitchinterval(), torch.get_num_threads()
    sys.setswitchinterval(1e-6)
    torch.set_num_threads(1)
    yield
    sys.setswitchinterval(before)
    torch.set_num_threads(n_threads)


def learned(learner, log):
    policy = learner.fit(log).policy_
    return policy.scores(log.context, log.action_context), learner.history_["objective"]


def assert_equal(one, other):
    np.testing.assert_array_equal(one[0], other[0])
    assert one[1] == other[1]


# ---- threads


@pytest.mark.parametrize("kind", ["ips", "sampled", "dr"])
def test_fits_in_threads_give_the_bits_of_fits_alone(kind, small_log, impatient_threads):
    alone = learned(FITS[kind](), small_log)
    before = torch.get_rng_state()
    with ThreadPoolExecutor(8) as pool:
        for each in pool.map(lambda _: learned(FITS[kind](), small_log), range(40)):
            assert_equal(each, alone)
    assert torch.equal(torch.get_rng_state(), before)


def test_so_do_fits_of_towers_that_draw(small_log, impatient_threads):
    towers = dropout_towers()
    seeds = [0, 1] * 10

    def fit(seed):
        return learned(make_learner("ips", towers=towers, random_state=seed, **TINY), small_log)

    alone = [fit(seed) for seed in (0, 1)]
    assert not np.array_equal(alone[0][0], alone[1][0])
    before = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        for seed, each in zip(seeds, pool.map(fit, seeds), strict=True):
            assert_equal(each, alone[seed])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_callback_may_wait_for_fits_in_other_threads(small_log):
    """Of towers that draw, too: the lock is not held while a callback looks."""

    def fit_another(policy):
        other = make_learner("ips", towers=dropout_towers(), **TINY)
        thread = threading.Thread(target=other.fit, args=(small_log,), daemon=True)
        thread.start()
        thread.join(timeout=30)
        return {"waits": thread.is_alive()}

    learner = make_learner("ips", towers=dropout_towers(), **TINY).fit(small_log, fit_another)
    assert not any(learner.history_["waits"])


def test_what_a_callback_draws_is_drawn_as_without_a_fit(small_log):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        expected = torch.rand(3).tolist()
        learner = make_learner("ips", towers=dropout_towers(), **TINY)
        torch.manual_seed(3)
        learner.fit(small_log, lambda policy: {"draw": float(torch.rand(()))})
    assert learner.history_["draw"] == expected


# ---- modes


@pytest.fixture
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_the_default_dtype_of_torch_changes_nothing(small_log, double_precision):
    found = {name: learned(fit(), small_log) for name, fit in FITS.items() if "custom" not in name}
    torch.set_default_dtype(torch.float32)
    for name, each in found.items():
        assert_equal(each, learned(FITS[name](), small_log))


def test_an_objective_of_ones_own_may_calculate_in_the_default_dtype(small_log, double_precision):
    def own(logits, batch):
        half = torch.tensor(0.5)  # 64 bits
        value, gradient = opl.ips(logits, batch)
        return value * half.reshape(1)[0], gradient * torch.full((1,), 0.5)

    learner = make_learner(opl.Objective(own), **TINY).fit(small_log)
    assert all(p.dtype == torch.float32 for p in learner.policy_.towers.parameters())


MODES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "another device": lambda: torch.device("meta"),
    "numpy raises": lambda: np.errstate(all="raise"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", FITS)
def test_modes_of_the_caller_change_nothing(kind, mode, small_log):
    learner = FITS[kind]()
    alone = learned(FITS[kind](), small_log)
    with MODES[mode]():
        learner.fit(small_log)
    assert learner.history_["objective"] == alone[1]
    np.testing.assert_array_equal(
        learner.policy_.scores(small_log.context, small_log.action_context), alone[0]
    )
    assert not any(p.is_inference() for p in learner.policy_.towers.parameters())


def test_a_callback_sees_the_modes_of_the_caller(small_log):
    def modes(policy):
        flushed = float(torch.tensor(1e-39) * 1) == 0
        return {"grad": torch.is_grad_enabled(), "flush": flushed}

    with torch.no_grad():
        history = make_learner("ips", **TINY).fit(small_log, modes).history_
    assert not any(history["grad"]) and not any(history["flush"])


def test_formulas_are_differentiated_whatever_the_mode():
    with torch.inference_mode():
        logits, rows = torch.zeros(2, 3), torch.tensor([0, 1])
        batch = opl.Batch(rows, torch.ones(2), torch.full((2,), 0.5))
        value, gradient = opl.clipped_ips(5)(logits, batch)
    right = opl.clipped_ips(5)(torch.zeros(2, 3), opl.Batch(*(c.clone() for c in batch[:3])))
    assert torch.equal(value, right[0]) and torch.equal(gradient, right[1])
    assert gradient.abs().sum() > 0


# ---- interrupts


def test_an_interrupted_fit_leaves_towers_in_use_and_the_generator_as_it_was(small_log):
    calls = []

    def interrupts(logits, batch):
        calls.append(None)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return opl.ips(logits, batch)

    learner = make_learner(interrupts, towers=dropout_towers(), **TINY)
    before = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        learner.fit(small_log)
    assert torch.equal(torch.get_rng_state(), before)
    assert not learner.policy_.towers.training and len(learner.history_["objective"]) == 1
    assert np.isfinite(probabilities(learner, small_log)).all()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_fit_that_ends_in_the_reward_model_has_no_policy_of_another_log(error, small_log):
    class Fails:
        def fit(self, feedback):
            raise error

        def predict_reward(self, context, action_context):
            return np.zeros((len(context), len(action_context)))

    other = with_columns(small_log, reward=1 - small_log.reward)
    learner = make_learner("dr", **TINY).fit(other)
    old = learner.policy_
    with pytest.raises(error):
        learner.set_params(reward_model=Fails()).fit(small_log)
    assert learner.policy_ is not old and learner.history_ == {"objective": []}
    assert not hasattr(learner, "reward_model_")


@pytest.mark.parametrize("bad", [3, None, "log"])
def test_a_fit_of_what_is_no_log_forgets_the_log_before(bad, small_log):
    learner = make_learner("ips", **TINY).fit(small_log)
    with pytest.raises(TypeError, match="feedback must be a BanditFeedback"):
        learner.fit(bad)
    assert not hasattr(learner, "policy_") and not hasattr(learner, "history_")
