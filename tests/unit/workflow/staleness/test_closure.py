"""What a function can run is found by its names, in Python's scopes, and nothing else changes its digest."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from anarchy.workflow.staleness.closure import Package
from anarchy.workflow.staleness.names import dump, uses

FILES = {
    "__init__.py": "",
    "main.py": '''
        from __future__ import annotations
        from typing import TYPE_CHECKING
        from pack import theory
        from pack.parts import mean as average
        from pack.registry import MAKERS
        if TYPE_CHECKING:
            from pack.typed import Typed

        FACTOR = 2

        def run(value: Typed, *, times=FACTOR) -> Typed:
            """Run it."""
            from .late import finish
            return finish(average(value) * theory.price(times))

        def choose(design):
            return MAKERS[design]()

        def inspect():
            return [getattr(theory, name).__doc__ for name in dir(theory)]

        def unused():
            return theory.other()

        if __name__ == "__main__":
            unused()
    ''',
    "theory.py": '''
        def price(x):
            """The price of x."""
            return _helper(x)

        def _helper(x):
            # It adds one.
            return x + 1

        def other():
            return 0
    ''',
    "late.py": """
        class Base:
            def method(self):
                return LIMIT

        class Field(Base):
            kind: "int" = 0
            part: Part = None

        class Part:
            pass

        LIMIT = 3

        def finish(x):
            return Field().method() + x
    """,
    "parts/__init__.py": "from pack.parts.numbers import mean\nfrom pack.parts.words import say\n",
    "parts/numbers.py": "import statistics\ndef mean(x):\n    return statistics.mean(x)\n",
    "parts/words.py": "def say():\n    return 'said'\n",
    "typed.py": "class Typed:\n    pass\n",
    "registry.py": """
        from pack.parts.words import say
        from pack.theory import other
        MAKERS = {"words": say, "theory": lambda: other()}
    """,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "pack"
    for name, text in FILES.items():
        lines = text.splitlines()
        indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        file = package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(line[indent:] for line in lines))
    return package


def parts(folder: Path, function: str) -> set[str]:
    return set(Package(folder).closure([f"pack.main:{function}"]).parts)


RUN = {
    *("pack.main:run", "pack.main:FACTOR", "pack.late:finish", "pack.late:Field", "pack.late:Base"),
    *("pack.late:Part", "pack.late:LIMIT", "pack.parts.numbers:mean", "pack.theory:price"),
    "pack.theory:_helper",
}
"""Through a default, a late relative import, a base class, a field's annotation, a re-export and a module."""


def test_names_lead_to_every_definition_and_to_no_other(folder: Path) -> None:
    assert parts(folder, "run") == RUN


def test_of_a_dictionary_every_entry_is_followed(folder: Path) -> None:
    made = {"pack.parts.words:say", "pack.theory:other"}
    assert parts(folder, "choose") == {"pack.main:choose", "pack.registry:MAKERS", *made}


def digests(folder: Path) -> dict[str, str]:
    package = Package(folder)
    closures = {name: package.closure([f"pack.main:{name}"]) for name in ("run", "choose", "inspect")}
    return {name: closure.digest for name, closure in closures.items()}


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("theory.py", "x + 1", "x + 2", {"run", "inspect"}),
        ("theory.py", "return 0", "return 1", {"choose", "inspect"}),
        ("theory.py", "# It adds one.", "# It adds 1.", set()),
        ("theory.py", "The price of x.", "What x costs.", {"inspect"}),
        ("theory.py", "return x + 1", "return (x +\n        1)", set()),
        ("main.py", "mean as average", "say as average", {"run"}),
        ("main.py", "FACTOR = 2", "FACTOR = 4", {"run"}),
        ("main.py", "return theory.other()", "return 7", set()),
        ("late.py", "LIMIT = 3", "LIMIT = 4", {"run"}),
        ("late.py", "    pass", "    size = 1", {"run"}),
        ("parts/__init__.py", "numbers import mean", "words import say as mean", {"run"}),
        ("parts/numbers.py", "import statistics", "import other as statistics", {"run"}),
        ("parts/words.py", "'said'", "'told'", {"choose"}),
        ("typed.py", "pass", "size = 1", set()),
        ("registry.py", "lambda: other()", "lambda: other() or 1", {"choose"}),
    ],
)
def test_an_edit_changes_the_digests_of_what_runs_it(
    folder: Path, file: str, old: str, new: str, changed: set[str]
) -> None:
    before = digests(folder)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    after = digests(folder)
    assert {name for name in before if before[name] != after[name]} == changed


