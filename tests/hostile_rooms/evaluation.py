"""Estimators and what a policy is worth."""

import functools

import numpy as np
from hostile import also, choice, count, flag, number, optional, seed, thing

import opl_lib as opl

from .kinds import (
    CONFIDENCE,
    all_half,
    call_of,
    estimators_kind,
    fitted_model,
    likely,
    log_kind,
    policy_kind,
    range_kind,
)
from .things import Returns, things


def calls():
    t = things()
    one = functools.partial(call_of, "evaluation")
    usual = {
        "feedback": (t.log, log_kind()),
        "random_state": (0, seed()),
        "confidence": (0.5, CONFIDENCE),
        "difference": (False, flag()),
    }
    policy = (Returns(likely), policy_kind(arrays=True))
    yield one(
        "evaluate",
        opl.evaluate,
        policy=policy,
        **usual,
        estimators=(["ips", "snips"], estimators_kind()),
        interval=("normal", choice()),
    )
    yield one(
        "evaluate with a reward model",
        opl.evaluate,
        policy=Returns(likely),
        feedback=(t.log, log_kind()),
        estimators=["dr", "dm", "sndr"],
        reward_model=(Returns(all_half), optional(fitted_model())),
    )
    yield one(
        "evaluate bounded",
        opl.evaluate,
        policy=Returns(likely),
        feedback=t.plain,
        estimators=["ips"],
        interval="empirical_bernstein",
        reward_range=((0, 1), range_kind()),
        max_weight=(8.0, optional(number((0, -1, 0.5)))),
    )
    yield one(
        "evaluate by bets",
        opl.evaluate,
        policy=Returns(likely),
        feedback=t.plain,
        estimators=["ips"],
        interval="betting",
        reward_range=((0, 1), range_kind()),
        max_weight=(8.0, optional(number((0, -1, 0.5)))),
        random_state=(0, seed()),
    )
    yield one(
        "evaluate with optimal coefficients",
        opl.evaluate,
        policy=Returns(likely),
        feedback=(t.log, log_kind()),
        estimators=["beta_ips", "beta_dr", "lse"],
        reward_model=(Returns(all_half), optional(fitted_model())),
    )
    yield one(
        "evaluate by the bootstrap",
        opl.evaluate,
        policy=Returns(likely),
        feedback=t.log,
        estimators=["snips"],
        interval="bootstrap",
        random_state=(0, seed()),
        confidence=(0.5, CONFIDENCE),
    )
    yield one(
        "Estimator",
        lambda name, limit: str(opl.Estimator(name, limit)),
        name=(
            "clipped_ips",
            thing(
                {
                    "another": "zz",
                    "bytes": b"ips",
                    "an estimator": opl.Estimator("ips"),
                    "one without a limit": "ips",
                },
                but=("text",),
            ),
        ),
        limit=(2.0, optional(number((0, -1)))),
    )

    def own(columns=lambda terms, w: w * terms.reward, **parts):
        return opl.evaluate(
            opl.uniform(), t.log, [opl.Estimator("own", form=opl.Form(columns, **parts))]
        )

    def ratio(
        columns=lambda terms, w: (w * terms.reward, w), estimate=lambda a, b: a / b, gradient=None
    ):
        return own(columns, estimate=estimate, gradient=gradient)

    bad = {
        "None": lambda terms, w: None,
        "a number": lambda terms, w: 0.5,
        "text": lambda terms, w: "text",
        "an entry less": lambda terms, w: w[:-1],
        "two dimensions": lambda terms, w: np.zeros((2, 2)),
        "NaN": lambda terms, w: w * np.nan,
        "infinity": lambda terms, w: w * np.inf,
        "complex numbers": lambda terms, w: w + 0j,
        "numbers as text": lambda terms, w: w.astype(str),
        "masked numbers": lambda terms, w: np.ma.masked_array(w, mask=True),
        "nothing": lambda terms, w: (),
    }
    yield one(
        "Form",
        own,
        columns=(
            lambda terms, w: w * terms.reward,
            also(
                thing(but=("a class",)),
                {
                    "a function of one": lambda w: w,
                    **{f"one that returns {k}": v for k, v in bad.items()},
                },
            ),
        ),
        weight=(
            lambda w, limit: w,
            also(
                thing(but=("a class",)),
                {
                    f"one that returns {k}": _weight(v)
                    for k, v in bad.items()
                    if k not in ("nothing", "two dimensions")
                },
            ),
        ),
        needs_reward_model=(False, flag()),
        weighs=(True, flag()),
        default_limit=(
            None,
            optional(
                also(
                    thing(but=("a class",)),
                    {
                        "one that returns None": lambda n: None,
                        "one that returns text": lambda n: "a",
                        "one that returns NaN": lambda n: np.nan,
                    },
                )
            ),
        ),
        most=(lambda limit: np.inf, thing(but=("a class",))),
    )
    yield one(
        "Form of two columns",
        ratio,
        estimate=(
            lambda a, b: a / b,
            also(
                thing(but=("a class",)),
                {
                    "a function of one": lambda a: a,
                    "one that returns None": lambda a, b: None,
                    "one that returns text": lambda a, b: "text",
                    "one that returns two": lambda a, b: np.array([1.0, 2.0]),
                },
            ),
        ),
        gradient=(
            None,
            optional(
                also(
                    thing(but=("a class",)),
                    {
                        "one that returns None": lambda a, b: None,
                        "one that returns one": lambda a, b: [1.0],
                        "one that returns text": lambda a, b: "text",
                    },
                )
            ),
        ),
    )
    yield one(
        "Estimator.form",
        lambda form: opl.Estimator("own", form=form),
        form=(
            opl.Form(lambda terms, w: w),
            also(thing(), {"a function": lambda terms, w: w, "the class": opl.Form}),
        ),
    )
    yield one(
        "Estimator of exponentials",
        lambda limit: opl.Estimator("lse", limit).sample(terms).value,
        limit=(0.5, optional(number((0, -1)))),
    )
    terms = opl.Terms(t.reward, t.pscore)
    yield one(
        "Estimator.sample",
        lambda **given: opl.Estimator("ips").sample(**given).value,
        terms=(terms, thing({"a log": t.log, "the class": opl.Terms})),
        reward_range=((0, 1), optional(range_kind())),
        max_weight=(1.0, optional(number((0, -1), infinity=True))),
    )
    yield one(
        "Estimator.term_range",
        opl.Estimator("clipped_ips").term_range,
        n_rounds=(4, count()),
        reward_range=((0, 1), range_kind()),
        max_weight=(1.0, optional(number((0, -1), infinity=True))),
        difference=(False, flag()),
    )
    yield one("Form.per_row", opl.Form(lambda terms, w: w).per_row, terms=terms, w=t.pscore)
    yield one(
        "Form.sample",
        lambda terms, limit: opl.Form(lambda terms, w: w).sample(terms, limit).value,
        terms=terms,
        limit=2.0,
    )


def _weight(columns):
    return lambda w, limit: columns(None, w)
