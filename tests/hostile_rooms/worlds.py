"""Worlds and the policies that log in them."""

import dataclasses
import functools

import numpy as np
import pandas as pd
from hostile import (
    Kind,
    also,
    but,
    choice,
    count,
    features,
    integers,
    labels,
    mask,
    number,
    optional,
    seed,
    thing,
)

import opl_lib as opl

from .kinds import POSITIVE, all_half, answers, call_of, eligible_kind, likely, policy_kind
from .things import Coupons, Returns, things


def _four_columns(answer, n):
    return answer(n, 4)


def calls():
    t = things()
    one = functools.partial(call_of, "worlds")
    static = policy_kind(answered=False)
    yield one(
        "SyntheticWorld",
        opl.SyntheticWorld,
        n_actions=(3, count(least=2)),
        dim_context=(2, count()),
        dim_action_context=(2, count()),
        reward_function=("logistic", choice()),
        logging_policy=(opl.uniform(), optional(static)),
        n_eval_contexts=(4, count()),
        random_state=(0, seed()),
        scale=(0.5, POSITIVE),
        unexplained=(0.5, number((-0.1, 1.5))),
        click_rate=(0.5, optional(number((0, 1, -0.1, 1.5)))),
    )
    yield one("SyntheticWorld.with_new_items", t.world.with_new_items, n_new=(2, count()))
    yield one(
        "SyntheticWorld.to_obp",
        lambda random_state: type(t.world.to_obp(random_state)),
        random_state=(0, seed()),
    )
    yield one(
        "World",
        opl.World,
        action_context=(
            t.items,
            also(features(), {"no rows": t.items[:0]}, either={"one item": t.items[:1]}),
        ),
        eval_context=(t.context, also(features(), {"no rows": t.context[:0]})),
        logging_policy=(opl.uniform(), static),
        random_state=(0, seed()),
    )
    yield one(
        "World.sample by a policy",
        lambda policy: opl.SyntheticWorld(3, 2, 2, logging_policy=policy, n_eval_contexts=2).sample(
            5, 0
        ),
        policy=(Returns(likely), optional(policy_kind())),
    )
    yield one(
        "World.reference_values by a policy",
        lambda policy: opl.SyntheticWorld(
            3, 2, 2, logging_policy=policy, n_eval_contexts=2
        ).reference_values(),
        policy=(Returns(likely), optional(policy_kind())),
    )
    draws = {
        label: functools.partial(_four_columns, answer)
        for label, answer in answers(all_half).items()
        if label != "that returns too few items"
    }
    rewards = answers(all_half) | {
        "that returns 1.5": lambda n, m: np.full((n, m), 1.5),
        "that returns -0.5": lambda n, m: np.full((n, m), -0.5),
    }
    yield one(
        "World.draw_context",
        lambda draws: Coupons(draws=draws).sample(5, 0),
        draws=(None, Kind(lambda right: {f"one {k}": v for k, v in draws.items()})),
    )
    yield one(
        "World.reward_probability",
        lambda rewards: Coupons(rewards=rewards).sample(5, 0),
        rewards=(None, Kind(lambda right: {f"one {k}": v for k, v in rewards.items()})),
    )
    yield one(
        "World.reward_probability_of",
        lambda rewards: Coupons(rewards=rewards).policy_value(opl.uniform()),
        rewards=(None, Kind(lambda right: {f"one {k}": v for k, v in rewards.items()})),
    )
    yield one("World.users_of", Coupons().users_of, context=t.context)
    digits = opl.DigitsWorld(n_eval_contexts=20, n_classifier_rows=20)
    yield one(
        "DigitsWorld",
        opl.DigitsWorld,
        alpha=(0.5, number((1, -0.1, 1.5))),
        n_classifier_rows=(20, count(least=10, most=1777)),
        n_eval_contexts=(20, count(most=1777)),
        random_state=(0, seed()),
    )
    for name, world in (("SyntheticWorld", t.world), ("DigitsWorld", digits)):
        context = world.eval_context if name == "DigitsWorld" else np.array(t.context)
        wrong = features(width=True)
        if name == "DigitsWorld":
            wrong = wrong._replace(
                accepted=lambda right: {
                    "a list": right.tolist(),
                    "float32": right.astype(np.float32),
                    "a frame": pd.DataFrame(right),
                }
            )
        items = np.tile([2, 0], (len(context), 1))
        yield one(
            f"{name}.sample",
            world.sample,
            n_rounds=(4, count()),
            random_state=(0, optional(seed())),
            eligible=(_all(4, world), optional(mask())),
        )
        yield one(
            f"{name}.draw_context",
            lambda n_rounds, rng, world=world: world.draw_context(
                n_rounds, np.random.RandomState(0) if rng is None else rng
            ),
            n_rounds=4,
            rng=None,
        )
        yield one(f"{name}.draw_eligible", world.draw_eligible, n_rounds=4, rng=None)
        yield one(
            f"{name}.users_of",
            world.users_of,
            context=context if name == "SyntheticWorld" else world.log_context[:4],
        )
        yield one(
            f"{name}.expected_reward",
            world.expected_reward,
            context=(context, wrong),
            action=(
                np.zeros(len(context), int),
                optional(but(integers(high=world.n_actions), "two dimensions")),
            ),
        )
        yield one(f"{name}.reward_probability", world.reward_probability, context=context)
        yield one(
            f"{name}.reward_probability_of",
            world.reward_probability_of,
            context=context,
            action=np.zeros(len(context), int),
        )
        yield one(
            f"{name}.policy_value",
            world.policy_value,
            policy=(Returns(likely), policy_kind()),
            context=(context, optional(also(wrong, {"no rows": context[:0]}))),
            eligible=(_all(len(context), world), eligible_kind()),
        )
        group = np.arange(world.n_actions) % 2
        yield one(
            f"{name}.value_by_group",
            lambda world=world, **given: world.value_by_group(**given).to_numpy(),
            policy=(Returns(likely), policy_kind()),
            group=(group, labels()),
            context=(context, optional(also(wrong, {"no rows": context[:0]}))),
            eligible=(_all(len(context), world), eligible_kind()),
        )
        lists = also(
            integers(high=world.n_actions),
            {
                "one dimension": items[:, 0],
                "an item twice": np.zeros_like(items),
                "empty lists": items[:, :0],
            },
        )
        lists = lists._replace(
            refused=lambda right, lists=lists: {
                k: v
                for k, v in lists.refused(right).items()
                if k not in ("two dimensions", "an entry less", "an entry more")
            },
            accepted=lambda right: {
                "a list": right.tolist(),
                "int8": right.astype(np.int8),
                "a frame": pd.DataFrame(right),
            },
        )
        yield one(
            f"{name}.list_value",
            world.list_value,
            items=(items, lists),
            user=("cascade", choice()),
            context=(context, optional(wrong)),
        )
        yield one(f"{name}.reference_values", world.reference_values)
    yield from _shop_calls(one)
    context, items = (
        (t.context, features(width=True)),
        (t.square_items, also(features(width=True), {"no rows": t.square_items[:0]})),
    )
    for name in ("softmax", "epsilon_greedy", "epsilon_greedy_as_published"):
        yield one(
            f"{name}.__call__",
            getattr(opl, name)(),
            context=context,
            action_context=items,
            eligible=(t.eligible, eligible_kind()),
        )
    yield one("uniform", lambda: opl.uniform()(t.context, t.items))
    yield one(
        "zipf",
        lambda exponent: opl.zipf(exponent)(t.context, t.items),
        exponent=(0.5, number((-0.1, 10.5))),
    )
    for name in ("uniform", "zipf"):
        yield one(
            f"{name}.__call__",
            getattr(opl, name)(),
            context=(t.context, _counted()),
            action_context=(t.items, also(_counted(), {"no rows": t.items[:0]})),
            eligible=(t.eligible, eligible_kind()),
        )
    yield one(
        "stale_greedy",
        lambda **given: opl.stale_greedy(**given)(t.world.eval_context, t.world.action_context),
        world=(t.world, thing({"the class": opl.SyntheticWorld, "another world": Coupons()})),
        epsilon=(0.5, number((-0.1, 1.5))),
        noise=(0.5, number((-0.1, 1001))),
        random_state=(0, seed()),
    )
    yield one(
        "stale_greedy.__call__",
        opl.stale_greedy(t.world),
        context=(t.world.eval_context, features(width=True)),
        action_context=(
            t.world.action_context,
            also(features(), {"no rows": t.items[:0], "an item less": t.items[:-1]}),
        ),
        eligible=(t.eligible[: len(t.world.eval_context)], eligible_kind()),
    )
    yield one(
        "softmax",
        lambda temperature: opl.softmax(temperature)(t.context, t.square_items),
        temperature=(0.5, number((0, -0.1))),
    )
    for name in ("epsilon_greedy", "epsilon_greedy_as_published"):
        yield one(
            name,
            lambda epsilon, name=name: getattr(opl, name)(epsilon)(t.context, t.square_items),
            epsilon=(0.5, number((-0.1, 1.5))),
        )


