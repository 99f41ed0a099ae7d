"""Every objective: autograd, leading axis, fewer columns, extreme weights, names, errors."""

import copy
import pickle
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import opl_lib as opl
from opl_lib.objectives import OBJECTIVES, Objective, Regression, get_objective

CLUSTER = [7, 3, 7, 5]
N_ROUNDS, N_ACTIONS = 9, 4


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def make_batch(seed=3, n_actions=N_ACTIONS, on_offer="all"):
    rng = np.random.default_rng(seed)
    batch = opl.Batch(
        action=torch.tensor(rng.integers(0, n_actions, size=N_ROUNDS)),
        reward=tensor(rng.uniform(0, 2, size=N_ROUNDS)),
        pscore=tensor(rng.uniform(0.05, 0.9, size=N_ROUNDS)),
        q_hat=tensor(rng.normal(size=(N_ROUNDS, n_actions))),
        cluster_pscore=tensor(rng.uniform(0.3, 1, size=N_ROUNDS)),
    )
    if on_offer == "all":
        return batch
    eligible = torch.tensor(rng.random((N_ROUNDS, n_actions)) < 0.6)
    eligible[0] = False  # but for the logged item
    return batch._replace(eligible=eligible.scatter(1, batch.action[:, None], True))


def make_logits(seed=4, n_actions=N_ACTIONS):
    return tensor(np.random.default_rng(seed).normal(size=(N_ROUNDS, n_actions)))


# ---- the formulas, written once more for autograd


def seen(logits, batch):
    """π and what the formulas need of it, one row at a time: a softmax of what could be shown."""
    rows, eligible = torch.arange(len(logits)), batch.eligible
    eligible = torch.ones_like(logits, dtype=torch.bool) if eligible is None else eligible
    pi = torch.stack(
        [
            torch.zeros_like(row).masked_scatter(here, torch.softmax(row[here], dim=0))
            for row, here in zip(logits, eligible, strict=True)
        ]
    )
    logged = pi[rows, batch.action]
    cluster = torch.tensor(CLUSTER)
    in_cluster = cluster[None, :] == cluster[batch.action][:, None]
    residual = batch.reward - batch.q_hat[rows, batch.action]
    return SimpleNamespace(
        **{**batch._asdict(), "eligible": eligible},
        pi=pi,
        logged=logged,
        w=logged / batch.pscore,
        w_cluster=(pi * in_cluster).sum(dim=1) / batch.cluster_pscore,
        residual=residual,
        dm=(pi * batch.q_hat).sum(dim=1),
        best=torch.stack(
            [
                # of a cluster that could not be shown, the 0 is never used
                torch.stack(
                    [max(row[(cluster == c) & here], default=tensor(0)) for c in cluster.tolist()]
                )
                for row, here in zip(batch.q_hat, eligible, strict=True)
            ]
        ),
    )


def detached_mean(reward, weight):
    weight = weight.detach()
    return (weight * reward).sum() / weight.sum()


def baseline_value(s, beta):
    return beta + (s.w * (s.reward - beta)).mean()


def kl(s):
    return (s.w * s.w.log() - s.w + 1).mean()


def entropy(s):
    pi = s.pi[s.eligible]
    return -(pi * pi.log()).sum() / len(s.pi)


def std_error(terms):
    return terms.std() / len(terms) ** 0.5


