"""Tables as the chapters show them."""

import re

import numpy as np
import pandas as pd
import pytest
from experiments.display import answers, label, show


def html(*args, **kwargs):
    return show(*args, **kwargs)._repr_html_()


def values(shown):
    return [value for value in re.findall("<td>(.*?)</td>", shown) if value]


def test_numbers_of_a_column_have_the_same_digits_and_no_sign_of_zero():
    shown = html(pd.DataFrame({"a": [0.5, -0.25, -0.0], "b": [1, -20_000, 3]}))
    assert values(shown) == [*("0.50", "1", "−0.25", "−20,000", "0.00", "3")]


def test_beside_numbers_without_digits_those_of_some_size_have_none():
    shown = html(pd.DataFrame({"a": [47.25, 1379.5], "b": [0.25, 1379.5], "c": [47.25, 999.5]}))
    assert values(shown) == ["47", "0.25", "47.25", "1,380", "1,380", "999.50"]


def test_numbers_in_texts_have_no_sign_of_zero_either():
    shown = html(pd.DataFrame({"a": ["-0.00", "-1.50", "-x"], "b": [1e6, 0.25, -2e4]}))
    assert values(shown) == ["0.00", "1,000,000", "−1.50", "0.25", "-x", "−20,000"]


def test_what_is_missing_is_a_dash_and_truth_is_a_word():
    shown = html(pd.DataFrame({"a": [np.nan, 1.5], "b": [True, False], "c": [None, "x_y"]}))
    assert values(shown) == ["–", "yes", "–", "1.5", "no", "x y"]
    assert "nan" not in shown.lower()


def test_names_of_the_code_become_names_for_people():
    shown = html(pd.DataFrame({"baseline_ips": [1.0]}, index=["best_constant_item"]))
    assert "IPS, baseline" in shown and "best constant item" in shown and "_" not in shown
    assert label("π_θ") == "π_θ"


def test_numbers_that_name_a_row_are_written_as_those_in_it():
    shown = html(pd.DataFrame({20_000: [1]}, index=[5_000]))
    assert ">20,000<" in shown and ">5,000<" in shown
    names = [2_000.0, 1e6, 0.5, -3, -0.5, np.int64(1_234), True, np.nan, None]
    assert [*map(label, names)] == [
        *("2,000", "1,000,000", "0.5", "−3", "−0.5", "1,234", "yes", "–", ""),
    ]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": [1]}),
        pd.DataFrame({"a": [1]}).rename_axis("row"),
        pd.DataFrame({"a": [1]}).rename_axis(columns="what"),
        pd.DataFrame({("a", "b"): [1], ("a", "c"): [2], ("d", ""): [3]}),
        pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_product([["x"], [1, 2]])),
        pd.Series([1.0, 2.0]),
    ],
)
def test_no_header_is_empty_and_all_rows_are_as_long(frame):
    shown = html(frame)
    assert all(text.strip() for text in re.findall("<th[^>]*>(.*?)</th>", shown))
    widths = set()
    for row in re.findall("<tr>(.*?)</tr>", shown):
        cells = re.findall("<t[hd]([^>]*)>", row)
        spans = [re.search(r'colspan="(\d+)"', cell) for cell in cells]
        widths.add(sum(int(span[1]) if span else 1 for span in spans))
    assert len(widths) == 1


def test_a_caption_is_text_and_not_html():
    assert "<caption>a &lt; b</caption>" in html(pd.Series([1]), "a < b")


def test_what_is_no_table_is_refused():
    with pytest.raises(TypeError, match="got list"):
        show([1, 2])


def test_answers_are_numbered():
    assert repr(answers("one", "two")) == "1. one\n2. two"
    assert answers("a < b")._repr_html_() == "<ol><li>a &lt; b</li></ol>"
