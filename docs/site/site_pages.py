"""Pages of the docs as the site needs them: Markdown in, Markdown out.

The pages are written to be read in the repository. On the site a link to a file outside of docs/ would lead
nowhere, so it becomes a link to the code's reference, to the repository's address where the project names
one, or the file's path. The map, index.md, becomes the navigation. A diagram that a script would have to
draw becomes a table.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

REFERENCE: Final = "api"
"""Folder of the pages that are made from the code's docstrings."""
INDEX: Final = "index"
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])+)\]\((\.\./[^)\s]+)\)")
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
ENTRY = re.compile(r"^- \[([^\]]+)\]\(([\w-]+)\.md\)", re.MULTILINE)
FIELD = re.compile(r"(?:Shapes|Units|Errors|Source|Sources|Raises)\b.*?:")
SPECIAL = re.compile(r"([\\*|]|_(?!\w)|`)")
ARROW = re.compile(r"^\s*(\w+) --> (\w+)$", re.MULTILINE)


def for_site(page: str, text: str, address: str | None = None) -> str:
    """A page as the site shows it; `address` is the repository's, None where the project names none."""
    text = outside_fences(text, lambda part: relinked(part, address))
    text = FENCE.sub(lambda fence: _drawn(fence.group()), text)
    return f"{text}\n{toctrees(navigation(text))}" if page == INDEX else text


def repository(project: Path) -> str | None:
    """The repository's address, as pyproject.toml or CITATION.cff names it."""
    urls = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
    cited = re.search(
        r"^repository-code:\s*\"?([^\s\"]+)", (project / "CITATION.cff").read_text("utf-8"), re.MULTILINE
    )
    found = urls.get("Repository") or (cited and cited.group(1))
    return str(found).rstrip("/") if found else None


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """Change what stands outside of fenced code."""
    return "".join(part if part.startswith("```") else change(part) for part in FENCE.split(text))


def relinked(text: str, address: str | None) -> str:
    """Links that leave docs/ as the site can follow them, or as plain paths."""

    def replaced(link: re.Match[str]) -> str:
        name, target = link.groups()
        path, _, anchor = target.removeprefix("../").partition("#")
        code = re.fullmatch(r"`(\w+)`", name)
        if code and path.startswith("scripts/anarchy/") and path.endswith(".py"):
            module = path.removeprefix("scripts/").removesuffix(".py").replace("/", ".")
            return f"{{py:obj}}`{code.group(1)} <{module.removesuffix('.__init__')}.{code.group(1)}>`"
        if address:
            return f"[{name}]({address}/blob/main/{path}{'#' * bool(anchor)}{anchor})"
        plain = name.strip("`")
        return f"`{path}`" if path.endswith(plain) else f"{name} (`{path}`)"

    return LINK.sub(replaced, text)


def navigation(index: str) -> dict[str, dict[str, str]]:
    """Sections of the map -> their pages and what the map calls them; sections without pages are left out."""
    _, *parts = SECTION.split(index)
    found = {
        section: {page: title for title, page in ENTRY.findall(part)}
        for section, part in zip(parts[::2], parts[1::2], strict=True)
    }
    return {section: pages for section, pages in found.items() if pages}


def toctrees(sections: dict[str, dict[str, str]]) -> str:
    """The navigation in MyST's words; the code's reference closes the section of that name."""
    lines = []
    for section, pages in sections.items():
        entries = [f"{title} <{page}>" for page, title in pages.items()]
        if section == "Reference":
            entries.append(f"The code <{REFERENCE}/anarchy/index>")
        lines += ["```{toctree}", ":hidden:", f":caption: {section}", "", *entries, "```", ""]
    return "\n".join(lines)


def docstring(lines: list[str]) -> list[str]:
    """A docstring of this project as reStructuredText: paragraphs, items, indented formulas, code spans."""
    groups: list[tuple[str, list[str]]] = []
    before = ""
    for line in lines:
        kind = _kind(line)
        if kind == "formula" and before == "item":
            groups[-1][1].append(line.strip())
        elif kind == before and kind in {"formula", "text"} and not FIELD.match(line):
            groups[-1][1].append(line)
        else:
            before = kind
            groups.append((kind, [line]))
    return [line for kind, group in groups for line in _restructured(kind, group)]


def _kind(line: str) -> str:
    if not line.strip():
        return "blank"
    if line.startswith("- "):
        return "item"
    return "formula" if line.startswith(" ") else "text"


def _restructured(kind: str, group: list[str]) -> list[str]:
    if kind == "blank":
        return []
    if kind == "formula":
        return ["::", "", *group, ""]
    return ["- " * (kind == "item") + " ".join(map(_inline, group)).removeprefix("- "), ""]


def _inline(line: str) -> str:
    parts = re.split(r"(``?[^`]+``?)", line)
    return "".join(
        f"``{one.strip('`')}``" if i % 2 else SPECIAL.sub(r"\\\1", one) for i, one in enumerate(parts)
    )


def _drawn(fence: str) -> str:
    """A diagram of arrows as a table; other fences as they are."""
    if not fence.startswith("```mermaid"):
        return fence
    arrows: dict[str, list[str]] = {}
    for begin, end in ARROW.findall(fence):
        arrows.setdefault(begin, []).append(end)
    rows = [
        f"| `{begin}` | {', '.join(f'`{end}`' for end in ends)} |" for begin, ends in sorted(arrows.items())
    ]
    return "\n".join(["| from | to |", "|---|---|", *rows])
