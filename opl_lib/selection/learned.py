"""What `learn` found: a policy, a decision, and what they rest on."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from ..evaluation.estimators import Estimator
from ..logs.report_facts import short
from ..plotting import plot_candidates
from ..protocols import PolicyLike
from .choice import KEEP, SERVE, TEST, Choice

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_ADVICE = {
    SERVE: "serve it",
    TEST: "test it against what runs now",
    KEEP: "keep what runs",
}
_SHOWN = ["difference", "std_error", "lower_bound", "ess_change", "ess_reward_change", "trusted"]


@dataclass(frozen=True, repr=False, eq=False)
class Learned:
    """What `learn` found. In a notebook it shows itself as a table and a figure.

    Attributes
    ----------
    policies : dict of str to policy
        Every candidate's policy, learned from the whole log, in every way of serving it.
    choice : Choice
        What was chosen and why, which the properties show.
    left_out : dict of str to str
        Candidates that were not tried, and why.
    estimator : Estimator
        What gains were estimated by.
    confidence : float
        Of all lower bounds together, and of the intervals of `report`.
    n_rounds : int
        Of the log.
    seconds : float
        That it took.
    """

    policies: dict[str, PolicyLike]
    choice: Choice
    left_out: dict[str, str]
    estimator: Estimator
    confidence: float
    n_rounds: int
    seconds: float

    @property
    def best(self) -> str:
        """Name of the chosen candidate."""
        return self.choice.best

    @property
    def policy(self) -> PolicyLike:
        """The chosen candidate's policy, whatever the decision: `decision` says what to do."""
        return self.policies[self.best]

    @property
    def decision(self) -> str:
        """``"serve"`` it, ``"test"`` it against what runs now, or ``"keep"`` what runs."""
        return self.choice.decision

    @property
    def reasons(self) -> list[str]:
        """The decision in words."""
        return list(self.choice.reasons)

    @property
    def table(self) -> pd.DataFrame:
        """All candidates, the chosen one first: the columns of `Selection.table`.

        `lower_bound` holds for all that are trusted together; ``ess_reward_change`` is
        ``ess_change`` of rounds with a reward.
        """
        return self.choice.table.copy()

    @property
    def report(self) -> pd.DataFrame:
        """The chosen one: rows ``policy``, ``logging`` and ``difference``.

        With ``value``, ``std_error``, ``ci_lower`` and ``ci_upper``. All rounds judge it, each by
        siblings that have not seen it.
        """
        return self.choice.report.copy()

    @property
    def not_trusted(self) -> dict[str, str]:
        """Why the bound of each candidate that is not trusted means nothing."""
        return dict(self.choice.not_trusted)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw every candidate's estimated gain, its standard error and its lower bound.

        Parameters
        ----------
        ax : matplotlib Axes, optional

        Returns
        -------
        matplotlib Axes
        """
        return plot_candidates(self.choice.table, ax)

    def __repr__(self) -> str:
        lines = [
            f"{_ADVICE[self.decision].capitalize()}: {self.best!r}, learned from "
            f"{self.n_rounds:,} rounds in {self.seconds:.1f} s"
        ]
        lines += [f"  {reason}" for reason in self.choice.reasons]
        shown = self.choice.table[_SHOWN]
        lines += [shown.to_string(float_format=short)]
        lines += [f"  ! {names}: {why}" for why, names in self._names_by_reason().items()]
        lines += [f"  - {name} was not tried: {why}" for name, why in self.left_out.items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in self.choice.reasons)
        shown = self.choice.table[_SHOWN].rename(columns=lambda name: name.replace("_", " "))
        shown["trusted"] = shown["trusted"].map({True: "yes", False: "no"})
        shown = shown.rename_axis(index=None, columns="candidate")
        table = shown.to_html(float_format=short, na_rep="–", border=0)
        caption = "<caption>Gains over what runs, and what they rest on.</caption>"
        table = table.replace("<thead>", f"{caption}<thead>", 1)
        asides = {names: why for why, names in self._names_by_reason().items()} | {
            name: f"not tried: {why}" for name, why in self.left_out.items()
        }
        more = "".join(
            f"<li><b>{escape(name)}</b>: {escape(why)}</li>" for name, why in asides.items()
        )
        folded = f"<details><summary>Why not the others</summary><ul>{more}</ul></details>"
        return (
            f"<p><b>{_ADVICE[self.decision].capitalize()}: {escape(self.best)}</b></p>"
            f"<ul>{reasons}</ul>{table}{folded if more else ''}{self._figure()}"
        )

    def _names_by_reason(self) -> dict[str, str]:
        """Why bounds mean nothing, each reason with the candidates that it is of."""
        names: dict[str, list[str]] = {}
        for name, why in self.choice.not_trusted.items():
            names.setdefault(why, []).append(name)
        return {why: "; ".join(of) for why, of in names.items()}

    def _figure(self) -> str:
        """The plot as an image for a page; nothing without matplotlib."""
        import base64
        import io

        try:
            from matplotlib.figure import Figure
        except ModuleNotFoundError:
            return ""
        figure = Figure(figsize=(7, 0.8 + 0.3 * len(self.choice.table)), layout="tight")
        self.plot(figure.subplots())
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=90)
        image = base64.b64encode(file.getvalue()).decode()
        return f'<img alt="estimated gains of all candidates" src="data:image/png;base64,{image}">'