CASES = [
    (get_objective("ips"), lambda s: (s.w * s.reward).mean()),
    (get_objective("dm"), lambda s: s.dm.mean()),
    (get_objective("dr"), lambda s: (s.dm + s.w * s.residual).mean()),
    (get_objective("snips"), lambda s: (s.w * s.reward).sum() / s.w.sum()),
    (opl.clipped_ips(0.8), lambda s: (s.w.clamp(max=0.8) * s.reward).mean()),
    (opl.baseline_ips(0.7), lambda s: baseline_value(s, 0.7)),
    (
        opl.baseline_ips("gradient"),
        lambda s: baseline_value(s, detached_mean(s.reward, (s.w * (1 - s.logged)) ** 2)),
    ),
    (
        opl.baseline_ips("value"),
        lambda s: baseline_value(s, detached_mean(s.reward, s.w**2 - s.w.mean() * s.w)),
    ),
    (opl.implicit_exploration(0.2), lambda s: (s.logged / (s.pscore + 0.2) * s.reward).mean()),
    (opl.exponential_smoothing(0.6), lambda s: (s.logged / s.pscore**0.6 * s.reward).mean()),
    (
        opl.logarithmic_smoothing(0.5),
        lambda s: (torch.log(1 + 0.5 * s.w * s.reward) / 0.5).mean(),
    ),
    (
        opl.log_sum_exp(0.5),
        lambda s: -torch.log((-0.5 * s.w * s.reward).exp().mean()) / 0.5,
    ),
    (
        opl.poem(penalty=0.7),
        lambda s: (s.w * s.reward).mean() - 0.7 * std_error(s.w * s.reward),
    ),
    (
        opl.poem(penalty=2, max_weight=0.8),
        lambda s: (
            (s.w.clamp(max=0.8) * s.reward).mean() - 2 * std_error(s.w.clamp(max=0.8) * s.reward)
        ),
    ),
    (opl.switch_dr(0.8), lambda s: (s.dm + (s.w <= 0.8) * s.w * s.residual).mean()),
    (opl.dros(0.5), lambda s: (s.dm + 0.5 * s.w / (s.w**2 + 0.5) * s.residual).mean()),
    (opl.likelihood(), lambda s: (s.reward * s.logged.log()).mean()),
    (opl.likelihood(0.4), lambda s: (s.reward / s.pscore**0.4 * s.logged.log()).mean()),
    (opl.exponential_likelihood(2), lambda s: ((s.reward / 2).exp() * s.logged.log()).mean()),
    (opl.top_k_ips(3), lambda s: ((1 - (1 - s.logged) ** 3) / s.pscore * s.reward).mean()),
    (opl.mips(CLUSTER), lambda s: (s.w_cluster * s.reward).mean()),
    (opl.offcem(CLUSTER), lambda s: (s.dm + s.w_cluster * s.residual).mean()),
    (
        opl.potec(CLUSTER),
        lambda s: ((s.pi * s.best).sum(dim=1) + s.w_cluster * s.residual).mean(),
    ),
    (
        opl.regularised("ips", entropy=0.3),
        lambda s: (s.w * s.reward).mean() + 0.3 * entropy(s),
    ),
    (
        opl.regularised("dr", imitation=0.2, kl=0.1),
        lambda s: (s.dm + s.w * s.residual).mean() + 0.2 * s.w.log().mean() - 0.1 * kl(s),
    ),
]


def own(logits, batch, power=1.0):
    """An objective of one's own: ``mean_i w_i^p r_i``, as a value only."""
    log_pi = logits.log_softmax(dim=-1).gather(-1, batch.action[..., None])[..., 0]
    return ((log_pi - batch.pscore.log()).mul(power).exp() * batch.reward).mean(dim=-1)


every = pytest.mark.parametrize("objective", [case[0] for case in CASES], ids=repr)


on_offer = pytest.mark.parametrize("on_offer", ["all", "some"])


@on_offer
@pytest.mark.parametrize(("objective", "formula"), CASES, ids=[repr(case[0]) for case in CASES])
def test_value_and_gradient_are_those_of_autograd_on_the_formula(objective, formula, on_offer):
    batch, leaf = make_batch(on_offer=on_offer), make_logits().requires_grad_()
    expected = formula(seen(leaf, batch))
    expected.backward()
    value, gradient = objective(leaf.detach(), batch)
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradient, leaf.grad)


def test_the_batch_of_these_tests_is_on_both_sides_of_every_threshold():
    weight = seen(make_logits(), make_batch()).w
    assert 0 < (weight > 0.8).sum() < N_ROUNDS
    assert 0 < (weight > 0.5**0.5).sum() < N_ROUNDS


def test_every_objective_of_a_policy_is_among_these_cases():
    tested = {repr(objective).split("(")[0] for objective, _ in CASES}
    assert tested >= {name for name in OBJECTIVES if isinstance(OBJECTIVES[name], Objective)}
    assert tested >= {"top_k_ips", "mips", "offcem", "potec", "regularised"}


@on_offer
@every
def test_a_leading_axis_is_as_good_as_a_loop(objective, on_offer):
    batches = [make_batch(seed, on_offer=on_offer) for seed in (5, 6)]
    logits = [make_logits(7), make_logits(8)]
    stacked = opl.Batch(
        *(None if columns[0] is None else torch.stack(columns) for columns in zip(*batches))  # noqa: B905
    )
    values, gradients = objective(torch.stack(logits), stacked)
    assert objective.batched and values.shape == (2,)
    for k in range(2):
        value, gradient = objective(logits[k], batches[k])
        torch.testing.assert_close(values[k], value)
        torch.testing.assert_close(gradients[k], gradient)


