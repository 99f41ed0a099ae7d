"""Stacks of models against torch's own gradients, and which models may be stacked."""

import copy

import pytest
import torch
from torch.nn.utils import parametrizations

import opl_lib as opl
from opl_lib.learning.optimizer import FlatWeights
from opl_lib.learning.stacks import AutogradStack, MLPStack, is_plain_mlp, stack_models

TOWERS = ["context_tower", "action_tower"]
WIDTH = {"context_tower": 4, "action_tower": 3}


def make_models(n_models, hidden=(8, 6), frozen=None):
    models = [
        opl.TwoTower.mlp(4, 3, hidden, dim_embedding=5, random_state=seed).double()
        for seed in range(n_models)
    ]
    for model in models:
        if frozen:
            getattr(model, frozen).requires_grad_(False)
    return models


def randn(*shape, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draws, dtype=torch.float64)


def by_torch(tower, *pairs):
    """Embeddings of the last features, and the gradients of ``Σ <embedding, gradient>``."""
    tower = copy.deepcopy(tower)
    for features, gradient in pairs:
        embedding = tower(features)
        (embedding * gradient).sum().backward()
    return embedding.detach(), [weights.grad for weights in tower.parameters()]


def stacked(models):
    """Each kind of stack of copies of some models, with the copies and the originals."""
    copies = copy.deepcopy(models)
    yield MLPStack(copies), copies, models
    for model in models:
        copied = copy.deepcopy(model)
        yield AutogradStack(copied), [copied], [model]


# ---- embeddings and gradients


@pytest.mark.parametrize("hidden", [(), (8,), (8, 6)], ids=str)
@pytest.mark.parametrize("n_models", [1, 3])
@pytest.mark.parametrize("name", TOWERS)
def test_embeddings_and_gradients_are_those_of_torch(name, n_models, hidden):
    for stack, copies, originals in stacked(make_models(n_models, hidden)):
        features, gradient = randn(len(copies), 7, WIDTH[name]), randn(len(copies), 7, 5, seed=1)
        untouched = features.clone()
        stack.zero_grad()
        embedding, pullback = getattr(stack, name).encode(features)
        pullback(gradient)
        assert torch.equal(features, untouched) and not embedding.requires_grad
        for k, (copied, original) in enumerate(zip(copies, originals, strict=True)):
            expected, slopes = by_torch(getattr(original, name), (features[k], gradient[k]))
            torch.testing.assert_close(embedding[k], expected, rtol=1e-12, atol=1e-12)
            for weights, slope in zip(getattr(copied, name).parameters(), slopes, strict=True):
                torch.testing.assert_close(weights.grad, slope, rtol=1e-12, atol=1e-12)
                assert slope.abs().max() > 1e-3


@pytest.mark.parametrize("name", TOWERS)
def test_pullbacks_add_up_until_the_gradient_is_forgotten(name):
    pairs = [(randn(7, WIDTH[name], seed=k), randn(7, 5, seed=k + 9)) for k in range(3)]
    for stack, copies, originals in stacked(make_models(1)):
        tower = getattr(stack, name)

        def pull(pair, tower=tower):
            tower.encode(pair[0][None])[1](pair[1][None])

        for several in (pairs[:2], pairs[2:]):
            stack.zero_grad()
            for pair in several:
                pull(pair)
            _, slopes = by_torch(getattr(originals[0], name), *several)
            for weights, slope in zip(getattr(copies[0], name).parameters(), slopes, strict=True):
                torch.testing.assert_close(weights.grad, slope, rtol=1e-12, atol=1e-12)


