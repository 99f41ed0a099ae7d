"""The colours and lines of figures: the same name looks the same everywhere."""

from __future__ import annotations

from typing import Any

from ..evaluation.known_forms import FORMS
from ..objectives import OBJECTIVES

# One colour an objective and an estimator, everywhere. The first are Okabe and Ito's palette, the
# others Paul Tol's, both made to survive colour blindness.
COLORS = {
    "ips": "#D55E00",
    "dr": "#0072B2",
    "regression": "#009E73",
    "dm": "#CC79A7",
    "snips": "#E69F00",
    "squared_error": "#56B4E9",
    "baseline_ips": "#882255",
    "clipped_ips": "#CC6677",
    "implicit_exploration": "#DDCC77",
    "exponential_smoothing": "#999933",
    "logarithmic_smoothing": "#661100",
    "poem": "#AA4499",
    "switch_dr": "#88CCEE",
    "dros": "#332288",
    "sndr": "#6699CC",
    "mrdr": "#44AA99",
    "likelihood": "#117733",
    "avg": "#888888",
}
MARKERS = "os^Dv"  # of lines in one figure, in their order: colour is not all that tells them
_OTHER_COLORS = ("#33BBEE", "#EE3377", "#009988", "#EE7733", "#0077BB", "#CC3311")
REFERENCE_STYLES = {
    "optimum": "-",
    "best_constant_item": "-.",
    "logging": "--",
    "uniform": ":",
}


def color_of(name: str) -> str | None:
    """The colour of an objective or an estimator; None for other names.

    One that is not in `COLORS` has a colour by its place among those that are not.

    Examples
    --------
    >>> color_of("dr") == COLORS["dr"]
    True
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a string; got {name!r}.")
    others = [other for other in {**OBJECTIVES, **FORMS} if other not in COLORS]
    if name in others:
        return _OTHER_COLORS[others.index(name) % len(_OTHER_COLORS)]
    return COLORS.get(name)


def reference_style(name: str) -> dict[str, Any]:
    """How the line of a policy that others are compared with is drawn."""
    line = REFERENCE_STYLES.get(name, "--")
    return {"color": "0.35", "lw": 1, "ls": line, "label": name.replace("_", " ")}
