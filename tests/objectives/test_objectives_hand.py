"""What each objective is for: values by hand, limits, and properties by enumeration."""

import numpy as np
import pytest
import torch

import opl_lib as opl
from opl_lib.objectives import OBJECTIVES

THETA = np.array([[0.3, -0.5, 1.0], [-0.2, 0.8, 0.1]])
Q_HAT = np.array([[0.3, 0.7, 0.1], [0.6, 0.2, 0.9]])


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def logits():
    return tensor([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]]).log()


@pytest.fixture
def batch():
    """Two rounds with weights 1 and 2."""
    return opl.Batch(
        action=torch.tensor([0, 2]),
        reward=tensor([1.0, 2.0]),
        pscore=tensor([0.5, 0.25]),
        q_hat=tensor([[0.2, 0.4, 0.6], [0.5, 0.1, 0.3]]),
        cluster_pscore=tensor([0.75, 0.5]),
    )


def same(first, second, logits, batch):
    for a, b in zip(first(logits, batch), second(logits, batch), strict=True):
        torch.testing.assert_close(a, b)


# With weights (1, 2), rewards (1, 2), π of the logged (0.5, 0.5), q̂ of the logged (0.2, 0.3),
# residuals (0.8, 1.7), Σ π q̂ = (0.35, 0.28), clusters {0, 1} and {2}: their weights (1, 1).
@pytest.mark.parametrize(
    ("objective", "value"),
    [
        (OBJECTIVES["snips"], 5 / 3),
        (opl.clipped_ips(1.5), (1 + 3) / 2),
        (opl.baseline_ips(0.5), 0.5 + (0.5 + 3) / 2),
        (opl.baseline_ips("gradient"), 1.8 + (-0.8 + 0.4) / 2),  # β = (1·1 + 4·2) / 5
        (opl.baseline_ips("value"), 3 + (-2 - 2) / 2),  # β = (−0.5·1 + 1·2) / 0.5
        (opl.implicit_exploration(0.25), (0.5 / 0.75 + 0.5 / 0.5 * 2) / 2),
        (opl.exponential_smoothing(0.5), (0.5 / 0.5**0.5 + 0.5 / 0.5 * 2) / 2),
        (opl.logarithmic_smoothing(1), (np.log(2) + np.log(5)) / 2),
        (opl.log_sum_exp(1), -np.log((np.exp(-1) + np.exp(-4)) / 2)),
        (opl.poem(penalty=2), 2.5 - 2 * 1.5),  # standard deviation 1.5 √2, over √2
        (opl.switch_dr(1.5), (0.35 + 0.8 + 0.28) / 2),
        (opl.dros(4), (0.35 + 0.8 * 0.8 + 0.28 + 1 * 1.7) / 2),
        (opl.likelihood(), (np.log(0.5) + 2 * np.log(0.5)) / 2),
        (opl.likelihood(alpha=1), (2 * np.log(0.5) + 8 * np.log(0.5)) / 2),
        (opl.exponential_likelihood(2), (np.exp(0.5) + np.exp(1)) / 2 * np.log(0.5)),
        (opl.top_k_ips(2), (0.75 / 0.5 * 1 + 0.75 / 0.25 * 2) / 2),
        (opl.mips([0, 0, 1]), (0.75 / 0.75 * 1 + 0.5 / 0.5 * 2) / 2),
        (opl.offcem([0, 0, 1]), (0.35 + 0.8 + 0.28 + 1.7) / 2),
        (opl.potec([0, 0, 1]), (0.75 * 0.4 + 0.25 * 0.6 + 0.8 + 0.25 + 0.15 + 1.7) / 2),
        (opl.regularised("ips", entropy=1), 2.5 + (1.0397207708 + 1.0296530140) / 2),
        (opl.regularised("ips", imitation=1), 2.5 + np.log(2) / 2),
        (opl.regularised("ips", kl=1), 2.5 - (2 * np.log(2) - 1) / 2),
    ],
    ids=repr,
)
def test_values_by_hand(objective, value, logits, batch):
    torch.testing.assert_close(objective(logits, batch)[0], tensor(value))


