"""Open the rendered pages in Chromium, offline; the browser tests use this.

browser.py FOLDER    save a full-page screenshot of every page, light and dark, in FOLDER
browser.py --find    print where the Chromium is; any Python will do
"""

import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

HTML = Path(__file__).resolve().parent.parent / "_build" / "html"
THEMES = ("light", "dark")
FLAGS = [
    "--no-sandbox",  # root, as in a container, may not use the sandbox
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium():
    """Path of a Chromium or Chrome, or None. OPL_CHROMIUM names one that is not on the PATH."""
    names = (os.environ.get("OPL_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def page_names():
    """Every rendered page, relative to the site, such as "book/intro.html"."""
    names = [path.relative_to(HTML).as_posix() for path in sorted(HTML.rglob("*.html"))]
    # index.html only redirects to the first page.
    return [name for name in names if name != "index.html" and not name.startswith("_static/")]


@contextmanager
def chromium():
    """A running browser."""
    from playwright.sync_api import sync_playwright  # here, so that --find needs no packages

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def tab(browser, theme="light"):
    """An empty tab, offline, and the list of what goes wrong in it."""
    problems = []
    context = browser.new_context(
        color_scheme=theme, offline=True, viewport={"width": 1280, "height": 900}
    )
    page = context.new_page()
    page.on("console", lambda m: m.type == "error" and problems.append(f"console: {m.text}"))
    page.on("pageerror", lambda error: problems.append(f"script: {error}"))
    page.on("requestfailed", lambda request: problems.append(f"failed: {request.url}"))
    page.on("request", lambda request: is_remote(request.url) and problems.append(request.url))
    yield page, problems
    context.close()


def visit(page, name):
    """Load the page `name` in a tab, and render its formulas."""
    page.goto((HTML / name).as_uri())
    page.wait_for_load_state("load")
    page.evaluate("window.MathJax?.startup?.promise")


@contextmanager
def opened(browser, name, theme):
    """The page `name` in a tab of its own, and the list of what went wrong on the way."""
    with tab(browser, theme) as (page, problems):
        visit(page, name)
        yield page, problems


def is_remote(url):
    return not url.startswith(("file:", "data:", "blob:", "about:"))


def main():
    found = find_chromium()
    if len(sys.argv) != 2 or not found:
        sys.exit(__doc__ if found else "no Chromium found: install one, or name it in OPL_CHROMIUM")
    if sys.argv[1] == "--find":
        print(found)
        return
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for name in page_names():
            for theme in THEMES:
                image = folder / f"{name.removesuffix('.html').replace('/', '-')}-{theme}.png"
                with opened(browser, name, theme) as (page, _):
                    page.screenshot(path=image, full_page=True)
                print(image)


if __name__ == "__main__":
    main()
