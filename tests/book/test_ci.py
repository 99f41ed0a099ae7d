"""What is run before a change is merged: it finds its folder and its browser wherever it is."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import floors
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ci(tmp_path):
    """Run a copy of .ci/run as a user without sudo, with stubs for all that takes long."""
    for name in (".ci/run", "tools/browser.py"):
        (tmp_path / "ü tree" / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / name, tmp_path / "ü tree" / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "env", "dirname", "readlink", "mktemp", "rm", "tee", "tail"):
        (tools / name).symlink_to(shutil.which(name))
    (tools / "python3").symlink_to(sys.executable)
    stub(tools / "id", "echo 1000")
    stub(tools / "make", 'echo "make $* in $PWD"')

    def run(script=".ci/run", **environment):
        environment = {"PATH": str(tools), "TMPDIR": str(tmp_path), **environment}
        command = ["bash", f"{tmp_path.name}/ü tree/{script}"]
        done = subprocess.run(
            command, cwd=tmp_path.parent, env=environment, capture_output=True, text=True
        )
        return done.returncode, done.stdout, done.stderr

    return run


def stub(path, text):
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_it_takes_a_browser_of_another_name(ci, tmp_path):
    code, out, _ = ci(OPL_CHROMIUM=stub(tmp_path / "my browser", ""))
    assert code == 0 and out.count("make ") == 4  # the last line of the tests comes twice
    stub(tmp_path / "bin" / "chromium-browser", "")
    assert ci()[0] == 0


def test_it_installs_one_where_it_can(ci, tmp_path):
    stub(
        tmp_path / "bin" / "apt-get",
        f'[ "$1" = update ] || {{ echo "#!" > "{tmp_path}/bin/chromium"; '
        f'/bin/chmod +x "{tmp_path}/bin/chromium"; }}',
    )
    assert ci()[0] == 0
    (tmp_path / "bin" / "chromium").unlink()
    stub(tmp_path / "bin" / "apt-get", "exit 100")
    code, out, error = ci()
    assert code == 1 and "make" not in out and "OPL_CHROMIUM" in error


def test_it_says_what_to_install_where_nothing_can_be(ci):
    code, out, error = ci()
    assert code == 1 and "make" not in out
    assert "no Chromium found: install one, or name it in OPL_CHROMIUM" in error


def test_it_checks_its_own_tree_whatever_cdpath_says(ci, tmp_path):
    elsewhere = tmp_path / "elsewhere" / tmp_path.name / "ü tree" / ".ci"
    elsewhere.mkdir(parents=True)
    browser = stub(tmp_path / "browser", "")
    code, out, _ = ci(OPL_CHROMIUM=browser, CDPATH=str(tmp_path / "elsewhere"))
    assert code == 0 and f"make test in {tmp_path}/ü tree\n" in out


def test_it_checks_its_own_tree_through_a_link(ci, tmp_path):
    (tmp_path / "ü tree" / "hooks" / "git").mkdir(parents=True)
    (tmp_path / "ü tree" / "hooks" / "git" / "pre-push").symlink_to("../../.ci/run")
    code, out, _ = ci("hooks/git/pre-push", OPL_CHROMIUM=stub(tmp_path / "browser", ""))
    assert code == 0 and f"make test in {tmp_path}/ü tree\n" in out


@pytest.mark.parametrize(
    "requirement, version",
    [
        ("numpy>=1.26", "1.26"),
        ("opl-lib[obp,plotting]", None),
        ("jupytext", None),
        ("jupyter-book>=1.0.4.post1,<2", None),
        ("torch>=2.10,<3", "2.10"),
    ],
)
def test_the_lower_bound_of_a_requirement(requirement, version):
    assert floors.parts(requirement)[1] == version


@pytest.mark.parametrize(
    "requirement",
    ["numpy >= 1.26", "numpy>=1.26; python_version<'3.13'", "numpy>1", "numpy==1.26", "numpy~=1.2"],
)
def test_a_requirement_that_cannot_be_read_is_not_left_out(requirement):
    with pytest.raises(ValueError, match=f"{re.escape(repr(requirement))} has no lower bound"):
        floors.parts(requirement)


def test_the_floors_have_what_the_runner_needs():
    """Joblib 1.4 has no initializer; filelock 3.20 waits forever where nothing can be locked."""
    found = {name: tuple(map(int, v.split("."))) for name, v in floors.floors().items()}
    assert found["joblib"] >= (1, 5) and found["filelock"] >= (3, 25, 2)


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
class TestMakefile:
    @staticmethod
    def planned(folder, target, **settings):
        """What make would do in a folder."""
        (folder / "tools").mkdir(exist_ok=True)
        for name in ("Makefile", "pyproject.toml", "requirements.txt", "tools/floors.py"):
            if not (folder / name).exists():
                shutil.copy(ROOT / name, folder / name)
        command = ["make", "-n", target, *(f"{name}={text}" for name, text in settings.items())]
        environment = {name: v for name, v in os.environ.items() if not name.startswith("MAKE")}
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=True
        ).stdout

    def test_the_path_of_python_may_have_blanks(self, tmp_path):
        for target in ("lint", "test-floors"):
            plan = self.planned(tmp_path, target, PYTHON="/my tools/python3")
            assert '"/my tools/python3" -m venv' in plan
            assert not re.search(r"^@?/my tools", plan, re.MULTILINE)

    def test_a_set_up_of_the_floors_that_was_interrupted_starts_again(self, tmp_path):
        (tmp_path / ".venv-floors").mkdir()
        plan = self.planned(tmp_path, "test-floors", TORCH="2.13.0")
        assert "-m venv .venv-floors" in plan and "-m pip install" in plan
        (stamp,) = re.findall(r"touch (\S+)", plan)
        assert plan.index("pip install") < plan.index("touch") < plan.index("-m pytest")
        (tmp_path / stamp).touch()
        assert "pip install" not in self.planned(tmp_path, "test-floors", TORCH="2.13.0")
        assert "pip install" in self.planned(tmp_path, "test-floors", TORCH="2.10")
