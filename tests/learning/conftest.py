"""Logs for fits side by side, and how large the stacks were."""

import pytest

from opl_lib.learning import loop


@pytest.fixture(scope="module")
def logs(small_world):
    """Four logs of one size, the first and the last of them the same object."""
    logs = [small_world.sample(120, random_state=seed) for seed in range(3)]
    return [*logs, logs[0]]


@pytest.fixture
def stack_sizes(monkeypatch):
    """The number of fits in each stack that was trained, in the order of training."""
    sizes, stack_models = [], loop.stack_models

    def spy(models):
        sizes.append(len(models))
        return stack_models(models)

    monkeypatch.setattr(loop, "stack_models", spy)
    return sizes
