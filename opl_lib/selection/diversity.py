"""How many items a policy shows, seen as it is asked for something else."""

from __future__ import annotations

import math

import numpy as np

from ..protocols import PolicyLike, action_probabilities


class Recorder:
    """A policy that adds up what passes through it, so that all is had from one pass."""

    def __init__(self, policy: PolicyLike) -> None:
        self.policy, self.entropy, self.mass = policy, 0.0, np.zeros(1)

    def __call__(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        pi = action_probabilities(self.policy, context, action_context)
        self.mass = self.mass + pi.sum(axis=0)
        self.entropy += entropy(pi)
        return pi


def entropy(p: np.ndarray) -> float:
    """``−Σ p log p`` over all entries, in nats; an entry of 0 adds nothing."""
    return -float((p * np.log(np.where(p > 0, p, 1))).sum())


def effective_number(mass: np.ndarray) -> float:
    """``exp`` of the entropy of masses scaled to sum 1: 1 if one holds all, n if n are equal."""
    return math.exp(entropy(mass / mass.sum()))
