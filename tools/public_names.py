"""The API page's list of public names, room by room, made from the library itself.

A name that `opl_lib` exports is on the page without an edit: under its room, the folder that it is
defined in, and under the first paragraph of its module. `page` is for the site, which reads
docstrings itself; `plain_page` has them in it, for what shows Markdown only.
"""

import functools
import importlib
import inspect
import pkgutil
import re
import tomllib
from pathlib import Path

import opl_lib

ROOT = Path(__file__).resolve().parent.parent
MARK = "% every public name"
_DEFAULT = re.compile(
    r"<(?:factory|(?:class|function) '?[\w.]*?(?:(?P<name>\w+)|<lambda>)'?(?: at 0x\w+)?)>"
)


def page(text):
    """The text of a page, with the list in the place of the line MARK."""
    return _filled(text, _directives)


def plain_page(text):
    """The same page with signatures and docstrings, as they are, in the place of directives."""
    return _filled(text, _docstrings)


def _filled(text, listed):
    assert text.count(f"\n{MARK}\n") == 1, f"the page needs one line {MARK!r}"
    parts = [_room(room, names, listed) for room, names in _rooms()]
    return text.replace(f"{MARK}\n", "\n".join(parts))


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


def _room(room, homes, listed):
    """The part of the page about a room: Markdown, with what `listed` makes of names by module."""
    title, _, about = _first_paragraph(f"opl_lib.{room}").partition(": ")
    about = about[:1].upper() + about[1:]
    blocks = [f"## `{room}`: {title[:1].lower()}{title[1:].rstrip('.')}", ""]
    blocks += [about, ""] if about else []
    modules = {}
    for module in sorted(set(homes.values())):
        said = [] if module == f"opl_lib.{room}" else [_first_paragraph(module), ""]
        names = _in_order(module, [name for name, home in homes.items() if home == module])
        modules[module] = said, names
    return "\n".join([*blocks, *listed(modules.values()), ""])


def _directives(modules):
    """Names in reStructuredText."""
    blocks = ["```{eval-rst}", ".. currentmodule:: opl_lib", ""]
    for said, names in modules:
        blocks += [*said, ".. autosummary::", "", *(f"   {name}" for name in names), ""]
        for name in names:
            blocks += [*_directive(name), ""]
    return [*blocks, "```"]


def _docstrings(modules):
    """Names with what they say of themselves, as preformatted text; of a class, its methods too."""
    blocks = []
    for said, names in modules:
        blocks += said
        for name in names:
            thing = getattr(opl_lib, name)
            blocks += [f"### `{name}`", "", *_preformatted(name, thing)]
            if inspect.isclass(thing):
                for method, of_class in _methods(thing):
                    blocks += _preformatted(f"{name}.{method}", of_class)
    return blocks


def _methods(thing):
    """Public methods and properties of a class, those that it inherits from the library too."""
    found = {}
    for base in reversed(thing.__mro__):
        if base.__module__.startswith("opl_lib."):
            found |= {name: each for name, each in vars(base).items() if name[0] != "_"}
    return [(name, getattr(thing, name)) for name, each in found.items() if _is_method(each)]


def _is_method(thing):
    kinds = (property, classmethod, staticmethod, functools.cached_property)
    return inspect.isfunction(thing) or isinstance(thing, kinds)


def _preformatted(name, thing):
    said = inspect.getdoc(thing) if callable(thing) or hasattr(thing, "__get__") else repr(thing)
    return ["~~~text", name + _signature(thing), "", said or "", "~~~", ""]


def _signature(thing):
    """What is passed, without types, which the docstring has, and without addresses in memory."""
    if not callable(thing) or (inspect.isclass(thing) and issubclass(thing, Exception)):
        return ""
    given = inspect.signature(thing).parameters.values()
    bare = inspect.Signature([each.replace(annotation=each.empty) for each in given])
    named = _DEFAULT.sub(lambda found: found["name"] or "...", str(bare))
    return named.replace("slice(None, None, None)", ":")


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
