"""Objectives of one's own: a few lines that train like those of the library, and their check."""

import numpy as np
import pytest
import torch

import opl_lib as opl


def capped_root(logits, batch, cap=4.0):
    """``mean_i min(sqrt(w_i), M) r_i``: not one of the library's."""
    log_pi = logits.log_softmax(dim=-1).gather(-1, batch.action[..., None])[..., 0]
    weight = (log_pi - batch.pscore.log()).exp()
    return (weight.sqrt().clamp(max=cap) * batch.reward).mean(dim=-1)


def with_its_gradient(logits, batch):
    """The same for weights below M², with the gradient by hand."""
    pi = logits.softmax(dim=-1)
    logged = batch.action[..., None]
    root = (pi.gather(-1, logged)[..., 0] / batch.pscore).sqrt() * batch.reward
    direction = -pi
    direction = direction.scatter_add(-1, logged, torch.ones_like(root)[..., None])
    return root.mean(dim=-1), root[..., None] / 2 * direction / logits.shape[-2]


def shifted(logits, batch):
    """With a reward model: ``mean_i Σ_a π q̂`` and half of the correction."""
    pi = logits.softmax(dim=-1)
    logged = batch.action[..., None]
    weight = pi.gather(-1, logged)[..., 0] / batch.pscore
    residual = batch.reward - batch.q_hat.gather(-1, logged)[..., 0]
    return ((pi * batch.q_hat).sum(dim=-1) + weight * residual / 2).mean(dim=-1)


ALLOWED = {"batched": True, "only_logged_item": True}
OWN = {
    "value only": opl.Objective(capped_root, {"cap": 2.0}, **ALLOWED),
    "with its gradient": opl.Objective(with_its_gradient, **ALLOWED),
    "with q_hat": opl.Objective(shifted, needs=("q_hat",), **ALLOWED),
}
every = pytest.mark.parametrize("objective", OWN.values(), ids=OWN)


@pytest.fixture(scope="module")
def log():
    return opl.SyntheticWorld(40, dim_context=4, dim_action_context=4).sample(300, 0)


def make_learner(objective, **settings):
    small = {"epochs": 2, "batch_size": 50, "learning_rate": 1e-3, "hidden": (8,)}
    return opl.OffPolicyLearner(objective, **{**small, **settings})


def learned(objective, log, **settings):
    policy = make_learner(objective, **settings).fit(log).policy_
    return policy.predict_proba(log.context, log.action_context)


@every
def test_it_trains(objective, log):
    opl.check_objective(objective)
    learner = make_learner(objective, epochs=15).fit(log)
    curve = learner.history_["objective"]
    assert curve[-1] > curve[0] + 1e-3 and learner.objective_ is objective


@every
def test_it_streams_and_samples(objective, log):
    exact, streamed, sampled = (
        learned(objective, log, catalogue=catalogue, n_sampled=39)
        for catalogue in ("exact", "streamed", "sampled")
    )
    start = learned(objective, log, learning_rate=1e-12)
    np.testing.assert_allclose(streamed, exact, rtol=1e-4)
    assert np.corrcoef((sampled - start).ravel(), (exact - start).ravel())[0, 1] > 0.7


@every
def test_it_is_trained_side_by_side(objective, log):
    learners = [make_learner(objective, random_state=seed) for seed in range(3)]
    for seed, learner in enumerate(opl.fit_many(learners, log)):
        alone = learned(objective, log, random_state=seed)
        together = learner.policy_.predict_proba(log.context, log.action_context)
        np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_a_value_alone_learns_what_the_gradient_by_hand_learns(log):
    by_hand = learned(OWN["with its gradient"], log)
    by_torch = learned(opl.Objective(capped_root, {"cap": float("inf")}, **ALLOWED), log)
    np.testing.assert_allclose(by_torch, by_hand, rtol=1e-3)
    assert np.abs(by_hand - learned("ips", log)).max() > 1e-4


def test_it_can_be_regularised_and_named(log):
    objective = opl.regularised(OWN["value only"], kl=0.1)
    assert repr(objective) == "regularised(capped_root(cap=2), kl=0.1)"
    opl.check_objective(objective)
    learned(objective, log)


def test_a_plain_function_is_an_objective_of_all_items(log):
    def mine(logits, batch):
        assert logits.shape in ((50, 40), (6, 5))  # of the log, of the check
        return capped_root(logits, batch, 2.0)

    np.testing.assert_allclose(learned(mine, log), learned(OWN["value only"], log), rtol=1e-4)
    opl.check_objective(mine)


# ---- what the check finds


def downhill(logits, batch):
    value, gradient = opl.ips(logits, batch)
    return value, -gradient


def without_pscore(logits, batch):
    value, _ = opl.ips(logits, batch)
    return value, opl.ips(logits, batch._replace(pscore=torch.ones_like(batch.pscore)))[1]


def over_rounds(logits, batch):
    """The softmax runs over axis 1, which is the rounds once there is an axis of models."""
    return (logits.softmax(dim=1)[..., 0] * batch.reward).mean(dim=-1)


def of_one_model(logits, batch):
    rows = torch.arange(len(logits))
    return (logits.softmax(dim=1)[rows, batch.action] * batch.reward).mean()


def mean_over_models(logits, batch):
    value, gradient = opl.ips(logits, batch)
    return value.mean().expand(value.shape), gradient


