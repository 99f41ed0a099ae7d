"""What formulas, their settings and objectives of one's own take, refuse and convert."""

import numpy as np
import pytest
import torch

import opl_lib as opl
from opl_lib.objectives import OBJECTIVES, Batch, get_objective


def a_batch(**change):
    columns = {
        "action": torch.tensor([0, 2]),
        "reward": torch.tensor([1.0, 0.5]),
        "pscore": torch.tensor([0.5, 0.25]),
        "q_hat": torch.full((2, 3), 0.5),
        "cluster_pscore": torch.tensor([0.5, 0.5]),
    }
    return Batch(**{**columns, **change})


LOGITS = torch.tensor([[0.0, 1.0, 2.0], [0.5, 0.0, -0.5]])


# ---- formulas called by hand


CALLS = {
    "list": (lambda: opl.ips([[0.0]], a_batch()), TypeError, "logits must be a torch tensor.*list"),
    "array": (lambda: opl.dr(np.zeros((2, 3)), a_batch()), TypeError, "logits must be .*ndarray"),
    "complex": (
        lambda: opl.ips(LOGITS + 1j, a_batch()),
        TypeError,
        "logits must be .* real numbers; got torch.complex64",
    ),
    "one axis": (
        lambda: opl.ips(LOGITS[0], a_batch()),
        ValueError,
        r"\(B, n_actions\); got \(3,\)",
    ),
    "no batch": (lambda: opl.ips(LOGITS, None), TypeError, "batch must be an opl.Batch"),
    "no tensor": (
        lambda: opl.ips(LOGITS, a_batch(reward=[1.0, 0.5])),
        TypeError,
        r"batch\.reward must be a torch tensor of real numbers; got list",
    ),
    "no reward": (
        lambda: opl.ips(LOGITS, a_batch(reward=None)),
        TypeError,
        r"batch\.reward must be a torch tensor .*NoneType",
    ),
    "rounds": (
        lambda: opl.ips(LOGITS, a_batch(pscore=torch.ones(3))),
        ValueError,
        r"batch\.pscore must have shape \(2,\); got \(3,\)",
    ),
    "items of q_hat": (
        lambda: opl.dr(LOGITS, a_batch(q_hat=torch.ones(2, 4))),
        ValueError,
        r"batch\.q_hat must have shape \(2, 3\); got \(2, 4\)",
    ),
    "action of floats": (
        lambda: opl.ips(LOGITS, a_batch(action=torch.tensor([0.0, 1.0]))),
        TypeError,
        r"batch\.action must be a torch tensor of integers; got torch\.float32",
    ),
    "unknown item": (
        lambda: opl.ips(LOGITS, a_batch(action=torch.tensor([0, 3]))),
        ValueError,
        r"batch\.action must be item numbers of at least 0 and below 3; got 0 to 3",
    ),
    "reward of nan": (
        lambda: opl.ips(LOGITS, a_batch(reward=torch.tensor([0.0, torch.nan]))),
        ValueError,
        r"batch\.reward must be finite; at \(1,\) it is nan",
    ),
    "pscore of 0": (
        lambda: opl.ips(LOGITS, a_batch(pscore=torch.tensor([0.0, 1.0]))),
        ValueError,
        r"batch\.pscore must be above 0 and finite; at \(0,\) it is 0",
    ),
    "scores": (
        lambda: OBJECTIVES["regression"](LOGITS, a_batch()),
        ValueError,
        r"batch\.action must have shape \(2, 3\); got \(2,\)",
    ),
    "pseudo_reward": (
        lambda: opl.linear_value(LOGITS, "1"),
        ValueError,
        "pseudo_reward must be a finite number; got '1'",
    ),
    "pseudo_reward, shape": (
        lambda: opl.linear_value(LOGITS, torch.ones(3)),
        ValueError,
        r"pseudo_reward must have shape \(2, 3\); got \(3,\)",
    ),
    "correction": (
        lambda: opl.linear_value(LOGITS, 0.0, torch.tensor([0, 5]), torch.ones(2)),
        ValueError,
        "action must be item numbers .* below 3; got 0 to 5",
    ),
}


