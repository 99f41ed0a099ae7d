"""Logs in the text of Vowpal Wabbit, with the actions of each example (``--cb_adf``)."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from pathlib import Path

import numpy as np

from ..checks import check_number, warn_user
from .candidates import check_size
from .eligible import Eligible
from .feedback import BanditFeedback
from .hashing import hashed
from .vw_text import Features, examples_of


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
        message names the line. If every example has one action, as in the text for ``--cb``.
    OSError
        If the file cannot be read.

    Warns
    -----
    UserWarning
        If most costs are 0 and no other is below: they may be rewards.

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
    examples = list(examples_of(source))
    if not examples:
        raise ValueError("source holds no example: the log is empty.")
    if all(len(each.actions) == 1 for each in examples):
        raise ValueError(
            "source: every example has one action, so that nothing was chosen. Is it the text for "
            "--cb? That for --cb_adf has a line for each action that could be shown."
        )
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
    if cost.max() > 0 and cost.min() == 0 and (cost == 0).mean() > 0.5:
        warn_user(
            "source: most costs are 0 and no other is below, so that no reward is above 0. If they "
            "are rewards, such as clicks, write them with a minus."
        )
    shown = [items[each.shown] for each, items in zip(examples, candidates, strict=True)]
    return BanditFeedback(
        context=_hashed([each.shared for each in examples], int(dim_context)),
        action=np.array(shown),
        reward=0.0 - cost,
        pscore=probability,
        action_context=_hashed(list(number_of), int(dim_action_context)),
        eligible=Eligible.of_mask(mask),
    )


def _hashed(rows: list[Features], width: int) -> np.ndarray:
    names = [[name for name, _ in row] for row in rows]
    return hashed(names, width, [[value for _, value in row] for row in rows])
