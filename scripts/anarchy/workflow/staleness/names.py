"""Which names of its module a piece of source uses, by Python's rules of scope, and its tree as text."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True)
class Binding:
    """What an import binds a name to: a module, or an attribute of one."""

    module: str
    attribute: str = ""
    """Empty: the module itself."""

    def __str__(self) -> str:
        return f"{self.module}.{self.attribute}" if self.attribute else self.module


@dataclass(frozen=True)
class Use:
    """A name that stands for something outside the function that uses it, and the attributes taken of it."""

    name: str
    attributes: tuple[str, ...] = ()
    binding: Binding | None = None
    """Where a function imports the name itself: what it stands for. Else the name is one of the module's."""


def uses(node: ast.AST, package: str) -> frozenset[Use]:
    """Every use of a name of the module in ``node``; ``package`` is where relative imports start.

    Annotations count where they have an effect: in the body of a class.
    """
    visitor = _Visitor(package)
    visitor.visit(node)
    visitor.found.update(Use(name, attributes) for name, attributes in visitor.scopes[0].read)
    return frozenset(visitor.found)


def dump(node: ast.AST) -> str:
    """The syntax tree as text: `ast.dump` in half of its time."""
    words: list[str] = []
    _write(node, words)
    return " ".join(words)


def _write(value: Any, words: list[str]) -> None:
    """Every class has its number of fields and a list its end, so that different trees read differently."""
    if isinstance(value, ast.expr_context):  # follows from where the name stands
        return
    if isinstance(value, ast.AST):
        words.append(type(value).__name__)
        for name in value._fields:
            _write(getattr(value, name, None), words)
    elif isinstance(value, list):
        words.append("[")
        for one in value:
            _write(one, words)
        words.append("]")
    else:
        words.append(repr(value))


def bound_by_import(statement: ast.Import | ast.ImportFrom, package: str) -> dict[str, Binding]:
    """Each name that an import binds; raises LookupError for ``import *``, which names none."""
    if isinstance(statement, ast.Import):
        return {
            one.asname or one.name.partition(".")[0]: Binding(
                one.name if one.asname else one.name.partition(".")[0]
            )
            for one in statement.names
        }
    module = statement.module or ""
    if statement.level:
        parts = package.split(".")
        module = ".".join([*parts[: len(parts) - statement.level + 1], *([module] if module else [])])
    if any(one.name == "*" for one in statement.names):
        raise LookupError(f"from {module} import *: name what is imported")
    return {one.asname or one.name: Binding(module, one.name) for one in statement.names}


def is_for_types(test: ast.expr) -> bool:
    """Whether a condition is TYPE_CHECKING, so that what it guards never runs."""
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"


Read = tuple[str, tuple[str, ...]]
"""A name that is read, and the attributes taken of it."""


@dataclass
class _Scope:
    """What one function, class or comprehension binds and reads; of the first one, the module, only reads."""

    hides: bool = True
    """Whether what it binds hides names around it: not from the methods of a class."""
    takes_walrus: bool = True
    """Whether ``:=`` binds here: not in a comprehension."""
    bound: dict[str, Binding | None] = field(default_factory=dict)
    """Names, and of those that it imports what they stand for."""
    elsewhere: set[str] = field(default_factory=set)
    """Names that it says are global or of a function around."""
    read: set[Read] = field(default_factory=set)


