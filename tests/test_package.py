"""The package: cheap imports, documented names, modules that read only those above them."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import opl_lib

ROOT = Path(__file__).parents[1]
MODULES = [
    "checks",
    "support",
    "feedback",
    "logging_policies",
    "environments",
    "digits",
    "open_bandit",
    "propensities",
    "clusters",
    "towers",
    "retrieval",
    "policy",
    *(
        f"objectives.{name}"
        for name in (
            *("base", "value", "weighted", "baselines", "doubly_robust", "likelihoods", "lists"),
            *("clusters", "regressions", "registry", "regularisers"),
        )
    ),
    "objectives",
    "stacks",
    "passes",
    "optimizer",
    "reward_models",
    "training",
    "learner",
    "estimators",
    "intervals",
    "evaluation",
    "selection",
    "diagnosis",
    "early_stopping",
    "plotting",
    *(
        f"experiments.{name}"
        for name in (
            "cells",
            "peers",
            "atlas",
            "rehearsal",
            "figures",
            "runner",
            "compare",
            "__main__",
        )
    ),
    "experiments",
]
PUBLIC = {name: getattr(opl_lib, name) for name in opl_lib.__all__}
FIT = """
import numpy as np
import opl_lib as opl
rng = np.random.default_rng(0)
log = opl.BanditFeedback(
    rng.normal(size=(50, 3)), rng.integers(0, 4, 50), np.ones(50), np.full(50, 0.25), np.eye(4)
)
opl.OffPolicyLearner("ips", epochs=1).fit(log).policy_.sample(log.context, log.action_context)
"""


def run(code):
    """Output of code in a fresh interpreter that finds this checkout first."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def source(module):
    path = ROOT / "opl_lib" / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not is_for_type_checkers(node)]
    return tree


def is_for_type_checkers(node):
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


def imported_from(module, node):
    """The modules of the package that ``from .x import y`` reads, as named in MODULES."""
    is_package = (ROOT / "opl_lib" / module).is_dir()
    parents = module.split(".") if is_package else module.split(".")[:-1]
    parents = parents[: len(parents) + 1 - node.level]
    names = [node.module] if node.module else [alias.name for alias in node.names]
    return {".".join([*parents, name]) for name in names}


# ---- imports


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import opl_lib", ["torch", "obp", "matplotlib", "pandas", "sklearn", "numpy"]),
        (FIT, ["obp", "matplotlib", "pandas", "sklearn", "torch._dynamo"]),
    ],
    ids=["import", "fit"],
)
def test_what_is_not_needed_is_not_imported(code, unwanted):
    report = f"{code}\nimport sys\nprint(*(m for m in {unwanted} if m in sys.modules))"
    assert run(report) == ""


def test_import_is_quick_once_torch_is_there():
    """Processor time, which does not depend on what else the machine does."""
    seconds = run(
        "import torch\nfrom time import process_time\nstart = process_time()\n"
        "import opl_lib\nprint(process_time() - start)"
    )
    assert float(seconds) < 0.3


@pytest.mark.parametrize("module", MODULES)
def test_modules_read_only_those_above_them(module):
    imported = {
        name
        for node in ast.walk(source(module))
        if isinstance(node, ast.ImportFrom) and node.level > 0
        for name in imported_from(module, node)
    }
    assert imported <= set(MODULES[: MODULES.index(module)])


def test_the_list_of_modules_is_complete():
    library = ROOT / "opl_lib"
    paths = [path.relative_to(library).with_suffix("") for path in library.rglob("*.py")]
    names = {".".join(path.parts).removesuffix("__init__").rstrip(".") for path in paths}
    assert names - {""} == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_each_other_relatively_and_costly_libraries_in_one_place(module):
    imported = set()
    for node in source(module).body:
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            imported.add(node.module.split(".")[0])
    costly = {"plotting": {"matplotlib"}}.get(module, set())
    if module.startswith("experiments."):
        imported -= {"pandas"}  # what tables are made of
    assert imported & {"obp", "matplotlib", "pandas", "sklearn", "opl_lib"} == costly


# ---- names


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_defined_in_the_package(name):
    assert PUBLIC[name].__module__.startswith("opl_lib.")
    assert PUBLIC[name].__name__ == name
    assert name in dir(opl_lib)


def test_unknown_names_are_an_error():
    with pytest.raises(AttributeError, match="nonsense"):
        opl_lib.nonsense  # noqa: B018


@pytest.mark.parametrize("name", PUBLIC)
def test_every_parameter_is_documented(name):
    public, docstring = PUBLIC[name], inspect.getdoc(PUBLIC[name])
    is_error = inspect.isclass(public) and issubclass(public, Exception)
    parameters = [] if is_error else list(inspect.signature(public).parameters)
    assert docstring.splitlines()[0].endswith(".")
    if parameters:
        # what a caller never makes by hand lists the same names as attributes
        assert re.search(r"^(Parameters|Attributes)\n-{10}$", docstring, re.MULTILINE)
    documented = re.findall(r"^([\w, ]+?)(?: : .*)?$", docstring, re.MULTILINE)
    names = {part.strip() for line in documented for part in line.split(",")}
    assert not set(parameters) - names


@pytest.mark.parametrize("name", [name for name in PUBLIC if inspect.isclass(PUBLIC[name])])
def test_every_public_method_has_a_docstring(name):
    own = {method for method in vars(PUBLIC[name]) if not method.startswith("_")}
    described = {method for method in own if inspect.getdoc(getattr(PUBLIC[name], method, None))}
    fields = set(getattr(PUBLIC[name], "__dataclass_fields__", ()))
    assert own - described - fields == set()


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_its_job_in_one_sentence(module):
    docstring = importlib.import_module(f"opl_lib.{module}").__doc__
    assert docstring.splitlines()[0].endswith(".")


# ---- version


def test_version_is_one_number_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = project["project"].get("version")
    if declared is None:
        dynamic = project["tool"]["setuptools"]["dynamic"]["version"]
        assert "version" in project["project"]["dynamic"]
        assert dynamic == {"attr": "opl_lib.__version__"}
    else:
        assert declared == opl_lib.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", opl_lib.__version__)


def test_the_typed_marker_and_the_stub_are_part_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    data = project["tool"]["setuptools"]["package-data"]["opl_lib"]
    assert set(data) == {"py.typed", "__init__.pyi"}
    assert all((ROOT / "opl_lib" / name).exists() for name in data)
