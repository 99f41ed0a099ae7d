"""Tables are compared on the same worlds; intervals by hand."""

import pandas as pd
import pytest
from experiments.compare import beside, by_seed, over_seeds, text

T = 12.7062  # Student's t, 97.5 %, one degree of freedom


def table():
    """Two settings, two worlds, of which the second is generous to everybody by 0.4."""
    base = {("ips", 10): 0.30, ("ips", 20): 0.35, ("dr", 10): 0.32, ("dr", 20): 0.35}
    return pd.DataFrame(
        {"objective": name, "n_rounds": n, "seed": seed,
         "softmax_value": value + 0.4 * seed + (0.02 if (name, n, seed) == ("dr", 20, 1) else 0),
         "logging": 0.3 + 0.4 * seed, "uniform": 0.2, "best_constant_item": 0.3, "optimum": 0.9}
        for (name, n), value in base.items()
        for seed in (1, 0)
    )  # fmt: skip


def test_a_row_is_a_world_with_its_references():
    values = by_seed(table(), "n_rounds")
    assert list(values.columns) == [
        "dr", "ips", "logging", "uniform", "best_constant_item", "optimum"
    ]  # fmt: skip
    assert values.loc[(20, 1)].to_dict() == pytest.approx(
        {"dr": 0.77, "ips": 0.75, "logging": 0.7, "uniform": 0.2, "best_constant_item": 0.3,
         "optimum": 0.9}
    )  # fmt: skip


def test_two_rows_of_one_cell_and_seed_are_an_error():
    with pytest.raises(ValueError, match="duplicate"):
        by_seed(pd.concat([table(), table()]), "n_rounds")


def test_differences_are_free_of_the_luck_of_the_world():
    values = by_seed(table(), "n_rounds")
    alone = over_seeds(values["ips"])
    # two seeds 0.4 apart: a standard error of 0.2
    assert alone.loc[10].to_list() == pytest.approx([0.5, 0.2 * T], rel=1e-4)
    paired = over_seeds(values["dr"] - values["ips"])
    assert paired.index.name == "n_rounds"
    assert paired.loc[10].to_list() == pytest.approx([0.02, 0], abs=1e-12)
    # 0 and 0.02: a standard error of 0.01
    assert paired.loc[20].to_list() == pytest.approx([0.01, 0.01 * T], rel=1e-4)


def test_published_values_agree_within_both_errors():
    points = pd.DataFrame(
        {"objective": ["dr", "dr", "ips", "ips"], "n_rounds": [20, 10, 10, 20],
         "policy_value": [9.0, 0.5, 0.5, 0.5], "half_width": [0.05, 0.05, 2.0, 0.05]}
    )  # fmt: skip
    compared = beside(table(), points, "n_rounds")
    assert compared["agree"].to_dict() == {
        ("ips", 10): True, ("ips", 20): True, ("dr", 10): True, ("dr", 20): False
    }  # fmt: skip
    row = compared.loc[("ips", 10)]
    assert row["half_width"] == pytest.approx((4 + (0.2 * T) ** 2) ** 0.5, rel=1e-4)
    assert compared["difference"].loc[("dr", 20)] == pytest.approx(0.56 - 9)


def test_text_is_short():
    frame = pd.DataFrame({"mean": [0.0123, -0.25, -0.0002], "half_width": [0.5, 0.1, 0.1]})
    assert text(frame).to_list() == ["0.012 ± 0.500", "−0.250 ± 0.100", "0.000 ± 0.100"]
