"""Lines of the card of a log: whether its propensities can be right."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .balance import LEAST_PSCORE, feature_balance, worst_balance
from .report_facts import FINE, LEVEL, LOOK, WRONG, Facts, Line, line, short
from .support import AFTER_A_RULE, BY_A_RULE, giant_weight, is_off_one, tail_index

_FEW = 30  # effective rounds, for a mean of weights to be roughly normal
_HEAVY = 0.5  # tail index above which the standard error of a mean of weights is too small
_FEW_VALUES = 5  # of pscore, which somebody may have chosen
_MOST = 0.75  # of what rounding leaves
_COARSE = 20  # steps of rounding in the usual pscore: each weight is moved by up to a fortieth
_RECORD = (
    "Log the probability of the shown item as it is shown, among what is on offer; or estimate it "
    "with opl.estimate_propensities."
)
_LIST = "Pass eligible=, two date columns of the items' table or a mask."


def lines_of_propensities(of: Facts) -> Iterator[Line]:
    """How items were chosen, if it is right, and what is left of the log for another policy."""
    yield _propensities(of)
    if not of.says_no_propensity:
        yield _mean_weight(of)
        yield _balance(of)
        yield _effective(of)
    yield _never_logged(of)


def _propensities(of: Facts) -> Line:
    least, most = of.totals.least["pscore"], of.totals.most["pscore"]
    share, n = of.is_fixed, of.n_rounds
    heaviest = of.support.max_weight / of.support.mean_weight / n
    of_weight = f"{heaviest:.1%}" if heaviest >= 0.001 else f"{100 * heaviest:.1g}%"
    giant = giant_weight(of.support.max_weight, n)
    rounded = rounded_to(of.pscore)
    return line(
        "propensities",
        {"least": least, "most": most, "sure": share, "heaviest": heaviest},
        f"{short(least)} to {short(most)}; the heaviest round has {of_weight} of the weight",
        "below 1, no round above 5%",
        [
            (
                bool(np.isnan(share)),
                WRONG,
                "every round had one item on offer: nobody chose.",
                "Mark in eligible= what could have been shown.",
            ),
            (
                of.says_no_propensity,
                WRONG,
                f"{BY_A_RULE}.",
                AFTER_A_RULE,
            ),
            (giant is not None, WRONG, f"{giant}.", _RECORD),
            (
                rounded is not None,
                LOOK,
                f"pscore has {rounded}, too few for numbers as small as these: rounding moves the "
                "weights.",
                "Log pscore in full.",
            ),
            (
                share > 0.05,
                LOOK,
                f"in {share:.0%} of the rounds pscore is 1 while there was a choice: for these the "
                "log says nothing of other items.",
                "Show a random item in a few rounds of every kind, or ask only for policies that "
                "do there what was done.",
            ),
            (
                n >= 200 and heaviest > 0.05,
                LOOK,
                "a few rounds of very small pscore decide what is estimated for other policies.",
                "Use weights that are clipped or shrunken (opl.clipped_ips, 'dros'), or let the "
                "logging policy explore more.",
            ),
        ],
    )


def rounded_to(pscore: np.ndarray) -> str | None:
    """To how few digits or decimals numbers were rounded, if that moves weights; else None.

    Shares that somebody chose, such as 0.5, 0.2 and 0.05, have few digits, too; but they are few,
    and most of the numbers between them are missing.
    """
    different, usual = np.unique(pscore), float(np.median(pscore))
    if len(different) < _FEW_VALUES:  # as of a policy that explores evenly
        return None
    place = np.floor(np.log10(different) + 1e-9)
    number = 9 * place + different / 10**place  # of 0.08, 0.09, 0.1, 0.2: one after the other
    if _are_most(number, float(np.interp(usual, different, number))):
        return "one significant digit"
    for decimals in range(1, 7):
        if usual * 10**decimals < _COARSE and _are_most(
            different * 10**decimals, usual * 10**decimals
        ):
            return f"{decimals} decimal{'s' * (decimals != 1)}"
    return None


def _are_most(numbers: np.ndarray, usual: float) -> bool:
    """Whether all are whole, and most of the whole numbers up to the usual one are among them."""
    whole = np.round(numbers)
    n_below = np.count_nonzero(whole <= usual + 0.5)
    return bool(np.abs(numbers - whole).max() < 1e-3 and n_below >= _MOST * (usual - whole[0] + 1))


def _mean_weight(of: Facts) -> Line:
    value, error = of.support.mean_weight, of.support.mean_weight_se
    missing = of.support.unsupported_mass
    said = error if error > 1e-9 * value else 0.0
    off = is_off_one(value, error)
    unsure = of.support.ess < min(_FEW, of.support.n_units)
    return line(
        "mean weight",
        {"mean_weight": value, "std_error": error},
        f"{short(value)} (standard error {short(said)}), of showing all that is on offer alike",
        "1, within 3 standard errors",
        [
            (not off or unsure, FINE, "", ""),
            (
                not is_off_one(value + missing, error),
                LOOK,
                f"items that were never logged are {missing:.1%} of what was on offer, and so much "
                "is missing.",
                "See the line of items never logged: pscore itself may be right.",
            ),
            (
                _misses_giants(of),
                LOOK,
                "what the logging policy shows most rarely has the largest weights, and a log of "
                "this length misses some of it. pscore may be right; or it is too large.",
                "Ask for the policy that you mean, log.support_report(policy); stay near the "
                "logging policy, or clip weights. For all items, explore more.",
            ),
            (
                of.is_unlisted and value < 1,
                WRONG,
                "items come and go, and the log does not say what was on offer. Then pscore may "
                "well be right.",
                _LIST,
            ),
            (
                value > 1,
                WRONG,
                "pscore is too small: of a whole page and not of one item, of another item or "
                "model, a share over all days and not among what was on offer.",
                _RECORD,
            ),
            (
                True,
                WRONG,
                "pscore is too large, as of the likeliest item and not of the one shown; or some "
                "items of the offer can never be shown to some users.",
                _RECORD + " Take out of eligible= what could not be shown.",
            ),
        ],
    )


def _misses_giants(of: Facts) -> bool:
    """Whether weights average less than 1, and may do so where pscore is right."""
    n_other_items = float((1 - of.pscore).sum()) * of.factor  # as expected from pscore
    too_rare = n_other_items < _FEW or tail_index(of.weight)[0] > _HEAVY
    value, error = of.support.mean_weight, of.support.mean_weight_se
    return too_rare and value < 1 and is_off_one(value, error) and not of.is_unlisted


def _balance(of: Facts) -> Line:
    name = "balance"
    if of.pscore.min() < LEAST_PSCORE:
        return line(name, {"distance": np.nan}, f"not asked: a pscore is below {LEAST_PSCORE}")
    worst = worst_balance(feature_balance(of.log, with_unseen=True), LEVEL)
    if worst is None:
        return line(name, {"distance": np.nan}, "not asked: no item was shown often enough")
    return line(
        name,
        {"distance": worst.distance, "limit": worst.limit, "checks": worst.n_checks},
        f"{worst.distance:.1f} standard errors, the largest of {worst.n_checks:,}",
        f"below {worst.limit:.1f}",
        [
            (
                worst.is_off and of.is_unlisted,
                WRONG,
                f"{worst.what} is {worst.distance:.1f} standard errors from what pscore says; but "
                "items come and go, and the log does not say what was on offer.",
                _LIST,
            ),
            (
                worst.is_off and _misses_giants(of),
                LOOK,
                f"{worst.what} is {worst.distance:.1f} standard errors from what pscore says: see "
                "the line of the mean weight.",
                "As there.",
            ),
            (
                worst.is_off,
                WRONG,
                f"{worst.what} is {worst.distance:.1f} standard errors from what pscore says: it "
                "is of another item, another version of the model or another day, rounded, or the "
                "items on offer were others.",
                "Look for these rounds in log.balance(). " + _RECORD,
            ),
        ],
    )


def _never_logged(of: Facts) -> Line:
    n, mass = of.support.n_unsupported, of.support.unsupported_mass
    return line(
        "items never logged",
        {"items": n, "share_of_offer": mass},
        f"{n:,}, {mass:.1%} of what was on offer",
        "at most 1%",
        [
            (
                mass > 0.01,
                LOOK,
                "the logging policy never shows them, or too seldom for this log; or they were not "
                "on offer.",
                "Take out of eligible= what could not be shown. Of the others only their features "
                "tell: let the logging policy show each now and then.",
            )
        ],
    )


def _effective(of: Facts) -> Line:
    ess, n, unit = of.support.ess, of.support.n_units, of.units.name
    return line(
        "effective sample size",
        {"ess": ess, "share": ess / n},
        f"{short(ess)} of {n:,} {unit}s, for showing all that is on offer alike",
        "at least 5%",
        [
            (
                ess < 0.05 * n,
                LOOK,
                "the logging policy mostly shows a few items: for others there are few rounds.",
                "Let it explore more. Policies close to it can be judged all the same.",
            )
        ],
    )
