"""The chapters as JupyterLab shows them best, in a copy to work in; `make lab` calls this.

lab.py FOLDER    write the first page and all chapters, with what they read, into a new FOLDER

What a page of the site resolves - numbers of equations and figures, citations, terms, captions - is
written out, and what the site folds is folded. The notebooks run: their data is beside them.
"""

import re
import shutil
import sys
from functools import cache
from pathlib import Path

import boxes
import landing
import nbformat
import public_names
from pybtex.database import parse_file
from pybtex.richtext import Text

ROOT = boxes.ROOT
BOOK = ROOT / "book"
NUMBERS_OF_OUR_OWN = "---\nnumbering:\n  equation: false\n---\n\n"  # jupyterlab-myst reads it
_ROLE = re.compile(
    r"\{(?P<role>[a-z]+(?::[a-z]+)?)\}`(?P<text>[^`<]*?)(?:\s*<(?P<target>[^`>]*)>)?`"
)
_EQUATION = re.compile(r"^\$\$ \((?P<label>[\w-]+)\)$", re.MULTILINE)
_BOX = re.compile(
    r"^(?P<fence>`{3,}|:{3,})\{(?:prf:)?(?P<kind>exercise|theorem|proposition|definition)\}"
    r" *(?P<title>.*)\n(?:(?::label: (?P<label>\S+)|:\w+:.*)\n)*",
    re.MULTILINE,
)
_SOLUTION = re.compile(r"^```\{solution-start\} (?P<label>\S+)\n(?::.*\n)*```$", re.MULTILINE)
_END = re.compile(r"^```\{solution-end\}\n```\n?", re.MULTILINE)


@cache
def numbered():
    """What every label of the book is called: "(6.4)", "Fig. 6.1", "Theorem 6.2"."""
    found = equations("N", (BOOK / "notation.md").read_text(encoding="utf-8"))
    for path in sorted((BOOK / "text").glob("*.md")):
        notebook = nbformat.read(BOOK / f"{path.stem}.ipynb", as_version=4)
        chapter = int(path.stem[:2])
        prose = "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
        found |= equations(chapter, prose)
        figures = [figure for cell in notebook.cells if (figure := figure_of(cell))]
        for n, figure in enumerate(figures, start=1):
            found[figure.get("name", (chapter, n))] = f"Fig. {chapter}.{n}"
        count = {}
        for box in _BOX.finditer(prose):
            kind = box["kind"]
            count[kind] = count.get(kind, 0) + 1
            found[box["label"]] = f"{kind.capitalize()} {chapter}.{count[kind]}"
    return found


def equations(page, text):
    """The numbers of a page's labelled equations."""
    labels = _EQUATION.findall(text)
    return {label: f"({page}.{n})" for n, label in enumerate(labels, start=1)}


def figure_of(cell):
    """The caption and the name of the figure that a cell draws, or None."""
    return cell.metadata.get("mystnb", {}).get("figure")


@cache
def sources():
    """What is cited, as "Dudík et al." and "2011", and as a line of the bibliography."""
    found = {}
    for key, entry in parse_file(str(BOOK / "references.bib")).entries.items():
        names = [str(Text(*each.rich_last_names)) for each in entry.persons["author"]]
        short = names[0] if len(names) == 1 else " and ".join(names)
        if len(names) > 2:
            short = f"{names[0]} et al."
        year = entry.fields.get("year", "n.d.")
        place = entry.fields.get("booktitle") or entry.fields.get("journal") or ""
        title, place = (str(Text.from_latex(each)) for each in (entry.fields["title"], place))
        everybody = ", ".join(names).replace(", others", " et al.").rstrip(".")
        line = f"{everybody}. *{title}*. {place}{', ' * bool(place)}{year.rstrip('.')}."
        found[key] = short, year, line
    return found


def bibliography():
    """The page of all sources, as a list."""
    lines = sorted(line for _, _, line in sources().values())
    return "\n".join(["# Bibliography", "", *(f"- {line}" for line in lines), ""])


