"""The ways to take a step agree with the exact one, or converge to it."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch

import opl_lib as opl
from opl_lib.learning import batches, loop, sampling, steps
from opl_lib.learning import fit as fit_module
from opl_lib.learning.draws import Draws
from opl_lib.learning.inputs import Setup, StepInput, gather_rows
from opl_lib.learning.stacks import AutogradStack, MLPStack
from opl_lib.objectives import OBJECTIVES, Batch, Objective

N_ITEMS, N_ROWS = 23, 11
TEMPERATURES = [0.7, 1.3, 0.4]


def own_clipped_ips(logits, batch):
    """An objective of one's own, that knows nothing of a leading axis: min(w, 1) r."""
    pi = torch.softmax(logits, dim=1).gather(1, batch.action[:, None])[:, 0]
    return ((pi / batch.pscore).clamp(max=1) * batch.reward).mean()


VALUE_OBJECTIVES = {
    "ips": OBJECTIVES["ips"],
    "dm": OBJECTIVES["dm"],
    "dr": OBJECTIVES["dr"],
    "clipped": opl.clipped_ips(max_weight=1),
    "own": Objective(own_clipped_ips, only_logged_item=True),
}
# one model; several; several with items of their own
KINDS = {"1": (1, 1), "3": (3, 1), "3 with own items": (3, 3)}
every_kind = pytest.mark.parametrize("kind", KINDS)
every_case = pytest.mark.parametrize(
    ("name", "kind"), [*itertools.product(list(VALUE_OBJECTIVES)[:-1], KINDS), ("own", "1")]
)


class Problem:
    """K models with B rounds each, the same numbers for the first models of any K."""

    def __init__(self, n_models=1, n_tables=1, n_rows=N_ROWS, n_items=N_ITEMS):
        problems = [self.of_model(seed, n_rows, n_items) for seed in range(n_models)]
        self.models, context, items, action, floats, q_hat = zip(*problems, strict=True)
        self.context, self.items = torch.stack(context), torch.stack(items[:n_tables])
        self.batch = Batch(torch.stack(action), *torch.stack(floats, dim=1))
        self.q = torch.stack(q_hat)
        self.temperature = torch.tensor(TEMPERATURES[:n_models], dtype=torch.float64)[:, None, None]

    @staticmethod
    def of_model(seed, n_rows, n_items):
        draws = torch.Generator().manual_seed(seed)
        randn = partial(torch.randn, generator=draws, dtype=torch.float64)
        rand = partial(torch.rand, generator=draws, dtype=torch.float64)
        model = opl.TwoTower.mlp(4, 3, hidden=(8,), dim_embedding=5, random_state=seed).double()
        action = torch.randint(n_items, (n_rows,), generator=draws)
        action[:3] = torch.tensor([0, n_items - 1, 0])[:n_rows]  # the ends, and a repeated item
        floats = torch.stack([rand(n_rows), 0.1 + rand(n_rows) / 2])
        return (
            model,
            randn(n_rows, 4),
            3 * rand(n_items, 3),
            action,
            floats,
            rand(n_rows, n_items),
        )

    def q_hat(self, items):
        if items is None:
            return self.q
        return self.q.gather(2, items[:, None, :].expand(*self.q.shape[:2], -1))

    def step(self, objective, models=slice(None), kind=MLPStack):
        """What a step of some of the models needs, and what it sees."""
        stack = kind(self.models[models]) if kind is MLPStack else kind(self.models[models][0])
        alone = Problem.__new__(Problem)
        alone.q = self.q[models]
        q_logged = alone.q.gather(2, self.batch.action[models][..., None])[..., 0]
        needs_q_hat = "q_hat" in getattr(objective, "needs", ())
        setup = Setup(
            stack,
            objective,
            self.items if len(self.items) == 1 else self.items[models],
            self.temperature[models],
        )
        return setup, StepInput(
            self.context[models],
            Batch(*(None if column is None else column[models] for column in self.batch)),
            *((alone.q_hat, q_logged) if needs_q_hat else ()),
        )

    def gradients(self):
        """Of each model, as one vector."""
        return torch.stack(
            [torch.cat([p.grad.reshape(-1) for p in m.parameters()]) for m in self.models]
        )


