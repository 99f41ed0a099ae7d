"""Other libraries' learners, with settings to choose from: the map compares with them.

Each function takes a log to learn from and a seed, and returns policies by setting: functions of
``(context, action_context)`` to probabilities. Those of ``obp`` do not use item features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from opl_lib.logs.feedback import BanditFeedback

from .few_lines import boosting, constant_item, logistic_on_products, ridge_on_products

Policy = Callable[[np.ndarray, np.ndarray], np.ndarray]
EPOCHS = 10


def obp_network(log: BanditFeedback, seed: int, doubly_robust: bool = False) -> dict[str, Policy]:
    """``obp.policy.NNPolicyLearner``, a network from contexts to a softmax over items."""
    from obp.ope import DoublyRobust, InverseProbabilityWeighting
    from obp.policy import NNPolicyLearner

    estimator = DoublyRobust() if doubly_robust else InverseProbabilityWeighting()
    q_hat = None
    if doubly_robust:
        from obp.ope import RegressionModel
        from sklearn.linear_model import LogisticRegression

        model = RegressionModel(
            n_actions=log.n_actions,
            base_model=LogisticRegression(max_iter=1000),
            action_context=log.action_context,
        )
        q_hat = model.fit_predict(log.context, log.action, log.reward, n_folds=2, random_state=seed)
    policies = {}
    for rate in (3e-4, 1e-3, 3e-3):
        learner = NNPolicyLearner(
            n_actions=log.n_actions,
            dim_context=log.dim_context,
            off_policy_objective=estimator.estimate_policy_value_tensor,
            hidden_layer_size=(100, 100, 100),
            batch_size=100,
            max_iter=EPOCHS,
            n_iter_no_change=10**9,  # 0.4.1 would stop when the loss has *fallen* ten times
            learning_rate_init=rate,
            random_state=seed,
        )
        learner.fit(
            log.context,
            log.action,
            log.reward,
            log.pscore,
            estimated_rewards_by_reg_model=q_hat,
        )
        policies[f"learning_rate={rate:g} @ 1"] = _without_items(
            lambda context, learner=learner: learner.predict_proba(context)[:, :, 0]
        )
        policies[f"learning_rate={rate:g} @ 0"] = _without_items(
            lambda context, learner=learner: learner.predict(context)[:, :, 0].astype(float)
        )
    return policies


def obp_network_dr(log: BanditFeedback, seed: int) -> dict[str, Policy]:
    """`obp_network` with the doubly robust objective."""
    return obp_network(log, seed, doubly_robust=True)


def obp_classifier(log: BanditFeedback, seed: int) -> dict[str, Policy]:
    """``obp.policy.IPWLearner``: a classifier of the clicked items, weighted by 1/pscore."""
    from obp.policy import IPWLearner
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    bases = {
        "C=0.01": LogisticRegression(C=0.01, max_iter=1000),
        "C=1": LogisticRegression(C=1.0, max_iter=1000),
        "forest": RandomForestClassifier(min_samples_leaf=10, random_state=seed),
    }
    policies = {}
    for name, base in bases.items():
        learner = IPWLearner(n_actions=log.n_actions, base_classifier=base)
        learner.fit(log.context, log.action, log.reward, log.pscore)
        policies[name] = _without_items(
            lambda context, learner=learner: learner.predict(context)[:, :, 0].astype(float)
        )
    return policies


def vowpal_wabbit(log: BanditFeedback, seed: int) -> dict[str, Policy]:
    """``vw --cb_adf`` with an interaction of context and item features, served greedily."""
    policies = {}
    for kind in ("mtr", "dr"):
        for rate in (0.1, 0.5):
            policies[f"{kind}, learning_rate={rate:g}"] = _vowpal_wabbit(log, seed, kind, rate)
    return policies


def _vowpal_wabbit(log: BanditFeedback, seed: int, kind: str, rate: float) -> Policy:
    from vowpalwabbit import Workspace

    vw = Workspace(
        f"--cb_adf -q UA --cb_type {kind} --learning_rate {rate} --random_seed {seed} --quiet "
        "--bit_precision 18"
    )
    items = [f"|A {_features(row)}" for row in log.action_context]
    for x, a, r, p in zip(log.context, log.action, log.reward, log.pscore, strict=True):
        lines = [f"shared |U {_features(x)}", *items]
        lines[a + 1] = f"0:{-r}:{p} {items[a]}"
        vw.learn(lines)

    def policy(context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        lines = [f"|A {_features(row)}" for row in action_context]
        pi = np.zeros((len(context), len(action_context)))
        for row, x in enumerate(context):
            costs = vw.predict([f"shared |U {_features(x)}", *lines])
            pi[row, int(np.argmin(costs))] = 1
        return pi

    return policy


def _features(row: np.ndarray) -> str:
    return " ".join(f"{number}:{value:.4f}" for number, value in enumerate(row))


def _without_items(predict: Callable[[np.ndarray], np.ndarray]) -> Policy:
    return lambda context, action_context: predict(context)


PEERS = {
    "obp network, IPS": obp_network,
    "obp network, DR": obp_network_dr,
    "obp classifier": obp_classifier,
    "Vowpal Wabbit": vowpal_wabbit,
    "ridge on products": ridge_on_products,
    "logistic on products": logistic_on_products,
    "boosting": boosting,
    "constant item": constant_item,
}
