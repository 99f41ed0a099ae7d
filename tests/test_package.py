"""The package: cheap imports, documented names, one version. `make lint` checks its layers."""

import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import opl_lib

ROOT = Path(__file__).parents[1]
PUBLIC = {name: getattr(opl_lib, name) for name in opl_lib.__all__}
CALLABLE = [name for name, thing in PUBLIC.items() if callable(thing)]
MODULES = [each.name for each in pkgutil.walk_packages(opl_lib.__path__, "opl_lib.")]
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


# ---- imports


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import opl_lib", ["obp", "matplotlib", "pandas", "sklearn", "torch._dynamo"]),
        (FIT, ["obp", "matplotlib", "pandas", "sklearn", "torch._dynamo"]),
    ],
    ids=["import", "fit"],
)
def test_what_is_not_needed_is_not_imported(code, unwanted):
    report = f"{code}\nimport sys\nprint(*(m for m in {unwanted} if m in sys.modules))"
    assert run(report) == ""


def test_import_is_quick_once_torch_is_there():
    """Against torch itself, which is slow as well where the machine is; one of three does."""
    code = (
        "from time import process_time\nstart = process_time()\nimport torch\n"
        "middle = process_time()\nimport opl_lib\n"
        "print((process_time() - middle) / (middle - start))"
    )
    assert any(float(run(code)) < 1 / 3 for _ in range(3))


# ---- names


@pytest.mark.parametrize("name", CALLABLE)
def test_public_names_are_defined_in_the_package(name):
    assert PUBLIC[name].__module__.startswith("opl_lib.")
    assert PUBLIC[name].__name__ == name
    assert name in dir(opl_lib)


def test_public_names_are_named_once():
    assert len(set(opl_lib.__all__)) == len(opl_lib.__all__)


def test_unknown_names_are_an_error():
    with pytest.raises(AttributeError, match="nonsense"):
        opl_lib.nonsense  # noqa: B018


@pytest.mark.parametrize("name", CALLABLE)
def test_every_parameter_is_documented(name):
    public, docstring = PUBLIC[name], inspect.getdoc(PUBLIC[name])
    is_error = inspect.isclass(public) and issubclass(public, Exception)
    parameters = [] if is_error else list(inspect.signature(public).parameters)
    assert docstring.splitlines()[0].endswith((".", "?"))
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
    docstring = importlib.import_module(module).__doc__
    assert docstring.splitlines()[0].endswith((".", "?"))


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


def test_the_typed_marker_is_part_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["setuptools"]["package-data"]["opl_lib"] == ["py.typed"]
    assert (ROOT / "opl_lib" / "py.typed").exists()


def test_a_wheel_has_the_library_and_nothing_of_the_book():
    from setuptools import find_packages

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    include = project["tool"]["setuptools"]["packages"]["find"]["include"]
    found = {name.split(".")[0] for name in find_packages(ROOT, include=include)}
    assert found == {"opl_lib"}
    assert not any("experiments" in name for name in MODULES)
