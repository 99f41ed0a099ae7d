"""Linear estimates and regressions: closed forms, three independent gradients, enumeration."""

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

import opl_lib as opl
from opl_lib.objectives import OBJECTIVES

POLICY_OBJECTIVES = [opl.ips, opl.dm, opl.dr]
WRONG_Q_HAT = np.array([[0.3, 0.7, 0.1], [0.6, 0.2, 0.9]])
WRONG_PSCORE = np.array([[0.2, 0.2, 0.6], [0.4, 0.5, 0.1]])
THETA = np.array([[0.3, -0.5, 1.0], [-0.2, 0.8, 0.1]])


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def pseudo_reward(objective, batch):
    """The h of each objective, written as loops over the formulas."""
    rows = []
    for i, action in enumerate(batch.action.tolist()):
        h = [0.0] * 3 if objective is opl.ips else batch.q_hat[i].tolist()
        if objective is not opl.dm:
            h[action] += float((batch.reward[i] - h[action]) / batch.pscore[i])
        rows.append(h)
    return tensor(rows)


@pytest.fixture
def hand_batch():
    return opl.Batch(
        action=torch.tensor([0, 2]),
        reward=tensor([1.0, 2.0]),
        pscore=tensor([0.5, 0.25]),
        q_hat=tensor([[0.2, 0.4, 0.6], [0.5, 0.1, 0.3]]),
    )


@pytest.fixture
def random_batch():
    rng = np.random.default_rng(3)
    return opl.Batch(
        action=torch.tensor(rng.integers(0, 3, size=7)),
        reward=tensor(rng.normal(size=7)),
        pscore=tensor(rng.uniform(0.1, 1, size=7)),
        q_hat=tensor(rng.normal(size=(7, 3))),
    )


@pytest.fixture
def random_logits():
    return tensor(np.random.default_rng(4).normal(size=(7, 3)))


@pytest.mark.parametrize(
    ("objective", "value", "gradient"),
    [
        (opl.ips, 2.5, [[0.25, -0.125, -0.125], [-0.4, -0.6, 1.0]]),
        (opl.dm, 0.315, [[-0.0375, 0.00625, 0.03125], [0.022, -0.027, 0.005]]),
        (opl.dr, 2.415, [[0.1625, -0.09375, -0.06875], [-0.318, -0.537, 0.855]]),
    ],
)
def test_policy_objectives_equal_the_closed_form(hand_batch, objective, value, gradient):
    logits = tensor([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]]).log()
    got_value, got_gradient = objective(logits, hand_batch)
    torch.testing.assert_close(got_value, tensor(value))
    torch.testing.assert_close(got_gradient, tensor(gradient))


def test_regression_equals_the_closed_form():
    batch = opl.Batch(torch.tensor([0, 1]), tensor([1.0, 0.25]), tensor([0.5, 0.5]))
    value, gradient = opl.regression(tensor([0.0, np.log(3)]), batch)
    cross_entropies = [np.log(2), -(0.25 * np.log(0.75) + 0.75 * np.log(0.25))]
    torch.testing.assert_close(value, tensor(-np.mean(cross_entropies)))
    torch.testing.assert_close(gradient, tensor([0.25, -0.25]))


def test_squared_error_equals_the_closed_form():
    batch = opl.Batch(torch.tensor([0, 1]), tensor([0.5, 2.0]), tensor([0.5, 0.5]))
    value, gradient = opl.squared_error(tensor([1.0, -1.0]), batch)
    torch.testing.assert_close(value, tensor(-4.625))
    torch.testing.assert_close(gradient, tensor([-0.5, 3.0]))


@pytest.mark.parametrize("objective", POLICY_OBJECTIVES)
def test_value_is_linear_in_the_policy_and_gradient_is_that_of_autograd(
    objective, random_logits, random_batch
):
    leaf = random_logits.clone().requires_grad_()
    h = pseudo_reward(objective, random_batch)
    expected = (torch.softmax(leaf, dim=1) * h).sum(dim=1).mean()
    expected.backward()
    value, gradient = objective(random_logits, random_batch)
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradient, leaf.grad)


