"""How the chapters show tables and answers: for people, with one name for one thing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np
import pandas as pd

# What a name of the code is called on a page. Others lose their underscores.
NAMES = {
    "avg": "average",
    "baseline_ips": "IPS, baseline",
    "best_constant_item": "best constant item",
    "beta_dr": "β-DR",
    "beta_ips": "β-IPS",
    "ci_lower": "lower end",
    "ci_upper": "upper end",
    "clipped_dr": "clipped DR",
    "clipped_ips": "clipped IPS",
    "controlled_ips": "controlled IPS",
    "cross_entropy": "cross-entropy",
    "dm": "DM",
    "dr": "DR",
    "dros": "DRos",
    "ess": "effective size",
    "inf": "∞",
    "ips": "IPS",
    "iters": "updates",
    "lse": "LSE",
    "max_weight": "largest weight",
    "mips": "MIPS",
    "mrdr": "MRDR",
    "n_actions": "items",
    "n_rounds": "rounds",
    "offcem": "OffCEM",
    "opl_lib": "the library",
    "poem": "POEM",
    "policy_value": "policy value",
    "potec": "POTEC",
    "pscore": "propensity",
    "q_hat": "q̂",
    "rmse": "RMSE",
    "sndr": "SNDR",
    "snips": "SNIPS",
    "squared_error": "squared error",
    "std": "standard deviation",
    "std_error": "standard error",
    "switch_dr": "Switch-DR",
}
_MOST_DIGITS = 6
_LARGE = 1_000  # from here on digits after the point are noise
_SOME = 10  # and from here on, in a column in which others have none


class Shown:
    """HTML in a notebook and on a page, text elsewhere."""

    def __init__(self, html: str, text: str) -> None:
        self.html, self.text = html, text

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def show(table: pd.DataFrame | pd.Series, caption: str = "", digits: int | None = None) -> Shown:
    """Show a table: one header, names for people, digits under each other, a caption.

    Parameters
    ----------
    table : DataFrame or Series
        Rounded as it shall be read, unless `digits` is given. What is missing becomes a dash.
    caption : str, optional
        What the table says; the page puts a number before it.
    digits : int, optional
        Digits after the point, of all numbers that are not whole. There are none from 1,000 on, nor
        beside such numbers if all in the column are 10 or more.

    Returns
    -------
    Shown

    Examples
    --------
    >>> show(pd.DataFrame({"n_rounds": [10, 20], "ips": [-0.0001, float("nan")]}), digits=2)
       rounds  IPS
    0      10 0.00
    1      20    –
    """
    if not isinstance(table, pd.DataFrame | pd.Series):
        raise TypeError(f"table must be a DataFrame or a Series; got {type(table).__name__}.")
    frame = table.to_frame() if isinstance(table, pd.Series) else table
    columns = [column_text(frame.iloc[:, i], digits) for i in range(frame.shape[1])]
    cells = [list(row) for row in zip(*columns, strict=True)]
    rows = [_labels(label) for label in frame.index]
    heads = [_labels(label) for label in frame.columns]
    if (heads := [[each or " " for each in head] for head in heads]) == [["0"]]:
        heads = [["value"]]
    text = pd.DataFrame(
        cells,
        index=pd.Index([", ".join(row) for row in rows]),
        columns=pd.Index([", ".join(head) for head in heads]),
    )
    return Shown(_html(frame, rows, heads, cells, caption), text.to_string())


def answers(*texts: str) -> Shown:
    """The answers to the questions of *Check yourself*, in their order."""
    texts = tuple(re.sub(r"(?<![\w.)])-(?=\d)", "−", text) for text in texts)
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    lines = "\n".join(f"{number}. {text}" for number, text in enumerate(texts, start=1))
    return Shown(f"<ol>{items}</ol>", lines)


def label(name: Any) -> str:
    """What a name of the code, or a number, is called on a page.

    Examples
    --------
    >>> label("baseline_ips"), label("n_clicks"), label(0.5), label(20_000)
    ('IPS, baseline', 'n clicks', '0.5', '20,000')
    """
    if isinstance(name, str):
        code = re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
        return NAMES.get(name, name.replace("_", " ") if code else name)
    if isinstance(name, float | np.floating) and f"{name:g}" in NAMES:
        return NAMES[f"{name:g}"]
    if isinstance(name, float | np.floating) and math.isfinite(name) and name != round(name):
        return f"{name:g}".replace("-", "−", 1) if name < 0 else f"{name:g}"
    return "" if name is None else _text(name, 0)


def column_text(column: pd.Series, digits: int | None = None) -> list[str]:
    """The values of a column, all with the same digits; no NaN and no -0.00."""
    values = column.tolist()
    numbers = [v for v in values if isinstance(v, float | np.floating) and math.isfinite(v)]
    sizes = [abs(number) for number in numbers if number]
    if sizes and max(sizes) >= _LARGE and min(sizes) >= _SOME:
        digits = 0
    return [_text(value, _digits(numbers) if digits is None else digits) for value in values]


def _digits(numbers: Iterable[float]) -> int:
    """How many digits after the point tell all numbers, up to _MOST_DIGITS."""
    decimals = [f"{number:.{_MOST_DIGITS}f}".rstrip("0").partition(".")[2] for number in numbers]
    return max(map(len, decimals), default=0)


def _text(value: Any, digits: int) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, str):
        negative = re.fullmatch(r"[-−](\d[\d,.]*%?)", value)
        return _negative(negative[1]) if negative else label(value)
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "–"
    if isinstance(value, float | np.floating):
        found = f"{abs(value):,.{0 if abs(value) >= _LARGE else digits}f}"
        return _negative(found) if value < 0 else found
    if isinstance(value, int | np.integer):
        return f"{value:,}".replace("-", "−")
    return str(value)


def _negative(number: str) -> str:
    return f"−{number}" if re.search("[1-9]", number) else number


def _labels(name: Any) -> list[str]:
    return [label(each) for each in name] if isinstance(name, tuple) else [label(name)]


def _html(
    frame: pd.DataFrame,
    rows: list[list[str]],
    heads: list[list[str]],
    cells: list[list[str]],
    caption: str,
) -> str:
    """A table whose header cells are never empty: where there is nothing to say is no header."""
    names = [label(name) for name in frame.index.names]
    levels = len(heads[0]) if heads else 1
    lines = [f"<caption>{escape(caption)}</caption>"] if caption else []
    for level in range(levels):
        above = [label(frame.columns.names[level])] if frame.columns.names[level] else []
        corner = names if level == levels - 1 and any(names) else [*[""] * (len(names) - 1), ""]
        corner = [*corner[:-1], " / ".join([each for each in [corner[-1], *above] if each])]
        line = [_cell(each, "col") for each in corner]
        start = 0
        while start < len(heads):
            end = start + 1
            while (
                level < levels - 1
                and end < len(heads)
                and heads[end][: level + 1] == (heads[start][: level + 1])
            ):
                end += 1
            line.append(_cell(heads[start][level], "col", end - start))
            start = end
        lines.append(f"<tr>{''.join(line)}</tr>")
    lines += [
        f"<tr>{''.join(_cell(each, 'row') for each in row)}"
        f"{''.join(f'<td>{escape(each)}</td>' for each in values)}</tr>"
        for row, values in zip(rows, cells, strict=True)
    ]
    return f'<table class="dataframe">{"".join(lines)}</table>'


def _cell(text: str, scope: str, span: int = 1) -> str:
    width = f' colspan="{span}"' if span > 1 else ""
    if not text.strip():
        return f"<td{width}></td>"
    text = escape(text).replace("± ", "±\N{NO-BREAK SPACE}")
    return f'<th scope="{scope}"{width}>{text}</th>'