@pytest.mark.parametrize(("call", "kind", "message"), CALLS.values(), ids=CALLS)
def test_a_formula_says_what_it_cannot_take(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_what_is_as_good_is_converted():
    right = opl.ips(LOGITS, a_batch())
    clicks = a_batch(reward=torch.tensor([True, False]), action=torch.tensor([0, 2]).to(torch.int8))
    floats = a_batch(reward=torch.tensor([1.0, 0.0]))
    double = a_batch(pscore=a_batch().pscore.double())
    for one, other in (
        (opl.ips(LOGITS, clicks), opl.ips(LOGITS, floats)),
        (opl.ips(LOGITS, double), right),
    ):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
        assert one[0].dtype == one[1].dtype == torch.float32


# ---- settings


SETTINGS = {
    "bool": (lambda: opl.baseline_ips(True), "baseline must be a number, 'gradient' or 'value'"),
    "array": (lambda: opl.baseline_ips(np.zeros(2)), "baseline must be a number"),
    "large": (lambda: opl.clipped_ips(1e300), "max_weight must be a number of single precision"),
    "tiny": (lambda: opl.log_sum_exp(1e-300), "smoothing must be a number of single precision"),
    "tiny baseline": (lambda: opl.baseline_ips(1e-40), "baseline must be a number"),
    "huge k": (lambda: opl.top_k_ips(10**39), "k must be a number of single precision"),
    "huge weight": (lambda: opl.regularised("ips", kl=1e39), "kl must be a number of single"),
    "no clusters": (lambda: opl.mips(np.array([], int)), "cluster is empty"),
}


@pytest.mark.parametrize(("make", "message"), SETTINGS.values(), ids=SETTINGS)
def test_settings_that_a_formula_cannot_calculate_with_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("numpys", "pythons"),
    [
        (lambda: opl.log_sum_exp(np.float32(0.5)), lambda: opl.log_sum_exp(0.5)),
        (lambda: opl.poem(np.float32(2), np.int8(3)), lambda: opl.poem(2, 3)),
        (lambda: opl.top_k_ips(np.uint8(2)), lambda: opl.top_k_ips(2)),
        (lambda: opl.baseline_ips(np.float16(0.5)), lambda: opl.baseline_ips(0.5)),
        (lambda: opl.regularised("ips", kl=np.float32(2)), lambda: opl.regularised("ips", kl=2)),
    ],
)
def test_settings_of_numpy_are_those_of_python(numpys, pythons):
    found, right = numpys(), pythons()
    assert found == right and hash(found) == hash(right) and repr(found) == repr(right)
    (value, gradient), expected = (each(LOGITS, a_batch()) for each in (found, right))
    assert torch.equal(value, expected[0]) and torch.equal(gradient, expected[1])


# ---- objectives of one's own


def own(logits, batch, scale=1.0):
    return scale * opl.ips(logits, batch)[0]


class Callable:
    def __call__(self, logits, batch):
        return logits.mean()


ABOUT = {
    "number": (lambda: opl.Objective(3), "function must be a formula .*got 3"),
    "class": (
        lambda: opl.Objective(Callable),
        "got the class Callable: make an object of it first",
    ),
    "one argument": (lambda: opl.Objective(lambda z: z.mean()), r"does not take \(logits, batch\)"),
    "a setting too many": (
        lambda: opl.Objective(own, {"scales": 1}),
        r"does not take \(logits, batch, scales\)",
    ),
    "settings": (lambda: opl.Objective(own, 3), "settings must be values by their names; got 3"),
    "names of settings": (lambda: opl.Objective(own, {3: 1}), "settings must be values by their"),
    "batched": (lambda: opl.Objective(own, batched="no"), "batched must be True or False"),
    "name": (lambda: opl.Objective(own, name=3), "name must be a str; got 3"),
    "min_reward": (lambda: opl.Objective(own, min_reward="0"), "min_reward must be a number"),
    "needs": (lambda: opl.Objective(own, needs="q_hat"), "needs must be a tuple of names"),
    "column": (lambda: opl.Objective(own, needs=("q",)), "needs must be one of .*'q_hat'"),
    "only": (lambda: opl.Objective(own, only_logged_item=1), "only_logged_item must be True or"),
    "n_actions": (lambda: opl.Objective(own, n_actions=0), "n_actions must be an integer"),
    "class by name": (lambda: get_objective(Callable), "got the class Callable"),
    "array by name": (lambda: get_objective(np.zeros(2)), "objective must be one of"),
    "method by name": (lambda: opl.OffPolicyLearner(str.lower), "function must be a formula"),
}


