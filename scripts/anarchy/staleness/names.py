"""Which names of its module a piece of source uses, by Python's rules of scope."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_OWN_SCOPE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_IMPORT = (ast.Import, ast.ImportFrom)


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
    return frozenset(visitor.found)


def bound_by_import(statement: ast.Import | ast.ImportFrom, package: str) -> dict[str, Binding]:
    """Each name that an import binds; raises LookupError for ``import *``, which binds no name that is seen."""
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


@dataclass
class _Visitor(ast.NodeVisitor):
    package: str
    found: set[Use] = field(default_factory=set)
    scopes: list[dict[str, Binding | None]] = field(default_factory=list)
    """Of each function around: the names that it binds, and what those that it imports stand for."""
    in_class: bool = False
    """Whether the statement at hand stands in the body of a class, not in a method."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Decorators and defaults belong to the scope around, the body has its own; annotations do nothing."""
        self._visit_function(node, node.body)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """As `visit_FunctionDef`."""
        self._visit_function(node, node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """As `visit_FunctionDef`."""
        self._visit_function(node, [node.body])

    def _visit_function(self, node: _Function, body: Sequence[ast.AST]) -> None:
        self._visit_all(getattr(node, "decorator_list", ()))
        self._visit_all([*node.args.defaults, *(one for one in node.args.kw_defaults if one is not None)])
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        arguments += [one for one in (node.args.vararg, node.args.kwarg) if one is not None]
        scope: dict[str, Binding | None] = {one.arg: None for one in arguments}
        _bind(body, scope, self.package)
        self._visit_in(scope, body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Names bound in the body of a class hide nothing from its methods; before they are bound, nothing."""
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        before, self.in_class = self.in_class, True
        self._visit_all(node.body)
        self.in_class = before

    def visit_ListComp(self, node: ast.ListComp) -> None:
        """The first iterable belongs to the scope around."""
        self._visit_comprehension(node, [node.elt])

    def visit_SetComp(self, node: ast.SetComp) -> None:
        """As `visit_ListComp`."""
        self._visit_comprehension(node, [node.elt])

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        """As `visit_ListComp`."""
        self._visit_comprehension(node, [node.elt])

    def visit_DictComp(self, node: ast.DictComp) -> None:
        """As `visit_ListComp`."""
        self._visit_comprehension(node, [node.key, node.value])

    def _visit_comprehension(self, node: _Comprehension, results: Sequence[ast.expr]) -> None:
        first, *others = node.generators
        self.visit(first.iter)
        scope: dict[str, Binding | None] = {}
        _bind([one.target for one in node.generators], scope, self.package)
        inner: list[ast.AST] = [*first.ifs, *others, *results]
        self._visit_in(scope, inner)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """The annotation of a field decides what pydantic and dataclasses make; of a variable, nothing."""
        self._visit_all([node.target, *([node.value] if node.value else [])])
        if self.in_class:
            self.visit(node.annotation)

    def visit_If(self, node: ast.If) -> None:
        """What only a type checker sees never runs."""
        self._visit_all(node.orelse if is_for_types(node.test) else [node.test, *node.body, *node.orelse])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """A chain ``name.attribute.attribute`` is one use."""
        attributes: list[str] = []
        base: ast.expr = node
        while isinstance(base, ast.Attribute):
            attributes.insert(0, base.attr)
            base = base.value
        if isinstance(base, ast.Name):
            self._use(base.id, tuple(attributes))
        else:
            self.visit(base)

    def visit_Name(self, node: ast.Name) -> None:
        """A name that is read; one that is bound uses nothing."""
        if isinstance(node.ctx, ast.Load):
            self._use(node.id, ())

    def _use(self, name: str, attributes: tuple[str, ...]) -> None:
        for scope in reversed(self.scopes):
            if name in scope:
                if (binding := scope[name]) is not None:
                    self.found.add(Use(name, attributes, binding))
                return
        self.found.add(Use(name, attributes))

    def _visit_in(self, scope: dict[str, Binding | None], nodes: Sequence[ast.AST]) -> None:
        before, self.in_class = self.in_class, False
        self.scopes.append(scope)
        self._visit_all(nodes)
        self.scopes.pop()
        self.in_class = before

    def _visit_all(self, nodes: Sequence[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)


def _bind(nodes: Sequence[ast.AST], scope: dict[str, Binding | None], package: str) -> None:
    """Add every name that these nodes bind in the scope that they stand in."""
    elsewhere: set[str] = set()
    for node in _of_scope(nodes):
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                scope.setdefault(node.id, None)
        elif isinstance(node, _IMPORT):
            scope.update(bound_by_import(node, package))
        elif isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere.update(node.names)
        else:
            # Of functions, classes, exceptions and patterns.
            name = getattr(node, "name", None) or getattr(node, "rest", None)
            if isinstance(name, str):
                scope.setdefault(name, None)
    for name in elsewhere:
        scope.pop(name, None)


def _of_scope(nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Nodes below these that stand in the same scope; of a comprehension only what ``:=`` binds."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, _COMPREHENSION):
            yield from (one.target for one in ast.walk(node) if isinstance(one, ast.NamedExpr))
        elif not isinstance(node, (*_OWN_SCOPE, *_IMPORT)):
            for name in node._fields:
                value = getattr(node, name, None)
                if isinstance(value, ast.AST):
                    waiting.append(value)
                elif isinstance(value, list):
                    waiting += [one for one in value if isinstance(one, ast.AST)]
