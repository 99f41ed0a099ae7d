"""The experiments as grids: the article's figures, the map, the choice, the estimators."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .cells import Cell
from .estimation import LOGGED, EstimationCell
from .faults import CATALOGUES, FaultsCell, UnloggedCell
from .learned import DefaultsCell, LearnedCell
from .map import WORLDS, map_cells
from .new_items import new_items_cells
from .pairs import PAIR_WORLDS, PairsCell
from .rare import HALF, LENGTHS, RARE, RARE_WORLDS, RareMapCell, RareRehearsalCell
from .rare_bounds import EXPLORATIONS, ExplorationCell, RareBoundsCell
from .rare_typed import TypedCell
from .rehearsal import REHEARSED, BoundsCell, RehearsalCell
from .rule import EPSILONS, RuleCell
from .rule_lists import LENGTHS as LIST_LENGTHS
from .rule_lists import RuleListsCell
from .runner import Runnable
from .serve_loop import ServeLoopCell
from .shops import SHOPS, ShopCell
from .stage_gradients import StageGradientsCell
from .stage_pay import DRAWS
from .stages import DEVELOPMENT as STAGES_DEVELOPMENT
from .stages import RANKERS, stages_cells
from .stages import REPORTED as STAGES_REPORTED
from .tails import DEVELOPMENT, REPORTED, tails_cells

OBJECTIVES = ("ips", "dr", "regression")
N_ROUNDS = (2_000, 5_000, 10_000, 15_000, 20_000)
N_ACTIONS = (10, 50, 100, 200, 500, 1_000, 2_000, 5_000)
BATCH_SIZES = (10, 100, 200, 500, 1_000, 2_000, 5_000)
LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3)


@dataclass(frozen=True)
class Experiment:
    """A table: its cells, its seeds, and what it is for."""

    about: str
    cells: tuple[Runnable, ...]
    seeds: tuple[int, ...]


def _published(objective: str) -> Cell:
    """The article's settings, from its text, its code and its published plots."""
    return Cell(
        objective,
        logging_policy="epsilon_greedy_as_published(0.1)",
        reward_function="logistic_as_published",
        batch_size=10,
        epochs=100,
        learning_rate=1e-5,
        weight_decay=1e-6,
        shuffle=False,
        reward_model="article",
    )


def _decayed(objective: str) -> Cell:
    """As published, with a thousand times the weight decay of the article's code."""
    return replace(_published(objective), weight_decay=1e-3)


def _intended(objective: str) -> Cell:
    """What the article meant: its ε-greedy, a world in which q is not saturated.

    A tenth of the epochs at ten times the learning rate.
    """
    return Cell(objective, logging_policy="epsilon_greedy(0.1)")


def _figure1(base, n_rounds=N_ROUNDS) -> list[Cell]:
    return [replace(cell, logging_policy="uniform()") for cell in _figure2(base, n_rounds)]


def _figure2(base, n_rounds=N_ROUNDS) -> list[Cell]:
    return [replace(base(objective), n_rounds=n) for objective in OBJECTIVES for n in n_rounds]


def _figure3(base, exact_to: int, sampled_from: int, n_actions=N_ACTIONS) -> list[Cell]:
    """Over all items up to a size, sampled from a size on; both ways in between."""
    cells = []
    for objective in OBJECTIVES:
        for n in n_actions:
            cell = replace(base(objective), n_actions=n)
            is_value = objective != "regression"
            if n <= exact_to or not is_value:
                cells.append(cell)
            if n >= sampled_from and is_value:
                cells.append(replace(cell, catalogue="sampled"))
    return cells


def _figure4(base, batch_sizes=BATCH_SIZES) -> list[Cell]:
    return [replace(base(objective), batch_size=b) for objective in OBJECTIVES for b in batch_sizes]


def _tuned(objective: str) -> Cell:
    """As intended, with the learning rate chosen on a validation log; batches of 100."""
    return replace(_intended(objective), batch_size=100, learning_rates=LEARNING_RATES)


