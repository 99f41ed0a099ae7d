"""The dials of a `ShopWorld`."""

from __future__ import annotations

from dataclasses import dataclass

from ..checks import check_number, check_seed
from .asked import check_count

_COUNTS = {"n_items": 2, "n_users": 2, "days": 1, "slots": 1, "n_eval_pages": 1}
_DIALS = {
    "popularity": 3,
    "taste": 10,
    "unexplained": 1,
    "hidden_taste": 1,
    "position_effect": 10,
    "drift": 1,
    "staleness": 10,
    "missing": 0.9,
    "delay": 365,
}
_ABOVE_0 = {"on_offer": 1, "exploration": 1, "click_rate": 0.999}
_LEAST_RATE = 1e-6
_MOST_DAYS = 36_500


@dataclass(frozen=True, eq=False)
class Settings:
    """As in `ShopWorld`, which says what they are."""

    n_items: int = 300
    n_users: int = 5000
    days: int = 30
    slots: int = 3
    click_rate: float = 0.015
    on_offer: float = 2 / 3
    popularity: float = 0.3
    taste: float = 1.0
    unexplained: float = 0.5
    hidden_taste: float = 0.2
    position_effect: float = 0.5
    drift: float = 0.0
    staleness: float = 0.5
    exploration: float = 0.1
    missing: float = 0.05
    delay: float = 0.0
    n_eval_pages: int = 2000
    random_state: int = 0

    def __post_init__(self) -> None:
        check_seed(self.random_state)
        for name, least in _COUNTS.items():
            check_count(name, getattr(self, name), least)
        for name, most in _DIALS.items():
            check_number(name, getattr(self, name), least=0, most=most)
        for name, most in _ABOVE_0.items():
            check_number(name, getattr(self, name), above=0, most=most)
        check_number("click_rate", self.click_rate, least=_LEAST_RATE)
        check_number("days", self.days, most=_MOST_DAYS)
        for names, kind in (((*_COUNTS, "random_state"), int), ((*_DIALS, *_ABOVE_0), float)):
            for name in names:  # of few bits, they would be calculated with in few bits
                object.__setattr__(self, name, kind(getattr(self, name)))
