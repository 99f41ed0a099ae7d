"""Logs in the text of Vowpal Wabbit, with the actions of each example (``--cb_adf``)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_number
from .candidates import check_size
from .eligible import Eligible
from .feedback import BanditFeedback
from .hashing import hashed

Features = tuple[tuple[str, float], ...]


def read_vw(
    source: str | Path | Iterable[str], *, dim_context: int = 32, dim_action_context: int = 32
) -> BanditFeedback:
    """Make a log from Vowpal Wabbit's text for contextual bandits (``--cb_adf``).

    An example is a line of ``shared`` features and one line an action, and ends with a blank line.
    The line of the action that was shown begins with ``action:cost:probability``; a reward is minus
    the cost. Features ``name`` or ``name:value`` stand after the ``|`` of their namespace, as
    ``|User age:0.3 new``; a namespace may have a weight.

    Parameters
    ----------
    source : path, or iterable of lines
    dim_context, dim_action_context : int, at least 1
        Numbers of columns to which the features of contexts and of actions are hashed, with their
        namespaces. Features that share a column cannot be told apart; twice as many columns as
        there are names is plenty.

    Returns
    -------
    BanditFeedback
        Items are actions with different features, in the order of their first lines. What was
        among the actions of an example could be shown there.

    Raises
    ------
    ValueError
        If a line is not understood, or an example has no label, several, or an action twice. The
        message names the line.
    OSError
        If the file cannot be read.

    References
    ----------
    Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009; the format:
    https://github.com/VowpalWabbit/vowpal_wabbit/wiki/Contextual-Bandit-algorithms.

    Examples
    --------
    >>> import opl_lib as opl
    >>> text = '''
    ... shared |User device=phone
    ... |Article topic=sport
    ... 0:-1:0.8 |Article topic=news
    ...
    ... shared |User device=desk
    ... 0:0:0.6 |Article topic=news
    ... |Article topic=sport
    ... '''
    >>> log = opl.read_vw(text.splitlines(), dim_context=8, dim_action_context=8)
    >>> log.action, log.reward, log.pscore
    (array([1, 1]), array([1., 0.]), array([0.8, 0.6]))
    """
    for name, width in (("dim_context", dim_context), ("dim_action_context", dim_action_context)):
        check_number(name, width, Integral, least=1, most=2**20)
    examples = list(_examples(_lines(source)))
    if not examples:
        raise ValueError("source holds no example: the log is empty.")
    number_of: dict[Features, int] = {}
    candidates = [
        [number_of.setdefault(features, len(number_of)) for _, features in each.actions]
        for each in examples
    ]
    check_size(len(examples), len(number_of))
    mask = np.zeros((len(examples), len(number_of)), dtype=bool)
    for row, (each, items) in enumerate(zip(examples, candidates, strict=True)):
        each.check_different(items)
        mask[row, items] = True
    cost, probability = np.array([each.label for each in examples]).T
    shown = [items[each.shown] for each, items in zip(examples, candidates, strict=True)]
    return BanditFeedback(
        context=_hashed([each.shared for each in examples], int(dim_context)),
        action=np.array(shown),
        reward=0.0 - cost,
        pscore=probability,
        action_context=_hashed(list(number_of), int(dim_action_context)),
        eligible=Eligible.of_mask(mask),
    )


@dataclass
class _Example:
    """The lines of one example."""

    line: int
    shared: Features = ()
    actions: list[tuple[int, Features]] = field(default_factory=list)  # with their lines
    shown: int = -1
    label: tuple[float, float] = (0.0, 0.0)

    def add(self, line: int, text: str) -> None:
        head, bar, rest = text.partition("|")
        if not bar:
            raise ValueError(
                f"source, line {line}: {_shortly(text)} has no |. Lines are 'shared |…', '|…' or "
                "'action:cost:probability |…'."
            )
        words = [word for word in head.split() if not word.startswith("'")]  # which is a tag
        features = _features(line, rest)
        if words == ["shared"]:
            if self.actions or self.shared:
                raise ValueError(
                    f"source, line {line}: 'shared' must come first in its example, and once. Is a "
                    "blank line missing before it?"
                )
            self.shared = features
            return
        if words:
            if self.shown >= 0:
                raise ValueError(
                    f"source, line {line}: the example has two labels. Is a blank line missing?"
                )
            self.label, self.shown = _label(line, words[0]), len(self.actions)
        self.actions.append((line, features))

    def check(self) -> None:
        if self.shown < 0:
            raise ValueError(
                f"source, line {self.line}: the example that begins here has no label, as "
                "'0:-1.0:0.25 |…' before the action that was shown. Drop it."
            )

    def check_different(self, items: list[int]) -> None:
        first: dict[int, int] = {}
        for (line, _), item in zip(self.actions, items, strict=True):
            if first.setdefault(item, line) != line:
                raise ValueError(
                    f"source, lines {first[item]} and {line}: two actions with the same features. "
                    "Add one that tells them apart, such as their id."
                )


def _lines(source: Any) -> Iterator[str]:
    if isinstance(source, str | os.PathLike):
        with open(source, encoding="utf-8") as file:
            yield from file
        return
    if not isinstance(source, Iterable) or isinstance(source, bytes):
        raise TypeError(f"source must be a path or lines of text; got {type(source).__name__}.")
    for number, line in enumerate(source, 1):
        if not isinstance(line, str):
            raise TypeError(f"source, line {number} must be text; got {type(line).__name__}.")
        yield line


def _examples(lines: Iterable[str]) -> Iterator[_Example]:
    example = None
    for number, line in enumerate(lines, 1):
        if line.strip():
            example = example or _Example(number)
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
        _, cost, probability = map(float, word.split(":"))
    except ValueError:
        raise ValueError(
            f"source, line {line}: the label {_shortly(word)} must be action:cost:probability, "
            "three numbers."
        ) from None
    if not (np.isfinite(cost) and 0 < probability <= 1):
        raise ValueError(
            f"source, line {line}: the label {_shortly(word)} must have a finite cost, and a "
            "probability in (0, 1]."
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
            "number."
        )
    return name, number


def _hashed(rows: list[Features], width: int) -> np.ndarray:
    names = [[name for name, _ in row] for row in rows]
    return hashed(names, width, [[value for _, value in row] for row in rows])


def _shortly(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "…")
