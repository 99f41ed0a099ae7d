"""Policies on data frames: what is recommended, in ids, with its probability; and from a file."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import opl_lib as opl

N = 300


def tables(seed=0):
    rng = np.random.default_rng(seed)
    visits = pd.DataFrame(
        {
            "country": rng.choice(["DE", "JP", None], N),
            "age": rng.integers(18, 80, N),
            "sku": rng.choice(["a", "b", "c"], N),
            "click": rng.integers(0, 2, N),
            "p": 1 / 3,
        }
    )
    items = pd.DataFrame(
        {"sku": ["a", "b", "c"], "brand": ["x", "y", "x"], "price": [3.0, 9.0, 99.0]}
    )
    return visits, items


@pytest.fixture(scope="module")
def log():
    visits, items = tables()
    return opl.BanditFeedback.from_dataframe(
        visits,
        context=["country", "age"],
        action="sku",
        reward="click",
        pscore="p",
        items=items,
        item_id="sku",
    )


@pytest.fixture(scope="module")
def policy(log):
    return opl.BilinearLearner(temperature=0.5).fit(log).policy_


WIDTHS = 4, 3
SMALL = {"epochs": 1, "hidden": (4,), "dim_embedding": 2}
LEARNERS = {
    "bilinear": opl.BilinearLearner(),
    "default": opl.OffPolicyLearner(**SMALL),
    "ips": opl.OffPolicyLearner("ips", **SMALL),
    "own towers": opl.OffPolicyLearner(
        "ips", epochs=1, towers=opl.TwoTower(torch.nn.Linear(4, 2), torch.nn.Linear(3, 2))
    ),
    "early stopping": opl.EarlyStopping(opl.OffPolicyLearner("ips", **SMALL)),
}


@pytest.mark.filterwarnings("ignore::opl_lib.PolicyWarning")
@pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)
def test_what_is_learned_keeps_the_columns_of_its_log(log, learner):
    assert learner.fit(log).policy_.columns == log.columns


def test_ways_of_serving_keep_the_columns(log):
    learner = opl.BilinearLearner().fit(log)
    for each in learner.policies_.values():
        assert each.columns == log.columns
    assert learner.policy_.at_temperature(1.0).columns == log.columns
    assert opl.learn(log, {"a": opl.BilinearLearner()}).policy.columns == log.columns


def test_frames_give_what_their_features_give(log, policy):
    visits, items = tables()
    arrays = log.context, log.action_context
    for name in ("predict_proba", "scores", "to_obp"):
        np.testing.assert_array_equal(
            getattr(policy, name)(visits, items), getattr(policy, name)(*arrays), err_msg=name
        )
    np.testing.assert_array_equal(policy.embed_context(visits), policy.embed_context(arrays[0]))
    np.testing.assert_array_equal(policy.embed_items(items), policy.embed_items(arrays[1]))


@pytest.mark.filterwarnings("ignore:action_context. 2 of 3 items")  # clicks are by chance
def test_ids_come_back_for_items_of_a_frame(log, policy):
    visits, items = tables()
    ids = items.sku.to_numpy()
    arrays = log.context, log.action_context
    np.testing.assert_array_equal(policy.greedy(visits, items), ids[policy.greedy(*arrays)])
    np.testing.assert_array_equal(policy.top_k(visits, items, 2), ids[policy.top_k(*arrays, 2)])
    for draw in (policy.sample, policy.at_temperature(0).sample):
        (shown, p), (number, expected) = draw(visits, items, 0), draw(*arrays, 0)
        np.testing.assert_array_equal(shown, ids[number])
        np.testing.assert_array_equal(p, expected)
    for k, each in itertools.product((1, 3), (policy, policy.at_temperature(0))):
        page, p = each.recommend(visits, items, k, random_state=0)
        number, expected = each.recommend(*arrays, k, random_state=0)
        np.testing.assert_array_equal(page, ids[number])
        np.testing.assert_array_equal(p, expected)


@pytest.mark.filterwarnings("ignore:action_context. 2 of 3 items")  # clicks are by chance
def test_frames_are_masked_like_arrays(log, policy):
    visits, items = tables()
    ids, mask = items.sku.to_numpy(), np.random.default_rng(1).random((N, 3)) < 0.4
    mask[:, 1] = True
    arrays = log.context, log.action_context
    for how in ("predict_proba", "greedy", "to_obp"):
        expected = getattr(policy, how)(*arrays, eligible=mask)
        expected = ids[expected] if how == "greedy" else expected
        np.testing.assert_array_equal(getattr(policy, how)(visits, items, eligible=mask), expected)
    for each, how in itertools.product((policy, policy.at_temperature(0)), ("sample", "recommend")):
        shown, p = getattr(each, how)(visits, items, random_state=0, eligible=mask)
        number, expected = getattr(each, how)(*arrays, random_state=0, eligible=mask)
        np.testing.assert_array_equal(shown, ids[number])
        np.testing.assert_array_equal(p, expected)
        assert mask[np.arange(N), number.ravel()].all()


def test_items_of_today_are_known_or_new_in_any_order(policy):
    visits, _ = tables()
    today = pd.DataFrame({"price": [5.0, 9.0], "sku": ["z", "b"], "brand": ["new", "y"]})
    page, _ = policy.recommend(visits[:5], today, 2, random_state=0)
    assert {frozenset(row) for row in page} == {frozenset("zb")}
    again = policy.for_items(today).recommend(visits[:5], today, 2, random_state=0)[0]
    np.testing.assert_array_equal(again, page)


def test_items_are_encoded_once(policy, monkeypatch):
    visits, items = tables()
    served = policy.for_items(items)
    expected = policy.predict_proba(visits, items)
    monkeypatch.setattr(opl.Columns, "encode_items", None)
    np.testing.assert_array_equal(served.predict_proba(visits, items), expected)


@pytest.mark.parametrize(
    ("visits", "items", "message"),
    [
        (lambda f: f.rename(columns={"age": "years"}), lambda f: f, "context: .* lacks 'age'"),
        (lambda f: f.assign(age="old"), lambda f: f, "column 'age' holds text"),
        (lambda f: f, lambda f: f.drop(columns="price"), "items: .* lacks 'price'"),
        (lambda f: f, lambda f: f.rename(columns={"sku": "id"}), "no column 'sku'"),
        (lambda f: f, lambda f: f[:0], "items has no rows"),
    ],
    ids=range(5),
)
def test_other_frames_are_refused_by_the_names_of_columns(policy, visits, items, message):
    frames = tables()
    with pytest.raises(ValueError, match=message):
        policy.top_k(visits(frames[0]), items(frames[1]), 2)


def test_a_policy_without_columns_takes_frames_of_features(log, policy):
    plain = opl.TwoTowerPolicy(policy.towers, policy.temperature)
    frames = pd.DataFrame(log.context), pd.DataFrame(log.action_context)
    np.testing.assert_array_equal(
        plain.top_k(*frames, 2), plain.top_k(log.context, log.action_context, 2)
    )
    with pytest.raises(ValueError, match="items: the data frame lacks 'brand', 'price'"):
        policy.top_k(*frames, 2)


def test_columns_of_contexts_alone_leave_items_as_arrays():
    visits, _ = tables()
    log = opl.BanditFeedback.from_dataframe(
        visits.assign(sku=visits.sku.map({"a": 0, "b": 1, "c": 2})),
        context=["age"],
        action="sku",
        reward="click",
        pscore="p",
        items=np.eye(3),
    )
    policy = opl.BilinearLearner().fit(log).policy_
    assert policy.top_k(visits, np.eye(3), 2).dtype == np.int64


def test_columns_are_of_the_towers(log):
    with pytest.raises(ValueError, match="columns make 4 features of context, which has 9"):
        opl.TwoTowerPolicy(opl.TwoTower.mlp(9, 3), columns=log.columns)
    with pytest.raises(TypeError, match=r"columns must be made by opl\.Columns\.fit"):
        opl.TwoTowerPolicy(opl.TwoTower.mlp(4, 3), columns=["age"])


# ---- the constant item


@pytest.mark.filterwarnings("ignore:action_context. 2 of 3 items")  # clicks are by chance
def test_whatever_is_chosen_takes_frames_and_returns_ids(log):
    visits, items = tables()
    constant = opl.ConstantItemLearner()
    for candidates in ({"item": constant}, {"bilinear": opl.BilinearLearner(), "item": constant}):
        found = opl.learn(log, candidates)
        page, pscore = found.policy.recommend(visits[:5], items, k=2)
        assert page.shape == pscore.shape == (5, 2) and set(page.flat) <= set("abc")


def test_a_constant_item_is_known_by_its_id_in_any_table(log):
    visits, items = tables()
    policy = opl.ConstantItemLearner().fit(log).policy_
    assert policy.columns == log.columns and policy.item_ids == ("a", "b", "c")
    ranking = items.sku.to_numpy()[[policy.action, *policy.fallback]]
    page, pscore = policy.recommend(visits, items, 3)
    assert (page == ranking).all() and (pscore == 1).all()
    page, _ = policy.recommend(log.context, log.action_context, 2)
    assert (page == [policy.action, policy.fallback[0]]).all()

    today = items[::-1].assign(sku=items.sku[::-1].replace(ranking[0], "new"))
    assert (policy.recommend(visits, today, 2)[0] == ranking[1:]).all()
    shown = policy.predict_proba(visits, today).argmax(axis=1)
    assert (today.sku.to_numpy()[shown] == ranking[1]).all()
    with pytest.raises(ValueError, match=r"k must be an integer .* 2"):
        policy.recommend(visits, today, 3)

    mask = np.ones((N, 3), dtype=bool)
    mask[7] = today.sku != ranking[1]
    page, _ = policy.recommend(visits, today, 1, eligible=mask)
    assert page[7] == ranking[2] and (np.delete(page, 7) == ranking[1]).all()
    with pytest.raises(ValueError, match="k=2 items are asked for, but row 7 of eligible has 1"):
        policy.recommend(visits, today, 2, eligible=mask)
    with pytest.raises(ValueError, match="items: there is none of the ranking"):
        policy.recommend(visits, today.assign(sku=["x", "y", "z"]), 1)


def test_logs_keep_what_their_items_are_called(log):
    _, items = tables()
    assert (log[:5].item_ids == items.sku).all()
    assert (opl.BanditFeedback.concatenate([log, log]).item_ids == items.sku).all()
    renamed = replace(log, item_ids=["d", "e", "f"])
    with pytest.raises(ValueError, match="log 1 has other item_ids than log 0"):
        opl.BanditFeedback.concatenate([log, renamed])
    for wrong, message in ((["a", "b"], "2 rows, and there"), (list("aba"), "id twice")):
        with pytest.raises(ValueError, match=f"item_ids has (the same )?{message}"):
            replace(log, item_ids=wrong)
    with pytest.raises(ValueError, match="item_ids has 2 rows, and none for item 2"):
        opl.ConstantItemPolicy(2, item_ids=["a", "b"])


# ---- pages


def test_pages_are_drawn_without_replacement_by_the_policy(policy):
    """All pages of two of three items, by their chances: π(a) π(b) / (1 − π(a))."""
    visits, items = tables()
    many = visits[:1].loc[[0] * 40_000]
    pi = policy.predict_proba(visits[:1], items)[0]
    page, p = policy.recommend(many, items, 2, random_state=0)
    for a, b in itertools.permutations(range(3), 2):
        here = (page == items.sku.to_numpy()[[a, b]]).all(axis=1)
        chance = pi[a] * pi[b] / (1 - pi[a])
        assert abs(here.mean() - chance) < 4 * np.sqrt(chance * (1 - chance) / len(many))
        np.testing.assert_allclose(p[here], [[pi[a], pi[b] / (1 - pi[a])]] * here.sum())


def test_a_page_of_all_items_is_complete_even_where_the_policy_is_sure():
    towers = opl.TwoTower.mlp(1, 1, hidden=(), dim_embedding=1, random_state=0)
    with torch.no_grad():
        for weight, value in zip(towers.parameters(), (1.0, 0.0, 1.0, 0.0), strict=True):
            weight.fill_(value)
    policy = opl.TwoTowerPolicy(towers, 1e-3)
    page, p = policy.recommend(np.ones((2, 1)), np.array([[1.0], [5.0], [3.0]]), 3, random_state=0)
    assert page.tolist() == [[1, 2, 0]] * 2 and np.allclose(p, 1)


def test_pages_in_chunks_are_the_same(policy, small_chunks):
    visits, items = tables()
    expected = policy.recommend(visits, items, 2, random_state=0)
    small_chunks()
    for got, want in zip(policy.recommend(visits, items, 2, random_state=0), expected, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("k", [0, 4, 1.5, True, None])
def test_a_page_is_of_so_many_items(policy, k):
    visits, items = tables()
    for each in (policy, policy.at_temperature(0)):
        with pytest.raises(ValueError, match="k must be an integer"):
            each.recommend(visits, items, k)


# ---- the file


def test_a_file_holds_the_columns_to_the_bit(policy, tmp_path):
    visits, items = tables()
    policy.save(tmp_path / "policy.pt")
    back = opl.TwoTowerPolicy.load(tmp_path / "policy.pt")
    assert back.columns == policy.columns
    np.testing.assert_array_equal(
        back.predict_proba(visits, items), policy.predict_proba(visits, items)
    )
    again = opl.TwoTowerPolicy.load(tmp_path / "policy.pt", towers=policy.towers)
    assert again.columns == policy.columns


def test_a_file_holds_columns_as_text_and_no_code(policy, tmp_path):
    policy.save(tmp_path / "policy.pt")
    content = torch.load(tmp_path / "policy.pt", weights_only=True)
    assert type(content["columns"]) is str
    assert '"frequent": ["", "DE", "JP"]' in content["columns"]


def test_columns_that_were_changed_in_the_file_are_refused(policy, tmp_path):
    policy.save(tmp_path / "policy.pt")
    content = torch.load(tmp_path / "policy.pt", weights_only=True)
    content["columns"] = content["columns"].replace("DE", "FR")
    torch.save(content, tmp_path / "policy.pt")
    with pytest.raises(ValueError, match="is not that of its checksum"):
        opl.TwoTowerPolicy.load(tmp_path / "policy.pt")
    del content["columns"]
    torch.save(content, tmp_path / "policy.pt")
    with pytest.raises(ValueError, match="is not that of its checksum"):
        opl.TwoTowerPolicy.load(tmp_path / "policy.pt")


def test_a_policy_without_columns_is_saved_as_before(policy, tmp_path):
    opl.TwoTowerPolicy(policy.towers).save(tmp_path / "policy.pt")
    assert "columns" not in torch.load(tmp_path / "policy.pt", weights_only=True)
    assert opl.TwoTowerPolicy.load(tmp_path / "policy.pt").columns is None


# ---- visitors and items like nothing that was learned from


@pytest.mark.parametrize("age", [1e12, -1e12])
def test_a_visitor_like_no_row_of_the_log_is_named_and_served(policy, age):
    visits, items = tables()
    far = visits.astype({"age": float})
    far.loc[3, "age"] = age
    with pytest.warns(UserWarning, match=rf"column 'age' is far .*; row 3 has {age}. Nothing was"):
        page, _ = policy.recommend(far[:5], items, 2, random_state=0)
    assert page.shape == (5, 2)
    policy.recommend(visits[:5].assign(age=200), items, 2, random_state=0)  # no warning


def test_a_greedy_policy_says_which_items_it_does_not_tell_apart(log):
    visits, _ = tables()
    policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(*WIDTHS, random_state=0), 1.0, log.columns)
    today = pd.DataFrame({"price": [5.0, 9.0, 5.0], "sku": ["z", "b", "y"], "brand": ["x"] * 3})
    greedy = policy.at_temperature(0)
    with pytest.warns(UserWarning, match="1 of 3 items .*, such as 'y' that of 'z'"):
        greedy.recommend(visits[:5], today)
    with pytest.warns(UserWarning, match="such as 1 that of 0"):
        greedy.recommend(np.zeros((1, WIDTHS[0])), np.zeros((2, WIDTHS[1])))
    policy.recommend(visits[:5], today)  # each as often as the other
    greedy.recommend(visits[:5], today[:2])
