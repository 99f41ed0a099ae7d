"""A shop with all its difficulties: logs, tables and true values."""

import dataclasses
import itertools

import numpy as np
import pytest

import opl_lib as opl
from opl_lib.answers import action_probabilities

SMALL = {"n_items": 40, "n_users": 300, "days": 10, "n_eval_pages": 300, "random_state": 3}


@pytest.fixture(scope="module")
def shop():
    return opl.ShopWorld(**SMALL)


@pytest.fixture(scope="module")
def log(shop):
    return shop.sample(20_000, random_state=1)


def true_q(shop, log):
    """The true probability of a click on what was logged."""
    return shop.reward_probability(log)[np.arange(log.n_rounds), log.action]


def test_only_users_of_the_shop_have_a_probability(shop, log):
    q = shop.reward_probability(log)
    assert q.shape == (log.n_rounds, shop.n_items) and ((q > 0) & (q < 1)).all()
    stranger = dataclasses.replace(log, user_id=np.array(["zz"] * log.n_rounds))
    with pytest.raises(ValueError, match="log names the user 'zz', who is not of this shop"):
        shop.reward_probability(stranger)
    with pytest.raises(ValueError, match=r"as ShopWorld\.sample draws it; this has no timestamp"):
        shop.reward_probability(dataclasses.replace(log, timestamp=None))


# ---- a log is what it says


def test_a_page_holds_no_item_twice_and_each_in_its_slot(log):
    n_pages = log.n_rounds // 3
    pages = log.action[: 3 * n_pages].reshape(n_pages, 3)
    assert (np.diff(np.sort(pages, axis=1), axis=1) > 0).all()
    assert (log.position == np.arange(log.n_rounds) % 3).all()
    assert (np.diff(log.timestamp) >= np.timedelta64(0)).all()
    assert (log.timestamp[1::3] == log.timestamp[::3][: len(log.timestamp[1::3])]).all()


def test_eligible_is_what_is_on_offer_and_not_above_on_the_page(shop, log):
    items = shop.frames(10, random_state=0)[1]
    dates = (items[name].to_numpy() for name in ("on_offer_from", "on_offer_until"))
    expected = opl.Eligible.of_dates(log.timestamp, *dates).mask()
    for row in np.flatnonzero(log.position):
        expected[row, log.action[row - log.position[row] : row]] = False
    assert (log.eligible.mask() == expected).all()


def test_the_propensity_is_that_of_the_slot_given_the_page_so_far(shop, log):
    """Enumerated: the probabilities of all ordered pages are products of it, and sum to 1."""
    tiny = opl.ShopWorld(**{**SMALL, "n_items": 6, "on_offer": 1.0})
    shown = tiny.sample(6000, random_state=0)
    pi = tiny.logging_policy
    context, total = shown.context[:3], {}
    for page in itertools.permutations(range(6), 3):
        p, mask = 1.0, np.ones(6, bool)
        for slot, item in enumerate(page):
            p *= pi(context[slot : slot + 1], tiny.action_context, eligible=mask)[0, item]
            mask[item] = False
        total[page] = p
    assert np.isclose(sum(total.values()), 1)
    logged = tuple(shown.action[:3].tolist())
    assert np.isclose(total[logged], shown.pscore[:3].prod())
    mask = log.eligible.mask(slice(50))
    pi = shop.logging_policy(log.context[:50], shop.action_context, eligible=mask)
    assert np.allclose(pi[np.arange(50), log.action[:50]], log.pscore[:50])


def test_pages_are_drawn_as_often_as_their_propensities_say():
    one = opl.ShopWorld(n_items=4, n_users=2, on_offer=1.0, n_eval_pages=5, slots=2, random_state=0)
    one_user = one.sample(20_000, random_state=0)
    users = one_user.user_id == one_user.user_id[0]
    action = one_user.action[users].reshape(-1, 2)
    pscore = one_user.pscore[users].reshape(-1, 2).prod(axis=1)
    for page in itertools.permutations(range(4), 2):
        drawn = (action == page).all(axis=1)
        p = pscore[drawn.argmax()]
        assert abs(drawn.mean() - p) < 4 * np.sqrt(p * (1 - p) / len(drawn))


def test_a_right_log_weighs_one_and_is_balanced(shop, log):
    for policy in (opl.uniform(), shop.logging_policy):
        report = log.support_report(policy)
        assert report.findings == []
        assert abs(report.mean_weight - 1) < max(3 * report.mean_weight_se, 1e-9)


