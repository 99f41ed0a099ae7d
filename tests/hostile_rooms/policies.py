"""Policies, towers and the index of items."""

import functools

import numpy as np
import torch
from hostile import Kind, also, but, choice, count, features, number, optional, seed, thing

import opl_lib as opl

from .kinds import (
    all_half,
    call_of,
    cluster_kind,
    eligible_kind,
    fitted_model,
    likely,
    module_kind,
    path_kind,
    policy_kind,
    towers_kind,
    widths_kind,
)
from .logs import columns_kind
from .things import Returns, things


def calls():
    t = things()
    one = functools.partial(call_of, "policies")
    context, items = (
        (t.context, features(width=True, single=True)),
        (t.items, features(width=True, single=True)),
    )
    items = (t.items, also(items[1], {"no rows": t.items[:0]}))
    two = t.policy
    temperature = number(outside=(-0.1, 1e-310))
    yield one(
        "TwoTowerPolicy",
        opl.TwoTowerPolicy,
        towers=(
            t.towers,
            but(
                towers_kind(),
                "towers of other contexts",
                "towers of other items",
                "layers of other contexts",
                "towers of two sizes",
            ),
        ),
        temperature=(0.5, temperature),
        columns=(None, columns_kind()),
        device=("cpu", optional(choice())),
    )
    yield one("TwoTowerPolicy.to", two.to, device=("cpu", choice()))
    yield one("TwoTowerPolicy.at_temperature", two.at_temperature, temperature=(0.5, temperature))
    eligible = (t.eligible, eligible_kind())
    yield one("TwoTowerPolicy.scores", two.scores, context=context, action_context=items)
    for name in ("predict_proba", "greedy", "to_obp"):
        yield one(
            f"TwoTowerPolicy.{name}",
            getattr(two, name),
            context=context,
            action_context=items,
            eligible=eligible,
        )
    yield one(
        "TwoTowerPolicy.top_k",
        two.top_k,
        context=context,
        action_context=items,
        k=(2, count(most=2)),
        eligible=eligible,
    )
    yield one(
        "TwoTowerPolicy.sample",
        two.sample,
        context=context,
        action_context=items,
        random_state=(0, optional(seed())),
        eligible=eligible,
    )
    yield one(
        "TwoTowerPolicy.recommend",
        two.recommend,
        context=context,
        action_context=items,
        k=(2, count(most=2)),
        random_state=(0, optional(seed())),
        eligible=eligible,
    )
    yield one(
        "ExploringPolicy",
        opl.ExploringPolicy,
        policy=(two, thing()),
        epsilon=(0.5, number(outside=(-0.1, 1.1))),
        k=(2, count()),
        index=(opl.ItemIndex, thing(but=("a class",))),
    )
    explores = opl.ExploringPolicy(two, 0.5, 2)
    for name in ("predict_proba", "sample", "draw"):
        drawn = {} if name == "predict_proba" else {"random_state": (0, optional(seed()))}
        yield one(
            f"ExploringPolicy.{name}",
            getattr(explores, name),
            context=context,
            action_context=items,
            eligible=eligible,
            **drawn,
        )
    yield one("ExploringPolicy.for_items", explores.for_items, action_context=items)
    with_columns = opl.TwoTowerPolicy(t.towers, columns=t.fitted_columns)
    visits, table = t.frames
    other_frames = {
        "a column renamed": lambda frame, name: frame.rename(columns={name: "zz"}),
        "a column of text": lambda frame, name: frame.assign(**{name: "a"}),
        "a column of infinity": lambda frame, name: frame.assign(**{name: np.inf}),
    }
    yield one(
        "TwoTowerPolicy.top_k of frames",
        lambda context, action_context: with_columns.top_k(context, action_context, 2),
        context=(
            visits,
            Kind(lambda right: {k: change(right, "x1") for k, change in other_frames.items()}),
        ),
        action_context=(
            table,
            Kind(lambda right: {k: change(right, "f") for k, change in other_frames.items()}),
        ),
    )
    yield one("TwoTowerPolicy.embed_context", two.embed_context, context=context)
    yield one("TwoTowerPolicy.embed_items", two.embed_items, action_context=items)
    yield one("TwoTowerPolicy.for_items", two.for_items, action_context=items)
    yield one(
        "TwoTowerPolicy.predict_proba of damaged towers",
        lambda towers: opl.TwoTowerPolicy(towers).predict_proba(t.context, t.items),
        towers=(t.towers, Kind(lambda right: _damaged())),
    )
    yield one(
        "TwoTowerPolicy.sample of damaged towers",
        lambda towers: opl.TwoTowerPolicy(towers).sample(t.context, t.items, 0),
        towers=(t.towers, Kind(lambda right: _damaged())),
    )
    yield one(
        "TwoTowerPolicy.greedy of damaged towers",
        lambda towers: opl.TwoTowerPolicy(towers, 0).predict_proba(t.context, t.items),
        towers=(t.towers, Kind(lambda right: _damaged())),
    )
    path = thing(
        {
            "nothing": "",
            "a folder": t.folder,
            "no such folder": t.folder / "zz" / "p.pt",
            "below a file": t.file / "p.pt",
        },
        but=("text",),
    )
    path = path._replace(errors=(ValueError, TypeError, OSError))
    yield one("TwoTowerPolicy.save", two.save, path=(t.folder / "saved.pt", path))
    yield one(
        "TwoTowerPolicy.load",
        opl.TwoTowerPolicy.load,
        path=(t.file, path_kind()),
        towers=(t.towers, optional(but(towers_kind(), "towers of NaN", "towers of infinity"))),
        device=("cpu", choice()),
    )
    yield one(
        "TwoTower",
        opl.TwoTower,
        context_tower=(torch.nn.Linear(4, 2), module_kind()),
        action_tower=(torch.nn.Linear(2, 2), module_kind()),
    )
    yield one(
        "TwoTower.mlp",
        opl.TwoTower.mlp,
        dim_context=(4, count()),
        dim_action_context=(2, count()),
        hidden=((2,), widths_kind()),
        dim_embedding=(2, count()),
        random_state=(0, optional(seed())),
        dim_linear=(2, count(least=0)),
        n_known=(2, count(least=0)),
    )
    yield one(
        "TwoTower.forward",
        lambda context, action_context: t.towers(context, action_context),
        context=torch.zeros(2, 4),
        action_context=torch.zeros(3, 2),
    )
    vectors = np.array([[0.5, 1.0], [1.0, -0.5], [0.25, 0.25]])
    queries = np.array([[1.0, 0.5], [0.5, -1.0]])
    index = opl.ItemIndex(vectors)
    yield one(
        "ItemIndex",
        opl.ItemIndex,
        embeddings=(vectors, also(features(), {"no rows": vectors[:0]})),
        device=("cpu", choice()),
    )
    yield one("ItemIndex.scores", index.scores, queries=(queries, features(width=True)))
    yield one(
        "ItemIndex.search",
        index.search,
        queries=(queries, features(width=True)),
        k=(2, count(most=3)),
        eligible=(np.ones((2, 3), bool), eligible_kind()),
    )
    yield one(
        "ItemIndex.search of giants",
        lambda queries: opl.ItemIndex(vectors * 1e308).search(queries, 2),
        queries=(queries * 1e-308, Kind(lambda right: {"giants": queries * 1e308})),
    )
    graph = opl.HNSWIndex(vectors)
    few = {"links": 2, "build_breadth": 4}
    yield one(
        "HNSWIndex",
        lambda embeddings, links, build_breadth, breadth: opl.HNSWIndex(
            embeddings, links, build_breadth, breadth
        ),
        embeddings=(vectors, also(features(single=True), {"no rows": vectors[:0]})),
        links=(few["links"], count(least=2, most=1000)),
        build_breadth=(few["build_breadth"], count(most=100_000)),
        breadth=(4, count(most=1_000_000)),
    )
    yield one(
        "HNSWIndex.search",
        graph.search,
        queries=(queries, features(width=True, single=True)),
        k=(2, count(most=3)),
        eligible=(np.ones((2, 3), bool), eligible_kind()),
    )
    yield one(
        "CompressedIndex",
        lambda embeddings, breadth: opl.CompressedIndex(embeddings, breadth),
        embeddings=(vectors, also(features(single=True), {"no rows": vectors[:0]})),
        breadth=(4, count(most=1_000_000)),
    )
    yield one(
        "CompressedIndex.search",
        opl.CompressedIndex(vectors).search,
        queries=(queries, features(width=True, single=True)),
        k=(2, count(most=3)),
        eligible=(np.ones((2, 3), bool), eligible_kind()),
    )
    yield one(
        "export_onnx",
        opl.export_onnx,
        policy=(two, thing()),
        path=(t.folder / "tower.onnx", path),
        tower=("items", choice()),
    )
    saved = t.folder / "saved.index"
    graph.save(saved)
    yield one("HNSWIndex.save", graph.save, path=(t.folder / "other.index", path))
    yield one(
        "HNSWIndex.load",
        opl.HNSWIndex.load,
        path=(saved, path),
        embeddings=(vectors, also(features(width=True, single=True), {"others": vectors + 1})),
    )
    yield one(
        "TwoStagePolicy",
        opl.TwoStagePolicy,
        policy=(two, policy_kind(answered=False)),
        reward_model=(
            t.model,
            but(
                fitted_model(answered=False),
                "a regressor that is not fitted",
                "a reward model that is not fitted",
            ),
        ),
        cluster=(t.cluster, cluster_kind(known=False)),
    )
    stages = opl.TwoStagePolicy(two, t.model, t.cluster)
    yield one(
        "TwoStagePolicy.predict_proba",
        stages.predict_proba,
        context=context,
        action_context=items,
        eligible=eligible,
    )
    yield one(
        "TwoStagePolicy.predict_proba of others",
        lambda policy, reward_model, cluster: opl.TwoStagePolicy(
            policy, reward_model, cluster
        ).predict_proba(t.context, t.items),
        policy=(Returns(likely), policy_kind()),
        reward_model=(Returns(all_half), fitted_model()),
        cluster=(t.cluster, cluster_kind()),
    )
    yield one(
        "TwoStagePolicy.at_temperature", stages.at_temperature, temperature=(0.5, temperature)
    )
    yield one("TwoStagePolicy.for_items", stages.for_items, action_context=items)


def _damaged():
    def towers(value):
        made = opl.TwoTower.mlp(4, 2, hidden=(2,), dim_embedding=2, random_state=0)
        with torch.no_grad():
            made.context_tower[0].bias[0] = value
        return made

    return {"NaN": towers(np.nan), "infinity": towers(np.inf)}
