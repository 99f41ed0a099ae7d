"""The first page, its pictures, and what is done to every page."""

import re
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import boxes
import finishing
import landing
import pictures
import pytest
from docutils import nodes
from docutils.core import publish_doctree
from PIL import Image
from sphinx import addnodes

CHAPTERS = [each for part in boxes.parts().values() for each in part]
INTRO = (boxes.ROOT / "book" / "intro.md").read_text(encoding="utf-8")
BOX = """
# Colder: and colder

**You need** chapters [3](03_a.ipynb) to [5](05_b.ipynb): much; [chapter 6](06_c.ipynb) helps.

**Time** 30 minutes to read, 20 without the code, half a minute to run.
"""


def test_a_box_says_what_is_needed_and_how_long_it_takes():
    found = boxes.read_chapter("07_colder", BOX)
    assert (found.number, found.title, found.needs) == (7, "Colder: and colder", (3, 4, 5))
    assert (found.minutes, found.without_code) == (30, 20)
    with pytest.raises(ValueError, match=r"07_colder.md: its box needs"):
        boxes.read_chapter("07_colder", BOX.replace("minutes", "hours"))


def test_chapters_need_earlier_ones_only():
    """So every one of them has its place on the map, and no circle is possible."""
    assert [(each.slug, n) for each in CHAPTERS for n in each.needs if n >= each.number] == []
    assert pictures.chapter_map(CHAPTERS).count("<a ") == len(CHAPTERS)


def test_what_is_needed_by_way_of_another_is_not_drawn():
    def chapter(number, *needs):
        return boxes.Chapter(f"{number:02}_x", "x", needs, 1, None)

    chapters = [chapter(1), chapter(2, 1), chapter(3, 1, 2)]
    assert boxes.nearest(chapters) == {1: [], 2: [1], 3: [2]}


def test_the_stored_loop_is_what_the_script_draws():
    drawn = pictures.loop({each.number for each in CHAPTERS})
    assert pictures.LOOP.read_text(encoding="utf-8") == drawn, "run: python tools/pictures.py"


