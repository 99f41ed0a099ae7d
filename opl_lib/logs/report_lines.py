"""Lines of the card of a log: how many rounds, of whom, with what on offer and reward."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .balance import balanced_features
from .report_facts import FEW_CARRIERS, LOOK, MOST_GROUPS, WRONG, Facts, Line, is_far, line, short
from .report_tail import tail_line
from .report_times import drift_line, repeated, returning_line, time_line
from .report_totals import set_sizes

_TOLD = 0.95  # the correlation of a feature with the reward that no feature has by itself


def lines_of_rounds(of: Facts) -> Iterator[Line]:
    """Who came, when, and what was on offer."""
    yield _rounds(of)
    yield _users(of)
    if of.log.position is not None:
        yield _slots(of, of.log.position)
    yield _items(of)
    if of.log.timestamp is not None:
        yield time_line(of.log.timestamp, of.totals.times)
        if of.log.user_id is not None and of.order is not None:
            yield returning_line(of, of.order)


def lines_of_rewards(of: Facts) -> Iterator[Line]:
    """What came of it."""
    yield _rewards(of)
    yield _carriers(of)
    if (tail := tail_line(of)) is not None:
        yield tail
    if of.order is not None:
        yield drift_line(of, of.order)


def _rounds(of: Facts) -> Line:
    n_twice = round(repeated(of) * of.factor)
    return line(
        "rounds",
        {"rounds": of.n_rounds},
        f"{of.n_rounds:,}",
        "each once",
        [
            (
                n_twice > 0,
                LOOK,
                f"{n_twice:,} rounds are there twice, with the same visitor, time and item: a file "
                "that was read twice, a join that doubles rows, or a page that was loaded again "
                "and showed what had been drawn. They count as new evidence, and are none.",
                "Drop them before the log is made, as with frame.drop_duplicates().",
            )
        ],
    )


def _users(of: Facts) -> Line:
    if of.log.user_id is None:
        return line("users", {"users": np.nan}, "not known: rounds are taken to be independent")
    rounds = np.bincount(of.units.index)
    n, n_most = round(len(rounds) * of.factor), max(rounds.max(), of.most_rounds)
    each, most = of.n_rounds / n, n_most / of.n_rounds
    effective = of.effective_size(np.ones(of.log.n_rounds))
    return line(
        "users",
        {"users": n, "rounds_a_user": each, "most_rounds": n_most},
        f"{n:,}, with {short(each)} rounds each, at most {n_most:,}",
        "at least 30, none with most of the rounds",
        [
            (
                most > 0.05 and most > 10 / n,
                LOOK,
                f"one user has {most:.0%} of the rounds: a robot, or the id of all who have none.",
                "Drop these rounds, or give each its own id.",
            ),
            (
                effective < 30 and of.n_rounds >= 30,
                LOOK,
                f"these are worth {short(effective)} users of equally many rounds, too few for "
                "standard errors.",
                "Log more users. If the column holds something else, such as a country, leave it "
                "out.",
            ),
        ],
    )


def _slots(of: Facts, position: np.ndarray) -> Line:
    slot, place = np.unique(position, return_inverse=True)
    numbers = {"slots": len(slot), "first": slot[0], "last": slot[-1]}
    text = f"{len(slot):,}, from {slot[0]} to {slot[-1]}"
    differ = False
    if 1 < len(slot) <= MOST_GROUPS:
        rate, distance = of.by_group(place)
        differ = is_far(distance) and not _knows(of.log.context, place)
        numbers |= {"least_reward": rate.min(), "most_reward": rate.max()}
        text += f"; mean reward {short(rate.min())} to {short(rate.max())}"
    return line(
        "slots",
        numbers,
        text,
        "from 0, with like rewards, or known to the context",
        [
            (
                slot[0] > 0,
                LOOK,
                f"no round has slot 0: the log counts from {slot[0]}, or the first slots are "
                "missing.",
                f"Pass position - {slot[0]} if it is the first.",
            ),
            (
                differ,
                LOOK,
                "some slots are seen more than others, and learning and evaluation take all rounds "
                "alike: what is often shown high up looks better than it is.",
                "Make the slot a column of the context, or take the rounds of one slot, "
                "log[log.position == 0].",
            ),
        ],
    )


def _knows(context: np.ndarray, place: np.ndarray) -> bool:
    """Whether features tell the slots of all rounds, numbered from 0, apart."""
    rows = np.unique(place, return_index=True)[1]
    of_slot = (context == context[rows][place]).all(axis=0)  # features that are the slot's alone
    return len(np.unique(context[rows][:, of_slot], axis=0)) == len(rows)


def _items(of: Facts) -> Line:
    m, n_of_set = of.log.n_actions, of.totals.n_of_set
    n, n_of_set = set_sizes(of.log)[n_of_set > 0], n_of_set[n_of_set > 0]
    mean = n @ n_of_set / of.n_rounds
    numbers = {"items": m, "on_offer": mean, "least": n.min(), "most": n.max()}
    text = f"{m:,}, all of them on offer"
    if of.log.eligible is not None:
        changes = _changes(of, of.log.eligible.number)
        numbers |= {"sets": len(n), "changes": changes}
        text = (
            f"{m:,}, with {n.min():,} to {n.max():,} on offer in a round (mean {short(mean)}); "
            f"{len(n):,} sets, {changes:,} changes"
        )
    lonely, come_and_go = n_of_set[n == 1].sum() / of.n_rounds, of.come_and_go
    numbers |= {"come_and_go": len(come_and_go)}
    named = ", ".join(f"{item}" for item in come_and_go[:3])
    return line(
        "items on offer",
        numbers,
        text,
        "all, always" if of.log.eligible is None else "at least 2 in a round",
        [
            (
                lonely > 0.1,
                LOOK,
                f"{lonely:.0%} of the rounds had one item on offer: nobody chose, and they say "
                "nothing about another choice.",
                "Drop them, log[log.eligible.n_eligible > 1], or mark what could have been shown.",
            ),
            (
                of.is_unlisted,
                LOOK,
                f"{len(come_and_go):,} items come late or leave early, such as {named}, and the "
                "log does not say when they were on offer.",
                "Pass eligible=, two date columns of the items' table or a mask. If all were "
                "always on offer, the logging policy changed on the way, and nothing is wrong.",
            ),
        ],
    )


def _changes(of: Facts, number: np.ndarray) -> int:
    """How often another set was on offer than just before."""
    if of.totals.times is None or of.totals.times.in_order:
        return of.totals.n_changes
    assert of.log.timestamp is not None
    number = number[np.argsort(of.log.timestamp, kind="stable")]
    return int((np.diff(number.astype(np.int64)) != 0).sum())


def _rewards(of: Facts) -> Line:
    mean, error = of.mean * of.scale, of.standard_error(of.reward) * of.scale
    least, most = of.totals.least["reward"], of.totals.most["reward"]
    numbers = {"mean": mean, "std_error": error, "least": least, "most": most}
    text = f"mean {short(mean)} (standard error {short(error)}), {short(least)} to {short(most)}"
    if of.is_clicks:
        numbers |= {"clicks": of.totals.n_clicks}
        text = (
            f"{numbers['clicks']:,.0f} clicks, {short(1000 * mean)} per 1,000 rounds (standard "
            f"error {short(1000 * error)})"
        )
    told = _told_by(of)
    return line(
        "rewards",
        numbers,
        text,
        "not all equal",
        [
            (
                bool(least == most),
                WRONG,
                f"every reward is {short(least)}: nothing tells a good item from a bad one.",
                "Join the rewards anew. A join that keeps the rounds with a click loses the rest.",
            ),
            (
                told is not None,
                LOOK,
                f"context feature {told} tells the reward nearly exactly: it may have been "
                "written after the item was shown.",
                "Leave out of the context what is not known before an item is chosen.",
            ),
        ],
    )


def _told_by(of: Facts) -> str | None:
    """A feature of the context that is nearly the reward, if there is one."""
    features = balanced_features(of.log.context)[:, 1:]
    size = np.sqrt(np.square(features).sum(axis=0) * np.square(of.centred).sum())
    likeness = np.abs(of.centred @ features) / np.maximum(size, 1e-300)
    if likeness.max() < _TOLD:
        return None
    names = of.log.columns.context_features if of.log.columns else None
    return repr(names[likeness.argmax()]) if names else str(likeness.argmax())


def _carriers(of: Facts) -> Line:
    n = of.carriers
    rare = "clicks are rare" if of.is_clicks else "few rounds hold nearly all of the reward"
    return line(
        "rounds that carry rewards",
        {"effective": n},
        f"{short(n)} effective {of.units.name}s",
        f"at least {FEW_CARRIERS}",
        [
            (
                0 < n < FEW_CARRIERS,
                LOOK,
                f"{rare}, so that estimates rest on few {of.units.name}s, and intervals are too "
                "narrow.",
                "A longer log, or a reward that comes more often (a visit of the page, the "
                "logarithm of the price).",
            )
        ],
    )
