"""The two-tower model: scores, shapes, initial weights."""

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

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


def test_a_linear_layer_beside_comes_first_in_the_embeddings():
    settings = {"hidden": (4,), "dim_embedding": 2, "random_state": 0}
    beside = opl.TwoTower.mlp(3, 2, **settings, dim_linear=5)
    alone = opl.TwoTower.mlp(3, 2, **settings)
    assert "dim_linear" not in alone.mlp_settings
    assert beside.mlp_settings == {**alone.mlp_settings, "dim_linear": 5}
    for side, width in (("context_tower", 3), ("action_tower", 2)):
        features = torch.randn(6, width)
        tower, layers = getattr(beside, side), getattr(alone, side)
        embedded = tower(features)
        assert embedded.shape == (6, 5 + 2)
        assert torch.equal(embedded[:, 5:], layers(features))  # the same initial weights
        assert torch.equal(embedded[:, :5], tower[0](features))
    assert beside(torch.zeros(4, 3), torch.zeros(6, 2)).shape == (4, 6)
    with pytest.raises(ValueError, match="context must be a tensor of shape"):
        beside(torch.zeros(4, 2), torch.zeros(6, 2))
    policy = opl.TwoTowerPolicy(beside)
    with pytest.raises(ValueError, match="context has 2 features, but this policy was made for 3"):
        policy.scores(np.zeros((4, 2)), np.zeros((6, 2)))


@pytest.mark.parametrize("name", ["dim_linear", "n_known"])
@pytest.mark.parametrize("number", [-1, 0.5, True, None, "2"])
def test_widths_beside_layers_are_counts(name, number):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 0; got"):
        opl.TwoTower.mlp(3, 2, **{name: number})


def test_towers_with_a_linear_layer_beside_learn(small_log):
    towers = opl.TwoTower.mlp(3, 2, (4,), 2, random_state=0, dim_linear=np.int64(3))
    learner = opl.OffPolicyLearner("ips", towers=towers, epochs=2, progress=False).fit(small_log)
    before, after = towers.state_dict(), learner.policy_.towers.state_dict()
    assert before.keys() == after.keys()
    assert not any(torch.equal(before[name], after[name]) for name in before)


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


def weights(model):
    return torch.cat([weights.detach().flatten() for weights in model.parameters()])


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
@pytest.mark.parametrize("hidden", [(), (5,), (5, 6)])
def test_initial_weights_are_those_of_torchs_layers_by_its_global_generator(seed, hidden):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        towers = []
        for width in (3, 2):
            between = [width, *hidden, 4]
            layers = [torch.nn.Linear(*pair) for pair in pairwise(between)]
            towers.append(torch.nn.Sequential(*layers))
    made = opl.TwoTower.mlp(3, 2, hidden, 4, random_state=seed)
    assert torch.equal(weights(made), weights(opl.TwoTower(*towers)))


def test_initial_weights_are_the_same_in_any_thread():
    """Beside other threads that make towers, and that draw from torch's global generator."""

    def make(seed):
        torch.rand(3)
        return weights(opl.TwoTower.mlp(5, 5, (4,), 3, random_state=seed))

    alone, interval = [make(seed) for seed in (0, 1)], sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(make, [0, 1] * 200))
    finally:
        sys.setswitchinterval(interval)
    assert all(torch.equal(one, alone[turn % 2]) for turn, one in enumerate(made))


def test_without_a_seed_towers_are_new_ones_each_time():
    torch.manual_seed(0)
    one, other = (weights(opl.TwoTower.mlp(3, 2)) for _ in range(2))
    torch.manual_seed(0)
    assert not torch.equal(one, other)
    assert not torch.equal(one, weights(opl.TwoTower.mlp(3, 2)))


def test_towers_are_of_single_precision_and_can_learn_whatever_torchs_modes():
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            model = opl.TwoTower.mlp(3, 2, random_state=0)
    finally:
        torch.set_default_dtype(torch.float32)
    assert weights(model).dtype == torch.float32
    assert torch.equal(weights(model), weights(opl.TwoTower.mlp(3, 2, random_state=0)))
    model(torch.zeros(1, 3), torch.zeros(1, 2)).sum().backward()
    assert all(
        type(layer) is not torch.nn.Linear or layer.weight.grad is not None
        for layer in model.modules()
    )


