"""The pictures of the first page, as SVG that is readable on light and dark grounds.

pictures.py    write book/_static/loop.svg, which README.md shows
"""

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
svg.picture text { fill: var(--ink); font-family: system-ui, sans-serif; }
svg.picture rect.paper { fill: var(--paper); }
svg.picture rect.box { fill: var(--box); stroke: var(--edge); stroke-width: 1.5; }
svg.picture path.edge { fill: none; stroke: var(--edge); stroke-width: 1.5; opacity: 0.7; }
svg.picture path.head { fill: var(--edge); }
svg.picture a text { text-decoration: none; }
svg.picture a:hover :is(rect.box, path.edge) { stroke-width: 3; opacity: 1; }
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
    """What each chapter needs, from its box: one under the other, with numbers and arcs.

    As narrow as a phone, so that it never scrolls.
    """
    left, width, height, step = 4, 274, 22, 27
    top = {each.number: 8 + i * step for i, each in enumerate(chapters)}
    needs = boxes.nearest(chapters)
    shapes = []
    for each in chapters:
        y, needed = top[each.number], sorted(needs[each.number])
        title = each.title.split(":")[0]
        title = f"{each.number} {title if len(title) < 34 else title.split(',')[0]}"
        shapes += [
            f'<a href="{address.format(each.slug)}">',
            _box(left, y, width, height),
            *_lines([(title, 12, 400)], left + 8, y + 15, anchor="start"),
            *_lines([(", ".join(map(str, needed)), 11, 400)], left + width - 8, y + 15, "end"),
            *(_arc(left + width, top[n] + 15, y + 7) for n in needed),
            "</a>",
        ]
    about = "Map of the chapters: arcs lead from what is needed to what needs it."
    return _svg(357, 8 + len(chapters) * step, shapes, about, role="group")


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


def _lines(lines, x, y, anchor="middle"):
    """Lines of text under each other, each a text with its size and weight."""
    return [
        f'<text x="{x:g}" y="{y + i * 20:g}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
        for i, (text, size, weight) in enumerate(line for line in lines if line[0])
    ]


def _arrow(x0, y0, x1, y1):
    return _path(
        f"M{x0:g} {y0:g}L{x1:g} {y1:g}", x1, y1, (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    )


def _arc(x, y0, y1):
    """From one line down to another, on the right of both, the wider the longer."""
    reach = x + 18 + 0.125 * (y1 - y0)
    return _path(f"M{x:g} {y0:g}C{reach:g} {y0:g} {reach:g} {y1:g} {x:g} {y1:g}", x, y1, -1, 0)


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
