"""The tables and figures of the paper, each with what of ours answers it, or the reason why nothing does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, model_validator

from anarchy.config import Strict
from anarchy.config.files import load_block
from anarchy.config.values import refusal
from anarchy.designs.registry import design_of, designs
from anarchy.ground.layout import PROJECT

ELEMENTS_FILE: Final = PROJECT / "data" / "paper" / "elements.yaml"
DOCS: Final = PROJECT / "docs"

TABLES, FIGURES = 8, 7
"""How many the paper has."""


def _design(name: str) -> str:
    known = [design.name for design in designs()]
    if name not in known:
        raise refusal(f"there is no design {name!r}", f"known: {', '.join(known)}")
    return name


def _page(name: str) -> str:
    if not (DOCS / name).is_file():
        known = sorted(file.name for file in DOCS.glob("*.md"))
        raise refusal(f"there is no page {name!r} in docs", f"known: {', '.join(known)}")
    return name


class Output(Strict):
    """An output of ours: a figure or a table of a design, or a page of docs."""

    design: Annotated[str, AfterValidator(_design)] | None = None
    figure: str | None = None
    table: str | None = None
    """The empty name is the design's main table."""
    page: Annotated[str, AfterValidator(_page)] | None = None

    @model_validator(mode="after")
    def _there(self) -> Output:
        named = [self.figure is not None, self.table is not None, self.page is not None]
        if sum(named) != 1 or (self.design is None) != (self.page is not None):
            raise refusal(
                "is no output", "name a design with one of its figures or tables, or a page of docs"
            )
        if self.design is None:
            return self
        for kind, name, known in (
            ("figure", self.figure, design_of(self.design).figures),
            ("table", self.table, design_of(self.design).tables),
        ):
            if name is not None and name not in known:
                names = ", ".join(one or '""' for one in known)
                raise refusal(f"design {self.design!r} has no {kind} {name!r}", f"known: {names}")
        return self


class Element(Strict):
    """One table or figure of the paper."""

    id: Annotated[str, Field(pattern=r"^(Table|Figure) [1-9]$")]
    shows: str = ""
    """In our own words; empty where it is not known to us."""
    outputs: tuple[Output, ...] = ()
    reason: str = ""
    """Why no output of ours is named."""

    @model_validator(mode="after")
    def _output_or_reason(self) -> Element:
        if bool(self.outputs) == bool(self.reason):
            raise refusal(f"{self.id} has outputs and a reason, or neither", "give one of both")
        if self.outputs and not self.shows:
            raise refusal(f"{self.id} has outputs and does not say what it shows", "add shows: to it")
        return self


class Elements(Strict):
    """All tables and figures of the paper."""

    elements: tuple[Element, ...]

    @model_validator(mode="after")
    def _each_once(self) -> Elements:
        wanted = [f"Table {n + 1}" for n in range(TABLES)] + [f"Figure {n + 1}" for n in range(FIGURES)]
        found = [element.id for element in self.elements]
        if sorted(found) != sorted(wanted):
            lacking, more = sorted({*wanted} - {*found}), sorted({*found} - {*wanted})
            twice = sorted({one for one in found if found.count(one) > 1})
            told = (("missing", lacking), ("not in the paper", more), ("there twice", twice))
            what = "; ".join(f"{word}: {', '.join(ids)}" for word, ids in told if ids)
            raise refusal(what, f"name each of {TABLES} tables and {FIGURES} figures once")
        return self


def load_elements(file: Path = ELEMENTS_FILE) -> tuple[Element, ...]:
    """Read them; raises UserError naming file, key and remedy for what does not hold."""
    return load_block(file, Elements).elements
