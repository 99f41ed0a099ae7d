"""The service: what it answers and refuses, what it logs, and what a kill cannot take."""

import asyncio
import json
import shutil

import numpy as np
import pytest
from serve import draws
from serve.feedback import read_feedback
from serve.kills import killed, killed_at_start, lost
from serve.model import load_model, save_model
from serve.process import served
from serve.records import Records, read_records

import opl_lib as opl

N_ITEMS, WIDTH = 12, 3
IDS = [f"item {number}" for number in range(N_ITEMS)]
ITEMS = np.random.default_rng(0).normal(size=(N_ITEMS, 4)).astype(np.float32)
CONTEXT = [0.5, -1.0, 0.25]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    towers = opl.TwoTower.mlp(WIDTH, 4, (5,), 4, random_state=0)
    save_model(folder, opl.TwoTowerPolicy(towers, 0.1), ITEMS, IDS, epsilon=0.2, k=4)
    return folder


@pytest.fixture(scope="module")
def service(folder, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "log.jsonl"
    with served(folder, log) as (client, process):
        yield client, process, log


def test_an_answer_is_drawn_and_logged_before_it_is_given(service, folder):
    client, _, log = service
    eligible = [IDS[7], IDS[2], IDS[2]]
    answer = client.post("/recommend", json={"context": CONTEXT, "eligible": eligible}).json()
    record = list(read_records(log))[-1]
    assert answer["action"] in eligible and record["eligible"] == [IDS[2], IDS[7]]
    assert record["id"] == answer["request_id"] and record["context"] == CONTEXT
    assert set(record["retrieved"]) == {IDS[2], IDS[7]}
    model = load_model(folder)
    mask = np.isin(np.arange(N_ITEMS), [2, 7])
    pi = model.policy.predict_proba(np.array([CONTEXT]), ITEMS, mask)[0]
    assert answer["pscore"] == pytest.approx(pi[IDS.index(answer["action"])], rel=1e-5)
    assert answer["policy"] == record["policy"] == model.version


def test_a_reward_is_taken_once_and_the_same_again(service):
    client, _, log = service
    name = client.post("/recommend", json={"context": CONTEXT}).json()["request_id"]
    first = {"request_id": name, "reward": 1.0}
    n_before = sum(1 for _ in read_records(log))
    for _ in range(2):  # an acknowledgement may be lost on its way
        assert client.post("/reward", json=first).json() == first
    again = client.post("/reward", json={**first, "reward": 0.0})
    assert again.status_code == 409 and "has the reward 1.0 already" in again.json()["error"]
    assert sum(1 for _ in read_records(log)) == n_before + 1


BAD = {
    "no body": ("/recommend", b"", 422, "body: Field required"),
    "no JSON": ("/recommend", b"{", 422, "JSON decode error"),
    "a list": ("/recommend", b"[]", 422, "body: Input should be a valid dictionary"),
    "no context": ("/recommend", b"{}", 422, "context: Field required"),
    "text": ("/recommend", b'{"context": ["1", 2, 3]}', 422, "context.0: Input should be a valid"),
    "truth": (
        "/recommend",
        b'{"context": [true, 2, 3]}',
        422,
        "context.0: Input should be a valid",
    ),
    "NaN": ("/recommend", b'{"context": [1, NaN, 3]}', 422, "context.1: Input should be a finite"),
    "infinity": ("/recommend", b'{"context": [1, 1e999, 3]}', 422, "context.1: Input should be"),
    "a giant": ("/recommend", b'{"context": [1, 1e30, 3]}', 422, "context.1: Input should be less"),
    "too few": (
        "/recommend",
        b'{"context": [1, 2]}',
        422,
        "context has 2 features, and must have 3",
    ),
    "unknown item": (
        "/recommend",
        b'{"context": [1, 2, 3], "eligible": ["item 1", "zz"]}',
        422,
        "eligible: there is no item 'zz'",
    ),
    "nothing eligible": (
        "/recommend",
        b'{"context": [1, 2, 3], "eligible": []}',
        422,
        "eligible: List should have at least 1 item",
    ),
    "number as id": (
        "/recommend",
        b'{"context": [1, 2, 3], "eligible": [1]}',
        422,
        "eligible.0: Input should be a valid string",
    ),
    "a renamed field": (
        "/recommend",
        b'{"features": [1, 2, 3]}',
        422,
        "context: Field required",
    ),
    "too many": ("/recommend", b'{"context": [1, 2, 3, 4]}', 422, "context has 4 features"),
    "nothing as id": (
        "/recommend",
        b'{"context": [1, 2, 3], "eligible": [null]}',
        422,
        "eligible.0: Input should be a valid string",
    ),
    "one item, no list": (
        "/recommend",
        b'{"context": [1, 2, 3], "eligible": "item 1"}',
        422,
        "eligible: Input should be a valid list",
    ),
    "another field": (
        "/recommend",
        b'{"context": [1, 2, 3], "k": 3}',
        422,
        "k: Extra inputs are not permitted",
    ),
    "deep": ("/recommend", b"[" * 100_000, 422, ""),
    "not text": ("/recommend", b"\xff\xfe", 422, ""),
    "long": ("/recommend", b" " * 4_000_001, 413, "the body is longer than 4000000 bytes"),
    "no request": (
        "/reward",
        b'{"request_id": "zz", "reward": 1}',
        404,
        "request_id 'zz' is not known",
    ),
    "no reward": ("/reward", b'{"request_id": "zz"}', 422, "reward: Field required"),
    "NaN reward": (
        "/reward",
        b'{"request_id": "zz", "reward": NaN}',
        422,
        "reward: Input should be a finite",
    ),
    "no such page": ("/buy", b"{}", 404, "Not Found"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_request_is_refused_and_changes_nothing(service, what):
    client, process, log = service
    path, body, status, message = BAD[what]
    before = log.read_bytes()
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert answer.status_code in (status, 400) and message in answer.json()["error"]
    assert log.read_bytes() == before and process.poll() is None
    assert client.get("/health").json()["status"] == "ok"


def test_a_body_of_unknown_length_and_another_method_are_refused(service):
    client, _, _ = service
    answer = client.post("/recommend", content=iter([b"{}"]))
    assert answer.status_code == 411 and "Content-Length" in answer.json()["error"]
    assert client.get("/recommend").status_code == 405


def test_health_and_metrics_say_what_was_done(service, folder):
    client, _, _ = service
    assert client.get("/health").json() == {
        "status": "ok",
        "policy": load_model(folder).version,
        "items": N_ITEMS,
    }

    def shown():
        lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines())
        assert float(lines["serve_seconds_total"]) > 0
        return int(lines["serve_shown_total"])

    before = shown()
    client.post("/recommend", json={"context": CONTEXT})
    assert shown() == before + 1


def test_a_log_in_use_and_a_folder_without_a_model_are_named(service, folder, tmp_path):
    _, _, log = service
    for wrong, message in (((folder, log), "is in use"), ((tmp_path, log), "policy.pt")):
        with pytest.raises(RuntimeError, match=f"the service did not start: .*{message}"):
            with served(*wrong):
                pass


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_arrays(**changed):
    def write(path):
        arrays = {"items": ITEMS, "ids": np.array(IDS), **changed}
        np.savez(path, **{name: array for name, array in arrays.items() if array is not None})

    return write


def settings(text):
    return lambda path: path.write_text(text, encoding="utf-8")


BAD_FILES = {
    "no items": ("items.npz", lambda path: path.unlink(), "No such file"),
    "half of the items": ("items.npz", half, "is not what save_model wrote, or was damaged"),
    "no file of items": ("items.npz", settings("zz"), "is not what save_model wrote"),
    "a missing column": ("items.npz", other_arrays(items=ITEMS[:, 1:]), "takes 4 of each"),
    "a missing item": ("items.npz", other_arrays(items=ITEMS[1:]), r"\(11, 4\) for 12 items"),
    "a renamed array": ("items.npz", other_arrays(ids=None, names=np.array(IDS)), "'ids"),
    "NaN": ("items.npz", other_arrays(items=ITEMS * np.nan), "must be finite"),
    "half of the policy": ("policy.pt", half, "policy.pt"),
    "no settings": ("settings.json", settings(""), "is not what save_model wrote"),
    "a missing setting": ("settings.json", settings('{"index": "exact", "k": 3}'), "epsilon"),
    "an unknown index": ("settings.json", settings('{"index": "zz"}'), "zz"),
    "a share of 2": (
        "settings.json",
        settings('{"index": "exact", "epsilon": 2, "k": 3}'),
        "epsilon must be .* got 2",
    ),
    "text for a number": (
        "settings.json",
        settings('{"index": "exact", "epsilon": 0.1, "k": "3"}'),
        "k must be an integer .* got '3'",
    ),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_damaged_model_is_refused_with_the_name_of_its_file(folder, tmp_path, what):
    name, damage, message = BAD_FILES[what]
    shutil.copytree(folder, tmp_path / "model")
    damage(tmp_path / "model" / name)
    with pytest.raises((OSError, TypeError, ValueError), match=message):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("index", ["compressed", "hnsw"])
def test_a_model_with_an_approximate_index_answers(folder, tmp_path, index):
    learned = opl.TwoTowerPolicy.load(folder / "policy.pt")
    save_model(tmp_path / "model", learned, ITEMS, IDS, 0.2, 4, index)
    answers, _ = answered(tmp_path / "model", tmp_path / "log", [(CONTEXT, None), (CONTEXT, [3])])
    assert all(0 < answer["pscore"] <= 1 for answer in answers)


def test_items_of_equal_features_are_named_when_they_are_saved(folder, tmp_path):
    learned = opl.TwoTowerPolicy.load(folder / "policy.pt")
    same = ITEMS[[0, 1, 2, 1, 4, 5, 6, 7, 8, 9, 10, 1]]
    with pytest.warns(UserWarning, match="items: 2 have .*, such as 'item 3' those of 'item 1'"):
        save_model(tmp_path, learned, same, IDS)


def test_visitors_that_are_far_from_any_log_are_counted_and_said_once(folder, tmp_path, caplog):
    asks = [([0.5, value, 0.25], None) for value in (1.0, 2e5, -999.0, -3e3)]
    answers, counts = answered(folder, tmp_path / "log", asks)
    assert len(answers) == 4 and counts["far"] == 2
    (said,) = caplog.messages
    assert said.startswith("context.1 is 200000, and features are near unit scale")


# ---- the log is proven right


def answered(folder, log, asks, rewards=()):
    """Let what draws answer at once, without HTTP."""

    async def all_at_once():
        service = draws.Draws(load_model(folder), Records(log))
        answers = await asyncio.gather(*(service.ask(draws.Ask, *ask) for ask in asks))
        for answer, reward in zip(answers, rewards, strict=False):
            await service.ask(draws.Reward, answer["request_id"], reward)
        counts = dict(service.counts)
        service.close()
        return answers, counts

    return asyncio.run(all_at_once())


def test_the_log_is_read_back_and_has_mean_weight_one(folder, tmp_path):
    rng, n = np.random.default_rng(0), 900
    sets = [None, [0, 3, 5, 7, 9], list(range(8))]
    asks = [(rng.normal(size=WIDTH).tolist(), sets[row % 3]) for row in range(n)]
    answers, counts = answered(folder, tmp_path / "log", asks, rewards=[1.0] * 100)
    assert counts["shown"] == n and counts["reward"] == 100
    assert counts["batches"] - 100 < n / 10  # requests shared an fsync
    log = read_feedback(tmp_path / "log", ITEMS, IDS)
    assert log.n_rounds == n and log.reward.sum() == 100
    by_id = {answer["request_id"]: answer for answer in answers}
    records = list(read_records(tmp_path / "log"))[:n]
    for row, record in enumerate(records):
        answer = by_id[record["id"]]
        assert IDS[log.action[row]] == answer["action"] and log.pscore[row] == answer["pscore"]
        allowed = record["eligible"] or IDS
        assert [IDS[a] for a in np.flatnonzero(log.eligible.mask()[row])] == allowed
    model = load_model(folder)
    pi = model.policy.predict_proba(log.context, ITEMS, log.eligible)
    np.testing.assert_allclose(pi[np.arange(n), log.action], log.pscore, rtol=1e-4)
    weight = 1 / log.eligible.n_eligible / log.pscore  # of a policy that draws any item
    assert abs(weight.mean() - 1) < 3 * weight.std() / np.sqrt(n)


def test_only_what_is_asked_for_is_read(folder, tmp_path):
    answered(folder, tmp_path / "log", [(CONTEXT, None)] * 5, rewards=[0.5, 0.25])
    log = read_feedback(tmp_path / "log", ITEMS, IDS, without_reward=None)
    assert sorted(log.reward) == [0.25, 0.5] and log.eligible is None
    with pytest.raises(ValueError, match="no request that was answered by the policy 'other'"):
        read_feedback(tmp_path / "log", ITEMS, IDS, policy="other")
    with pytest.raises(ValueError, match=r"ids: .* names the item 'item"):
        read_feedback(tmp_path / "log", ITEMS, [f"x{name}" for name in IDS])


def test_a_disk_that_is_full_is_said_and_nothing_is_acknowledged(folder, tmp_path):
    class Full(Records):
        def append(self, records):
            raise OSError("no space left")

    async def ask():
        service = draws.Draws(load_model(folder), Full(tmp_path / "log"))
        for _ in range(2):
            with pytest.raises(
                draws.Refused, match="log cannot be written: no space left"
            ) as error:
                await service.ask(draws.Ask, CONTEXT, None)
            assert error.value.status == 503
        service.close()

    asyncio.run(ask())


def test_another_policy_is_another_version(folder, tmp_path):
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    learned = opl.TwoTowerPolicy.load(folder / "policy.pt")
    save_model(tmp_path, learned, ITEMS, IDS, **settings)
    same = load_model(tmp_path).version
    save_model(tmp_path, learned, ITEMS, IDS, **{**settings, "epsilon": 0.1})
    assert load_model(tmp_path).version != same
    with pytest.raises(ValueError, match="no two alike"):
        save_model(tmp_path, learned, ITEMS, ["a"] * N_ITEMS)


def test_a_service_that_is_killed_loses_nothing_that_it_acknowledged(folder, tmp_path):
    """`benchmarks/service_kills.py` does fifty."""
    acknowledged = []
    for again in range(2):
        acknowledged += killed(folder, tmp_path / "log", WIDTH, 0.5, again)
    assert acknowledged and lost(tmp_path / "log", acknowledged) == []
    killed_at_start(folder, tmp_path / "log", 1.0)
    assert lost(tmp_path / "log", acknowledged) == []
    with served(folder, tmp_path / "log") as (client, _):  # a reward for what was shown before
        name = next(answer["request_id"] for kind, answer in acknowledged if kind == "shown")
        assert client.post("/reward", json={"request_id": name, "reward": 1.0}).status_code == 200
    content = (tmp_path / "log").read_bytes()
    (tmp_path / "log").write_bytes(content[: len(content) // 3])
    assert lost(tmp_path / "log", acknowledged)  # the check can fail