@pytest.mark.parametrize("objective", POLICY_OBJECTIVES)
def test_gradient_is_that_of_the_articles_log_trick_surrogate(
    objective, random_logits, random_batch
):
    leaf = random_logits.clone().requires_grad_()
    pi, log_pi = torch.softmax(leaf, dim=1), torch.log_softmax(leaf, dim=1)
    rows = torch.arange(len(leaf))
    weight = (pi[rows, random_batch.action] / random_batch.pscore).detach()
    direct = (random_batch.q_hat * pi.detach() * log_pi).sum(dim=1)
    baseline = random_batch.q_hat[rows, random_batch.action]
    log_pi_logged = log_pi[rows, random_batch.action]
    surrogate = {
        opl.ips: weight * random_batch.reward * log_pi_logged,
        opl.dm: direct,
        opl.dr: weight * (random_batch.reward - baseline) * log_pi_logged + direct,
    }[objective]
    (-surrogate.mean()).backward()
    torch.testing.assert_close(objective(random_logits, random_batch)[1], -leaf.grad)


@pytest.mark.parametrize("objective", [*POLICY_OBJECTIVES, opl.regression, opl.squared_error])
def test_gradient_agrees_with_finite_differences(objective, random_logits, random_batch):
    batch = random_batch._replace(reward=torch.sigmoid(random_batch.reward))
    logits = random_logits if objective in POLICY_OBJECTIVES else random_logits[:, 0]
    gradient, step = objective(logits, batch)[1], 1e-5
    for place in np.ndindex(*logits.shape):
        shift = torch.zeros_like(logits)
        shift[place] = step
        slope = (objective(logits + shift, batch)[0] - objective(logits - shift, batch)[0]) / 2
        torch.testing.assert_close(gradient[place], slope / step, rtol=0, atol=1e-9)


def test_regression_gradient_is_that_of_torchs_cross_entropy(random_logits, random_batch):
    batch = random_batch._replace(reward=torch.sigmoid(random_batch.reward))
    leaf = random_logits[:, 0].clone().requires_grad_()
    loss = binary_cross_entropy_with_logits(leaf, batch.reward)
    loss.backward()
    value, gradient = opl.regression(leaf.detach(), batch)
    torch.testing.assert_close(value, -loss.detach())
    torch.testing.assert_close(gradient, -leaf.grad)


def test_squared_error_gradient_is_that_of_autograd(random_logits, random_batch):
    leaf = random_logits[:, 0].clone().requires_grad_()
    loss = torch.nn.functional.mse_loss(leaf, random_batch.reward)
    loss.backward()
    value, gradient = opl.squared_error(leaf.detach(), random_batch)
    torch.testing.assert_close(value, -loss.detach())
    torch.testing.assert_close(gradient, -leaf.grad)


def test_a_constant_added_to_all_rewards_moves_the_gradient_of_ips_only(
    random_logits, random_batch
):
    """The pitfall: IPS prefers whatever was logged when rewards are shifted up; DM and DR do not.

    A shift of all rewards also shifts what a reward model predicts.
    """
    shifted = random_batch._replace(reward=random_batch.reward + 5, q_hat=random_batch.q_hat + 5)
    for objective in (opl.dm, opl.dr):
        (value, gradient), (new_value, new_gradient) = (
            objective(random_logits, batch) for batch in (random_batch, shifted)
        )
        torch.testing.assert_close(new_value, value + 5)
        torch.testing.assert_close(new_gradient, gradient)
    moved = opl.ips(random_logits, shifted)[1] - opl.ips(random_logits, random_batch)[1]
    logged = moved.gather(1, random_batch.action[:, None])
    assert (logged > 0.01).all()


