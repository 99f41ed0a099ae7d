"""The ways to take a step agree with the exact one, or converge to it."""

from functools import partial

import numpy as np
import pytest
import torch

import opl_lib as opl
from opl_lib import learner as learner_module
from opl_lib import passes
from opl_lib.objectives import OBJECTIVES, Batch, Objective

N_ITEMS, N_ROWS, TEMPERATURE = 23, 11, 0.7


def clipped_ips(logits, batch):
    """An objective that is not linear in the policy: rewards weighted by min(w, 1)."""
    with torch.enable_grad():
        z = logits.detach().requires_grad_()
        pi = torch.softmax(z, dim=1).gather(1, batch.action[:, None])[:, 0]
        value = ((pi / batch.pscore).clamp(max=1) * batch.reward).mean()
        value.backward()
    return value.detach(), z.grad


VALUE_OBJECTIVES = {
    "ips": OBJECTIVES["ips"],
    "dm": OBJECTIVES["dm"],
    "dr": OBJECTIVES["dr"],
    "clipped": Objective(clipped_ips, collapses=True),
}
every_value_objective = pytest.mark.parametrize("name", VALUE_OBJECTIVES)


@pytest.fixture
def problem():
    draws = torch.Generator().manual_seed(0)
    randn = partial(torch.randn, generator=draws, dtype=torch.float64)
    rand = partial(torch.rand, generator=draws, dtype=torch.float64)
    model = opl.TwoTower.mlp(4, 3, hidden=(8,), dim_embedding=5, random_state=0).double()
    action = torch.randint(N_ITEMS, (N_ROWS,), generator=draws)
    action[:3] = torch.tensor([0, N_ITEMS - 1, 0])  # the ends, and a repeated item
    batch = Batch(action, rand(N_ROWS), 0.1 + rand(N_ROWS) / 2)
    q = rand(N_ROWS, N_ITEMS)
    return {
        "model": model,
        "context": randn(N_ROWS, 4),
        "action_context": 3 * rand(N_ITEMS, 3),
        "batch": batch,
        "temperature": TEMPERATURE,
        "q_hat": lambda items: q[:, items],
    }


def step(take_step, name, problem, **settings):
    """Value and gradient of all weights that a pass leaves."""
    objective = VALUE_OBJECTIVES[name]
    arguments = {**problem, "objective": objective}
    if not objective.needs_reward_model:
        arguments["q_hat"] = None
    problem["model"].zero_grad()
    value = take_step(passes.Step(**arguments), **settings)
    return value, torch.cat([p.grad.reshape(-1) for p in problem["model"].parameters()])


@every_value_objective
def test_exact_is_the_gradient_that_autograd_finds(name, problem):
    value, gradient = step(passes.exact, name, problem)
    batch, q_hat = problem["batch"], problem["q_hat"](torch.arange(N_ITEMS))
    problem["model"].zero_grad()
    logits = problem["model"](problem["context"], problem["action_context"]) / TEMPERATURE
    pi = torch.softmax(logits, dim=1)
    w = pi[torch.arange(N_ROWS), batch.action] / batch.pscore
    q_logged = q_hat[torch.arange(N_ROWS), batch.action]
    dm = (pi * q_hat).sum(dim=1)
    expected = {
        "ips": w * batch.reward,
        "dm": dm,
        "dr": dm + w * (batch.reward - q_logged),
        "clipped": w.clamp(max=1) * batch.reward,
    }[name].mean()
    (-expected).backward()
    autograd = torch.cat([p.grad.reshape(-1) for p in problem["model"].parameters()])
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradient, autograd)
    assert gradient.abs().max() > 1e-3


@every_value_objective
@pytest.mark.parametrize("tile", [1, 2, 7, N_ITEMS - 1, N_ITEMS, 1000])
def test_streamed_gives_the_numbers_of_exact(name, tile, problem):
    expected = step(passes.exact, name, problem)
    for got, wanted in zip(step(passes.streamed, name, problem, tile=tile), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)


def test_streamed_never_scores_more_than_a_tile_of_items(problem, monkeypatch):
    widths = []
    tower = problem["model"].action_tower
    tower.register_forward_hook(lambda module, inputs, output: widths.append(len(output)))
    step(passes.streamed, "dr", problem, tile=4)
    assert max(widths) <= max(4, N_ROWS)


@every_value_objective
def test_sampled_converges_to_exact(name, problem):
    value, gradient = step(passes.exact, name, problem)
    draws = torch.Generator().manual_seed(1)
    errors = []
    for n_sampled in (100, 100_000):
        got = step(passes.sampled, name, problem, n_sampled=n_sampled, generator=draws)
        errors.append(float((got[1] - gradient).norm() / gradient.norm()))
    assert errors[1] < 0.02 < errors[0]
    torch.testing.assert_close(got[0], value, rtol=0.01, atol=0.01)


def test_a_sample_of_the_logged_item_alone_is_finite(problem):
    problem["batch"] = problem["batch"]._replace(action=torch.zeros(N_ROWS, dtype=torch.int64))
    problem["action_context"] = problem["action_context"][:2]
    for seed in range(8):
        draws = torch.Generator().manual_seed(seed)
        _, gradient = step(passes.sampled, "ips", problem, n_sampled=1, generator=draws)
        assert gradient.isfinite().all()


