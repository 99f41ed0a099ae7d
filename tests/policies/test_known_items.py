"""Items that a tower knows by more than their features."""

import copy
import pickle

import numpy as np
import pytest
import torch

import opl_lib as opl
from opl_lib.policies.known_items import KnownItems, different, find

KNOWN = np.array([[1.0, 0.0], [0.1, 0.2], [-3.0, 7.0]], dtype=np.float32)
OWN = np.arange(1.0, 7.0, dtype=np.float32).reshape(3, 2)


def towers_of(width=4, beside=False):
    """Linear towers whose items have vectors of their own, in the first two of their numbers."""
    settings = {"dim_embedding": width} | ({"dim_linear": 2} if beside else {})
    towers = opl.TwoTower.mlp(2, 2, hidden=(), random_state=0, n_known=3, **settings)
    towers.action_tower.known.copy_(torch.from_numpy(KNOWN))
    towers.action_tower.own[:, :2].copy_(torch.from_numpy(OWN))
    return towers


@pytest.mark.parametrize("beside", [False, True])
def test_known_items_get_their_vectors_wherever_they_stand(beside):
    towers = towers_of(beside=beside)
    tower = towers.action_tower
    items = torch.tensor([[5.0, 5.0], [-3.0, 7.0], [1.0, 0.0], [-3.0, 7.0]])
    added = (tower(items) - tower.tower(items)).detach().numpy()
    expected = np.zeros(added.shape)
    expected[1:, :2] = OWN[[2, 0, 2]]
    np.testing.assert_allclose(added, expected, atol=1e-6)


def test_an_item_is_known_in_single_precision():
    assert find(KNOWN, KNOWN[[2, 0]].astype(np.float64)).tolist() == [2, 0]
    nearly = np.array([[0.1, 0.2], [1.0, -0.0], [1.0 + 1e-12, 0.0], [1.0 + 1e-6, 0.0]])
    assert find(KNOWN, nearly).tolist() == [1, 0, 0, 3]
    assert find(KNOWN, np.zeros((0, 2))).tolist() == []


def test_items_of_the_same_features_are_one():
    first, number = different(np.array([[2.0, 1.0], [0.0, 1.0], [2.0, 1.0], [-0.0, 1.0]]))
    assert len(first) == 2
    assert (number == number[[2, 3, 0, 1]]).all() and number[0] != number[1]
    assert number[first].tolist() == [0, 1]


def test_policies_serve_known_items_in_every_catalogue(tmp_path):
    policy, context = opl.TwoTowerPolicy(towers_of(), 1.0), np.eye(2)
    whole = policy.scores(context, KNOWN)
    np.testing.assert_allclose(policy.scores(context, KNOWN[[2, 0]]), whole[:, [2, 0]], rtol=1e-6)
    plain = opl.TwoTowerPolicy(
        towers_of().__class__(policy.towers.context_tower, policy.towers.action_tower.tower)
    )
    assert not np.allclose(plain.scores(context, KNOWN), whole)
    new = np.array([[9.0, 9.0]])
    np.testing.assert_array_equal(plain.scores(context, new), policy.scores(context, new))
    policy.save(tmp_path / "policy.pt")
    for other in (
        opl.TwoTowerPolicy.load(tmp_path / "policy.pt"),
        pickle.loads(pickle.dumps(policy)),
        copy.deepcopy(policy),
        policy.for_items(KNOWN),
    ):
        np.testing.assert_array_equal(other.scores(context, KNOWN), whole)


def test_weights_of_other_items_are_found_after_they_are_loaded():
    towers = towers_of()
    towers(torch.eye(2), torch.eye(2))
    other = towers_of().state_dict() | {"action_tower.known": torch.eye(3)[:, :2]}
    towers.load_state_dict(other)
    items = torch.tensor([[0.0, 1.0]])
    added = towers.action_tower(items) - towers.action_tower.tower(items)
    np.testing.assert_allclose(added.detach().numpy()[0, :2], OWN[1], atol=1e-6)


@pytest.mark.parametrize("name", ["known", "own"])
def test_numbers_of_known_items_that_are_not_finite_are_named(name):
    towers = towers_of()
    getattr(towers.action_tower, name)[0, 0] = np.nan
    with pytest.raises(
        ValueError, match=f"towers: action_tower.{name} has weights that are not finite"
    ):
        opl.TwoTowerPolicy(towers)


@pytest.mark.parametrize("objective", ["ips", "squared_error", "auto"])
def test_towers_with_known_items_are_learned_further(objective, small_log):
    rng = np.random.default_rng(0)
    towers = opl.TwoTower.mlp(3, 2, (4,), 2, random_state=0, n_known=2)
    towers.action_tower.known.copy_(torch.tensor(small_log.action_context[:2]))
    towers.action_tower.own.copy_(torch.from_numpy(rng.normal(size=(2, 2))))
    learner = opl.OffPolicyLearner(objective, towers=towers, epochs=2, progress=False)
    learned = learner.fit(small_log).policy_.towers
    assert all(torch.isfinite(weights).all() for weights in learned.state_dict().values())
    if objective != "auto":
        assert isinstance(learned.action_tower, KnownItems)
        assert torch.equal(learned.action_tower.own, towers.action_tower.own)
        layer = learned.action_tower.tower[0]
        assert not torch.equal(layer.weight, towers.action_tower.tower[0].weight)
