"""The first page: its numbers from results/, its lists and map from _toc.yml and the chapters.

In book/intro.md, `{{ name }}` stands for a number, and a line `% name …` for what a function of
this module makes of it.
"""

import re
import sys

import boxes
import pictures

ROOT = boxes.ROOT
sys.path.insert(0, str(ROOT / "book"))  # the experiments, which know their tables

import matplotlib.pyplot as plt  # noqa: E402
import nbformat  # noqa: E402
import yaml  # noqa: E402
from experiments import read_table  # noqa: E402
from experiments.compare import mean_and_interval  # noqa: E402

from opl_lib.plotting import color_of  # noqa: E402

SERVED = {"softmax": "served as a softmax", "greedy": "served greedily"}
LEARNERS = {"ips": "IPS", "dr": "DR", "regression": "regression"}


def page(text, folder, inline=True):
    """The first page, of the text of book/intro.md; its pictures are written to `folder`.

    With `inline`, the drawings are part of the page, so that they take its theme and have links;
    else they are files, for what shows Markdown only.
    """
    parts = boxes.parts()
    chapters = [each for part in parts.values() for each in part]
    drawn = {
        "loop": pictures.loop({each.number for each in chapters}),
        "map": pictures.chapter_map(chapters),
    }
    for name, svg in drawn.items():
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    draw_findings(folder / "findings.png")

    def block(line):
        name, _, rest = line[1].partition(" ")
        if name in drawn:
            return _picture(name, drawn[name], folder, inline)
        makers = {"part": part_line, "path": path_line, "cite": citation}
        if name not in makers:
            raise ValueError(f"book/intro.md: '% {name}' is none of {[*drawn, *makers]}.")
        return makers[name](rest, parts)

    text = re.sub(r"^% (.+)$", block, text, flags=re.MULTILINE)
    values = {**numbers(), "total": total_time(chapters), "chapters": str(len(chapters))}
    if missing := sorted(set(re.findall(r"\{\{ (\w+) \}\}", text)) - set(values)):
        raise ValueError(f"book/intro.md: no number is called {missing[0]}; known: {[*values]}.")
    missing = [caption for caption in parts if f"**{caption}**" not in text]
    if missing:
        raise ValueError(f"book/intro.md: write a line '% part {missing[0]}: what it is about'.")
    return re.sub(r"\{\{ (\w+) \}\}", lambda name: values[name[1]], text)


def _picture(name, svg, folder, inline):
    about = re.search(r'aria-label="([^"]*)"', svg)[1]
    if inline:
        return f'```{{raw}} html\n<div class="picture-box">\n{svg}</div>\n```'
    return f"![{about}]({folder.name}/{name}.svg)"


def part_line(rest, parts):
    """A part: its caption, what it is about, and its chapters; nothing if _toc.yml has no such."""
    caption, _, about = rest.partition(": ")
    if caption not in parts:
        return ""
    links = ", ".join(f"[{each.number}]({each.slug}.ipynb)" for each in parts[caption])
    return f"- **{caption}** (chapter{'s' * (len(parts[caption]) > 1)} {links}): {about}"


def path_line(rest, parts):
    """Chapters in the order in which to read them, with the time that they take."""
    slugs = rest.split()
    chapters = [boxes.chapter(slug) for slug in slugs]
    links = [f"[{each.number} {each.title}]({each.slug}.ipynb)" for each in chapters]
    minutes = sum(each.without_code or each.minutes for each in chapters)
    return f"{', then '.join(links)}: {boxes.hours(minutes)}."


def total_time(chapters):
    """How long the book takes, by the chapters' own boxes."""
    text = boxes.hours(sum(each.minutes for each in chapters))
    if all(each.without_code for each in chapters):
        text += f", or {boxes.hours(sum(each.without_code for each in chapters))} without the code"
    return text


def citation(rest, parts):
    """How to cite the book, of CITATION.cff."""
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    authors = ", ".join(each["name"] for each in said["authors"])
    return f"> {authors}. *{said['title']}*. Version {said['version']}."


def shares(served):
    """What each learner earned in the article's worlds, as a share of what can be gained.

    A data frame, one row a seed: 0 is the logging policy, 1 the optimum, with the longest logs.
    """
    table = read_table(ROOT / "results" / "figure1_intended.csv")
    table = table[table["n_rounds"] == table["n_rounds"].max()]
    gain = (table[f"{served}_value"] - table["logging"]) / (table["optimum"] - table["logging"])
    return table.assign(share=gain).pivot(index="seed", columns="objective", values="share")


def numbers():
    """The numbers of the findings, as text."""
    found = {}
    for served in SERVED:
        table = shares(served)
        for name in LEARNERS:
            mean, half = mean_and_interval(table[name])
            found[f"{name}_{served}"] = f"{100 * mean:.0f} ± {100 * half:.0f} %"
        found["worlds"] = str(len(table))
    rounds = read_table(ROOT / "results" / "figure1_intended.csv")["n_rounds"].max()
    found["rounds"] = f"{rounds:,}"

    shop = read_table(ROOT / "results" / "shop.csv")
    for name in ("learn", "logging", "best_constant_item", "optimum"):
        mean, half = mean_and_interval(1000 * shop[name])
        found[f"shop_{name}"] = f"{mean:.1f} ± {half:.1f}"
    found["shops"] = str(len(shop))
    worse = (shop["decision"] == "serve") & (shop["learn"] < shop["logging"])
    found["shops_worse"] = str(worse.sum()) if worse.any() else "none"

    rehearsal = read_table(ROOT / "results" / "rehearsal.csv")
    hard = rehearsal[rehearsal["world"] == "good logging"]
    hard = hard[hard["n_rounds"] == hard["n_rounds"].min()]
    found["logs"] = str(len(hard))
    found["worse_by_estimate"] = str((hard["naive_difference"] < 0).sum())
    worse = (hard["difference"] < 0).sum()
    found["worse_by_bound"] = str(worse) if worse else "none"
    return found


def draw_findings(path):
    """The figure of the first finding: means over worlds with 95 % intervals."""
    with plt.rc_context({"font.size": 11}):
        fig, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
        for y, served in enumerate(SERVED):
            table = shares(served)
            for shift, (name, marker) in enumerate(zip(LEARNERS, "os^", strict=True)):
                mean, half = mean_and_interval(table[name])
                at = (100 * mean, 0.22 * (shift - 1) + y)
                style = {"color": color_of(name), "marker": marker, "ms": 8, "capsize": 3}
                ax.errorbar(*at, xerr=100 * half, label=LEARNERS[name] if y == 0 else None, **style)
        ax.set_yticks(range(len(SERVED)), SERVED.values())
        ax.set(xlim=(0, 100), ylim=(-0.5, 1.5), xlabel="% of the way from logging to the optimum")
        ax.invert_yaxis()
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        fig.savefig(path, dpi=200, metadata={"Software": None})
        plt.close(fig)


def start_notebook(folder, plain):
    """Write the first page as a notebook of one cell; `plain` writes out what only a site resolves.

    Its links lead to the folder book beside it.
    """
    intro = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    text = page(intro.replace("_static/", ""), folder, inline=False)
    text = plain(text).replace(f"({folder.name}/", "(")
    text = re.sub(r"\]\((?=[\w/]+\.(?:ipynb|md)\))", "](book/", text)
    text = re.sub(
        r"\[\]\([^)]*?(\d\d)_\w+\.ipynb\)", lambda m: f"[chapter {int(m[1])}]{m[0][2:]}", text
    )
    cell = nbformat.v4.new_markdown_cell(text, id="start")
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / "start.ipynb")