def test_a_pullback_may_come_after_the_next_encoding():
    """As in a streamed step, where tiles are encoded while the contexts wait."""
    features, gradient = randn(1, 7, 4), randn(1, 7, 5, seed=1)
    for stack, copies, originals in stacked(make_models(1)):
        stack.zero_grad()
        _, pullback = stack.context_tower.encode(features)
        stack.context_tower.encode(2 * features)
        pullback(gradient)
        _, slopes = by_torch(originals[0].context_tower, (features[0], gradient[0]))
        for weights, slope in zip(copies[0].context_tower.parameters(), slopes, strict=True):
            torch.testing.assert_close(weights.grad, slope, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("frozen", TOWERS)
def test_a_frozen_tower_has_no_gradient_and_the_other_has(frozen):
    for stack, copies, originals in stacked(make_models(2, frozen=frozen)):
        size = sum(p.numel() for m in originals for p in m.parameters() if p.requires_grad)
        assert len(stack.flat.weights) == size
        stack.zero_grad()
        for name in TOWERS:
            features, gradient = randn(len(copies), 7, WIDTH[name]), randn(len(copies), 7, 5)
            embedding, pullback = getattr(stack, name).encode(features)
            pullback(gradient)
            for k, (copied, original) in enumerate(zip(copies, originals, strict=True)):
                tower = getattr(original, name)
                torch.testing.assert_close(embedding[k], tower(features[k]).detach())
                grads = [weights.grad for weights in getattr(copied, name).parameters()]
                if name == frozen:
                    assert grads == [None] * len(grads)
                    continue
                for grad, slope in zip(
                    grads, by_torch(tower, (features[k], gradient[k]))[1], strict=True
                ):
                    torch.testing.assert_close(grad, slope, rtol=1e-12, atol=1e-12)


def test_towers_of_any_kind_are_differentiated_by_torch():
    """One tower for both sides adds up; items that are their own embeddings have no gradient."""
    shared = torch.nn.Linear(3, 5).double()
    twice = AutogradStack(opl.TwoTower(copy.deepcopy(shared), torch.nn.Identity()))
    both = AutogradStack(opl.TwoTower(tower := copy.deepcopy(shared), tower))
    features, gradient = randn(1, 7, 3), randn(1, 7, 5, seed=1)
    _, (d_weight, _) = by_torch(shared, (features[0], gradient[0]))
    for stack, times in ((twice, 1), (both, 2)):
        stack.zero_grad()
        stack.context_tower.encode(features)[1](gradient)
        embedding, pullback = stack.action_tower.encode(features)
        pullback(gradient[..., : embedding.shape[-1]])
        torch.testing.assert_close(stack.model.context_tower.weight.grad, times * d_weight)
    assert len(both.flat.weights) == 3 * 5 + 5


def test_layers_that_differ_in_training_are_told():
    model = opl.TwoTower(
        torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(1.0)), torch.nn.Identity()
    )
    stack = AutogradStack(model)
    stack.train()
    assert (stack.context_tower.encode(torch.ones(1, 2, 3))[0] == 0).all()
    stack.train(False)
    assert (stack.context_tower.encode(torch.ones(1, 2, 3))[0] != 0).all()


# ---- one vector for all weights


def test_weights_and_gradients_are_views_of_one_vector():
    models = make_models(3)
    before = copy.deepcopy(models)
    flat = MLPStack(models).flat
    for model, original in zip(models, before, strict=True):
        for weights, kept in zip(model.parameters(), original.parameters(), strict=True):
            assert torch.equal(weights, kept)
    assert len(flat.weights) == sum(p.numel() for m in models for p in m.parameters())
    flat.weights.fill_(0.5)
    flat.gradient.fill_(0.25)
    for model in models:
        for weights in model.parameters():
            assert (weights == 0.5).all() and (weights.grad == 0.25).all()


@pytest.mark.parametrize(("first", "last"), [(0, 1), (1, 2), (1, 3), (0, 3)])
def test_the_parts_of_some_models_are_theirs_and_complete(first, last):
    models = make_models(3)
    flat = MLPStack(models).flat
    for number, model in enumerate(models):
        for weights in model.parameters():
            weights.data.fill_(number)
    parts = torch.cat(flat.of_models(flat.weights, first, last))
    size = len(flat.weights) // 3
    expected = [0 if not first <= k < last else size for k in range(3)]
    assert torch.bincount(parts.long(), minlength=3).tolist() == expected
    for part in flat.of_models(flat.weights, first, last):
        part.fill_(9)
    assert all(
        (weights == (9 if first <= number < last else number)).all()
        for number, model in enumerate(models)
        for weights in model.parameters()
    )


