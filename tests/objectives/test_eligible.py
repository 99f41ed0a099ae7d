"""Items that could not be shown: no say in any objective, no gradient, and no bias."""

import itertools

import numpy as np
import pytest
import torch
from objectives.test_objectives import CASES, N_ROUNDS, make_batch, make_logits, tensor

import opl_lib as opl

every = pytest.mark.parametrize("objective", [case[0] for case in CASES], ids=repr)


@pytest.fixture
def batch():
    return make_batch(on_offer="some")


# ---- every objective of the library


@every
def test_items_that_could_not_be_shown_have_no_say_and_no_gradient(objective, batch):
    hidden = ~batch.eligible
    value, gradient = objective(make_logits(), batch)
    assert (gradient[hidden] == 0).all() and (gradient != 0).any()
    logits = make_logits().masked_fill(hidden, 1e4)
    elsewhere = batch._replace(q_hat=batch.q_hat.masked_fill(hidden, 1e6))
    other_value, other_gradient = objective(logits, elsewhere)
    assert torch.equal(other_value, value) and torch.equal(other_gradient, gradient)


@every
def test_where_all_could_be_shown_nothing_changes(objective):
    batch = make_batch()
    everywhere = batch._replace(eligible=torch.ones_like(make_logits(), dtype=torch.bool))
    for pair in zip(
        objective(make_logits(), everywhere), objective(make_logits(), batch), strict=True
    ):
        torch.testing.assert_close(*pair, rtol=1e-12, atol=1e-14)


@every
def test_the_rest_of_two_columns_is_the_rest_that_could_be_shown(objective, batch):
    if not objective.only_logged_item:
        return
    logged = batch.action[:, None]
    others = batch.eligible.scatter(1, logged, False)
    assert not others[0].any()  # a round in which there was no choice
    rest = make_logits().masked_fill(~others, -1e30)
    q_rest = (rest.softmax(dim=1) * others * batch.q_hat).sum(dim=1, keepdim=True)
    two = torch.cat([make_logits().gather(1, logged), rest.logsumexp(dim=1, keepdim=True)], dim=1)
    could = torch.stack([torch.ones(N_ROUNDS, dtype=torch.bool), others.any(dim=1)], dim=1)
    collapsed = batch._replace(
        action=torch.zeros_like(batch.action),
        q_hat=torch.cat([batch.q_hat.gather(1, logged), q_rest], dim=1),
        eligible=could,
    )
    value, gradient = objective(make_logits(), batch)
    short_value, short_gradient = objective(two, collapsed)
    torch.testing.assert_close(short_value, value)
    torch.testing.assert_close(short_gradient[:, :1], gradient.gather(1, logged))
    assert (short_gradient[0] == 0).all()


# ---- objectives of one's own


def own_value(logits, batch):
    log_pi = logits.log_softmax(dim=-1)
    entropy = -(log_pi.exp() * log_pi).sum(dim=-1)
    logged = log_pi.gather(-1, batch.action[..., None])[..., 0]
    return (logged.exp() / batch.pscore * batch.reward + entropy).mean(dim=-1)


def own_pair(logits, batch):
    """The same, with a gradient by hand that knows nothing of what could be shown."""
    leaf = logits.detach().requires_grad_()
    with torch.enable_grad():
        value = own_value(leaf, batch)
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient + 1 - batch.eligible.to(gradient.dtype)


@pytest.mark.parametrize("function", [own_value, own_pair])
def test_an_objective_of_ones_own_needs_not_know_of_them(function, batch):
    value, gradient = opl.Objective(function)(make_logits(), batch)
    leaf = make_logits().requires_grad_()
    parts = []
    for i, could in enumerate(batch.eligible):
        pi, here = leaf[i, could].softmax(dim=0), int(could[: batch.action[i]].sum())
        parts.append(pi[here] / batch.pscore[i] * batch.reward[i] - (pi * pi.log()).sum())
    expected = torch.stack(parts).mean()
    expected.backward()
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradient, leaf.grad)


def flat(logits, batch):
    """A sum over items without a probability in it, which has to look at the mask."""
    return -(logits.square() * batch.eligible).sum(dim=-1).mean(dim=-1)