def test_logged_only_is_the_gradient_of_the_cross_entropy(problem):
    model, batch = problem["model"], problem["batch"]
    problem |= {"objective": OBJECTIVES["regression"], "q_hat": None}
    passes.logged_only(passes.Step(**problem))
    gradient = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    model.zero_grad()
    scores = model(problem["context"], problem["action_context"])
    scores = scores[torch.arange(N_ROWS), batch.action]
    torch.nn.functional.binary_cross_entropy_with_logits(scores, batch.reward).backward()
    torch.testing.assert_close(
        gradient, torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    )


@pytest.fixture
def log():
    return opl.SyntheticWorld(n_actions=40, dim_context=4, dim_action_context=4).sample(300, 0)


def learned(log, **settings):
    small = {"epochs": 2, "batch_size": 50, "learning_rate": 1e-3, "hidden": (8,)}
    learner = opl.OffPolicyLearner(**{**small, **settings}).fit(log)
    return learner.policy_.predict_proba(log.context, log.action_context)


@pytest.mark.parametrize("objective", ["ips", "dr"])
def test_the_learner_learns_the_same_policy_streamed(objective, log):
    exact = learned(log, objective=objective, softmax="exact")
    streamed = learned(log, objective=objective, softmax="streamed")
    np.testing.assert_allclose(streamed, exact, rtol=1e-4)


def test_the_learner_learns_nearly_the_same_policy_sampled(log):
    exact = learned(log, objective="ips", softmax="exact")
    sampled = learned(log, objective="ips", softmax="sampled", n_sampled=39)
    start = learned(log, objective="ips", softmax="exact", learning_rate=1e-12)
    moved = np.corrcoef((sampled - start).ravel(), (exact - start).ravel())
    assert moved[0, 1] > 0.7


def test_auto_streams_when_a_batch_has_too_many_logits(log, monkeypatch):
    exact = learned(log, objective="ips")
    monkeypatch.setattr(learner_module, "_MAX_LOGITS", 50 * 40 - 1)
    monkeypatch.setattr(learner_module, "exact", None)
    np.testing.assert_allclose(learned(log, objective="ips"), exact, rtol=1e-4)


@pytest.mark.parametrize("softmax", ["exact", "streamed", "sampled"])
def test_a_large_q_hat_is_predicted_by_the_tile(softmax, log, monkeypatch):
    stored = learned(log, objective="dr", softmax=softmax)
    monkeypatch.setattr(learner_module, "_MAX_STORED_Q_HAT", 0)
    np.testing.assert_allclose(learned(log, objective="dr", softmax=softmax), stored, rtol=1e-4)


@pytest.mark.parametrize("softmax", ["exact", "streamed", "sampled"])
@pytest.mark.parametrize("frozen", ["context_tower", "action_tower"])
def test_a_frozen_tower_stays_and_the_other_learns(softmax, frozen, log):
    towers = opl.TwoTower.mlp(4, 4, hidden=(8,), random_state=0)
    getattr(towers, frozen).requires_grad_(False)
    settings = {"model": towers, "softmax": softmax, "n_sampled": 20, "epochs": 1}
    model = opl.OffPolicyLearner("ips", **settings).fit(log).policy_.model
    for name, before in towers.named_parameters():
        same = torch.equal(before, model.get_parameter(name))
        assert same == name.startswith(frozen)


def test_items_that_are_their_own_embeddings_can_be_streamed(log):
    towers = opl.TwoTower(torch.nn.Linear(4, 4), torch.nn.Identity())
    exact = learned(log, objective="ips", model=towers, softmax="exact")
    streamed = learned(log, objective="ips", model=towers, softmax="streamed")
    np.testing.assert_allclose(streamed, exact, rtol=1e-4)


def with_entropy(logits, batch):
    """An objective that looks at every item: it does not collapse."""
    assert logits.shape[1] == 40
    return opl.ips(logits, batch)


def test_objectives_that_do_not_collapse_see_every_item(log, monkeypatch):
    monkeypatch.setattr(learner_module, "_MAX_LOGITS", 0)
    learned(log, objective=Objective(with_entropy))
    for softmax in ("streamed", "sampled"):
        with pytest.raises(ValueError, match="collapses=True"):
            learned(log, objective=Objective(with_entropy), softmax=softmax)


def test_a_sample_as_large_as_the_catalogue_is_exact(log):
    exact = learned(log, objective="ips", softmax="exact")
    sampled = learned(log, objective="ips", softmax="sampled", n_sampled=40)
    np.testing.assert_array_equal(sampled, exact)


def test_samples_depend_on_the_seed(log):
    towers = opl.TwoTower.mlp(4, 4, hidden=(8,), random_state=0)
    settings = {"objective": "ips", "model": towers, "softmax": "sampled", "n_sampled": 5}
    one, again, two = (
        learned(log, **settings, shuffle=False, random_state=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, two)