@every
def test_fewer_columns_give_the_same_numbers_where_the_objective_says_so(objective):
    batch, logits = make_batch(), make_logits()
    if not objective.only_logged_item:
        assert repr(objective).startswith(("mips", "offcem", "potec", "regularised(ips, entropy"))
        return
    rows = torch.arange(N_ROUNDS)
    rest = torch.ones_like(logits, dtype=torch.bool)
    rest[rows, batch.action] = False
    of_rest = logits[rest].reshape(N_ROUNDS, -1)
    q_rest = (torch.softmax(of_rest, dim=1) * batch.q_hat[rest].reshape(N_ROUNDS, -1)).sum(dim=1)
    collapsed = batch._replace(
        action=torch.zeros_like(batch.action),
        q_hat=torch.column_stack([batch.q_hat[rows, batch.action], q_rest]),
    )
    two_columns = torch.column_stack([logits[rows, batch.action], of_rest.logsumexp(dim=1)])
    value, gradient = objective(logits, batch)
    short_value, short_gradient = objective(two_columns, collapsed)
    torch.testing.assert_close(short_value, value)
    torch.testing.assert_close(short_gradient[:, 0], gradient[rows, batch.action])
    torch.testing.assert_close(
        short_gradient[:, 1], gradient[rest].reshape(N_ROUNDS, -1).sum(dim=1)
    )


@every
def test_gradient_rows_sum_to_zero_and_a_constant_in_the_logits_changes_nothing(objective):
    value, gradient = objective(make_logits(), make_batch())
    torch.testing.assert_close(gradient.sum(dim=1), torch.zeros(N_ROUNDS, dtype=torch.float64))
    shifted_value, shifted_gradient = objective(make_logits() + 50, make_batch())
    torch.testing.assert_close(shifted_value, value)
    torch.testing.assert_close(shifted_gradient, gradient)


@on_offer
@every
@pytest.mark.parametrize("spread", [0.0, 60.0, -60.0])
def test_extreme_weights_keep_everything_finite(objective, spread, on_offer):
    """In single precision: π(a_i|x_i) of about 1 or 1e-26, and propensities of 1e-6."""
    batch = make_batch(on_offer=on_offer)
    batch = opl.Batch(*(x if x is None or not x.is_floating_point() else x.float() for x in batch))
    batch = batch._replace(pscore=torch.full((N_ROUNDS,), 1e-6))
    logits = torch.zeros(N_ROUNDS, N_ACTIONS)
    logits[torch.arange(N_ROUNDS), batch.action] = spread
    value, gradient = objective(logits, batch)
    assert value.isfinite() and gradient.isfinite().all()


@every
def test_a_batch_of_one_row_is_finite(objective):
    one_row = opl.Batch(*(None if column is None else column[:1] for column in make_batch()))
    value, gradient = objective(make_logits()[:1], one_row)
    assert value.isfinite() and gradient.isfinite().all()


@every
def test_inputs_are_left_alone(objective):
    batch, logits = make_batch(), make_logits()
    objective(logits, batch)
    assert torch.equal(logits, make_logits())
    for column, before in zip(batch, make_batch(), strict=True):
        assert column is before is None or torch.equal(column, before)


@every
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copy_is_equal_and_computes_the_same(objective, copied):
    for _ in range(2):  # before and after a first call
        other = copied(objective)
        assert other == objective and hash(other) == hash(objective)
        assert repr(other) == repr(objective)
        got = other(make_logits(), make_batch())
        for a, b in zip(got, objective(make_logits(), make_batch()), strict=True):
            assert torch.equal(a, b)


@every
def test_what_an_objective_says_of_itself_is_true(objective):
    opl.check_objective(objective)


@every
def test_needs_are_told_and_missing_columns_named(objective):
    batch = make_batch()
    if "q_hat" in objective.needs:
        with pytest.raises(ValueError, match=r"needs batch\.q_hat, predictions of shape"):
            objective(make_logits(), batch._replace(q_hat=None))
    else:
        objective(make_logits(), batch._replace(q_hat=None))
    assert ("cluster_pscore" in objective.needs) == ("cluster" in objective.settings)
    if "cluster_pscore" in objective.needs:
        with pytest.raises(ValueError, match=r"needs batch\.cluster_pscore, the propensities"):
            objective(make_logits(), batch._replace(cluster_pscore=None))


# ---- names


