"""Learn two-tower recommendation policies from logged bandit feedback."""

from .evaluation.estimators import Estimator
from .evaluation.evaluate import evaluate
from .evaluation.forms import Form
from .evaluation.terms import Terms
from .learning.bilinear import BilinearLearner
from .learning.constant import ConstantItemLearner
from .learning.cross_fitting import CrossFittedRewardModel, cross_fit
from .learning.distributed import fit_distributed
from .learning.fit import NonFiniteLossError, StopFit
from .learning.learner import OffPolicyLearner
from .learning.many import fit_many
from .learning.regressor import TwoTowerRegressor
from .learning.reward_models import FittedRewardModel, SklearnRewardModel
from .logs.candidates import read_candidates
from .logs.clusters import with_clusters
from .logs.columns import Columns
from .logs.eligible import Eligible
from .logs.feedback import BanditFeedback
from .logs.on_disk import LogOnDisk, open_log
from .logs.open_bandit import load_open_bandit
from .logs.pages import without_above
from .logs.parquet import read_parquet
from .logs.propensities import estimate_propensities
from .logs.propensity_estimate import PropensityEstimate
from .logs.report import LogReport
from .logs.support import SupportReport
from .logs.vw import read_vw
from .logs.without_propensities import LogWithoutPropensities
from .logs.written import write_log
from .objectives import *  # noqa: F403
from .objectives import __all__ as _objectives
from .plotting import (
    COLORS,
    draw_references,
    plot_calibration,
    plot_candidates,
    plot_curves,
    plot_estimates,
    plot_watch,
)
from .policies.compressed import CompressedIndex
from .policies.constant import ConstantItemPolicy
from .policies.exploring import ExploringPolicy
from .policies.hnsw import HNSWIndex
from .policies.index import ItemIndex
from .policies.onnx_export import export_onnx
from .policies.towers import TwoTower
from .policies.two_stage import TwoStagePolicy
from .policies.two_tower import TwoTowerPolicy
from .selection.early_stopping import EarlyStopping
from .selection.learn import learn
from .selection.learned import Learned
from .selection.rehearse import rehearse
from .selection.select import select
from .selection.selected import Selection
from .selection.watch import PolicyWarning, Watch
from .worlds.base import World
from .worlds.digits import DigitsWorld
from .worlds.logging_policies import (
    epsilon_greedy,
    epsilon_greedy_as_published,
    softmax,
    uniform,
    zipf,
)
from .worlds.shop import ShopWorld
from .worlds.stale import stale_greedy
from .worlds.synthetic import SyntheticWorld

__version__ = "0.1.0"
__all__ = [
    "COLORS",
    "BanditFeedback",
    "BilinearLearner",
    "ConstantItemLearner",
    "ConstantItemPolicy",
    "Columns",
    "CompressedIndex",
    "CrossFittedRewardModel",
    "DigitsWorld",
    "EarlyStopping",
    "Eligible",
    "Estimator",
    "ExploringPolicy",
    "FittedRewardModel",
    "Form",
    "HNSWIndex",
    "ItemIndex",
    "Learned",
    "LogOnDisk",
    "LogReport",
    "LogWithoutPropensities",
    "NonFiniteLossError",
    "OffPolicyLearner",
    "PolicyWarning",
    "PropensityEstimate",
    "Selection",
    "ShopWorld",
    "SklearnRewardModel",
    "StopFit",
    "SupportReport",
    "SyntheticWorld",
    "Terms",
    "TwoStagePolicy",
    "TwoTower",
    "TwoTowerPolicy",
    "TwoTowerRegressor",
    "Watch",
    "World",
    "cross_fit",
    "draw_references",
    "epsilon_greedy",
    "epsilon_greedy_as_published",
    "estimate_propensities",
    "evaluate",
    "export_onnx",
    "fit_distributed",
    "fit_many",
    "learn",
    "load_open_bandit",
    "open_log",
    "plot_calibration",
    "plot_candidates",
    "plot_curves",
    "plot_estimates",
    "plot_watch",
    "read_candidates",
    "read_parquet",
    "read_vw",
    "rehearse",
    "select",
    "softmax",
    "stale_greedy",
    "uniform",
    "with_clusters",
    "without_above",
    "write_log",
    "zipf",
    *_objectives,
]
