"""How long a chapter takes to read, by one rule for all, and its box "At a glance" says so.

    reading.py [NN_slug ...]    write the minutes into texts and notebooks

220 words a minute, and seconds for each line of code that is shown, each table or formula, and each
figure. What is folded is not counted.
"""

import re
import sys

import chapters
import nbformat

WORDS_A_MINUTE = 220
CODE_LINE, TABLE, FORMULA, FIGURE = 2, 20, 20, 30  # seconds
LONGEST = 35  # minutes, code included
FOLDED = {"hide-cell", "remove-cell"}
WITHOUT_CODE = {*FOLDED, "hide-input", "remove-input"}

_FOLDED_BLOCK = re.compile(
    r"^(`{3,}|:{3,})\{(?:dropdown|solution)\b.*?^\1`*:*$", re.MULTILINE | re.DOTALL
)
_SAYS = re.compile(r"\*\*Time\*\* ([^,;.\n]*?) to read(?:, [^,;.\n]*without the code)?(?=[,;.])")


def minutes(notebook):
    """Minutes with the code, and without it."""
    prose = code = 0.0
    in_solution = False
    for cell in notebook.cells:
        tags = set(cell.metadata.get("tags", []))
        if cell.cell_type == "markdown":
            in_solution ^= "{solution-start}" in cell.source or "{solution-end}" in cell.source
            prose += 0 if in_solution else _seconds(cell.source)
        elif cell.cell_type == "code" and not in_solution and not tags & FOLDED:
            if not tags & WITHOUT_CODE:
                code += CODE_LINE * sum(bool(line.strip()) for line in cell.source.splitlines())
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                prose += FIGURE * ("image/png" in data) + TABLE * ("<table" in str(data))
    return (prose + code) / 60, prose / 60


def _seconds(text):
    """Of a text: its words, tables, formulas and figures."""
    text = _FOLDED_BLOCK.sub("", text)
    formulas = len(re.findall(r"^\$\$", text, re.MULTILINE)) // 2
    figures = len(re.findall(r"^[`:]{3,}\{(?:figure|image)\}", text, re.MULTILINE))
    tables = len(re.findall(r"^\s*\|[ :|-]+\|\s*$", text, re.MULTILINE))
    text = re.sub(r"^\$\$.*?^\$\$.*?$|^[`:]{3,}.*?$|^:\w+:.*?$", "", text, flags=re.M | re.S)
    text = re.sub(r"\]\([^)]*\)|\{[\w:]+\}", " ", text)
    words = len(re.findall(r"[\w'’-]*[A-Za-z0-9][\w'’-]*", text))
    return 60 * words / WORDS_A_MINUTE + FORMULA * formulas + FIGURE * figures + TABLE * tables


def said(notebook):
    """The minutes that the box of a chapter names, with and without the code."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = re.search(r"\*\*Time\*\* (\d+) minutes to read, (\d+) without the code", text)
    return tuple(map(int, found.groups())) if found else None


def with_minutes(text, notebook):
    """The text, of a chapter or of its notebook's cell, with the minutes in its box."""
    of_all, of_prose = (max(1, round(each)) for each in minutes(notebook))
    new = f"**Time** {of_all} minutes to read, {of_prose} without the code"
    return _SAYS.sub(new, text, count=1)


def main():
    for path in chapters.texts(sys.argv[1:]):
        stored = chapters.BOOK / f"{path.stem}.ipynb"
        notebook = nbformat.read(stored, as_version=4)
        path.write_text(with_minutes(path.read_text(encoding="utf-8"), notebook), encoding="utf-8")
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = with_minutes(cell.source, notebook)
        nbformat.write(notebook, stored)
        print(path.stem, *said(notebook) or ["no **Time** in its box"])


if __name__ == "__main__":
    main()
