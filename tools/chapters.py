"""Run the chapters and render the book; the Makefile's targets call this.

    chapters.py notebooks [NN_slug ...]   book/text/*.md -> book/*.ipynb with fresh outputs
    chapters.py book                      run every chapter in a copy of the sources, render that
    chapters.py html                      render the outputs stored in book/*.ipynb

A chapter is edited as MyST text and never as a notebook: text goes to notebook, one way.
"""

import argparse
import base64
import hashlib
import io
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbstripout import strip_output
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
BUILD = ROOT / "_build"
CELL_TIMEOUT = 600  # seconds

# What differs between two runs, or two machines, without a change in the text.
VOLATILE = ["cell.metadata.execution", "metadata.jupytext", "metadata.language_info.version"]


def texts(slugs=()):
    """Paths of the texts of the chapters called `slugs`, or of all chapters."""
    paths = {path.stem: path for path in sorted((BOOK / "text").glob("*.md"))}
    if unknown := sorted(set(slugs) - set(paths)):
        sys.exit(f"no such chapter: {', '.join(unknown)}. Known are: {', '.join(paths)}")
    return [paths[slug] for slug in slugs or paths]


def read_text(path):
    """The notebook, without outputs, that the text at `path` describes."""
    notebook = jupytext.read(path, fmt="md:myst")
    return clean(notebook)


def clean(notebook):
    """Remove what is volatile, so that editing a word changes a line of the stored notebook."""
    # The execution counts stay: after a run from the top they are 1, 2, … and nbval, which compares
    # the outputs, holds a cell without a count for one that was not run.
    return strip_output(
        notebook, keep_output=True, keep_count=True, keep_id=False, extra_keys=VOLATILE
    )


