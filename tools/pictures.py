"""The pictures of the first page, as SVG that is readable on light and dark grounds.

pictures.py    write book/_static/loop.svg, which README.md shows
"""

import textwrap
from html import escape
from pathlib import Path

import boxes

LOOP = Path(__file__).resolve().parent.parent / "book" / "_static" / "loop.svg"

# What each stage does, and the chapters on it; those that _toc.yml lacks are left out.
STAGES = {
    "Log": ("who came, what was shown and how", "likely, what happened", (3, 17, 22, 23, 24, 25)),
    "Learn": ("a policy, from the log alone", "", (4, 5, 6, 12, 14, 15, 18, 20, 21, 26)),
    "Choose": ("by what the log can prove,", "or keep what runs", (11, 13, 16, 25)),
    "Serve": ("show it, explore a little,", "write down how likely", (1, 13, 19, 27)),
}

# In a page the theme's colours; in a file by itself, those of the reader's system.
STYLE = """<style>
svg.picture { --ink: var(--pst-color-text-base, #222832); --edge: var(--pst-color-primary, #0b5ac2);
  --paper: var(--pst-color-background, #ffffff); --box: var(--pst-color-surface, #f3f4f5); }
@media (prefers-color-scheme: dark) { svg.picture { --ink: var(--pst-color-text-base, #e6e8eb);
  --edge: var(--pst-color-primary, #7ab7ff); --paper: var(--pst-color-background, #14181e);
  --box: var(--pst-color-surface, #29313d); } }
svg.picture text { fill: var(--ink); font-family: system-ui, sans-serif; text-anchor: middle; }
svg.picture rect.paper { fill: var(--paper); }
svg.picture rect.box { fill: var(--box); stroke: var(--edge); stroke-width: 1.5; }
svg.picture path.edge { fill: none; stroke: var(--edge); stroke-width: 1.5; opacity: 0.7; }
svg.picture path.head { fill: var(--edge); }
svg.picture a text { text-decoration: none; }
svg.picture a:hover rect.box { stroke-width: 3; }
</style>"""


def loop(known):
    """Log, learn, choose, serve, log, with the numbers of those chapters that are in `known`."""
    width, height, left, top, right, bottom = 260, 96, 14, 14, 366, 180
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    shapes = []
    for (name, (first, second, numbers)), (x, y) in zip(STAGES.items(), corners, strict=True):
        chapters = "ch. " + spans([number for number in numbers if number in known])
        lines = [(name, 17, 700), (first, 13, 400), (second, 13, 400), (chapters, 12, 600)]
        shapes += [_box(x, y, width, height), *_lines(lines, x + width / 2, y + 24)]
    middle = (left + width + right) / 2
    shapes += [
        _arrow(left + width + 8, top + height / 2, right - 8, top + height / 2),
        _arrow(right + width / 2, top + height + 6, right + width / 2, bottom - 6),
        _arrow(right - 8, bottom + height / 2, left + width + 8, bottom + height / 2),
        _arrow(left + width / 2, bottom - 6, left + width / 2, top + height + 6),
        *_lines([("and again", 13, 400)], middle, (top + height + bottom) / 2 + 4),
    ]
    about = "A loop: log, learn, choose, serve, and log again; each stage with its chapters."
    return _svg(640, 290, shapes, about)


def chapter_map(chapters, address="{}.html"):
    """What each chapter needs, from its box: earlier ones above, an arrow to each that needs it."""
    rows = _rows(chapters)
    width, height, gap_x, gap_y = 122, 62, 10, 34
    total = 20 + max(len(row) for row in rows) * (width + gap_x)
    place = {}
    for level, row in enumerate(rows):
        start = (total - len(row) * (width + gap_x) + gap_x) / 2
        for i, each in enumerate(row):
            place[each.number] = (start + i * (width + gap_x), 10 + level * (height + gap_y))
    needs = boxes.nearest(chapters)
    shapes = []
    for number, (x, y) in place.items():
        for needed in needs[number]:
            from_x, from_y = place[needed]
            start = (from_x + width / 2, from_y + height)
            shapes.append(_curve(*start, x + width / 2, y - 2))
    for each in chapters:
        x, y = place[each.number]
        title = textwrap.wrap(f"{each.number} {each.title.split(':')[0]}", 18)[:3]
        lines = [(line, 12, 400) for line in title]
        text = _lines(lines, x + width / 2, y + height / 2 + 12 - 8 * len(lines), step=16)
        shapes.append(f'<a href="{address.format(each.slug)}">')
        shapes += [_box(x, y, width, height), *text, "</a>"]
    about = "Map of the chapters: arrows lead from what is needed to what needs it."
    return _svg(total, 10 + len(rows) * (height + gap_y), shapes, about, role="group")


def _rows(chapters):
    """Chapters by how many others must be read one after the other before; near what they need."""
    needs = boxes.nearest(chapters)
    level, column = {}, {}
    for each in chapters:  # what is needed comes first in the book, or is not drawn
        level[each.number] = 1 + max((level.get(n, -1) for n in needs[each.number]), default=-1)
    rows = []
    for depth in range(1 + max(level.values())):
        row = [each for each in chapters if level[each.number] == depth]
        middles = {each: [column[n] for n in needs[each.number]] or [0.5] for each in row}
        row.sort(key=lambda each, of=middles: (sum(of[each]) / len(of[each]), each.number))
        column |= {each.number: (i + 0.5) / len(row) for i, each in enumerate(row)}
        rows.append(row)
    return rows


def spans(numbers):
    """Numbers, of which three and more in a row are written as their ends.

    Examples
    --------
    >>> spans([1, 2, 4, 5, 6])
    '1, 2, 4–6'
    """
    runs = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = [f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return ", ".join(texts)


def _svg(width, height, shapes, about, role="img"):
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="picture" role="{role}" '
    head += f'aria-label="{escape(about)}" {size}>'
    paper = '<rect class="paper" width="100%" height="100%"/>'
    return "\n".join([head, STYLE, paper, *shapes, "</svg>", ""])


def _box(x, y, width, height):
    return f'<rect class="box" x="{x:g}" y="{y:g}" width="{width}" height="{height}" rx="7"/>'


def _lines(lines, x, y, step=20):
    """Lines of text under each other, each a text with its size and weight."""
    return [
        f'<text x="{x:g}" y="{y + i * step:g}" font-size="{size}" font-weight="{weight}">'
        f"{escape(text)}</text>"
        for i, (text, size, weight) in enumerate(line for line in lines if line[0])
    ]


def _arrow(x0, y0, x1, y1):
    return _path(
        f"M{x0:g} {y0:g}L{x1:g} {y1:g}", x1, y1, (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    )


def _curve(x0, y0, x1, y1):
    bend = (y1 - y0) / 2
    return _path(
        f"M{x0:g} {y0:g}C{x0:g} {y0 + bend:g} {x1:g} {y1 - bend:g} {x1:g} {y1:g}", x1, y1, 0, 1
    )


def _path(line, x, y, dx, dy):
    """A line with a head at (x, y) that points along (dx, dy)."""
    back_x, back_y = x - 8 * dx, y - 8 * dy
    head = f"M{x:g} {y:g}L{back_x - 4 * dy:g} {back_y - 4 * dx:g}"
    head += f"L{back_x + 4 * dy:g} {back_y + 4 * dx:g}Z"
    return f'<path class="edge" d="{line}"/><path class="head" d="{head}"/>'


def main():
    chapters = [each for part in boxes.parts().values() for each in part]
    LOOP.write_text(loop({each.number for each in chapters}), encoding="utf-8")


if __name__ == "__main__":
    main()