@pytest.mark.parametrize("hidden", [None, 3, "34", b"34", {3, 4}, {3: 4}, np.array(3)], ids=repr)
def test_hidden_is_a_sequence(hidden):
    with pytest.raises(TypeError, match="hidden must be a sequence of integers, as"):
        opl.TwoTower.mlp(3, 2, hidden)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, True, "0", np.nan], ids=repr)
def test_a_seed_is_one(seed):
    with pytest.raises(ValueError, match="random_state must be an integer"):
        opl.TwoTower.mlp(3, 2, random_state=seed)


@pytest.mark.parametrize("width", [2**40, 2**70])
def test_towers_that_do_not_fit_into_memory_are_refused(width):
    with pytest.raises(ValueError, match=f"from {width} to 100 units does not fit into memory"):
        opl.TwoTower.mlp(width, 2)


@pytest.mark.parametrize("tower", [None, 3, torch.nn.Linear, torch.relu])
@pytest.mark.parametrize("name", ["context_tower", "action_tower"])
def test_a_tower_is_a_module(name, tower):
    towers = {"context_tower": torch.nn.Linear(3, 4), "action_tower": torch.nn.Linear(2, 4)}
    with pytest.raises(TypeError, match=f"{name} must be a torch.nn.Module, an object and not"):
        opl.TwoTower(**towers | {name: tower})


@pytest.mark.parametrize(
    ("context", "error", "message"),
    [
        (np.zeros((4, 3)), TypeError, "context must be a tensor; got ndarray"),
        (None, TypeError, "context must be a tensor; got NoneType"),
        (torch.zeros(4, 5), ValueError, r"context must be .* \(n, 3\) .*; got \(4, 5\) and"),
        (torch.zeros(3), ValueError, r"context must be a tensor of shape \(n, 3\)"),
        (torch.zeros(4, 3).double(), ValueError, "dtype torch.float32; got .*float64"),
    ],
    ids=["array", "None", "width", "vector", "dtype"],
)
def test_features_of_the_model_are_tensors(model, context, error, message):
    with pytest.raises(error, match=message):
        model(context, torch.zeros(7, 2))


# ---- towers that were changed, or made in another mode


@pytest.mark.parametrize("change", ["double", "half", "bfloat16"])
def test_towers_converted_after_the_fact_are_named(change):
    policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 2, hidden=(4,), random_state=0))
    items = np.eye(2)
    getattr(policy.towers, change)()
    for ask in (
        lambda: policy.predict_proba(np.ones((1, 3)), items),
        lambda: policy.embed_items(items),
        lambda: policy.top_k(np.ones((1, 3)), items, k=1),
        lambda: policy.embed_context(np.ones((1, 3))),
    ):
        with pytest.raises(ValueError, match=r"is of dtype .* Convert it: towers.float\(\)"):
            ask()
    policy.towers.float()
    policy.predict_proba(np.ones((1, 3)), items)


def test_towers_made_in_inference_mode_are_used_and_saved(tmp_path, small_log):
    with torch.inference_mode():
        torch.manual_seed(0)
        widths = small_log.dim_context, small_log.dim_action_context
        towers = opl.TwoTower(*(torch.nn.Linear(width, 4) for width in widths))
        policy = opl.TwoTowerPolicy(towers)
        policy.save(tmp_path / "inside")
    policy.save(tmp_path / "outside")
    asked = small_log.context[:3], small_log.action_context
    for name in ("inside", "outside"):
        loaded = opl.TwoTowerPolicy.load(tmp_path / name, towers=towers)
        assert np.array_equal(loaded.predict_proba(*asked), policy.predict_proba(*asked))
    learner = opl.OffPolicyLearner("ips", towers=towers, epochs=1, learning_rate=0.1)
    learned = learner.fit(small_log).policy_.predict_proba(*asked)
    assert np.abs(learned - policy.predict_proba(*asked)).max() > 1e-3
