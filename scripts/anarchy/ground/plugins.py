"""Parts that a room finds by looking: a file or folder of its own makes one known, and no list names them."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def parts(package: str, file: str = "") -> dict[str, ModuleType]:
    """The modules of a package by their names, sorted; with ``file``, that module of each folder in it.

    Modules whose name begins with an underscore are not parts.
    """
    home = importlib.import_module(package)
    found = sorted(one.name for one in pkgutil.iter_modules(home.__path__) if bool(file) == one.ispkg)
    names = [name for name in found if not name.startswith("_")]
    return {name: importlib.import_module(".".join(filter(None, (package, name, file)))) for name in names}
