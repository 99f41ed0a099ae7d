"""The two-tower model: scores, shapes, initial weights."""

import numpy as np
import pytest
import torch

import opl_lib as opl


@pytest.fixture
def model():
    return opl.TwoTower.mlp(3, 2, hidden=(5, 6), dim_embedding=4, random_state=0)


def features(n_rows, width, seed=0):
    return torch.randn(n_rows, width, generator=torch.Generator().manual_seed(seed))


def test_scores_are_inner_products_of_the_embeddings(model):
    context, items = features(7, 3), features(4, 2)
    scores = model(context, items)
    assert scores.shape == (7, 4)
    u, v = model.context_tower(context), model.action_tower(items)
    for i in range(7):
        for a in range(4):
            torch.testing.assert_close(scores[i, a], u[i] @ v[a])


def test_mlp_has_the_layers_asked_for(model):
    for tower, width in ((model.context_tower, 3), (model.action_tower, 2)):
        kinds = [type(layer).__name__ for layer in tower]
        assert kinds == ["Linear", "ELU", "Linear", "ELU", "Linear"]
        shapes = [tuple(layer.weight.shape) for layer in tower if hasattr(layer, "weight")]
        assert shapes == [(5, width), (6, 5), (4, 6)]


def test_mlp_without_hidden_layers_is_linear():
    model = opl.TwoTower.mlp(3, 2, hidden=(), dim_embedding=4)
    assert [type(layer).__name__ for layer in model.context_tower] == ["Linear"]


def test_default_mlp_is_that_of_the_article():
    settings = opl.TwoTower.mlp(50, 50).mlp_settings
    assert (settings["hidden"], settings["dim_embedding"]) == ([100, 100, 100], 100)


def test_initial_weights_follow_random_state():
    one, same, other = (
        opl.TwoTower.mlp(3, 2, random_state=seed).context_tower[0].weight for seed in (0, 0, 1)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("random_state", [None, 0])
def test_making_towers_leaves_torchs_global_generator_alone(random_state):
    before = torch.get_rng_state()
    opl.TwoTower.mlp(3, 2, random_state=random_state)
    assert torch.equal(torch.get_rng_state(), before)


def test_any_module_can_be_a_tower():
    model = opl.TwoTower(torch.nn.Identity(), torch.nn.Linear(2, 3))
    assert model(features(4, 3), features(5, 2)).shape == (4, 5)
    assert model.mlp_settings is None


@pytest.mark.parametrize("width", [0, -1, 2.0, True, None, "3"])
@pytest.mark.parametrize(
    "name", ["dim_context", "dim_action_context", "dim_embedding", "hidden[1]"]
)
def test_widths_must_be_positive_integers(name, width):
    settings = {"dim_context": 3, "dim_action_context": 2, "dim_embedding": 4, "hidden": (5, 6)}
    settings |= {"hidden": (5, width)} if name == "hidden[1]" else {name: width}
    with pytest.raises(ValueError) as error:
        opl.TwoTower.mlp(**settings)
    assert f"{name} must be an integer of at least 1; got {width!r}" in str(error.value)


def test_widths_may_be_numpys():
    model = opl.TwoTower.mlp(np.int64(3), np.int32(2), hidden=np.array([5]))
    assert {type(value) for value in model.mlp_settings["hidden"]} == {int}
