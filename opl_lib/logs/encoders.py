"""What is learned of a column of a data frame, in plain numbers, and the features made of it.

scikit-learn learns; what it found is kept as numbers and text, and applied by numpy. So a policy's
file holds no code, gives the same bits in whatever version of scikit-learn, and serving needs none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..arrays import first
from ..checks import warn_user
from .hashing import hashed
from .typed import (
    DATES,
    NOTHING,
    NUMBERS,
    TEXT,
    ZONED,
    Typed,
    check_text,
    is_category,
    typed_column,
    weekday,
)

N_HASHED = 16
# Of a column with many values, those get a column of their own that so many rows have.
_FREQUENT = 0.01
# Numbers within these bounds are features as they are: flags, shares, coordinates.
_SMALL, _LARGE = 0.01, 1.0
_MOST = 1e150  # squares of larger numbers are not finite
# In standard deviations: of n rows, none is further from their mean than √n, here of a million.
_FAR = 1000
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Numbers:
    """Numbers, durations in days, and truths: ``(x − shift) / scale``, `mean` where missing."""

    name: Any
    mean: float
    shift: float
    scale: float
    has_missing: bool
    kinds: ClassVar = (NUMBERS,)

    @property
    def features(self) -> list[str]:
        return [str(self.name)] + [f"{self.name}: missing"] * self.has_missing

    def encode(self, column: Typed) -> np.ndarray:
        filled = np.where(column.missing, self.mean, column.values)
        return _beside([(filled - self.shift) / self.scale], column.missing, self.has_missing)


@dataclass(frozen=True)
class Dates:
    """Dates: the day, within those that were seen, standardised; weekday and hour as circles."""

    name: Any
    kind: str
    earliest: float
    latest: float
    mean: float
    scale: float
    has_weekdays: bool
    has_hours: bool
    has_missing: bool

    @property
    def kinds(self) -> tuple[str]:
        return (self.kind,)

    @property
    def features(self) -> list[str]:
        parts = ["day"]
        parts += ["weekday, sine", "weekday, cosine"] * self.has_weekdays
        parts += ["hour, sine", "hour, cosine"] * self.has_hours
        return [f"{self.name}: {part}" for part in parts + ["missing"] * self.has_missing]

    def encode(self, column: Typed) -> np.ndarray:
        day = np.where(column.missing, self.mean, column.values)
        made = [(np.clip(day, self.earliest, self.latest) - self.mean) / self.scale]
        for has, share in ((self.has_weekdays, weekday(day) / 7), (self.has_hours, day % 1)):
            angle = 2 * np.pi * share
            circle = [np.where(column.missing, 0.0, f(angle)) for f in (np.sin, np.cos)]
            made += circle if has else []
        return _beside(made, column.missing, self.has_missing)


@dataclass(frozen=True)
class Categories:
    """Text: a column for each frequent value, and a few that rare and new ones are hashed to."""

    name: Any
    frequent: tuple[str, ...]
    n_hashed: int
    kinds: ClassVar = (TEXT,)

    @property
    def features(self) -> list[str]:
        named = [f"{self.name} = {value}" if value else f"{self.name}: missing"
                 for value in self.frequent]  # fmt: skip
        return named + [f"{self.name}: hashed, {k}" for k in range(self.n_hashed)]

    def encode(self, column: Typed) -> np.ndarray:
        values = np.where(column.missing, "", column.values).astype(object)
        number_of = {value: number for number, value in enumerate(self.frequent)}
        number = np.fromiter((number_of.get(v, -1) for v in values), np.int64, len(values))
        made = np.zeros((len(values), len(self.frequent) + self.n_hashed))
        rows = np.flatnonzero(number >= 0)
        made[rows, number[rows]] = 1
        rare = np.flatnonzero((number < 0) & ~column.missing)
        if self.n_hashed and len(rare):
            distinct, which = np.unique(values[rare].astype(str), return_inverse=True)
            words = [_WORD.findall(value.lower()) or [value] for value in distinct.tolist()]
            made[rare, len(self.frequent) :] = hashed(words, self.n_hashed)[which]
        return made


Encoder = Numbers | Dates | Categories


def fit_encoders(
    frame: Any, names: Sequence[Any], role: str, max_categories: int
) -> tuple[Encoder, ...]:
    """Learn an encoder of each of the columns."""
    columns = {name: typed_column(frame, name, role) for name in names}
    for name, column in columns.items():
        if column.missing.all():
            raise ValueError(
                f"{role}: column {name!r} is missing in every row, and says nothing. Leave it out."
            )
        if column.kind == TEXT and not is_category(frame, name):
            check_text(column, name, role)
    learned = _learned(list(columns.values()), max_categories)
    return tuple(
        _encoder(name, column, found, role)
        for (name, column), found in zip(columns.items(), learned, strict=True)
    )


def encode(frame: Any, encoders: Sequence[Encoder], role: str) -> np.ndarray:
    """The features of a frame, (n, width); raise unless it has the columns, of their kinds."""
    lacking = [each.name for each in encoders if each.name not in list(frame.columns)]
    if lacking:
        raise ValueError(
            f"{role}: the data frame lacks {', '.join(map(repr, lacking))}, which the columns were "
            f"fitted on; it has {list(frame.columns)}. Add what is missing, or give it the name "
            "that it had."
        )
    made = []
    for each in encoders:
        column = typed_column(frame, each.name, role)
        if column.kind not in (*each.kinds, NOTHING):
            raise ValueError(
                f"{role}: column {each.name!r} holds {column.kind}, but the columns were fitted "
                f"where it held {each.kinds[0]}: convert it to what it was."
            )
        with np.errstate(over="ignore"):
            features = each.encode(column)
        if not np.abs(features).max(initial=0) <= _FAR:
            _say_far(role, each.name, column.values, features)
        made.append(features)
    return np.hstack(made)


def _say_far(role: str, name: Any, values: np.ndarray, features: np.ndarray) -> None:
    """Raise if features are not finite, and warn if they are like nothing that was fitted."""
    is_finite = bool(np.isfinite(features).all())
    row = first(~(np.abs(features) <= _FAR) if is_finite else ~np.isfinite(features))[0]
    said = (
        f"{role}: column {name!r} is far from what the columns were fitted on; row {row} has "
        f"{values[row]}."
    )
    if not is_finite:
        raise ValueError(f"{said} Correct it.")
    warn_user(f"{said} Nothing was learned of such rows: correct it, or cut it off.")


def _learned(columns: Sequence[Typed], max_categories: int) -> list[Any]:
    """Of numbers and days mean and scale, of text the frequent values and whether more are rare."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    def of_each(place: int) -> Any:
        column = columns[place]
        if column.kind != TEXT:
            return StandardScaler()
        if len(set(column.values.tolist())) <= max_categories:
            return OneHotEncoder()
        return OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=max_categories + 1,
            min_frequency=_FREQUENT,
        )

    places = range(len(columns))
    transformer = ColumnTransformer([(str(place), of_each(place), [place]) for place in places])
    frame = pd.DataFrame({place: column.values for place, column in enumerate(columns)})
    with np.errstate(over="ignore", invalid="ignore"):
        fitted = transformer.fit(frame).named_transformers_
    return [_found(fitted[str(place)]) for place in places]


