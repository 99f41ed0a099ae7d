"""Learning where items come and go: every way to take a step, every learner, and stacks of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from learning.learners import with_columns
from learning.test_steps import (
    KINDS,
    N_ITEMS,
    N_ROWS,
    TEMPERATURES,
    VALUE_OBJECTIVES,
    Given,
    Problem,
    assert_same,
    by_autograd,
    every_case,
    every_kind,
    own_draws,
    take,
    value_formula,
)

import opl_lib as opl
from opl_lib.learning import eligible, sampling, steps
from opl_lib.learning import fit as fit_module
from opl_lib.learning.eligible import EligibleItems, Sets
from opl_lib.learning.logging_model import logging_model
from opl_lib.learning.products import Products
from opl_lib.learning.stacks import AutogradStack, MLPStack
from opl_lib.learning.vectors import Shown


class Restricted(Problem):
    """A problem with five sets of items; in the first round there is no choice."""

    def __init__(self, *args, n_sets=5, share=0.5, **settings):
        super().__init__(*args, **settings)
        rng, action = np.random.default_rng(0), self.batch.action
        contains = torch.tensor(rng.random((n_sets, self.items.shape[1])) < share)
        number = torch.tensor(rng.integers(1, n_sets, action.shape)) if n_sets > 1 else 0 * action
        if n_sets > 1:
            contains[0], number[:, 0] = False, 0
        contains[number, action] = True
        self.eligible = EligibleItems(Sets(contains.numpy()), number)

    @property
    def mask(self):
        return self.eligible.mask()

    def step(self, objective, models=slice(None), kind=MLPStack):
        setup, step = super().step(objective, models, kind)
        own = self.eligible._replace(number=self.eligible.number[models])
        return setup, step._replace(eligible=own)


def head_of(problem, size):
    setup, step = problem.step(VALUE_OBJECTIVES["ips"])
    return sampling.find_head(setup, step.context, size, step.eligible)


def by_hand(name, problem):
    """Value and gradient of the objective's formula, whose softmax is over what could be shown."""
    formula, mask = value_formula(name, problem), problem.mask
    return by_autograd(problem, lambda z, k: formula(z.masked_fill(~mask[k], -torch.inf), k))


# ---- steps


@every_case
def test_exact_is_the_gradient_that_autograd_finds(name, kind):
    problem = Restricted(*KINDS[kind])
    assert (problem.eligible.size[:, 0] == 1).all() and not problem.mask.all()
    got = take(steps.exact, VALUE_OBJECTIVES[name], problem)
    assert_same(got, by_hand(name, problem))
    assert (got[1].abs().amax(dim=1) > 1e-3).all()


@every_case
@pytest.mark.parametrize("tile", [1, 2, 7, N_ITEMS - 1, 1000])
def test_streamed_gives_the_numbers_of_exact(name, kind, tile):
    problem, objective = Restricted(*KINDS[kind]), VALUE_OBJECTIVES[name]
    expected = take(steps.exact, objective, problem)
    assert_same(take(steps.streamed, objective, problem, tile=tile), expected)


def test_very_many_sets_give_the_same_step(monkeypatch):
    problem = Restricted(3)
    expected = [take(way, VALUE_OBJECTIVES["dr"], problem) for way in (steps.exact, steps.streamed)]
    monkeypatch.setattr(eligible, "MAX_TABLE", 0)
    found = [take(way, VALUE_OBJECTIVES["dr"], problem) for way in (steps.exact, steps.streamed)]
    for pair in zip(found, expected, strict=True):
        assert_same(*pair)


@pytest.mark.parametrize("name", ["ips", "dr", "own"])
@pytest.mark.parametrize("take_step", [steps.exact, steps.streamed])
def test_towers_of_any_kind_take_the_same_step(name, take_step):
    problem, objective = Restricted(), VALUE_OBJECTIVES[name]
    expected = take(take_step, objective, problem)
    setup, step = problem.step(objective, kind=AutogradStack)
    assert_same((take_step(setup, step), problem.gradients()), expected)


