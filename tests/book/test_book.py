"""Texts, notebooks, table of contents, API page: the parts of the book agree with each other."""

import base64
import io
import re

import chapters
import nbformat
import numpy as np
import pandas as pd
import public_names
import pytest
import yaml
from PIL import Image

import opl_lib
from opl_lib.objectives import registry, weighted

ROOT, BOOK = chapters.ROOT, chapters.BOOK
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXTS = chapters.texts()
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
IN_A_ROW = ("next chapter", "go on", "next")  # to the chapter that follows


def slug(path):
    return path.stem


def toc_files():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]


def essence(notebook):
    """What a text determines: not the outputs."""
    return [
        (cell.cell_type, cell.source, sorted(cell.metadata.get("tags", [])))
        for cell in notebook.cells
    ]


@pytest.mark.parametrize("text", TEXTS, ids=slug)
def test_notebook_is_made_from_its_text(text):
    notebook = nbformat.read(BOOK / f"{text.stem}.ipynb", as_version=4)
    assert essence(notebook) == essence(chapters.read_text(text)), (
        f"run: make notebooks CHAPTERS={text.stem}"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=slug)
def test_notebook_was_run_from_the_top_and_is_small(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any("execution" in cell.metadata for cell in code)
    assert path.stat().st_size < 500_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=slug)
def test_figures_are_stored_with_a_palette_and_at_200_dots_an_inch(path):
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                figure = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
                assert figure.mode == "P", "run: make notebooks"
                assert figure.info["dpi"][0] == pytest.approx(200, abs=1), "run: make notebooks"


def test_a_palette_keeps_rare_colours():
    """A shaded plane of more than 256 colours, and one red pixel."""
    plane = np.indices((64, 64)).transpose(1, 2, 0) * 3
    image = np.dstack([plane, np.full((64, 64), 90)]).astype(np.uint8)
    image[5, 7] = (255, 0, 0)
    png = io.BytesIO()
    Image.fromarray(image).save(png, "png")
    small = Image.open(io.BytesIO(chapters.with_palette(png.getvalue())))
    again = np.asarray(small.convert("RGB")).astype(int)
    assert again[5, 7].tolist() == [255, 0, 0]
    assert np.sqrt(np.square(again - image).sum(axis=2)).max() < 12


def test_texts_notebooks_and_toc_name_the_same_chapters():
    numbered = [file for file in toc_files() if re.match(r"book/\d\d_", file)]
    assert numbered == [f"book/{path.stem}" for path in TEXTS]
    assert [path.stem for path in NOTEBOOKS] == [path.stem for path in TEXTS]


@pytest.mark.parametrize("page", [*TEXTS, *BOOK.glob("*.md")], ids=slug)
def test_a_link_to_a_chapter_says_its_number(page):
    written = page.read_text(encoding="utf-8")
    for said, number in re.findall(r"\[([^][\n]*)\]\((\d\d)_\w+\.ipynb\)", written):
        assert said.lower() in (f"chapter {int(number)}", str(int(number)), *IN_A_ROW)
    for number, at in re.findall(r"\{ref\}`chapter (\d+) <([\w-]+)>`", written):
        assert f"({at})=" in next(BOOK.glob(f"text/{number:0>2}_*.md")).read_text(encoding="utf-8")


@pytest.mark.parametrize("text", TEXTS, ids=slug)
def test_code_fits_the_page(text):
    cells = [cell for cell in chapters.read_text(text).cells if cell.cell_type == "code"]
    lines = [line for cell in cells for line in cell.source.splitlines()]
    assert [line for line in lines if len(line) > 78] == []


def test_a_log_leads_to_a_decision_in_twelve_lines():
    cells = chapters.read_text(BOOK / "text" / "23_your_log.md").cells
    (cell,) = [cell for cell in cells if "found = opl.learn(log)" in cell.source]
    assert cell.source.startswith("clicks = pd.read_csv")
    assert len([line for line in cell.source.splitlines() if line.strip()]) <= 12