class _Visitor:
    """One pass over a tree; what a scope reads is sorted when all of it was seen, as it may bind later."""

    def __init__(self, package: str) -> None:
        self._package = package
        self.found: set[Use] = set()
        self.scopes = [_Scope()]

    def visit(self, node: ast.AST) -> None:
        """Note what a node binds and reads, and go on below it."""
        if (special := _SPECIAL.get(type(node))) is not None:
            special(self, node)
            return
        # Exceptions and patterns bind by name.
        bound = getattr(node, "name", None) or getattr(node, "rest", None)
        if isinstance(bound, str):
            self._bind(bound)
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                self._visit_all(one for one in value if isinstance(one, ast.AST))
            elif isinstance(value, ast.AST):
                self.visit(value)

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _bind(self, name: str, binding: Binding | None = None) -> None:
        bound = self.scopes[-1].bound
        bound[name] = binding or bound.get(name)

    def _open(self, *, hides: bool = True, takes_walrus: bool = True) -> None:
        self.scopes.append(_Scope(hides, takes_walrus))

    def _close(self) -> None:
        """Tell the scope around what was read here and bound nowhere here."""
        scope, around = self.scopes.pop(), self.scopes[-1]
        for name, attributes in scope.read:
            here = name in scope.bound and name not in scope.elsewhere
            if here and (binding := scope.bound[name]) is not None:
                self.found.add(Use(name, attributes, binding))
            if not (here and scope.hides):
                around.read.add((name, attributes))

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        """Decorators and defaults belong to the scope around; annotations of arguments do nothing."""
        if not isinstance(node, ast.Lambda):
            self._bind(node.name)
            self._visit_all(node.decorator_list)
        arguments = node.args
        self._visit_all(one for one in (*arguments.defaults, *arguments.kw_defaults) if one is not None)
        self._open()
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        for one in (*named, arguments.vararg, arguments.kwarg):
            if one is not None:
                self._bind(one.arg)
        self._visit_all([node.body] if isinstance(node, ast.Lambda) else node.body)
        self._close()

    def class_(self, node: ast.ClassDef) -> None:
        """What the body of a class binds is no name of its methods, nor of the function around."""
        self._bind(node.name)
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        self._open(hides=False)
        self._visit_all(node.body)
        self._close()

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        """The first iterable belongs to the scope around."""
        first, *others = node.generators
        self.visit(first.iter)
        self._open(takes_walrus=False)
        self._visit_all([first.target, *first.ifs, *others])
        self._visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        self._close()

    def walrus(self, node: ast.NamedExpr) -> None:
        """It binds in the function, from inside a comprehension as well."""
        scope = next(one for one in reversed(self.scopes) if one.takes_walrus)
        scope.bound.setdefault(node.target.id)
        self.visit(node.value)

    def annotated(self, node: ast.AnnAssign) -> None:
        """The annotation of a field decides what pydantic and dataclasses make; of a variable, nothing."""
        self._visit_all([node.target, *([node.value] if node.value else [])])
        if not self.scopes[-1].hides:
            self.visit(node.annotation)

    def condition(self, node: ast.If) -> None:
        """What only a type checker sees never runs."""
        self._visit_all(node.orelse if is_for_types(node.test) else [node.test, *node.body, *node.orelse])

    def attribute(self, node: ast.Attribute) -> None:
        """A chain ``name.attribute.attribute`` is one use."""
        attributes: list[str] = []
        base: ast.expr = node
        while isinstance(base, ast.Attribute):
            attributes.insert(0, base.attr)
            base = base.value
        if isinstance(base, ast.Name):
            self.scopes[-1].read.add((base.id, tuple(attributes)))
        else:
            self.visit(base)

    def name(self, node: ast.Name) -> None:
        """A name that is read, or bound."""
        if isinstance(node.ctx, ast.Load):
            self.scopes[-1].read.add((node.id, ()))
        else:
            self._bind(node.id)

    def import_(self, node: ast.Import | ast.ImportFrom) -> None:
        """In a function it binds names to what the function then uses."""
        for name, binding in bound_by_import(node, self._package).items():
            self._bind(name, binding)

    def elsewhere(self, node: ast.Global | ast.Nonlocal) -> None:
        """Names that are bound outside."""
        self.scopes[-1].elsewhere.update(node.names)


_SPECIAL: Final[dict[type[ast.AST], Callable[[_Visitor, Any], None]]] = {
    **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda), _Visitor.function),
    **dict.fromkeys((ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp), _Visitor.comprehension),
    **dict.fromkeys((ast.Import, ast.ImportFrom), _Visitor.import_),
    **dict.fromkeys((ast.Global, ast.Nonlocal), _Visitor.elsewhere),
    ast.ClassDef: _Visitor.class_,
    ast.NamedExpr: _Visitor.walrus,
    ast.AnnAssign: _Visitor.annotated,
    ast.If: _Visitor.condition,
    ast.Attribute: _Visitor.attribute,
    ast.Name: _Visitor.name,
}
"""What binds or reads names in a way of its own; `ast.NodeVisitor` would look for a method at every node."""