def _found(fitted: Any) -> tuple[Any, Any]:
    if hasattr(fitted, "mean_"):
        return float(fitted.mean_[0]), float(fitted.scale_[0])
    rare = getattr(fitted, "infrequent_categories_", [None])[0]
    rare = set() if rare is None else set(rare)
    frequent = [str(value) for value in fitted.categories_[0] if value not in rare]
    return tuple(frequent), bool(rare)


def _encoder(name: Any, column: Typed, found: Any, role: str) -> Encoder:
    name = name.item() if isinstance(name, np.generic) else name
    if column.kind == TEXT:
        frequent, has_rare = found
        return Categories(name, frequent, N_HASHED if has_rare else 0)
    mean, scale = found
    present, has_missing = column.values[~column.missing], bool(column.missing.any())
    if np.abs(present).max() > _MOST:
        raise ValueError(
            f"{role}: column {name!r} is too large to be standardised: divide it by a constant."
        )
    if column.kind in (DATES, ZONED):
        return Dates(
            name,
            column.kind,
            *(float(present.min()), float(present.max()), mean, scale),
            has_weekdays=len(np.unique(weekday(present))) > 1,
            has_hours=len(np.unique(present % 1)) > 1,
            has_missing=has_missing,
        )
    as_it_is = _SMALL <= np.abs(present).max() <= _LARGE
    shift, by = (0.0, 1.0) if as_it_is else (mean, scale)
    return Numbers(name, mean, shift, by, has_missing)


def _beside(made: list[np.ndarray], missing: np.ndarray, has_missing: bool) -> np.ndarray:
    return np.column_stack([*made, *([missing] if has_missing else [])]).astype(np.float64)
