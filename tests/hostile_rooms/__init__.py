"""Every public function with right arguments, and of which kind each of them is."""

from . import evaluation, learning, logs, objectives, plotting, policies, selection, worlds

# Whoever reads a message finds the argument by its name, or by one of these words.
WORDS = {
    "ax": "ax|Axes",
    "action_context": "action_context|item",
    "best": "best|selection",
    "bandit_feedback": "bandit_feedback|obp|context|action|reward|pscore",
    "callback": "callback|history_",
    "callbacks": "callback|history_",
    "candidates": "candidate",
    "choose": "choose|Selection",
    "choices": "choose|Selection",
    "classifier": "classifier",
    "cluster": "cluster",
    "data_path": "data_path|file|folder|.*csv",
    "draws": "draw_context|context",
    "estimators": "estimator",
    "feedback": "feedback|BanditFeedback|log",
    "feedbacks": "feedback|BanditFeedback|log",
    "files": "/.*csv",
    "frame": "frame|context|action|reward|pscore|user_id|timestamp|shown|round_id",
    "form": "form|columns|estimate|gradient|weight",
    "given": "objective|function",
    "gradient": "objective|gradient|value",
    "held_out": "held_out|feedback|log",
    "item_id": "item_id|item",
    "items": "items|action|item_id|item_features",
    "learner": "learner",
    "learners": "learner",
    "mask": "eligible",
    "start": "start|timestamp",
    "end": "end|timestamp",
    "sets": "sets",
    "timestamp": "timestamp|start|end",
    "logging_policy": "logging_policy|policy",
    "logs": "log",
    "model": "model",
    "name": "name|estimator",
    "names": "name",
    "objective": "objective|catalogue",
    "path": "path|/|.*folder",
    "paths": "path|/|.*folder",
    "pieces": "pieces",
    "policy": "polic",
    "probabilities": "polic|probabilit",
    "q_hat": "reward model|reward_model|q_hat|prediction|predict_reward",
    "queries": "queries|score",
    "reward_model": "reward model|reward_model|regressor",
    "rewards": "reward_probability|reward",
    "settings": "settings|does not take",
    "tables": "table",
    "temperatures": "temperature",
    "towers": "tower|weight",
    "columns": "columns|estimate|context|item_id|item_features",
    "source": "source|/",
    "round_id": "round_id|round",
    "shown": "shown",
    "dim_context": "dim_context",
    "context_tower": "context_tower|tower",
    "action_tower": "action_tower|tower",
    "train": "train|feedback|log",
    "world": "world",
}


ROOMS = (logs, policies, learning, objectives, evaluation, selection, worlds, plotting)


def words(argument):
    """What names an argument in a message: alternatives of a pattern."""
    return WORDS.get(argument, argument)


def calls():
    """The whole table."""
    return [call for room in ROOMS for call in room.calls()]
