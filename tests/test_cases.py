"""Cases after public reports of this field: what went wrong in silence, with the right values.

Those about the unit and the rarity of rewards are in `learning/test_reward_units.py`.
"""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.linear_model import LogisticRegression

import opl_lib as opl

SMALL = {"hidden": (4,), "dim_embedding": 2}


def log_of(n=6, **columns):
    """Rounds of two items that were shown in turn with probability 1/2."""
    given = {
        "context": np.linspace(-1, 1, n)[:, None],
        "action": np.arange(n) % 2,
        "reward": np.arange(n) % 2,
        "pscore": np.full(n, 0.5),
        "action_context": np.eye(2),
    }
    return opl.BanditFeedback(**{**given, **columns})


def from_frame(clicks, items=None, **named):
    items = {"items": np.eye(2)} if items is None else {"items": items, "item_id": "id"}
    named = {"context": ["x"], "action": "i", "reward": "r", "pscore": "p", **named}
    return opl.BanditFeedback.from_dataframe(clicks, **named, **items)


CLICKS = pd.DataFrame({"x": [0.0, 1.0], "i": [0, 1], "r": [1.0, 0.0], "p": [0.25, 0.5]})


@pytest.fixture(scope="module")
def world():
    return opl.SyntheticWorld(4, 3, 3, logging_policy=opl.softmax(1.0), random_state=0)


# ---- shared memory


def test_a_frame_that_is_edited_changes_no_log():
    clicks = CLICKS.copy()
    log = from_frame(clicks)
    clicks.loc[0, ["x", "r", "p"]] = 99.0, 99.0, 0.0
    assert log.context[0] == 0 and log.reward[0] == 1 and log.pscore[0] == 0.25


def test_an_array_that_is_edited_changes_no_log():
    pscore = np.full(6, 0.5)
    log = log_of(pscore=pscore)
    pscore[:] = 0
    assert (log.pscore == 0.5).all()
    with pytest.raises(ValueError, match="read-only"):
        log.pscore[0] = 0


def test_embeddings_that_are_normalised_change_no_served_policy():
    """As `faiss.normalize_L2` does, in place."""
    policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 2, hidden=(8,), random_state=0))
    items, context = np.random.default_rng(0).normal(size=(6, 2)), np.ones((1, 3))
    served = policy.for_items(items)
    before = served.predict_proba(context, items)
    vectors = served.embed_items(items)
    try:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    except ValueError as error:  # read-only is as good as a copy
        assert "read-only" in str(error)
    np.testing.assert_array_equal(served.predict_proba(context, items), before)
    np.testing.assert_array_equal(policy.predict_proba(context, items), before)


# ---- identity and time


def test_long_ids_that_became_floats_are_refused():
    """2**60 + 1 is 2**60 in double precision: another item."""
    clicks = CLICKS.assign(i=np.array([2**60 + 1, 2**60], dtype=float))
    items = pd.DataFrame({"id": [2**60, 2**60 + 1], "f": [0.0, 1.0]})
    with pytest.raises(ValueError, match=r"action.*row 0"):
        from_frame(clicks, items)
    exact = from_frame(CLICKS.assign(i=[2**60 + 1, 2**60]), items)
    assert exact.action.tolist() == [1, 0]


def test_times_that_are_text_are_refused_with_the_cure():
    days = np.array([f"{day}/{month}/2024" for month in (1, 2) for day in (1, 2, 10)])
    with pytest.raises(ValueError, match=r"timestamp is text.*pandas\.to_datetime"):
        log_of(timestamp=days)
    dates = pd.to_datetime(days, dayfirst=True)
    earlier, later = log_of(timestamp=dates).split_by_time(0.5)
    assert earlier.timestamp.max() == np.datetime64("2024-01-10")
    assert later.timestamp.min() == np.datetime64("2024-02-01")


@pytest.mark.parametrize(
    ("ids", "table", "word"),
    [(["0", "1"], [0, 1], "str"), (["0 ", "1 "], ["0", "1"], "blank"), ([0, 1], ["0", "1"], "str")],
    ids=["text for numbers", "blanks", "numbers for text"],
)
def test_ids_of_another_type_are_called_that(ids, table, word):
    items = pd.DataFrame({"id": table, "f": [0.0, 1.0]})
    with pytest.raises(ValueError, match=rf"action[\s\S]*({word}|text|space|type)") as raised:
        from_frame(CLICKS.assign(i=ids), items)
    assert "Add its features" not in str(raised.value)


def test_ids_that_cannot_be_keys_are_named():
    items = pd.DataFrame({"id": [0, 1], "f": [0.0, 1.0]})
    with pytest.raises(ValueError, match=r"action.*row 0"):
        from_frame(CLICKS.assign(i=[[0], [1]]), items)


