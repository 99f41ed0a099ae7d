"""One card for a log: what it holds, whether it can be right, and what it can prove."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from ..checks import plain_arithmetic
from .report_facts import FINE, Facts, Line
from .report_gains import lines_of_gains
from .report_lines import lines_of_rewards, lines_of_rounds
from .report_weights import lines_of_propensities
from .rounds import Rounds

if TYPE_CHECKING:
    import pandas as pd

_COLORS = {"fine": "inherit", "look": "#a15c00", "wrong": "#b3001b"}


@dataclass(frozen=True, repr=False)
class LogReport:
    """What can be said of a log before anything is learned from it; see `BanditFeedback.report`.

    In a notebook it shows itself as a table.

    Attributes
    ----------
    title : str
    lines : list of Line
        Each with ``name``, ``numbers``, ``text``, ``healthy``, ``verdict``, ``cause``, ``cure``. A
        verdict is ``"fine"``; ``"look"``, if what the log says is a limit to what it can tell; or
        ``"wrong"``, if it cannot be. ``report[name]`` is one of them.

    Notes
    -----
    Errors are those of rounds, or of users where some come back. Limits are set such that a right
    log is called wrong about once in 250 times.

    The smallest gain is what a policy must add to the mean reward, for all N rounds of the log to
    show it with 95 % confidence (one-sided) and a probability of 80 %: ``(1.645 + 0.842) / √N``
    times the standard deviation of ``(w − 1)(r − r̄)``. It depends on the policy's weights w. Of n
    items on offer, ``E (w − 1)²`` is ``n − 1`` if the policy shows each visitor one item, chosen
    whatever its reward, and every item as often as the logging policy (``as logged``); and
    ``E_x[Σ_a 1/π_0(a|x) / n] − 1`` if every item equally often (``its own``: it grows as
    exploration shrinks). With ``alike``, each visitor may be shown each item, with the same
    probability. A policy that does one of these in a share of the rounds, and else what the logging
    policy does, has that share of the gain, and of the smallest gain too. What is learned from a
    part of the log is judged by the rest, of fewer rounds.
    """

    title: str
    lines: list[Line]

    @property
    def findings(self) -> list[Line]:
        """The lines that are not fine; empty if nothing is worth a thought."""
        return [line for line in self.lines if line.verdict != FINE]

    @property
    def table(self) -> pd.DataFrame:
        """The lines as data: ``value``, the first of the numbers, and what else a line says."""
        import pandas as pd

        rows = [
            {
                "line": line.name,
                "value": next(iter(line.numbers.values())),
                "text": line.text,
                "healthy": line.healthy,
                "verdict": line.verdict,
                "cause": line.cause,
                "cure": line.cure,
            }
            for line in self.lines
        ]
        return pd.DataFrame(rows).set_index("line")

    def __getitem__(self, name: str) -> Line:
        """The line of a name."""
        for line in self.lines:
            if line.name == name:
                return line
        raise KeyError(
            f"{name!r} is no line of this report; it has {[line.name for line in self.lines]}."
        )

    def __repr__(self) -> str:
        width = max(len(line.name) for line in self.lines)
        said = [f"LogReport({self.title})"]
        for line in self.lines:
            mark = " " if line.verdict == FINE else "!"
            said.append(f"{mark} {line.name:<{width}}  {line.text}")
            if line.verdict != FINE:
                healthy = f"; healthy: {line.healthy}" if line.healthy else ""
                said += [f"    {line.verdict}{healthy}"]
                said += [f"    cause: {line.cause}", f"    cure: {line.cure}"]
        return "\n".join(said)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("line", "number", "healthy", "verdict"))
        body = "".join(map(_html, self.lines))
        return (
            f"<p><b>Report of a log</b>: {escape(self.title)}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def _html(line: Line) -> str:
    cells = [escape(text) for text in (line.name, line.text, line.healthy, line.verdict)]
    if line.verdict != FINE:
        cells[1] += f"<br><small><b>Cause</b>: {escape(line.cause)}<br>"
        cells[1] += f"<b>Cure</b>: {escape(line.cure)}</small>"
        cells[3] = f"<b>{cells[3]}</b>"
    style = f'style="text-align:left;color:{_COLORS[line.verdict]}"'
    return "<tr>" + "".join(f"<td {style}>{cell}</td>" for cell in cells) + "</tr>"


@plain_arithmetic
def log_report(log: Rounds) -> LogReport:
    """The report of `BanditFeedback.report`."""
    return report_of(Facts(log))


def report_of(of: Facts) -> LogReport:
    """The card of what is known of a log."""
    lines = [
        *lines_of_rounds(of),
        *lines_of_rewards(of),
        *lines_of_propensities(of),
        *lines_of_gains(of),
    ]
    n_found = sum(line.verdict != FINE for line in lines)
    found = "no findings" if n_found == 0 else f"{n_found} finding{'s' * (n_found > 1)}"
    return LogReport(f"{of.n_rounds:,} rounds, {of.log.n_actions:,} items: {found}", lines)