def plain(text):
    """Markdown with roles written out, equations with their numbers, and boxes with theirs.

    Examples
    --------
    >>> plain("A {term}`policy` {cite:p}`dudik2011`, {py:func}`opl.ips <opl_lib.ips>`.")
    'A [policy](glossary.md) [[Dudík et al., 2011](bibliography.md)], `opl.ips`.'
    """
    text = _EQUATION.sub(lambda m: rf"\tag{{{numbered()[m['label']].strip('()')}}}" + "\n$$", text)
    text = _BOX.sub(_box, text)
    text = _SOLUTION.sub(lambda m: f"**Solution to {numbered()[m['label']].lower()}**", text)
    return _ROLE.sub(_written_out, _END.sub("", text))


def _box(match):
    title = f" ({match['title']})" if match["title"] else ""
    return f"{match['fence']}{{admonition}} {numbered()[match['label']]}{title}\n"


def _written_out(match):
    role, text, target = match["role"], match["text"], match["target"]
    if role in ("eq", "numref", "prf:ref"):
        return numbered()[target or text]
    if role == "term":
        return f"[{text}](glossary.md)"
    if role in ("cite:t", "cite:p"):
        cited = [sources()[key.strip()] for key in text.split(",")]
        if role == "cite:t":
            return ", ".join(f"{who} [[{year}](bibliography.md)]" for who, year, _ in cited)
        return f"[{', '.join(f'[{who}, {year}](bibliography.md)' for who, year, _ in cited)}]"
    if role == "ref":
        return text if target else numbered()[text]
    if role.startswith("py:"):
        return f"`{text.rpartition('.')[2] if text.startswith('~') else text}`"
    return match[0]


def for_lab(notebook, chapter):
    """The notebook of a chapter, with captions under figures and folded what the site folds."""
    cells, figures = [], 0
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\A# ", f"{NUMBERS_OF_OUR_OWN}# {chapter}. ", plain(cell.source))
            continue
        tags = set(cell.metadata.get("tags", []))
        if folded := {"hide-input", "hide-cell"} & tags:
            cell.metadata["jupyter"] = {"source_hidden": True}
            if "hide-cell" in folded:
                cell.metadata["jupyter"]["outputs_hidden"] = True
        if figure := figure_of(cell):
            figures += 1
            caption = f"**Fig. {chapter}.{figures}** {plain(figure['caption'])}"
            cells.append(nbformat.v4.new_markdown_cell(caption, id=f"figure-{figures}"))
    notebook.cells = [cell for cell in cells if cell.cell_type == "code" or cell.source.strip()]
    return notebook


def write(folder):
    """Write the first page, the chapters and what they read to a new `folder`."""
    ignored = shutil.ignore_patterns("text", "*.ipynb", "intro.md", ".*", "__pycache__")
    shutil.copytree(BOOK, folder / "book", ignore=ignored)
    for name in ("results", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for path in sorted((BOOK / "text").glob("*.md")):
        notebook = nbformat.read(BOOK / f"{path.stem}.ipynb", as_version=4)
        nbformat.write(
            for_lab(notebook, int(path.stem[:2])), folder / "book" / f"{path.stem}.ipynb"
        )
    for page in ("glossary", "notation", "coverage"):
        text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
        (folder / "book" / f"{page}.md").write_text(plain(text), encoding="utf-8")
    api = public_names.plain_page((BOOK / "api.md").read_text(encoding="utf-8"))
    (folder / "book" / "api.md").write_text(plain(api), encoding="utf-8")
    (folder / "book" / "bibliography.md").write_text(bibliography(), encoding="utf-8")
    landing.start_notebook(folder, plain)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1]).resolve()
    if folder.exists():
        print(f"{sys.argv[1]} is as you left it; remove it to start from the stored chapters again")
        return
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    write(partial)
    partial.rename(folder)


if __name__ == "__main__":
    main()
