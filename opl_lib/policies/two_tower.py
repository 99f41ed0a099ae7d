"""The policy that a two-tower model defines: a softmax over inner products."""

from __future__ import annotations

import copy
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..checks import MIN_TEMPERATURE, check_number
from ..devices import device_of, find_device
from ..files import as_path
from ..logs.columns import Columns, check_columns
from ..logs.known_columns import context_features, items_features
from .encode import embed, embed_queries
from .index import ItemIndex
from .policy_file import read_policy, write_policy
from .served import ServedProducts
from .towers import TwoTower, check_towers, tower_widths


class TwoTowerPolicy(ServedProducts):
    """Recommend with probability ``softmax(<u(x), v(a)> / temperature)``.

    The policy holds no item table: items are an argument of every call, so items that training
    never saw are served like any other.

    Parameters
    ----------
    towers : TwoTower
        The trained towers. Only the towers are called: a `forward` of a subclass is refused.
    temperature : float, at least 0
        Large is nearly uniform, small is nearly greedy, 0 is greedy: all probability on the item
        with the largest inner product, or on the first of them, if several items look the same.
    columns : Columns, optional
        How features are made of data frames, as a log knows it. Every method then takes frames of
        visitors and items as well as arrays of features, and returns ids for the items of a frame.
    device : str or torch.device, optional
        Where towers and products are computed, as in `OffPolicyLearner`; there the policy has a
        copy of the towers. If not given, where these are. Arrays go in and come out in any case;
        a file of `save`, and a pickle, open on a machine without that device.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 2, random_state=0))
    >>> policy.predict_proba(np.ones((1, 3)), np.eye(2)).sum(axis=1)
    array([1.])
    >>> policy.at_temperature(0).predict_proba(np.ones((1, 3)), np.eye(2)).max()
    np.float64(1.0)
    """

    def __init__(
        self,
        towers: TwoTower,
        temperature: float = 1.0,
        columns: Columns | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        check_towers(towers)
        check_columns(columns, tower_widths(towers))
        self._towers = towers if device is None else _moved(towers, find_device(device))
        self.columns = columns
        self.temperature = temperature
        self._encoded: tuple[Any, ItemIndex] | None = None

    def __repr__(self) -> str:
        n_weights = sum(p.numel() for p in self.towers.parameters())
        return f"TwoTowerPolicy({n_weights:,} weights, temperature={self.temperature:g})"

    @property
    def towers(self) -> TwoTower:
        """The towers, which are not exchanged for others: make another policy of those."""
        return self._towers

    @property
    def device(self) -> torch.device:
        """Where the towers are, and calculate."""
        return device_of(self.towers)

    def to(self, device: str | torch.device) -> TwoTowerPolicy:
        """The same policy on another device, with a copy of the towers if it is another."""
        other = copy.copy(self)
        other._towers, other._encoded = _moved(self.towers, find_device(device)), None
        return other

    def __copy__(self) -> TwoTowerPolicy:
        return self._with(self.__dict__)

    def __deepcopy__(self, memo: dict[int, Any]) -> TwoTowerPolicy:
        return self._with(copy.deepcopy(self.__dict__, memo))

    def _with(self, attributes: dict[str, Any]) -> TwoTowerPolicy:
        other = type(self).__new__(type(self))
        other.__dict__.update(attributes)
        return other

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled is on the processor, which every machine has."""
        return {**self.__dict__, "_towers": _moved(self.towers, torch.device("cpu"))}

    @property
    def temperature(self) -> float:
        """Large is nearly uniform, 0 is greedy."""
        return self._temperature

    @temperature.setter
    def temperature(self, temperature: float) -> None:
        check_number("temperature", temperature, Real, least=0)
        if temperature > 0:
            check_number("temperature", temperature, Real, least=MIN_TEMPERATURE)
        self._temperature = float(temperature)

    def at_temperature(self, temperature: float) -> TwoTowerPolicy:
        """The same towers served at another temperature; 0 is greedy."""
        other = copy.copy(self)
        other.temperature, other._encoded = temperature, None
        return other

    def for_items(self, action_context: np.ndarray) -> TwoTowerPolicy:
        """The same policy with some items encoded once, ahead of time.

        Parameters
        ----------
        action_context : array of shape (n_actions, dim_action_context)
            Every call that passes this very array uses the embeddings of now, whatever becomes of
            its values or of the weights: make another array of items that change. Calls with
            another array encode it as usual.
        """
        served = copy.copy(self)
        served._encoded = (action_context, self._index(action_context))
        return served

    def embed_context(self, context: np.ndarray) -> np.ndarray:
        """Context embeddings ``u(x)``: (n, d_x) -> (n, dim_embedding)."""
        return embed(self.towers, "context", context_features(self.columns, context)).copy()

    def embed_items(self, action_context: np.ndarray) -> np.ndarray:
        """Item embeddings ``v(a)``, a copy: (n_actions, d_a) -> (n_actions, dim_embedding)."""
        return self._index(action_context).embeddings.copy()

    def save(self, path: str | Path) -> None:
        """Write weights, settings and columns to a file, atomically; no code is pickled.

        Parameters
        ----------
        path : str or Path
            Any file name; an existing file is replaced only when the new one is complete. It keeps
            its mode, and a symbolic link still points to it. Several may save to one path at once.

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError
            If weights are not finite.
        """
        write_policy(as_path("path", path), self.towers, self.temperature, self.columns)

    @classmethod
    def load(
        cls,
        path: str | Path,
        towers: TwoTower | None = None,
        device: str | torch.device = "cpu",
    ) -> TwoTowerPolicy:
        """Read a policy written by `save`.

        Parameters
        ----------
        path : str or Path
        towers : TwoTower, optional
            Towers of the same architecture; needed only if they are not those of `TwoTower.mlp`.
            It is copied, not changed. Of the learner's default these are the towers that it was
            given; the linear ones beside them are in the file.
        device : str or torch.device
            Where the policy is to calculate, wherever it did before.

        Returns
        -------
        TwoTowerPolicy

        Raises
        ------
        ValueError
            If the file was not written by `save` or was changed since, as a checksum tells; if it
            does not say how to build the towers and no `towers` are given; or if it holds the
            weights of another architecture.
        OSError
            If the file cannot be read.
        """
        find_device(device)
        return read_policy(as_path("path", path), towers, cls).to(device)

    def _embedded(
        self, context: Any, action_context: Any, first_row: int = 0
    ) -> tuple[np.ndarray, ItemIndex]:
        index = self._index(action_context)
        context = context_features(self.columns, context)
        return embed_queries(self.towers, context, index, first_row), index

    def _index(self, action_context: Any) -> ItemIndex:
        if self._encoded is not None and action_context is self._encoded[0]:
            return self._encoded[1]
        items = items_features(self.columns, action_context)
        return ItemIndex(embed(self.towers, "action_context", items), self.device)


def _moved(towers: TwoTower, device: torch.device) -> TwoTower:
    """These towers, or a copy of them on another device."""
    if device_of(towers) == device:
        return towers
    with torch.inference_mode(False):  # they can be trained on, wherever they were moved
        return copy.deepcopy(towers).to(device)
