"""Learners, reward models, cross-fitting."""

import functools
import tempfile

import numpy as np
import torch
import torch.distributed as dist
from hostile import (
    Kind,
    also,
    but,
    choice,
    count,
    features,
    flag,
    integers,
    labels,
    number,
    optional,
    seed,
    thing,
)
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

import opl_lib as opl

from .kinds import (
    NOT_NEGATIVE,
    POSITIVE,
    PROGRESS,
    all_half,
    answers,
    call_of,
    callback_kind,
    checkpoint_kind,
    found_kind,
    log_kind,
    no_reward_models,
    objective_kind,
    towers_kind,
    unfitted_model,
    value_of_ips,
    widths_kind,
)
from .logs import columns_kind
from .things import Fits, things


def _settings():
    """Settings of every fit of two towers."""
    return {
        "epochs": (1, optional(count())),
        "batch_size": (8, count()),
        "learning_rate": (0.25, optional(POSITIVE)),
        "weight_decay": (0.25, NOT_NEGATIVE),
        "temperature": (0.5, optional(POSITIVE)),
        "hidden": ((2,), widths_kind()),
        "dim_embedding": (2, count()),
        "towers": (
            None,
            optional(
                thing(
                    {
                        "a module": torch.nn.Linear(4, 2),
                        "the class": opl.TwoTower,
                        "a policy": things().policy,
                    }
                )
            ),
        ),
        "shuffle": (True, flag()),
        "progress": (False, PROGRESS),
        "random_state": (0, seed()),
        "device": ("cpu", choice()),
    }


def _of_learner():
    return {
        **_settings(),
        "reward_model": (
            None,
            optional(but(unfitted_model(), "one that returns NaN", "one that returns nothing")),
        ),
        "n_folds": (2, count()),
        "catalogue": ("auto", choice()),
        "n_sampled": (8, count()),
    }


def two():
    """Learners of its own for each call, which may be in a thread."""
    return [things().learner(), things().learner(random_state=1)]


def _by_one_process(**given):
    """A group of one, which leaves no trace."""
    store = tempfile.mktemp(prefix="store-", dir=things().folder)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    try:
        return opl.fit_distributed(**given)
    finally:
        dist.destroy_process_group()


def _fit_own(catalogue, gradient):
    objective = opl.Objective(gradient, only_logged_item=True, name="own")
    return things().learner(objective, catalogue=catalogue, n_sampled=2).fit(things().log)


def _bilinear(one):
    t = things()
    lean, temperature = number((-0.1, 1e7)), number((-0.1, 1e-310))
    of_both = {"lean": (0.5, lean), "temperature": (0.5, temperature)}
    fitted = opl.BilinearLearner().fit(t.log)
    context = (t.context, features(width=True))
    items = (t.items, also(features(width=True), {"no rows": t.items[:0]}))

    def assigned(**changes):
        learner = opl.BilinearLearner()
        for name, value in changes.items():
            setattr(learner, name, value)
        return learner.fit(t.log)

    yield one("BilinearLearner", opl.BilinearLearner, **of_both)
    yield one("BilinearLearner.set_params", opl.BilinearLearner().set_params, **of_both)
    yield one("BilinearLearner.fit after an assignment", assigned, **of_both)
    yield one("BilinearLearner.get_params", opl.BilinearLearner().get_params, deep=True)
    yield one(
        "BilinearLearner.fit",
        lambda feedback: opl.BilinearLearner().fit(feedback),
        feedback=(t.log, log_kind()),
    )
    yield one(
        "BilinearLearner.near_logging",
        fitted.near_logging,
        lean=(0.5, also(lean, {"a tiny one": 1e-310})),
    )
    yield one(
        "BilinearLearner.near_logging at a temperature",
        fitted.near_logging,
        lean=(0.5, lean),
        temperature=(0.5, optional(temperature)),
    )
    yield one(
        "BilinearLearner.towers",
        fitted.towers,
        factor=(0.5, number((0, -0.1))),
        lean=(0.5, lean),
    )
    yield one(
        "BilinearLearner.predict_reward",
        fitted.predict_reward,
        context=context,
        action_context=items,
    )
    yield one("BilinearLearner.predicted", fitted.predicted, feedback=(t.log, log_kind()))
    yield one("BilinearLearner.check", fitted.check)
    yield one("BilinearLearner.forget", opl.BilinearLearner().fit(t.log).forget)
    yield one(
        "BilinearLearner.predict_reward before it is fitted",
        lambda fit: (fitted if fit else opl.BilinearLearner()).predict_reward(t.context, t.items),
        fit=(True, Kind(lambda right: {"no": False})),
    )


