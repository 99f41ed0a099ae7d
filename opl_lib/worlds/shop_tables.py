"""The tables of a `ShopWorld`: what is known of users and items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

OPENING = np.datetime64("2026-03-02", "s")  # when the log begins: a Monday
DAY = 24 * 60 * 60
_OLDEST = -3650  # days; what began before is no different
COUNTRIES = ("AT", "CH", "DE", "FR", "IT")
DEVICES = ("desktop", "phone", "tablet")
CATEGORIES = ("bags", "coats", "dresses", "hats", "jeans", "shirts", "shoes", "skirts")
BRANDS = ("Alder", "Birch", "Cedar", "Elm", "Fir", "Hazel", "Larch", "Maple", "Oak", "Pine")
OF_USERS, OF_ITEMS = ("country", "device", "age"), ("category", "brand", "price")


def tables(
    n_users: int, n_items: int, days: int, on_offer: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Users and items, with nothing missing but the dates of what does not end."""
    import pandas as pd

    users = pd.DataFrame(
        {
            "user_id": _ids("u", n_users),
            "country": rng.choice(COUNTRIES, n_users, p=[0.1, 0.1, 0.5, 0.2, 0.1]),
            "device": rng.choice(DEVICES, n_users, p=[0.3, 0.6, 0.1]),
            "age": np.clip(rng.normal(40, 13, n_users), 18, 90).round(),
        }
    )
    start, end = _dates(n_items, days, on_offer, rng)
    items = pd.DataFrame(
        {
            "item_id": _ids("i", n_items),
            "category": rng.choice(CATEGORIES, n_items),
            "brand": rng.choice(BRANDS, n_items),
            "price": np.exp(rng.normal(3.5, 0.7, n_items)).round(2),
            "on_offer_from": start,
            "on_offer_until": end,
        }
    )
    return users, items


def least_on_offer(items: pd.DataFrame, days: int) -> int:
    """How many items are on offer on the day that has fewest."""
    day = OPENING + _days(np.arange(days))
    start, end = (
        np.sort(items[name].dropna().to_numpy("M8[s]"))
        for name in ("on_offer_from", "on_offer_until")
    )
    return int((np.searchsorted(start, day, "right") - np.searchsorted(end, day, "right")).min())


def with_missing(
    table: pd.DataFrame, columns: Sequence[str], missing: float, rng: np.random.Generator
) -> pd.DataFrame:
    """The table with this share of the values of some columns lost, but not that of row 0."""
    table = table.copy()
    for name in columns:
        lost = rng.random(len(table)) < missing
        lost[0] = False  # of a column without a value, nothing could be learned
        table[name] = table[name].mask(lost, np.nan if table[name].dtype.kind == "f" else None)
    return table


def one_hot(table: pd.DataFrame, text: Sequence[str], numbers: Sequence[Any]) -> np.ndarray:
    """Text columns as one column a value, beside standardised numbers."""
    made = [table[name].to_numpy()[:, None] == sorted(set(table[name].dropna())) for name in text]
    return np.hstack([*made, standardised(np.column_stack(numbers))]).astype(float)


def standardised(columns: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and standard deviation 1; constant ones are 0."""
    columns = columns - columns.mean(axis=0)
    spread = columns.std(axis=0)
    return columns / np.where(spread > 1e-12, spread, 1)


def _ids(letter: str, n: int) -> list[str]:
    width = len(str(n - 1))
    return [f"{letter}{number:0{width}d}" for number in range(n)]


def _dates(
    n_items: int, days: int, on_offer: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """From when and until when each item is on offer: of day d, this share, whatever d.

    Items start evenly spread over the log and a lifetime before it, and live equally long.
    """
    if on_offer == 1:
        return np.full(n_items, OPENING), np.full(n_items, np.datetime64("NaT", "s"))
    lifetime = on_offer * days / (1 - on_offer)
    place = (rng.permutation(n_items) + rng.random(n_items)) / n_items
    start = np.floor(place * (days + lifetime) - lifetime)
    end = start + max(1, round(lifetime))
    until = OPENING + _days(np.minimum(end, days))
    return (
        np.add(OPENING, _days(np.maximum(start, _OLDEST))),
        np.where(end < days, until, np.datetime64("NaT", "s")),
    )


def _days(number: np.ndarray) -> np.ndarray:
    return (number * DAY).astype("m8[s]")
