"""Figures, tables and links as the page shows them."""

from __future__ import annotations

# Plotting is slow to load and every call of Snakemake reads this module: it is imported where it is used.
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from anarchy.designs.registry import design_of
from anarchy.designs.showing import figures_of
from anarchy.ground.layout import Layout
from anarchy.report.findings import find
from anarchy.tables import System

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Links = tuple[tuple[tuple[str, str], ...], str]
"""Relative links to the files that exist, and the names of those that do not."""


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it: wide, narrow for a small screen, and in words."""

    wide: str
    narrow: str
    double: bool
    alt: str
    reading: str
    links: tuple[tuple[str, str], ...]
    missing: str


def pictures(layout: Layout, system: System) -> list[Picture]:
    """Every figure of one system, drawn from its estimates, so that page and files agree."""
    from anarchy.figures import drawing, style

    drawings = figures_of(system)
    drawn, small = drawing.draw(system, drawings), drawing.draw(system, drawings, style.SINGLE)
    return [_picture(layout, system, name, figure, small[name]) for name, figure in drawn.items()]


def _picture(layout: Layout, system: System, name: str, wide: Figure, narrow: Figure) -> Picture:
    from anarchy.figures import style

    kind, _, workload = name.partition("_")
    workload = workload or next(iter(system.info["workloads"]))
    double = wide.get_figwidth() >= style.DOUBLE
    design = design_of(system.design)
    reading = design.figures[kind]
    folder, stem = layout.figures(system.experiment), "_".join((*system.key, name))
    found, missing = links(
        layout,
        [
            layout.notebook(system.experiment, *system.key),
            *(folder / f"{stem}.{suffix}" for suffix in style.SUFFIXES),
            system.folder / f"{design.shows.get(kind, design.main)}.parquet",
        ],
    )
    return Picture(
        wide=data_uri(style.render(wide, "svg", system.rows)),
        narrow=data_uri(style.render(narrow, "svg", system.rows)) if double else "",
        double=double,
        alt=f"{reading} {find(system, workload)}",
        reading=reading,
        links=found,
        missing=missing,
    )


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