def test_numbers_and_dates_do_not_join_as_times():
    logs = [log_of(2, timestamp=[1, 2]), log_of(2, timestamp=np.array(["2024-01-01"] * 2, "M8[D]"))]
    with pytest.raises(ValueError, match=r"timestamp.*log 1"):
        opl.BanditFeedback.concatenate(logs)


def test_users_of_two_stores_stay_apart_or_are_refused():
    """numpy joins int64 with uint64 as float64, which has one number for all six."""
    first, second = 2**60 + np.arange(3), (2**60 + np.arange(3, 6)).astype(np.uint64)
    logs = [log_of(3, user_id=first), log_of(3, user_id=second)]
    try:
        joined = opl.BanditFeedback.concatenate(logs)
    except ValueError as error:
        assert "user_id" in str(error)
    else:
        assert joined.user_id.tolist() == [2**60 + number for number in range(6)]


# ---- what serves is asked what a log is asked


@pytest.fixture(scope="module")
def policy():
    return opl.TwoTowerPolicy(opl.TwoTower.mlp(2, 2, **SMALL, random_state=0))


def test_what_is_under_a_mask_is_not_served(policy):
    context = np.ma.masked_array(np.full((2, 2), -999.0), mask=[[0, 0], [0, 1]])
    with pytest.raises(ValueError, match="context is masked in row 1"):
        policy.predict_proba(context, np.eye(2))


def test_a_missing_value_of_a_nullable_column_is_named_by_its_row(policy):
    context = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [0.5, 0.5]})
    with pytest.raises(ValueError, match=r"context.*row 1"):
        policy.predict_proba(context, np.eye(2))


@pytest.mark.parametrize("name", ["context", "action_context"])
def test_sparse_features_are_called_that(name):
    sparse = scipy.sparse.csr_matrix(np.eye(6 if name == "context" else 2))
    with pytest.raises(ValueError, match=rf"{name} is a sparse matrix.*toarray"):
        log_of(**{name: sparse})


# ---- policies


@pytest.mark.parametrize("shape", [(60, 4), (60, 4, 1)], ids=["rounds by items", "as in obp"])
def test_an_array_of_probabilities_is_a_policy_to_evaluate(world, shape):
    log = world.sample(60, random_state=1)
    pi = np.random.default_rng(0).dirichlet(np.ones(4), size=60)
    weight = pi[np.arange(60), log.action] / log.pscore
    table = opl.evaluate(pi.reshape(shape), log, ["ips", "snips"])
    assert table.policy_value["ips"] == pytest.approx((weight * log.reward).mean())
    expected = (weight * log.reward).sum() / weight.sum()
    assert table.policy_value["snips"] == pytest.approx(expected)
    assert log.support_report(pi.reshape(shape)).mean_weight == pytest.approx(weight.mean())


def test_a_classifier_of_contexts_is_no_policy_and_is_told_how_to_be_one(world):
    log = world.sample(200, random_state=1)
    model = LogisticRegression().fit(log.context, log.action)
    for ask in (log.support_report, lambda policy: opl.evaluate(policy, log, ["ips"])):
        with pytest.raises(TypeError, match=r"predict_proba\(context, action_context\)"):
            ask(model)
        with pytest.raises(TypeError, match="the class uniform: make an object of it"):
            ask(opl.uniform)
    cured = lambda context, action_context: model.predict_proba(context)  # noqa: E731
    assert np.isfinite(opl.evaluate(cured, log, ["ips"]).policy_value["ips"])


# ---- process-wide state


@pytest.mark.parametrize("objective", ["ips", "dr", "regression"])
def test_a_session_in_double_precision_can_fit(world, objective):
    log = world.sample(60, random_state=1)

    def scores():
        learner = opl.OffPolicyLearner(objective, epochs=1, **SMALL)
        return learner.fit(log).policy_.scores(log.context, log.action_context)

    plain = scores()
    torch.set_default_dtype(torch.float64)
    try:
        double = scores()
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(double, plain)


def test_one_seed_is_one_fit_in_any_thread(world):
    log = world.sample(40, random_state=1)

    def scores(_):
        learner = opl.OffPolicyLearner("ips", epochs=1, **SMALL, random_state=7)
        return learner.fit(log).policy_.scores(log.context, log.action_context)

    alone = scores(0)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(scores, range(40)))
    assert sum(not np.array_equal(each, alone) for each in together) == 0


def test_a_small_weight_that_underflows_stops_no_evaluation(world):
    log = world.sample(500, random_state=1)
    plain = opl.evaluate(opl.softmax(0.01), log, ["ips", "snips"])
    with np.errstate(all="raise"):
        pd.testing.assert_frame_equal(opl.evaluate(opl.softmax(0.01), log, ["ips", "snips"]), plain)


# ---- seeds, files