@pytest.mark.parametrize(
    ("objective", "gradient"),
    [
        # SNIPS: shares (1/3, 2/3), rewards above the value (−2/3, 1/3)
        (OBJECTIVES["snips"], [[-1 / 9, 1 / 18, 1 / 18], [-2 / 45, -3 / 45, 1 / 9]]),
        # only the first row is below the maximum
        (opl.clipped_ips(1.5), [[0.25, -0.125, -0.125], [0, 0, 0]]),
        # slopes w r / (1 + w r) = 1/2 and 4/5
        (opl.logarithmic_smoothing(1), [[0.125, -0.0625, -0.0625], [-0.08, -0.12, 0.2]]),
        # shares e^(−w r): softmax(−1, −4) = (0.9525741, 0.0474259), times w r (1[a = a_i] − π)
        (
            opl.log_sum_exp(1),
            [[0.4762871, -0.2381435, -0.2381435], [-0.0379407, -0.0569110, 0.0948517]],
        ),
        # IPS times 2 (1 − π) = 1
        (opl.top_k_ips(2), [[0.25, -0.125, -0.125], [-0.4, -0.6, 1.0]]),
        # (r / B)(1[a = a_i] − π)
        (opl.likelihood(), [[0.25, -0.125, -0.125], [-0.2, -0.3, 0.5]]),
        # (e^(r / 2) / B)(1[a = a_i] − π)
        (
            opl.exponential_likelihood(2),
            [
                [0.25 * np.exp(0.5), -0.125 * np.exp(0.5), -0.125 * np.exp(0.5)],
                [-0.1 * np.e, -0.15 * np.e, 0.25 * np.e],
            ],
        ),
        # h = (4/3, 4/3, 0) and (0, 0, 4)
        (opl.mips([0, 0, 1]), [[1 / 12, 1 / 24, -1 / 8], [-0.2, -0.3, 0.5]]),
    ],
    ids=repr,
)
def test_gradients_by_hand(objective, gradient, logits, batch):
    torch.testing.assert_close(objective(logits, batch)[1], tensor(gradient))


@pytest.mark.parametrize(
    ("objective", "limit"),
    [
        (opl.clipped_ips(float("inf")), opl.ips),
        (opl.baseline_ips(0), opl.ips),
        (opl.implicit_exploration(0), opl.ips),
        (opl.exponential_smoothing(1), opl.ips),
        (opl.logarithmic_smoothing(1e-9), opl.ips),
        (opl.log_sum_exp(1e-7), opl.ips),
        (opl.poem(penalty=0), opl.ips),
        (opl.poem(penalty=0, max_weight=1.5), opl.clipped_ips(1.5)),
        (opl.top_k_ips(1), opl.ips),
        (opl.switch_dr(0), opl.dm),
        (opl.switch_dr(float("inf")), opl.dr),
        (opl.dros(0), opl.dm),
        (opl.dros(float("inf")), opl.dr),
        (opl.dros(1e12), opl.dr),
        (opl.regularised("dr", entropy=1e-12, imitation=1e-12, kl=1e-12), opl.dr),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),  # no addresses: xdist compares names
)
def test_limits(objective, limit, logits, batch):
    same(objective, limit, logits, batch)


def test_one_cluster_an_item_gives_ips_and_dr(logits, batch):
    batch = batch._replace(cluster_pscore=batch.pscore)
    same(opl.mips([4, 2, 9]), opl.ips, logits, batch)
    for objective in (opl.offcem([4, 2, 9]), opl.potec([4, 2, 9])):
        same(objective, opl.dr, logits, batch)


def test_one_cluster_for_all_items_leaves_the_direct_methods_gradient(logits, batch):
    batch = batch._replace(cluster_pscore=torch.ones(2, dtype=torch.float64))
    gradient = opl.offcem([1, 1, 1])(logits, batch)[1]
    torch.testing.assert_close(gradient, opl.dm(logits, batch)[1])
    torch.testing.assert_close(opl.mips([1, 1, 1])(logits, batch)[1], torch.zeros_like(logits))


# ---- a constant added to every reward


