"""What arguments of this library are: policies, logs, towers, callbacks, files."""

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from hostile import Call, Kind, also, column, flag, integers, mask, number, optional, thing
from sklearn.linear_model import LogisticRegression, Ridge

import opl_lib as opl

from .things import Fits, Returns, things


def eligible_kind():
    """What may be shown, in each row or in all; None stands for all items."""
    return optional(mask(one_row=True))


def answers(right):
    """Functions of (n, m) to what is no array of numbers (n, m); `right` makes such an array."""

    def filled(value):
        def answer(n, m):
            made = np.array(right(n, m), dtype=float)
            made[-1, -1] = value
            return made

        return answer

    return {
        "that returns None": lambda n, m: None,
        "that returns a number": lambda n, m: 0.5,
        "that returns text": lambda n, m: "text",
        "that returns one column": lambda n, m: right(n, m)[:, 0],
        "that returns too few items": lambda n, m: right(n, m)[:, :-1],
        "that returns too many rounds": lambda n, m: right(n + 1, m),
        "that returns items by rounds": lambda n, m: np.zeros((m + 1, n)) + 1 / n,
        "that returns NaN": filled(np.nan),
        "that returns NaN everywhere": lambda n, m: np.full((n, m), np.nan),
        "that returns infinity": filled(np.inf),
        "that returns complex numbers": lambda n, m: right(n, m) + 0j,
        "that returns numbers as text": lambda n, m: right(n, m).astype(str),
        "that returns None in it": lambda n, m: np.full((n, m), None),
        "that returns masked numbers": lambda n, m: np.ma.masked_array(right(n, m), mask=True),
        "that returns a sparse matrix": lambda n, m: scipy.sparse.csr_matrix(right(n, m)),
        "that returns ragged rows": lambda n, m: [[1.0] * (k % 2 + 1) for k in range(n)],
        "that returns a dictionary": lambda n, m: {k: right(n, m)[k] for k in range(n)},
        "that returns what is being learned": lambda n, m: torch.ones(n, m, requires_grad=True),
    }


def likely(n, m):
    return np.tile(np.r_[0.5, np.full(m - 1, 0.5 / (m - 1))], (n, 1))


def unlikely(n, m):
    return np.tile(np.r_[1.5, np.full(m - 1, -0.5 / (m - 1))], (n, 1))


def all_half(n, m):
    return np.full((n, m), 0.5)


def no_policies():
    t = things()
    return {
        "a list of lists": [[1.0]],
        "the class of a policy": opl.uniform,
        "the class of towers": opl.TwoTowerPolicy,
        "towers": t.towers,
        "a classifier of contexts": LogisticRegression().fit(t.context, t.action),
        "a classifier that is not fitted": LogisticRegression(),
        "a function of contexts": lambda context: likely(len(context), 3),
        "a function of nothing": lambda: None,
        "a function of three": lambda context, action_context, more: None,
        "a learner": t.learner(),
        "a reward model": t.model,
        "a log": t.log,
        "a world": t.world,
    }


def policy_kind(answered=True, arrays=False):
    """A policy; `answered`, if it is asked here. Arrays of probabilities may be one, or not."""

    def refused(right):
        given = no_policies()
        if arrays:
            t = things()
            for label, wrong in answers(likely).items():
                if "None" not in label and "number" != label:
                    given[f"an array{label.removeprefix('that returns')}"] = wrong(t.n, 3)
            del given["an array a number"], given["an array text"], given["an array a dictionary"]
            given["an array of other rounds"] = t.pi[:-1]
            given["an array of logits"] = np.log(t.pi)
        if answered:
            bad = answers(likely) | {
                "that returns logits": lambda n, m: np.log(likely(n, m)),
                "that returns negative numbers": unlikely,
                "that returns sums of 2": lambda n, m: 2 * likely(n, m),
                "that returns zeros": lambda n, m: np.zeros((n, m)),
            }
            for label, answer in bad.items():
                given[f"one {label}"] = Returns(answer)
        return given

    def accepted(right):
        t = things()
        if not answered:
            return {}
        given = {
            "a function": lambda context, action_context: likely(len(context), len(action_context)),
            "one that returns lists": Returns(lambda n, m: likely(n, m).tolist()),
            "one that returns float32": Returns(lambda n, m: likely(n, m).astype(np.float32)),
            "one that returns a frame": Returns(lambda n, m: pd.DataFrame(likely(n, m))),
            "one that returns a tensor": Returns(lambda n, m: torch.tensor(likely(n, m))),
        }
        if arrays:
            given |= {
                "an array": t.pi,
                "an array of obp": t.pi[:, :, None],
                "an array in lists": t.pi.tolist(),
                "a frame": pd.DataFrame(t.pi),
                "an array of float32": t.pi.astype(np.float32),
            }
        return given

    return thing(refused, accepted)


