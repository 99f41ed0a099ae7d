"""The softmax of short rows, which goes down the columns, is that of torch."""

import pytest
import torch

from opl_lib.objectives.batch import NEVER, log_softmax, softmax

WAYS = [(softmax, torch.softmax), (log_softmax, torch.log_softmax)]


@pytest.mark.parametrize(("ours", "of_torch"), WAYS, ids=["softmax", "log_softmax"])
@pytest.mark.parametrize(
    "shape", [(7,), (63, 7), (64, 7), (3, 64, 15), (3, 64, 16), (2, 3, 100, 2)]
)
def test_values_and_gradients_are_those_of_torch(ours, of_torch, shape):
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(shape, generator=generator)
    logits[..., 0] = NEVER
    pull = torch.randn(shape, generator=generator)
    found = []
    for function in (ours, of_torch):
        own = logits.clone().requires_grad_()
        value = function(own, dim=-1) if function is of_torch else function(own)
        value.backward(pull)
        found.append((value.detach(), own.grad))
    for mine, theirs in zip(*found, strict=True):
        assert mine.is_contiguous()
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ours", [softmax, log_softmax])
@pytest.mark.parametrize("n_rounds", [10, 64, 200])
def test_a_model_has_the_same_bits_alone_and_beside_others(ours, n_rounds):
    logits = torch.randn((4, n_rounds, 7), generator=torch.Generator().manual_seed(0))
    together = ours(logits)
    for number in range(4):
        assert torch.equal(ours(logits[number]), together[number])
        assert torch.equal(ours(logits[number : number + 1])[0], together[number])
