"""The columns of a company's tables as features: learned from one part, applied to all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Self

import numpy as np

from ..checks import check_number
from .encoders import Categories, Encoder, encode, fit_encoders
from .readers import check_frame, column_names, frame_column


@dataclass(frozen=True, repr=False)
class Columns:
    """How the columns of data frames become features; made by `Columns.fit`.

    `BanditFeedback.from_dataframe` fits them and keeps them as ``log.columns``. A policy that is
    learned from the log keeps them, too, and saves them with its weights: it takes frames of
    visitors and of items as they come, and returns ids of items.

    Attributes
    ----------
    context, items : tuple of encoders
        What was learned of each column; `items` is empty if items have no columns.
    item_id : column name, optional
        The column that identifies an item.

    Notes
    -----
    Numbers are standardised, unless all are within −1 and 1, as flags are; a missing one takes the
    mean. Text, and what a data frame calls a category, gets a column for each of its values, and a
    new value has 0 in all of them. Of a column with more values than `max_categories`, only those
    get one that are in 1 % of the rows or more; the others and new ones share 16 columns, to which
    their words are hashed. A date becomes its day, standardised and kept within the days that were
    seen, with its weekday and its hour on circles; dates with a time zone count in UTC. An age is
    for whoever makes the frame: it depends on today. What was missing where the columns were
    fitted has a column that says so.

    scikit-learn's ``StandardScaler`` and ``OneHotEncoder`` learn this, in a ``ColumnTransformer``;
    what they found is kept in plain numbers and text.

    References
    ----------
    Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009.

    Examples
    --------
    >>> import pandas as pd
    >>> import opl_lib as opl
    >>> visits = pd.DataFrame({"country": ["DE", "JP", "DE"], "age": [31, None, 52]})
    >>> columns = opl.Columns.fit(visits, context=["country", "age"])
    >>> columns.context_features
    ['country = DE', 'country = JP', 'age', 'age: missing']
    >>> columns.encode_context(pd.DataFrame({"age": [52], "country": ["FR"]}))
    array([[0., 0., 1., 0.]])
    """

    context: tuple[Encoder, ...]
    items: tuple[Encoder, ...] = ()
    item_id: Any = None

    @classmethod
    def fit(
        cls,
        frame: Any,
        *,
        context: Sequence[Any],
        items: Any = None,
        item_id: Any = None,
        item_features: Sequence[Any] | None = None,
        max_categories: int = 30,
    ) -> Self:
        """Learn the columns of a frame of rounds, and of one of items.

        Parameters
        ----------
        frame : data frame of n_rounds rows
            The part of the log that is learned from. It may be of pandas, of polars, or of any
            library with ``frame[name].to_numpy()``.
        context : list of str
            Columns that describe the user or query: numbers, text, categories, truths or dates.
        items : data frame of n_actions rows, optional
        item_id : str, optional
            Column of `items` that identifies an item; required with `items`.
        item_features : list of str, optional
            Columns of `items`; all but `item_id` if not given.
        max_categories : int, at least 1
            Most values of a text column that get a column of their own.

        Returns
        -------
        Columns

        Raises
        ------
        ValueError
            If a column is missing, holds values of several types or none at all, is not finite, or
            is numbers or dates that are stored as text. The message names the column.
        """
        check_frame("frame", frame)
        check_number("max_categories", max_categories, Integral, least=1, most=100_000)
        names = column_names(context, "context")
        of_context = fit_encoders(frame, names, "context", int(max_categories))
        if items is None:
            for name, value in (("item_id", item_id), ("item_features", item_features)):
                if value is not None:
                    raise ValueError(f"{name}={value!r} names columns of items: pass items=…, too.")
            return cls(of_context)
        check_frame("items", items)
        if item_id is None:
            raise ValueError(
                "items is a data frame: say with item_id=… which column identifies an item."
            )
        frame_column(items, item_id, "item_id of items")
        if item_features is None:
            item_features = [name for name in items.columns if name != item_id]
        names = column_names(item_features, "item_features")
        role = "item_features of items"
        return cls(of_context, fit_encoders(items, names, role, int(max_categories)), item_id)

    @property
    def context_features(self) -> list[str]:
        """Names of the features of a context, in order."""
        return [name for each in self.context for name in each.features]

    @property
    def item_features(self) -> list[str]:
        """Names of the features of an item, in order."""
        return [name for each in self.items for name in each.features]

    def encode_context(self, frame: Any) -> np.ndarray:
        """Features of visitors or rounds.

        Parameters
        ----------
        frame : data frame of n rows
            With the columns that were fitted, among others.

        Returns
        -------
        array of shape (n, dim_context)

        Raises
        ------
        ValueError
            If a column is missing or renamed, or of another kind than the one that was fitted.

        Warns
        -----
        UserWarning
            If a number is a thousand standard deviations from what was fitted, or more.
        """
        check_frame("context", frame, may_be_empty=True)
        return encode(frame, self.context, "context")

    def encode_items(self, items: Any) -> np.ndarray:
        """Features of items.

        Parameters
        ----------
        items : data frame of m rows
            With the columns that were fitted, among others; items of today, known or new.

        Returns
        -------
        array of shape (m, dim_action_context)

        Raises
        ------
        ValueError
            As `encode_context`.
        """
        check_frame("items", items)
        if not self.items:
            raise ValueError(
                "items: these columns were fitted without a data frame of items; pass the features "
                "of items as an array, as to the log."
            )
        return encode(items, self.items, "items")

    def ids_of(self, items: Any) -> np.ndarray:
        """The column `item_id` of a data frame of items, (m,)."""
        check_frame("items", items)
        if self.item_id is None:
            raise ValueError("items: these columns were fitted without an item_id.")
        return frame_column(items, self.item_id, "item_id of items")

    def __repr__(self) -> str:
        said = [f"{len(self.context_features)} features of the context"]
        said += [f"{len(self.item_features)} of items"] * bool(self.items)
        lines = [f"Columns({', '.join(said)})"]
        for role, encoders in (("context", self.context), ("items", self.items)):
            for each in encoders:
                what = each.kinds[0] + (
                    f", {len(each.frequent)} frequent values"
                    if isinstance(each, Categories)
                    else ""
                )
                lines.append(f"  {role:7}  {each.name!r}: {what}")
        return "\n".join(lines)


Widths = tuple[int | None, int | None]


def check_columns(columns: Any, widths: Widths | None = None) -> None:
    """Raise unless this is None, or columns; of features of these widths, where they are known."""
    if columns is None:
        return
    if not isinstance(columns, Columns):
        raise TypeError(
            f"columns must be made by opl.Columns.fit(…); got {type(columns).__name__}. The names "
            "of context columns are passed as context=[…]."
        )
    made = len(columns.context_features), len(columns.item_features)
    for name, width, own in zip(("context", "action_context"), widths or made, made, strict=True):
        if width is not None and own not in (width, 0):
            raise ValueError(f"columns make {own} features of {name}, which has {width}.")