@pytest.mark.parametrize(
    ("objective", "name"),
    [
        (opl.clipped_ips(), "clipped_ips(max_weight=10)"),
        (opl.clipped_ips(max_weight=np.float64(2.5)), "clipped_ips(max_weight=2.5)"),
        (opl.baseline_ips(), "baseline_ips(baseline='gradient')"),
        (opl.poem(), "poem(penalty=1, max_weight=inf)"),
        (opl.top_k_ips(k=5), "top_k_ips(k=5)"),
        (opl.potec(CLUSTER), "potec(n_clusters=3)"),
        (opl.regularised("dr", entropy=0.01), "regularised(dr, entropy=0.01)"),
        (opl.regularised(opl.dros(4), kl=1), "regularised(dros(shrinkage=4), kl=1)"),
        (opl.log_sum_exp(0.01), "log_sum_exp(smoothing=0.01)"),
        (opl.exponential_likelihood(), "exponential_likelihood(scale=1)"),
        (get_objective("snips"), "snips"),
        (opl.Objective(opl.ips, name="mine"), "mine"),
        (opl.Objective(opl.ips), "ips"),
        (opl.Objective(partial(opl.ips)), "objective"),
        (opl.Objective(own, {"power": 2.0}), "own(power=2)"),
    ],
)
def test_objectives_are_printed_with_their_settings(objective, name):
    assert repr(objective) == str(objective) == objective.name == name


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_name_stands_for_the_objective_or_for_its_default_settings(name):
    objective, public = get_objective(name), getattr(opl, name)
    assert objective == (public if isinstance(public, Objective | Regression) else public())
    regressions = ("regression", "squared_error", "mrdr")
    assert isinstance(objective, Regression if name in regressions else Objective)
    if name not in regressions:
        assert objective.needs == (("q_hat",) if name in ("dm", "dr", "switch_dr", "dros") else ())


def test_objectives_are_equal_if_formula_and_settings_are():
    alike = [
        (opl.clipped_ips(5), opl.clipped_ips(max_weight=5.0)),
        (opl.poem(2), opl.poem(penalty=2, max_weight=float("inf"))),
        (opl.mips([4, 9, 4, 4]), opl.mips([0, 1, 0, 0])),
        (opl.regularised(opl.dros(4), kl=1), opl.regularised(opl.dros(4), kl=1.0)),
        (opl.Objective(own, {"power": 2.0}), opl.Objective(own, {"power": 2.0})),
        (get_objective("dros"), opl.dros()),
    ]
    for one, other in alike:
        assert one is not other and one == other and hash(one) == hash(other)
    different = [
        opl.ips,
        opl.clipped_ips(5),
        opl.clipped_ips(6),
        opl.mips([0, 1, 0, 0]),
        opl.mips([0, 1, 1, 0]),
        opl.regularised("ips", kl=1),
        opl.regularised("dr", kl=1),
        opl.regularised("dr", kl=2),
        opl.Objective(own, {"power": 2.0}),
        opl.Objective(own, {"power": 3.0}),
        opl.Objective(own, {"power": 3.0}, batched=True),
    ]
    assert len(set(different)) == len(different)


@pytest.mark.parametrize("kind", [opl.Objective, opl.Regression])
def test_only_a_function_makes_an_objective(kind):
    with pytest.raises(
        TypeError, match=r"function must be a formula \(logits, batch\) .*got 'ips'"
    ):
        kind("ips")


def test_objectives_are_documented_by_their_names():
    for name, objective in OBJECTIVES.items():
        if getattr(opl, name) is objective:
            assert objective.__doc__ == objective.function.__doc__ and objective.__name__ == name
            assert "batch : Batch" in objective.__doc__


def test_an_objective_of_ones_own_passes_through():
    one = opl.Objective(own)
    assert get_objective(one) is one
    assert get_objective(own) == one


@pytest.mark.parametrize("unknown", ["IPS", "", None, ["ips"], opl.clipped_ips, opl.mips])
def test_unknown_objectives_are_rejected_with_the_list_of_known_ones(unknown):
    with pytest.raises(ValueError, match=r"objective must be one of \['baseline_ips', 'clipped"):
        get_objective(unknown)