def with_entropy(logits, batch):
    log_pi = logits.log_softmax(dim=-1)
    return opl.ips(logits, batch)[0] - (log_pi.exp() * log_pi).sum(dim=-1).mean(dim=-1)


def by_number(logits, batch):
    return logits.softmax(dim=-1)[..., 3].mean(dim=-1)


WRONG = {
    "sign": (
        opl.Objective(downhill),
        r"objective downhill: the gradient at round 0, item 0 is (.*), not -?\1\.$",
    ),
    "slope": (opl.Objective(without_pscore), r"without_pscore: the gradient at round 0, item 0 is"),
    "shape": (
        opl.Objective(lambda z, b: z[:, 0]),
        r"must have shapes \(\) and \(6, 5\); got \(6,\)",
    ),
    "batched": (
        opl.Objective(over_rounds, batched=True),
        r"over_rounds is not batched: the value at model 0 is .*, not ",
    ),
    "batched, fails": (
        opl.Objective(of_one_model, batched=True),
        r"of_one_model is not batched: it fails on logits of shape \(2, 6, 5\)",
    ),
    "batched, value": (
        opl.Objective(mean_over_models, batched=True),
        r"mean_over_models is not batched: the value at model 0 is",
    ),
    "batched, shape": (
        opl.Objective(lambda z, b: z.mean(), batched=True),
        r"must have shapes \(2,\) and \(2, 6, 5\); got \(\)",
    ),
    "only_logged_item": (
        opl.Objective(with_entropy, only_logged_item=True),
        r"with_entropy sees more than the logged item: its value on two columns is .*, not ",
    ),
    "only_logged_item, fails": (
        opl.Objective(by_number, only_logged_item=True),
        r"by_number is not only_logged_item: it fails on logits of shape \(6, 2\)",
    ),
}


@pytest.mark.parametrize(("objective", "message"), WRONG.values(), ids=WRONG)
def test_the_check_finds_what_is_wrong(objective, message):
    with pytest.raises(ValueError, match=message):
        opl.check_objective(objective)


def test_what_fails_by_itself_says_why():
    def fails(logits, batch):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        opl.check_objective(fails)


def test_a_regression_has_no_policy_gradient_to_check():
    with pytest.raises(ValueError, match="objective regression is a regression"):
        opl.check_objective("regression")


def test_the_rounds_of_the_check_follow_the_seed():
    seen = []

    def spy(logits, batch):
        seen.append(logits.detach().clone())
        return logits.mean()

    for seed in (0, 0, 1):
        opl.check_objective(spy, random_state=seed)
    third = len(seen) // 3
    assert torch.equal(seen[0], seen[third]) and not torch.equal(seen[0], seen[2 * third])


# ---- how often it is called


def call_kinds():
    def value_only(logits, batch):
        return logits.log_softmax(dim=-1)[:, 0].mean() * batch.reward.add_(1).mean()

    def pair(logits, batch):
        batch.reward.add_(1)
        return logits.mean(), torch.ones_like(logits) / logits.numel()

    def by_numpy(logits, batch):
        gradient = torch.from_numpy(np.ones_like(logits.numpy()))
        batch.reward.add_(1)
        return torch.tensor(1.0), gradient

    return value_only, pair, by_numpy


@pytest.mark.parametrize("modes", [(True, False), (False, True)], ids=str)
@pytest.mark.parametrize("number", range(3), ids=["value", "pair", "numpy"])
def test_a_batch_that_is_edited_in_place_is_edited_once(number, modes):
    objective, logits = opl.Objective(call_kinds()[number]), torch.randn(4, 3)
    found = []
    for mode in modes:
        batch = opl.Batch(torch.zeros(4, dtype=torch.long), torch.ones(4), torch.ones(4))
        with torch.set_grad_enabled(mode):
            found.append(objective(logits, batch))
        assert batch.reward.tolist() == [2, 2, 2, 2]
    assert not any(part.requires_grad for pair in found for part in pair)
    for first, second in zip(*found, strict=True):
        assert torch.equal(first, second)


def test_a_formula_that_gives_its_gradient_can_be_a_part_of_another():
    def half(logits, batch):
        return opl.Objective(with_its_gradient)(logits, batch)[0] / 2

    batch = opl.Batch(torch.zeros(4, dtype=torch.long), torch.ones(4), torch.ones(4))
    logits = torch.randn(4, 3)
    gradient = opl.Objective(half)(logits, batch)[1]
    np.testing.assert_allclose(gradient, with_its_gradient(logits, batch)[1] / 2, atol=1e-6)


def test_formulas_of_the_library_are_called_without_a_graph():
    seen = []

    def spied(logits, batch) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(logits.requires_grad)
        return opl.ips.function(logits, batch)

    spied.__annotations__["return"] = opl.ips.function.__annotations__["return"]
    batch = opl.Batch(torch.zeros(4, dtype=torch.long), torch.ones(4), torch.ones(4))
    opl.Objective(spied)(torch.randn(4, 3), batch)
    assert seen == [False]


def test_an_error_of_a_first_call_goes_through_after_that_call():
    calls = []

    def fails(logits, batch):
        calls.append(1)
        raise RuntimeError("mine")

    batch = opl.Batch(torch.zeros(4, dtype=torch.long), torch.ones(4), torch.ones(4))
    with pytest.raises(RuntimeError, match="mine"):
        opl.Objective(fails)(torch.randn(4, 3), batch)
    assert calls == [1]
