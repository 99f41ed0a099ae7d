"""The oldest packages that opl_lib admits, as pip takes them; `make test-floors` tests with these.

floors.py    print name==version for each lower bound in pyproject.toml, a line each
"""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def floors():
    """The lower bound of each package that the library, its figures and the experiments need."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["plotting"], *extras["book"]]
    found = (re.fullmatch(r"([\w-]+)>=([\w.]+)", each) for each in needed)
    return dict(match.groups() for match in found if match)


if __name__ == "__main__":
    print(*(f"{name}=={version}" for name, version in floors().items()), sep="\n")
