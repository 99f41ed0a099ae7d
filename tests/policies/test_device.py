"""A policy on a device: arrays in, arrays out, the same numbers; its file opens anywhere."""

import copy
import pickle

import numpy as np
import pytest
import torch
from pretended import ELSEWHERE, pretended_device

import opl_lib as opl
from opl_lib import devices
from opl_lib.devices import find_device
from opl_lib.policies.known_items import KnownItems

CPU = torch.device("cpu")


@pytest.fixture
def device(monkeypatch):
    with pretended_device(monkeypatch) as it:
        yield it


@pytest.fixture
def asked():
    rng = np.random.default_rng(0)
    eligible = rng.random((20, 6)) < 0.7
    eligible[:, :2] = True
    return rng.normal(size=(20, 3)), rng.normal(size=(6, 2)), eligible


def towers(**settings):
    return opl.TwoTower.mlp(3, 2, hidden=(8,), dim_embedding=4, random_state=0, **settings)


def known_towers():
    """Towers beside linear ones, with items that they know."""
    made = towers(dim_linear=2, n_known=2)
    known = made.action_tower
    assert isinstance(known, KnownItems)
    known.known.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    known.own.fill_(0.5)
    return made


CALLS = {
    "predict_proba": lambda p, x, a, e: p.predict_proba(x, a),
    "predict_proba of eligible": lambda p, x, a, e: p.predict_proba(x, a, e),
    "greedy": lambda p, x, a, e: p.at_temperature(0).predict_proba(x, a, e),
    "scores": lambda p, x, a, e: p.scores(x, a),
    "top_k": lambda p, x, a, e: p.top_k(x, a, 2, e),
    "sample": lambda p, x, a, e: np.stack(p.sample(x, a, random_state=1, eligible=e)),
    "recommend": lambda p, x, a, e: np.stack(p.recommend(x, a, 2, random_state=1)),
    "embed_context": lambda p, x, a, e: p.embed_context(x),
    "embed_items": lambda p, x, a, e: p.embed_items(a),
    "for_items": lambda p, x, a, e: p.for_items(a).predict_proba(x, a),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("make", [towers, known_towers])
def test_every_call_returns_the_same_arrays(device, call, make, asked):
    here, there = opl.TwoTowerPolicy(make()), opl.TwoTowerPolicy(make(), device=ELSEWHERE)
    assert (here.device, there.device) == (CPU, ELSEWHERE)
    before = device.n_moves
    found = CALLS[call](there, *asked)
    assert device.n_moves > before
    expected = CALLS[call](here, *asked)
    assert type(found) is np.ndarray and found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def test_a_device_gets_a_copy_of_the_towers(device):
    given = towers()
    there = opl.TwoTowerPolicy(given, 0.5, device=ELSEWHERE)
    assert devices.device_of(given) == CPU and there.towers is not given
    assert opl.TwoTowerPolicy(given, device="cpu").towers is given
    assert opl.TwoTowerPolicy(there.towers).device == ELSEWHERE
    back = there.to("cpu")
    assert back.device == CPU and back.temperature == 0.5 and there.device == ELSEWHERE
    assert back.to(CPU).towers is back.towers


def test_copies_stay_and_pickles_come_back(device, asked):
    context, items, _ = asked
    there = opl.TwoTowerPolicy(known_towers(), device=ELSEWHERE).for_items(items)
    expected = there.predict_proba(context, items)
    for copied, where in (
        (copy.copy(there), ELSEWHERE),
        (copy.deepcopy(there), ELSEWHERE),
        (pickle.loads(pickle.dumps(there)), CPU),
        (there.at_temperature(1.0), ELSEWHERE),
    ):
        assert copied.device == where
        assert np.array_equal(copied.predict_proba(context, items), expected)
    deep = copy.deepcopy(there)
    next(deep.towers.parameters()).data.zero_()
    assert np.array_equal(there.to("cpu").predict_proba(context, items), expected)


def test_a_file_opens_on_any_device(device, asked, tmp_path):
    context, items, _ = asked
    there = opl.TwoTowerPolicy(towers(), device=ELSEWHERE)
    there.save(tmp_path / "policy")
    expected = there.predict_proba(context, items)
    for where in ("cpu", ELSEWHERE):
        for of_own in (None, towers(), there.towers):
            loaded = opl.TwoTowerPolicy.load(tmp_path / "policy", of_own, device=where)
            assert loaded.device == torch.device(where)
            assert np.array_equal(loaded.predict_proba(context, items), expected)
    assert opl.TwoTowerPolicy.load(tmp_path / "policy").device == CPU


def test_an_index_multiplies_there_and_opens_here(device, asked):
    embeddings = np.random.default_rng(0).normal(size=(6, 3))
    there, here = opl.ItemIndex(embeddings, ELSEWHERE), opl.ItemIndex(embeddings)
    assert there._tensor.device == ELSEWHERE
    for one, other in zip(there.search(asked[0], 2), here.search(asked[0], 2), strict=True):
        assert np.array_equal(one, other)
    assert pickle.loads(pickle.dumps(there))._tensor.device == CPU


# ---- what is meant by a name


def with_gpus(monkeypatch, count, current=0):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current)


