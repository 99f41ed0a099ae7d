"""The oldest packages that opl_lib admits, as pip takes them; `make test-floors` tests with these.

floors.py    print name==version for each lower bound in pyproject.toml, a line each
"""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
OF_PAGES = ("jupyter-book",)  # no unit test needs what renders the book


def floors():
    """The lower bound of each package that the library, its figures and the experiments need."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    used = ("ann", "onnx", "serve", "plotting", "book")
    needed = [*project["dependencies"], *(each for name in used for each in extras[name])]
    return {name: version for name, version in map(parts, needed) if version}


def parts(requirement):
    """Its name and its lower bound; none if any version will do, or none is needed for a test."""
    found = re.fullmatch(r"([\w-]+)(?:\[[\w,-]+\])?(?:>=([\w.]+)(?:,<[\w.]+)?)?", requirement)
    if not found:
        raise ValueError(
            f"{PROJECT}: {requirement!r} has no lower bound that can be read here; write it as "
            "name>=version, or teach tools/floors.py to read it."
        )
    name, version = found.groups()
    return name, None if name in OF_PAGES else version


if __name__ == "__main__":
    print(*(f"{name}=={version}" for name, version in floors().items()), sep="\n")
