"""Figures, tables and links as the page shows them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from anarchy.designs.registry import design_of
from anarchy.ground.layout import FIGURE_SUFFIXES, NARROW, Layout
from anarchy.report.findings import find
from anarchy.tables import System

Links = tuple[tuple[tuple[str, str], ...], str]
"""Relative links to the files that exist, and the names of those that do not."""


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it: wide, narrow for a small screen, and in words."""

    wide: str
    """Empty where nobody drew it."""
    narrow: str
    double: bool
    alt: str
    reading: str
    links: tuple[tuple[str, str], ...]
    missing: str


def pictures(layout: Layout, system: System) -> list[Picture]:
    """Every figure of one system, as its notebook saved it."""
    design, workloads = design_of(system.design), list(system.info["workloads"])
    return [
        _picture(layout, system, name, workload, first=place == 0)
        for place, workload in enumerate(workloads)
        for name in design.figures
        if workload in design.drawn(name, workloads)
    ]


def _picture(layout: Layout, system: System, name: str, workload: str, *, first: bool) -> Picture:
    design = design_of(system.design)
    reading = design.figures[name]
    stem = layout.figures(system.experiment) / "_".join((*system.key, name, *([] if first else [workload])))
    return embedded(
        layout,
        stem,
        alt=f"{reading} {find(system, workload)}",
        reading=reading,
        beside=(
            layout.notebook(system.experiment, *system.key),
            system.folder / f"{design.shows.get(name, design.main)}.parquet",
        ),
    )


def embedded(layout: Layout, stem: Path, *, alt: str, reading: str, beside: Sequence[Path] = ()) -> Picture:
    """The figure whose files begin with ``stem``; ``beside``: what else its reader may want to open."""
    files = {suffix: stem.with_name(f"{stem.name}.{suffix}") for suffix in (*FIGURE_SUFFIXES, NARROW)}
    wide, narrow = (_bytes(files[suffix]) for suffix in ("svg", NARROW))
    double = narrow != wide
    found, missing = links(layout, [*beside[:1], *(files[suffix] for suffix in FIGURE_SUFFIXES), *beside[1:]])
    return Picture(
        wide=data_uri(wide) if wide else "",
        narrow=data_uri(narrow) if narrow and double else "",
        double=double,
        alt=alt,
        reading=reading,
        links=found,
        missing=missing,
    )


def _bytes(file: Path) -> bytes:
    """Content of a file; empty where there is none."""
    return file.read_bytes() if file.is_file() else b""


def plain(words: pd.DataFrame) -> dict[str, Any]:
    """A table of text for the template: headings, rows, and which columns hold numbers."""
    numeric = [any(str(value)[:1].isdigit() for value in words[name]) for name in words]
    return {
        "head": [str(name) for name in words],
        "rows": words.astype(str).to_numpy().tolist(),
        "numeric": numeric,
    }


def links(layout: Layout, paths: Sequence[Path]) -> Links:
    """Relative links to the files that exist, and the names of those that do not."""
    base = layout.report.parent
    names: Mapping[str, str] = {".ipynb": "notebook", ".parquet": "data"}
    there, gone = [], []
    for path in paths:
        name = names.get(path.suffix, path.suffix[1:].upper())
        if path.is_file():
            there.append((name, Path(os.path.relpath(path, base)).as_posix()))
        else:
            gone.append(name)
    return tuple(there), ", ".join(gone)


def data_uri(svg: bytes) -> str:
    """An SVG as the source of an image: smaller than base64, without what the eye does not need."""
    text = _without_ballast(svg.decode()).replace("%", "%25").replace("#", "%23")
    return "data:image/svg+xml," + text.replace('"', "%22" if "'" in text else "'")


def _without_ballast(svg: str) -> str:
    """The same picture in fewer characters: numbers to what is seen, short names, no comments."""
    text = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text.replace("xlink:href", "href"))
    names = dict.fromkeys(re.findall(r' id="([^"]*)"', text))
    short = {name: f"i{place:x}" for place, name in enumerate(names)}
    text = re.sub(
        r'( id="|href="#|url\(#)([^")]*)', lambda found: found[1] + short.get(found[2], found[2]), text
    )
    text = re.sub(r"([:;]) (?=[a-z0-9#.-])", r"\1", text)
    text = re.sub(r"([1-9]\d*\.\d\d)\d+", r"\1", text)
    return re.sub(r"(?<=>) (?=<)", "", re.sub(r"\s+", " ", text)).strip()
