"""FlatAdam against torch's Adam, for one model and for several with settings of their own."""

import copy

import pytest
import torch

import opl_lib as opl
from opl_lib.learning import kernels
from opl_lib.learning.optimizer import FlatAdam, FlatWeights
from opl_lib.learning.stacks import MLPStack


@pytest.fixture(params=["fused", "public"], autouse=True)
def kernel(request, monkeypatch):
    """With torch's fused kernel, and with the public operations that stand in for it."""
    if request.param == "public":
        monkeypatch.setattr(kernels, "_FUSED_ADAM", None)
    else:
        assert kernels._FUSED_ADAM is not None


def make_model(seed=0):
    return opl.TwoTower.mlp(3, 2, hidden=(5,), dim_embedding=4, random_state=seed).double()


@pytest.fixture
def model():
    return make_model()


def flat_of(model):
    return FlatWeights([[weights] for weights in model.parameters()])


def value_of(model, seed):
    generator = torch.Generator().manual_seed(seed)
    context, items, target = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((6, 3), (4, 2), (6, 4))
    )
    return -(model(context, items) - target).square().mean()


def train(model, forget, optimizer, n_steps):
    for step in range(n_steps):
        forget()
        value_of(model, step).backward()
        optimizer.step()


def by_torch(model, n_steps, learning_rate, **settings):
    reference = copy.deepcopy(model)
    adam = torch.optim.Adam(reference.parameters(), lr=learning_rate, maximize=True, **settings)
    train(reference, adam.zero_grad, adam, n_steps)
    return reference


def assert_same_weights(model, reference, **tolerance):
    for got, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(got, expected, **tolerance)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_two_hundred_steps_equal_those_of_torch(model, weight_decay):
    expected = by_torch(model, 200, 0.01, weight_decay=weight_decay)
    flat = flat_of(model)
    adam = FlatAdam(flat, [0.01], [weight_decay])
    train(model, flat.gradient.zero_, adam, 200)
    assert_same_weights(model, expected, rtol=0, atol=1e-10)
    assert not torch.equal(model.context_tower[0].weight, make_model().context_tower[0].weight)


@pytest.mark.parametrize(
    "settings",
    [
        [(0.01, 0.0), (0.01, 0.0), (0.01, 0.0)],
        [(0.01, 0.0), (0.03, 0.0), (0.03, 0.1)],
        [(0.01, 0.1), (0.01, 0.1), (0.02, 0.0)],
        [(0.01, 0.1), (0.02, 0.1), (0.01, 0.1)],  # equal ones need not be neighbours
    ],
    ids=str,
)
def test_models_of_a_stack_are_updated_as_if_alone(settings):
    models = [make_model(seed) for seed in range(3)]
    expected = [
        by_torch(model, 20, rate, weight_decay=decay)
        for model, (rate, decay) in zip(models, settings, strict=True)
    ]
    flat = MLPStack(models).flat
    adam = FlatAdam(flat, *zip(*settings, strict=True))
    for step in range(20):
        flat.gradient.zero_()
        for model in models:
            value_of(model, step).backward()
        adam.step()
    for model, reference in zip(models, expected, strict=True):
        assert_same_weights(model, reference, rtol=0, atol=1e-10)


def test_the_first_step_is_the_learning_rate_along_the_sign_of_the_gradient():
    """By hand: mean / sqrt(square) is the sign after one step, whatever the gradient's size."""
    weights = torch.nn.Parameter(torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64))
    flat = FlatWeights([[weights]])
    flat.gradient.copy_(torch.tensor([2.0, -0.3, 0.0]))
    FlatAdam(flat, [0.1], [0.0]).step()
    expected = torch.tensor([1.1, 0.9, 1.0], dtype=torch.float64)
    torch.testing.assert_close(weights.detach(), expected, rtol=0, atol=1e-7)


def test_a_step_is_in_place_and_leaves_the_gradient(model):
    flat = flat_of(model)
    value_of(model, 0).backward()
    address, gradient = flat.weights.data_ptr(), flat.gradient.clone()
    before = flat.weights.clone()
    FlatAdam(flat, [0.01], [0.1]).step()
    assert flat.weights.data_ptr() == address == model.context_tower[0].weight.data_ptr()
    assert torch.equal(flat.gradient, gradient) and not torch.equal(flat.weights, before)


def test_frozen_parameters_are_left_alone(model):
    frozen = model.action_tower[0].weight.requires_grad_(False)
    before, address = frozen.clone(), frozen.data_ptr()
    flat = flat_of(model)
    value_of(model, 0).backward()
    FlatAdam(flat, [0.01], [0.1]).step()
    assert torch.equal(frozen, before) and frozen.data_ptr() == address and frozen.grad is None


@pytest.mark.parametrize("settings", [([0.1, 0.1], [0.0]), ([0.1], [0.0, 0.0])])
def test_every_model_needs_a_learning_rate_and_a_weight_decay(model, settings):
    with pytest.raises(ValueError, match="zip"):
        FlatAdam(flat_of(model), *settings)