@pytest.mark.parametrize(
    "objective",
    [OBJECTIVES["snips"], opl.baseline_ips("gradient"), opl.baseline_ips("value")],
    ids=repr,
)
def test_a_constant_in_the_rewards_moves_the_value_by_itself_and_the_gradient_not(
    objective, logits, batch
):
    value, gradient = objective(logits, batch)
    moved_value, moved_gradient = objective(logits, batch._replace(reward=batch.reward + 5))
    torch.testing.assert_close(moved_value, value + 5)
    torch.testing.assert_close(moved_gradient, gradient)


def test_the_gradient_of_snips_is_that_of_ips_with_its_value_as_baseline(logits, batch):
    value, gradient = opl.snips(logits, batch)
    with_baseline = opl.baseline_ips(float(value))(logits, batch)[1]
    torch.testing.assert_close(gradient * 1.5, with_baseline)  # mean weight 1.5


def test_snips_is_a_mean_of_rewards_even_where_all_weights_underflow(batch):
    logits = torch.tensor([[-200.0, 0, 0], [0, 0, -200.0]])
    single = opl.Batch(*(x if x is None or x.dtype == torch.int64 else x.float() for x in batch))
    assert (torch.softmax(logits, dim=1).gather(1, batch.action[:, None]) == 0).all()
    value, gradient = opl.snips(logits, single)
    torch.testing.assert_close(value, torch.tensor(5 / 3))
    assert gradient.abs().max() > 0.1


# ---- baselines that are the best ones


def random_round(seed):
    rng = np.random.default_rng(seed)
    batch = opl.Batch(
        torch.tensor(rng.integers(0, 3, size=20)),
        tensor(rng.normal(size=20)),
        tensor(rng.uniform(0.1, 0.9, size=20)),
    )
    return tensor(rng.normal(size=(20, 3))), batch


def computed_baseline(baseline, logits, batch):
    """β from the value, which is β + mean w (r − β)."""
    weight = torch.softmax(logits, dim=1).gather(1, batch.action[:, None])[:, 0] / batch.pscore
    value = opl.baseline_ips(baseline)(logits, batch)[0]
    return (value - (weight * batch.reward).mean()) / (1 - weight.mean()), weight


def test_the_values_baseline_has_the_least_sample_variance():
    logits, batch = random_round(1)
    beta, weight = computed_baseline("value", logits, batch)
    variances = [(weight * (batch.reward - beta - step)).var() for step in (-0.01, 0, 0.01)]
    assert variances[1] < min(variances[0], variances[2])


def test_the_gradients_baseline_has_nearly_the_least_variance():
    """Least for two items, where the factor that it leaves out is 2 for every row."""
    logits, batch = random_round(1)
    logits, batch = logits[:, :2], batch._replace(action=batch.action.clamp(max=1))
    beta, weight = computed_baseline("gradient", logits, batch)
    direction = torch.nn.functional.one_hot(batch.action, 2) - torch.softmax(logits, dim=1)

    def mean_square(beta):
        return ((weight * (batch.reward - beta))[:, None] * direction).square().sum()

    squares = [mean_square(beta + step) for step in (-0.01, 0, 0.01)]
    assert squares[1] < min(squares[0], squares[2])


@pytest.mark.parametrize("spread", [0.0, 1e-5])
@pytest.mark.parametrize("baseline", ["gradient", "value"])
def test_computed_baselines_of_equal_weights_are_the_mean_reward(baseline, spread):
    """Also in single precision and up to rounding, where a ratio of differences would be noise."""
    batch = opl.Batch(torch.tensor([0, 1]), torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]))
    logits = torch.tensor([[spread, 0.0], [0.0, 0.0]])
    value, gradient = opl.baseline_ips(baseline)(logits, batch)
    torch.testing.assert_close(value, torch.tensor(0.5), rtol=0, atol=1e-4)
    expected = torch.tensor([[0.125, -0.125], [0.125, -0.125]])
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-4)


# ---- shapes of the weights


@pytest.mark.parametrize("make", [opl.logarithmic_smoothing, opl.log_sum_exp])
def test_smoothing_is_pessimistic_and_the_more_so_the_larger_lambda(make, logits, batch):
    values = [float(opl.ips(logits, batch)[0])] + [
        float(make(smoothing)(logits, batch)[0]) for smoothing in (0.1, 1, 10)
    ]
    assert values == sorted(values, reverse=True) and len(set(values)) == 4


