"""Users as the unit of independence: support, balance, propensities."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import opl_lib as opl
from opl_lib.logs.units import Units


def one_draw_a_user(n_users=300, n_each=20, seed=0, n_items=4):
    """A test by user: each user is shown one item, every time."""
    rng = np.random.default_rng(seed)
    pi_0 = np.array([0.1, 0.2, 0.3, 0.4])
    user = np.repeat(np.arange(n_users), n_each)
    action = rng.choice(n_items, size=n_users, p=pi_0)[user]
    return opl.BanditFeedback(
        context=rng.normal(size=(n_users, 2))[user],
        action=action,
        reward=rng.binomial(1, 0.5, size=len(user)),
        pscore=pi_0[action],
        action_context=np.eye(n_items),
        user_id=user,
    )


def test_sums_of_tables_are_those_of_their_columns():
    rng = np.random.default_rng(0)
    terms, units = rng.normal(size=(40, 3)), Units.of(rng.integers(7, size=40), 40)
    expected = np.column_stack([units.sums(column) for column in terms.T])
    np.testing.assert_allclose(units.sums(terms), expected)
    assert units.sums(terms).shape == (7, 3)
    assert Units(40).sums(terms) is terms


@pytest.mark.parametrize("factor", [1e-320, 1e-200, 1.0, 2.0**900, 1e300])
@pytest.mark.parametrize("user", [None, np.arange(40) % 7])
def test_errors_and_sizes_are_those_of_terms_of_any_size(factor, user):
    terms, units = (
        np.random.default_rng(0).integers(1, 9, size=40).astype(float),
        Units.of(user, 40),
    )
    error, size = units.standard_error(terms), units.effective_size(terms)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert units.standard_error(factor * terms) / factor == pytest.approx(error, rel=1e-3)
        assert units.effective_size(factor * terms) == pytest.approx(size, rel=1e-3)
    assert units.standard_error(0 * terms) == units.effective_size(0 * terms) == 0


def test_the_units_of_a_log_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        one_draw_a_user(3, 2).units.number[0] = 1


def test_the_support_report_asks_users():
    log = one_draw_a_user()
    report, rows = (
        log.support_report(opl.uniform()),
        dataclasses.replace(log, user_id=None).support_report(opl.uniform()),
    )
    first = log[::20]  # one round a user says all that the log says
    once = dataclasses.replace(first, user_id=None).support_report(opl.uniform())
    assert report.mean_weight_se == pytest.approx(once.mean_weight_se)
    assert report.ess == pytest.approx(once.ess)
    assert rows.mean_weight_se < report.mean_weight_se / 4 and rows.ess > 19 * report.ess
    assert (report.n_units, report.unit, rows.n_units, rows.unit) == (300, "user", 6000, "round")
    assert "of the users)" in repr(report)


def test_few_effective_users_are_a_finding():
    weight = np.r_[np.full(20, 1000.0), np.ones(20 * 99)]
    log = one_draw_a_user(100)
    report = dataclasses.replace(log, pscore=0.25 / weight).support_report(opl.uniform())
    assert any("effective users of 100" in finding for finding in report.findings)


def test_right_propensities_of_a_test_by_user_are_rarely_off():
    """By rows, half of these logs would have a mean weight that is not 1."""
    logs = [one_draw_a_user(seed=seed) for seed in range(40)]
    found = sum(bool(log.support_report(opl.uniform()).findings) for log in logs)
    assert found <= 2
    by_rows = [dataclasses.replace(log, user_id=None) for log in logs]
    assert sum(bool(log.support_report(opl.uniform()).findings) for log in by_rows) > 10


def test_balance_is_that_of_one_round_a_user():
    log = one_draw_a_user()
    once = dataclasses.replace(log[::20], user_id=None)
    pd.testing.assert_frame_equal(log.balance(), once.balance())


def test_balance_by_hand_where_users_come_back(small_log):
    rng = np.random.default_rng(0)
    log = small_log[rng.integers(120, size=2000)]
    users = pd.get_dummies(log.user_id).to_numpy(float)  # (n_rounds, n_users)
    n_users, table = users.shape[1], log.balance()
    for feature, f in enumerate([np.ones(2000), *(log.context - log.context.mean(axis=0)).T]):
        for item in range(4):
            sums = users.T @ (f * ((log.action == item) / log.pscore - 1))
            shown_to = (users[log.action == item].sum(axis=0) > 0).sum()
            distance = sums.sum() / (sums.std(ddof=1) * np.sqrt(n_users))
            distance = np.nan if shown_to < 30 else distance
            assert table.iloc[feature, item] == pytest.approx(distance, nan_ok=True)


def test_items_of_few_users_are_not_judged():
    balance = one_draw_a_user(n_users=60, n_each=40).balance()
    assert balance.isna().all().tolist() == [True] * 4


@pytest.mark.parametrize("n_users", [60, 300])
def test_propensities_of_users_are_estimated_by_models_that_did_not_see_them(n_users):
    """A forest that remembers a user knows what this user is always shown."""
    from sklearn.ensemble import RandomForestClassifier

    log = one_draw_a_user(n_users, 10)
    forest = RandomForestClassifier(20, max_features=None, random_state=0)
    rows, users = (
        opl.estimate_propensities(log.context, log.action, 4, forest, floor=0.02, user_id=user)
        for user in (None, log.user_id)
    )
    truth = np.array([0.1, 0.2, 0.3, 0.4])[log.action].mean()
    assert rows.pscore.mean() > 0.95
    assert abs(users.pscore.mean() - truth) < 0.1


def test_the_errors_of_estimated_propensities_are_by_user():
    from sklearn.dummy import DummyClassifier

    log = one_draw_a_user()
    popularity = DummyClassifier(strategy="prior")
    estimate = opl.estimate_propensities(
        log.context, log.action, 4, popularity, user_id=log.user_id
    )
    units, weight = log.units, 1 / estimate.pscore
    assert estimate.mean_weight_se == pytest.approx(units.standard_error(weight / 4))
    for item in range(4):
        sums = units.sums(weight * (log.action == item))
        error = sums.std(ddof=1) * np.sqrt(300) / 6000
        assert estimate.item_weights.std_error[item] == pytest.approx(error)
    assert not [finding for finding in estimate.findings if "is shown" in finding]
    rows = opl.estimate_propensities(log.context, log.action, 4, popularity)
    assert abs(rows.balance).max(axis=None) > 4 * abs(estimate.balance).max(axis=None) / 2
    assert (estimate.calibration.std_error > 0).all()


def test_users_must_fit_the_folds_and_the_rows():
    context, action = np.zeros((6, 1)), np.array([0, 1, 0, 1, 0, 1])
    with pytest.raises(ValueError, match="n_folds is 5, but the log has only 3 users"):
        opl.estimate_propensities(context, action, 2, user_id=[0, 0, 1, 1, 2, 2])
    with pytest.raises(ValueError, match="user_id has 5 rows but context has 6"):
        opl.estimate_propensities(context, action, 2, user_id=np.arange(5))
