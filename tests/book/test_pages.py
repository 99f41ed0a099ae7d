"""What a reader of the pages sees: times, code, tables, questions."""

import ast
import re

import chapters
import nbformat
import pytest
import reading

SLUGS = [path.stem for path in chapters.texts()]
CHECKS, ANSWERS = "# Checks of this section", "# Answers"


def stored(slug):
    return nbformat.read(chapters.BOOK / f"{slug}.ipynb", as_version=4)


def code_cells(slug):
    return [cell for cell in stored(slug).cells if cell.cell_type == "code"]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def shown(slug):
    return [cell for cell in code_cells(slug) if not tags(cell) & reading.WITHOUT_CODE]


@pytest.mark.parametrize("slug", SLUGS)
def test_the_box_says_how_long_the_page_takes(slug):
    notebook = stored(slug)
    expected = tuple(max(1, round(each)) for each in reading.minutes(notebook))
    assert reading.said(notebook) == expected, f"run: python tools/reading.py {slug}"
    assert expected[0] <= reading.LONGEST


@pytest.mark.parametrize("slug", SLUGS)
def test_shown_code_teaches_and_does_not_check(slug):
    lines = sum(len(cell.source.splitlines()) for cell in shown(slug))
    asserts = [
        statement
        for cell in shown(slug)
        for statement in ast.walk(ast.parse(re.sub(r"^%.*$", "", cell.source, flags=re.M)))
        if isinstance(statement, ast.Assert)
    ]
    assert sum(each.end_lineno - each.lineno + 1 for each in asserts) <= 0.01 * lines


@pytest.mark.parametrize("slug", SLUGS)
def test_folded_checks_have_one_name(slug):
    for cell in code_cells(slug):
        if "hide-cell" in tags(cell) and re.search(r"^assert ", cell.source, re.M):
            assert cell.source.startswith((CHECKS, ANSWERS))


@pytest.mark.parametrize("slug", SLUGS)
def test_tables_are_for_people(slug):
    for cell in code_cells(slug):
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html", "")
            heads = re.findall(r"<th\b[^>]*>(.*?)</th>", html, re.DOTALL)
            assert all(head.strip() for head in heads), cell.source
            texts = [*heads, *re.findall(r"<td\b[^>]*>(.*?)</td>", html, re.DOTALL)]
            found = [re.sub("<[^>]*>", "", text).strip() for text in texts]
            assert not [text for text in found if re.fullmatch(r"NaN|nan|[-−]0(\.0+)?", text)]
            assert not [text for text in found if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", text)]
            assert not [text for text in found if re.fullmatch("True|False|None|NaT|<NA>", text)]


@pytest.mark.parametrize("slug", SLUGS)
def test_a_chapter_asks_and_answers(slug):
    notebook = stored(slug)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    section = re.search(r"^## Check yourself$(.*?)(?=^## |\Z)", prose, re.M | re.DOTALL)
    assert section
    questions = re.findall(r"^\d\. ", section[1], re.M)
    assert 3 <= len(questions) <= 5
    (answer,) = [cell for cell in code_cells(slug) if cell.source.startswith(ANSWERS)]
    assert "hide-cell" in tags(answer)
    html = answer.outputs[-1].data["text/html"]
    assert html.count("<li>") == len(questions)


@pytest.mark.parametrize("slug", SLUGS)
def test_tables_have_captions(slug):
    for cell in code_cells(slug):
        if "hide-cell" in tags(cell):
            continue
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html", "")
            assert '<table class="dataframe">' not in html or "<caption>" in html, cell.source


@pytest.mark.parametrize("slug", SLUGS)
def test_an_error_is_shown_by_its_message(slug):
    """A traceback would name folders of the machine on which the chapter was run."""
    outputs = [output for cell in code_cells(slug) for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