def test_what_a_module_does_when_it_is_imported_counts(folder: Path) -> None:
    before = digests(folder)
    (folder / "late.py").write_text((folder / "late.py").read_text() + "\nprint(LIMIT)\n")
    assert digests(folder)["run"] != before["run"]
    assert Package(folder).loose("pack.late") == ["print(LIMIT)"]


def test_a_program_is_followed_from_its_imports(folder: Path) -> None:
    closure = Package(folder).closure_of("from pack import theory\nx = theory.price(1)\nprint(x)")
    assert set(closure.parts) == {"pack.theory:price", "pack.theory:_helper"}


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("main.py", "from pack.theory import gone\ndef run():\n    gone()", "pack.theory has no gone"),
        ("main.py", "from pack.theory import *\ndef run():\n    price()", "name what is imported"),
        ("main.py", "def other():\n    pass", "pack.main defines no run"),
    ],
)
def test_a_name_that_stands_for_nothing_is_an_error(folder: Path, file: str, text: str, words: str) -> None:
    (folder / file).write_text(text)
    with pytest.raises(LookupError, match=words):
        parts(folder, "run")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(a):\n    b = a\n    return b + c", {"c"}),
        ("def f():\n    return a\n    a = 1", set()),
        ("def f():\n    global a\n    a = a + 1", {"a"}),
        ("def f():\n    def g():\n        return a\n    a = 1\n    return g", set()),
        ("def f():\n    return [a for a in a]", {"a"}),
        ("def f():\n    return [b for a in c for b in a], b", {"b", "c"}),
        ("def f():\n    return [b := a for a in c], b", {"c"}),
        ("def f(a=b, *c, d: e = g, **h) -> i:\n    return a, c, d, h", {"b", "g"}),
        ("class A(b):\n    a = c\n    d: e\n    def f(self):\n        return a", {"a", "b", "c", "e"}),
        ("def f():\n    try:\n        a()\n    except b as c:\n        return c", {"a", "b"}),
        ("def f():\n    for a, (b, *c) in d:\n        a, b, c", {"d"}),
        (
            "def f(a):\n  match a:\n    case {1: B(c=d), **e}: return d, e\n    case [*g] as h: return g, h",
            {"B"},
        ),
        ("def f():\n    a: b = c\n    return lambda a, d=e: (a, d, f)", {"c", "e", "f"}),
        ("def f():\n    if TYPE_CHECKING:\n        a()\n    else:\n        b()", {"b"}),
        ("def f():\n    return a.b.c, d().e", {"a.b.c", "d"}),
        (
            "def f():\n    from .x import y as z\n    import q.r\n    return z.a, q.r.s, y",
            {"p.x.y", "q", "y"},
        ),
    ],
)
def test_names_are_found_by_the_rules_of_scope(source: str, expected: set[str]) -> None:
    found = uses(ast.parse(source).body[0], "p")
    assert {str(use.binding or ".".join((use.name, *use.attributes))) for use in found} == expected


def test_different_trees_read_differently() -> None:
    sources = [
        "f(a, b)",
        "f((a, b))",
        "f(a)(b)",
        "f(a, *b)",
        "f(a, b=b)",
        "f[a, b]",
        "f(a, 'b')",
        "f([], a, b)",
    ]
    assert len({dump(ast.parse(source)) for source in sources}) == len(sources)
    assert dump(ast.parse("f( a,b ) # it")) == dump(ast.parse("f(a, b)"))
