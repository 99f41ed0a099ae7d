"""Learn, serve, log, learn, with a few visitors."""

import pytest
from serve.loop import loop, shop

import opl_lib as opl


def test_the_loop_learns_from_what_it_has_served(tmp_path):
    first, second = loop(tmp_path, n_rounds=1, n_visitors=400, seed=0)
    uniform = shop(0).reference_values()["uniform"]
    assert first["value"] == pytest.approx(uniform, rel=1e-4) and first["weight"] == 1
    assert second["value"] != pytest.approx(uniform, rel=1e-3)
    assert abs(second["weight"] - 1) < 5 * second["weight_se"] > 0
    assert max(first["own_weight"], second["own_weight"]) < 0.01
    assert 0 < first["clicks"] < 0.3


def test_a_shop_is_fixed_by_its_seed():
    values = [shop(seed).policy_value(opl.uniform()) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