@pytest.mark.parametrize("svg", [pictures.loop({1, 2}), pictures.chapter_map(CHAPTERS)])
def test_a_picture_is_xml_whose_shapes_are_inside_of_it(svg):
    root = ET.fromstring(svg)
    width, height = float(root.get("width")), float(root.get("height"))
    boxes_drawn = root.findall(".//{*}rect[@class='box']")
    for box in boxes_drawn:
        x, y, w, h = (float(box.get(name)) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width and 0 <= y <= y + h <= height
    corners = {(box.get("x"), box.get("y")) for box in boxes_drawn}
    assert len(corners) == len(boxes_drawn) >= 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return landing.page(INTRO, folder), folder


def test_the_first_page_has_every_chapter_and_no_gap(made):
    page, folder = made
    assert "{{" not in page and "\n% " not in page
    for each in CHAPTERS:
        assert f"[{each.number}]({each.slug}.ipynb)" in page
        assert f'<a href="{each.slug}.html">' in page
    assert str(sum(each.minutes for each in CHAPTERS) // 60) in landing.total_time(CHAPTERS)
    with Image.open(folder / "findings.png") as figure:
        assert figure.info["dpi"][0] == pytest.approx(200, abs=0.1)


def test_the_findings_are_true():
    softmax, greedy = (landing.shares(served).mean() for served in landing.SERVED)
    assert softmax["dr"] > softmax["ips"] > softmax["regression"]
    assert greedy["regression"] > greedy["dr"] > greedy["ips"]
    assert abs(greedy - softmax)[["ips", "dr"]].max() < 0.01
    found = landing.numbers()
    gains = [float(found[f"shop_{name}"].split()[0]) for name in ("logging", "learn", "optimum")]
    assert gains == sorted(gains)
    assert found["shops_worse"] == found["worse_by_bound"] == "none"
    assert int(found["worse_by_estimate"]) >= 10


def test_the_hour_is_about_one():
    line = next(line for line in INTRO.splitlines() if line.startswith("% path"))
    found = [boxes.chapter(slug) for slug in line.split()[2:]]
    assert 40 <= sum(each.without_code or each.minutes for each in found) <= 80


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("% parrt Two towers: x", "'% parrt' is none of"),
        (INTRO + "{{ nonsense }}", "no number is called nonsense"),
        (INTRO.replace("% part Real logs", "Real logs"), "write a line '% part Real logs"),
    ],
)
def test_a_mistake_on_the_first_page_is_named(text, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        landing.page(text, tmp_path)


def test_japanese_is_marked_in_text_and_nowhere_else():
    html = '<p title="方策">(方策勾配) of Two-Towerモデル</p><script>"方策"</script>'
    marked = '<p title="方策">(<span lang="ja">方策勾配</span>) of Two-Tower'
    marked += '<span lang="ja">モデル</span></p><script>"方策"</script>'
    assert finishing.finished(html) == marked


def test_columns_of_text_are_marked_and_those_of_numbers_are_not():
    head = '<tr><td></td><th scope="col">a</th><th scope="col">b</th></tr>'
    rows = ('<tr><th scope="row">1</th><td>word</td><td>−0.5</td></tr>',)
    rows += ('<tr><th scope="row">2</th><td>–</td><td>–</td></tr>',)
    found = finishing.finished(f'<table class="dataframe">{head}{"".join(rows)}</table>')
    assert re.findall(r'<t[hd] class="text"[^>]*>([^<]*)', found) == [
        "",
        "a",
        "1",
        "word",
        "2",
        "–",
    ]
    assert "<td>−0.5</td>" in found and '<th scope="col">b</th>' in found


def test_an_empty_header_is_a_cell_and_a_fold_is_called_by_its_text():
    html = '<thead><th></th><th class="head"><p></p></th><th>a</th></thead>'
    cells = '<thead><td></td><td class="head"><p></p></td><th>a</th></thead>'
    assert finishing.finished(html) == cells
    fold = '<summary aria-label="Toggle hidden content">Show</summary>'
    assert finishing.finished(fold) == "<summary>Show</summary>"


def test_a_fold_of_checks_is_called_checks_and_others_are_not():
    fold = '<details><summary><p class="collapsed">Show code cell content</p></summary>'
    checks = '<pre><span></span><span class="c1"># Checks of this section</span></pre></details>'
    other = '<pre><span></span><span class="n">x</span></pre></details>'
    named = fold.replace("Show code cell content", "Checks of this section")
    assert finishing.finished(fold + other + fold + checks) == fold + other + named + checks


def test_folded_code_is_called_by_what_it_makes():
    fold = '<div class="cell x"><p class="collapsed">Show code cell source</p>{}</div>'
    output = '<div class="cell_output x">{}</div>'
    image, table = (
        output.format('<img src="a">'),
        output.format('<table class="dataframe"></table>'),
    )
    page = "".join(map(fold.format, (image, table, output.format("1"), ""))) + '<img src="b">'
    found = finishing.finished(page)
    names = re.findall('collapsed">(.*?)</p>', found)
    assert names == ["Code of the figure", "Code of the table", "Code", "Code"]


def test_a_column_with_a_sentence_is_text_though_it_starts_with_a_number():
    cells = ("40,000", "500 clicks in 1,000 rounds, which is enough")
    rows = "".join(f"<tr><td>{cell}</td><td>1</td></tr>" for cell in cells)
    found = finishing.finished(f'<table class="dataframe">{rows}</table>')
    assert found.count('<td class="text">') == 2 and found.count("<td>1</td>") == 2


def test_equations_of_the_notation_have_a_letter():
    numbers = {"displaymath": {"a": (1,), "b": (2,)}}
    others = {"displaymath": {"c": (5, 1)}}
    env = SimpleNamespace(toc_fignumbers={"book/notation": numbers, "book/05_x": others})
    for _ in range(2):  # as after a page was read again
        finishing.number_equations(None, env)
    assert numbers == {"displaymath": {"a": ("N", 1), "b": ("N", 2)}}
    assert others == {"displaymath": {"c": (5, 1)}}


def test_glossary_entries_are_in_the_index_by_their_japanese_terms():
    document = publish_doctree("policy\n  (方策, policy) A rule.\n\nmeter\n  (metre) A length.\n")
    for term in document.findall(nodes.term):
        name = term.astext()
        entry = ("single", name, f"term-{name}", "main", None)
        term += addnodes.index(entries=[entry])
    finishing.JapaneseTerms(document).apply()
    found = [index["entries"] for index in document.findall(addnodes.index)]
    assert [[entry[1] for entry in entries] for entries in found] == [["policy", "方策"], ["meter"]]
    assert found[0][1][2] == "term-policy"


@pytest.mark.parametrize(("dpi", "width"), [(200, "300px"), (100, None)])
def test_a_figure_of_more_dots_is_not_larger(tmp_path, dpi, width):
    Image.new("P", (600, 400)).save(tmp_path / "a.png", dpi=(dpi, dpi))
    document = publish_doctree(".. image:: a.png\n")
    document.settings.env = SimpleNamespace(srcdir=str(tmp_path), app=None, config=None)
    finishing.FigureWidths(document).run()
    (image,) = document.findall(nodes.image)
    assert image.get("width") == width
