"""What the steps after a measurement are made by, each as a word that changes when it does.

A word begins with what it is about: Snakemake compares the words of a job as a set, and shows what differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import yaml

from anarchy.designs.registry import designs
from anarchy.ground.plugins import parts
from anarchy.workflow.staleness.closure import Package, digest_of

COMMANDS = "anarchy.cli.main"
"""Module of the functions that the command line calls: ``_system`` for `anarchy system`."""
EXECUTES = "anarchy.workflow.notebooks:main"
"""What executes a notebook."""
READ: Final = ("columns:TABLES", "document:DOCUMENT", "design:DESIGN")
"""What reading the estimates of a design takes of its folder."""
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "system": ("tier:TIER", "estimate:estimate", *READ),
    "notebook": READ,
    "claims": READ,
    "report": ("tables:TABLES", "findings:parts", "findings:notes", *READ),
}
"""What a step takes of a design's folder, by a name that is put together when it runs, which no name in the
code leads to."""


RULES: Final = "anarchy.claims.rules"
"""Room of the rules that judge, which are found by looking as well."""


def parts_of(step: str, design: str = "") -> list[str]:
    """Those parts, of one design or of every design, as roots of a closure."""
    names = [design] if design else [one.name for one in designs()]
    roots = [f"anarchy.designs.{name}.{part}" for name in names for part in PARTS[step]]
    roots += found("anarchy.engines", "ENGINE")  # how one is started decides no estimate
    if step == "report":
        roots += found("anarchy.gates", "GATE")
        answering = [one.name for one in designs() if hasattr(one.part("findings"), "answer")]
        roots += [f"anarchy.designs.{name}.findings:answer" for name in names if name in answering]
    if step == "claims":
        roots += [*found(RULES, "RULES"), *found(RULES, "NOTES")]
    return roots


def found(package: str, name: str) -> list[str]:
    """Objects of a name in the modules of a package: found by looking, so that no name leads to them."""
    return [f"{package}.{stem}:{name}" for stem, module in parts(package).items() if hasattr(module, name)]


def roots_of(command: str, design: str = "") -> list[str]:
    """What the code of a command is followed from."""
    return [f"{COMMANDS}:_{command}", *parts_of(command, design)]


@dataclass(frozen=True)
class Sources:
    """Code and data of one checkout, read once."""

    project: Path

    def command(self, name: str, design: str = "") -> str:
        """The code of the command `anarchy name`; with ``design``, for one design alone."""
        return _word("code", self._package.closure(roots_of(name, design)).digest)

    def notebook_code(self, file: Path, design: str) -> str:
        """The code that the cells of a notebook call, of this design, and what executes the notebook."""
        cells = self._package.closure_of("\n".join(python_of(file)))
        rest = self._package.closure([EXECUTES, *parts_of("notebook", design)])
        return _word("code", [cells.digest, rest.digest])

    def notebook(self, file: Path) -> str:
        """A notebook's cells as they are written; outputs and metadata are left out, but tags count."""
        cells = [
            (cell["cell_type"], "".join(cell["source"]), cell["metadata"].get("tags", []))
            for cell in _cells(file)
        ]
        return _word("notebook", cells)

    @cached_property
    def environment(self) -> str:
        """The versions of what the package is run with."""
        lines = (self.project / "envs" / "driver.lock").read_text(encoding="utf-8").splitlines()
        return _word("environment", [words for line in lines if (words := line.partition("#")[0].strip())])

    @cached_property
    def templates(self) -> str:
        """What the report is filled into; a comment of the template's own counts for nothing."""
        import jinja2  # the rules of a measurement need no template

        files = sorted(self._folder.rglob("*.j2"))
        trees = [jinja2.Environment().parse(file.read_text(encoding="utf-8")) for file in files]  # noqa: S701
        return _word("template", [repr(tree) for tree in trees])

    @cached_property
    def published(self) -> str:
        """The claims of the paper, their values and how they are judged."""
        files = sorted((self.project / "data" / "paper").glob("*.yaml"))
        return _word("published", [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files])

    @property
    def _folder(self) -> Path:
        return self.project / "scripts" / "anarchy"

    @cached_property
    def _package(self) -> Package:
        return Package(self._folder)


def _word(about: str, document: Any) -> str:
    return f"{about} {document if isinstance(document, str) else digest_of(document)}"


def _cells(notebook: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return cells


def python_of(notebook: Path) -> Iterator[str]:
    """Lines of the code cells that are Python; what begins with % or ! is IPython's own."""
    for cell in _cells(notebook):
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            yield from (line for line in lines if not line.lstrip().startswith(("%", "!")))