def no_reward_models():
    t = things()
    return {
        "the class of a reward model": opl.TwoTowerRegressor,
        "the class of an estimator": Ridge,
        "an estimator": Ridge(),
        "a fitted estimator": Ridge().fit(t.context, t.reward),
        "a function": lambda context, action_context: all_half(len(context), 3),
        "a policy": t.policy,
        "a log": t.log,
    }


def fitted_model(answered=True):
    """A fitted reward model."""

    def refused(right):
        given = no_reward_models() | {"a regressor that is not fitted": things().regressor()}
        given["a reward model that is not fitted"] = opl.SklearnRewardModel(Ridge())
        if answered:
            given |= {f"one {label}": Returns(make) for label, make in answers(all_half).items()}
        return given

    def accepted(right):
        if not answered:
            return {}
        return {
            "one that returns lists": Returns(lambda n, m: all_half(n, m).tolist()),
            "one that returns float32": Returns(lambda n, m: all_half(n, m).astype(np.float32)),
            "one that returns a frame": Returns(lambda n, m: pd.DataFrame(all_half(n, m))),
        }

    def either(right):
        return {"one that returns 1e300": Returns(lambda n, m: np.full((n, m), 1e300))}

    return thing(refused, accepted, either if answered else None)


def unfitted_model():
    """A reward model to be fitted."""

    def refused(right):
        given = no_reward_models() | {"one that cannot be fitted": Returns(all_half)}
        given["one that returns NaN"] = Fits(answers(all_half)["that returns NaN"])
        given["one that returns nothing"] = Fits(answers(all_half)["that returns None"])
        return given

    return thing(refused)


def log_kind(**labels):
    """A log; `labels` are names of logs in `Things` that do not fit here."""

    def refused(right):
        t = things()
        given = {
            "the class": opl.BanditFeedback,
            "a frame": t.frame,
            "columns": t.columns,
            "what obp takes": t.log.to_obp(),
            "a world": t.world,
            "a generator": (log for log in [t.log]),
        }
        return given | {label: getattr(t, name) for label, name in labels.items()}

    return thing(refused)


def learner_kind():
    def refused(right):
        t = things()
        return {
            "the class": opl.OffPolicyLearner,
            "a classifier": LogisticRegression(),
            "a policy": t.policy,
            "a log": t.log,
            "towers": t.towers,
            "a function": len,
        }

    return thing(refused)


def callback_kind():
    """What a fit calls after every epoch."""

    def refused(right):
        return {
            "a list of callables": [len],
            "one that returns a number": lambda policy: 3,
            "one that returns text": lambda policy: "text",
            "one that returns a list": lambda policy: [0.5],
            "one that returns True": lambda policy: True,
            "one that returns None by name": lambda policy: {"a": None},
            "one that returns text by name": lambda policy: {"a": "text"},
            "one that returns a complex number by name": lambda policy: {"a": 0.5j},
            "one that returns a list by name": lambda policy: {"a": [0.5]},
            "one that returns an array by name": lambda policy: {"a": np.zeros(2)},
            "one that returns 'objective'": lambda policy: {"objective": 0.5},
        }

    def accepted(right):
        return {
            "None": None,
            "one that returns nothing": lambda policy: None,
            "one that returns a numpy number": lambda policy: {"a": np.float32(0.5)},
            "one that returns a count": lambda policy: {"a": 1},
            "one that returns NaN": lambda policy: {"a": float("nan")},
        }

    return thing(refused, accepted, but=("None", "a class"))


def estimator_kind(optional_model=False):
    def refused(right):
        return {
            "another": "zz",
            "nothing": "",
            "bytes": b"snips",
            "a list of one": ["snips"],
            "the class": opl.Estimator,
            "a form": opl.Form(lambda terms, w: w),
        }

    return thing(refused, {"itself": opl.Estimator("snips")}, but=("text",))


def estimators_kind():
    def refused(right):
        return {
            "another": ["zz"],
            "None in it": ["ips", None],
            "a number in it": ["ips", 3],
            "the class in it": [opl.Estimator],
            "a list in it": [["ips"]],
            "a function": len,
        }

    def accepted(right):
        return {"a tuple": tuple(right), "themselves": [opl.Estimator(name) for name in right]}

    def either(right):
        return {"one name": "ips", "a generator": (name for name in right), "a set": {"ips"}}

    return thing(refused, accepted, either, but=("None", "text"))