@pytest.mark.parametrize(("make", "message"), ABOUT.values(), ids=ABOUT)
def test_what_makes_no_objective_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_an_objective_owns_its_settings():
    settings = {"scale": 2.0}
    objective = opl.Objective(own, settings)
    settings["scale"] = 5.0
    assert objective.settings == {"scale": 2.0}
    assert objective == opl.Objective(own, {"scale": 2.0}) != opl.Objective(own, {"scale": 5.0})


def test_settings_may_be_arrays_and_functions_unhashable():
    class Weighs(dict):
        def __call__(self, logits, batch, prices):
            return (logits.softmax(dim=-1) * prices).sum(dim=-1).mean(dim=-1)

    prices = torch.tensor([1.0, 2.0, 3.0])
    one, other = (opl.Objective(Weighs(), {"prices": p}) for p in (prices, prices.clone()))
    assert one == one and one != other and len({one, other}) == 2
    opl.check_objective(opl.Objective(Weighs(), {"prices": torch.rand(5)}, batched=True))


def int_gradient(logits, batch):
    return logits.mean(), torch.zeros_like(logits, dtype=torch.long)


def complex_gradient(logits, batch):
    return logits.mean(), logits * 1j


def complex_value(logits, batch):
    return (logits * 1j).mean()


def float_beside_a_gradient(logits, batch):
    return 0.5, torch.zeros_like(logits)


WEIGHT = torch.ones((), requires_grad=True)

RETURNED = {
    "integer gradient": (int_gradient, "got Tensor of torch.int64"),
    "complex gradient": (complex_gradient, "got Tensor of torch.complex64"),
    "complex value": (complex_value, "got Tensor of torch.complex64"),
    "float": (float_beside_a_gradient, "got float"),
    "list": (lambda z, b: [z.mean(), z], "got list"),
    "three": (lambda z, b: (z.mean(), z, z), "got tuple"),
    "another slope": (lambda z, b: WEIGHT * 2, "got Tensor without gradient"),
}


@pytest.mark.parametrize(("function", "message"), RETURNED.values(), ids=RETURNED)
def test_what_an_objective_returns_is_checked(function, message):
    objective = opl.Objective(function, name="mine")
    with pytest.raises(ValueError, match=f"objective 'mine' must return a value .*{message}"):
        objective(LOGITS, a_batch())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions_become_that_of_the_logits(dtype):
    def ips_in(logits, batch):
        return tuple(part.to(dtype) for part in opl.ips(logits, batch))

    for objective in (opl.Objective(ips_in), opl.Objective(lambda z, b: z.to(dtype).mean())):
        value, gradient = objective(LOGITS, a_batch())
        assert value.dtype == gradient.dtype == torch.float32
    value, gradient = opl.Objective(ips_in)(LOGITS, a_batch())
    torch.testing.assert_close(gradient, opl.ips(LOGITS, a_batch())[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("part", ["value", "gradient"])
def test_the_check_of_an_objective_sees_what_is_not_finite(part):
    def broken(logits, batch):
        value, gradient = opl.ips(logits, batch)
        factor = {"value": 1.0, "gradient": 1.0, part: float("nan")}
        return value * factor["value"], gradient * factor["gradient"]

    with pytest.raises(ValueError, match="broken: value or gradient is not finite"):
        opl.check_objective(broken)


@pytest.mark.parametrize("seed", [-1, 0.5, None, "0", True, 2**32])
def test_the_check_takes_seeds_only(seed):
    with pytest.raises(ValueError, match="random_state must be"):
        opl.check_objective("ips", seed)
