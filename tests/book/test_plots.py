"""Figures of the experiments' tables: means, bands, references, published points."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from experiments.plots import plot_sweep
from matplotlib.colors import to_hex

from opl_lib.plotting import COLORS

REFERENCES = ("optimum", "best constant item", "logging", "uniform")


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def lines_by_label(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def sweep(**values):
    """Two settings, two seeds: values by objective, the same in both settings."""
    references = {"optimum": 0.9, "best_constant_item": 0.7, "logging": 0.5, "uniform": 0.4}
    return pd.DataFrame(
        {"objective": name, "n_rounds": n, "seed": seed, "softmax_value": value,
         "greedy_value": value + 0.1, **{k: v + seed / 10 for k, v in references.items()}}
        for name, of_seeds in values.items()
        for n in (500, 2_000)
        for seed, value in enumerate(of_seeds)
    )  # fmt: skip


def band_of(ax):
    (vertices,) = (band.get_paths()[0].vertices for band in ax.collections[:1])
    return sorted({round(float(y), 4) for y in vertices[:, 1]})


def legend_of_figure(axes):
    return [text.get_text() for text in axes[0].figure.legends[0].get_texts()]


def test_a_sweep_is_the_mean_over_seeds_with_a_student_t_band():
    (ax,) = plot_sweep({"softmax": sweep(ips=[0.5, 0.7])}, "n_rounds")
    line = lines_by_label(ax)["IPS"]
    assert list(line.get_xdata()) == [500, 2_000]
    np.testing.assert_allclose(line.get_ydata(), [0.6, 0.6])
    assert to_hex(line.get_color()) == COLORS["ips"].lower()
    # two seeds 0.2 apart: a standard error of 0.1, and t = 12.7062 with one degree of freedom
    assert band_of(ax) == [round(0.6 - 1.27062, 4), round(0.6 + 1.27062, 4)]


def test_a_sweep_shows_the_means_of_the_four_references():
    (ax,) = plot_sweep({"softmax": sweep(ips=[0.5, 0.7])}, "n_rounds")
    lines = lines_by_label(ax)
    shown = {name: set(np.round(lines[name].get_ydata(), 12)) for name in REFERENCES}
    assert shown == {
        "optimum": {0.95},
        "best constant item": {0.75},
        "logging": {0.55},
        "uniform": {0.45},
    }
    assert len({lines[name].get_linestyle() for name in REFERENCES}) == 4


def test_a_sweep_has_a_panel_a_table_with_a_column_each():
    table = sweep(ips=[0.5, 0.7], dr=[0.6, 0.8])
    axes = plot_sweep(
        {"softmax": table, "greedy": table}, "n_rounds", ["softmax_value", "greedy_value"]
    )
    assert [ax.get_title() for ax in axes] == ["softmax", "greedy"]
    means = [lines_by_label(ax)["DR"].get_ydata()[0] for ax in axes]
    np.testing.assert_allclose(means, [0.7, 0.8])
    assert legend_of_figure(axes) == [
        "IPS", "DR", "optimum", "best constant item", "logging", "uniform"
    ]  # fmt: skip
    assert {ax.get_xlabel() for ax in axes} == {"rounds in the log"}
    assert [ax.get_ylabel() for ax in axes] == ["policy value V(π)", ""]
    assert [tick.get_text() for tick in axes[0].get_xticklabels()] == ["500", "2k"]


def test_a_column_a_panel_is_asked_for():
    with pytest.raises(ValueError):
        plot_sweep({"softmax": sweep(ips=[0.5, 0.7])}, "n_rounds", ["softmax_value"] * 2)


def test_published_points_are_drawn_where_their_objective_is():
    panels = {name: sweep(**{name: [0.5, 0.7]}) for name in ("ips", "dr")}
    points = pd.DataFrame(
        {"n_rounds": [500, 500], "objective": ["dr", "regression"], "policy_value": [0.65, 0.1],
         "half_width": [0.05, 0.05]}
    )  # fmt: skip
    axes = plot_sweep(panels, "n_rounds", points=points)
    drawn = [
        [(x, y) for bar in ax.containers for x, y in zip(*bar.lines[0].get_data(), strict=True)]
        for ax in axes
    ]
    assert drawn == [[], [(500, 0.65)]]
    (bar,) = axes[1].containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(bar, [[500, 0.6], [500, 0.7]])
    assert legend_of_figure(axes)[:3] == ["IPS", "DR", "published"]


def test_an_optimum_far_above_is_written_and_not_drawn():
    table = sweep(ips=[0.5, 0.51]).assign(best_constant_item=0.52)
    table["optimum"] = np.where(table["n_rounds"] == 500, 5.0, 5.25)
    (ax,) = plot_sweep({"softmax": table}, "n_rounds")
    assert "optimum" not in lines_by_label(ax)
    assert ax.get_ylim()[1] < 2
    assert [text.get_text() for text in ax.texts] == ["optimum 5.00 to 5.25 ↑"]
