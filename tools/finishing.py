"""What pages need beyond Sphinx, as an extension of it: see `setup`.

Figures stored at twice the screen's density, searchable Japanese terms, equations of the notation
that are told from those of chapters, and HTML that everybody can read.
"""

import re
from pathlib import Path

from docutils import nodes
from PIL import Image
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform

SCREEN_DPI = 100  # what the chapters' figures are laid out for
LETTERS = {"book/notation": "N"}  # pages without a number, and what their equations have for it
JAPANESE = r"[\u3005-\u3007\u3041-\u30ff\u3400-\u9fff\uff66-\uff9f]+"

_OUTSIDE_TAGS = re.compile(
    rf"<(script|style)\b.*?</\1>|<[^>]*>|(?P<japanese>{JAPANESE})", re.DOTALL
)
_EMPTY_HEAD = re.compile(r"<th(?=[\s>])([^>]*)>((?:\s|&nbsp;|<p>|</p>)*)</th>")
_FOLD = re.compile(
    r'(<p class="(?:collapsed|expanded)[^>]*>)(Show|Hide) code cell content</p>'
    r"(?=(?:(?!<details).)*?"
    r'<span></span><span class="c1"># (Checks of this section|Answers)</span>)',
    re.DOTALL,
)
_CODE = re.compile(r"(Show|Hide) code cell source")
_CELL_START = re.compile(r'(?=<div class="cell )')
_SHOWN = re.compile(
    r'<div class="cell_output.*?(?:(?P<image><img)|<table class="dataframe)', re.DOTALL
)
_DATA_FRAME = re.compile(r'<table class="dataframe">.*?</table>', re.DOTALL)
_ROW = re.compile(r"<tr>.*?</tr>", re.DOTALL)
_CELL = re.compile(r"(<t[hd])\b([^>]*>[^<]*)")
_LONGEST_NUMBER = 30  # letters of "0.52 ± 0.04" and the like; what is longer is a sentence
_IN_BRACKETS = re.compile(r"\(([^()]*)\)")


def finished(html):
    """The HTML of a page: Japanese is marked, an empty cell heads nothing, a fold has its name."""
    html = _OUTSIDE_TAGS.sub(_with_language, html)
    html = _EMPTY_HEAD.sub(r"<td\1>\2</td>", html)
    html = _FOLD.sub(r"\1\3</p>", html)
    html = "".join(map(_with_named_code, _CELL_START.split(html)))
    html = html.replace('role="doc-biblioentry"', 'role="listitem"')  # of a list, as it says
    html = _DATA_FRAME.sub(_with_text_columns, html)
    return html.replace('<summary aria-label="Toggle hidden content">', "<summary>")


def _with_named_code(cell):
    """The HTML from one cell to the next: its folded code is called by what the code makes."""
    shown = _SHOWN.search(cell)
    what = shown and (" of the figure" if shown["image"] else " of the table")
    return _CODE.sub(f"Code{what or ''}", cell)


def _with_text_columns(match):
    """A table of data in which the cells of columns without numbers are marked as text."""
    rows = [_CELL.findall(row) for row in _ROW.findall(match[0]) if 'scope="col"' not in row]
    of_text = [
        not any(map(_is_number, column)) or any(map(_is_sentence, column))
        for column in zip(*rows, strict=False)
    ]

    def marked(row):
        columns = iter(of_text if "colspan" not in row[0] else [])
        return _CELL.sub(
            lambda cell: f'{cell[1]} class="text"{cell[2]}' if next(columns, False) else cell[0],
            row[0],
        )

    return _ROW.sub(marked, match[0])


def _is_number(cell):
    _, rest = cell
    return 'scope="row"' not in rest and re.search(r">[−+±<>≤≥]? ?\.?\d", rest) is not None


def _is_sentence(cell):
    return len(cell[1].partition(">")[2]) > _LONGEST_NUMBER


def _with_language(match):
    japanese = match["japanese"]
    return f'<span lang="ja">{japanese}</span>' if japanese else match[0]


def finish_page(app, pagename, templatename, context, doctree):
    if "body" in context:
        context["body"] = finished(context["body"])


def number_equations(app, env):
    """Equations of the pages in LETTERS are (N.1), (N.2), … there and wherever they are cited."""
    for page, letter in LETTERS.items():
        numbers = env.toc_fignumbers.get(page, {}).get("displaymath", {})
        numbers.update({name: (letter, *number[-1:]) for name, number in numbers.items()})


class JapaneseTerms(SphinxTransform):
    """A glossary entry that starts with a Japanese term in brackets is in the index by that, too.

    Search offers what is in the index with a link to the entry itself.
    """

    default_priority = 800  # before the domains take note of the index

    def apply(self, **kwargs):
        for item in self.document.findall(nodes.definition_list_item):
            found = _IN_BRACKETS.match(item[-1].astext())
            words = [word.strip() for word in found[1].split(",")] if found else []
            japanese = [word for word in words if re.search(JAPANESE, word)]
            for index in item.findall(addnodes.index):
                _, _, target, main, _ = index["entries"][0]
                index["entries"] += [("single", word, target, main, None) for word in japanese]


class FigureWidths(SphinxPostTransform):
    """A figure of more dots to the inch than a screen has is shown in its size and not larger."""

    formats = ("html",)
    default_priority = 900

    def run(self, **kwargs):
        for image in self.document.findall(nodes.image):
            path = Path(self.env.srcdir) / image["uri"]
            if "width" not in image and path.suffix == ".png" and path.is_file():
                with Image.open(path) as stored:
                    dpi = stored.info.get("dpi", (SCREEN_DPI,))[0]
                    if dpi > 1.5 * SCREEN_DPI:
                        image["width"] = f"{round(stored.width * SCREEN_DPI / dpi)}px"


def setup(app):
    """Called by Sphinx."""
    app.add_transform(JapaneseTerms)
    app.add_post_transform(FigureWidths)
    app.connect("env-check-consistency", number_equations)  # the first after Sphinx numbers
    app.connect("html-page-context", finish_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