def take(take_step, objective, problem, **settings):
    """Values and gradients of all weights that a step leaves, whatever was there before."""
    setup, step = problem.step(objective)
    setup.stack.flat.gradient.fill_(7)
    return take_step(setup, step, **settings), problem.gradients()


def by_autograd(problem, value_of):
    """Value and gradient, one model after the other, by torch alone."""
    values = []
    for k, model in enumerate(problem.models):
        items = problem.items[k if len(problem.items) > 1 else 0]
        for weights in model.parameters():
            weights.grad = None
        value = value_of(model(problem.context[k], items), k)
        value.backward()
        values.append(value.detach())
    return torch.stack(values), problem.gradients()


def value_formula(name, problem):
    """The objectives, written once more."""

    def value_of(scores, k):
        pi = torch.softmax(scores / TEMPERATURES[k], dim=1)
        action, reward, pscore = (column[k] for column in problem.batch[:3])
        rows, q_hat = torch.arange(len(action)), problem.q[k]
        w = pi[rows, action] / pscore
        dm = (pi * q_hat).sum(dim=1)
        return {
            "ips": w * reward,
            "dm": dm,
            "dr": dm + w * (reward - q_hat[rows, action]),
            "clipped": w.clamp(max=1) * reward,
            "own": w.clamp(max=1) * reward,
        }[name].mean()

    return value_of


def assert_same(got, expected, **tolerance):
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, **(tolerance or {"rtol": 1e-10, "atol": 1e-12}))


# ---- exact and streamed


@every_case
def test_exact_is_the_gradient_that_autograd_finds(name, kind):
    problem = Problem(*KINDS[kind])
    got = take(steps.exact, VALUE_OBJECTIVES[name], problem)
    assert_same(got, by_autograd(problem, value_formula(name, problem)))
    assert (got[1].abs().amax(dim=1) > 1e-3).all()


@every_case
@pytest.mark.parametrize("tile", [1, 2, 7, N_ITEMS - 1, N_ITEMS, 1000])
def test_streamed_gives_the_numbers_of_exact(name, kind, tile):
    problem, objective = Problem(*KINDS[kind]), VALUE_OBJECTIVES[name]
    expected = take(steps.exact, objective, problem)
    assert_same(take(steps.streamed, objective, problem, tile=tile), expected)


@pytest.mark.parametrize("name", ["ips", "dr"])
@pytest.mark.parametrize("tile", [1, 2])
def test_streaming_a_catalogue_of_one_or_two_items(name, tile):
    for n_items in (1, 2):
        problem = Problem(2, n_rows=2, n_items=n_items)
        expected = take(steps.exact, VALUE_OBJECTIVES[name], problem)
        got = take(steps.streamed, VALUE_OBJECTIVES[name], problem, tile=tile)
        assert_same(got, expected)


@pytest.mark.parametrize("name", ["ips", "dr", "own"])
@pytest.mark.parametrize("take_step", [steps.exact, partial(steps.streamed, tile=5)])
def test_towers_of_any_kind_take_the_same_step(name, take_step):
    problem, objective = Problem(), VALUE_OBJECTIVES[name]
    expected = take(take_step, objective, problem)
    setup, step = problem.step(objective, kind=AutogradStack)
    setup.stack.flat.gradient.fill_(7)
    assert_same((take_step(setup, step), problem.gradients()), expected)


def test_streamed_never_encodes_more_than_a_tile_of_items():
    widths, problem = [], Problem()
    tower = problem.models[0].action_tower
    tower.register_forward_hook(lambda module, inputs, output: widths.append(len(output)))
    steps.streamed(*problem.step(OBJECTIVES["dr"], kind=AutogradStack), tile=4)
    assert max(widths) == 4 and sum(widths) == 2 * N_ITEMS


# ---- sampled


def head_of(problem, size, **settings):
    setup, step = problem.step(OBJECTIVES["ips"])
    return sampling.find_head(setup, step.context, size, **settings)


def own_draws(n_models, seed=1):
    return Draws([torch.Generator().manual_seed(seed + k) for k in range(n_models)])


