"""What the chapters' boxes "At a glance" say, in the order of _toc.yml.

The first page is made of it: a chapter that is added to _toc.yml is there by itself.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"\[[^\]]*\]\((\d\d)_\w+\.ipynb\)")
_MINUTES = re.compile(r"(\d+) minutes? to read(?:, (\d+) without the code)?")


@dataclass(frozen=True)
class Chapter:
    """A chapter, by its slug, such as "02_first_policy"."""

    slug: str
    title: str
    needs: tuple[int, ...]  # numbers of the chapters that its box asks for
    minutes: int
    without_code: int | None  # minutes; None if the box does not say

    @property
    def number(self):
        return int(self.slug[:2])


def parts():
    """The chapters of each part, by its caption."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    slugs = {
        part["caption"]: [each["file"].removeprefix("book/") for each in part["chapters"]]
        for part in toc["parts"]
    }
    return {
        caption: [chapter(slug) for slug in found]
        for caption, found in slugs.items()
        if all(re.match(r"\d\d_", slug) for slug in found)
    }


def chapter(slug):
    """The chapter called `slug`, of its text."""
    path = ROOT / "book" / "text" / f"{slug}.md"
    return read_chapter(slug, path.read_text(encoding="utf-8"))


def read_chapter(slug, text):
    """The chapter that a text describes.

    Raises
    ------
    ValueError
        If it has no title, or if its box does not say what it needs or how long it takes.
    """
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    needs = re.search(r"^\*\*You need\*\* (.+)$", text, re.MULTILINE)
    time = re.search(r"^\*\*Time\*\* (.+)$", text, re.MULTILINE)
    minutes = _MINUTES.search(time[1]) if time else None
    if not (title and needs and minutes):
        raise ValueError(
            f"book/text/{slug}.md: its box needs a line '**You need** …' and a line "
            "'**Time** N minutes to read, …', under a title '# …'."
        )
    of_all, of_prose = minutes.groups()
    return Chapter(
        slug, title[1], numbers(needs[1]), int(of_all), int(of_prose) if of_prose else None
    )


def numbers(needs):
    """Numbers of the chapters that are asked for, not of those that help or follow.

    What is asked for is in the first clause: up to a full stop, a semicolon or a colon.

    Examples
    --------
    >>> numbers("chapters [3](03_a.ipynb) to [5](05_b.ipynb); [chapter 6](06_c.ipynb) helps.")
    (3, 4, 5)
    """
    marked = _LINK.sub(lambda link: f"<{int(link[1])}>", needs)
    clause = re.split(r"[.;:](?=\s|$)", marked)[0]
    spans = re.findall(r"<(\d+)>(?: to <(\d+)>)?", clause)
    return tuple(n for first, last in spans for n in range(int(first), int(last or first) + 1))


def nearest(chapters):
    """For each number, what must be read right before: needs that no other need needs already."""
    needs = {each.number: each.needs for each in chapters}

    def all_of(number):
        found = set(needs.get(number, ()))
        return found.union(*map(all_of, found))

    return {
        number: [one for one in own if not any(one in all_of(other) for other in own)]
        for number, own in needs.items()
    }


def hours(minutes):
    """Minutes as people say them.

    Examples
    --------
    >>> hours(45), hours(605)
    ('45 minutes', '10 hours')
    """
    return f"{minutes} minutes" if minutes < 90 else f"{round(minutes / 60)} hours"
