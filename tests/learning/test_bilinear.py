"""The bilinear regression: against explicit products, its policies, and logs of every size."""

import copy
import pickle

import numpy as np
import pytest
from learning.learners import with_columns
from sklearn.base import clone
from sklearn.linear_model import Ridge

import opl_lib as opl
from opl_lib.arrays import _is_on_disk
from opl_lib.learning import bilinear, products, ridge
from opl_lib.learning.logging_model import logging_model
from opl_lib.learning.products import Encoding, Products
from opl_lib.learning.ridge import PENALTIES
from opl_lib.learning.vectors import Shown, Vectors
from opl_lib.policies.known_items import KnownItems


def made(n=400, n_actions=5, pscore=None, reward=None, seed=0, **columns):
    """A log with a signal: a reward that is bilinear but for noise, shown uniformly."""
    rng = np.random.default_rng(seed)
    context = columns.pop("context", rng.normal(size=(n, 3)))
    items = columns.pop("items", rng.normal(size=(n_actions, 2)))
    action = columns.pop("action", rng.integers(0, len(items), len(context)))
    if reward is None:
        reward = context[:, 0] * items[action, 0] + 0.5 * rng.normal(size=len(context))
    pscore = np.full(len(context), 1 / len(items)) if pscore is None else pscore
    return opl.BanditFeedback(context, action, reward, pscore, items, **columns)


