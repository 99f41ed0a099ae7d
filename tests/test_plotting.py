"""Figures: what is drawn, where and in which colour."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import opl_lib as opl
from opl_lib.evaluation.estimators import FORMS
from opl_lib.objectives import OBJECTIVES
from opl_lib.plotting import COLORS, REFERENCE_STYLES, color_of

REFERENCES = {"logging": 0.5, "uniform": 0.4, "best_constant_item": 0.6, "optimum": 0.8}

WORDS = [name.replace("_", " ") for name in REFERENCES]


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


def test_every_objective_and_estimator_has_a_colour_of_its_own():
    names = {**OBJECTIVES, **FORMS}
    assert len({color_of(name) for name in names}) == len(names)
    assert all(color_of(name) == COLORS[name] for name in names if name in COLORS)


def test_a_new_objective_has_a_colour_by_itself(monkeypatch):
    before = {name: color_of(name) for name in OBJECTIVES}
    assert color_of("mine") is None
    monkeypatch.setitem(OBJECTIVES, "mine", OBJECTIVES["ips"])
    assert color_of("mine") not in {None, *before.values()}
    assert {name: color_of(name) for name in before} == before


def test_curves_start_at_epoch_0_in_the_colours_of_their_objectives():
    ax = opl.plot_curves({"ips": [0.5, 0.6, 0.7], "dr": [0.5, 0.65, 0.72]})
    lines = lines_by_label(ax)
    for name, values in {"ips": [0.5, 0.6, 0.7], "dr": [0.5, 0.65, 0.72]}.items():
        np.testing.assert_array_equal(lines[name].get_xdata(), [0, 1, 2])
        np.testing.assert_array_equal(lines[name].get_ydata(), values)
        assert to_hex(lines[name].get_color()) == COLORS[name].lower()


def test_curves_carry_labels_and_axis_names():
    ax = opl.plot_curves({"ips": [0.5, 0.6]}, references=REFERENCES)
    assert legend_of(ax) == ["ips", *WORDS]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "policy value V(π)")


def test_references_are_horizontal_lines_of_different_styles():
    lines = lines_by_label(opl.plot_curves({"ips": [0.5, 0.6]}, references=REFERENCES))
    for name, value in zip(WORDS, REFERENCES.values(), strict=True):
        assert set(lines[name].get_ydata()) == {value}
    assert len({lines[name].get_linestyle() for name in WORDS}) == 4
    assert set(REFERENCE_STYLES) == set(REFERENCES)


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
    ax = opl.plot_estimates({"uniform": opl.evaluate(opl.uniform(), small_log, ["ips", "snips"])})
    assert legend_of(ax) == ["ips", "snips"]


def test_differences_can_be_drawn(small_log):
    uniform = opl.evaluate(opl.uniform(), small_log, ["ips", "dr"], difference=True)
    ax = opl.plot_estimates({"uniform": uniform})
    drawn = [float(bar.lines[0].get_xdata()[0]) for bar in ax.containers]
    assert drawn == uniform["difference"].tolist()
    assert ax.get_xlabel() == "estimated difference V(π) − V(π₀), with interval"


def test_values_and_differences_are_not_drawn_together(small_log):
    tables = {
        name: opl.evaluate(opl.uniform(), small_log, ["ips"], difference=difference)
        for name, difference in (("value", False), ("difference", True))
    }
    with pytest.raises(ValueError, match="all with difference=True or none"):
        opl.plot_estimates(tables)


def test_calibration_is_points_with_error_bars_about_the_diagonal():
    bins = pd.DataFrame(
        {"predicted": [0.1, 0.4], "observed": [0.08, 0.5], "std_error": [0.01, 0.05]}
    )
    ax = opl.plot_calibration(bins)
    points, _, (bars,) = ax.containers[0]
    assert points.get_xdata().tolist() == [0.1, 0.4]
    assert points.get_ydata().tolist() == [0.08, 0.5]
    ends = [segment[:, 1] for segment in bars.get_segments()]
    np.testing.assert_allclose(ends, [[0.0604, 0.0996], [0.402, 0.598]])
    diagonal = lines_by_label(ax)["calibrated"]
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0.08, 1]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("estimated propensity", "share that was shown")
    assert opl.plot_calibration(bins, ax) is ax


DIAGNOSES = ["estimate", "mean_weight", "ess_share", "entropy", "effective_items",
             "kl_from_logging", "unsupported_mass"]  # fmt: skip


def diagnosis(start=0.0, logs=("held_out", "train")):
    """Three epochs of two logs, all numbers different."""
    index = pd.MultiIndex.from_product([logs, range(3)], names=["log", "epoch"])
    numbers = start + np.arange(len(index) * len(DIAGNOSES)).reshape(len(index), -1)
    return pd.DataFrame(numbers, index, columns=DIAGNOSES)


def test_a_diagnosis_has_a_panel_a_column_and_a_line_a_fit_and_log():
    tables = {"ips": diagnosis(), "mine": diagnosis(100.0)}
    axes = opl.plot_watch(tables)
    assert axes.shape == (7,) and {ax.get_xlabel() for ax in axes} == {"epoch"}
    for ax, column in zip(axes, DIAGNOSES, strict=True):
        lines = lines_by_label(ax)
        for name, table in tables.items():
            for log, style in (("held_out", "-"), ("train", "--")):
                line = lines[f"{name}, {log.replace('_', '-')} rounds"]
                assert list(line.get_xdata()) == [0, 1, 2]
                assert list(line.get_ydata()) == table.loc[log][column].tolist()
                assert line.get_linestyle() == style
        assert to_hex(lines["ips, train rounds"].get_color()) == COLORS["ips"].lower()
        assert ax.get_ylabel()


def test_a_diagnosis_marks_a_mean_weight_of_one_and_has_one_legend():
    axes = opl.plot_watch({"ips": diagnosis(logs=["train"])})
    (mark,) = [line for line in axes[1].get_lines() if line.get_linestyle() == ":"]
    assert set(mark.get_ydata()) == {1}
    assert [len(ax.get_lines()) for ax in axes] == [1, 2, 1, 1, 1, 1, 1]
    assert legend_of(axes[0].figure.axes[7]) == ["ips, train rounds"]


def test_what_is_infinite_leaves_a_gap_in_a_diagnosis():
    table = diagnosis(logs=["held_out"])
    table.loc[("held_out", 1), "kl_from_logging"] = np.inf
    (line,) = opl.plot_watch({"dr": table})[5].get_lines()
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False]


def test_the_table_of_a_watch_can_be_drawn(small_log):
    watch = opl.Watch(small_log[:40], small_log[40:])
    learner = opl.OffPolicyLearner("ips", epochs=1, hidden=(5,), dim_embedding=3)
    learner.fit(small_log[40:], callback=watch)
    axes = opl.plot_watch({"ips": watch.table})
    estimate = lines_by_label(axes[0])["ips, held-out rounds"]
    assert list(estimate.get_ydata()) == watch.table.loc["held_out"].estimate.tolist()


# ---- what is given is checked


def evaluated(**changed):
    """Tables as `evaluate` makes them, some columns changed."""
    return {"u": table(ips=(0.1, 0.2, 0.4), dr=(0.2, 0.25, 0.3)).assign(**changed)}


def calibrated(**changed):
    columns = {"predicted": [0.1, 0.4], "observed": [0.2, 0.3], "std_error": [0.1, 0.1]}
    return pd.DataFrame({**columns, **changed})


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        (None, "curves must be a dictionary from names to sequences of values"),
        ([0.5, 0.6], "curves must be a dictionary .*got list"),
        ({}, "curves must be a dictionary .*at least one"),
        ({1: [0.5]}, "curves must have names that are text; got 1"),
        ({"ips": 0.5}, r"curves\['ips'\] must be an array; got 0.5"),
        ({"ips": ["0.5", "0.6"]}, r"curves\['ips'\] must be numeric.*stored as text"),
        ({"ips": [[0.5], [0.6]]}, r"curves\['ips'\] must have 1 dimension"),
        ({"ips": [0.5, 1j]}, r"curves\['ips'\] must be numeric"),
    ],
    ids=range(8),
)
def test_what_are_no_curves_is_named(curves, message):
    with pytest.raises((TypeError, ValueError), match=message):
        opl.plot_curves(curves)


@pytest.mark.parametrize("values", [np.array([0.5, 0.6]), pd.Series([0.5, 0.6], index=[7, 3])])
def test_curves_may_come_in_any_column(values):
    line = lines_by_label(opl.plot_curves({"ips": values}))["ips"]
    assert list(line.get_xdata()) == [0, 1] and list(line.get_ydata()) == [0.5, 0.6]


def test_what_is_infinite_leaves_a_gap_in_a_curve():
    line = lines_by_label(opl.plot_curves({"ips": [-np.inf, 0.5, 0.6]}))["ips"]
    assert np.isnan(line.get_ydata()).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (0.5, "must be a dictionary from names to numbers.*got float"),
        ({"logging": "0.5"}, r"\['logging'\] must be a finite number; got '0.5'"),
        ({"logging": np.nan}, r"\['logging'\] must be a finite number; got nan"),
        ({"logging": None}, r"\['logging'\] must be a finite number; got None"),
        ({"logging": [0.5]}, r"\['logging'\] must be a finite number; got \[0.5\]"),
        ({None: 0.5}, "must have names that are text; got None"),
    ],
    ids=range(6),
)
def test_what_are_no_references_is_named(values, message):
    ax = plt.subplots()[1]
    for name, draw in {
        "references": lambda: opl.plot_curves({"ips": [0.5]}, values),
        "references ": lambda: opl.plot_estimates(evaluated(), values),
        "references  ": lambda: opl.draw_references(ax, values),
        "true_values": lambda: opl.plot_estimates(evaluated(), true_values=values),
    }.items():
        with pytest.raises((TypeError, ValueError), match=name.strip() + ".*" + message):
            draw()


@pytest.mark.parametrize("ax", [3, "ax", plt.Figure(), [None], opl], ids=range(5))
def test_what_are_no_axes_is_named(ax):
    for draw in (
        lambda: opl.plot_curves({"ips": [0.5]}, ax=ax),
        lambda: opl.plot_estimates(evaluated(), ax=ax),
        lambda: opl.plot_calibration(calibrated(), ax),
        lambda: opl.draw_references(ax, {"logging": 0.5}),
    ):
        with pytest.raises(TypeError, match="ax must be Axes of matplotlib; got"):
            draw()


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (evaluated()["u"], "tables must be a dictionary from names .*got DataFrame"),
        ({"u": None}, r"tables\['u'\] must be the data frame of evaluate; got NoneType"),
        ({"u": {"policy_value": 1}}, r"tables\['u'\] must be the data frame of evaluate; got dict"),
        ({"u": evaluated()["u"][:0]}, r"tables\['u'\] has no rows"),
        ({"u": evaluated()["u"].drop(columns="ci_upper")}, "with a column 'ci_upper'"),
        (evaluated(ci_lower="a"), r"tables\['u'\]\['ci_lower'\] must be numeric"),
    ],
    ids=range(6),
)
def test_what_are_no_tables_of_estimates_is_named(tables, message):
    with pytest.raises((TypeError, ValueError), match=message):
        opl.plot_estimates(tables)


@pytest.mark.parametrize("difference", [False, True])
@pytest.mark.parametrize("interval", ["normal", "bootstrap"])
def test_every_table_of_evaluate_can_be_drawn(small_log, interval, difference):
    how = {"interval": interval, "difference": difference}
    tables = {"u": opl.evaluate(opl.uniform(), small_log, ["ips", "snips"], **how)}
    drawn = opl.plot_estimates(tables).get_xlabel()
    assert ("difference" in drawn) is difference


def test_an_interval_that_leaves_its_estimate_outside_is_drawn_where_it_is():
    ax = opl.plot_estimates({"u": table(ips=(0.3, 0.2, 0.4))})
    bar, point = ax.get_lines()
    assert list(bar.get_xdata()) == [0.3, 0.4] and list(point.get_xdata()) == [0.2]
    assert legend_of(ax) == ["ips"]


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (None, r"calibration must be the data frame that estimate_propensities\(…\) has; got None"),
        (calibrated()["predicted"], "calibration must be the data frame .*got Series"),
        (calibrated()[:0], "calibration has no rows"),
        (calibrated().drop(columns="std_error"), "calibration must .* with a column 'std_error'"),
        (calibrated(observed="a"), r"calibration\['observed'\] must be numeric"),
    ],
    ids=range(5),
)
def test_what_is_no_calibration_is_named(calibration, message):
    with pytest.raises((TypeError, ValueError), match=message):
        opl.plot_calibration(calibration)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t, "tables must be a dictionary from names to tables of Watch"),
        (lambda t: {"ips": t[:0]}, r"tables\['ips'\] has no rows: there is nothing to draw"),
        (lambda t: {"ips": t.droplevel("log")}, r"must have the logs \['held_out', 'train'\]"),
        (lambda t: {"ips": t.rename({"train": "other"})}, r"must have the logs \['held_out', 'tr"),
        (lambda t: {"ips": t.drop(columns="entropy")}, "with a column 'entropy'"),
        (lambda t: {"ips": t.astype(str)}, r"tables\['ips'\]\['estimate'\] must be numeric"),
    ],
    ids=range(6),
)
def test_what_are_no_tables_of_a_watch_is_named(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        opl.plot_watch(change(diagnosis()))


def test_a_watch_in_the_place_of_its_table_is_named(small_log):
    with pytest.raises(TypeError, match=r"the data frame of a Watch, its .table,; got Watch"):
        opl.plot_watch({"ips": opl.Watch(small_log)})


def test_a_colour_is_asked_for_by_a_name():
    with pytest.raises(TypeError, match="name must be a string; got None"):
        color_of(None)


@pytest.mark.parametrize("with_axes", [False, True])
def test_matplotlib_that_is_not_installed_is_named(with_axes, monkeypatch):
    ax = plt.subplots()[1] if with_axes else None
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw in (
        lambda: opl.plot_curves({"ips": [0.5]}, ax=ax),
        lambda: opl.plot_estimates(evaluated(), ax=ax),
        lambda: opl.plot_calibration(calibrated(), ax),
        lambda: opl.plot_watch({"ips": diagnosis()}),
        lambda: opl.draw_references(ax, {"logging": 0.5}),
    ):
        with pytest.raises(ModuleNotFoundError, match=r'pip install "opl-lib\[plotting\]"'):
            draw()


def test_a_table_of_a_watch_has_two_levels():
    for table in (diagnosis().droplevel("epoch"), diagnosis().reset_index(drop=True)):
        with pytest.raises(ValueError, match="in its index, in levels 'log' and 'epoch'"):
            opl.plot_watch({"ips": table})


def test_errors_of_a_calibration_are_not_negative():
    message = r"calibration\['std_error'\] must be at least 0; row 1 has -0.1"
    with pytest.raises(ValueError, match=message):
        opl.plot_calibration(calibrated(std_error=[0.1, -0.1]))


@pytest.mark.parametrize("column", ["policy_value", "ci_lower"])
@pytest.mark.parametrize("dtype", ["Float64", "float64"])
def test_what_is_missing_in_a_table_of_estimates_is_a_gap(column, dtype):
    missing = pd.array([0.2, None], dtype=dtype)
    points = opl.plot_estimates(evaluated(**{column: missing})).containers
    assert [np.isnan(each[0].get_xdata()[0]) for each in points] == [False, column != "ci_lower"]


def test_nullable_columns_of_estimates_are_drawn():
    whole = pd.array([0.3, 0.25], dtype="Float64")
    assert opl.plot_estimates(evaluated(policy_value=whole)).lines


def test_true_values_are_those_of_the_policies():
    with pytest.raises(ValueError, match=r"true_values has 'v', but the tables are of \['u'\]"):
        opl.plot_estimates(evaluated(), true_values={"u": 0.1, "v": 0.2})
