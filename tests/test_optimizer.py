"""FlatAdam against torch's Adam."""

import copy

import pytest
import torch

import opl_lib as opl
from opl_lib.optimizer import FlatAdam


@pytest.fixture
def model():
    return opl.TwoTower.mlp(3, 2, hidden=(5,), dim_embedding=4, random_state=0).double()


def loss_of(model, seed):
    generator = torch.Generator().manual_seed(seed)
    context, items, target = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((6, 3), (4, 2), (6, 4))
    )
    return (model(context, items) - target).square().mean()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_two_hundred_steps_equal_those_of_torch(model, weight_decay):
    reference = copy.deepcopy(model)
    flat = FlatAdam(model.parameters(), learning_rate=0.01, weight_decay=weight_decay)
    adam = torch.optim.Adam(reference.parameters(), lr=0.01, weight_decay=weight_decay)
    for step in range(200):
        for optimizer, weights in ((flat, model), (adam, reference)):
            optimizer.zero_grad()
            loss_of(weights, step).backward()
            optimizer.step()
    for got, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("settings", [{"betas": (0.5, 0.9)}, {"eps": 1e-2}])
def test_other_constants_equal_those_of_torch(model, settings):
    reference = copy.deepcopy(model)
    flat = FlatAdam(model.parameters(), 0.01, 0.0, **settings)
    adam = torch.optim.Adam(reference.parameters(), lr=0.01, **settings)
    for step in range(10):
        for optimizer, weights in ((flat, model), (adam, reference)):
            optimizer.zero_grad()
            loss_of(weights, step).backward()
            optimizer.step()
    for got, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)


def test_parameters_and_gradients_are_views_of_one_vector(model):
    before = [weights.detach().clone() for weights in model.parameters()]
    flat = FlatAdam(model.parameters(), learning_rate=0.01, weight_decay=0.0)
    for got, expected in zip(model.parameters(), before, strict=True):
        assert torch.equal(got, expected)
    flat.weights.fill_(0.5)
    flat.gradient.fill_(0.25)
    for weights in model.parameters():
        assert (weights == 0.5).all() and (weights.grad == 0.25).all()


def test_backward_fills_the_flat_gradient_and_zero_grad_empties_it(model):
    flat = FlatAdam(model.parameters(), learning_rate=0.01, weight_decay=0.0)
    loss_of(model, 0).backward()
    flowing = torch.cat([weights.grad.reshape(-1) for weights in model.parameters()])
    assert torch.equal(flat.gradient, flowing) and flat.gradient.abs().max() > 0
    flat.zero_grad()
    assert (flat.gradient == 0).all()


def test_step_returns_the_weights(model):
    flat = FlatAdam(model.parameters(), learning_rate=0.01, weight_decay=0.0)
    loss_of(model, 0).backward()
    assert flat.step() is flat.weights


def test_frozen_parameters_are_left_alone(model):
    frozen = model.action_tower[0].weight.requires_grad_(False)
    before, address = frozen.clone(), frozen.data_ptr()
    flat = FlatAdam(model.parameters(), learning_rate=0.01, weight_decay=0.1)
    loss_of(model, 0).backward()
    flat.step()
    assert torch.equal(frozen, before) and frozen.data_ptr() == address and frozen.grad is None
    n_weights = sum(weights.numel() for weights in model.parameters())
    assert len(flat.weights) == n_weights - frozen.numel()


def test_a_model_that_is_all_frozen_is_rejected(model):
    for weights in model.parameters():
        weights.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameters; is everything frozen"):
        FlatAdam(model.parameters(), learning_rate=0.01, weight_decay=0.0)
