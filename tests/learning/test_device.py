"""Learning on a device: the same numbers, and no step that fetches, sends or waits."""

import pickle
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from learning.learners import custom_towers, make_learner, make_regressor, probabilities
from learning.test_checkpoints import CASES, SMALL, always, kills, same
from pretended import ELSEWHERE, MovedInAStep, pretended_device

import opl_lib as opl
from opl_lib.learning import batches, draws, streamed
from opl_lib.objectives import OBJECTIVES, Objective, clusters

assert always and kills  # fixtures
pytestmark = pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
CLUSTERS = [0, 0, 1, 1]


@pytest.fixture
def device(monkeypatch):
    """The pretended device. It is strict from the first batch of an epoch to the last."""
    with pretended_device(monkeypatch) as it:

        def watched(its_batches):
            def of_epoch(log, *given) -> Iterator:
                try:
                    for batch in its_batches(log, *given):
                        it.n_steps += log.device == ELSEWHERE
                        it.strict = it.forbids and log.device == ELSEWHERE
                        yield batch
                finally:
                    it.strict = False

            return of_epoch

        def once(function):
            def relaxed(*given):
                with it.relaxed():
                    return function(*given)

            return relaxed

        it.n_steps, it.forbids = 0, True
        monkeypatch.setattr(batches.StackedLog, "batches", watched(batches.StackedLog.batches))
        monkeypatch.setattr(streamed.StreamedLog, "batches", watched(streamed.StreamedLog.batches))
        monkeypatch.setattr(draws.Draws, "_next", once(draws.Draws._next))
        monkeypatch.setattr(clusters, "_tensor", once(clusters._tensor))
        yield it


def own_objective(logits, batch):
    """An objective of one's own, differentiated by torch, one model at a time."""
    pi = torch.softmax(logits, dim=1).gather(1, batch.action[:, None])[:, 0]
    return ((pi / batch.pscore).clamp(max=2) * batch.reward).mean()


OWN = {
    "own": Objective(own_objective, only_logged_item=True),
    "clusters": opl.mips(CLUSTERS),
    "conjunct effects": opl.offcem(CLUSTERS),
    "potec": opl.potec(CLUSTERS),
    "regularised": opl.regularised("dr", entropy=0.1, imitation=0.1, kl=0.1),
    "baseline by value": opl.baseline_ips("value"),
}


@pytest.fixture(scope="module")
def log(small_world):
    return replace(small_world.sample(130, random_state=1), cluster_pscore=np.full(130, 0.9))


@pytest.fixture(scope="module")
def restricted(log):
    """Items that come and go; what was logged could be shown."""
    eligible = np.random.default_rng(0).random((130, 4)) < 0.7
    eligible[np.arange(130), log.action] = True
    return replace(log, eligible=eligible)


def assert_same_bits(learners, log, device):
    here, there = learners
    assert here.policy_.device == torch.device("cpu") and there.policy_.device == ELSEWHERE
    assert np.array_equal(probabilities(here, log), probabilities(there, log))
    assert here.history_ == there.history_
    assert device.n_steps > 0


def here_and_there(log, **settings):
    return [make_learner(device=where, **settings).fit(log) for where in ("cpu", ELSEWHERE)]


@pytest.mark.parametrize("objective", [*OBJECTIVES, *OWN])
def test_every_objective_learns_the_same_bits_and_moves_nothing(device, objective, log):
    settings = {"objective": OWN.get(objective, objective)}
    assert_same_bits(here_and_there(log, **settings), log, device)


WAYS = {
    "exact": {"catalogue": "exact"},
    "streamed": {"catalogue": "streamed"},
    "sampled": {"catalogue": "sampled", "n_sampled": 2, "epochs": 5},
    "in order": {"shuffle": False},
    "towers of one's own": {"towers": custom_towers()},
    "rewards in another unit": {"objective": "ips", "weight_decay": 0.1},
}