def test_log_sum_exp_is_ips_less_half_lambda_times_the_variance(logits, batch):
    """Of the weighted rewards 1 and 4, whose variance is 9/4."""
    below = opl.ips(logits, batch)[0] - opl.log_sum_exp(1e-3)(logits, batch)[0]
    torch.testing.assert_close(below / (1e-3 / 2), tensor(9 / 4), rtol=1e-3, atol=0)


def test_no_single_weight_moves_log_sum_exp_by_much():
    """A thousandfold weight of one row of ten: its share of the gradient vanishes."""
    batch = opl.Batch(torch.zeros(10, dtype=torch.int64), torch.ones(10), torch.full((10,), 0.5))
    logits = torch.zeros(10, 2)
    value, gradient = opl.log_sum_exp(0.1)(logits, batch)
    rare = batch._replace(pscore=torch.tensor([5e-4] + [0.5] * 9))
    moved, slope = opl.log_sum_exp(0.1)(logits, rare)
    assert opl.ips(logits, rare)[0] > 100 and moved < value - np.log(0.9) / 0.1 + 1e-4
    assert slope[0].abs().max() < 1e-6 < gradient[0].abs().max()


@pytest.mark.parametrize(
    ("logit", "sign"), [(-2.0, 1), (1.0, -1)], ids=["w below sqrt(λ)", "w above sqrt(λ)"]
)
def test_dros_pushes_a_good_row_up_and_beyond_sqrt_lambda_down(logit, sign):
    batch = opl.Batch(torch.tensor([0]), tensor([1.0]), tensor([0.2]), tensor([[0.0, 0.0]]))
    gradient = opl.dros(1.0)(tensor([[logit, 0.0]]), batch)[1]
    assert torch.sign(gradient[0, 0]) == sign


def test_poem_prefers_the_steadier_of_two_equal_means():
    """Two rounds, both items: all weighted rewards equal, or one large and one 0."""
    batch = opl.Batch(torch.tensor([0, 0]), tensor([1.0, 1.0]), tensor([0.5, 0.5]))
    steady, uneven = tensor([[0.5, 0.5], [0.5, 0.5]]).log(), tensor([[0.9, 0.1], [0.1, 0.9]]).log()
    torch.testing.assert_close(opl.ips(steady, batch)[0], opl.ips(uneven, batch)[0])
    value, gradient = opl.poem(1.0)(steady, batch)
    torch.testing.assert_close((value, gradient), opl.ips(steady, batch))
    assert opl.poem(1.0)(uneven, batch)[0] < value


def test_the_top_k_gradient_is_that_of_ips_times_the_factor_of_the_paper(logits, batch):
    factor = 4 * (1 - torch.softmax(logits, dim=1).gather(1, batch.action[:, None])) ** 3
    gradient = opl.top_k_ips(4)(logits, batch)[1]
    torch.testing.assert_close(gradient, opl.ips(logits, batch)[1] * factor)


def test_likelihood_of_clicks_is_minus_the_softmax_cross_entropy_of_clicked_items():
    logits, batch = random_round(2)
    clicks = (batch.reward > 0).double()
    value, gradient = opl.likelihood()(logits, batch._replace(reward=clicks))
    leaf = logits.clone().requires_grad_()
    chosen = clicks.bool()
    loss = torch.nn.functional.cross_entropy(
        leaf[chosen], batch.action[chosen], reduction="sum"
    ) / len(clicks)
    loss.backward()
    torch.testing.assert_close(value, -loss.detach())
    torch.testing.assert_close(gradient, -leaf.grad)


# ---- expectations over all logs of a tiny world


def expectation(world, objective, logits, q_hat=Q_HAT, cluster=None):
    """Expected value and gradient over all logs of one round."""
    cluster = np.arange(3) if cluster is None else np.array(cluster)
    value, gradient = 0.0, torch.zeros(2, 3, dtype=torch.float64)
    for p, x, action, reward in world.logs(1):
        in_cluster = cluster == cluster[action][:, None]
        batch = opl.Batch(
            torch.tensor(action),
            tensor(reward),
            tensor(world.pi_0[x, action]),
            tensor(q_hat[x]),
            tensor((world.pi_0[x] * in_cluster).sum(axis=1)),
        )
        log_value, log_gradient = objective(logits[x], batch)
        value += p * float(log_value)
        gradient.index_add_(0, torch.tensor(x), p * log_gradient)
    return value, gradient


