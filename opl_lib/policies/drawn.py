"""What is asked of every policy that is served: probabilities, and draws that say theirs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np


class Drawn(ABC):
    """A policy over items; a subclass says how likely each is, and draws."""

    def predict_proba(
        self, context: np.ndarray, action_context: np.ndarray, eligible: Any = None
    ) -> np.ndarray:
        """Probabilities of all items.

        Parameters
        ----------
        context : array of shape (n, dim_context)
        action_context : array of shape (n_actions, dim_action_context)
        eligible : boolean array of shape (n, n_actions) or (n_actions,), optional
            Items that may be shown, in each row or in all; others get probability 0.

        Returns
        -------
        float64 array of shape (n, n_actions)
            Rows sum to 1.
        """
        return self._probabilities(context, action_context, eligible)

    def sample(
        self,
        context: np.ndarray,
        action_context: np.ndarray,
        random_state: int | None = None,
        eligible: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw one item for each context, and say with which probability: what to show and to log.

        Rows are handled a few at a time, so a large catalogue needs little memory.

        Parameters
        ----------
        context : array of shape (n, dim_context)
        action_context : array of shape (n_actions, dim_action_context)
        random_state : int, optional
            For serving, leave it out: every call draws anew. A number repeats the draw, as a test
            or an experiment needs; given the same one at every request, all requests share the
            same noise, and what is shown is no longer random.
        eligible : boolean array of shape (n, n_actions) or (n_actions,), optional
            Items that may be shown, in each row or in all.

        Returns
        -------
        action : array of shape (n,)
            Row numbers of `action_context`, or ids of the items of a frame.
        pscore : array of shape (n,)
            ``π(action|x)``, to be logged with the action.
        """
        return self._sampled(context, action_context, random_state, eligible)

    @abstractmethod
    def _probabilities(self, context: Any, action_context: Any, eligible: Any) -> np.ndarray:
        """What `predict_proba` returns."""

    @abstractmethod
    def _sampled(
        self, context: Any, action_context: Any, random_state: int | None, eligible: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """What `sample` returns."""