def _mask_kind():
    """What could be shown: here, everything."""

    def refused(right):
        return {
            "a number": 1,
            "text": "all",
            "integers": right.astype(int),
            "floats": right.astype(float),
            "three dimensions": right[..., None],
            "a row less": right[:-1],
            "an item less": right[:, :-1],
            "one item less for all": right[0, :-1],
            "nothing on offer": ~right,
            "nothing in one row": np.arange(len(right))[:, None] != right * 2,
        }

    def accepted(right):
        return {
            "None": None,
            "one row for all": right[0],
            "a list": right.tolist(),
            "sets": opl.Eligible.of_mask(right),
        }

    return Kind(refused, accepted)


def _constant(one):
    t = things()
    few = also(features(), {"one item less": t.items[:2], "no rows": t.items[:0]})
    wrong = {"an item twice": [0, 0], "itself": [2, 0], "one below 0": [-1, 0]}
    yield one(
        "ConstantItemPolicy",
        opl.ConstantItemPolicy,
        action=(2, count(least=0)),
        fallback=((0, 1), also(integers(rows=False), wrong)),
        columns=(None, but(columns_kind(), "columns of other features")),
        item_ids=(
            np.arange(3),
            optional(also(but(labels(), "objects"), {"an id twice": [0, 1, 1]})),
        ),
    )
    yield one(
        "ConstantItemPolicy.predict_proba",
        opl.ConstantItemPolicy(2, fallback=(0, 1)).predict_proba,
        context=(t.context, features()),
        action_context=(t.items, few),
        eligible=(np.ones((len(t.context), len(t.items)), dtype=bool), _mask_kind()),
    )
    yield one(
        "ConstantItemPolicy.recommend",
        opl.ConstantItemPolicy(2, fallback=(0, 1)).recommend,
        context=(t.context, features()),
        action_context=(t.items, few),
        k=(2, count(most=3)),
        random_state=(0, optional(seed())),
        eligible=(np.ones((len(t.context), len(t.items)), dtype=bool), _mask_kind()),
    )
    yield one("ConstantItemLearner", opl.ConstantItemLearner)
    yield one(
        "ConstantItemLearner.fit",
        lambda feedback: opl.ConstantItemLearner().fit(feedback),
        feedback=(t.log, log_kind()),
    )