def true_value_and_gradient(world):
    leaf = tensor(THETA).requires_grad_()
    value = world.value(torch.softmax(leaf, dim=1))
    value.backward()
    return float(value.detach()), leaf.grad


def flat_within_clusters(world):
    """The world with items 0 and 1 worth the same."""
    q = world.q.copy()
    q[:, 1] = q[:, 0]
    return type(world)(world.p_x, world.pi_0, q)


def test_a_constant_baseline_keeps_ips_unbiased(tiny_world):
    value, gradient = expectation(tiny_world, opl.baseline_ips(0.4), tensor(THETA))
    true_value, true_gradient = true_value_and_gradient(tiny_world)
    assert value == pytest.approx(true_value)
    torch.testing.assert_close(gradient, true_gradient)


def test_mips_is_unbiased_if_items_of_a_cluster_are_worth_the_same(tiny_world):
    cluster = [0, 0, 1]
    flat = flat_within_clusters(tiny_world)
    value, gradient = expectation(flat, opl.mips(cluster), tensor(THETA), cluster=cluster)
    true_value, true_gradient = true_value_and_gradient(flat)
    assert value == pytest.approx(true_value)
    torch.testing.assert_close(gradient, true_gradient)
    biased = expectation(tiny_world, opl.mips(cluster), tensor(THETA), cluster=cluster)[1]
    assert (biased - true_value_and_gradient(tiny_world)[1]).abs().max() > 0.02


def test_offcem_is_unbiased_if_q_hat_has_the_differences_within_clusters(tiny_world):
    cluster = [0, 0, 1]
    shifted = tiny_world.q + np.array([[0.3, 0.3, -0.2], [-0.1, -0.1, 0.4]])
    value, gradient = expectation(tiny_world, opl.offcem(cluster), tensor(THETA), shifted, cluster)
    true_value, true_gradient = true_value_and_gradient(tiny_world)
    assert value == pytest.approx(true_value)
    torch.testing.assert_close(gradient, true_gradient)
    biased = expectation(tiny_world, opl.offcem(cluster), tensor(THETA), Q_HAT, cluster)[1]
    assert (biased - true_gradient).abs().max() > 0.02


def test_potec_values_the_policy_that_takes_the_best_item_of_the_drawn_cluster(tiny_world):
    cluster = [0, 0, 1]
    shifted = tiny_world.q + np.array([[0.3, 0.3, -0.2], [-0.1, -0.1, 0.4]])
    value, _ = expectation(tiny_world, opl.potec(cluster), tensor(THETA), shifted, cluster)
    pi = torch.softmax(tensor(THETA), dim=1).numpy()
    served = np.zeros((2, 3))
    for x in range(2):
        served[x, tiny_world.q[x, :2].argmax()] = pi[x, :2].sum()
        served[x, 2] = pi[x, 2]
    assert value == pytest.approx(tiny_world.value(served))


@pytest.mark.parametrize("regulariser", ["imitation", "kl"])
def test_regularisers_are_kullback_leibler_divergences_in_expectation(tiny_world, regulariser):
    objective = opl.regularised("ips", **{regulariser: 0.5})
    value, gradient = expectation(tiny_world, objective, tensor(THETA))
    leaf = tensor(THETA).requires_grad_()
    pi, pi_0 = torch.softmax(leaf, dim=1), tensor(tiny_world.pi_0)
    log_ratio = (pi / pi_0).log()
    divergence = -pi_0 * log_ratio if regulariser == "imitation" else pi * log_ratio
    expected = tiny_world.value(pi) - 0.5 * (tensor(tiny_world.p_x) * divergence.sum(dim=1)).sum()
    expected.backward()
    assert value == pytest.approx(float(expected.detach()))
    torch.testing.assert_close(gradient, leaf.grad)


