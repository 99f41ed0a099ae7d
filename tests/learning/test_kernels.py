"""The public stand-ins of two private kernels of torch against these."""

import pytest
import torch
from learning.learners import make_learner

import opl_lib as opl
from opl_lib.learning import kernels


@pytest.fixture
def only_public(monkeypatch):
    """Call it to leave nothing but public operations, as on a torch that renamed its kernels."""

    def leave():
        monkeypatch.setattr(kernels, "_FUSED_ADAM", None)
        monkeypatch.setattr(kernels, "_ELU_BACKWARD", None)

    return leave


def test_this_torch_has_both_kernels():
    assert kernels._FUSED_ADAM is not None and kernels._ELU_BACKWARD is not None


def test_the_gradient_through_an_elu_is_that_of_torch(only_public):
    draws = torch.Generator().manual_seed(0)
    inputs, gradient = (
        3 * torch.randn(5, 7, generator=draws, dtype=torch.float64) for _ in range(2)
    )
    inputs[0, 0], inputs[0, 1] = 0, -800  # the kink, and where the slope underflows
    leaf = inputs.clone().requires_grad_()
    output = torch.nn.functional.elu(leaf)
    output.backward(gradient)
    fused = kernels.through_elu(gradient, output.detach())
    only_public()
    public = kernels.through_elu(gradient, output.detach())
    for found in (fused, public):
        torch.testing.assert_close(found, leaf.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_uphill_are_those_of_the_fused_kernel(decay, only_public):
    def climbed():
        draws = torch.Generator().manual_seed(0)
        weights = [torch.randn(n, generator=draws, dtype=torch.float64) for n in (3, 5)]
        means, squares = ([torch.zeros_like(each) for each in weights] for _ in "12")
        for step in range(1, 51):
            gradients = [torch.cos(step * each) for each in weights]
            before = [each.clone() for each in gradients]
            n_steps = torch.tensor(float(step))
            kernels.climb([weights, gradients, means, squares], n_steps, 0.01, decay)
            assert all(map(torch.equal, gradients, before))
        return torch.cat(weights)

    fused = climbed()
    only_public()
    torch.testing.assert_close(climbed(), fused, rtol=0, atol=1e-10)


@pytest.mark.parametrize("objective", ["ips", "regression"])
def test_a_fit_learns_the_same_without_private_kernels(objective, small_log, only_public):
    fused = make_learner(objective, weight_decay=0.01).fit(small_log)
    only_public()
    public = make_learner(objective, weight_decay=0.01).fit(small_log)
    pair = small_log.context, small_log.action_context
    found, expected = (each.policy_.predict_proba(*pair) for each in (public, fused))
    assert abs(found - expected).max() < 1e-4
    start = opl.OffPolicyLearner(**{**fused.get_params(), "learning_rate": 1e-12}).fit(small_log)
    assert abs(expected - start.policy_.predict_proba(*pair)).max() > 0.01
