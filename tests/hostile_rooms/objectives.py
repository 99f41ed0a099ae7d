"""Objectives, and formulas of one's own."""

import functools

import torch
from hostile import Kind, also, but, count, flag, number, optional, seed, thing

import opl_lib as opl

from .kinds import (
    NOT_NEGATIVE,
    POSITIVE,
    batch_kind,
    call_of,
    cluster_kind,
    found_kind,
    log_kind,
    objective_kind,
    tensor_kind,
    value_of_ips,
)
from .things import things


def _mask_kind():
    """A tensor of what could be shown: here, everything."""

    def refused(right):
        return {
            "a number": 1,
            "text": "all",
            "a list": right.tolist(),
            "an array": right.numpy(),
            "integers": right.long(),
            "floats": right.float(),
            "one row": right[0],
            "an item less": right[:, :-1],
            "a round less": right[:-1],
            "nothing": ~right,
        }

    return Kind(refused, lambda right: {"None": None, "not contiguous": right.T.contiguous().T})


def calls():
    t = things()
    one = functools.partial(call_of, "objectives")
    yield one(
        "Objective",
        lambda given, **about: opl.Objective(given, **about),
        given=(
            value_of_ips,
            thing(
                {"a name": "ips", "a log": t.log, "a function of one": lambda logits: logits.sum()},
                but=("a class",),
            ),
        ),
        settings=(
            {},
            thing(
                {
                    "pairs": [("a", 1)],
                    "numbers as names": {1: 2},
                    "a setting that it has not": {"zz": 1},
                },
                but=("a dictionary", "an empty list"),
            ),
        ),
        batched=(False, flag()),
        name=("own", thing(but=("text", "None"))),
        min_reward=(0.0, but(number(infinity=True), "minus infinity", "a giant")),
        max_reward=(1.0, but(number(infinity=True), "minus infinity", "a giant")),
        needs=(
            ("q_hat",),
            thing(
                {"another": ("zz",), "one name": "q_hat", "a number in it": (3,)},
                but=("an empty list", "text"),
            ),
        ),
        only_logged_item=(False, flag()),
        n_actions=(3, optional(count())),
    )
    yield one("Objective.check_log", opl.OBJECTIVES["ips"].check_log, feedback=(t.log, log_kind()))
    logits = torch.tensor(t.q, dtype=torch.float32)
    batch = opl.Batch(
        torch.tensor(t.action),
        torch.tensor(t.reward).float(),
        torch.tensor(t.pscore).float(),
        torch.tensor(t.q).float(),
        torch.tensor(t.pscore).float(),
    )
    for name in ("ips", "dm", "dr", "snips"):
        yield one(
            name, getattr(opl, name), logits=(logits, tensor_kind()), batch=(batch, batch_kind())
        )
    everything = torch.ones_like(logits, dtype=torch.bool)
    yield one(
        "ips of what could be shown",
        lambda eligible: opl.ips(logits, batch._replace(eligible=eligible)),
        eligible=(everything, _mask_kind()),
    )
    for name in ("regression", "squared_error", "mrdr"):
        yield one(
            name,
            lambda scores, batch, name=name: getattr(opl, name)(scores, batch),
            scores=(logits[:, 0], tensor_kind()),
            batch=(batch, batch_kind()),
        )
    yield one(
        "Objective.__call__",
        opl.clipped_ips(),
        logits=(logits, tensor_kind()),
        batch=(batch, batch_kind()),
    )
    yield one(
        "Regression",
        opl.Regression,
        function=(
            lambda scores, batch: scores.sum(),
            thing({"a name": "regression"}, but=("a class",)),
        ),
        settings=({}, thing(but=("a dictionary", "an empty list"))),
        batched=(False, flag()),
        name=("own", thing(but=("text", "None"))),
        min_reward=(0.0, but(number(infinity=True), "minus infinity", "a giant")),
        max_reward=(1.0, but(number(infinity=True), "minus infinity", "a giant")),
        to_reward=(torch.sigmoid, thing(but=("a class",))),
        from_reward=(None, optional(thing(but=("a class",)))),
    )
    yield one(
        "Regression.check_log", opl.OBJECTIVES["regression"].check_log, feedback=(t.log, log_kind())
    )
    yield one(
        "Regression.link",
        lambda reward: repr(opl.OBJECTIVES["regression"].link(reward)),
        reward=t.reward,
    )
    yield one(
        "Regression.__call__",
        lambda scores, batch: opl.OBJECTIVES["squared_error"](scores, batch),
        scores=(logits[:, 0], tensor_kind()),
        batch=(batch, batch_kind()),
    )
    yield one(
        "linear_value",
        opl.linear_value,
        logits=(logits, tensor_kind()),
        pseudo_reward=(logits, but(tensor_kind(), "a number", "no dimension", "integers")),
        action=(batch.action, tensor_kind(integer=True)),
        correction=(batch.reward, but(tensor_kind(), "integers", "an array")),
    )
    limits = {
        "clipped_ips": {"max_weight": (2.0, number((0, -1), infinity=True))},
        "implicit_exploration": {"gamma": (0.25, NOT_NEGATIVE)},
        "exponential_smoothing": {"alpha": (0.5, number((-0.1, 1.5)))},
        "logarithmic_smoothing": {"smoothing": (0.25, POSITIVE)},
        "log_sum_exp": {"smoothing": (0.25, POSITIVE)},
        "poem": {
            "penalty": (0.25, NOT_NEGATIVE),
            "max_weight": (2.0, number((0, -1), infinity=True)),
        },
        "switch_dr": {"max_weight": (2.0, number((-1,), infinity=True))},
        "dros": {"shrinkage": (2.0, number((-1,), infinity=True))},
        "likelihood": {"alpha": (0.5, number((-0.1, 1.5)))},
        "exponential_likelihood": {"scale": (0.5, POSITIVE)},
        "top_k_ips": {"k": (2, count())},
        "baseline_ips": {"baseline": (0.5, also(number(), {"another": "zz"}))},
        **{
            name: {"cluster": (t.cluster, cluster_kind(known=False))}
            for name in ("mips", "offcem", "potec")
        },
    }
    for name, settings in limits.items():
        yield one(name, getattr(opl, name), **settings)
    policies = also(but(objective_kind(), "the class"), {"a regression": "regression"})
    yield one(
        "regularised",
        opl.regularised,
        objective=("ips", policies),
        entropy=(0.25, NOT_NEGATIVE),
        imitation=(0.25, NOT_NEGATIVE),
        kl=(0.25, NOT_NEGATIVE),
    )
    yield one("get_objective", opl.get_objective, objective=("ips", objective_kind()))
    yield one(
        "check_objective",
        opl.check_objective,
        objective=("ips", objective_kind()),
        random_state=(0, seed()),
    )
    yield one(
        "check_objective of one's own",
        lambda gradient: opl.check_objective(opl.Objective(gradient, name="own")),
        gradient=(value_of_ips, but(found_kind(learned=False), "NaN", "a gradient of NaN")),
    )