def range_kind():
    """The smallest and the largest of something."""

    def refused(right):
        return {
            "the larger first": (1, 0),
            "one number": (0,),
            "three numbers": (0, 1, 2),
            "text": "01",
            "numbers as text": ("0", "1"),
            "None in it": (None, 1),
            "NaN in it": (np.nan, 1),
            "infinity in it": (0, np.inf),
            "complex numbers": (0j, 1j),
            "truths": (False, True),
            "a set": {0, 1},
            "a matrix": np.zeros((2, 2)),
            "a giant": (0, 10**400),
            "equal ends": (1, 1),
            "a generator": (end for end in (0, 1)),
        }

    def accepted(right):
        return {"a list": list(right), "an array": np.array(right), "floats": (0.0, 1.0)}

    return thing(refused, accepted, but=("text", "an array"))


def path_kind():
    """A file that `save` wrote."""

    def refused(right):
        t = things()
        return {
            "a fraction": 1.5,
            "nothing": "",
            "a folder": t.folder,
            "no such file": t.folder / "missing.pt",
            "an empty file": t.folder / "empty",
            "a file of text": t.folder / "text.csv",
            "weights alone": t.folder / "weights.pt",
        }

    kind = thing(refused, lambda right: {"text": str(right)}, but=("text",))
    return kind._replace(errors=(ValueError, TypeError, OSError))


def checkpoint_kind(wrong):
    """A file or a folder that may not be there yet; `wrong` is the other one."""
    given = {"a number": 3, "a list": [1], "an object": object(), "True": True, "nothing": ""}
    return Kind(lambda right: {**given, "the other": wrong}, lambda right: {"text": str(right)})


def objective_kind():
    """What is maximised."""

    def refused(right):
        return {
            "another": "zz",
            "nothing": "",
            "the class": opl.Objective,
            "one without its settings": opl.clipped_ips,
            "one without its clusters": opl.mips,
            "a list of one": ["ips"],
            "a reward model": things().regressor(),
        }

    return thing(refused, but=("text", "a class"))


def found_kind(learned):
    """What a formula of one's own returns; `right` is the formula."""

    def weighted(logits, batch):
        log_pi = logits.log_softmax(-1).gather(-1, batch.action[:, None])[:, 0]
        return (log_pi.exp() / batch.pscore * batch.reward).mean()

    def refused(right):
        return {
            "None": lambda z, b: None,
            "a number": lambda z, b: 0.5,
            "text": lambda z, b: "text",
            "an array": lambda z, b: np.zeros(()),
            "a constant": lambda z, b: torch.tensor(0.5),
            "a value a round": lambda z, b: z.sum(-1),
            "NaN": lambda z, b: z.sum() * float("nan"),
            "a truth": lambda z, b: z.sum() > 0,
            "a complex value": lambda z, b: z.sum() * (1 + 1j),
            "three things": lambda z, b: (z.sum(), z, z),
            "a gradient that is None": lambda z, b: (z.sum(), None),
            "a gradient of another shape": lambda z, b: (z.sum(), z[:, 0]),
            "a gradient of integers": lambda z, b: (z.sum(), torch.ones_like(z).long()),
            "a gradient of complex numbers": lambda z, b: (z.sum(), z * (1 + 1j)),
            "a gradient that is an array": lambda z, b: (z.sum(), z.detach().numpy()),
            "a gradient of NaN": lambda z, b: (z.sum(), z * float("nan")),
            "a value that is a number": lambda z, b: (0.5, torch.ones_like(z)),
            "a value that is None": lambda z, b: (None, torch.ones_like(z)),
            "a dictionary": lambda z, b: {"value": z.sum()},
        }

    def either(right):
        def double(z, b):
            return z.double().sum(), torch.ones_like(z).double()

        return {"a gradient of double precision": double} if learned else {}

    kind = Kind(refused, either=either)
    # a fit says of NaN what it says of every fit that diverges
    return kind._replace(errors=(ValueError, TypeError, opl.NonFiniteLossError))


def towers_kind():
    """Towers to start from."""

    def refused(right):
        def mlp(*widths, **settings):
            return opl.TwoTower.mlp(*widths, **{"hidden": (2,), "dim_embedding": 2, **settings})

        def damaged(value):
            towers = mlp(4, 2)
            with torch.no_grad():
                next(towers.parameters()).fill_(value)
            return towers

        linear = torch.nn.Linear

        class Own(opl.TwoTower):
            def forward(self, context, action_context):
                return context

        return {
            "a module": linear(4, 2),
            "the class": opl.TwoTower,
            "a policy": things().policy,
            "towers of NaN": damaged(np.nan),
            "towers of infinity": damaged(np.inf),
            "towers of other contexts": mlp(5, 2),
            "towers of other items": mlp(4, 3),
            "towers of two sizes": opl.TwoTower(linear(4, 2), linear(2, 3)),
            "layers of other contexts": opl.TwoTower(linear(5, 2), linear(2, 2)),
            "towers with a forward of their own": Own(linear(4, 2), linear(2, 2)),
        }

    def either(right):
        linear = torch.nn.Linear
        return {
            "towers of double precision": opl.TwoTower(linear(4, 2).double(), linear(2, 2).double())
        }

    return thing(refused, either=either)