def expectation(world, objective, n_rounds, pscore, q_hat):
    """Expected value and gradient at logits THETA over all logs, by enumeration."""
    value, gradient = 0.0, torch.zeros(2, 3, dtype=torch.float64)
    for p, x, action, reward in world.logs(n_rounds):
        batch = opl.Batch(
            torch.tensor(action), tensor(reward), tensor(pscore[x, action]), tensor(q_hat[x])
        )
        log_value, log_gradient = objective(tensor(THETA[x]), batch)
        value += p * float(log_value)
        gradient.index_add_(0, torch.tensor(x), p * log_gradient)
    return value, gradient


def truth(world):
    leaf = tensor(THETA).requires_grad_()
    value = world.value(torch.softmax(leaf, dim=1))
    value.backward()
    return float(value.detach()), leaf.grad


def test_enumerated_logs_are_all_logs(tiny_world):
    logs = list(tiny_world.logs(2))
    assert len(logs) == 144
    assert sum(p for p, *_ in logs) == pytest.approx(1)


def test_true_policy_gradient_is_the_covariance_form(tiny_world):
    pi = torch.softmax(tensor(THETA), dim=1).numpy()
    advantage = tiny_world.q - (pi * tiny_world.q).sum(axis=1, keepdims=True)
    by_hand = tiny_world.p_x[:, None] * pi * advantage
    torch.testing.assert_close(truth(tiny_world)[1], tensor(by_hand))


@pytest.mark.parametrize("n_rounds", [1, 2])
@pytest.mark.parametrize(
    ("objective", "pscore", "q_hat"),
    [
        (opl.ips, "right", "wrong"),
        (opl.dr, "right", "wrong"),
        (opl.dr, "wrong", "right"),
        (opl.dm, "wrong", "right"),
    ],
)
def test_value_and_gradient_are_unbiased(tiny_world, objective, pscore, q_hat, n_rounds):
    value, gradient = expectation(
        tiny_world,
        objective,
        n_rounds,
        tiny_world.pi_0 if pscore == "right" else WRONG_PSCORE,
        tiny_world.q if q_hat == "right" else WRONG_Q_HAT,
    )
    true_value, true_gradient = truth(tiny_world)
    assert value == pytest.approx(true_value, abs=1e-12)
    torch.testing.assert_close(gradient, true_gradient)


@pytest.mark.parametrize(
    ("objective", "pscore", "q_hat"),
    [
        (opl.ips, "wrong", "right"),
        (opl.dr, "wrong", "wrong"),
        (opl.dm, "right", "wrong"),
    ],
)
def test_value_and_gradient_are_biased_without_what_they_rest_on(
    tiny_world, objective, pscore, q_hat
):
    value, gradient = expectation(
        tiny_world,
        objective,
        1,
        tiny_world.pi_0 if pscore == "right" else WRONG_PSCORE,
        tiny_world.q if q_hat == "right" else WRONG_Q_HAT,
    )
    true_value, true_gradient = truth(tiny_world)
    assert abs(value - true_value) > 0.05
    assert (gradient - true_gradient).abs().max() > 0.05


def test_regressions_turn_scores_into_rewards():
    scores = tensor([0.0, np.log(3)])
    torch.testing.assert_close(OBJECTIVES["regression"].to_reward(scores), tensor([0.5, 0.75]))
    for name in ("squared_error", "mrdr"):
        assert torch.equal(OBJECTIVES[name].to_reward(scores), scores)


def test_a_correction_is_a_pseudo_reward_of_one_item():
    draws = torch.Generator().manual_seed(0)
    logits, h = (torch.randn(2, 5, 4, generator=draws, dtype=torch.float64) for _ in range(2))
    action = torch.randint(4, (2, 5), generator=draws)
    correction = torch.randn(2, 5, generator=draws, dtype=torch.float64)
    whole = h.scatter_add(-1, action[..., None], correction[..., None])
    before = h.clone()
    for got, expected in zip(
        opl.linear_value(logits, h, action, correction),
        opl.linear_value(logits, whole),
        strict=True,
    ):
        torch.testing.assert_close(got, expected)
    assert torch.equal(h, before)
    for half in ({"action": action}, {"correction": correction}):
        with pytest.raises(ValueError, match="both action and correction"):
            opl.linear_value(logits, h, **half)