@pytest.mark.parametrize(
    "use",
    [
        lambda seed: opl.OffPolicyLearner("ips", random_state=seed),
        lambda seed: opl.SyntheticWorld(3, 2, 2, random_state=seed),
        lambda seed: opl.select({"u": opl.uniform()}, log_of(), estimator="ips", random_state=seed),
        lambda seed: opl.TwoTower.mlp(2, 2, random_state=seed),
        lambda seed: log_of().split(0.5, seed),
    ],
    ids=["learner", "world", "select", "towers", "split"],
)
def test_a_seed_of_128_bits_is_refused_by_name(use):
    """NumPy's documentation advises such, and torch takes none."""
    with pytest.raises(ValueError, match=r"random_state must be an integer of at most 4294967295"):
        use(122807528840384100672342137672332424406)


@pytest.mark.parametrize(
    "content",
    [b"user,item\n1,2\n", b'{"a": 1}', b"version https://git-lfs\n", b"<!DOCTYPE html>", b""],
    ids=["table", "json", "pointer", "page", "nothing"],
)
def test_a_file_that_is_no_policy_is_said_to_be_none(tmp_path, content):
    file = tmp_path / "policy.pt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"policy\.pt"):
        opl.TwoTowerPolicy.load(file)


def test_two_writers_of_one_file_leave_a_whole_policy(tmp_path):
    policies = [
        opl.TwoTowerPolicy(opl.TwoTower.mlp(5, 5, hidden=(20,), random_state=seed))
        for seed in range(2)
    ]
    file, weights = tmp_path / "policy.pt", "context_tower.0.weight"

    def write(number):
        for _ in range(10):
            policies[number % 2].save(file)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    found = opl.TwoTowerPolicy.load(file).towers.state_dict()[weights]
    assert any(torch.equal(found, p.towers.state_dict()[weights]) for p in policies)
    assert os.listdir(tmp_path) == ["policy.pt"]


# ---- propensities


@pytest.mark.parametrize("n_others", [0, 1])
def test_propensities_of_one_item_are_estimated_with_findings_or_refused_clearly(n_others):
    context, action = np.random.default_rng(0).normal(size=(60, 2)), np.zeros(60, dtype=int)
    action[:n_others] = 1
    try:
        estimate = opl.estimate_propensities(context, action, n_actions=3)
    except ValueError as error:
        assert "action" in str(error) and "solver" not in str(error)
    else:
        assert (estimate.pscore[n_others:] > 0.9).all() and (estimate.pscore <= 1).all()
        assert any("items never shown" in finding for finding in estimate.findings)


def test_a_weight_that_overflows_is_refused_and_a_giant_is_a_finding():
    with pytest.raises(ValueError, match=r"pscore.*row 0"):
        log_of(40, pscore=np.r_[1e-320, np.full(39, 0.5)])
    giant = log_of(40, pscore=np.r_[1e-300, np.full(39, 0.5)])
    assert any(
        "pscore" in finding or "weight" in finding
        for finding in giant.support_report(opl.uniform()).findings
    )


# ---- frames


@pytest.mark.parametrize(
    ("column", "values"), [("p", ["0.25", "0.5"]), ("r", ["1", "0"]), ("x", ["31", "52"])]
)
def test_a_number_stored_as_text_is_to_be_converted(column, values):
    with pytest.raises(
        ValueError, match=rf"'{column}'.*number stored as text.*to_numeric"
    ) as raised:
        from_frame(CLICKS.assign(**{column: values}))
    assert "get_dummies" not in str(raised.value)


def test_one_level_of_two_is_no_name_that_is_there_twice():
    clicks = CLICKS.copy()
    clicks.columns = pd.MultiIndex.from_product([CLICKS.columns, ["log"]])
    with pytest.raises(ValueError, match=r"level") as raised:
        from_frame(clicks)
    assert "several columns called" not in str(raised.value)
    whole = {name: (name, "log") for name in "xirp"}
    named = {
        "context": [whole["x"]],
        "action": whole["i"],
        "reward": whole["r"],
        "pscore": whole["p"],
    }
    try:
        assert from_frame(clicks, **named).n_rounds == 2
    except (TypeError, ValueError) as error:
        assert "level" in str(error)


# ---- scale


def test_features_far_below_unit_scale_are_warned_of(world):
    log = world.sample(60, random_state=1)
    for name, unit in (("context", 1e-4), ("context", 1e4), ("action_context", 1e-4)):
        columns = {
            n: getattr(log, n) for n in ("context", "action", "reward", "pscore", "action_context")
        }
        columns[name] = columns[name] * unit
        with pytest.warns(UserWarning, match=f"{name}, column .* standardise"):
            opl.OffPolicyLearner("ips", epochs=1, **SMALL).fit(opl.BanditFeedback(**columns))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opl.OffPolicyLearner("ips", epochs=1, **SMALL).fit(log)