@pytest.mark.parametrize("regulariser", ["imitation", "kl"])
def test_the_logging_policy_is_what_imitation_and_kl_pull_towards(tiny_world, regulariser):
    """Without rewards the gradient vanishes there, and nowhere near."""
    unpaid = type(tiny_world)(tiny_world.p_x, tiny_world.pi_0, np.zeros((2, 3)))
    objective = opl.regularised("ips", **{regulariser: 1.0})
    at_home = expectation(unpaid, objective, tensor(tiny_world.pi_0).log())[1]
    torch.testing.assert_close(at_home, torch.zeros_like(at_home))
    assert expectation(unpaid, objective, tensor(THETA))[1].abs().max() > 0.05


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_likelihoods_best_policy_is_in_proportion_to_reward_and_propensity(tiny_world, alpha):
    best = tiny_world.q * tiny_world.pi_0 ** (1 - alpha)
    gradient = expectation(tiny_world, opl.likelihood(alpha), tensor(best).log())[1]
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_the_exponential_likelihoods_best_policy_is_the_logging_policy_tilted(tiny_world, scale):
    """In proportion to π_0 E[exp(r / λ)]; with clicks, π_0 (1 + (e^(1/λ) − 1) q)."""
    best = tiny_world.pi_0 * (1 + (np.exp(1 / scale) - 1) * tiny_world.q)
    objective = opl.exponential_likelihood(scale)
    gradient = expectation(tiny_world, objective, tensor(best).log())[1]
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))
    assert expectation(tiny_world, objective, tensor(THETA))[1].abs().max() > 0.05


def test_mrdr_measures_the_variance_of_dr_for_a_deterministic_policy(tiny_world):
    """Two reward models differ in DR's variance by as much as in the loss.

    The loss is that over the rounds in which the policy would have shown the logged item: in all
    others its weight is 0.
    """
    shown = np.array([2, 1])
    pi = np.eye(3)[shown]

    def variance_and_loss(q_hat):
        terms, loss, chances = [], 0.0, []
        for p, x, action, reward in tiny_world.logs(1):
            weight = pi[x, action] / tiny_world.pi_0[x, action]
            residual = reward - q_hat[x, action]
            terms.append(float((pi[x] * q_hat[x]).sum() + weight[0] * residual[0]))
            chances.append(p)
            batch = opl.Batch(
                torch.tensor(action),
                tensor(reward),
                tensor(tiny_world.pi_0[x, action]),
            )
            if weight[0] > 0:
                loss -= p * float(opl.mrdr(tensor(q_hat[x, action]), batch)[0])
        mean = np.dot(chances, terms)
        return np.dot(chances, (np.array(terms) - mean) ** 2), loss

    (variance, loss), (other_variance, other_loss) = map(variance_and_loss, (Q_HAT, tiny_world.q))
    assert variance - other_variance == pytest.approx(loss - other_loss)
    assert abs(loss - other_loss) > 0.05


def test_mrdr_by_hand_and_by_autograd():
    batch = opl.Batch(torch.tensor([0, 2]), tensor([1.0, 2.0]), tensor([0.5, 0.25]))
    leaf = tensor([0.0, 1.0]).requires_grad_()
    # (1 − π_0) / π_0² = 2 and 12
    expected = -(2 * (1 - leaf[0]) ** 2 + 12 * (2 - leaf[1]) ** 2) / 2
    expected.backward()
    value, gradient = opl.mrdr(leaf.detach(), batch)
    torch.testing.assert_close(value, tensor(-7.0))
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradient, leaf.grad)


def test_mrdr_takes_a_leading_axis():
    batch = opl.Batch(
        torch.tensor([[0, 2], [1, 1]]),
        tensor([[1.0, 2.0], [0.0, 1.0]]),
        tensor([[0.5, 0.25], [0.5, 1.0]]),
    )
    values, gradients = opl.mrdr(tensor([[0.0, 1.0], [1.0, 1.0]]), batch)
    torch.testing.assert_close(values, tensor([-7.0, -1.0]))
    torch.testing.assert_close(gradients, tensor([[2.0, 12.0], [-2.0, 0.0]]))
