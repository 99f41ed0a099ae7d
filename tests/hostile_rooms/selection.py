"""Selection, rehearsal, watching, early stopping."""

import functools

import numpy as np
from hostile import also, but, choice, count, number, optional, seed, thing

import opl_lib as opl

from .kinds import (
    CONFIDENCE,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    PROGRESS,
    all_half,
    answers,
    ax_kind,
    call_of,
    callback_kind,
    checkpoint_kind,
    estimator_kind,
    fitted_model,
    learner_kind,
    likely,
    log_kind,
    no_policies,
    policy_kind,
    range_kind,
    unfitted_model,
)
from .things import Fits, Returns, gives, things


def calls():
    t = things()
    one = functools.partial(call_of, "selection")

    def temperatures():
        return thing(
            {
                "nothing": [],
                "one number": 0.5,
                "a negative number": [-1.0],
                "text in it": ["a"],
                "numbers as text": ["1"],
                "NaN in it": [np.nan],
                "None in it": [None],
                "True in it": [True],
                "infinity in it": [np.inf],
                "a list in it": [[1.0]],
                "a tiny one": [1e-310],
            },
            lambda right: {"a tuple": (1.0, 0), "an array": np.array([1.0, 0.0])},
            {"one twice": [1.0, 1.0]},
            but=("None", "an empty list", "an array"),
        )

    def candidate_kind():
        def refused(right):
            given = {
                f"{label} by name": {"a": value}
                for label, value in (
                    no_policies() | {"None": None, "a number": 3, "text": "ips", "an array": t.pi}
                ).items()
                if label not in ("a learner",)
            }
            given |= {
                f"a policy {label} by name": {"a": Returns(answer)}
                for label, answer in answers(likely).items()
            }
            return {
                **given,
                "nothing": {},
                "one learner": t.learner(),
                "a list of policies": [t.policy],
                "a set": {"a"},
                "pairs": [("a", t.policy)],
                "numbers as names": {3: t.policy},
                "the name of the logging policy": {"logging": t.policy},
                "the class of a learner by name": {"a": opl.OffPolicyLearner},
                "None as a name": {None: t.policy},
            }

        return thing(refused, but=("a dictionary", "an empty list"))

    fractions = thing(
        {
            "two": (0.5, 0.5),
            "a sum of 1.5": (0.5, 0.5, 0.5),
            "none to fit": (0, 0.5, 0.5),
            "a negative one": (-0.5, 1.0, 0.5),
            "text in it": ("a", "b", "c"),
            "numbers as text": ("0.5", "0.25", "0.25"),
            "NaN in it": (np.nan, 0.5, 0.5),
            "None in it": (None, 0.5, 0.5),
            "True in it": (True, 0, 0),
            "text": "abc",
            "complex": (0.5j, 0.5, 0.5),
            "infinity": (np.inf, 0.5, 0.5),
        },
        lambda right: {"a list": list(right), "an array": np.array(right)},
        but=("text", "an array"),
    )
    three = also(
        log_kind(),
        {
            "two logs": [t.log, t.log],
            "four logs": [t.log] * 4,
            "None in it": [t.log, None, t.log],
            "other items in it": [t.plain, t.plain, t.more_items],
            "other widths in it": [t.plain, t.plain, t.wide],
            "items of other widths in it": [t.plain, t.other_items, t.plain],
        },
        {},
    )
    yield one(
        "select",
        opl.select,
        candidates=({"a": t.policy}, candidate_kind()),
        feedback=(t.log, three),
        temperatures=([1.0, 0], optional(temperatures())),
        estimator=("snips", also(estimator_kind(), {"one without an error": "dm"})),
        confidence=(0.5, CONFIDENCE),
        min_ess=(1.0, NOT_NEGATIVE),
        min_rewards=(1.0, NOT_NEGATIVE),
        interval=("student_t", choice()),
        fractions=((0.5, 0.25, 0.25), fractions),
        progress=(False, PROGRESS),
        random_state=(0, seed()),
    )
    yield one(
        "select with a reward model",
        opl.select,
        candidates={"a": t.policy},
        feedback=(t.log, log_kind()),
        estimator="dr",
        reward_model=(Fits(all_half), optional(unfitted_model())),
        progress=False,
    )
    yield one(
        "select bounded",
        opl.select,
        candidates={"a": opl.uniform()},
        feedback=t.plain,
        estimator="ips",
        interval="empirical_bernstein",
        reward_range=((0, 1), range_kind()),
        max_weight=(8.0, optional(number((0, -1, 0.5)))),
        progress=False,
    )

    for name, call in (("select", opl.select), ("learn", opl.learn)):

        def kept(checkpoint, call=call, name=name):
            arguments = {"candidates": {"a": t.learner()}, "feedback": t.log, "estimator": "snips"}
            return call(**arguments, progress=False, checkpoint=checkpoint).best

        folder = t.folder / f"kept-{name}"
        kind = optional(checkpoint_kind(t.file))
        yield one(f"{name} with a checkpoint", kept, checkpoint=(folder, kind))

    def learned(**given):
        shown = ["difference", "std_error", "lower_bound"]
        return opl.learn(progress=False, **given).table[shown]

    yield one(
        "learn",
        learned,
        feedback=(t.log, log_kind()),
        candidates=({"a": t.policy}, optional(candidate_kind())),
        estimator=("snips", also(estimator_kind(), {"one without an error": "dm"})),
        confidence=(0.5, CONFIDENCE),
        n_folds=(2, count(least=2, most=12)),
        min_ess=(0.0, NOT_NEGATIVE),
        min_rewards=(0.0, NOT_NEGATIVE),
        budget=(100.0, optional(POSITIVE)),
        random_state=(0, seed()),
    )
    yield one(
        "learn with a reward model",
        learned,
        feedback=t.log,
        candidates={"a": t.policy},
        min_ess=0,
        reward_model=(Fits(all_half), optional(unfitted_model())),
    )
    yield one(
        "learn with a bar",
        lambda progress: opl.learn(t.log, {"a": t.policy}, estimator="ips", progress=progress).best,
        progress=(False, PROGRESS),
    )
    found = opl.learn(t.log, {"a": t.policy}, estimator="ips", progress=False)

    def drawn(ax):
        import matplotlib.pyplot as plt

        try:
            found.plot(ax)
        finally:
            plt.close("all")

    yield one("Learned.plot", drawn, ax=(None, ax_kind()))

    def choose(log):
        return opl.select({"a": opl.uniform()}, log, estimator="ips")

    class NoWorld:
        def sample(self, n_rounds, random_state=None):
            return None

        def policy_value(self, policy):
            return 0.5

        logging_policy = opl.uniform()

    yield one(
        "rehearse",
        opl.rehearse,
        choose=(
            choose,
            also(
                thing(but=("a class",)),
                {
                    "the selection": choose(t.log),
                    **{
                        f"one that returns {k}": gives(v)
                        for k, v in {
                            "None": None,
                            "a name": "a",
                            "a policy": t.policy,
                            "a number": 3,
                        }.items()
                    },
                    "a function of nothing": lambda: None,
                },
            ),
        ),
        world=(
            t.world,
            thing(
                {
                    "the class": opl.SyntheticWorld,
                    "a log": t.log,
                    "a world that draws nothing": NoWorld(),
                    "a policy": t.policy,
                }
            ),
        ),
        n_rounds=(30, count()),
        n_logs=(1, count()),
        progress=(False, PROGRESS),
        random_state=(0, seed()),
    )

    watch_model = (
        Returns(all_half),
        but(
            also(optional(fitted_model(answered=False)), {"a policy": t.policy}),
            "a regressor that is not fitted",
            "a reward model that is not fitted",
        ),
    )
    yield one(
        "Watch",
        opl.Watch,
        held_out=(t.plain, optional(log_kind(other_items="more_items", other_widths="wide"))),
        train=(
            t.plain,
            optional(
                log_kind(
                    other_items="more_items",
                    other_widths="wide",
                    items_of_other_widths="other_items",
                )
            ),
        ),
        estimator=("dr", estimator_kind()),
        reward_model=watch_model,
        max_rounds=(5, count(least=2)),
        random_state=(0, seed()),
    )
    yield one(
        "Watch.__call__",
        lambda policy: opl.Watch(t.log)(policy),
        policy=(Returns(likely), policy_kind()),
    )
    yield one(
        "Watch.__call__ with a reward model",
        lambda reward_model: opl.Watch(t.log, estimator="dr", reward_model=reward_model)(t.policy),
        reward_model=(Returns(all_half), fitted_model()),
    )

    learner = t.learner()
    yield one(
        "EarlyStopping",
        opl.EarlyStopping,
        learner=(learner, learner_kind()),
        held_out=(
            0.25,
            also(FRACTION, {"the class of a log": opl.BanditFeedback, "a frame": t.frame}),
        ),
        estimator=("snips", estimator_kind()),
        confidence=(0.5, CONFIDENCE),
        min_ess=(1.0, NOT_NEGATIVE),
        min_rewards=(0.0, NOT_NEGATIVE),
        patience=(2, optional(count())),
        reward_model=(
            Fits(all_half),
            but(optional(unfitted_model()), "one that returns NaN", "one that returns nothing"),
        ),
        random_state=(0, seed()),
    )

    yield one("EarlyStopping.check", opl.EarlyStopping(learner).check)

    def stopped(feedback=t.log, callback=None, **settings):
        trusting = {"min_ess": 0, "min_rewards": 0}
        return opl.EarlyStopping(learner, **{**trusting, **settings}).fit(feedback, callback)

    def assigned(**changes):
        early = opl.EarlyStopping(learner, min_ess=0.0, min_rewards=0.0)
        for name, value in changes.items():
            setattr(early, name, value)
        return early.fit(t.log)

    yield one(
        "EarlyStopping.fit",
        stopped,
        feedback=(t.log, log_kind()),
        callback=(
            lambda policy: {"a": 0.5},
            also(
                callback_kind(), {"one that returns 'held_out'": lambda policy: {"held_out": 0.5}}
            ),
        ),
    )
    yield one(
        "EarlyStopping.fit of other logs",
        stopped,
        held_out=(
            t.log,
            log_kind(
                other_items="more_items", other_widths="wide", items_of_other_widths="other_items"
            ),
        ),
    )
    yield one(
        "EarlyStopping.fit after an assignment",
        assigned,
        learner=(learner, learner_kind()),
        confidence=(0.5, CONFIDENCE),
        min_ess=(0.0, NOT_NEGATIVE),
        patience=(2, optional(count())),
        random_state=(0, seed()),
        held_out=(0.25, FRACTION),
        estimator=("snips", estimator_kind()),
    )
    yield one(
        "EarlyStopping.fit with a reward model",
        lambda reward_model: stopped(reward_model=reward_model, estimator="dr"),
        reward_model=(Fits(all_half), optional(unfitted_model())),
    )