def calls():
    t = things()
    one = functools.partial(call_of, "learning")

    def assigned(**changes):
        learner = t.learner()
        for name, value in changes.items():
            setattr(learner, name, value)
        return learner.fit(t.log)

    def assigned_to_regressor(**changes):
        model = t.regressor()
        for name, value in changes.items():
            setattr(model, name, value)
        return model.fit(t.log).predict_reward(t.context, t.items)

    yield one(
        "OffPolicyLearner",
        opl.OffPolicyLearner,
        objective=("ips", objective_kind()),
        **_of_learner(),
    )
    yield one(
        "OffPolicyLearner.set_params",
        t.learner().set_params,
        objective=("ips", objective_kind()),
        **_of_learner(),
    )
    yield one(
        "OffPolicyLearner.set_params of others",
        lambda setting: t.learner().set_params(**setting),
        setting=({"epochs": 1}, Kind(lambda right: {"an unknown one": {"setting": 3}})),
    )
    yield one(
        "OffPolicyLearner.fit after an assignment",
        assigned,
        objective=("ips", objective_kind()),
        **_of_learner(),
    )
    yield one(
        "OffPolicyLearner.fit",
        lambda feedback, callback: t.learner().fit(feedback, callback),
        feedback=(t.log, log_kind()),
        callback=(lambda policy: {"a": 0.5}, callback_kind()),
    )
    yield one(
        "OffPolicyLearner.fit with a reward model",
        lambda feedback, callback: t.learner("dr").fit(feedback, callback),
        feedback=(t.log, log_kind()),
        callback=(lambda policy: {"a": 0.5}, callback_kind()),
    )
    yield one(
        "OffPolicyLearner.fit with a checkpoint",
        lambda checkpoint: t.learner().fit(t.log, checkpoint=checkpoint),
        checkpoint=(t.folder / "checkpoint", optional(checkpoint_kind(t.folder))),
    )
    yield one(
        "fit_distributed",
        _by_one_process,
        learner=(t.learner(), thing({"the class": opl.OffPolicyLearner, "another": t.regressor()})),
        feedback=(t.log, log_kind()),
        callback=(lambda policy: {"a": 0.5}, callback_kind()),
        checkpoint=(None, checkpoint_kind(t.folder)._replace(accepted=lambda right: {})),
    )
    yield one(
        "OffPolicyLearner.fit by default",
        lambda feedback, callback: t.learner("auto").fit(feedback, callback),
        feedback=(t.log, log_kind()),
        callback=(lambda policy: {"a": 0.5}, callback_kind()),
    )
    yield one(
        "OffPolicyLearner.fit of towers by default",
        lambda towers: t.learner("auto", towers=towers).fit(t.log),
        towers=(t.towers, optional(towers_kind())),
    )
    yield one(
        "OffPolicyLearner.fit of towers",
        lambda towers: t.learner(towers=towers).fit(t.log),
        towers=(t.towers, optional(towers_kind())),
    )
    yield one(
        "OffPolicyLearner.fit of a reward model",
        lambda reward_model: t.learner("dr", reward_model=reward_model).fit(t.log),
        reward_model=(Fits(all_half), optional(unfitted_model())),
    )
    for catalogue in ("exact", "streamed", "sampled"):
        yield one(
            f"OffPolicyLearner.fit {catalogue}",
            functools.partial(_fit_own, catalogue),
            gradient=(value_of_ips, found_kind(learned=True)),
        )
    yield one("OffPolicyLearner.get_params", t.learner().get_params, deep=True)
    yield one("OffPolicyLearner.check", t.learner().check)
    yield one("OffPolicyLearner.for_fit", lambda: vars(t.learner().for_fit(24, False)))
    yield one(
        "OffPolicyLearner.serving_temperature", t.learner().serving_temperature, is_regression=True
    )
    yield one("OffPolicyLearner.forget", t.learner().forget)
    yield one("OffPolicyLearner.default_reward_model", t.learner().default_reward_model)
    regressions = also(
        but(objective_kind(), "a reward model"),
        {"one of a policy": "ips", "a function": lambda scores, batch: scores.sum()},
    )
    # a regression may be served greedily
    settings = _settings() | {"temperature": (0.5, optional(number((-0.1, 1e-310))))}
    yield one(
        "TwoTowerRegressor", opl.TwoTowerRegressor, objective=("auto", regressions), **settings
    )
    yield one("TwoTowerRegressor.set_params", t.regressor().set_params, **settings)
    yield one(
        "TwoTowerRegressor.fit after an assignment",
        assigned_to_regressor,
        objective=("auto", regressions),
        **settings,
    )
    yield one(
        "TwoTowerRegressor.fit",
        lambda feedback, callback: t.regressor().fit(feedback, callback),
        feedback=(t.log, log_kind()),
        callback=(lambda policy: {"a": 0.5}, callback_kind()),
    )
    yield one(
        "TwoTowerRegressor.start",
        lambda feedback, callback: type(t.regressor().start(feedback, callback)),
        feedback=(t.log, log_kind()),
        callback=None,
    )
    yield one("TwoTowerRegressor.get_params", t.regressor().get_params, deep=True)
    yield one("TwoTowerRegressor.check", t.regressor().check)
    yield one("TwoTowerRegressor.for_fit", lambda: vars(t.regressor().for_fit(24, True)))
    yield one(
        "TwoTowerRegressor.serving_temperature",
        t.regressor().serving_temperature,
        is_regression=True,
    )
    yield one("TwoTowerRegressor.forget", t.regressor().forget)
    model = t.regressor().fit(t.log)
    context = (t.context, features(width=True, single=True))
    items = (t.items, also(features(width=True, single=True), {"no rows": t.items[:0]}))
    yield one(
        "TwoTowerRegressor.predict_reward",
        model.predict_reward,
        context=context,
        action_context=items,
    )
    yield one(
        "TwoTowerRegressor.predict_reward before it is fitted",
        lambda fitted: (model if fitted else t.regressor()).predict_reward(t.context, t.items),
        fitted=(True, Kind(lambda right: {"no": False})),
    )
    yield one(
        "TwoTowerRegressor.predictor",
        lambda context, action_context: model.predictor(context, action_context)(
            np.arange(3), np.arange(2)
        ),
        context=context,
        action_context=items,
    )
    whole, few = features(width=True), also(features(width=True), {"no rows": t.items[:0]})
    yield from _bilinear(one)
    yield from _constant(one)
    yield one(
        "SklearnRewardModel",
        opl.SklearnRewardModel,
        standardise=(True, flag()),
        estimator=(
            Ridge(),
            thing(
                {
                    "the class": Ridge,
                    "a transformer": StandardScaler(),
                    "a policy": t.policy,
                    "a function": len,
                }
            ),
        ),
    )
    yield one(
        "SklearnRewardModel.fit",
        lambda feedback: opl.SklearnRewardModel(Ridge()).fit(feedback),
        feedback=(t.log, log_kind()),
    )
    yield one(
        "SklearnRewardModel.predict_reward",
        t.model.predict_reward,
        context=(t.context, whole),
        action_context=(t.items, few),
    )
    yield one(
        "SklearnRewardModel.predict_reward before it is fitted",
        lambda fitted: (t.model if fitted else opl.SklearnRewardModel(Ridge())).predict_reward(
            t.context, t.items
        ),
        fitted=(True, Kind(lambda right: {"no": False})),
    )
    yield one(
        "FittedRewardModel",
        opl.FittedRewardModel,
        model=(t.model, thing(lambda right: no_reward_models())),
    )
    yield one(
        "FittedRewardModel.fit", opl.FittedRewardModel(t.model).fit, feedback=(t.log, log_kind())
    )
    yield one(
        "cross_fit",
        opl.cross_fit,
        reward_model=(
            opl.SklearnRewardModel(Ridge()),
            but(unfitted_model(), "one that returns NaN", "one that returns nothing"),
        ),
        feedback=(t.log, log_kind()),
        n_folds=(2, count(most=12)),
        random_state=(0, seed()),
    )
    q = t.cross_fitted
    yield one("CrossFittedRewardModel.is_for", q.is_for, feedback=(t.log, log_kind()))
    yield one("CrossFittedRewardModel.predict_logged_item", q.predict_logged_item)
    yield one(
        "CrossFittedRewardModel.predict_reward",
        q.predict_reward,
        context=(t.context, whole),
        action_context=(t.items, few),
    )
    yield one(
        "CrossFittedRewardModel.predict_rows",
        q.predict_rows,
        rows=(np.arange(4), integers(rows=False, high=24)),
        items=(np.arange(2), optional(integers(rows=False, high=3))),
    )
    yield one(
        "CrossFittedRewardModel.predict_rows of NaN",
        lambda q_hat: opl.cross_fit(q_hat, t.log).predict_rows(np.arange(3)),
        q_hat=(
            Fits(all_half),
            Kind(
                lambda right: {label: Fits(answer) for label, answer in answers(all_half).items()}
            ),
        ),
    )

    fitted = t.learner()
    yield one(
        "fit_many",
        lambda learners, **given: opl.fit_many(
            learners() if learners is two else learners, **given
        ),
        learners=(
            two,
            also(
                thing(but=("an empty list",)),
                {
                    "one learner": t.learner(),
                    "None in it": [t.learner(), None],
                    "a number in it": [3, t.learner()],
                    "the class in it": [opl.OffPolicyLearner, t.learner()],
                    "a policy in it": [t.policy, t.learner()],
                    "one twice": [fitted, fitted],
                    "one more": [t.learner(), t.learner(), t.learner()],
                },
            ),
        ),
        feedbacks=(
            [t.log, t.log],
            also(
                log_kind(),
                {
                    "None in it": [t.log, None],
                    "one less": [t.log],
                    "one more": [t.log] * 3,
                    "a number in it": [3, t.log],
                },
                {"one log": t.log},
            ),
        ),
        callbacks=(
            None,
            optional(
                also(
                    thing(but=("a class",)),
                    {
                        "a number in it": [3, None],
                        "one less": [None],
                        "text in it": ["a", "b"],
                        "one that returns text": lambda policy: "text",
                    },
                )
            ),
        ),
        names=(
            ["a", "b"],
            optional(
                also(
                    thing(but=("an array",)),
                    {"one less": ["a"], "one more": ["a", "b", "c"]},
                    either={"numbers": [1, 2], "None in it": ["a", None]},
                )
            ),
        ),
    )
