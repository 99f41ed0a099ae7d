"""Settings by name, as scikit-learn has them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Self


class Params:
    """The part of a learner, a dataclass of its settings, that reads and changes these."""

    def check(self) -> None:
        """Raise ValueError or TypeError at the first setting that is out of range."""
        raise NotImplementedError

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name, as scikit-learn does (`deep` changes nothing)."""
        return {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]

    def set_params(self, **params: Any) -> Self:
        """Change settings by name and return the learner; bad settings change nothing."""
        known = self.get_params()
        for name in params:
            if name not in known:
                raise ValueError(f"{name!r} is not a setting; the settings are {sorted(known)}.")
        type(self)(**{**known, **params})
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def forget(self) -> None:
        """Clear what an earlier fit learned, and check the settings, which may have changed."""
        for name in vars(self).keys() - self.get_params().keys():
            if name.endswith("_"):
                delattr(self, name)
        self.check()