def test_a_frozen_group_stays_where_it_is():
    free, frozen = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))
    frozen.requires_grad_(False)
    address = frozen.data_ptr()
    flat = FlatWeights([[free], [frozen]])
    assert len(flat.weights) == 2 and frozen.data_ptr() == address and frozen.grad is None
    (weights, gradients), (kept, nothing) = flat.arrays
    assert weights.shape == gradients.shape == (1, 2) and kept.shape == (1, 3) and nothing is None


@pytest.mark.parametrize("plain", [True, False])
def test_a_model_that_is_all_frozen_is_rejected(plain):
    model = make_models(1)[0].requires_grad_(False)
    if not plain:
        model = opl.TwoTower(model.context_tower, model.action_tower)
    with pytest.raises(ValueError, match="no trainable parameters; is everything frozen"):
        stack_models([model])


# ---- which models may be stacked


def altered(change):
    model = make_models(1)[0].float()
    change(model)
    return model


def add_hook(kind):
    return lambda model: getattr(model.context_tower[0], kind)(lambda *args: None)


def put(place, layer):
    def change(model):
        model.context_tower[place] = layer

    return change


def share_tower(model):
    model.action_tower = model.context_tower


def share_layer(model):
    model.context_tower[4] = model.action_tower[4]


def forget_settings(model):
    model.mlp_settings = None


class OtherLinear(torch.nn.Linear):
    def forward(self, features):
        return super().forward(features) ** 2


ALTERED = {
    "forward hook": add_hook("register_forward_hook"),
    "hook before": add_hook("register_forward_pre_hook"),
    "backward hook": add_hook("register_full_backward_hook"),
    "hook on a tower": lambda model: model.action_tower.register_forward_hook(lambda *args: None),
    "other activation": put(1, torch.nn.ReLU()),
    "other alpha": put(1, torch.nn.ELU(alpha=2)),
    "dropout": put(1, torch.nn.Dropout()),
    "no bias": put(2, torch.nn.Linear(8, 6, bias=False)),
    "subclass": put(2, OtherLinear(8, 6)),
    "activation at the end": lambda model: model.action_tower.append(torch.nn.ELU()),
    "one more layer": lambda model: model.action_tower.append(torch.nn.Linear(5, 5)),
    "parametrization": lambda model: parametrizations.weight_norm(model.context_tower[0]),
    "half frozen": lambda model: model.context_tower[0].requires_grad_(False),
    "shared tower": share_tower,
    "shared layer": share_layer,
    "made by hand": forget_settings,
}


@pytest.mark.parametrize("change", ALTERED)
def test_altered_models_are_differentiated_by_torch(change):
    model = altered(ALTERED[change])
    assert not is_plain_mlp(model)
    assert isinstance(stack_models([model]), AutogradStack)
    with pytest.raises(ValueError, match=r"only models made by TwoTower\.mlp can be trained side"):
        stack_models([make_models(1)[0].float(), model])


UNALTERED = {
    "nothing": lambda model: None,
    "other weights": lambda model: model.context_tower[0].weight.data.mul_(2),
    "frozen tower": lambda model: model.context_tower.requires_grad_(False),
    "same layer anew": put(2, torch.nn.Linear(8, 6)),
    "copied": lambda model: model.load_state_dict(copy.deepcopy(model).state_dict()),
}


@pytest.mark.parametrize("change", UNALTERED)
def test_models_of_the_library_are_plain(change):
    model = altered(UNALTERED[change])
    assert is_plain_mlp(model) and is_plain_mlp(copy.deepcopy(model))
    assert isinstance(stack_models([model, copy.deepcopy(model)]), MLPStack)


@pytest.mark.parametrize("change", ["activation at the end", "other alpha", "shared tower"])
def test_an_altered_model_is_trained_as_it_computes(change):
    """An altered model must learn as the same towers do that the library did not make."""
    world = opl.SyntheticWorld(5, dim_context=4, dim_action_context=4, random_state=0)
    log = world.sample(60, random_state=0)
    model = opl.TwoTower.mlp(4, 4, (8, 6), dim_embedding=5, random_state=0)
    ALTERED[change](model)
    by_hand = opl.TwoTower(model.context_tower, model.action_tower)
    one, other = (
        opl.OffPolicyLearner("ips", towers=towers, epochs=2, learning_rate=0.01).fit(log).policy_
        for towers in (model, by_hand)
    )
    weights = zip(one.towers.parameters(), other.towers.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in weights)
