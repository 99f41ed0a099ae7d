from .environments import SyntheticWorld
from .evaluation import evaluate
from .feedback import BanditFeedback
from .learner import NonFiniteLossError, OffPolicyLearner
from .logging_policies import epsilon_greedy, epsilon_greedy_as_published, softmax, uniform
from .objectives import Batch, Objective, dm, dr, ips, linear_value, regression, squared_error
from .open_bandit import load_open_bandit
from .plotting import plot_curves, plot_estimates
from .policy import TwoTowerPolicy
from .retrieval import ItemIndex
from .reward_models import CrossFittedRewardModel, SklearnRewardModel, cross_fit
from .support import SupportReport
from .towers import TwoTower

__all__ = [
    "BanditFeedback",
    "Batch",
    "CrossFittedRewardModel",
    "ItemIndex",
    "NonFiniteLossError",
    "Objective",
    "OffPolicyLearner",
    "SklearnRewardModel",
    "SupportReport",
    "SyntheticWorld",
    "TwoTower",
    "TwoTowerPolicy",
    "cross_fit",
    "dm",
    "dr",
    "epsilon_greedy",
    "epsilon_greedy_as_published",
    "evaluate",
    "ips",
    "linear_value",
    "load_open_bandit",
    "plot_curves",
    "plot_estimates",
    "regression",
    "softmax",
    "squared_error",
    "uniform",
]