def test_auto_is_a_gpu_where_there_is_one(monkeypatch):
    with_gpus(monkeypatch, 0)
    assert find_device("auto") == CPU
    with_gpus(monkeypatch, 2, current=1)
    assert find_device("auto") == find_device("cuda") == torch.device("cuda", 1)
    assert find_device("cuda:0") == find_device(torch.device("cuda", 0)) == torch.device("cuda", 0)
    assert find_device("cpu") == find_device("cpu:0") == CPU


WRONG = {
    "cdua": "must be 'cpu', 'auto', 'cuda'.*got 'cdua'",
    "cuda:-1": "must be 'cpu', 'auto', 'cuda'.*got 'cuda:-1'",
    "meta": "must be 'cpu', 'auto', 'cuda'.*got 'meta'",
    "": "must be 'cpu', 'auto', 'cuda'.*got ''",
    "cuda": "is 'cuda', and torch finds no such device here.*device='cpu', or device='auto'",
    "mps": "is 'mps', and torch finds no such device here.*device='cpu'",
    0: "must be 'cpu', 'auto', 'cuda'.*got 0",
    None: "must be 'cpu', 'auto', 'cuda'.*got None",
    torch.device("cuda", 1): "is 'cuda:1', and torch finds no such device here",
}
DOORS = {
    "learner": lambda device: opl.OffPolicyLearner("ips", device=device),
    "set_params": lambda device: opl.OffPolicyLearner("ips").set_params(device=device),
    "regressor": lambda device: opl.TwoTowerRegressor(device=device),
    "policy": lambda device: opl.TwoTowerPolicy(towers(), device=device),
    "to": lambda device: opl.TwoTowerPolicy(towers()).to(device),
    "load": lambda device: opl.TwoTowerPolicy.load("nowhere", device=device),
    "index": lambda device: opl.ItemIndex(np.eye(2), device),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_device_that_is_not_there_is_an_error_with_a_cure(door, monkeypatch):
    with_gpus(monkeypatch, 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for device, message in WRONG.items():
        if device is None and door == "policy":  # where the towers are
            continue
        with pytest.raises(ValueError, match=message):
            DOORS[door](device)


def test_so_is_one_more_than_there_are(monkeypatch):
    with_gpus(monkeypatch, 2)
    with pytest.raises(ValueError, match="is 'cuda:2', and the last one here is 'cuda:1'"):
        opl.OffPolicyLearner("ips", device="cuda:2")


def test_a_learner_asks_again_when_it_fits(small_log, monkeypatch):
    """It may have been made, or pickled, on another machine."""
    with_gpus(monkeypatch, 1)
    learner = opl.OffPolicyLearner("ips", device="cuda:0")
    assert learner.get_params()["device"] == "cuda:0"
    with_gpus(monkeypatch, 0)
    with pytest.raises(ValueError, match="is 'cuda:0', and torch finds no such device here"):
        pickle.loads(pickle.dumps(learner)).fit(small_log)


def test_towers_on_two_devices_are_refused(device):
    split = towers()
    split.action_tower.to(ELSEWHERE)
    with pytest.raises(ValueError, match=r"is on meta. Move it: towers.cpu\(\)"):
        opl.TwoTowerPolicy(split)
