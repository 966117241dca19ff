"""Engines by name: the modules of this room that define one. A new engine is a file here, and no list."""

from __future__ import annotations

from functools import cache
from typing import Final

from anarchy.engines.engine import Engine, Served
from anarchy.ground.errors import UserError
from anarchy.ground.plugins import parts

UNKNOWN: Final = "unknown"
"""What a trace calls its engine where nobody said."""


@cache
def engines() -> dict[str, Engine]:
    """Every engine by its name, sorted."""
    found = (module.ENGINE for module in parts("anarchy.engines").values() if hasattr(module, "ENGINE"))
    return {engine.name: engine for engine in sorted(found, key=lambda engine: engine.name)}


def engine_names() -> tuple[str, ...]:
    """Names of the engines that a run may choose."""
    return tuple(name for name, engine in engines().items() if engine.served or engine.replayed)


def engine_of(name: str) -> Engine:
    """The engine of a name; raises UserError, with the known ones, where there is none."""
    known = engines()
    if name not in known:
        raise UserError(
            f"there is no engine {name!r}", where="engine", remedy=f"known: {', '.join(engine_names())}"
        )
    return known[name]


@cache
def served_by(name: str) -> Served:
    """How an engine is started; raises UserError for one that nothing here can start."""
    if not engine_of(name).served:
        raise UserError(
            f"engine {name!r} is not served by a deployment",
            where="engine",
            remedy=f"take one of {', '.join(name for name, one in engines().items() if one.served)}",
        )
    (module,) = (
        module
        for module in parts("anarchy.engines").values()
        if getattr(module, "ENGINE", None) is engine_of(name)
    )
    served: Served = module.SERVED
    return served


def engine_packages() -> tuple[str, ...]:
    """Packages of all engines, each once."""
    return tuple(dict.fromkeys(package for one in engines().values() for package in one.packages.values()))
