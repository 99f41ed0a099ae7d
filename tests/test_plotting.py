"""Figures: what is drawn, where and in which colour."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import opl_lib as opl
from opl_lib.objectives import OBJECTIVES
from opl_lib.plotting import COLORS

REFERENCES = {"logging": 0.5, "uniform": 0.4, "best constant item": 0.6, "optimum": 0.8}


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def lines_by_label(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def table(**estimates):
    rows = {
        name: {"policy_value": value, "ci_lower": low, "ci_upper": high}
        for name, (low, value, high) in estimates.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def test_every_objective_has_a_colour_of_its_own():
    assert set(OBJECTIVES) | {"snips"} <= set(COLORS)
    assert len(set(COLORS.values())) == len(COLORS)


def test_curves_start_at_epoch_0_in_the_colours_of_their_objectives():
    ax = opl.plot_curves({"ips": [0.5, 0.6, 0.7], "dr": [0.5, 0.65, 0.72]})
    lines = lines_by_label(ax)
    for name, values in {"ips": [0.5, 0.6, 0.7], "dr": [0.5, 0.65, 0.72]}.items():
        np.testing.assert_array_equal(lines[name].get_xdata(), [0, 1, 2])
        np.testing.assert_array_equal(lines[name].get_ydata(), values)
        assert to_hex(lines[name].get_color()) == COLORS[name].lower()


def test_curves_carry_labels_and_axis_names():
    ax = opl.plot_curves({"ips": [0.5, 0.6]}, references=REFERENCES)
    assert legend_of(ax) == ["ips", *REFERENCES]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "policy value V(π)")


def test_references_are_horizontal_lines_of_different_styles():
    lines = lines_by_label(opl.plot_curves({"ips": [0.5, 0.6]}, references=REFERENCES))
    for name, value in REFERENCES.items():
        assert set(lines[name].get_ydata()) == {value}
    assert len({lines[name].get_linestyle() for name in REFERENCES}) == 4


def test_a_curve_of_another_name_is_drawn_too():
    assert "mine" in lines_by_label(opl.plot_curves({"mine": [0.1, 0.2]}))


def test_estimates_are_points_with_their_intervals():
    tables = {
        "policy A": table(ips=(0.3, 0.5, 0.8), dr=(0.4, 0.45, 0.5)),
        "policy B": table(ips=(0.1, 0.2, 0.4)),
    }
    ax = opl.plot_estimates(tables)
    drawn = [
        (
            float(bar.lines[0].get_xdata()[0]),
            [round(float(x), 12) for x in bar.lines[2][0].get_segments()[0][:, 0]],
            to_hex(bar.lines[0].get_color()),
        )
        for bar in ax.containers
    ]
    assert drawn == [
        (0.5, [0.3, 0.8], COLORS["ips"].lower()),
        (0.45, [0.4, 0.5], COLORS["dr"].lower()),
        (0.2, [0.1, 0.4], COLORS["ips"].lower()),
    ]
    heights = [float(bar.lines[0].get_ydata()[0]) for bar in ax.containers]
    assert -0.5 < heights[0] < heights[1] < 0.5 < heights[2] < 1.5
    assert [label.get_text() for label in ax.get_yticklabels()] == ["policy A", "policy B"]
    assert ax.yaxis_inverted()


def test_every_estimator_is_in_the_legend_once():
    tables = {
        "A": table(ips=(0.3, 0.5, 0.8)),
        "B": table(ips=(0.1, 0.2, 0.4), dr=(0.1, 0.2, 0.3)),
    }
    assert sorted(legend_of(opl.plot_estimates(tables))) == ["dr", "ips"]


def test_references_and_true_values_of_estimates_are_vertical():
    tables = {name: table(ips=(0.3, 0.5, 0.8)) for name in ("A", "B")}
    ax = opl.plot_estimates(tables, {"logging": 0.45}, {"A": 0.55, "B": 0.65})
    assert sorted(legend_of(ax)) == ["ips", "logging", "true value"]
    assert set(lines_by_label(ax)["logging"].get_xdata()) == {0.45}
    at = {tuple(line.get_xdata()) for line in ax.get_lines()}
    assert {(0.55, 0.55), (0.65, 0.65)} <= at


@pytest.mark.parametrize(
    "plot",
    [
        lambda ax: opl.plot_curves({"ips": [0.5, 0.6]}, ax=ax),
        lambda ax: opl.plot_estimates({"A": table(ips=(0.3, 0.5, 0.8))}, ax=ax),
    ],
    ids=["curves", "estimates"],
)
def test_figures_are_drawn_on_the_axes_given_or_on_new_ones(plot):
    _, ax = plt.subplots()
    assert plot(ax) is ax and len(plt.get_fignums()) == 1
    assert plot(None) is not ax and len(plt.get_fignums()) == 2


def test_the_table_of_evaluate_can_be_drawn(small_log):
    ax = opl.plot_estimates({"uniform": opl.evaluate(None, small_log, ["ips", "snips"])})
    assert legend_of(ax) == ["ips", "snips"]
