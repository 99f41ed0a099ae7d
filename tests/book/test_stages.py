"""Two stages, new items and lists of a rule: formulas beside draws, cells stored and repeated."""

import numpy as np
import pytest
import torch
from experiments import read_table
from experiments.new_items import carried_over, marginals, site
from experiments.rule_lists import RuleListsCell, Site
from experiments.stage_gradients import EXACT, StageGradientsCell, compared
from experiments.stage_pay import (
    DRAWS,
    all_drawn,
    all_ordered,
    proposed_drawn,
    served,
    shown,
    with_replacement,
)
from experiments.stages import DEVELOPMENT, REPORTED, StagesCell
from experiments.tables import RESULTS

N_ITEMS, K, N_DRAWS = 7, 3, 40_000


@pytest.fixture
def scores():
    generator = torch.Generator().manual_seed(0)
    z, f = torch.randn(2, 1, N_ITEMS, generator=generator, dtype=torch.float64)
    uniform = torch.rand(N_DRAWS, 1, N_ITEMS, generator=generator, dtype=torch.float64)
    return z, f, uniform.clamp(1e-12, 1 - 1e-12)


@pytest.mark.parametrize("replacement", DRAWS)
def test_the_chance_of_being_shown_is_that_of_draws(scores, replacement):
    z, f, uniform = scores
    items = DRAWS[replacement](z.expand_as(uniform), K, uniform)
    a = shown(items, f.expand_as(uniform))[:, 0]
    counted = np.bincount(a.numpy(), minlength=N_ITEMS) / N_DRAWS
    chance = EXACT[replacement](z, f, K)[0]
    assert float(chance.sum()) == pytest.approx(1)
    error = 4.5 * np.sqrt(counted.clip(1e-3) / N_DRAWS)
    assert (np.abs(counted - chance.numpy()) < error).all()


def test_what_is_served_has_the_mean_of_what_all_are_paid_and_scatters_less(scores):
    z, f, uniform = scores
    items = with_replacement(z.expand_as(uniform), K, uniform)
    a = shown(items, f.expand_as(uniform))
    gradients = {}
    for pay in (all_drawn, served, proposed_drawn):
        many = z.expand_as(uniform).clone().requires_grad_()
        pay(many, items, a, f.expand_as(many)).sum().backward()
        gradients[pay] = many.grad[:, 0]
    for item in range(N_ITEMS):
        rows = a[:, 0] == item
        if rows.sum() > 2_000:
            mean = gradients[all_drawn][rows].mean(0)
            error = gradients[all_drawn][rows].std(0) / rows.sum() ** 0.5
            apart = (mean - gradients[served][rows].mean(0)).abs()
            assert (apart < 4.5 * error + 1e-12).all()
    spread = {pay: float(each.var(0).sum()) for pay, each in gradients.items()}
    assert spread[proposed_drawn] < spread[all_drawn] and spread[served] < spread[all_drawn]


def test_an_ordered_draw_has_the_chance_of_plackett_and_luce():
    z = torch.log(torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64))
    items = torch.tensor([[1, 0]])
    chance = torch.exp(all_ordered(z, items, items[:, 0], z))
    assert float(chance) == pytest.approx(0.3 * 0.5 / 0.7)


def test_a_gradient_is_compared_with_the_true_one():
    truth = torch.tensor([[3.0, 4.0]])
    found = compared(2 * truth, (2 * truth).square().sum(-1) + 25, truth)
    assert found == pytest.approx({"bias": 1.0, "noise": 1.0, "cosine": 1.0})


def test_development_and_report_share_no_seed():
    assert not set(DEVELOPMENT) & set(REPORTED)


def test_the_pseudo_inverse_is_exact_where_rewards_are_linear():
    phi = marginals(site(0, 0.0).action_context)
    q = phi @ np.linspace(-1, 1, phi.shape[1])
    np.testing.assert_allclose(carried_over(phi, 20) @ q[:20] / 20, q, atol=1e-9)


def test_a_list_looks_at_as_many_places_as_it_has():
    x = np.random.default_rng(0).normal(size=(5, 5))
    for new in (False, True):
        seen = Site.of(0, 5).looked_at(x, new)
        np.testing.assert_allclose(
            np.sort(seen)[:, ::-1][:, :6], [[1, 1 / 2, 1 / 3, 1 / 4, 0.2, 0]] * 5
        )


@pytest.mark.skipif(not (RESULTS / "rule_lists.csv").exists(), reason="no stored table")
def test_stored_cells_repeat():
    table = read_table(RESULTS / "rule_lists.csv")
    rows = table[(table.length == 5) & (table.seed == 0)].set_index("estimator")
    for again in RuleListsCell(5, 10_000).run((0,)):
        assert again["estimate"] == pytest.approx(rows.estimate[again["estimator"]], abs=1e-4)
    table = read_table(RESULTS / "stage_gradients.csv")
    rows = table.query("ranker == 'house' and replacement == 'with' and seed == 0")
    rows = rows.set_index("gradient")
    for again in StageGradientsCell("house", "with", 20).run((0,)):
        assert again["cosine"] == pytest.approx(rows.cosine[again["gradient"]], abs=1e-4)


def test_a_stage_learns(monkeypatch):
    monkeypatch.setattr("experiments.stages.STEPS", 30)
    (row,) = StagesCell("credit", "plain", "with", 3e-2).run((3,))
    assert row["uniform"] < row["value_30"] < row["ranker_alone"] <= row["optimum"]
