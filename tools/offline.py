"""The book without a web server, of the rendered pages in _build/html.

offline.py pdf    print it to _build/book.pdf: one file with an outline and page numbers
offline.py zip    pack pages, notebooks, library and lock into _build/book.zip
"""

import io
import os
import sys
import zipfile
from itertools import chain
from pathlib import Path
from urllib.parse import unquote, urldefrag

import browser
import yaml
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, NameObject

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
PAPER = {
    "format": "A4",
    "margin": {"top": "16mm", "bottom": "18mm", "left": "15mm", "right": "15mm"},
    "print_background": True,
    "scale": 0.8,  # 78 characters of code to the line
}
NUMBER = '<div style="font: 8pt sans-serif; width: 100%; text-align: center">{}</div>'
PACKED = (
    *("book", "examples", "opl_lib", "results", "tools", "_config.yml", "_toc.yml", "CITATION.cff"),
    *("LICENSE", "Makefile", "pyproject.toml", "README.md", "requirements.txt"),
)


def page_order():
    """The pages in the order of _toc.yml, as in "book/intro.html", each with its part or None."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages = {f"{toc['root']}.html": None}
    for part in toc["parts"]:
        pages |= {f"{each['file']}.html": part["caption"] for each in part["chapters"]}
    return pages


def print_book(html, pages, target):
    """Print pages below the folder `html` to one PDF.

    Parameters
    ----------
    html : Path
        Where the rendered pages are.
    pages : dict of str to str or None
        Each page, relative to `html`, with the part of the book that it is in.
    target : Path
        The file to write; it is there whole or not at all.
    """
    printed = {}
    with browser.chromium() as running:
        for name in pages:
            printed[name] = _printed(running, html / name)
            print(f"printed {name}: {len(printed[name][1].pages)} pages", flush=True)
        total = sum(len(reader.pages) for _, reader in printed.values())
        numbers = _page_numbers(running, total)
    writer, starts, parts = PdfWriter(), {}, {}
    for name, (title, reader) in printed.items():
        starts[name] = len(writer.pages)
        writer.append(reader, import_outline=False)
        part = pages[name]
        if part is not None and part not in parts:
            parts[part] = writer.add_outline_item(title=part, page_number=starts[name])
        place = {"page_number": starts[name], "parent": parts.get(part)}
        writer.add_outline_item(title=title, **place)
    for page, number in zip(writer.pages, numbers.pages, strict=True):
        page.merge_page(number)
        _point_inside(page, writer, html, starts)
    _write(target, lambda partial: writer.write(partial))


def _printed(running, path):
    """The title of a page and its PDF, in the light theme and with all formulas set."""
    with browser.opened(running, path, "light") as (page, _):
        title = page.title().split(" — ")[0].removesuffix("#").strip()
        page.emulate_media(media="print", color_scheme="light")
        return title, PdfReader(io.BytesIO(page.pdf(**PAPER, tagged=True)))


def _page_numbers(running, total):
    """Pages with nothing but their numbers."""
    page = running.new_page()
    page.set_content(
        '<div style="break-after: page">&nbsp;</div>' * (total - 1) + "<div>&nbsp;</div>"
    )
    footer = NUMBER.format('<span class="pageNumber"></span>')
    pdf = page.pdf(**PAPER, display_header_footer=True, header_template=" ", footer_template=footer)
    page.close()
    return PdfReader(io.BytesIO(pdf))


def _point_inside(page, writer, html, starts):
    """Let links to other pages of the book lead to these pages of the file; drop dead ones."""
    kept = ArrayObject()
    for reference in page.get("/Annots", ArrayObject()):
        link = reference.get_object()
        address = str(link.get("/A", {}).get("/URI", ""))
        if address.startswith("file:"):
            inside = Path(unquote(urldefrag(address)[0].removeprefix("file://")))
            name = inside.relative_to(html).as_posix() if inside.is_relative_to(html) else None
            if name not in starts:
                continue
            target = writer.pages[starts[name]].indirect_reference
            del link["/A"]
            link[NameObject("/Dest")] = ArrayObject([target, NameObject("/Fit")])
        kept.append(reference)
    if "/Annots" in page:
        page[NameObject("/Annots")] = kept


def pack(root, html, target):
    """Pack the rendered pages as `html/`, and PACKED of `root`, as they are there.

    Parameters
    ----------
    root, html : Path
        The repository, and its rendered pages.
    target : Path
        The file to write; it is there whole or not at all.
    """
    files = {f"html/{path.relative_to(html).as_posix()}": path for path in html.rglob("*")}
    found = chain.from_iterable(
        [root / name, *(root / name).rglob("*")] for name in PACKED if (root / name).exists()
    )
    files |= {path.relative_to(root).as_posix(): path for path in found}

    def write(partial):
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, path in sorted(files.items()):
                hidden = any(part.startswith((".", "__pycache__")) for part in Path(name).parts)
                if path.is_file() and not hidden:
                    packed.write(path, f"opl-book/{name}")

    _write(target, write)


def _write(target, write):
    partial = target.with_name(target.name + ".partial")
    try:
        write(partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def main():
    html = BUILD / "html"
    if sys.argv[1:] not in (["pdf"], ["zip"]):
        sys.exit(__doc__)
    if not (html / "index.html").is_file():
        sys.exit("there is no rendered book; make it with `make html`")
    if sys.argv[1] == "zip":
        pack(ROOT, html, BUILD / "book.zip")
        print(BUILD / "book.zip")
        return
    if not browser.find_chromium():
        sys.exit("no Chromium found: install one, or name it in OPL_CHROMIUM")
    print_book(html, page_order(), BUILD / "book.pdf")
    print(BUILD / "book.pdf")


if __name__ == "__main__":
    main()