def test_every_page_is_in_the_toc():
    pages = {f"book/{path.stem}" for path in BOOK.glob("*.md")} - {"book/intro"}
    assert pages <= set(toc_files())


def test_every_public_name_is_on_the_api_page():
    page = public_names.page((BOOK / "api.md").read_text(encoding="utf-8"))
    documented = re.findall(
        r"^\.\. auto(?:class|function|exception|data):: (\w+)$", page, re.MULTILINE
    )
    assert sorted(documented) == sorted(opl_lib.__all__)


@pytest.mark.parametrize("name", ["_config.yml", "book/_static/custom.css"])
def test_the_site_is_configured_without_remote_hosts(name):
    assert "//" not in (ROOT / name).read_text(encoding="utf-8")


def test_readme_samples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, *others = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(compile(first, "README.md", "exec"), names)
    printed = re.sub(r" in [\d.,]+ s\n", " in … s\n", capsys.readouterr().out).splitlines()
    (shown,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    assert [line for line in shown.splitlines() if line not in [*printed, "…"]] == []
    rng = np.random.default_rng(0)
    items = {"id": ["a", "b", "c"], "price": [0.1, -1.0, 1.0]}
    names["items"] = pd.DataFrame({**items, "on_sale": pd.NaT, "sold_out": pd.NaT})
    names["clicks"] = pd.DataFrame(
        {
            "age": rng.integers(18, 80, 400),
            "country": rng.choice(["DE", "JP", None], 400),
            "is_new": rng.random(400) < 0.5,
            "signup": pd.to_datetime("2024-01-01")
            + pd.to_timedelta(rng.integers(99, size=400), "D"),
            "item_id": rng.choice(["a", "b", "c"], 400),
            "clicked": rng.integers(2, size=400),
            "probability_shown": 1 / 3,
            "time": pd.date_range("2024-05-01", periods=400, freq="h"),
        }
    )
    names |= {"visitors": names["clicks"][:5], "items_of_today": names["items"]}
    for sample in others:
        exec(compile(sample, "README.md", "exec"), names)
    assert "effective sample size" in capsys.readouterr().out
    assert (tmp_path / "policy.pt").is_file()


@pytest.fixture
def unregistered():
    """What a test adds to the library's objectives is gone after it."""
    before = dict(registry.OBJECTIVES)
    yield
    registry.OBJECTIVES.clear()
    registry.OBJECTIVES.update(before)


def test_the_first_objective_and_estimator_of_a_newcomer_work(unregistered):
    in_library, outside = re.findall(r"```python\n(.*?)```", CONTRIBUTING, re.DOTALL)
    module = {**vars(weighted), "__all__": []}
    exec(compile(in_library, "CONTRIBUTING.md", "exec"), module)
    opl_lib.check_objective(module["powered_ips"](0.3))
    log = opl_lib.SyntheticWorld(n_actions=4, random_state=0).sample(200)
    policy = opl_lib.OffPolicyLearner("powered_ips", epochs=1).fit(log).policy_
    names = {"opl": opl_lib, "policy": policy, "log": log}
    exec(compile(outside, "CONTRIBUTING.md", "exec"), names)
    w = policy.predict_proba(log.context, log.action_context)[np.arange(200), log.action]
    expected = (np.sqrt(w / log.pscore) * log.reward).mean()
    assert names["table"].policy_value["powered"] == pytest.approx(expected, rel=1e-5)


def test_what_decides_the_pages_has_another_fingerprint_if_it_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    files = [tmp_path / name for name in ("CITATION.cff", "book/text/one.md", "opl_lib/two.py")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("before")
    before = chapters.fingerprint()
    for beside in ("book/__pycache__", "tests", ".git"):
        (tmp_path / beside).mkdir()
        (tmp_path / beside / "file").write_text("of no page")
    assert chapters.fingerprint() == before
    for file in files:
        file.write_text("after")
        assert chapters.fingerprint() != before
        file.unlink()
        assert chapters.fingerprint() != before
        file.with_suffix(".moved").write_text("before")
        assert chapters.fingerprint() != before
        file.with_suffix(".moved").rename(file)
        assert chapters.fingerprint() == before