def test_rewards_are_drawn_from_the_truth(shop):
    log = shop.sample(60_000, random_state=2)
    q = true_q(shop, log)
    error = np.sqrt((q * (1 - q)).sum())
    assert abs(log.reward.sum() - q.sum()) < 3 * error


# ---- what policies are worth


def cheapest_first(context, action_context, eligible=None):
    scores = np.tile(-action_context[:, 18], (len(context), 1)) + context[:, :1]
    mask = np.ones(scores.shape, bool) if eligible is None else eligible
    return np.eye(len(action_context))[np.where(mask, scores, -np.inf).argmax(axis=1)]


@pytest.mark.parametrize("policy", [opl.uniform(), cheapest_first], ids=["uniform", "greedy"])
def test_a_page_value_is_what_a_slow_simulation_earns(shop, policy):
    rng, inside, earned = np.random.default_rng(0), shop._shop, []
    pages = inside.pages
    for page in range(SMALL["n_eval_pages"]):
        mask = inside.on_offer.mask([page])[0]
        for row in range(3 * page, 3 * page + 3):
            pi = action_probabilities(
                policy, shop.eval_context[row : row + 1], shop.action_context, eligible=mask[None]
            )
            item = rng.choice(40, size=1, p=pi[0])
            at = (pages.user[[row]], pages.second[[row]], pages.slot[[row]])
            earned.append(inside.demand.click_probability(*at, item)[0])
            mask[item] = False
    error = np.std(earned) / np.sqrt(len(earned))
    assert abs(np.mean(earned) - shop.page_value(policy)) < 4 * error


def test_the_value_is_what_ips_estimates_of_a_long_log(shop):
    """The log has other pages than those of evaluation, so both are compared on the log's."""
    log = shop.sample(60_000, random_state=5)
    for policy in (opl.uniform(), shop.logging_policy):
        pi = action_probabilities(
            policy, log.context, log.action_context, eligible=log.eligible.mask()
        )
        terms = pi[np.arange(log.n_rounds), log.action] / log.pscore * log.reward
        error = log.units.standard_error(terms)
        assert abs(terms.mean() - shop.policy_value(policy)) < 4 * error + 0.1 * terms.mean()


def test_reference_values_are_in_order(shop):
    values = shop.reference_values()
    assert values["uniform"] < values["logging"] < values["optimum"]
    assert values["uniform"] < values["best_constant_item"] < values["optimum"]
    assert np.isclose(values["logging"], shop.policy_value(shop.logging_policy))
    assert np.isclose(values["uniform"], shop.policy_value(opl.uniform()))


def test_values_do_not_depend_on_how_many_rows_go_at_a_time(small_chunks):
    few = opl.ShopWorld(**{**SMALL, "n_eval_pages": 20})
    values, page = few.reference_values(), few.page_value(opl.uniform())
    small_chunks()
    again = opl.ShopWorld(**{**SMALL, "n_eval_pages": 20})
    assert np.allclose(list(values.values()), list(again.reference_values().values()))
    assert np.isclose(page, again.page_value(opl.uniform()))


# ---- two tables, as a shop exports them


