"""What a function of a package can run, found in its source, and one digest of all that.

Followed are names, from the function on: to what they stand for in its own module, and through imports (at
the top of a module or inside a function, relative, or by way of a package's ``__init__``) in other modules of
the package. What counts is each definition (a function, a class, an assignment) as a syntax tree, so that
comments, docstrings and layout change no digest. No name leads to what a module does when it is imported, or
to a module found by a computed name: tests refuse the first, and see by running that nothing is missed.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from anarchy.workflow.staleness.names import Binding, Use, bound_by_import, dump, is_for_types, uses

WHOLE: Final = "*"
"""Instead of a definition: the whole module, which somebody takes as an object; then docstrings count."""
LOOSE: Final = "<import>"
"""Instead of a definition: what the module does when it is imported, besides binding names."""

Target = tuple[str, str]
"""A module, and a definition in it."""


@dataclass(frozen=True)
class Closure:
    """Everything that some code can run: each definition, by its name ``module:definition``."""

    parts: Mapping[str, str]
    """Name of each definition -> one word for its syntax tree and for what the names in it stand for."""

    @property
    def digest(self) -> str:
        """One word for all of it."""
        return digest_of(sorted(self.parts.items()))


def digest_of(document: Any) -> str:
    """One word for a document of plain values; what else is in it counts as its text."""
    text = json.dumps(document, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class Module:
    """The source of one module, sorted by the names that it binds."""

    name: str
    package: str
    """Where its relative imports start."""
    source: str
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, Binding] = field(default_factory=dict)
    loose: list[ast.stmt] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the source."""
        for statement in _without_texts(ast.parse(self.source)).body:
            self._sort(statement)

    def _sort(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self.imports.update(bound_by_import(statement, self.package))
        elif isinstance(statement, ast.If) and is_for_types(statement.test):
            for other in statement.orelse:
                self._sort(other)
        elif names := _bound(statement):
            for name in names:
                self.definitions.setdefault(name, []).append(statement)
        elif not _runs_as_program(statement):
            self.loose.append(statement)
            for inner in ast.iter_child_nodes(statement):
                if isinstance(inner, ast.stmt):
                    self._sort(inner)


class Package:
    """The modules of one package, each read once, and only when something leads to it."""

    def __init__(self, folder: Path) -> None:
        """``folder``: the package's own."""
        self._folder = folder
        self._modules: dict[str, Module] = {}
        self._parts: dict[Target, tuple[str, list[Target]]] = {}

    def closure(self, roots: Iterable[str]) -> Closure:
        """What the definitions ``module:name`` can run; raises LookupError for a name of nothing."""
        targets = []
        for root in roots:
            module, _, name = root.partition(":")
            if name not in self.module(module).definitions:
                raise LookupError(f"{module} defines no {name}")
            targets.append((module, name))
        with _without_collector():
            return self._follow(targets)

    def closure_of(self, source: str) -> Closure:
        """What a program outside the package, such as a notebook, can run of it; else as `closure`."""
        program = Module("", "", source)
        statements = [one for found in program.definitions.values() for one in found] + program.loose
        _, targets = self._named(program, statements)
        with _without_collector():
            return self._follow([target for target in targets if target[0]])

    def names(self) -> list[str]:
        """Every module of the package."""
        files = sorted(self._folder.rglob("*.py"))
        parts = (file.relative_to(self._folder.parent).with_suffix("").parts for file in files)
        return [".".join(names[:-1] if names[-1] == "__init__" else names) for names in parts]

    def loose(self, name: str) -> list[str]:
        """What a module does when it is imported besides binding names, as source."""
        return [ast.unparse(statement) for statement in self.module(name).loose]

    def module(self, name: str) -> Module:
        """One module; raises LookupError when there is none of this name."""
        if name not in self._modules:
            path = self.path(name)
            if path is None:
                raise LookupError(f"there is no module {name} in {self._folder}")
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            self._modules[name] = Module(name, package, path.read_text(encoding="utf-8"))
        return self._modules[name]

    def path(self, name: str) -> Path | None:
        """The file of a module, or None when there is none of this name."""
        top, *parts = name.split(".")
        base = self._folder.joinpath(*parts)
        files = (base / "__init__.py", base.parent / f"{base.name}.py")
        return next((file for file in files if file.is_file()), None) if top == self._folder.name else None

    def _follow(self, targets: list[Target]) -> Closure:
        parts: dict[str, str] = {}
        waiting = list(targets)
        while waiting:
            module, name = target = waiting.pop()
            if f"{module}:{name}" not in parts:
                parts[f"{module}:{name}"], further = self._part(target)
                waiting += further
                if self.module(module).loose:
                    waiting.append((module, LOOSE))
        return Closure(parts)

    def _part(self, target: Target) -> tuple[str, list[Target]]:
        """One word for a definition, and the definitions that it names."""
        module, (_, name) = self.module(target[0]), target
        nodes: list[ast.AST] = []
        if name == WHOLE:
            nodes = [ast.parse(module.source)]
        elif name == LOOSE:
            nodes += module.loose
        else:
            nodes += module.definitions[name]
        if target not in self._parts:
            meanings, further = self._named(module, nodes)
            self._parts[target] = digest_of([*map(dump, nodes), *meanings]), further
        return self._parts[target]

    def _named(self, module: Module, nodes: Iterable[ast.AST]) -> tuple[list[str], list[Target]]:
        """What the names in ``nodes`` stand for, as lines of text, and those of them in this package."""
        meanings: set[str] = set()
        targets: set[Target] = set()
        for use in {use for node in nodes for use in uses(node, module.package)}:
            binding = use.binding or module.imports.get(use.name)
            target = self._target(module, use)
            if target is not None:
                targets.add(target)
            if target is not None or binding is not None:
                words = ".".join((use.name, *use.attributes))
                meanings.add(f"{words} is {':'.join(target) if target else binding}")
        return sorted(meanings), sorted(targets)

    def _target(self, module: Module, use: Use) -> Target | None:
        """The definition that a name stands for; None for a builtin or something of another package."""
        if use.binding is not None:
            return self._imported(use.binding, use.attributes)
        if use.name in module.definitions:
            return module.name, use.name
        if use.name in module.imports:
            return self._imported(module.imports[use.name], use.attributes)
        return None

    def _imported(self, binding: Binding, attributes: Sequence[str]) -> Target | None:
        if binding.module.partition(".")[0] != self._folder.name:
            return None
        return self._resolve(binding.module, [*filter(None, [binding.attribute]), *attributes])

    def _resolve(self, module: str, attributes: Sequence[str]) -> Target | None:
        """What ``module.attribute.attribute`` stands for; a module that no attribute is taken of is whole."""
        if not attributes or attributes[0].startswith("__"):
            return module, WHOLE
        first, known = attributes[0], self.module(module)
        if first in known.definitions:
            return module, first
        # A package that imports a module of its own binds the name to that module.
        if known.imports.get(first, here := Binding(module, first)) != here:
            return self._imported(known.imports[first], attributes[1:])
        if self.path(f"{module}.{first}") is None:
            raise LookupError(f"{module} has no {first}")
        return self._resolve(f"{module}.{first}", attributes[1:])


@contextmanager
def _without_collector() -> Iterator[None]:
    """Syntax trees are many small objects that stay: a search for garbage in them costs more than all else.

    So they are set aside for good, with what else is there by then: no later collection looks at it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def _bound(statement: ast.stmt) -> list[str]:
    """Names that a statement at the top of a module defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        names = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
        return [name.id for name in names if isinstance(name.ctx, ast.Store)]
    return []


def _runs_as_program(statement: ast.stmt) -> bool:
    """Whether this is ``if __name__ == "__main__":``."""
    return isinstance(statement, ast.If) and "__name__" in ast.dump(statement.test)


def _without_texts(tree: ast.Module) -> ast.Module:
    """The same without docstrings and other statements that are a text alone."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, name, None)
            if isinstance(inner, list):
                inner[:] = [one for one in inner if not _is_text(one)]
                waiting += inner
    return tree


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
