"""The text of Vowpal Wabbit, example by example (``--cb_adf``)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Features = tuple[tuple[str, float], ...]
_COMMA = ", with a decimal point."


@dataclass
class Example:
    """The lines of one example."""

    line: int
    shared: Features = ()
    has_shared: bool = False
    actions: list[tuple[int, Features]] = field(default_factory=list)  # with their lines
    shown: int = -1
    label: tuple[float, float] = (0.0, 0.0)

    def add(self, line: int, text: str) -> None:
        """Take another line."""
        head, bar, rest = text.partition("|")
        if not bar:
            raise ValueError(
                f"source, line {line}: {_shortly(text)} has no |. Lines are 'shared |…', '|…' or "
                "'action:cost:probability |…'."
            )
        words = [word for word in head.split() if not word.startswith("'")]  # which is a tag
        if len(words) > 1 and not head[-1].isspace():
            words.pop()  # so is what touches the |
        if len(words) > 1:
            raise ValueError(
                f"source, line {line}: {_shortly(head.strip())} is more than 'shared' or one label "
                "'action:cost:probability' before the |."
            )
        features = _features(line, rest)
        if words == ["shared"]:
            if self.actions or self.has_shared:
                raise ValueError(
                    f"source, line {line}: 'shared' must come first in its example, and once. Is a "
                    "blank line missing before it?"
                )
            self.shared, self.has_shared = features, True
            return
        if words:
            if self.shown >= 0:
                raise ValueError(
                    f"source, line {line}: the example has two labels. Is a blank line missing, or "
                    "is it the text for --cb, without the actions of a round?"
                )
            self.label, self.shown = _label(line, words[0]), len(self.actions)
        self.actions.append((line, features))

    def check(self) -> None:
        """Raise unless an action was shown."""
        if self.shown < 0:
            raise ValueError(
                f"source, line {self.line}: the example that begins here has no label, as "
                "'0:-1.0:0.25 |…' before the action that was shown. Drop it."
            )

    def check_different(self, items: list[int]) -> None:
        """Raise if two actions are one item, of the items that they are."""
        first: dict[int, int] = {}
        for (line, _), item in zip(self.actions, items, strict=True):
            if first.setdefault(item, line) != line:
                raise ValueError(
                    f"source, lines {first[item]} and {line}: two actions with the same features. "
                    "Add one that tells them apart, such as their id."
                )


def _lines(source: Any) -> Iterator[str]:
    if isinstance(source, str) and ("|" in source or "\n" in source):
        raise ValueError("source is text: pass text.splitlines(), or the path of a file.")
    if isinstance(source, str | os.PathLike):
        with open(source, encoding="utf-8-sig") as file:
            try:
                yield from file
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{os.fspath(source)} is no text in UTF-8: {error}. Unpack it if it is "
                    "compressed; else convert it, as with iconv -f LATIN1 -t UTF-8."
                ) from error
        return
    if not isinstance(source, Iterable) or isinstance(source, bytes):
        raise TypeError(f"source must be a path or lines of text; got {type(source).__name__}.")
    for number, line in enumerate(source, 1):
        if not isinstance(line, str):
            raise TypeError(f"source, line {number} must be text; got {type(line).__name__}.")
        if "\n" in line.rstrip():
            raise ValueError(f"source, line {number} holds several lines: pass text.splitlines().")
        yield line


def examples_of(source: Any) -> Iterator[Example]:
    """The examples of a file or of lines, as they come."""
    example = None
    for number, line in enumerate(_lines(source), 1):
        if line.strip():
            example = example or Example(number)
            example.add(number, line.strip())
        elif example:
            example.check()
            yield example
            example = None
    if example:
        example.check()
        yield example


def _label(line: int, word: str) -> tuple[float, float]:
    """Cost and probability."""
    try:
        parts = word.split(":")
        _, cost, probability = int(parts[0]), *map(float, parts[1:])
    except ValueError:
        raise ValueError(
            f"source, line {line}: the label {_shortly(word)} must be action:cost:probability, a "
            f"whole number and two numbers{_COMMA if ',' in word else '.'}"
        ) from None
    if not (np.isfinite(cost) and 0 < probability <= 1):
        raise ValueError(
            f"source, line {line}: the label {_shortly(word)} must have a finite cost, and a "
            "probability in (0, 1]; percent are divided by 100, and a weight is 1 / probability."
        )
    return cost, probability


def _features(line: int, rest: str) -> Features:
    """Features with their namespaces and values, in an order that does not depend on the line."""
    found: dict[str, float] = {}
    for part in rest.split("|"):
        words = part.split()
        space, weight = "", 1.0
        if words and not part[0].isspace():
            space, weight = _pair(line, words.pop(0))
        for word in words:
            name, value = _pair(line, word)
            found[f"{space}^{name}"] = found.get(f"{space}^{name}", 0.0) + weight * value
    return tuple(sorted(found.items()))


def _pair(line: int, word: str) -> tuple[str, float]:
    name, colon, value = word.partition(":")
    try:
        number = float(value) if colon else 1.0
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise ValueError(
            f"source, line {line}: {_shortly(word)} must be a name, or name:value with a finite "
            f"number{_COMMA if ',' in value else '.'} A name has no colon: replace it."
        )
    return name, number


def _shortly(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "…")