# ---- settings


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: opl.clipped_ips(0), "max_weight must be a number above 0; got 0"),
        (lambda: opl.clipped_ips(-1), "max_weight must be a number above 0; got -1"),
        (lambda: opl.clipped_ips(float("nan")), "max_weight must be a number above 0; got nan"),
        (lambda: opl.clipped_ips("10"), "max_weight must be a number above 0; got '10'"),
        (lambda: opl.baseline_ips("mean"), "baseline must be a number, 'gradient' or 'value'"),
        (lambda: opl.baseline_ips(float("inf")), "baseline must be a number"),
        (lambda: opl.baseline_ips(None), "baseline must be a number"),
        (lambda: opl.implicit_exploration(-0.1), "gamma must be a finite number of at least 0"),
        (lambda: opl.exponential_smoothing(1.1), "alpha must be .* of at least 0 and at most 1"),
        (lambda: opl.exponential_smoothing(True), "alpha must be a finite number .* got True"),
        (lambda: opl.logarithmic_smoothing(0), "smoothing must be a finite number above 0; got 0"),
        (lambda: opl.poem(-1), "penalty must be a finite number of at least 0; got -1"),
        (lambda: opl.poem(max_weight=0), "max_weight must be a number above 0; got 0"),
        (lambda: opl.switch_dr(-2), "max_weight must be a number of at least 0; got -2"),
        (lambda: opl.dros(-2), "shrinkage must be a number of at least 0; got -2"),
        (lambda: opl.likelihood(2), "alpha must be .* of at least 0 and at most 1; got 2"),
        (lambda: opl.log_sum_exp(0), "smoothing must be a finite number above 0; got 0"),
        (lambda: opl.exponential_likelihood(0), "scale must be a finite number above 0; got 0"),
        (lambda: opl.top_k_ips(0), "k must be an integer of at least 1; got 0"),
        (lambda: opl.top_k_ips(1.5), "k must be an integer of at least 1; got 1.5"),
        (lambda: opl.regularised("dr"), "give at least one of entropy, imitation and kl"),
        (lambda: opl.regularised("dr", entropy=-1), "entropy must be a finite number"),
        (lambda: opl.regularised("dr", kl=float("inf")), "kl must be a finite number"),
        (lambda: opl.regularised("regression", kl=1), "'regression' is a regression and has no"),
        (lambda: opl.regularised("DR", kl=1), "objective must be one of"),
        (lambda: opl.mips([0.5, 1.0]), "cluster must hold integers"),
        (lambda: opl.offcem([[0, 1]]), "cluster must have 1 dimension"),
    ],
)
def test_bad_settings_are_refused_where_they_are_given(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_clusters_must_be_given_for_every_item():
    with pytest.raises(ValueError, match="cluster has 3 entries for 4 items"):
        opl.mips([0, 1, 1])(make_logits(), make_batch())


def log_of(reward):
    n_rounds = len(reward)
    return opl.BanditFeedback(
        np.ones((n_rounds, 1)), np.zeros(n_rounds, int), reward, np.ones(n_rounds), np.ones((2, 1))
    )


@pytest.mark.parametrize(
    ("name", "reward", "message"),
    [
        ("regression", [0.0, 1.0, 1.5], "'regression' is made for rewards from 0 to 1; row 2 has"),
        ("likelihood", [0.0, -1.0], r"'likelihood\(alpha=0\)' is made .* from 0 to inf; row 1 has"),
        ("logarithmic_smoothing", [-2.0], "row 0 has -2. Rescale the rewards"),
        ("log_sum_exp", [-2.0], "row 0 has -2. Rescale the rewards"),
    ],
)
def test_rewards_that_an_objective_is_not_made_for_are_named(name, reward, message):
    with pytest.raises(ValueError, match=message):
        get_objective(name).check_log(log_of(reward))


@pytest.mark.parametrize("name", ["ips", "dr", "squared_error", "snips", "exponential_likelihood"])
def test_most_objectives_take_any_reward(name):
    get_objective(name).check_log(log_of([-5.0, 7.0]))


def test_regularising_keeps_what_the_objective_needs():
    plain, both = opl.dros(4), opl.regularised(opl.dros(4), imitation=0.1, kl=0.1)
    assert (both.needs, both.only_logged_item, both.batched) == (("q_hat",), True, True)
    assert not opl.regularised(plain, entropy=0.1).only_logged_item
    clustered = opl.regularised(opl.offcem(CLUSTER), kl=0.1)
    assert clustered.needs == ("q_hat", "cluster_pscore") and clustered.n_actions == 4
    with pytest.raises(ValueError, match="row 0 has -1"):
        opl.regularised("likelihood", entropy=0.1).check_log(log_of([-1.0]))
