"""The book in one file, and packed to take along, of a site of two pages."""

import re
import tomllib
import zipfile

import pytest

offline = pytest.importorskip("offline", reason="playwright or pypdf is not installed")
PAGE = """<!doctype html><html data-theme="auto"><title>{0} — Book</title><h1 id="top">{0}</h1>
<p>{1}</p><p style="break-before: page"><a href="{2}#top">to {2}</a> <a href="gone.html">gone</a>
<a href="https://example.org/">away</a></p></html>"""


@pytest.fixture
def site(tmp_path):
    html = tmp_path / "site ü"
    (html / "book").mkdir(parents=True)
    (html / "book" / "a.html").write_text(PAGE.format("First", "one", "b.html"), "utf-8")
    (html / "book" / "b.html").write_text(PAGE.format("Second", "two", "a.html"), "utf-8")
    return html


def test_the_book_is_printed_to_one_file(site, tmp_path):
    if not offline.browser.find_chromium():
        pytest.skip("no Chromium found")
    target = tmp_path / "book.pdf"
    offline.print_book(site, {"book/a.html": None, "book/b.html": "A part"}, target)
    pdf = offline.PdfReader(target)
    texts = [page.extract_text() for page in pdf.pages]
    assert len(texts) == 4
    assert "First" in texts[0] and "Second" in texts[2]
    assert [text.split()[-1] for text in texts] == ["1", "2", "3", "4"]  # the page's number
    first, part, (second,) = pdf.outline
    assert (first.title, part.title, second.title) == ("First", "A part", "Second")
    places = [pdf.get_destination_page_number(each) for each in (first, part, second)]
    assert places == [0, 2, 2]
    links = [link.get_object() for link in pdf.pages[1]["/Annots"]]
    assert [link.get("/A", {}).get("/URI") for link in links] == [None, "https://example.org/"]
    assert pdf.get_page_number(links[0]["/Dest"][0].get_object()) == 2
    assert str(tmp_path) not in "".join(map(str, links))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["book.pdf"]


def test_what_is_packed_can_be_read_and_run(site, tmp_path):
    root = tmp_path / "root"
    for name in ("book/01_a.ipynb", "book/.secret", "opl_lib/__pycache__/a.pyc", "tests/x.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "requirements.txt").write_text("numpy")
    offline.pack(root, site, tmp_path / "book.zip")
    names = zipfile.ZipFile(tmp_path / "book.zip").namelist()
    pages = ["opl-book/html/book/a.html", "opl-book/html/book/b.html"]
    assert names == ["opl-book/book/01_a.ipynb", *pages, "opl-book/requirements.txt"]


def test_what_is_packed_is_there():
    """Chapters read examples and results beside them; an installation reads the README."""
    assert [name for name in offline.PACKED if not (offline.ROOT / name).exists()] == []
    readme = tomllib.loads((offline.ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "readme"
    ]
    texts = (path.read_text("utf-8") for path in (offline.ROOT / "book" / "text").glob("*.md"))
    read = {name for text in texts for name in re.findall(r"\.\./(\w+)", text)}
    assert {readme, "Makefile", "requirements.txt", *read} <= {*offline.PACKED}


def test_a_file_that_could_not_be_written_is_not_there(tmp_path):
    def fail(partial):
        partial.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        offline._write(tmp_path / "book.zip", fail)
    assert list(tmp_path.iterdir()) == []


def test_the_pages_are_in_the_order_of_the_toc():
    pages = offline.page_order()
    assert list(pages)[:2] == ["book/intro.html", "book/01_two_towers.html"]
    assert pages["book/intro.html"] is None and "book/glossary.html" in pages