@every_case
@pytest.mark.parametrize("head_size", [None, 6])
def test_sampled_converges_to_exact(name, kind, head_size):
    problem, objective = Restricted(*KINDS[kind]), VALUE_OBJECTIVES[name]
    value, gradient = take(steps.exact, objective, problem)
    head = None if head_size is None else head_of(problem, head_size)
    errors = []
    for n_sampled in (40, 40_000):
        settings = {"n_sampled": n_sampled, "head": head, "draws": own_draws(len(value))}
        got = take(sampling.sampled, objective, problem, **settings)
        errors.append((got[1] - gradient).norm(dim=1) / gradient.norm(dim=1))
    assert (errors[1] < 0.1).all() and errors[1].mean() < errors[0].mean() / 6
    torch.testing.assert_close(got[0], value, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("name", ["ips", "dr"])
@pytest.mark.parametrize("head_size", [None, 6])
def test_models_side_by_side_take_the_steps_that_they_take_alone(name, head_size):
    problem, objective = Restricted(3, 3), VALUE_OBJECTIVES[name]
    head = None if head_size is None else head_of(problem, head_size)
    settings = {"n_sampled": 5, "head": head}
    got = take(sampling.sampled, objective, problem, draws=own_draws(3), **settings)
    for k in range(3):
        own = slice(k, k + 1)
        if head is not None:
            settings["head"] = sampling.Head(*(part[own] for part in head))
        setup, step = problem.step(objective, own)
        value = sampling.sampled(setup, step, draws=own_draws(1, 1 + k), **settings)
        assert_same((value, problem.gradients()[own]), (got[0][own], got[1][own]))


@pytest.mark.parametrize("head_size", [None, 4])
def test_a_set_that_all_rounds_share_is_sampled_as_a_catalogue_of_its_own(head_size, monkeypatch):
    """The same draws of the same items, whether the others are hidden or are not there."""
    problem = Restricted(n_sets=1)
    (here,) = problem.eligible.sets.contains[0].nonzero(as_tuple=True)
    alone = Problem()
    alone.models, alone.items, alone.q = problem.models, alone.items[:, here], alone.q[..., here]
    place = torch.zeros(N_ITEMS, dtype=torch.long).scatter(0, here, torch.arange(len(here)))
    alone.batch = alone.batch._replace(action=place[alone.batch.action])
    heads = [None if head_size is None else head_of(each, head_size) for each in (alone, problem)]
    if head_size is not None:
        assert torch.equal(here[heads[0].items], heads[1].items)
    n_others = len(here) - (head_size or 0)
    draws = own_draws(1).integers(n_others, 8)[0]
    others = draws if head_size is None else heads[0].others[0, draws]
    monkeypatch.setattr(sampling, "_drawn", lambda *given: here[others])
    settings = {"n_sampled": 8, "draws": Given(draws)}
    expected = take(sampling.sampled, VALUE_OBJECTIVES["dr"], alone, head=heads[0], **settings)
    found = take(sampling.sampled, VALUE_OBJECTIVES["dr"], problem, head=heads[1], **settings)
    assert_same(found, expected, rtol=1e-6, atol=1e-8)


def test_what_is_drawn_could_be_shown_in_a_round_of_the_batch():
    contains = np.zeros((3, 1000), dtype=bool)
    contains[0, :10], contains[1, 5:25], contains[2, 500:] = True, True, True
    batch = EligibleItems(Sets(contains), torch.tensor([[0, 1, 1, 0]]))
    drawn = sampling._drawn(batch, 0, own_draws(1, 0).uniform(1 + 40_000)[0])
    expected = (contains[0] / 10 + contains[1] / 20) / 2
    np.testing.assert_allclose(np.bincount(drawn, minlength=1000) / 40_000, expected, atol=0.005)
    few = [sampling._drawn(batch, 0, own_draws(1, s).uniform(1 + 2)[0]) for s in range(4000)]
    found = np.bincount(torch.cat(few), minlength=1000) / 8000
    np.testing.assert_allclose(found, expected, atol=0.01)


@every_kind
@pytest.mark.parametrize("tile", [4, 1000])
def test_the_head_is_what_each_model_shows_most_of_what_it_can(kind, tile):
    problem, size = Restricted(*KINDS[kind], share=0.2), 5
    setup, step = problem.step(VALUE_OBJECTIVES["ips"])
    head = sampling.find_head(setup, step.context, size, step.eligible, tile=tile)
    for k, model in enumerate(problem.models):
        items = problem.items[k if len(problem.items) > 1 else 0]
        with torch.no_grad():
            logits = model(problem.context[k], items) / TEMPERATURES[k]
        shown = logits.masked_fill(~problem.mask[k], -torch.inf).softmax(dim=1).mean(dim=0)
        assert head.items[k].tolist() == shown.argsort(descending=True)[:size].tolist()


@pytest.mark.parametrize("head_size", [None, 3])
def test_rounds_without_a_choice_are_finite_and_teach_nothing(head_size):
    problem = Restricted(share=0.0)
    problem.eligible.sets.contains[:] = False
    sets = Sets(torch.nn.functional.one_hot(problem.batch.action[0], N_ITEMS).bool().numpy())
    problem.eligible = EligibleItems(sets, torch.arange(N_ROWS)[None])
    head = None if head_size is None else head_of(problem, head_size)
    sample = {"n_sampled": 4, "draws": own_draws(1), "head": head}
    ways = [(steps.exact, {}), (steps.streamed, {"tile": 5}), (sampling.sampled, sample)]
    for take_step, settings in ways:
        for name in ("ips", "dr", "clipped"):
            value, gradient = take(take_step, VALUE_OBJECTIVES[name], problem, **settings)
            assert value.isfinite() and gradient.abs().max() < 1e-12


# ---- learners


SMALL = {"epochs": 2, "batch_size": 50, "learning_rate": 1e-3, "hidden": (8,)}


def shop(n_rounds=300, n_actions=40, share=0.4, seed=0, n_sets=6):
    """A log whose catalogue changes from set to set, logged uniformly over what was on offer."""
    rng = np.random.default_rng(seed)
    sets = rng.random((n_sets, n_actions)) < share
    sets[:, 0] = True
    mask = sets[np.sort(rng.integers(n_sets, size=n_rounds))]
    uniform = mask / mask.sum(axis=1, keepdims=True)
    action = (uniform.cumsum(axis=1) > rng.random((n_rounds, 1))).argmax(axis=1)
    context, items = rng.normal(size=(n_rounds, 4)), rng.normal(size=(n_actions, 4))
    wanted = (context * items[action]).sum(axis=1)
    return opl.BanditFeedback(
        context=context,
        action=action,
        reward=rng.random(n_rounds) < 1 / (1 + np.exp(-wanted)),
        pscore=uniform[np.arange(n_rounds), action],
        action_context=items,
        eligible=mask,
    )


@pytest.fixture(scope="module")
def log():
    return shop()


@pytest.fixture(scope="module")
def everything(log):
    """The log as if all items had been on offer, and the log without a word on it."""
    plain = with_columns(log, eligible=None)
    return with_columns(log, eligible=np.ones((log.n_rounds, log.n_actions), bool)), plain


def learned(log, objective="ips", **settings):
    return opl.OffPolicyLearner(objective, **{**SMALL, **settings}).fit(log).policy_


def shown(policy, log):
    """What a policy shows of all items: what is common to their scores does not count."""
    return policy.predict_proba(log.context, log.action_context)


def weights_of(policy):
    return torch.cat([w.detach().reshape(-1) for w in policy.towers.parameters()])


@pytest.mark.parametrize("catalogue", ["exact", "streamed", "sampled"])
@pytest.mark.parametrize("objective", ["ips", "dr", "snips"])
def test_what_is_learned_never_shows_what_could_not_be_shown(objective, catalogue, log):
    policy = learned(log, objective, catalogue=catalogue, n_sampled=30)
    mask = log.eligible.mask()
    pi = policy.predict_proba(log.context, log.action_context, eligible=mask)
    assert (pi[~mask] == 0).all()
    np.testing.assert_allclose(pi.sum(axis=1), 1)
    plain = learned(with_columns(log, eligible=None), objective, catalogue=catalogue, n_sampled=30)
    moved = weights_of(policy) - weights_of(plain)
    assert moved.abs().max() > 1e-4


@pytest.mark.parametrize("objective", ["ips", "dr"])
def test_the_learner_learns_the_same_policy_streamed(objective, log):
    exact, streamed = (learned(log, objective, catalogue=way) for way in ("exact", "streamed"))
    np.testing.assert_allclose(shown(exact, log), shown(streamed, log), atol=1e-5)


def test_the_learner_learns_nearly_the_same_policy_sampled(log):
    start = weights_of(learned(log, learning_rate=1e-12))
    exact, sampled = (
        weights_of(learned(log, catalogue=way, n_sampled=30)) for way in ("exact", "sampled")
    )
    assert np.corrcoef(exact - start, sampled - start)[0, 1] > 0.7


SETTINGS = [
    *({"objective": "ips", "catalogue": way} for way in ("exact", "streamed")),
    {"objective": "ips", "catalogue": "sampled", "n_sampled": 10, "epochs": 4},
    {"objective": "dr"},
    {"objective": "regression"},
    {"objective": "auto"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_where_all_could_be_shown_the_same_bits_are_learned(settings, everything):
    of_all, of_none = (learned(each, **settings) for each in everything)
    assert torch.equal(weights_of(of_all), weights_of(of_none))


def test_regressions_see_only_logged_items(log, everything):
    for learner in (opl.OffPolicyLearner("regression", **SMALL), opl.TwoTowerRegressor(**SMALL)):
        policies = [learner.fit(each).policy_ for each in (log, everything[1])]
        assert torch.equal(*(weights_of(policy) for policy in policies))


@pytest.mark.parametrize("catalogue", ["exact", "streamed", "sampled"])
def test_a_prediction_for_what_could_not_be_shown_never_counts(catalogue, log):
    """The contexts say what could be shown, and one of two reward models raves about the rest."""
    mask = log.eligible.mask()
    log = replace(log, context=mask.astype(float))

    class Raves:
        def __init__(self, elsewhere):
            self.elsewhere = elsewhere

        def fit(self, feedback):
            return self

        def predict_reward(self, context, action_context):
            q_hat = np.abs(np.sin(np.arange(1.0, 41)))
            return np.where(context > 0, q_hat, self.elsewhere)

    found = [
        learned(log, "dr", reward_model=Raves(q), catalogue=catalogue, n_sampled=30)
        for q in (0.0, 1e6)
    ]
    torch.testing.assert_close(*(weights_of(policy) for policy in found))


def test_an_objective_of_ones_own_is_told_in_every_way_of_seeing_the_catalogue(log):
    seen = {}

    def own(logits, batch):
        seen.setdefault(logits.shape[-1], []).append((logits.detach(), batch))
        return opl.ips.function(logits, batch)

    objective = opl.Objective(own, only_logged_item=True)
    plain = opl.Objective(own, only_logged_item=True, batched=True)
    for each in (objective, plain):
        for catalogue in ("exact", "streamed", "sampled"):
            learned(log, each, catalogue=catalogue, n_sampled=30)
    assert set(seen) == {2, 31, 40}
    for n_columns, calls in seen.items():
        for logits, batch in calls:
            assert batch.eligible.shape == logits.shape and batch.eligible.dtype == torch.bool
            assert batch.eligible.gather(-1, batch.action[..., None]).all()
            assert (logits[~batch.eligible] < -1e29).all()
            assert not batch.eligible.all() or n_columns == 2


def test_fits_side_by_side_get_what_they_get_alone(log, everything):
    logs = [log, shop(seed=1), everything[1], everything[0], log, shop(seed=2, n_sets=3)]
    # Where a gradient is rounding alone Adam makes a step of it, as of a bias that moves all items
    # alike; what pulls weights to 0 gives each a gradient of its own.
    settings = {**SMALL, "weight_decay": 0.1}
    makers = [
        lambda: opl.OffPolicyLearner("ips", **settings),
        lambda: opl.OffPolicyLearner("dr", **settings, catalogue="streamed"),
        lambda: opl.OffPolicyLearner("ips", **settings, catalogue="sampled", n_sampled=12),
    ]
    for make in makers:
        together = opl.fit_many([make() for _ in logs], logs)
        for learner, each in zip(together, logs, strict=True):
            a, b = (shown(fitted.policy_, each) for fitted in (learner, make().fit(each)))
            assert np.abs(a - b).max() < 1e-5


def test_logs_that_hide_nothing_are_trained_without_masks(log, everything):
    of = {"settings": opl.OffPolicyLearner("ips", **SMALL), "objective": opl.ips}
    policy = fit_module.new_policy(of["settings"], log, False)
    kinds = [fit_module.Fit(each, policy, **of).kind for each in (*everything, log)]
    assert kinds[0] == kinds[1] != kinds[2]
    assert EligibleItems.of([everything[0]]) is None and EligibleItems.of([everything[1]]) is None


def test_logs_that_share_their_sets_store_them_once(log):
    parts = [log[::2], log[1::2]]
    assert len(EligibleItems.of([log, log]).number) == 1
    shared = EligibleItems.of(parts)
    assert len(shared.sets.contains) == len(log.eligible.sets)
    of_two = EligibleItems.of([log, shop(seed=1)])
    for k, each in enumerate((log, shop(seed=1))):
        mask = each.eligible.mask()
        np.testing.assert_array_equal(of_two.mask()[k], mask)
        logits = of_two.logits(torch.float32, slice(3, 9))[k]
        np.testing.assert_array_equal(logits, np.where(mask[:, 3:9], 0, np.float32(-1e30)))


def test_a_policy_that_knows_what_was_on_offer_is_better_than_one_that_does_not():
    """Where all items seem to be there always, those that often are seem the best."""
    log = shop(4_000, n_actions=8, share=0.3, seed=3)
    mask, given = log.eligible.mask(), (log.context, log.action_context)
    wanted = 1 / (1 + np.exp(-log.context @ log.action_context.T))
    values = []
    for each in (log, with_columns(log, eligible=None)):
        policy = learned(each, "ips", epochs=5)
        values.append((policy.predict_proba(*given, eligible=mask) * wanted).sum(axis=1).mean())
    uniform = (mask / mask.sum(axis=1, keepdims=True) * wanted).sum(axis=1).mean()
    assert values[0] - uniform > 1.2 * (values[1] - uniform) > 0


# ---- the bilinear regression and the logging policy


def test_uniform_logging_is_uniform_over_what_was_on_offer(log):
    products = Products.of(log)
    shown = Shown.of(log, products)
    assert not logging_model(log, products, shown).of_features.any()
    assert logging_model(with_columns(log, eligible=None), products, shown).of_features.any()


def test_the_logging_policy_is_recovered_among_what_was_on_offer():
    rng, plain = np.random.default_rng(0), shop(6_000, n_actions=10, share=0.5)
    mask = plain.eligible.mask()
    taste = rng.normal(size=(4, 4)) / 2
    weight = np.exp(plain.context @ taste @ plain.action_context.T) * mask
    pi_0 = weight / weight.sum(axis=1, keepdims=True)
    action = (pi_0.cumsum(axis=1) > rng.random((6_000, 1))).argmax(axis=1)
    log = replace(plain, action=action, pscore=pi_0[np.arange(6_000), action])
    learner = opl.BilinearLearner().fit(log)
    found = learner.near_logging(1e5).predict_proba(log.context, log.action_context, eligible=mask)
    assert np.abs(found - pi_0).mean() < 0.01
    unaware = opl.BilinearLearner().fit(with_columns(log, eligible=None)).near_logging(1e5)
    wrong = unaware.predict_proba(log.context, log.action_context, eligible=mask)
    assert np.abs(wrong - pi_0).mean() > 2 * np.abs(found - pi_0).mean()


def test_the_model_of_the_logging_policy_climbs_its_likelihood():
    """At the model that is found, the gradient of the penalised likelihood is 0."""
    log = shop(500, n_actions=6, share=0.5)
    log = replace(log, pscore=np.random.default_rng(0).uniform(0.1, 1, 500))
    products = Products.of(log)
    shown = Shown.of(log, products)
    found = logging_model(log, products, shown)
    factor = torch.ones(1, dtype=torch.float64, requires_grad=True)
    more = torch.zeros(products.shape, dtype=torch.float64, requires_grad=True)
    x, a, vectors = (
        torch.tensor(each)
        for each in (
            products.context(log.context),
            products.item(log.action_context),
            found.of_items(products, shown, log.action_context),
        )
    )
    logits = x @ (factor * vectors + a @ more.T).T
    logits = logits.masked_fill(~torch.tensor(log.eligible.mask()), -torch.inf)
    log_pi = logits.log_softmax(dim=1)[torch.arange(500), torch.tensor(log.action)]
    log_pi.mean().backward()
    assert factor.grad.abs() < 0.01  # what it gains is paid by the penalty
    assert more.grad.abs().max() < 0.01


def test_the_spread_is_that_among_what_was_on_offer():
    log = shop(500, n_actions=6, share=0.5)
    learner = opl.BilinearLearner().fit(log)
    q_hat = learner.predict_reward(log.context, log.action_context)
    spread = [q[here].std() for q, here in zip(q_hat, log.eligible.mask(), strict=True)]
    assert learner.spread_ == pytest.approx(np.mean(spread))


def test_the_default_learner_leans_on_what_was_on_offer(log):
    policy = opl.OffPolicyLearner(**SMALL).fit(log).policy_
    mask = log.eligible.mask()
    pi = policy.predict_proba(log.context, log.action_context, eligible=mask)
    assert (pi[~mask] == 0).all() and (pi.max(axis=1) == 1).all()