def centred(scores):
    return scores - scores.mean(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def shown_by_softmax():
    """A log whose logging policy is a softmax of products, and its table."""
    rng = np.random.default_rng(1)
    n, items = 6_000, rng.normal(size=(5, 2))
    context = rng.normal(size=(n, 3))
    logits = context @ rng.normal(size=(3, 2)) @ items.T + items @ [0.5, -1.0]
    pi_0 = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    action = (pi_0.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    reward = context[:, 1] * items[action, 1] + rng.normal(size=n)
    return opl.BanditFeedback(context, action, reward, pi_0[np.arange(n), action], items), pi_0


@pytest.fixture(scope="module")
def of_softmax(shown_by_softmax):
    return opl.BilinearLearner().fit(shown_by_softmax[0])


# ---- the regression


def explicit(log):
    """All products of standardised features, each side with a leading 1: (n, 4 * 3)."""
    standard = [(f - f.mean(axis=0)) / f.std(axis=0) for f in (log.context, log.action_context)]
    x, a = (np.hstack([np.ones((len(f), 1)), f]) for f in standard)
    return np.einsum("ni,nj->nij", x, a[log.action]).reshape(log.n_rounds, -1)


def own_columns(log, width):
    """One column for each item and each of the first numbers of x̃."""
    standard = (log.context - log.context.mean(axis=0)) / log.context.std(axis=0)
    x = np.hstack([np.ones((log.n_rounds, 1)), standard])[:, :width]
    columns = np.zeros((log.n_rounds, log.n_actions, width))
    columns[np.arange(log.n_rounds), log.action] = x
    return columns.reshape(log.n_rounds, -1)


def fitted_by_sklearn(columns, target, penalties):
    """A penalty for each column is one penalty of columns that are divided by its root."""
    root = np.sqrt(penalties)
    model = Ridge(alpha=1, fit_intercept=False, solver="svd").fit(columns / root, target)
    return model.coef_ / root


def with_own_effects(log, size, seed=0):
    """The log with rewards that features of the items do not explain."""
    own = size * np.random.default_rng(seed).normal(size=(log.n_actions, 4))
    x = np.hstack([np.ones((log.n_rounds, 1)), log.context])
    return with_columns(log, reward=log.reward + (x * own[log.action]).sum(axis=1))


def columns_and_penalties(log, width):
    """Columns of a regression, and their penalties on n rounds, at 0.01 and 20."""
    relative = np.ones((4, 3))
    relative[:, 0] = ridge.CONTEXT_PENALTY
    own = own_columns(log, width)
    of_own = np.full(own.shape[1], 20.0)
    return np.hstack([explicit(log), own]), lambda n: np.append(0.01 * n * relative, of_own)


def unseen_error(log, target, width):
    """The errors of predictions of five folds that a fit has not seen."""
    columns, penalties = columns_and_penalties(log, width)
    fold, errors = log.units.folds(5, 0), []
    for k in range(5):
        some = fold != k
        found = fitted_by_sklearn(columns[some], target[some], penalties(some.sum()))
        errors.append(np.square(target[~some] - columns[~some] @ found).sum())
    return np.array(errors)


@pytest.fixture
def one_penalty(monkeypatch):
    monkeypatch.setattr(ridge, "PENALTIES", np.array([0.01]))
    monkeypatch.setattr(ridge, "OWN_PENALTIES", (20.0,))


@pytest.mark.parametrize(("size", "width"), [(0.0, 1), (1.0, 4)])
def test_the_regression_is_that_of_explicit_columns(size, width, one_penalty):
    log = with_own_effects(made(600, 12, seed=3), size)
    target = (log.reward - log.reward.mean()) / log.reward.std()
    shown = Shown.of(log, Products.of(log))
    found = ridge.ridge(log, Products.of(log), shown, target)
    best, expected_width = unseen_error(log, target, 0), 0
    for wider in (1, 4):
        gain = best - unseen_error(log, target, wider)
        if gain.mean() > gain.std(ddof=1) / np.sqrt(5):  # a standard error, as far as folds differ
            best, expected_width = best - gain, wider
    assert expected_width == width
    columns, penalties = columns_and_penalties(log, width)
    expected = fitted_by_sklearn(columns, target, penalties(600))
    np.testing.assert_allclose(found.of_features.ravel(), expected[:12], atol=1e-6)
    item_of = np.empty(12, int)
    item_of[shown.number] = log.action
    found_own = found.own[np.argsort(item_of)]
    np.testing.assert_allclose(found_own[:, :width].ravel(), expected[12:], atol=1e-6)
    assert not found_own[:, width:].any()


def test_the_penalty_is_the_one_of_the_smallest_error(monkeypatch):
    log, errors = made(seed=3), []
    target = (log.reward - log.reward.mean()) / log.reward.std()
    shown = Shown.of(log, Products.of(log))
    seen, error = [], ridge._Sums.error
    monkeypatch.setattr(ridge._Sums, "error", lambda *given: seen.append(error(*given)) or seen[-1])
    monkeypatch.setattr(ridge, "OWN_PENALTIES", ())
    for penalty in PENALTIES:
        with monkeypatch.context() as patch:
            patch.setattr(ridge, "PENALTIES", np.array([penalty]))
            seen.clear()
            at_penalty = ridge.ridge(log, Products.of(log), shown, target)
        errors.append((sum(seen), at_penalty))
    found = ridge.ridge(log, Products.of(log), shown, target)
    best = min(errors, key=lambda each: each[0])[1]
    np.testing.assert_array_equal(found.of_features, best.of_features)


def test_a_score_has_a_factor_of_its_own(one_penalty, monkeypatch):
    monkeypatch.setattr(ridge, "OWN_PENALTIES", ())
    log = made(500, seed=3)
    rng = np.random.default_rng(0)
    shown = Shown.of(log, Products.of(log))
    score = Vectors(rng.normal(size=(4, 3)), rng.normal(size=(5, 4)))
    of_items = score.of(shown.encoded, np.arange(5))
    x = Products.of(log).context(log.context)
    given = np.einsum("nd,nd->n", x, of_items[shown.number])
    target = log.reward + 0.5 * given
    found = ridge.ridge(log, Products.of(log), shown, target, score)
    columns, penalties = columns_and_penalties(log, 0)
    penalties = np.append(penalties(500), 0.01 * ridge.SCORE_PENALTY * np.square(given).sum())
    expected = fitted_by_sklearn(np.column_stack([columns, given]), target, penalties)
    of_features = expected[:12].reshape(4, 3) + expected[12] * score.of_features
    np.testing.assert_allclose(found.of_features, of_features, atol=1e-6)
    np.testing.assert_allclose(found.own, expected[12] * score.own, atol=1e-6)
    assert expected[12] == pytest.approx(0.5, abs=0.1)


def test_rounds_have_weights(one_penalty):
    """A weight of two is a round that stands there twice, by the same user."""
    log = with_own_effects(made(300, seed=3), 1.0)
    weight = np.where(np.arange(300) % 2, 2.0, 1.0)
    twice = np.repeat(np.arange(300), weight.astype(int))
    repeated = with_columns(log, user_id=np.arange(300))[twice]
    products_ = Products.of(log)
    found, expected = (
        ridge.ridge(each, products_, Shown.of(each, products_), each.reward, weight=weights)
        for each, weights in ((log, weight / 1.5), (repeated, np.full(450, 1 / 1.5)))
    )
    np.testing.assert_allclose(found.own, expected.own, rtol=0.5, atol=0.05)


def test_logged_items_are_predicted_as_in_the_table():
    log = made(seed=3)
    learner = opl.BilinearLearner().fit(log)
    q_hat = learner.predict_reward(log.context, log.action_context)
    rows = np.arange(log.n_rounds), log.action
    np.testing.assert_allclose(q_hat[rows], learner.predicted(log), atol=1e-9)


# ---- items themselves


def test_an_item_is_known_by_more_than_its_features_and_a_new_one_by_these():
    log = with_own_effects(made(6_000, 12, seed=5), 1.0)
    learner = opl.BilinearLearner(lean=0).fit(log)
    x = np.hstack([np.ones((log.n_rounds, 1)), log.context])
    own = np.random.default_rng(0).normal(size=(12, 4))
    truth = np.outer(log.context[:, 0], log.action_context[:, 0]) + x @ own.T
    q_hat = learner.predict_reward(log.context, log.action_context)
    assert np.abs(centred(q_hat - truth)).mean() < 0.1
    scores = learner.policy_.scores(log.context, log.action_context)
    np.testing.assert_allclose(centred(scores), centred(q_hat) / learner.spread_, atol=1e-4)
    assert isinstance(learner.policy_.towers.action_tower, KnownItems)
    few = log.action_context[[7, 2]]
    np.testing.assert_allclose(
        learner.predict_reward(log.context, few), q_hat[:, [7, 2]], rtol=1e-9
    )
    moved = log.action_context + 1e-3
    new = learner.predict_reward(log.context, moved)
    assert np.abs(centred(new - truth)).mean() > 5 * np.abs(centred(q_hat - truth)).mean()


def test_items_of_the_same_features_are_one():
    """A log of 400 rounds in which two items look alike, and neither is explained by features."""
    items = np.random.default_rng(1).normal(size=(6, 2))
    items[3] = items[1]
    log = with_own_effects(made(3_000, items=items), 1.0)
    q_hat = opl.BilinearLearner().fit(log).predict_reward(log.context, log.action_context)
    np.testing.assert_array_equal(q_hat[:, 1], q_hat[:, 3])
    assert np.abs(q_hat[:, 1] - q_hat[:, 2]).mean() > 0.1


def knowing_log(sign):
    """Rare rewards, by a logging policy that knows of items what features do not say; and q."""
    rng, n, n_items = np.random.default_rng(0), 8_000, 200
    context, items = rng.normal(size=(n, 3)), rng.normal(size=(n_items, 2))
    logits = context @ rng.normal(size=(n_items, 3)).T
    pi_0 = np.exp(logits / 4) / np.exp(logits / 4).sum(axis=1, keepdims=True)
    action = (pi_0.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    q = 0.01 * np.exp(sign * logits / 2)
    reward = (rng.random(n) < q[np.arange(n), action]).astype(float)
    return opl.BanditFeedback(context, action, reward, pi_0[np.arange(n), action], items), q


@pytest.mark.parametrize("sign", [1, -1])
def test_what_the_logging_policy_knew_is_used_as_far_as_rewards_bear_it_out(sign):
    log, q = knowing_log(sign)
    untold = with_columns(log, pscore=np.full(log.n_rounds, 1 / 200))
    told, alone = (
        opl.BilinearLearner(lean=0).fit(each).policy_.greedy(log.context, log.action_context)
        for each in (log, untold)
    )
    rows = np.arange(log.n_rounds)
    assert q[rows, told].mean() > 1.2 * q[rows, alone].mean()


def test_a_bilinear_reward_is_found():
    log = made(4_000, seed=5)
    learner = opl.BilinearLearner().fit(log)
    truth = np.outer(log.context[:, 0], log.action_context[:, 0])
    found = learner.predict_reward(log.context, log.action_context)
    assert np.abs(centred(found - truth)).mean() < 0.05
    assert learner.spread_ == pytest.approx(truth[:1_000].std(axis=1).mean(), rel=0.05)


@pytest.mark.parametrize("n_cheap", [800, 5])
def test_users_stay_in_one_fold(n_cheap, monkeypatch):
    monkeypatch.setattr(ridge, "_CHEAP_PRODUCTS", n_cheap)
    masks, sums = [], ridge._sums
    monkeypatch.setattr(ridge, "_sums", lambda *given: masks.append(given[-1]) or sums(*given))
    user = np.random.default_rng(0).integers(0, 30, 400)
    opl.BilinearLearner().fit(made(user_id=user))
    assert len(masks) == (5 if n_cheap == 800 else 2)
    assert (np.sum(masks, axis=0) == 1).all()
    for mask in masks:
        shares = [mask[user == u].mean() for u in range(30)]
        assert set(shares) == {0, 1}


def test_what_all_items_share_is_penalised_less_than_what_tells_them_apart():
    """A reward of the context alone is predicted, and leaves the items alike."""
    log = made()
    log = with_columns(log, reward=3 * log.context[:, 1])
    learner = opl.BilinearLearner().fit(log)
    found = learner.predict_reward(log.context, log.action_context)
    np.testing.assert_allclose(found, np.tile(log.reward[:, None], 5), atol=0.02)
    assert learner.spread_ < 0.02


def test_a_large_effect_of_contexts_costs_the_policy_no_digits():
    rng = np.random.default_rng(0)
    log = made(seed=2)
    reward = 1e6 * log.context[:, 1] + log.action_context[log.action, 0]
    log = with_columns(log, reward=reward + 0.01 * rng.normal(size=400))
    learner = opl.BilinearLearner(lean=0).fit(log)
    scores = learner.policy_.scores(log.context, log.action_context)
    q_hat = learner.predict_reward(log.context, log.action_context) / (learner.spread_ or 1)
    np.testing.assert_allclose(centred(scores), centred(q_hat), atol=1e-4 * np.abs(scores).max())


# ---- policies


def test_scores_of_the_towers_are_the_regression_but_for_what_items_share(of_softmax):
    context, items = np.random.default_rng(2).normal(size=(50, 3)), np.eye(2)
    scores = of_softmax.near_logging(0, 1).scores(context, items)
    q_hat = of_softmax.predict_reward(context, items) / of_softmax.spread_
    np.testing.assert_allclose(centred(scores), centred(q_hat), atol=1e-4)
    doubled = opl.TwoTowerPolicy(of_softmax.towers(2.0, 0.0)).scores(context, items)
    np.testing.assert_allclose(doubled, 2 * scores, rtol=1e-5)


def test_the_logging_policy_is_recovered(shown_by_softmax, of_softmax):
    log, pi_0 = shown_by_softmax
    far = of_softmax.near_logging(1e5)  # at temperature 1e5: q̂ counts for nothing
    found = far.predict_proba(log.context, log.action_context)
    assert np.abs(found - pi_0).max() < 0.1
    assert np.abs(found - pi_0).mean() < 0.01


@pytest.mark.parametrize("lean", [0.3, 1.0])
def test_near_logging_tilts_the_logging_model(lean, shown_by_softmax, of_softmax):
    log, _ = shown_by_softmax
    context, items = log.context[:200], log.action_context
    pi_0 = of_softmax.near_logging(1e5).predict_proba(context, items)
    q_hat = of_softmax.predict_reward(context, items)
    tilted = pi_0 * np.exp(centred(q_hat) / (lean * of_softmax.spread_))
    expected = tilted / tilted.sum(axis=1, keepdims=True)
    for policy in (of_softmax.near_logging(lean), of_softmax.near_logging(lean, lean)):
        found = policy.predict_proba(context, items)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_chunks_give_the_same_model(small_chunks, shown_by_softmax):
    log = shown_by_softmax[0][:200]
    learner = opl.BilinearLearner().fit(log)
    small_chunks()
    again = opl.BilinearLearner().fit(log)
    for policy, other in zip(learner.policies_.values(), again.policies_.values(), strict=True):
        np.testing.assert_allclose(
            policy.scores(log.context, log.action_context),
            other.scores(log.context, log.action_context),
            atol=1e-3,
        )


def test_uniform_logging_of_many_items_is_told_by_a_relative_error():
    rng = np.random.default_rng(0)
    log = made(20, items=rng.normal(size=(1_000, 1)), pscore=np.full(20, 1e-3))
    model = logging_model(log, Products.of(log), Shown.of(log, Products.of(log)))
    assert not model.of_features.any() and not model.own.any()


def test_policies_go_from_greedy_to_near_the_logging_policy(shown_by_softmax, of_softmax):
    log, pi_0 = shown_by_softmax
    ways = of_softmax.policies_
    assert list(ways) == ["", "regression", *(f"near logging, {x:g}" for x in bilinear.LEANS)]
    assert ways[""] is of_softmax.policy_ and ways["regression"].temperature == 0
    pi = [policy.predict_proba(log.context, log.action_context) for policy in ways.values()]
    apart = [np.abs(each - pi_0).mean() for each in pi]
    assert sorted(apart[1:], reverse=True) == apart[1:]
    q_hat = of_softmax.predict_reward(log.context, log.action_context)
    np.testing.assert_array_equal(pi[1].argmax(axis=1), q_hat.argmax(axis=1))


@pytest.mark.parametrize(("scale", "offset"), [(1e6, 0), (1, 100), (1e-6, -3), (1e200, 1e200)])
def test_unit_and_offset_of_the_reward_change_no_policy(scale, offset, shown_by_softmax):
    log = shown_by_softmax[0][:1_000]
    other = with_columns(log, reward=scale * log.reward + offset)
    learner, of_other = (opl.BilinearLearner(temperature=0.1).fit(each) for each in (log, other))
    assert learner.spread_ > 0
    assert of_other.spread_ == pytest.approx(scale * learner.spread_, rel=1e-4)
    for way, policy in learner.policies_.items():
        np.testing.assert_allclose(
            of_other.policies_[way].predict_proba(log.context, log.action_context),
            policy.predict_proba(log.context, log.action_context),
            atol=2e-4,
        )


def test_without_a_signal_the_policy_shows_what_was_shown(shown_by_softmax):
    log, pi_0 = shown_by_softmax
    log = with_columns(log, reward=np.ones(log.n_rounds))
    learner = opl.BilinearLearner(temperature=0.1).fit(log)
    assert learner.spread_ == 0
    pi = learner.policy_.predict_proba(log.context, log.action_context)
    assert np.abs(pi - pi_0).mean() < 0.01
    (constant,) = np.unique(learner.predict_reward(log.context, log.action_context))
    assert constant == 1


def test_the_spread_is_that_of_the_whole_log(monkeypatch):
    """A log that is sorted begins with contexts that are like no others."""
    monkeypatch.setattr(products, "_CONTEXTS", 50)
    log = made(1_000)
    learner = opl.BilinearLearner().fit(log[np.argsort(np.abs(log.context[:, 0]))])
    q_hat = learner.predict_reward(log.context, log.action_context)
    assert learner.spread_ == pytest.approx(q_hat.std(axis=1).mean(), rel=0.1)


# ---- logs of every kind


def softly_logged(log, seed=0):
    rng = np.random.default_rng(seed)
    return with_columns(log, pscore=rng.uniform(0.05, 1, log.n_rounds))


LOGS = {
    "constant rewards": lambda: with_columns(made(), reward=np.full(400, 0.3)),
    "constant features": lambda: made(
        context=np.ones((50, 3)), items=np.ones((4, 2)), reward=np.arange(50.0)
    ),
    "constant items": lambda: made(items=np.ones((4, 2)), reward=np.arange(400.0)),
    "one round": lambda: made(1),
    "two rounds": lambda: made(2),
    "nine rounds": lambda: made(9),
    "one user": lambda: made(user_id=np.zeros(400, int)),
    "one item shown": lambda: made(action=np.zeros(400, int)),
    "features of 1e5": lambda: made(
        context=1e5 * np.random.default_rng(0).normal(size=(400, 3)),
        items=1e5 * np.random.default_rng(1).normal(size=(5, 2)),
        reward=np.random.default_rng(2).normal(size=400),
    ),
    "tiny features": lambda: made(
        context=1e-36 * np.random.default_rng(0).normal(size=(400, 3)),
        reward=np.random.default_rng(2).normal(size=400),
    ),
    "giant rewards": lambda: with_columns(made(), reward=1e300 * made().reward),
    "half precision": lambda: made(
        context=np.random.default_rng(0).normal(size=(400, 3)).astype(np.float16),
        items=np.random.default_rng(1).normal(size=(5, 2)).astype(np.float16),
    ),
}


@pytest.mark.parametrize("logged", [lambda log: log, softly_logged], ids=["uniformly", "softly"])
@pytest.mark.parametrize("name", LOGS)
def test_every_log_gives_finite_policies(name, logged):
    log = logged(LOGS[name]())
    learner = opl.BilinearLearner().fit(log)
    assert np.isfinite(learner.predict_reward(log.context, log.action_context)).all()
    assert np.isfinite(learner.spread_) and learner.spread_ >= 0
    for policy in learner.policies_.values():
        pi = policy.predict_proba(log.context, log.action_context)
        np.testing.assert_allclose(pi.sum(axis=1), 1)


def test_the_unit_of_features_changes_nothing():
    log = made()
    other = opl.BanditFeedback(
        1e5 * log.context + 1e5, log.action, log.reward, log.pscore, 1e-5 * log.action_context
    )
    q_hat, of_other = (
        opl.BilinearLearner().fit(each).predict_reward(each.context, each.action_context)
        for each in (log, other)
    )
    np.testing.assert_allclose(of_other, q_hat, atol=1e-4)


def test_a_column_that_towers_cannot_tell_from_a_constant_is_one():
    log = made()
    context = np.column_stack([log.context, 1e9 + np.random.default_rng(0).normal(size=400)])
    wider = opl.BanditFeedback(context, log.action, log.reward, log.pscore, log.action_context)
    learner, of_wider = (opl.BilinearLearner().fit(each) for each in (log, wider))
    np.testing.assert_allclose(
        of_wider.near_logging(0, 1).scores(context, log.action_context),
        learner.near_logging(0, 1).scores(log.context, log.action_context),
        rtol=1e-5,
        atol=1e-6,
    )


def test_features_beyond_single_precision_are_named():
    log = made(context=1e40 * np.random.default_rng(0).normal(size=(50, 3)))
    with pytest.raises(ValueError, match=r"context is too large for single precision: row 0"):
        opl.BilinearLearner().fit(log)


@pytest.mark.parametrize("n", [30, 400])
def test_many_products_are_compressed(n, monkeypatch):
    """Also of features of which some are sums of others, and of more features than rounds."""
    monkeypatch.setattr(products, "_MAX_PRODUCTS", 60)
    rng = np.random.default_rng(0)
    few = rng.normal(size=(n, 4))
    log = made(context=few @ rng.normal(size=(4, 40)), items=rng.normal(size=(6, 3)))
    log = with_columns(log, reward=few[:, 0] * log.action_context[log.action, 0])
    learner = opl.BilinearLearner(lean=0).fit(log)
    assert learner._products.shape == (15, 4)
    assert np.abs(learner._products.context.matrix).max() < 1e3
    scores = learner.policy_.scores(log.context, log.action_context)
    q_hat = learner.predict_reward(log.context, log.action_context)
    np.testing.assert_allclose(centred(scores), centred(q_hat) / (learner.spread_ or 1), atol=1e-4)
    if n == 400:
        truth = np.outer(few[:, 0], log.action_context[:, 0])
        assert np.corrcoef(centred(q_hat).ravel(), centred(truth).ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("widths", "sizes"),
    [((3, 2), (4, 3)), ((70, 70), (55, 54)), ((3500, 3), (750, 4)), ((3, 3500), (4, 750))],
)
def test_at_most_3000_products_are_made(widths, sizes, monkeypatch):
    seen = []
    monkeypatch.setattr(Encoding, "of", lambda name, features, size: seen.append(size))
    rng = np.random.default_rng(0)
    log = made(context=rng.normal(size=(4, widths[0])), items=rng.normal(size=(3, widths[1])))
    Products.of(log)
    assert tuple(seen) == sizes and np.prod(sizes) <= 3_000


def test_contexts_are_compressed_where_items_are_many(monkeypatch):
    """Sums of their products are kept for each item."""
    log = made(n_actions=50, n=2_000, context=np.random.default_rng(0).normal(size=(2_000, 9)))
    assert Products.of(log).shape == (10, 3)
    monkeypatch.setattr(products, "_MAX_ITEM_SUMS", 50 * 36)
    assert Products.of(log).shape == (6, 3)
    assert opl.BilinearLearner().fit(log).policy_.towers.mlp_settings["dim_embedding"] == 6


def test_principal_components_are_those_of_the_spread():
    rng = np.random.default_rng(0)
    few, mixed = rng.normal(size=(300, 2)), rng.normal(size=(2, 10))
    features = few @ mixed + 0.01 * rng.normal(size=(300, 10)) + 5
    made_of = Encoding.of("context", features, 3)(features)
    assert made_of.shape == (300, 3) and (made_of[:, 0] == 1).all()
    np.testing.assert_allclose(made_of[:, 1:].mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(np.cov(made_of[:, 1:].T, bias=True), np.eye(2), atol=1e-6)
    wide = Encoding.of("context", features.T[:, :50], 3)(features.T[:, :50])
    np.testing.assert_allclose(np.cov(wide[:, 1:].T, bias=True), np.eye(2), atol=1e-6)


def test_a_log_in_files_is_read_as_it_is(tmp_path, small_chunks):
    log, columns = made(seed=7), {}
    for name in ("context", "action_context", "reward", "pscore"):
        np.save(tmp_path / f"{name}.npy", getattr(log, name).astype(np.float32))
        columns[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    on_disk = opl.BanditFeedback(action=log.action, **columns)
    assert _is_on_disk(on_disk.context) and _is_on_disk(on_disk.action_context)
    learner = opl.BilinearLearner().fit(log)
    small_chunks()
    of_disk = opl.BilinearLearner().fit(on_disk)
    np.testing.assert_allclose(
        of_disk.predict_reward(on_disk.context, on_disk.action_context),
        learner.predict_reward(log.context, log.action_context),
        atol=1e-4,
    )


# ---- its form


def test_two_fits_are_the_same_and_a_refit_forgets(shown_by_softmax):
    log = shown_by_softmax[0][:500]
    learner = opl.BilinearLearner().fit(log)
    again = opl.BilinearLearner().fit(made()).fit(log)
    for way, policy in learner.policies_.items():
        np.testing.assert_array_equal(
            again.policies_[way].scores(log.context, log.action_context),
            policy.scores(log.context, log.action_context),
        )
    with pytest.raises(TypeError):
        again.fit(None)
    with pytest.raises(ValueError, match="not fitted"):
        again.predict_reward(log.context, log.action_context)


def test_it_is_pickled_copied_and_cloned(of_softmax):
    context, items = np.ones((3, 3)), np.eye(2)
    expected = of_softmax.predict_reward(context, items)
    for other in (pickle.loads(pickle.dumps(of_softmax)), copy.deepcopy(of_softmax)):
        np.testing.assert_array_equal(other.predict_reward(context, items), expected)
        np.testing.assert_array_equal(
            other.policy_.scores(context, items), of_softmax.policy_.scores(context, items)
        )
    learner = opl.BilinearLearner(lean=0.5, temperature=2)
    assert learner.get_params() == {"lean": 0.5, "temperature": 2}
    assert clone(learner).get_params() == learner.get_params()
    assert not hasattr(clone(of_softmax), "policy_")
    assert learner.set_params(lean=0.2).lean == 0.2
    assert repr(learner) == "BilinearLearner(lean=0.2, temperature=2)"


def test_it_is_a_reward_model_that_is_cross_fitted(shown_by_softmax):
    log = shown_by_softmax[0][:600]
    q_hat = opl.cross_fit(opl.BilinearLearner(), log, n_folds=3)
    for k, model in enumerate(q_hat.models):
        alone = opl.BilinearLearner().fit(log[q_hat.fold != k])
        np.testing.assert_array_equal(
            model.predict_reward(log.context, log.action_context),
            alone.predict_reward(log.context, log.action_context),
        )
    learner = opl.OffPolicyLearner(
        "dr", reward_model=opl.BilinearLearner(), epochs=1, hidden=(4,), progress=False
    )
    assert isinstance(learner.fit(log).policy_, opl.TwoTowerPolicy)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lean": -0.1}, r"lean must be .*at least 0.*got -0\.1"),
        ({"lean": 1e9}, r"lean must be .*at most 1000000\.0; got 1000000000\.0"),
        ({"lean": "a"}, "lean must be .*got 'a'"),
        ({"temperature": -1}, "temperature must be .*got -1"),
        ({"temperature": 1e-310}, "temperature must be .*at least 1e-38; got 1e-310"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        opl.BilinearLearner(**settings)
    learner = opl.BilinearLearner()
    with pytest.raises(ValueError, match=message):
        learner.set_params(**settings)
    assert learner.get_params() == {"lean": 0.1, "temperature": 0.0}
    vars(learner).update(settings)
    with pytest.raises(ValueError, match=message):
        learner.fit(made())


def test_what_is_asked_of_a_fit_is_checked(of_softmax):
    with pytest.raises(ValueError, match="'alpha' is not a setting; the settings are"):
        opl.BilinearLearner().set_params(alpha=1)
    for ask in (lambda x: x.policies_, lambda x: x.near_logging(1.0)):
        with pytest.raises(ValueError, match="this learner is not fitted"):
            ask(opl.BilinearLearner())
    with pytest.raises(ValueError, match=r"lean must be .*1e-38; got 1e-40"):
        of_softmax.near_logging(1e-40)
    with pytest.raises(ValueError, match=r"temperature must be .*got -1"):
        of_softmax.near_logging(1.0, -1)
    with pytest.raises(ValueError, match="context has 2 features, but the training log had 3"):
        of_softmax.predict_reward(np.ones((1, 2)), np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"action_context has 3 features, .* had 2"):
        of_softmax.predict_reward(np.ones((1, 3)), np.ones((2, 3)))
