"""Saved policies: whole at every moment, and whatever is wrong with a file is one clear error."""

import copy
import io
import json
import os
import pickle
import signal
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import torch

import opl_lib as opl
from opl_lib.policies.policy_file import _checksum

SETTINGS = {"dim_context": 3, "dim_action_context": 2, "hidden": (4,), "dim_embedding": 2}
CONTEXT, ITEMS = np.arange(6.0).reshape(2, 3) / 5, np.eye(2)


def made(seed=0, **settings):
    return opl.TwoTowerPolicy(opl.TwoTower.mlp(**SETTINGS | settings, random_state=seed), 0.5)


LAYERS = {
    "layers alone": {},
    "a linear layer beside": {"dim_linear": 5},
    "known items": {"n_known": 2},
    "known items, a linear layer beside": {"dim_linear": 5, "n_known": 2},
}


@pytest.fixture(scope="module", params=LAYERS.values(), ids=LAYERS)
def whole(tmp_path_factory, request):
    """The bytes of a file as `save` writes it."""
    path = tmp_path_factory.mktemp("whole") / "policy.pt"
    made(**request.param).save(path)
    return path.read_bytes()


def made_of(whole):
    return made(
        **{name: n for name, n in read(whole)["mlp"].items() if name in ("dim_linear", "n_known")}
    )


def read(content):
    return torch.load(io.BytesIO(content), weights_only=True)


