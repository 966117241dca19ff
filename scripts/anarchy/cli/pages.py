"""Parts of the documentation that are made from the code: diagram, tables, ranges, what recorded runs say.

``python -m anarchy.cli.pages`` writes them, ``drift`` says what differs; tests keep both equal.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel

from anarchy.claims.verdicts import load
from anarchy.cli import appendix, recorded
from anarchy.designs.registry import designs
from anarchy.estimate.frames import sentence_of, unit_of
from anarchy.ground.layout import PROJECT

DOCS: Final = PROJECT / "docs"
BEGIN, END = "<!-- made by anarchy.cli.pages: {} -->\n", "<!-- end -->\n"
PACKAGE: Final = Path(__file__).parents[1]


def rooms(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Each room of the package -> the rooms that it imports."""
    names = {path.stem for path in package.iterdir() if path.name != "__init__.py" and _is_code(path)}
    return {
        room: {other for file in _files(package, room) for other in _imported(file) if other != room} & names
        for room in sorted(names)
    }


def _is_code(path: Path) -> bool:
    return path.suffix == ".py" or (path / "__init__.py").is_file()


def _files(package: Path, room: str) -> Iterator[Path]:
    single = package / f"{room}.py"
    yield from [single] if single.is_file() else sorted((package / room).rglob("*.py"))


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        if node.module == PACKAGE.name:
            yield from (name.name for name in node.names)
        elif node.module.startswith(f"{PACKAGE.name}."):
            yield node.module.split(".")[1]


def shortest(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that no longer way stands for: without those that follow from others."""
    below: dict[str, set[str]] = {}

    def reach(room: str) -> set[str]:
        if room not in below:
            below[room] = set(chain.from_iterable({other, *reach(other)} for other in graph[room]))
        return below[room]

    return {
        room: {one for one in others if not any(one in reach(other) for other in others - {one})}
        for room, others in graph.items()
    }


def diagram() -> str:
    """The rooms as a graph: an arrow from a room to one that it imports, those left out that follow."""
    arrows = [
        f"  {room} --> {other}" for room, others in shortest(rooms()).items() for other in sorted(others)
    ]
    return "\n".join(["```mermaid", "graph TD", *arrows, "```", ""])


def estimates() -> str:
    """Every table and document of every design, with types, units and sentences."""
    lines: list[str] = []
    said: dict[int, str] = {}
    for design in designs():
        lines += [f"## {design.name}: {design.id}, {design.title}", ""]
        for stem, schema in design.part("columns").TABLES.items():
            lines += [f"### {stem}.parquet, {design.name}", ""]
            if id(schema) in said:
                lines += [
                    f"As [{said[id(schema)]}](#{said[id(schema)].replace('.', '').replace(', ', '-')}).",
                    "",
                ]
                continue
            said[id(schema)] = f"{stem}.parquet, {design.name}"
            lines += [
                f"A row is {sentence_of(schema)}.",
                "",
                "| column | type | unit | what |",
                "|---|---|---|---|",
            ]
            lines += [
                f"| `{column.name}` | {_type(column.type)} | {unit_of(column)} | {sentence_of(column)} |"
                for column in schema
                if not column.name.endswith(("_lo", "_hi"))
            ]
            lines.append("")
        lines += [f"### system.json, {design.name}", "", *_document(design.part("document").DOCUMENT), ""]
    return "\n".join(lines)


def _type(kind: Any) -> str:
    words = {"large_string": "text", "double": "number", "int64": "whole number", "bool": "yes or no"}
    return words.get(str(kind), "list of numbers")


def _document(model: type[BaseModel]) -> list[str]:
    """A document and the parts in it, each once."""
    lines, waiting, seen = list[str](), [model], {model}
    while waiting:
        one = waiting.pop(0)
        lines += [
            f"**{one.__name__}**: {(one.__doc__ or '').strip()}",
            "",
            "| key | type | what |",
            "|---|---|---|",
        ]
        for name, field in one.model_fields.items():
            what = " ".join((field.description or "").split())
            lines.append(f"| `{field.alias or name}` | {_words(field.annotation)} | {what} |")
            for part in _parts(field.annotation):
                if part not in seen:
                    seen.add(part)
                    waiting.append(part)
        lines.append("")
    return lines[:-1]


def _parts(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)


def _words(annotation: Any) -> str:
    """A type as people read it."""
    plain = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "yes or no",
        type(None): "null",
        Any: "any",
    }
    if annotation in plain:
        return plain[annotation]
    arguments = [_words(argument) for argument in get_args(annotation) if argument is not Ellipsis]
    origin = get_origin(annotation)
    if origin is dict:
        return f"object of {arguments[1]}"
    if origin is list:
        return f"list of {arguments[0]}"
    if origin is tuple:
        return f"[{', '.join(arguments)}]"
    if arguments:
        return " or ".join(arguments)
    return annotation.__name__ if isinstance(annotation, type) else f"`{annotation}`"


def ranges() -> str:
    """What each claim's numbers are held against, and where every widening comes from."""
    lines = ["| claim | published | held against | widened by | because |", "|---|---|---|---|---|"]
    for claim in load().claims:
        published = claim.published
        held = "the rule alone"
        if published.lo is not None and published.hi is not None:
            held = " to ".join(dict.fromkeys(f"{end:g}" for end in (published.lo, published.hi)))
        if published.systems:
            own = (f"{one.value:g} on {one.model} {one.topology}" for one in published.systems)
            held += "; " + ", ".join(own)
        if published.ratios:
            held = ", ".join(f"{one.quantity} {one.value:g}" for one in published.ratios)
        if claim.negligible:
            held = f"a margin of {claim.negligible:.0%}, ours"
        wider = [f"{claim.tolerance:.0%}"] if claim.tolerance else []
        wider += [f"{one.tolerance:.0%} ({one.quantity})" for one in published.ratios if one.tolerance]
        cells = (claim.id, published.text, held, ", ".join(wider) or "nothing", claim.tolerance_reason)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


PAGES: Final[dict[str, dict[str, Callable[[], str]]]] = {
    "architecture.md": {"rooms": diagram},
    "estimates.md": {"estimates": estimates},
    "claims.md": {"ranges": ranges},
    "../README.md": {
        "verdicts": recorded.verdicts,
        "expected": recorded.expected,
        "expected-live": recorded.expected_live,
    },
    "appendix.md": appendix.PARTS,
}
"""Page -> part of it -> what makes the part."""


def made(text: str, parts: dict[str, Any]) -> str:
    """A page with its parts as the code has them now; raises ValueError where a part has no place in it."""
    for name, make in parts.items():
        begin = BEGIN.format(name)
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(END)
        if not found or not closed:
            raise ValueError(f"there is no place for {name}: a line {begin.strip()} and a line {END.strip()}")
        text = f"{before}{begin}\n{make().rstrip()}\n\n{END}{after}"
    return text


def drift(docs: Path = DOCS) -> list[str]:
    """Pages that are not as the code has them; run ``make pages``."""
    pages = {name: (docs / name).read_text(encoding="utf-8") for name in PAGES}
    return [name for name, text in pages.items() if made(text, PAGES[name]) != text]


def write(docs: Path = DOCS) -> list[Path]:
    """Bring every page up to date."""
    for name, parts in PAGES.items():
        file = docs / name
        file.write_text(made(file.read_text(encoding="utf-8"), parts), encoding="utf-8")
    return [docs / name for name in PAGES]


if __name__ == "__main__":
    for written in write(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS):
        print(written)