def module_kind():
    def refused(right):
        return {
            "a function": len,
            "the class of a module": torch.nn.Linear,
            "weights": torch.zeros(2, 2),
            "a list of layers": [torch.nn.Linear(4, 2)],
        }

    return thing(refused)


def widths_kind():
    """Hidden layers."""

    def refused(right):
        return {
            "a width of 0": (0,),
            "a width of half": (1.5,),
            "a whole float": (2.0,),
            "text in it": ("2",),
            "None in it": (2, None),
            "True in it": (True,),
            "a list in it": ([2],),
            "NaN in it": (float("nan"),),
            "a set": {2},
            "two dimensions": np.array([[2]]),
            "an array of floats": np.array([2.0]),
            "a negative width": (-1,),
        }

    def accepted(right):
        return {"a list": list(right), "an array": np.array(right), "numpy's": (np.int64(2),)}

    return thing(refused, accepted, but=("an empty list", "an array"))


def cluster_kind(known=True):
    """One cluster an item; `known` where the number of items is."""
    kind = integers(rows=known, negative=False)
    given = also(kind, accepted={"other numbers": [7, 7, -2]})
    if not known:
        return also(given, refused={"none": []})
    return given


def tensor_kind(integer=False):
    """A tensor of numbers."""

    def refused(right):
        given = {
            "None": None,
            "a number": 0.5,
            "text": "text",
            "a list": right.tolist(),
            "an array": right.numpy(),
            "an object": object(),
            "complex numbers": right + 0j,
            "no dimension": right.sum(),
        }
        return given

    def either(right):
        return {} if integer else {"integers": right.long()}

    return Kind(refused, either=either)


def batch_kind():
    def refused(right):
        t = things()
        return {
            "None": None,
            "a number": 3,
            "text": "text",
            "an empty tuple": (),
            "a tuple": tuple(right),
            "a dictionary": right._asdict(),
            "a log": t.log,
            "the class": opl.Batch,
            "a batch of arrays": opl.Batch(t.action, t.reward, t.pscore, t.q),
            "a batch of lists": opl.Batch(t.action.tolist(), t.reward.tolist(), t.pscore.tolist()),
            "a batch of nothing": opl.Batch(None, None, None),
            "a batch of fewer rounds": opl.Batch(*(column[:-1] for column in right[:4])),
        }

    return Kind(refused)


def by_name_kind(inner, accepted=None, empty=True):
    """A mapping of names to something; `inner` are wrong ones of these."""

    def refused(right):
        given = {
            "pairs": list(right.items()) if right else [("a", 1)],
            "a set": {"a"},
            **{f"{label} by name": {"a": value} for label, value in inner.items()},
        }
        return {**given, "nothing by name": {}} if empty else given

    return thing(refused, accepted, but=("a dictionary", "an empty list"))


def ax_kind():
    return thing({"a figure": _figure(), "a list of axes": [None]}, but=("None",))


def _figure():
    from matplotlib.figure import Figure

    return Figure()


def call_of(room, name, function, /, **arguments):
    """A call whose arguments are pairs of a right value and its kind, or a value alone."""
    pairs = {
        k: v
        for k, v in arguments.items()
        if isinstance(v, tuple) and len(v) == 2 and isinstance(v[1], Kind)
    }
    right = {k: v[0] if k in pairs else v for k, v in arguments.items()}
    return Call(room, name, function, right, {k: v[1] for k, v in pairs.items()})


FRACTION = number(outside=(0, 1, -0.1, 1.5))


CONFIDENCE = number(outside=(0, 1, -0.1, 1.5, 95))


NOT_NEGATIVE = number(outside=(-0.1,))


POSITIVE = number(outside=(0, -0.1))


PROPENSITY = column(low=(0, -0.5, 1e-320), high=(1.5,))


FINITE = column()


PROGRESS = optional(flag())


def value_of_ips(logits, batch):
    log_pi = logits.log_softmax(-1).gather(-1, batch.action[:, None])[:, 0]
    return (log_pi.exp() / batch.pscore * batch.reward).mean()
