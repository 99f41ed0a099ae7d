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
    "open_bandit",
    "towers",
    "retrieval",
    "policy",
    "objectives",
    "passes",
    "optimizer",
    "reward_models",
    "learner",
    "evaluation",
    "plotting",
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
    return ast.parse((ROOT / "opl_lib" / f"{module}.py").read_text(encoding="utf-8"))


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
        node.module.split(".")[0]
        for node in ast.walk(source(module))
        if isinstance(node, ast.ImportFrom) and node.level == 1
    }
    assert imported <= set(MODULES[: MODULES.index(module)])


def test_the_list_of_modules_is_complete():
    files = {path.stem for path in (ROOT / "opl_lib").glob("*.py")}
    assert files == {*MODULES, "__init__"}


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_each_other_relatively_and_costly_libraries_in_one_place(module):
    imported = set()
    for node in source(module).body:
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            imported.add(node.module.split(".")[0])
    costly = {"matplotlib"} if module == "plotting" else set()
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