def _shop_calls(one):
    small = {"n_items": 8, "n_users": 5, "slots": 2, "n_eval_pages": 3, "on_offer": 1.0}
    above_0 = number((0, -0.1, 1.5))
    yield one(
        "ShopWorld",
        lambda **given: opl.ShopWorld(**{**small, **given}),
        n_items=(8, count(least=2)),
        n_users=(5, count(least=2)),
        days=(4, count()),
        slots=(2, count(most=8)),
        click_rate=(0.1, number((0, 1, -0.1, 1.5))),
        on_offer=(0.75, above_0),
        popularity=(0.5, number((-0.1, 3.1))),
        taste=(0.5, number((-0.1, 10.1))),
        unexplained=(0.5, number((-0.1, 1.5))),
        hidden_taste=(0.5, number((-0.1, 1.5))),
        position_effect=(0.5, number((-0.1, 10.1))),
        drift=(0.5, number((-0.1, 1.5))),
        staleness=(0.5, number((-0.1, 10.1))),
        exploration=(0.5, above_0),
        missing=(0.5, number((-0.1, 0.95))),
        delay=(0.5, number((-0.1, 366))),
        n_eval_pages=(3, count()),
        random_state=(0, seed()),
    )
    shop = opl.ShopWorld(**small)
    yield one(
        "ShopWorld.sample", shop.sample, n_rounds=(4, count()), random_state=(0, optional(seed()))
    )
    yield one(
        "ShopWorld.frames",
        lambda **given: shop.frames(**given)[0][["propensity", "click"]].to_numpy(),
        n_rounds=(4, count()),
        random_state=(0, optional(seed())),
    )
    without_users = dataclasses.replace(shop.sample(4, 0), user_id=None)
    yield one(
        "ShopWorld.reward_probability",
        shop.reward_probability,
        log=(shop.sample(4, 0), thing({"a log without users": without_users})),
    )
    likely_or_not = (Returns(likely), policy_kind())
    yield one(
        "ShopWorld.policy_value",
        shop.policy_value,
        policy=likely_or_not,
        from_day=(0, number((-0.1, 31))),
    )
    yield one("ShopWorld.page_value", shop.page_value, policy=likely_or_not)
    yield one("ShopWorld.reference_values", shop.reference_values)


def _all(n_rounds, world):
    return np.ones((n_rounds, world.n_actions), dtype=bool)


def _counted():
    """A matrix of which only the rows are counted: what is no array is refused."""
    kind = features()
    given = (
        "None",
        "a number",
        "text",
        "a generator",
        "a set",
        "a dictionary",
        "an object",
        "a function",
        "a class",
    )
    return kind._replace(
        refused=lambda right: {label: kind.refused(right)[label] for label in given},
        either=lambda right: {k: v for k, v in kind.refused(right).items() if k not in given},
    )