def test_tables_and_log_hold_the_same_rows(shop):
    clicks, items = shop.frames(1000, random_state=4)
    log = shop.sample(1000, random_state=4)
    assert len(clicks) == log.n_rounds == 1000 and len(items) == 40
    assert clicks["item_id"].tolist() == items["item_id"].to_numpy()[log.action].tolist()
    assert (clicks["propensity"] == log.pscore).all() and (clicks["click"] == log.reward).all()
    assert (clicks["slot"] == log.position).all() and (clicks["user_id"] == log.user_id).all()
    assert (clicks["time"].to_numpy() == log.timestamp).all()
    assert (clicks["page_id"] == np.arange(1000) // 3).all()
    assert (clicks["clicked_at"].notna() == (clicks["click"] == 1)).all()
    read = opl.BanditFeedback.from_dataframe(
        clicks,
        items=items,
        action="item_id",
        reward="click",
        pscore="propensity",
        columns=log.columns,
    )
    for name in ("context", "action_context", "action", "reward", "pscore", "item_ids"):
        assert (getattr(read, name) == getattr(log, name)).all()


def test_a_policy_with_columns_is_asked_with_the_tables(shop):
    """Of a log that was read from the tables: its features are not those of the world."""
    clicks, items = shop.frames(6000, random_state=4)
    own = opl.BanditFeedback.from_dataframe(
        clicks,
        context=["age", "device"],
        action="item_id",
        reward="click",
        pscore="propensity",
        items=items,
        item_id="item_id",
        item_features=["price"],
    )
    towers = opl.TwoTower.mlp(own.dim_context, own.dim_action_context, random_state=0)
    policy = opl.TwoTowerPolicy(towers, temperature=0.01, columns=own.columns)
    inside = shop._shop

    def by_hand(context, action_context, eligible=None):
        encoded = own.columns.encode_context(inside.visits), own.columns.encode_items(items)
        return opl.TwoTowerPolicy(towers, 0.01).predict_proba(*encoded, eligible=eligible)

    for value in (shop.policy_value, shop.page_value):
        assert not np.isclose(value(policy), value(opl.uniform()), rtol=1e-3)
    assert np.isclose(shop.policy_value(policy), shop.policy_value(by_hand))
    renamed = clicks.rename(columns={"age": "years"})
    columns = opl.Columns.fit(renamed, context=["years"])
    with pytest.raises(ValueError, match="lacks 'years'"):
        shop.policy_value(
            opl.TwoTowerPolicy(opl.TwoTower.mlp(2, shop.action_context.shape[1]), columns=columns)
        )


def test_a_value_from_a_day_on_is_that_of_the_pages_since():
    drifting = made(drift=1.0)
    policy = drifting.logging_policy
    inside = drifting._shop
    pi, q, _ = (np.concatenate(part) for part in zip(*inside.shown_by(policy), strict=True))
    later = inside.pages.second >= 7.5 * 86400
    expected = (pi * q).sum(axis=1)[later].mean()
    assert 0 < later.sum() < len(later)
    assert np.isclose(drifting.policy_value(policy, from_day=7.5), expected)
    assert np.isclose(drifting.policy_value(policy, 0), drifting.policy_value(policy))
    with pytest.raises(ValueError, match="from_day=10 leaves no page of evaluation: take one"):
        drifting.policy_value(policy, from_day=10)


def test_columns_are_text_dates_and_numbers_of_other_scales(shop):
    clicks, items = shop.frames(300, random_state=4)
    for table, names in ((clicks, ("user_id", "country", "item_id")), (items, ("brand",))):
        assert all(isinstance(value, str) for name in names for value in table[name].dropna())
    for table, names in ((clicks, ("time", "clicked_at")), (items, ("on_offer_from",))):
        assert all(table[name].dtype.kind == "M" for name in names)
    assert items["price"].mean() > 10 and 30 < clicks["age"].mean() < 50


# ---- each dial does what it says


def made(**dials):
    return opl.ShopWorld(**{**SMALL, **dials})


def test_clicks_are_as_rare_as_asked():
    for rate in (0.005, 0.2):
        world = made(click_rate=rate, n_eval_pages=2000)
        assert abs(world.policy_value(world.logging_policy) / rate - 1) < 0.05
    with pytest.raises(ValueError, match=r"click_rate=0.9 cannot be met.*position_effect"):
        made(click_rate=0.9)


def test_on_offer_is_the_share_of_items_on_a_day():
    for share in (0.3, 2 / 3):
        log = made(on_offer=share, n_items=100, slots=1).sample(2000, random_state=0)
        assert abs(log.eligible.n_eligible.mean() / 100 - share) < 0.03
        assert len(log.eligible.sets) > 3
    assert len(made(on_offer=1.0, slots=1).sample(200, random_state=0).eligible.sets) == 1
    with pytest.raises(ValueError, match=r"leaves \d items on offer.*slots=3"):
        made(n_items=8, on_offer=0.2)


def test_popularity_and_taste_spread_the_clicks():
    for dial, low, high in (("popularity", 0.0, 1.0), ("taste", 0.0, 2.0)):
        gains = []
        for value in (low, high):
            values = made(**{"popularity": 0.0, "taste": 0.0, dial: value}).reference_values()
            gains.append(values["optimum"] / values["uniform"])
        assert np.isclose(gains[0], 1) and gains[1] > 2


def test_unexplained_is_what_features_do_not_say_of_items():
    left = []
    for share in (0.0, 1.0):
        world = made(unexplained=share, missing=0.0, n_items=300)
        quality = world._shop.demand.qualities
        features = np.column_stack([np.ones(300), world.action_context])
        residual = quality - features @ np.linalg.lstsq(features, quality, rcond=None)[0]
        left.append((residual**2).mean() / quality.var())
    assert left[0] < 0.2 and left[1] > 0.85


def test_hidden_taste_makes_rows_of_a_user_alike():
    """As far as features say everything, nothing of a user is left to be known."""
    left = []
    for share in (0.0, 1.0):
        world = made(hidden_taste=share, missing=0.0)
        inside = world._shop
        users, tastes = inside.users.assign(slot=0), inside.demand.tastes
        features = inside.columns.encode_context(users)
        features = np.column_stack([np.ones(len(features)), features])
        residual = tastes - features @ np.linalg.lstsq(features, tastes, rcond=None)[0]
        left.append((residual**2).mean() / tastes.var())
    assert left[0] < 1e-9 and left[1] > 0.9


def test_lower_slots_are_looked_at_less_often():
    user, second = np.zeros(3, int), np.zeros(3, int)
    for effect, expected in ((0.0, [1, 1, 1]), (1.0, [1, 1 / 2, 1 / 3])):
        demand = made(position_effect=effect)._shop.demand
        q = demand.click_probability(user, second, np.arange(3))
        assert np.allclose(q[:, 0] / q[0, 0], expected)


def test_drift_changes_tastes_over_the_log():
    user, slot, ends = np.arange(300).repeat(2), np.zeros(600, int), np.tile([0, 10 * 86400], 300)
    for drift in (0.0, 1.0):
        q = made(drift=drift)._shop.demand.click_probability(user, ends, slot)
        q = np.log(q) - np.log(q).mean(axis=0)
        likeness = np.corrcoef(q[::2].ravel(), q[1::2].ravel())[0, 1]
        assert (likeness > 0.999) == (drift == 0)
        assert drift == 0 or likeness < 0.5


def test_a_stale_policy_is_worse_and_an_exploring_one_shows_everything():
    def against_best(**dials):
        values = made(**dials).reference_values()
        return values["logging"] / values["optimum"]

    assert against_best(staleness=0.0) > against_best(staleness=0.5) > against_best(staleness=10.0)
    assert against_best(exploration=0.01) > against_best(exploration=1.0)
    log = made(exploration=0.2).sample(3000, random_state=0)
    assert (log.pscore >= 0.2 / log.eligible.n_eligible - 1e-12).all()
    log = made(exploration=1.0).sample(3000, random_state=0)
    assert np.allclose(log.pscore, 1 / log.eligible.n_eligible)


def test_values_are_missing_as_often_as_asked():
    for share in (0.0, 0.3):
        world = made(missing=share, n_items=300)
        clicks, items = world.frames(3000, random_state=0)
        for lost in (clicks["age"].isna(), clicks["country"].isna(), items["brand"].isna()):
            assert abs(lost.mean() - share) < (0.15 if share else 1e-12)
        assert world.sample(3000, random_state=0).n_rounds == 3000


def test_what_is_clicked_late_is_not_in_the_log_yet():
    now, late = (
        made(delay=delay, click_rate=0.3).frames(30_000, random_state=0)[0] for delay in (0.0, 3.0)
    )
    waited = (late["clicked_at"] - late["time"]).dt.total_seconds() / 86400
    assert 0.5 < waited.mean() < 3
    assert late["clicked_at"].max() < np.datetime64("2026-03-12")
    by_day = late.groupby(late["time"].dt.date)["click"].mean() / now["click"].mean()
    assert by_day.iloc[0] > 0.85 and by_day.iloc[-1] < 0.3
    assert (now["clicked_at"].dropna() == now["time"][now["clicked_at"].notna()]).all()


def test_users_return_and_one_slot_needs_no_column(log):
    assert log.units.name == "user" and len(log.units) <= 300
    one = made(slots=1).sample(100, random_state=0)
    assert one.dim_context == log.dim_context - 1 and (one.position == 0).all()


def test_of_two_users_one_is_known_where_nearly_all_is_missing():
    bare = opl.ShopWorld(n_items=5, n_users=2, missing=0.9, n_eval_pages=1, random_state=0)
    assert bare.sample(50, random_state=0).n_rounds == 50


# ---- seeds


def test_a_seed_fixes_log_and_shop_and_without_one_the_stream_goes_on(shop, log):
    assert (made().sample(20_000, random_state=1).action == log.action).all()
    first, second = made(), made()
    drawn = [first.sample(100).action for _ in range(2)]
    assert (second.sample(100).action == drawn[0]).all()
    assert (drawn[0] != drawn[1]).any()


def test_the_logging_policy_is_of_this_shop(shop):
    with pytest.raises(ValueError, match="the 40 items of the shop; got 39"):
        shop.logging_policy(shop.eval_context, shop.action_context[1:])
    assert repr(shop.logging_policy) == "ShopPolicy(40 items, exploration=0.1)"