@pytest.mark.parametrize("objective", ["ips", "dr"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("some", [False, True], ids=["all items", "eligible items"])
def test_so_does_every_way_to_see_the_items(device, way, objective, some, log, restricted):
    log = restricted if some else log
    if way == "rewards in another unit":
        log = replace(log, reward=100 * log.reward)
    settings = {"objective": objective, **WAYS[way]}
    assert_same_bits(here_and_there(log, **settings), log, device)


@pytest.mark.parametrize("architecture", ["mlp", "custom"])
def test_so_do_regressions(device, architecture, log):
    for settings in ({}, {"batch_size": 3, "epochs": 1}):  # all items are encoded, or those logged
        learners = here_and_there(
            log, objective="regression", architecture=architecture, **settings
        )
        assert_same_bits(learners, log, device)


def test_so_does_the_default_with_its_bilinear_part(device, log):
    settings = {**SMALL, "progress": False}
    learners = [
        opl.OffPolicyLearner(device=where, **settings).fit(log) for where in ("cpu", ELSEWHERE)
    ]
    assert_same_bits(learners, log, device)


def test_so_does_a_log_on_disk(device, log, tmp_path, monkeypatch):
    """Here a group of blocks is sent at a time, and read between the steps."""
    monkeypatch.setattr(streamed, "_BLOCK", 50)
    on_disk = opl.write_log(tmp_path / "log", log)
    assert_same_bits(here_and_there(on_disk, objective="ips"), log, device)


def test_so_does_a_stack_of_fits(device, log, small_world):
    logs = [log, small_world.sample(130, random_state=3), log]
    settings = [{"learning_rate": 1e-2}, {"learning_rate": 1e-3}, {"random_state": 1}]
    alike = [
        [make_learner("ips", device=where, **each) for each in settings]
        for where in ("cpu", ELSEWHERE)
    ]
    opl.fit_many([*alike[0], *alike[1]], [*logs, *logs])
    for pair in zip(*alike, strict=True):
        assert_same_bits(pair, log, device)


def test_the_reward_model_is_where_the_learner_is(device, log):
    settings = {"objective": "dr", "reward_model": None, "epochs": 2}
    learners = here_and_there(log, **settings)
    assert_same_bits(learners, log, device)
    assert learners[1].reward_model_.models[0].policy_.device == ELSEWHERE
    regressors = [make_regressor(device=where).fit(log) for where in ("cpu", ELSEWHERE)]
    predicted = [each.predict_reward(log.context, log.action_context) for each in regressors]
    assert np.array_equal(*predicted)


def test_predictions_that_are_too_many_to_store_are_sent_step_by_step(device, log, monkeypatch):
    monkeypatch.setattr(batches, "MAX_STORED_Q_HAT", 10)
    device.forbids = False
    for catalogue in ("exact", "streamed", "sampled"):
        settings = {"objective": "dr", "catalogue": catalogue, "n_sampled": 2}
        assert_same_bits(here_and_there(log, **settings), log, device)


def test_draws_are_sent_some_steps_at_a_time(device):
    own = draws.Draws([torch.Generator().manual_seed(3)], ELSEWHERE)
    before, (same_seed,) = device.n_moves, [torch.Generator().manual_seed(3)]
    for _ in range(2 * draws._STEPS_AHEAD):
        expected = torch.randint(9, (5,), generator=same_seed)
        assert own.integers(9, 5).tolist() == [expected.tolist()]
    assert own.state()[0].equal(same_seed.get_state())
    n_lists = 2 * draws._STEPS_AHEAD
    assert device.n_moves - before - n_lists == 2
    expected = torch.rand(4, generator=same_seed, dtype=torch.float64)
    assert own.uniform(4).tolist() == [expected.tolist()]  # the unused ones were not lost
    assert own.state()[0].equal(same_seed.get_state())


# ---- checkpoints


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("first", ["cpu", ELSEWHERE], ids=["from the processor", "to it"])
def test_a_checkpoint_goes_on_elsewhere(device, case, first, log, tmp_path, kills):
    device.forbids = False
    settings, places = {**SMALL, **CASES[case]}, [first, "cpu" if first == ELSEWHERE else ELSEWHERE]
    plain = opl.OffPolicyLearner(**settings).fit(log)

    def fit():
        places.reverse()  # at every start on the other one
        learner = opl.OffPolicyLearner(**settings, device=places[0])
        return learner.fit(log, checkpoint=tmp_path / "checkpoint")

    resumed, n_kills = kills(fit, apart=3)
    assert n_kills >= 2 and same(resumed, plain, log)


def test_a_fitted_learner_opens_where_the_device_is_not(device, log):
    learner = make_learner("dr", reward_model=None, device=ELSEWHERE).fit(log)
    here = pickle.loads(pickle.dumps(learner))
    assert here.policy_.device == torch.device("cpu") and here.get_params()["device"] == ELSEWHERE
    assert np.array_equal(probabilities(here, log), probabilities(learner, log))


# ---- the device itself


def test_what_a_step_must_not_do_is_found(device):
    """Or the tests above could not fail."""
    x = torch.tensor([1.0, -1.0]).to(ELSEWHERE)
    wrong = {
        "fetch": lambda: x.cpu(),
        "fetch a number": lambda: x.sum().item(),
        "ask": lambda: bool(x.isfinite().all()),
        "fetch an array": lambda: x.numpy(force=True),
        "send": lambda: torch.zeros(()).to(ELSEWHERE),
        "make elsewhere": lambda: torch.zeros(2),
        "send in silence": lambda: x.copy_(here),
        "wait for a size": lambda: x.nonzero(),
        "wait for a mask": lambda: x[x > 0],
        "wait to write": lambda: x.__setitem__(x > 0, 0.0),
        "index from elsewhere": lambda: x[place],
        "mix": lambda: x + here,
        "mix a scalar": lambda: x + here[0],
    }
    here, place = torch.ones(2), torch.tensor([0])
    for name, function in wrong.items():
        device.strict = True
        with pytest.raises(MovedInAStep):
            function()
            raise AssertionError(name)
    assert (x * 2 + torch.zeros(2, device=ELSEWHERE)).sum() is not None
    device.strict = False
    for mixed in (lambda: x + here, lambda: x[place], lambda: x.numpy()):
        with pytest.raises((RuntimeError, TypeError)):
            mixed()


@pytest.mark.parametrize("place", ["take_step", "update", "evaluate"])
def test_a_move_that_somebody_adds_is_found(device, place, log, monkeypatch):
    from opl_lib.learning import inputs, loop, optimizer

    added = {
        "take_step": (loop._STEPS, "exact"),
        "update": (optimizer.FlatAdam, "step"),
        "evaluate": (inputs.Setup, "evaluate"),
    }
    owner, name = added[place]
    plain = owner[name] if isinstance(owner, dict) else getattr(owner, name)

    def with_a_move(first, *given):
        flat = getattr(first, "_moments", None) or [first.temperature]
        flat[0].sum().item()
        return plain(first, *given)

    put = monkeypatch.setitem if isinstance(owner, dict) else monkeypatch.setattr
    put(owner, name, with_a_move)
    with pytest.raises(MovedInAStep):
        make_learner("ips", device=ELSEWHERE).fit(log)


# ---- a GPU, where there is one


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("objective", ["ips", "dr", "regression"])
@pytest.mark.parametrize("way", ["exact", "streamed", "sampled"])
def test_a_gpu_learns_the_same_to_rounding(objective, way, log):
    settings = {"objective": objective, **WAYS[way], "hidden": (8,), "dim_embedding": 4}
    here, there = (make_learner(device=where, **settings).fit(log) for where in ("cpu", "auto"))
    assert there.policy_.device.type == "cuda"
    scores = [each.policy_.scores(log.context, log.action_context) for each in (here, there)]
    np.testing.assert_allclose(*scores, rtol=1e-3, atol=1e-4)
