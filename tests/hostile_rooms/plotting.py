"""Figures."""

import functools

import numpy as np
import pandas as pd
from hostile import also, but, optional, thing

import opl_lib as opl

from .kinds import ax_kind, by_name_kind, call_of
from .things import things


def calls():
    import matplotlib.pyplot as plt

    t = things()
    one = functools.partial(call_of, "plotting")

    def drawn(plot):
        @functools.wraps(plot)
        def draw(**arguments):
            try:
                plot(**arguments)
            finally:
                plt.close("all")

        return draw

    numbers = {
        "None": None,
        "text": "text",
        "a list": [0.5],
        "NaN": np.nan,
        "infinity": np.inf,
        "a complex number": 0.5j,
        "an object": object(),
        "numbers as text": "0.5",
        "True": True,
    }
    references = but(by_name_kind(numbers, empty=False))
    lines = {
        "None": None,
        "a number": 0.5,
        "text": "text",
        "text in a list": ["a"],
        "None in a list": [0.5, None],
        "complex numbers": [0.5j],
        "two dimensions": [[0.5]],
        "nothing": [],
        "an object": object(),
        "a dictionary": {"a": 0.5},
    }
    curves = by_name_kind(
        lines,
        accepted=lambda right: {
            "an array by name": {"ips": np.array([0.5, 0.75])},
            "a column by name": {"ips": pd.Series([0.5, 0.75])},
        },
    )
    yield one(
        "plot_curves",
        drawn(opl.plot_curves),
        curves=({"ips": [0.5, 0.75]}, curves),
        references=({"logging": 0.5}, optional(references)),
        ax=(None, ax_kind()),
    )
    frames = {
        "None": None,
        "a number": 3,
        "text": "text",
        "a dictionary": {"policy_value": 0.5},
        "an empty frame": pd.DataFrame(),
        "another frame": t.frame,
        "an array": np.zeros((2, 2)),
        "a column": t.evaluated["policy_value"],
        "the class": pd.DataFrame,
    }
    tables = by_name_kind(
        {
            **frames,
            "a table without an interval": t.evaluated.drop(columns="ci_lower"),
            "a table of text": t.evaluated.astype(str),
            "a table without rows": t.evaluated[:0],
        }
    )
    mixed = {
        "a table alone": t.evaluated,
        "tables of two kinds": {
            "a": t.evaluated,
            "b": opl.evaluate(opl.uniform(), t.log, ["ips"], difference=True),
        },
    }
    yield one(
        "plot_estimates",
        drawn(opl.plot_estimates),
        tables=(
            {"uniform": t.evaluated},
            also(
                tables,
                mixed,
                {
                    "differences": {
                        "uniform": opl.evaluate(
                            opl.uniform(), t.log, ["ips", "dm"], t.model, difference=True
                        )
                    }
                },
            ),
        ),
        references=({"logging": 0.5}, optional(references)),
        true_values=({"uniform": 0.5}, optional(references)),
        ax=(None, ax_kind()),
    )

    def referred(ax, references):
        return opl.draw_references(plt.subplots()[1] if ax is None else ax, references)

    yield one(
        "draw_references",
        drawn(referred),
        ax=(None, ax_kind()),
        references=({"logging": 0.5}, references),
    )
    calibration = thing(
        {
            "an empty frame": pd.DataFrame(),
            "another frame": t.frame,
            "a column": t.calibration["observed"],
            "without errors": t.calibration.drop(columns="std_error"),
            "a frame of text": t.calibration.astype(str),
            "no rows": t.calibration[:0],
            "the class": pd.DataFrame,
            "by name": {"a": t.calibration},
        }
    )
    yield one(
        "plot_calibration",
        drawn(opl.plot_calibration),
        calibration=(t.calibration, calibration),
        ax=(None, ax_kind()),
    )
    chosen = opl.select({"uniform": opl.uniform()}, t.log, estimator="ips").table
    candidates = thing(
        {
            "an empty frame": pd.DataFrame(),
            "another frame": t.frame,
            "a column": chosen["difference"],
            "without bounds": chosen.drop(columns="lower_bound"),
            "a frame of text": chosen.astype(str),
            "negative errors": chosen.assign(std_error=-1.0),
            "no rows": chosen[:0],
            "the class": pd.DataFrame,
            "by name": {"a": chosen},
        },
        {"without a word on who is trusted": chosen.drop(columns="trusted")},
    )
    yield one(
        "plot_candidates",
        drawn(opl.plot_candidates),
        table=(chosen, candidates),
        ax=(None, ax_kind()),
    )
    watched = by_name_kind(
        {
            **frames,
            "a table of text": t.watched.astype(str),
            "a watch": opl.Watch(t.log),
            "a table without its log": t.watched.droplevel("log"),
            "a table without rows": t.watched[:0],
            "a table without a column": t.watched.drop(columns="entropy"),
        }
    )
    yield one(
        "plot_watch",
        drawn(opl.plot_watch),
        tables=({"ips": t.watched}, also(watched, {"a table alone": t.watched})),
    )
