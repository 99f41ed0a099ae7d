"""The copy of the book that JupyterLab opens: nothing raw is left, and links hold."""

import re
import shutil
import subprocess
import sys

import boxes
import lab
import nbformat
import pytest
from markdown_it import MarkdownIt

import opl_lib

HTML = boxes.ROOT / "_build" / "html" / "book"
SHOWN_BY_LAB = {
    "admonition",
    "dropdown",
    "figure",
    "grid",
    "grid-item-card",
    "list-table",
    "prf:proof",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    written = tmp_path_factory.mktemp("build") / "lab"
    lab.write(written)
    return written


def prose(path):
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_no_role_is_left_and_no_directive_that_lab_does_not_know(folder):
    notebooks = sorted(folder.rglob("*.ipynb"))
    assert len(notebooks) == 1 + len(list((boxes.ROOT / "book" / "text").glob("*.md")))
    for path in notebooks:
        text = prose(path)
        assert re.findall(r"\{[a-z:]+\}`[^`]*`", text) == [], path.name
        assert set(re.findall(r"^[`:]{3,}\{([\w:-]+)\}", text, re.M)) <= SHOWN_BY_LAB, path.name
        assert not re.search(r"^\$\$ \(|^:label:|solution-(start|end)", text, re.M), path.name


def test_links_lead_to_files(folder):
    for path in [folder / "start.ipynb", *sorted((folder / "book").glob("*.ipynb"))]:
        links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)|\{figure\} (\S+)", prose(path))
        files = [link for link in map("".join, links) if re.fullmatch(r"[\w./-]+\.\w+", link)]
        assert files, path.name
        assert [link for link in files if not (path.parent / link).exists()] == [], path.name


def test_the_api_page_is_read_and_not_raw(folder):
    page = (folder / "book" / "api.md").read_text(encoding="utf-8")
    html = MarkdownIt().render(page)
    assert sorted(re.findall(r"<h3><code>(\w+)</code></h3>", html)) == sorted(opl_lib.__all__)
    texts = re.findall(r'<pre><code class="language-text">(.*?)</code></pre>', html, re.DOTALL)
    of_a_policy = [text for text in texts if text.startswith("TwoTowerPolicy.recommend(self, ")]
    assert "The probability of each, given those before it" in of_a_policy[0]
    assert "k=1, random_state=None, eligible=None)\n\nDraw a page" in of_a_policy[0]
    index = next(text for text in texts if text.startswith("ExploringPolicy("))
    assert "index=ItemIndex)" in index
    said = re.sub(r"<pre>.*?</pre>", "", html, flags=re.DOTALL)
    assert not re.search(r"\.\. \w+|:::|\{[a-z:-]+\}|~~~|&lt;", said)
    assert " at 0x" not in page


def test_a_figure_has_its_caption_and_what_the_site_folds_is_folded(folder):
    cells = nbformat.read(folder / "book" / "06_ips_and_dr.ipynb", as_version=4).cells
    drawn = [n for n, cell in enumerate(cells) if lab.figure_of(cell)]
    captions = [cells[n + 1].source for n in drawn]
    assert [text[:12] for text in captions] == ["**Fig. 6.1**", "**Fig. 6.2**", "**Fig. 6.3**"]
    for cell in cells:
        tags = set(cell.metadata.get("tags", []))
        hidden = cell.metadata.get("jupyter", {})
        assert hidden.get("source_hidden", False) == bool({"hide-input", "hide-cell"} & tags)
        assert hidden.get("outputs_hidden", False) == ("hide-cell" in tags)


@pytest.mark.skipif(not HTML.exists(), reason="there is no rendered book")
def test_numbers_are_those_of_the_site():
    found = {}
    for path in HTML.glob("*.html"):
        html = path.read_text(encoding="utf-8")
        equations = r'id="equation-(eq-[\w-]+)">\s*<span class="eqno">(\([\w.]+\))'
        found |= dict(re.findall(equations, html))
        figures = (
            r'id="(fig-[\w-]+)">(?:(?!</figure>).)*?<span class="caption-number">(Fig\. [\d.]+)'
        )
        found |= dict(re.findall(figures, html, re.DOTALL))
    del found["fig-intro-findings"]  # of the first page, which has no number
    ours = {label: name for label, name in lab.numbered().items() if label in found}
    assert len(ours) > 200
    assert ours == found


def test_what_was_changed_in_the_copy_stays(tmp_path, monkeypatch, capsys):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "start.ipynb").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["lab.py", str(tmp_path / "lab")])
    lab.main()
    assert (tmp_path / "lab" / "start.ipynb").read_text() == "mine"
    assert "as you left it" in capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
def test_clean_takes_what_was_made_and_leaves_the_copy(tmp_path):
    for name in ("Makefile", "pyproject.toml", "requirements.txt"):
        shutil.copy2(boxes.ROOT / name, tmp_path)

    def make(*arguments):
        command = ["make", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, text=True, capture_output=True)

    (written,) = re.findall(r"tools/lab\.py (\S+)", make("--dry-run", "lab").stdout)
    for folder in ("_build", written):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "start.ipynb").write_text("mine")
    for folder in ("tools", f"{written}/book"):
        (tmp_path / folder / "__pycache__").mkdir(parents=True)
    make("clean")
    assert not (tmp_path / "_build").exists()
    kept = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("__pycache__")]
    assert kept == [f"{written}/book/__pycache__"]
    assert (tmp_path / written / "start.ipynb").read_text() == "mine"
    ignored = (boxes.ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {f"/{written}/", f"/{written}.partial/"} <= set(ignored)


def test_an_unknown_label_is_an_error():
    with pytest.raises(KeyError, match="eq-gone"):
        lab.plain("{eq}`eq-gone`")
