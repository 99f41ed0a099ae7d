"""What is run before a change is merged: it finds its folder and its browser wherever it is."""

import shutil
import subprocess
import sys
from pathlib import Path

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
    for name in ("bash", "env", "dirname", "mktemp", "rm", "tee", "tail"):
        (tools / name).symlink_to(shutil.which(name))
    (tools / "python3").symlink_to(sys.executable)
    stub(tools / "id", "echo 1000")
    stub(tools / "make", 'echo "make $* in $PWD"')

    def run(**environment):
        environment = {"PATH": str(tools), "TMPDIR": str(tmp_path), **environment}
        command = ["bash", f"{tmp_path.name}/ü tree/.ci/run"]
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