def test_the_mask_is_in_the_batch(batch):
    value, gradient = opl.Objective(flat)(make_logits(), batch)
    kept = make_logits() * batch.eligible
    torch.testing.assert_close(value, -kept.square().sum() / N_ROUNDS)
    torch.testing.assert_close(gradient, -2 * kept / N_ROUNDS)


def test_what_could_be_shown_reaches_through_regularisers(batch):
    seen = []
    own = opl.Objective(lambda logits, b: seen.append(b.eligible) or own_value(logits, b))
    opl.regularised(own, kl=0.1)(make_logits(), batch)
    assert torch.equal(seen[-1], batch.eligible)


# ---- masks that are none


WRONG = {
    "an array": (lambda b: b.eligible.numpy(), TypeError, "True and False; got ndarray"),
    "integers": (lambda b: b.eligible.long(), TypeError, r"True and False; got torch\.int64"),
    "of another shape": (lambda b: b.eligible[:, 1:], ValueError, r"shape \(9, 4\); got \(9, 3\)"),
    "without a logged item": (
        lambda b: b.eligible.scatter(1, b.action[:, None], b.action[:, None] != b.action[2]),
        ValueError,
        r"is False at \(\d, \d\), an item that was logged",
    ),
}


@pytest.mark.parametrize(("make", "error", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_mask_is_refused(make, error, message, batch):
    with pytest.raises(error, match=r"batch\.eligible .*" + message):
        opl.ips(make_logits(), batch._replace(eligible=make(batch)))


# ---- no bias: all logs of one round, whose items come and go


SETS = [[True, True, True], [True, False, True], [False, True, True], [False, True, False]]
P_SET = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
PI_0 = np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])
Q = np.array([[0.9, 0.2, 0.5], [0.3, 0.8, 0.4]])
WRONG_Q = np.array([[0.3, 0.7, 0.1], [0.6, 0.2, 0.9]])
WRONG_PSCORE = np.array([[0.2, 0.2, 0.6], [0.4, 0.5, 0.1]])
THETA = np.array([[0.3, -0.5, 1.0], [-0.2, 0.8, 0.1]])


def rounds(table=PI_0):
    """Probability, context, set, item, its probability among the set, and reward of each round."""
    for x, s, a, r in itertools.product(range(2), range(4), range(3), (0, 1)):
        if SETS[s][a]:
            among = [table[x] * SETS[s] / (table[x] @ SETS[s]) for table in (PI_0, table)]
            p = 0.5 * P_SET[x, s] * among[0][a] * (Q[x, a] if r else 1 - Q[x, a])
            yield p, x, s, a, among[1][a], r


def expectation(objective, table, q_hat, restricted):
    """Expected value and gradient at logits THETA over all logs of one round."""
    value, gradient = 0.0, torch.zeros(2, 3, dtype=torch.float64)
    for p, x, s, a, pscore, reward in rounds(table):
        eligible = torch.tensor(SETS[s])[None] if restricted else None
        batch = opl.Batch(
            torch.tensor([a]),
            tensor([reward]),
            tensor([pscore]),
            tensor(q_hat[[x]]),
            None,
            eligible,
        )
        of_round, slope = objective(tensor(THETA[[x]]), batch)
        value, gradient[x] = value + p * float(of_round), gradient[x] + p * slope[0]
    return value, gradient


@pytest.mark.parametrize(
    ("objective", "table", "q_hat"),
    [
        (opl.ips, PI_0, WRONG_Q),
        (opl.dr, PI_0, WRONG_Q),
        (opl.dr, WRONG_PSCORE, Q),
        (opl.dm, WRONG_PSCORE, Q),
    ],
)
def test_ips_and_dr_are_unbiased_where_items_come_and_go(objective, table, q_hat):
    assert sum(p for p, *_ in rounds(table)) == pytest.approx(1)
    leaf = tensor(THETA).requires_grad_()
    pi = leaf[:, None].expand(2, 4, 3).masked_fill(~torch.tensor(SETS), -torch.inf).softmax(dim=2)
    true = (tensor(P_SET)[..., None] / 2 * pi * tensor(Q)[:, None]).sum()
    true.backward()
    value, gradient = expectation(objective, table, q_hat, restricted=True)
    assert value == pytest.approx(float(true.detach()))
    torch.testing.assert_close(gradient, leaf.grad)
    _, as_if_all_were_there = expectation(objective, table, q_hat, restricted=False)
    assert (as_if_all_were_there - leaf.grad).abs().max() > 0.01
