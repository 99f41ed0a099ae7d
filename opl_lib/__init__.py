"""Learn two-tower recommendation policies from logged bandit feedback."""

from .evaluation.estimators import Estimator
from .evaluation.evaluate import evaluate
from .learning.learner import OffPolicyLearner
from .learning.loop import NonFiniteLossError, fit_many
from .learning.reward_models import (
    CrossFittedRewardModel,
    FittedRewardModel,
    SklearnRewardModel,
    cross_fit,
)
from .logs.clusters import with_clusters
from .logs.feedback import BanditFeedback
from .logs.open_bandit import load_open_bandit
from .logs.propensities import PropensityEstimate, estimate_propensities
from .logs.support import SupportReport
from .objectives import *  # noqa: F403
from .objectives import __all__ as _objectives
from .policies.index import ItemIndex
from .policies.towers import TwoTower
from .policies.two_stage import TwoStagePolicy
from .policies.two_tower import TwoTowerPolicy
from .selection.early_stopping import EarlyStopping
from .selection.rehearse import rehearse
from .selection.select import Selection, select
from .selection.watch import PolicyWarning, Watch
from .worlds.digits import DigitsWorld
from .worlds.logging_policies import epsilon_greedy, epsilon_greedy_as_published, softmax, uniform
from .worlds.synthetic import SyntheticWorld

__version__ = "0.1.0"
__all__ = [
    "BanditFeedback",
    "CrossFittedRewardModel",
    "DigitsWorld",
    "EarlyStopping",
    "Estimator",
    "FittedRewardModel",
    "ItemIndex",
    "NonFiniteLossError",
    "OffPolicyLearner",
    "PolicyWarning",
    "PropensityEstimate",
    "Selection",
    "SklearnRewardModel",
    "SupportReport",
    "SyntheticWorld",
    "TwoStagePolicy",
    "TwoTower",
    "TwoTowerPolicy",
    "Watch",
    "cross_fit",
    "epsilon_greedy",
    "epsilon_greedy_as_published",
    "estimate_propensities",
    "evaluate",
    "fit_many",
    "load_open_bandit",
    "rehearse",
    "select",
    "softmax",
    "uniform",
    "with_clusters",
    *_objectives,
]