class Given:
    """Numbers in the place of those that would be drawn."""

    def __init__(self, numbers):
        self.numbers = numbers

    def integers(self, bound, size):
        return self.numbers[None]

    def uniform(self, size):
        return self.numbers[None]


@every_case
@pytest.mark.parametrize("head_size", [None, 6])
def test_sampled_converges_to_exact(name, kind, head_size):
    problem, objective = Problem(*KINDS[kind]), VALUE_OBJECTIVES[name]
    value, gradient = take(steps.exact, objective, problem)
    head = None
    if head_size is not None:
        head = head_of(problem, head_size)
        in_head = head.is_head.gather(1, problem.batch.action)
        assert in_head.any() and not in_head.all()
    errors = []
    for n_sampled in (40, 40_000):
        draws = own_draws(len(value))
        got = take(
            sampling.sampled, objective, problem, n_sampled=n_sampled, draws=draws, head=head
        )
        errors.append((got[1] - gradient).norm(dim=1) / gradient.norm(dim=1))
    assert (errors[1] < 0.1).all() and errors[1].mean() < errors[0].mean() / 6
    torch.testing.assert_close(got[0], value, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("name", ["ips", "dr"])
@pytest.mark.parametrize("head_size", [None, 6])
def test_models_side_by_side_take_the_steps_that_they_take_alone(name, head_size):
    problem, objective = Problem(3, 3), VALUE_OBJECTIVES[name]
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


def sum_of_weights(logits, batch):
    """``mean_i Σ_a exp(z_ia)``, what a softmax divides by: a sample must not be biased for it."""
    weights = logits.exp()
    return weights.sum(dim=-1).mean(dim=-1), weights / logits.shape[-2]


SUM_OF_WEIGHTS = Objective(sum_of_weights, only_logged_item=True, batched=True)


@pytest.mark.parametrize("n_sampled", [1, 2])
@pytest.mark.parametrize("logged", [None, "head", "tail"])
def test_all_samples_together_weigh_what_all_items_weigh(n_sampled, logged):
    """Every possible sample is drawn once; those that draw only the logged item know no other."""
    problem, head, n_others = Problem(n_rows=1, n_items=6), None, 6
    if logged is not None:
        head, n_others = head_of(problem, 2), 4
        items = {"head": head.items, "tail": head.others}[logged]
        problem.batch = problem.batch._replace(action=items[:, :1])
    expected = take(steps.exact, SUM_OF_WEIGHTS, problem)
    values, gradients, n_blind = [], [], 0
    for drawn in itertools.product(range(n_others), repeat=n_sampled):
        drawn = torch.tensor(drawn)
        items = drawn if head is None else head.others[0, drawn]
        settings = {"n_sampled": n_sampled, "draws": Given(drawn), "head": head}
        value, gradient = take(sampling.sampled, SUM_OF_WEIGHTS, problem, **settings)
        if (items == problem.batch.action[0]).all():
            n_blind += 1
            assert value.isfinite().all() and (value < expected[0]).all()
            continue
        values.append(value)
        gradients.append(gradient)
    assert n_blind == (logged != "head")
    mean = torch.stack(values).mean(dim=0), torch.stack(gradients).mean(dim=0)
    assert_same(mean, expected, rtol=1e-6, atol=1e-8)  # the ratios are float32
    assert (torch.stack(values) - expected[0]).abs().max() > 1e-3


@pytest.mark.parametrize("head_size", [None, 0, 1])
def test_a_sample_of_the_logged_item_alone_is_finite(head_size):
    problem = Problem(n_items=2)
    problem.batch = problem.batch._replace(action=torch.zeros_like(problem.batch.action))
    head = None if head_size is None else head_of(problem, head_size)
    for seed in range(8):
        settings = {"n_sampled": 1, "draws": own_draws(1, seed), "head": head}
        for name in ("ips", "dr"):
            value, gradient = take(sampling.sampled, VALUE_OBJECTIVES[name], problem, **settings)
            assert value.isfinite().all() and gradient.isfinite().all()


@every_kind
@pytest.mark.parametrize("tile", [4, 1000])
@pytest.mark.parametrize("size", [0, 5, N_ITEMS - 1])
def test_the_head_is_what_each_model_shows_most(kind, tile, size):
    problem = Problem(*KINDS[kind])
    head = head_of(problem, size, tile=tile)
    for k, model in enumerate(problem.models):
        items = problem.items[k if len(problem.items) > 1 else 0]
        with torch.no_grad():
            logits = model(problem.context[k], items) / TEMPERATURES[k]
        order = torch.softmax(logits, dim=1).mean(dim=0).argsort(descending=True).tolist()
        assert head.items[k].tolist() == order[:size]
        assert head.others[k].tolist() == sorted(order[size:])
        assert head.is_head[k].nonzero()[:, 0].tolist() == sorted(order[:size])


def test_one_table_of_contexts_serves_all_models_in_finding_heads():
    problem = Problem(3)
    setup, step = problem.step(OBJECTIVES["ips"])
    shared = sampling.find_head(setup, step.context[:1], 4)
    repeated = sampling.find_head(setup, step.context[:1].expand(3, -1, -1), 4)
    assert all(torch.equal(*pair) for pair in zip(shared, repeated, strict=True))


# ---- logged only


def error_formula(name, problem):
    def value_of(scores, k):
        action, reward = problem.batch.action[k], problem.batch.reward[k]
        logged = scores[torch.arange(len(action)), action]  # whatever the temperature
        if name == "squared_error":
            return -(logged - reward).square().mean()
        return -torch.nn.functional.binary_cross_entropy_with_logits(logged, reward)

    return value_of


@every_kind
@pytest.mark.parametrize("n_items", [4, N_ROWS, N_ITEMS], ids=["few", "as many", "many"])
@pytest.mark.parametrize("name", ["regression", "squared_error"])
def test_logged_only_is_the_gradient_that_autograd_finds(name, n_items, kind):
    problem = Problem(*KINDS[kind], n_items=n_items)
    got = take(steps.logged_only, OBJECTIVES[name], problem)
    assert_same(got, by_autograd(problem, error_formula(name, problem)))


@pytest.mark.parametrize(("n_items", "encoded"), [(4, 4), (N_ITEMS, N_ROWS)])
def test_logged_only_encodes_what_is_fewer_items_or_rounds(n_items, encoded):
    widths, problem = [], Problem(n_items=n_items)
    tower = problem.models[0].action_tower
    tower.register_forward_hook(lambda module, inputs, output: widths.append(len(output)))
    steps.logged_only(*problem.step(OBJECTIVES["regression"], kind=AutogradStack))
    assert widths == [encoded]


def test_logged_only_scores_all_items_only_if_they_are_few(monkeypatch):
    """Beyond, a large batch encodes its own items, repeated ones again, with the same gradient."""
    problem = Problem(n_items=4)
    expected = take(steps.logged_only, OBJECTIVES["regression"], problem)
    monkeypatch.setattr(steps, "_FEW_ITEMS", 3)
    widths = []
    tower = problem.models[0].action_tower
    tower.register_forward_hook(lambda module, inputs, output: widths.append(len(output)))
    setup, step = problem.step(OBJECTIVES["regression"], kind=AutogradStack)
    setup.stack.flat.gradient.fill_(7)
    assert_same((steps.logged_only(setup, step), problem.gradients()), expected)
    assert widths == [N_ROWS]


def test_gather_rows_reads_the_table_of_each_model_or_the_one_for_all():
    table, rows = torch.arange(24).view(2, 4, 3), torch.tensor([[3, 0], [1, 1]])
    both = [[[9, 10, 11], [0, 1, 2]], [[15, 16, 17], [15, 16, 17]]]
    one = [[[9, 10, 11], [0, 1, 2]], [[3, 4, 5], [3, 4, 5]]]
    assert gather_rows(table, rows).tolist() == both
    assert gather_rows(table[:1], rows).tolist() == one
    assert gather_rows(table[:, :, 0], rows).tolist() == [[9, 0], [15, 15]]


# ---- the steps in the learner


@pytest.fixture
def log():
    return opl.SyntheticWorld(n_actions=40, dim_context=4, dim_action_context=4).sample(300, 0)


def learned(log, **settings):
    small = {"epochs": 2, "batch_size": 50, "learning_rate": 1e-3, "hidden": (8,)}
    learner = opl.OffPolicyLearner(**{**small, **settings}).fit(log)
    return learner.policy_.predict_proba(log.context, log.action_context)


@pytest.mark.parametrize("objective", ["ips", "dr"])
def test_the_learner_learns_the_same_policy_streamed(objective, log):
    exact = learned(log, objective=objective, catalogue="exact")
    streamed = learned(log, objective=objective, catalogue="streamed")
    np.testing.assert_allclose(streamed, exact, rtol=1e-4)


def test_the_learner_learns_nearly_the_same_policy_sampled(log):
    exact = learned(log, objective="ips", catalogue="exact")
    sampled = learned(log, objective="ips", catalogue="sampled", n_sampled=39)
    start = learned(log, objective="ips", catalogue="exact", learning_rate=1e-12)
    moved = np.corrcoef((sampled - start).ravel(), (exact - start).ravel())
    assert moved[0, 1] > 0.7


def test_auto_streams_when_a_batch_has_too_many_logits(log, monkeypatch):
    exact = learned(log, objective="ips")
    monkeypatch.setattr(fit_module, "_MAX_LOGITS", 50 * 40 - 1)
    monkeypatch.setitem(loop._STEPS, "exact", None)
    np.testing.assert_allclose(learned(log, objective="ips"), exact, rtol=1e-4)


@pytest.mark.parametrize("catalogue", ["exact", "streamed", "sampled"])
def test_a_large_q_hat_is_predicted_by_the_tile(catalogue, log, monkeypatch):
    stored = learned(log, objective="dr", catalogue=catalogue)
    monkeypatch.setattr(batches, "MAX_STORED_Q_HAT", 0)
    np.testing.assert_allclose(learned(log, objective="dr", catalogue=catalogue), stored, rtol=1e-4)


@pytest.mark.parametrize("catalogue", ["exact", "streamed", "sampled"])
@pytest.mark.parametrize("frozen", ["context_tower", "action_tower"])
def test_a_frozen_tower_stays_and_the_other_learns(catalogue, frozen, log):
    towers = opl.TwoTower.mlp(4, 4, hidden=(8,), random_state=0)
    getattr(towers, frozen).requires_grad_(False)
    settings = {"towers": towers, "catalogue": catalogue, "n_sampled": 20, "epochs": 1}
    model = opl.OffPolicyLearner("ips", **settings).fit(log).policy_.towers
    for name, before in towers.named_parameters():
        same = torch.equal(before, model.get_parameter(name))
        assert same == name.startswith(frozen)


def test_items_that_are_their_own_embeddings_can_be_streamed(log):
    towers = opl.TwoTower(torch.nn.Linear(4, 4), torch.nn.Identity())
    exact = learned(log, objective="ips", towers=towers, catalogue="exact")
    streamed = learned(log, objective="ips", towers=towers, catalogue="streamed")
    np.testing.assert_allclose(streamed, exact, rtol=1e-4)


def sees_all_items(logits, batch):
    """An objective that looks at every item."""
    assert logits.shape[1] == 40
    return opl.ips(logits, batch)


def test_objectives_that_do_not_say_otherwise_see_every_item(log, monkeypatch):
    monkeypatch.setattr(fit_module, "_MAX_LOGITS", 0)
    learned(log, objective=Objective(sees_all_items))
    for catalogue in ("streamed", "sampled"):
        with pytest.raises(ValueError, match="only_logged_item=True"):
            learned(log, objective=sees_all_items, catalogue=catalogue)


def test_a_sample_as_large_as_the_catalogue_is_exact(log):
    exact = learned(log, objective="ips", catalogue="exact")
    sampled = learned(log, objective="ips", catalogue="sampled", n_sampled=40)
    np.testing.assert_array_equal(sampled, exact)


def test_samples_depend_on_the_seed(log):
    towers = opl.TwoTower.mlp(4, 4, hidden=(8,), random_state=0)
    settings = {"objective": "ips", "towers": towers, "catalogue": "sampled", "n_sampled": 5}
    one, again, two = (
        learned(log, **settings, shuffle=False, random_state=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, two)