def with_small_figures(notebook):
    """Store every figure with a palette: a third of the size, and no colour that the eye misses."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                size = output.get("metadata", {}).get("image/png", {})
                png = with_palette(base64.b64decode(data["image/png"]), size.get("width"))
                data["image/png"] = base64.b64encode(png).decode()
    return notebook


def with_palette(png, width=None):
    """The opaque image with 256 colours: its 64 most frequent, then always the furthest from all.

    `width` is how many pixels of a screen with 100 of them to the inch the image shall take.

    Rare colours are as well off as common ones, which is not so in palettes that average.
    """
    image = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    colours, place, times = np.unique(
        image.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True
    )
    colours = colours.astype(int)
    palette = list(np.argsort(-times, kind="stable")[:64])
    distance = np.square(colours[:, None] - colours[palette]).sum(axis=2)
    nearest, distance = distance.argmin(axis=1), distance.min(axis=1)
    while len(palette) < min(256, len(colours)):
        palette.append(distance.argmax())
        to_new = np.square(colours - colours[palette[-1]]).sum(axis=1)
        nearest[to_new < distance] = len(palette) - 1
        distance = np.minimum(distance, to_new)
    indexed = nearest[place.ravel()].reshape(image.shape[:2]).astype(np.uint8)
    small = Image.fromarray(indexed, mode="P")
    small.putpalette(colours[palette].astype(np.uint8).tobytes())
    stored = io.BytesIO()
    dpi = 100 * image.shape[1] / width if width else 100
    small.save(stored, "png", optimize=True, dpi=(dpi, dpi))
    return stored.getvalue()


def run_chapter(text, folder):
    """Execute the chapter `text` in `folder` and write its notebook there; return the seconds."""
    start = time.perf_counter()
    notebook = read_text(text)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        coalesce_streams=True,  # else the cuts between prints depend on timing
        # No advice on sockets among the progress lines; figures for screens of twice the density.
        extra_arguments=["--log-level=ERROR", "--InlineBackend.figure_formats={'retina'}"],
    )
    client.execute()
    nbformat.write(with_small_figures(clean(notebook)), folder / f"{text.stem}.ipynb")
    return time.perf_counter() - start


def run_chapters(chapters, folder):
    """Execute chapters into `folder`, two at a time; stop at the first that fails."""
    workers = min(2, os.cpu_count() or 1)
    print(f"running {len(chapters)} chapters, {workers} at a time", flush=True)
    with ThreadPoolExecutor(workers) as pool:
        runs = [pool.submit(run_chapter, text, folder) for text in chapters]
        for number, (text, run) in enumerate(zip(chapters, runs, strict=True), start=1):
            print(f"[{number}/{len(chapters)}] {text.stem} … ", end="", flush=True)
            try:
                print(f"{run.result():.0f} s", flush=True)
            except CellExecutionError as error:
                pool.shutdown(wait=False, cancel_futures=True)
                sys.exit(f"failed\n{error}\n{text.relative_to(ROOT)}: a cell failed, see above")


def copy_sources():
    """Copy what the book is rendered from to a fresh `_build/source`, and return its path.

    The chapters' experiments go with it: a notebook finds them beside itself.
    """
    import landing  # here, as both import torch: where nothing has changed, nobody waits for it
    import public_names

    source = BUILD / "source"
    shutil.rmtree(source, ignore_errors=True)
    ignored = shutil.ignore_patterns("text", ".*", "__pycache__")
    shutil.copytree(BOOK, source / "book", ignore=ignored)
    api = source / "book" / "api.md"
    api.write_text(public_names.page(api.read_text(encoding="utf-8")), encoding="utf-8")
    intro = source / "book" / "intro.md"
    text = landing.page(intro.read_text(encoding="utf-8"), source / "book" / "_static")
    intro.write_text(text, encoding="utf-8")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy2(ROOT / name, source)
    for name in ("results", "examples"):  # read by the chapters as ../results, ../examples
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
    return source


def fingerprint():
    """SHA-256 of the names and bytes of all that decides what the pages look like."""
    found = [path for path in sorted(ROOT.iterdir()) if path.is_file()]  # citation, versions, …
    for folder in ("book", "examples", "opl_lib", "results", "tools"):
        found += sorted(path for path in (ROOT / folder).rglob("*") if path.is_file())
    names = [path.relative_to(ROOT) for path in found]
    digest = hashlib.sha256()
    for name in names:
        if not any(part == "__pycache__" or part.startswith(".") for part in name.parts):
            content = hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
            digest.update(f"{name.as_posix()} {content}\n".encode())
    return digest.hexdigest()


def render(source):
    """Render the book from `source` to `_build/html`; any warning is an error."""
    # From scratch: a page read from a cache is not checked again, and a page that is gone stays.
    for stale in ("html", ".doctrees"):
        shutil.rmtree(BUILD / stale, ignore_errors=True)
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    strict = ["-W", "-n", "--keep-going", "-q"]
    command = [jupyter_book, "build", *strict, "--path-output", ROOT, source]
    found = [str(ROOT / "tools"), os.environ.get("PYTHONPATH", "")]  # tools/finishing.py is there
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, found))}
    done = subprocess.run(command, env=environment)
    if done.returncode:
        sys.exit("the book has warnings or errors, see above")
    print("open _build/html/index.html")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    notebooks = commands.add_parser("notebooks", help="execute texts into book/*.ipynb")
    notebooks.add_argument("slugs", nargs="*", metavar="NN_slug", help="default: all chapters")
    commands.add_parser("book", help="execute every chapter afresh and render the book")
    commands.add_parser("html", help="render the stored outputs")
    args = parser.parse_args()

    if args.command == "notebooks":
        run_chapters(texts(args.slugs), BOOK)
        return
    rendered, of = BUILD / "html" / ".rendered", fingerprint()
    if args.command == "html" and rendered.is_file() and rendered.read_text() == of:
        print("open _build/html/index.html: nothing has changed since it was rendered")
        return
    source = copy_sources()
    if args.command == "book":
        run_chapters(texts(), source / "book")
    render(source)
    if args.command == "html":  # not of a book whose outputs are not the stored ones
        rendered.write_text(of)


if __name__ == "__main__":
    main()