def written(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def signed(content):
    """With the checksum that an attacker, or a bug in `save`, would have written."""
    with suppress(Exception):
        content["sha256"] = _checksum(content)
    return written(content)


# ---- damaged files


def flipped(whole, rng):
    """Single bits, in every part of the file."""
    for place in np.unique(np.r_[rng.integers(len(whole), size=150), 0 : len(whole) : 97]):
        content = bytearray(whole)
        content[place] ^= 1 << rng.integers(8)
        yield f"bit of byte {place}", bytes(content)


def cut(whole, rng):
    for length in rng.integers(len(whole) - 64, size=60):
        yield f"cut at {length}", whole[:length]
        yield f"zeros from {length}", whole[:length] + bytes(len(whole) - length)


def overwritten(whole, rng):
    for place in rng.integers(len(whole) - 64, size=35):
        noise = rng.integers(256, size=64, dtype=np.uint8).tobytes()
        yield f"noise at {place}", whole[:place] + noise + whole[place + 64 :]
    yield "another policy behind", whole + written(read(whole) | {"temperature": 2.0})


def of_wrong_entries(whole, rng):
    others = [None, 3, True, -2.5, "x", b"x", [], {}, [1], {"x": 1}, {1: 2}, (1,), torch.ones(2)]
    for name in read(whole):
        rest = {key: value for key, value in read(whole).items() if key != name}
        wrong = [rest, *(rest | {name: value} for value in others)]
        for number, content in enumerate(wrong):
            yield f"{name}: {number}", written(content)
            if name != "sha256":
                yield f"{name}: {number}, signed", signed(content)
    yield "an entry more", signed(read(whole) | {"more": 1})


def of_wrong_settings(whole, rng):
    right = read(whole)["mlp"]
    huge = 30_000
    wrong = [
        *(
            {**right, "hidden": hidden}
            for hidden in (None, 3, "4", [], [4, 4], [-4], [4.0], [True])
        ),
        *({**right, "hidden": hidden} for hidden in ([huge, huge], [1] * 50_000, {4: 4}, (4,))),
        *({**right, name: 0} for name in right),
        *({**right, name: 2**70} for name in right),
        *({key: value for key, value in right.items() if key != name} for name in right),
        {**right, "more": 1},
        {**right, "random_state": 0},
    ]
    for number, mlp in enumerate(wrong):
        yield f"settings {number}", written(read(whole) | {"mlp": mlp})
        yield f"settings {number}, signed", signed(read(whole) | {"mlp": mlp})
    for temperature in (-1.0, float("nan"), float("inf"), 1e-310, 1, True):
        content = read(whole) | {"temperature": temperature}
        yield f"temperature {temperature!r}", written(content)
        yield f"temperature {temperature!r}, signed", signed(content)


def of_wrong_weights(whole, rng):
    name = "context_tower.0.weight"
    right = read(whole)["weights"][name]
    wrong = {
        "other numbers": right + 1e-6,
        "NaN": right * float("nan"),
        "infinite": right / 0,
        "too large": right.double() * 1e300,
        "integers": right.long(),
        "complex": right * 1j,
        "double precision": right.double(),
        "half precision": right.half(),
        "transposed": right.T.clone(),
        "a row less": right[1:].clone(),
        "a number": torch.tensor(1.0),
        "nothing": torch.empty(0),
        "without memory": torch.empty(4, 3, device="meta"),
        "one number for all": torch.ones(1, 1).expand(huge := 30_000, huge),
        "sparse": right.to_sparse(),
        "a list": right.tolist(),
        "None": None,
    }
    for what, value in wrong.items():
        content = read(whole)
        content["weights"][name] = value
        yield f"weights: {what}", written(content)
        if what not in ("other numbers", "one number for all"):
            yield f"weights: {what}, signed", signed(content)
    content = read(whole)
    shared = torch.ones(huge)
    content["mlp"] |= {"hidden": [1] * 500, "dim_context": huge}
    content["weights"] |= {f"more.{layer}": shared for layer in range(1000)}
    yield "weights: shared by many", signed(content)
    for key in (3, "more", "action_tower.9.weight"):
        content = read(whole)
        content["weights"][key] = right
        yield f"weights: {key!r} more", signed(content)
        content["weights"].pop(name)
        yield f"weights: {key!r} instead", signed(content)


class Script(torch.nn.Module):
    def forward(self, x):
        return x


def foreign(whole, rng):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("policy/data.pkl", b"nothing")
    arrays, script, bomb = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(arrays, x=np.ones(3))
    torch.jit.save(torch.jit.trace(Script(), torch.ones(1)), script)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        for entry in zipfile.ZipFile(io.BytesIO(whole)).infolist():
            file.writestr(entry.filename, bytes(2**24))
    nested = []
    for _ in range(50):
        nested = [nested]
    towers = made().towers
    yield from {
        "nothing": b"",
        "text": b"user,item\n1,2\n",
        "json": json.dumps({"format": "opl_lib.TwoTowerPolicy 1"}).encode(),
        "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
        "html": b"<!DOCTYPE html>",
        "gzip": b"\x1f\x8b\x08" + bytes(50),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(50),
        "zeros": bytes(5000),
        "a zip file": archive.getvalue(),
        "a zip bomb": bomb.getvalue(),
        "arrays": arrays.getvalue(),
        "a script": script.getvalue(),
        "a pickle": pickle.dumps({"format": "opl_lib.TwoTowerPolicy 1"}),
        "a pickled policy": pickle.dumps(made()),
        "weights alone": written(towers.state_dict()),
        "a module": written(towers),
        "a tensor": written(torch.ones(3)),
        "a nest": written({"format": "opl_lib.TwoTowerPolicy 1", "weights": nested}),
        "a former format": written({**read(whole), "format": "opl_lib.TwoTowerPolicy 0"}),
        "a later format": written({**read(whole), "format": "opl_lib.TwoTowerPolicy 9"}),
        "another thing": written({**read(whole), "format": "opl_lib.OtherPolicy 1"}),
    }.items()


KINDS = {  # and at least how many files of each
    flipped: 180,
    cut: 120,
    overwritten: 30,
    of_wrong_entries: 120,
    of_wrong_settings: 60,
    of_wrong_weights: 35,
    foreign: 20,
}


@pytest.mark.filterwarnings("ignore")  # torch's, of what it reads
@pytest.mark.parametrize(
    ("damage", "n_files"),
    list(KINDS.items()),
    ids=[damage.__name__ for damage in KINDS],
)
def test_a_damaged_file_is_refused_with_its_path_or_is_the_same_policy(
    damage, n_files, whole, tmp_path
):
    right, path, refused, same = made_of(whole), tmp_path / "of Monday.pt", 0, 0
    expected = right.towers.state_dict()
    for what, content in damage(whole, np.random.default_rng(0)):
        path.write_bytes(content)
        start = time.process_time()
        try:
            loaded = opl.TwoTowerPolicy.load(path)
        except ValueError as error:
            assert str(path) in str(error), what
            refused += 1
        else:
            assert damage in (flipped, overwritten), what  # in what no reader looks at
            assert (loaded.temperature, repr(loaded.towers)) == (0.5, repr(right.towers)), what
            found = loaded.towers.state_dict()
            assert all(torch.equal(found[name], expected[name]) for name in expected), what
            same += 1
        assert time.process_time() - start < 5, what
    assert refused + same >= n_files
    assert refused >= (80 if damage is flipped else n_files)


def test_what_does_not_fit_together_is_refused_before_anything_is_built(
    whole, tmp_path, monkeypatch
):
    """Thousands of layers and towers of gigabytes would take their time and memory first."""
    monkeypatch.setattr(opl.TwoTower, "mlp", lambda **settings: pytest.fail("it was built"))
    for hidden in ([30_000, 30_000], [1] * 50_000, [4, 4]):
        content = read(whole)
        content["mlp"] |= {"hidden": hidden}
        (tmp_path / "policy").write_bytes(signed(content))
        with pytest.raises(ValueError, match="weights are not those of its settings"):
            opl.TwoTowerPolicy.load(tmp_path / "policy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"format": "opl_lib.TwoTowerPolicy 9"},
            "of another version of opl_lib: it has the format",
        ),
        ({"temperature": 2.0}, "was damaged since: its content is not that of its checksum"),
        ({"temperature": float("nan")}, r"of Monday cannot be used: temperature must be"),
    ],
    ids=["later", "changed", "signed"],
)
def test_a_message_says_what_is_wrong(change, message, whole, tmp_path):
    path = tmp_path / "of Monday"
    path.write_bytes((signed if "cannot be used" in message else written)(read(whole) | change))
    with pytest.raises(ValueError, match=message):
        opl.TwoTowerPolicy.load(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(value, whole, tmp_path):
    policy, path = made_of(whole), tmp_path / "policy"
    name = list(policy.towers.state_dict())[-1]
    with torch.no_grad():
        policy.towers.state_dict()[name][1] = value
    with pytest.raises(ValueError, match=rf"{name} has weights that are not finite"):
        policy.save(path)
    assert not path.exists()
    path.write_bytes(signed(read(whole) | {"weights": policy.towers.state_dict()}))
    with pytest.raises(ValueError, match=rf"policy cannot be used: towers: {name}"):
        opl.TwoTowerPolicy.load(path)
    with pytest.raises(ValueError, match="weights that are not finite"):
        opl.TwoTowerPolicy(policy.towers)


@pytest.mark.parametrize("settings", LAYERS.values(), ids=LAYERS)
def test_layers_and_known_items_are_loaded_by_their_settings(settings, tmp_path):
    policy = made(**settings)
    if "n_known" in settings:
        of_items = policy.towers.action_tower
        of_items.known.copy_(torch.eye(2))
        of_items.own.copy_(torch.arange(float(of_items.own.numel())).reshape(2, -1))
        assert not np.array_equal(policy.scores(CONTEXT, ITEMS), made().scores(CONTEXT, ITEMS))
    policy.save(tmp_path / "policy")
    loaded = opl.TwoTowerPolicy.load(tmp_path / "policy")
    assert loaded.towers.mlp_settings == policy.towers.mlp_settings
    np.testing.assert_array_equal(
        loaded.predict_proba(CONTEXT, ITEMS), policy.predict_proba(CONTEXT, ITEMS)
    )


# ---- what is no file


@pytest.mark.parametrize("path", [None, 3, b"policy", ["policy"]], ids=repr)
def test_a_path_is_a_str_or_a_path(path, tmp_path):
    for use in (made().save, opl.TwoTowerPolicy.load):
        with pytest.raises(TypeError, match="path must be a str or a Path; got"):
            use(path)


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_path_is_a_name(path):
    for use in (made().save, opl.TwoTowerPolicy.load):
        with pytest.raises(ValueError, match="path must be a path that can exist; got"):
            use(path)


def test_what_is_no_regular_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, what in (
        (tmp_path / "fifo", "fifo is no regular file"),
        ("/dev/zero", "/dev/zero is no regular file"),
        (tmp_path, "is a folder; a policy is loaded from the file that save wrote"),
    ):
        with pytest.raises(ValueError, match=what):
            opl.TwoTowerPolicy.load(path)


# ---- towers of one's own


def own(width=3):
    first = torch.nn.Sequential(torch.nn.BatchNorm1d(width), torch.nn.Linear(width, 2))
    return opl.TwoTower(first, torch.nn.Linear(2, 2))


def test_towers_of_ones_own_keep_what_is_no_weight(tmp_path):
    policy = opl.TwoTowerPolicy(own())
    policy.towers.train()(torch.tensor(CONTEXT, dtype=torch.float32), torch.eye(2))
    policy.save(tmp_path / "policy")
    loaded = opl.TwoTowerPolicy.load(tmp_path / "policy", own())
    np.testing.assert_array_equal(
        loaded.predict_proba(CONTEXT, ITEMS), policy.predict_proba(CONTEXT, ITEMS)
    )


@pytest.mark.parametrize(
    ("towers", "error", "message"),
    [
        (3, TypeError, "towers must be a TwoTower; got int"),
        (opl.TwoTower, TypeError, "towers must be a TwoTower; got type"),
        (own(4), ValueError, "holds the weights of other towers than these"),
        (own().double(), ValueError, r"is of dtype torch.float64, .*Convert it: towers.float\(\)"),
    ],
    ids=["number", "class", "width", "dtype"],
)
def test_other_towers_are_refused(towers, error, message, tmp_path):
    opl.TwoTowerPolicy(own()).save(tmp_path / "policy")
    with pytest.raises(error, match=message):
        opl.TwoTowerPolicy.load(tmp_path / "policy", towers)


def test_towers_that_were_changed_are_no_longer_what_mlp_made(tmp_path):
    """Loaded by their settings, they would be others."""
    policy = made()
    policy.towers.context_tower[1] = torch.nn.ReLU()
    policy.save(tmp_path / "policy")
    with pytest.raises(ValueError, match="saved from towers of your own"):
        opl.TwoTowerPolicy.load(tmp_path / "policy")
    loaded = opl.TwoTowerPolicy.load(tmp_path / "policy", policy.towers)
    np.testing.assert_array_equal(
        loaded.predict_proba(CONTEXT, ITEMS), policy.predict_proba(CONTEXT, ITEMS)
    )


# ---- kills and several writers


def forked_writer(policies, path):
    """A child that saves for ever, to a slow disk; it has begun."""
    begun, begin = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.fsync = lambda descriptor: time.sleep(0.003)
        try:
            os.write(begin, b"!")
            for turn in range(10**9):
                policies[turn % len(policies)].save(path)
        finally:
            os._exit(1)
    os.read(begun, 1)
    os.close(begun)
    os.close(begin)
    return pid


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("n_writers", [1, 2])
def test_a_kill_at_any_moment_leaves_a_whole_file(n_writers, tmp_path):
    path, rng = tmp_path / "policy.pt", np.random.default_rng(n_writers)
    policies = [made(seed, hidden=(100, 100)) for seed in range(3)]
    mine = tmp_path / "policy.pt.partial"  # somebody's own
    mine.write_text("mine")
    start = time.monotonic()
    policies[0].save(path)
    long = 3 * (time.monotonic() - start + 0.01)
    seen = set()
    for _ in range(40):
        children = [forked_writer(policies[1:], path) for _ in range(n_writers)]
        for child, wait in zip(children, rng.uniform(0, long, size=n_writers), strict=True):
            time.sleep(wait)
            os.kill(child, signal.SIGKILL)
        for child in children:
            assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        seen.add(opl.TwoTowerPolicy.load(path).towers.context_tower[0].weight[0, 0].item())
    weights = {policy.towers.context_tower[0].weight[0, 0].item() for policy in policies}
    assert len(seen) > 1 and seen <= weights
    assert list(tmp_path.glob("policy.pt.*.partial")), "no kill struck a writer"
    assert mine.read_text() == "mine"


def test_writers_of_one_path_do_not_meet(tmp_path):
    path, policies = tmp_path / "policy.pt", [made(seed) for seed in range(4)]

    def write(policy):
        for _ in range(25):
            policy.save(path)
            opl.TwoTowerPolicy.load(path)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, policies))
    assert list(tmp_path.iterdir()) == [path]


# ---- copies


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_serves_as_the_policy_does(again):
    policy = made().for_items(ITEMS)
    expected = policy.predict_proba(CONTEXT, ITEMS)
    copied = again(policy)
    np.testing.assert_array_equal(copied.predict_proba(CONTEXT, ITEMS), expected)
    index = again(opl.ItemIndex(np.eye(3)))
    assert not index.embeddings.flags.writeable
    np.testing.assert_array_equal(index.search(np.eye(3), 1)[0], [[0], [1], [2]])