def _same_updates(objective: str) -> Cell:
    """As intended, for 500 updates whatever the batch size, or one pass if that is more."""
    return replace(_intended(objective), n_updates=500, learning_rate=1e-3)


def _rehearsed(kind: type[RehearsalCell]) -> list[RehearsalCell]:
    return [kind(world, n) for world in REHEARSED for n in (2_000, 8_000)]


def _rare(kind: type[RareMapCell]) -> tuple[RareMapCell, ...]:
    return tuple(kind(world, RARE, n) for world in RARE_WORLDS for n in LENGTHS)


_PUBLISHED, _MANY = tuple(range(5)), tuple(range(20))

EXPERIMENTS = {
    "figure1_published": Experiment(
        "log size, uniform logging, as published", tuple(_figure1(_published)), _PUBLISHED
    ),
    "figure1_decayed": Experiment(
        "figure 1 as published, but with a weight decay of 1e-3",
        tuple(_figure1(_decayed, (2_000, 5_000))),
        _PUBLISHED,
    ),
    "figure2_published": Experiment(
        "log size, the published ε-greedy logging", tuple(_figure2(_published)), _PUBLISHED
    ),
    "figure2_unflattened": Experiment(
        "figure 2 as published, but with the ε-greedy probabilities as they are",
        tuple(
            replace(cell, logging_policy="epsilon_greedy(0.1)")
            for cell in _figure2(_published, (2_000, 5_000))
        ),
        _PUBLISHED,
    ),
    "figure3_published": Experiment(
        "number of items, as published", tuple(_figure3(_published, 500, 1_000)), _PUBLISHED
    ),
    "figure4_published": Experiment(
        "batch size, as published", tuple(_figure4(_published)), _PUBLISHED
    ),
    "figure1_intended": Experiment(
        "log size, uniform logging, as intended", tuple(_figure1(_intended)), _MANY
    ),
    "figure2_intended": Experiment(
        "log size, ε-greedy logging, as intended", tuple(_figure2(_intended)), _MANY
    ),
    "figure3_intended": Experiment(
        "number of items, as intended",
        tuple(_figure3(_intended, 100, 100, (10, 100, 1_000, 5_000))),
        _MANY,
    ),
    "figure4_intended": Experiment("batch size, as intended", tuple(_figure4(_intended)), _MANY),
    "figure1_tuned": Experiment(
        "log size, uniform logging, learning rate tuned",
        tuple(_figure1(_tuned, (2_000, 10_000))),
        _MANY,
    ),
    "figure2_tuned": Experiment(
        "log size, ε-greedy logging, learning rate tuned",
        tuple(_figure2(_tuned, (2_000, 10_000))),
        _MANY,
    ),
    "figure4_tuned": Experiment(
        "batch size, learning rate tuned", tuple(_figure4(_tuned, (10, 100, 1_000, 5_000))), _MANY
    ),
    "figure4_same_updates": Experiment(
        "batch size, 500 updates each or one pass, if that is more",
        tuple(_figure4(_same_updates, (10, 100, 1_000, 5_000))),
        _MANY,
    ),
    "map": Experiment(
        "which learner wins where, settings chosen from the log alone",
        map_cells(),
        _MANY,
    ),
    "bounds": Experiment(
        "how far lower bounds can be believed, by what they rest on",
        tuple(_rehearsed(BoundsCell)),
        tuple(range(100, 150)),
    ),
    "rehearsal": Experiment(
        "how often a selected policy is worse than the logging policy",
        tuple(_rehearsed(RehearsalCell)),
        tuple(range(200, 300)),
    ),
    "defaults": Experiment(
        "how much a policy should lean on the logging policy: where the default was chosen",
        tuple(DefaultsCell(world) for world in WORLDS),
        tuple(range(100, 120)),
    ),
    "learned": Experiment(
        "what the shortest lines earn, in worlds that chose nothing",
        tuple(LearnedCell(world) for world in WORLDS),
        _MANY,
    ),
    "shop": Experiment(
        "what learn earns on a hundred logs of a shop",
        (ShopCell("as it is"),),
        tuple(range(2_000, 2_100)),
    ),
    "shop_dials": Experiment(
        "what learn earns in shops with one dial turned",
        tuple(ShopCell(shop) for shop in SHOPS if shop != "as it is"),
        tuple(range(2_200, 2_220)),
    ),
    "estimators": Experiment(
        "which estimator of a difference errs least, and how far its error can be believed",
        tuple(EstimationCell(world, n) for world in LOGGED for n in (1_000, 5_000, 20_000)),
        tuple(range(300, 340)),
    ),
    "pairs": Experiment(
        "what it helps to estimate the difference of two candidates row by row",
        tuple(PairsCell(world, 5_000) for world in PAIR_WORLDS),
        tuple(range(700, 760)),
    ),
    "rare_map": Experiment(
        "which learner wins where one round in seventy has a click",
        tuple(
            RareMapCell(world, rate, LENGTHS[-1]) for world in RARE_WORLDS for rate in (RARE, HALF)
        ),
        _MANY,
    ),
    "rare_typed": Experiment(
        "what `learn` decides where one round in seventy has a click",
        _rare(TypedCell) + tuple(TypedCell(world, HALF, LENGTHS[-1]) for world in RARE_WORLDS),
        _MANY,
    ),
    "rare_rehearsal": Experiment(
        "what `select` chooses where one round in seventy has a click",
        _rare(RareRehearsalCell),
        tuple(range(400, 420)),
    ),
    "rare_bounds": Experiment(
        "how far lower bounds can be believed where one round in seventy has a click",
        _rare(RareBoundsCell),
        tuple(range(500, 600)),
    ),
    "exploration": Experiment(
        "what exploration costs a shop, and what its log can prove then",
        tuple(ExplorationCell(share, 40_000) for share in EXPLORATIONS),
        _MANY,
    ),
    "faults": Experiment(
        "how often a report finds wrong propensities, and calls right ones wrong",
        tuple(FaultsCell(catalogue, 20_000) for catalogue in CATALOGUES),
        tuple(range(100)),
    ),
    "unlogged": Experiment(
        "what an estimate is worth with propensities that nobody recorded",
        tuple(UnloggedCell(catalogue, 20_000) for catalogue in CATALOGUES),
        _MANY,
    ),
    "rule": Experiment(
        "what a regression learns from the log of a rule, and of one that explores",
        tuple(RuleCell(share, own, 40_000) for own in (0.0, 0.7) for share in EPSILONS),
        _MANY,
    ),
    "tails": Experiment(
        "weights that are tamed, where rewards have long tails or propensities are wrong",
        tails_cells(),
        REPORTED + DEVELOPMENT,
    ),
    "stages": Experiment(
        "four gradients for a retriever that learns from what a ranker shows of its proposals",
        stages_cells(),
        STAGES_REPORTED + STAGES_DEVELOPMENT,
    ),
    "stage_gradients": Experiment(
        "how far gradients for a retriever are off, and how much they scatter",
        tuple(StageGradientsCell(r, d, 20) for r in RANKERS for d in DRAWS),
        _MANY,
    ),
    "new_items": Experiment(
        "new items by a pseudo-inverse over features, beside a regression on them",
        new_items_cells(),
        _MANY,
    ),
    "rule_lists": Experiment(
        "lists of a rule, judged by the chance of a click",
        tuple(RuleListsCell(length, 10_000) for length in LIST_LENGTHS),
        _MANY,
    ),
    "serve_loop": Experiment(
        "a loop of learning and serving, and its log", (ServeLoopCell(3_000),), (0, 1, 2)
    ),
}
