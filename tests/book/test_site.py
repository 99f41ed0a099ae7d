"""The rendered pages in a browser, from disk and offline: nothing may be broken or remote."""

import os
from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag

import pytest

import opl_lib

browser_tools = pytest.importorskip("browser", reason="playwright is not installed")
HTML, THEMES, page_names = browser_tools.HTML, browser_tools.THEMES, browser_tools.page_names

# Formulas and references that are shown as their source, and formulas that MathJax could not read.
UNRENDERED = r"""
() => {
  const marks = /\$[^$\n]+\$|\\\(|\\\[|\\begin\{|\{(eq|term|cite:?[pt]?|numref|doc|ref)\}/;
  const skip = "pre, code, script, style, mjx-container";
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (marks.test(node.data) && !node.parentElement.closest(skip)) found.push(node.data.trim());
  }
  for (const element of document.querySelectorAll(".math:not(:has(mjx-container))"))
    found.push(element.textContent.trim());
  // MathJax writes a macro that it does not know in red.
  const failed = 'mjx-merror, [data-mjx-error], mjx-container [style*="color: red"]';
  for (const element of document.querySelectorAll(failed))
    found.push(element.getAttribute("data-mjx-error") ?? element.closest(".math").textContent);
  return found;
}
"""

# Images that were not found, or that are not shown in their own proportions.
BROKEN_IMAGES = """
() => [...document.images].filter(i => {
  const [wide, high] = [i.clientWidth / i.naturalWidth, i.clientHeight / i.naturalHeight];
  return i.complete && (!i.naturalWidth || Math.abs(wide / high - 1) > 0.05);
}).map(i => i.src)
"""


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", page_names() or [pytest.param("", marks=NO_PAGES)])


NO_PAGES = pytest.mark.skip(reason="there is no rendered book; make it with `make html`")


@pytest.fixture(scope="module")
def browser():
    if not browser_tools.find_chromium():
        reason = "no Chromium found; install one, or name it in OPL_CHROMIUM"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with browser_tools.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def tab(browser):
    """One for all pages, which takes half the time of one for each."""
    with browser_tools.tab(browser) as opened:
        yield opened


def test_page_in_browser(tab, name):
    page, problems = tab
    problems.clear()
    page.emulate_media(color_scheme=THEMES[0])
    browser_tools.visit(page, name)
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        page.wait_for_function(
            "theme => document.documentElement.dataset.theme == theme", arg=theme
        )
        assert page.evaluate(UNRENDERED) == []
        assert page.evaluate(BROKEN_IMAGES) == []
    assert problems == []


class Page(HTMLParser):
    """The addresses a page refers to, and the anchors it has."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors.add(attrs.get("id"))
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        elif tag == "link" and attrs.get("rel") in ("stylesheet", "preload", "icon"):
            self.loaded.append(attrs["href"])
        elif attrs.get("src"):
            self.loaded.append(attrs["src"])


@cache
def read(path):
    return Page(path)


def test_links_lead_somewhere(name):
    page = read(HTML / name)
    broken = [link for link in page.links + page.loaded if not leads_somewhere(link, HTML / name)]
    assert broken == []


def leads_somewhere(link, path):
    if link.startswith(("http:", "https:", "mailto:", "data:")):
        return True  # somebody else's page: not looked at, so that the test works offline
    address, anchor = urldefrag(link)
    target = (path.parent / unquote(address.partition("?")[0])).resolve() if address else path
    if not target.is_file():
        return False
    return not anchor or target.suffix != ".html" or unquote(anchor) in read(target).anchors


@pytest.mark.skipif(not (HTML / "book/api.html").exists(), reason="there is no rendered book")
def test_every_public_name_has_its_place_on_the_api_page():
    anchors = read(HTML / "book/api.html").anchors
    assert {f"opl_lib.{name}" for name in opl_lib.__all__} <= anchors


def test_nothing_is_loaded_from_elsewhere(name):
    assert [url for url in read(HTML / name).loaded if "//" in url.split("data:")[0]] == []


# Of the theme: its button of three icons.
OF_THEME = {"label-content-name-mismatch": ".theme-switch-button"}


@pytest.mark.skipif(not (HTML / "book/intro.html").exists(), reason="there is no rendered book")
@pytest.mark.parametrize("page_name", ["book/intro.html", "book/bibliography.html"])
@pytest.mark.parametrize("theme", THEMES)
def test_no_barrier_of_ours(browser, page_name, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with browser_tools.opened(browser, page_name, theme) as (page, _):
        assert page.locator("html").get_attribute("data-theme") == theme
        found = axe.run(page).response["violations"]
    ours = [
        (rule["id"], node["target"])
        for rule in found
        for node in rule["nodes"]
        if OF_THEME.get(rule["id"], "-") not in str(node["target"])
    ]
    assert ours == []


@pytest.mark.skipif(not (HTML / "search.html").exists(), reason="there is no rendered book")
def test_search_from_disk_leads_to_a_term_by_its_japanese_name(browser):
    with browser_tools.opened(browser, "search.html", "light") as (page, problems):
        page.goto((HTML / "search.html").as_uri() + "?q=オフ方策評価")
        first = page.locator("#search-results li a").first
        assert first.get_attribute("href") == "book/glossary.html#term-off-policy-evaluation"
        assert first.inner_text() == "Glossary: off policy evaluation"
    assert problems == []


@pytest.mark.skipif(not (HTML / "book/intro.html").exists(), reason="there is no rendered book")
def test_figures_can_be_read_on_a_phone(browser):
    for name in ("book/intro.html", "book/08_questions_1_to_3.html"):
        with browser_tools.opened(browser, name, "light") as (page, _):
            page.set_viewport_size({"width": 390, "height": 800})
            images = page.locator(".bd-article figure img")
            own = "parseFloat(i.style.width) || i.naturalWidth"
            scales = images.evaluate_all(f"all => all.map(i => i.width / ({own}))")
            assert scales and min(scales) >= 0.5 - 1e-3
            assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.skipif(not (HTML / "book/intro.html").exists(), reason="there is no rendered book")
def test_the_names_of_a_row_stay_on_a_phone_while_its_numbers_scroll(browser):
    with browser_tools.opened(browser, "book/14_reward_model_in_dr.html", "light") as (page, _):
        page.set_viewport_size({"width": 390, "height": 800})
        page.wait_for_selector("table.two-names.scrolls")
        left = page.evaluate("""
            () => {
              const table = document.querySelector("table.two-names.scrolls");
              table.scrollLeft = 1000;
              const cells = [...table.querySelector("tr:nth-child(2)").children];
              return cells.map(c => c.getBoundingClientRect().x - table.getBoundingClientRect().x);
            }
        """)
        assert left[0] == 0 < left[1] < 100 and left[2] < 0
