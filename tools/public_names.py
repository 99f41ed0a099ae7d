"""The API page's list of public names, room by room, made from the library itself.

A name that `opl_lib` exports is on the page without an edit: under its room, the folder that it is
defined in, and under the first paragraph of its module.
"""

import importlib
import inspect
import pkgutil
import tomllib
from pathlib import Path

import opl_lib

ROOT = Path(__file__).resolve().parent.parent
MARK = "% every public name"


def page(text):
    """The text of a page, with the list in the place of the line MARK."""
    assert text.count(f"\n{MARK}\n") == 1, f"the page needs one line {MARK!r}"
    return text.replace(f"{MARK}\n", "\n".join(_room(room, names) for room, names in _rooms()))


def _rooms():
    """Each room that defines public names, in the order in which rooms read each other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    order = [room for layer in reversed(layers) for room in layer.split(" | ")]
    homes = {name: _home(name) for name in opl_lib.__all__}
    for room in order:
        names = {name: home for name, home in homes.items() if home.split(".")[1] == room}
        if names:
            yield room, names


def _home(name):
    """The module that defines a name; for a value that does not know, one that has it."""
    thing = getattr(opl_lib, name)
    home = getattr(thing, "__module__", "")
    if home.startswith("opl_lib."):
        return home
    modules = [each.name for each in pkgutil.walk_packages(opl_lib.__path__, "opl_lib.")]
    return next(m for m in modules if vars(importlib.import_module(m)).get(name) is thing)


def _room(room, homes):
    """The part of the page about a room: Markdown, with the names in reStructuredText."""
    title, _, about = _first_paragraph(f"opl_lib.{room}").partition(": ")
    about = about[:1].upper() + about[1:]
    blocks = [f"## `{room}`: {title[:1].lower()}{title[1:].rstrip('.')}", ""]
    blocks += [about, ""] if about else []
    blocks += ["```{eval-rst}", ".. currentmodule:: opl_lib", ""]
    for module in sorted(set(homes.values())):
        names = _in_order(module, [name for name, home in homes.items() if home == module])
        if module != f"opl_lib.{room}":
            blocks += [_first_paragraph(module), ""]
        blocks += [".. autosummary::", "", *(f"   {name}" for name in names), ""]
        for name in names:
            blocks += [*_directive(name), ""]
    return "\n".join([*blocks, "```", ""])


def _first_paragraph(module):
    docstring = inspect.getdoc(importlib.import_module(module))
    return " ".join(docstring.split("\n\n")[0].split())


def _in_order(module, names):
    """As a module lists them, if it does; else by the alphabet."""
    listed = getattr(importlib.import_module(module), "__all__", [])
    return sorted(names, key=lambda name: (listed.index(name) if name in listed else -1, name))


def _directive(name):
    thing = getattr(opl_lib, name)
    if inspect.isclass(thing):
        kind = "autoexception" if issubclass(thing, Exception) else "autoclass"
        lines = [f".. {kind}:: {name}"]
        if not issubclass(thing, tuple | Exception):
            lines.append("   :members:")
            bases = [base for base in thing.__mro__ if not base.__module__.startswith("opl_lib.")]
            lines.append(f"   :inherited-members: {', '.join(base.__name__ for base in bases)}")
        return lines
    return [f".. auto{'function' if callable(thing) else 'data'}:: {name}"]
