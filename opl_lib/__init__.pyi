from .clusters import TwoStagePolicy, with_clusters
from .diagnosis import PolicyWarning, Watch
from .digits import DigitsWorld
from .early_stopping import EarlyStopping
from .environments import SyntheticWorld
from .estimators import Estimator
from .evaluation import evaluate
from .feedback import BanditFeedback
from .learner import OffPolicyLearner
from .logging_policies import epsilon_greedy, epsilon_greedy_as_published, softmax, uniform
from .objectives import (
    Batch,
    Objective,
    baseline_ips,
    clipped_ips,
    dm,
    dr,
    dros,
    exponential_smoothing,
    implicit_exploration,
    ips,
    likelihood,
    linear_value,
    logarithmic_smoothing,
    mips,
    mrdr,
    offcem,
    poem,
    potec,
    regression,
    regularised,
    snips,
    squared_error,
    switch_dr,
    top_k_ips,
)
from .open_bandit import load_open_bandit
from .plotting import plot_calibration, plot_curves, plot_diagnosis, plot_estimates, plot_sweep
from .policy import TwoTowerPolicy
from .propensities import PropensityEstimate, estimate_propensities
from .retrieval import ItemIndex
from .reward_models import CrossFittedRewardModel, FittedRewardModel, SklearnRewardModel, cross_fit
from .selection import Selection, rehearse, select
from .support import SupportReport
from .towers import TwoTower
from .training import NonFiniteLossError, fit_many

__all__ = [
    "BanditFeedback",
    "Batch",
    "CrossFittedRewardModel",
    "DigitsWorld",
    "EarlyStopping",
    "Estimator",
    "FittedRewardModel",
    "ItemIndex",
    "NonFiniteLossError",
    "Objective",
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
    "baseline_ips",
    "clipped_ips",
    "cross_fit",
    "dm",
    "dr",
    "dros",
    "epsilon_greedy",
    "epsilon_greedy_as_published",
    "estimate_propensities",
    "evaluate",
    "exponential_smoothing",
    "fit_many",
    "implicit_exploration",
    "ips",
    "likelihood",
    "linear_value",
    "load_open_bandit",
    "logarithmic_smoothing",
    "mips",
    "mrdr",
    "offcem",
    "plot_calibration",
    "plot_curves",
    "plot_diagnosis",
    "plot_estimates",
    "plot_sweep",
    "poem",
    "potec",
    "regression",
    "regularised",
    "rehearse",
    "select",
    "snips",
    "softmax",
    "squared_error",
    "switch_dr",
    "top_k_ips",
    "uniform",
    "with_clusters",
]
