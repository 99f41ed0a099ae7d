"""Exported towers against those of torch, at batch 1 and 1,000, with the columns of tables."""

import sys

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

import opl_lib as opl
from opl_lib.logs.encoders import Categories
from opl_lib.logs.typed import typed_column
from opl_lib.policies.known_items import KnownItems

N = 1000


def given(encoders, frame, role="context"):
    """What a caller passes for a table: a value for each column, by its name."""
    values = {}
    for each in encoders:
        column, name = typed_column(frame, each.name, role), str(each.name)
        values[name] = column.values
        if isinstance(each, Categories):
            values[name] = np.where(column.missing, "", column.values).astype(object)
            if each.n_hashed:
                values[f"{name}: hashed"] = each.encode(column)[:, len(each.frequent) :]
    return values


def ran(path, values):
    """What the graph makes of all rows at once; the same of each of the first alone."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (whole,) = session.run(None, values)
    for row in range(3):
        (single,) = session.run(None, {name: v[row : row + 1] for name, v in values.items()})
        np.testing.assert_allclose(single, whole[row : row + 1], rtol=1e-5, atol=1e-5)
    return whole


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    words = [f"rare {number}" for number in range(400)]
    return pd.DataFrame(
        {
            "age": np.where(rng.random(N) < 0.1, np.nan, rng.normal(40, 10, N)),
            "is_new": rng.random(N) < 0.5,
            "country": rng.choice(["DE", "FR", None], N),
            "text": np.where(rng.random(N) < 0.5, "often", rng.choice(words, N)),
            "since": pd.Timestamp("2024-03-01") + pd.to_timedelta(rng.random(N) * 90, unit="D"),
        }
    )


@pytest.fixture(scope="module")
def policy(table):
    """Linear layers beside others, and items that have vectors of their own."""
    items = table.assign(item_id=np.arange(N))
    columns = opl.Columns.fit(table, context=list(table.columns), items=items, item_id="item_id")
    widths = len(columns.context_features), len(columns.item_features)
    towers = opl.TwoTower.mlp(*widths, (7,), 4, random_state=0, dim_linear=3, n_known=5)
    known = towers.action_tower
    assert isinstance(known, KnownItems)
    known.known[:] = torch.from_numpy(columns.encode_items(items.iloc[:5]).astype(np.float32))
    known.own[:] = torch.arange(15.0).reshape(5, 3)
    return opl.TwoTowerPolicy(towers, columns=columns)


def test_a_table_of_visitors_is_embedded_as_by_torch(policy, table, tmp_path):
    opl.export_onnx(policy, tmp_path / "context.onnx", "context")
    got = ran(tmp_path / "context.onnx", given(policy.columns.context, table))
    assert got.shape == (N, 7) and got.dtype == np.float32
    np.testing.assert_allclose(got, policy.embed_context(table), rtol=1e-5, atol=1e-5)


def test_a_table_of_items_is_embedded_as_by_torch_known_items_included(policy, table, tmp_path):
    opl.export_onnx(policy, tmp_path / "items.onnx", "items")
    items = table.assign(item_id=np.arange(N))
    got = ran(tmp_path / "items.onnx", given(policy.columns.items, items))
    np.testing.assert_allclose(got, policy.embed_items(items), rtol=1e-5, atol=1e-5)
    own = policy.towers.action_tower.own
    policy.towers.action_tower.own = torch.zeros_like(own)  # the known are told from the others
    without = policy.embed_items(items)
    policy.towers.action_tower.own = own
    assert (np.abs(got - without).max(axis=1) > 0.5)[:5].all()
    np.testing.assert_allclose(got[5:], without[5:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tower", ["context", "items"])
def test_features_are_embedded_as_by_torch(tower, tmp_path):
    towers = opl.TwoTower.mlp(3, 5, (8, 8), 6, random_state=0)
    towers.context_tower.append(torch.nn.Tanh())
    towers.action_tower.append(torch.nn.Linear(6, 6, bias=False))
    policy = opl.TwoTowerPolicy(towers)
    opl.export_onnx(policy, tmp_path / "tower.onnx", tower)
    width, embed = (3, policy.embed_context) if tower == "context" else (5, policy.embed_items)
    features = np.random.default_rng(0).normal(size=(N, width)).astype(np.float32)
    got = ran(tmp_path / "tower.onnx", {"features": features})
    np.testing.assert_allclose(got, embed(features), rtol=1e-5, atol=1e-5)


def test_a_learned_policy_of_a_shop_is_exported(tmp_path):
    world = opl.ShopWorld(n_items=30, n_users=200, n_eval_pages=50, random_state=0)
    clicks, items = world.frames(2000, random_state=1)
    policy = opl.BilinearLearner().fit(world.sample(2000, random_state=1)).policy_
    for tower, table in (("context", clicks), ("items", items)):
        opl.export_onnx(policy, tmp_path / "tower.onnx", tower)
        encoders = policy.columns.context if tower == "context" else policy.columns.items
        table = table.assign(slot=table.slot) if tower == "context" else table
        got = ran(tmp_path / "tower.onnx", given(encoders, table))
        expected = policy.embed_context(table) if tower == "context" else policy.embed_items(table)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_a_layer_that_is_not_exported_is_named(tmp_path):
    towers = opl.TwoTower(torch.nn.Linear(3, 2), torch.nn.Sequential(torch.nn.Softplus()))
    with pytest.raises(TypeError, match="a layer Softplus, which is not exported"):
        opl.export_onnx(opl.TwoTowerPolicy(towers), tmp_path / "tower.onnx", "items")
    assert not list(tmp_path.iterdir())


def test_onnx_that_is_not_installed_is_named(monkeypatch, tmp_path):
    policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 5))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "opl-lib\[onnx\]"'):
        opl.export_onnx(policy, tmp_path / "tower.onnx", "items")
