"""Figures, tables and links as the page shows them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pandas as pd

from anarchy.config import KNEE_WORKLOAD
from anarchy.designs.registry import design_of
from anarchy.ground.layout import FIGURE_SUFFIXES, NARROW, Layout
from anarchy.report.findings import find
from anarchy.tables import System

Links = tuple[tuple[tuple[str, str], ...], str]
"""Relative links to the files that exist, and the names of those that do not."""
Point = tuple[Decimal, Decimal]

_ORIGIN: Final[Point] = (Decimal(0), Decimal(0))
_POINTS: Final = {"M": 1, "L": 1, "Q": 2, "C": 3}
"""Command of a path, in absolute points -> how many of them it takes."""


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it: wide, narrow for a small screen, and in words."""

    name: str
    """Stem of its files, which names it on the page."""
    wide: str
    """Empty where nobody drew it; the narrow one where the page has no room for the wide."""
    narrow: str
    double: bool
    alt: str
    reading: str
    links: tuple[tuple[str, str], ...]
    missing: str


def pictures(layout: Layout, system: System, *, alone: bool) -> tuple[list[Picture], list[Picture]]:
    """The figure that answers the experiment's question, and every other of one system.

    The first is that of the workload whose knee is known, where there is one. ``alone``: no other system's
    stands beside it, so there is room for the wide one.
    """
    design, workloads = design_of(system.design), list(system.info["workloads"])
    key = design.key or next(iter(design.figures))
    drawn = [
        (name, workload)
        for workload in workloads
        for name in design.figures
        if workload in design.drawn(name, workloads)
    ]
    answering = [one for one in drawn if one[0] == key]
    best = (key, KNEE_WORKLOAD) if (key, KNEE_WORKLOAD) in answering else answering[0]

    def shown(name: str, workload: str) -> Picture:
        first = workload == workloads[0]
        return _picture(layout, system, name, workload, first=first, wide=alone and (name, workload) == best)

    return [shown(*best)], [shown(*one) for one in drawn if one != best]


def _picture(layout: Layout, system: System, name: str, workload: str, *, first: bool, wide: bool) -> Picture:
    design = design_of(system.design)
    reading = design.figures[name]
    stem = layout.figures(system.experiment) / "_".join((*system.key, name, *([] if first else [workload])))
    return embedded(
        layout,
        stem,
        alt=f"{reading} {find(system, workload)}",
        reading=reading,
        wide=wide,
        beside=(
            layout.notebook(system.experiment, *system.key),
            system.folder / f"{design.shows.get(name, design.main)}.parquet",
        ),
    )


def embedded(
    layout: Layout, stem: Path, *, alt: str, reading: str, wide: bool = True, beside: Sequence[Path] = ()
) -> Picture:
    """The figure whose files begin with ``stem``; ``beside``: what else its reader may want to open.

    ``wide``: with the figure of two columns, else that of one alone, which takes half the space in the file.
    """
    files = {suffix: stem.with_name(f"{stem.name}.{suffix}") for suffix in (*FIGURE_SUFFIXES, NARROW)}
    narrow = _bytes(files[NARROW])
    broad = _bytes(files["svg"]) if wide else narrow
    double = narrow != broad
    found, missing = links(layout, [*beside[:1], *(files[suffix] for suffix in FIGURE_SUFFIXES), *beside[1:]])
    return Picture(
        name=stem.name,
        wide=data_uri(broad) if broad else "",
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
    """An SVG as the source of an image: smaller than base64, without what the eye does not need.

    It holds neither a double quote nor an ampersand, so that it can stand in an attribute as it is.
    """
    text = _without_ballast(svg.decode()).replace("%", "%25").replace("#", "%23").replace("&", "%26")
    return "data:image/svg+xml," + text.replace('"', "%22" if "'" in text else "'")


def _without_ballast(svg: str) -> str:
    """The same picture in fewer characters: short names and numbers, each style once, no comments."""
    text = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text.replace("xlink:href", "href"))
    names = dict.fromkeys(re.findall(r' id="([^"]*)"', text))
    short = {name: f"i{place:x}" for place, name in enumerate(names)}
    text = re.sub(
        r'( id="|href="#|url\(#)([^")]*)', lambda found: found[1] + short.get(found[2], found[2]), text
    )
    text = re.sub(r"([:;]) (?=[a-z0-9#.-])", r"\1", text)
    text = re.sub(r"\b(\d\d+\.\d)\d+", r"\1", text)
    text = re.sub(r"\b([1-9]\.\d\d)\d+", r"\1", text)
    text = re.sub(r"\b(\d+)\.0+(?=[\"\s,)])", r"\1", text)
    text = re.sub(r' d="([^"]*)" transform="scale\(0\.015625\)"', _glyph, text)
    text = re.sub(r' d="([^"]*)"', lambda found: f' d="{_path(found[1])}"', text)
    text = re.sub(r"(?<=>) (?=<)", "", re.sub(r"\s+", " ", text)).strip()
    text = re.sub(r"<g>(<use [^>]*/>)</g>", r"\1", text)
    # Letters of a line of text: half of most pictures.
    text = re.sub(r'(<use [^>]*) transform="translate\((\S+) 0\)"', r'\1 x="\2"', text)
    return _styles_once(text)


def _glyph(found: re.Match[str]) -> str:
    """The outline of a letter told to a hundredth of a point at 8 points, which nobody sees."""
    eighths = re.sub(r"-?\d+", lambda word: str(round(int(word[0]) / 8)), found[1])
    return f' d="{eighths}" transform="scale(.125)"'


def _path(data: str) -> str:
    """The same path in fewer characters: each point told from the one before, exactly, and a letter once.

    Matplotlib moves and draws lines and curves to absolute points; any other path is left as it is.
    """
    commands = re.findall(r"([A-Za-z])([^A-Za-z]*)", data)
    if not {letter.upper() for letter, _ in commands} <= {"Z", *_POINTS}:
        return data
    text, going, before = "", "", ""
    here = start = _ORIGIN
    for letter, numbers in commands:
        if letter in "Zz":
            text, going, before, here = f"{text}z", "", "", start
            continue
        for step in _steps(numbers, _POINTS[letter]):
            name, told = _told(letter, step, here)
            if name != going:
                text, before = text + name, ""
            # Points that follow on a move are lines, so a second move needs its letter.
            going, here = "l" if name == "m" else name, step[-1]
            start = here if name == "m" else start
            for number in told:
                word = re.sub(r"^(-?)0\.", r"\1.", f"{number.normalize():f}")
                touches = word[0] == "-" or (word[0] == "." and "." in before)
                text += word if touches or not before else f" {word}"
                before = word
    return text


def _steps(numbers: str, points: int) -> list[list[Point]]:
    """The points of every drawing of one command, ``points`` for each."""
    values = [Decimal(word) for word in re.findall(r"-?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?", numbers)]
    found = list(zip(values[::2], values[1::2], strict=True))
    return [found[place : place + points] for place in range(0, len(found), points)]


def _told(letter: str, step: Sequence[Point], here: Point) -> tuple[str, list[Decimal]]:
    """The letter and numbers of one drawing, told from where the one before ended."""
    away = [end - origin for point in step for end, origin in zip(point, here, strict=True)]
    if letter == "L" and 0 in away:
        return ("h", away[:1]) if away[1] == 0 else ("v", away[1:])
    return letter.lower(), away


def _styles_once(svg: str) -> str:
    """Styles that stand there several times as classes, in the picture's own style sheet."""
    counts = Counter(re.findall(r'style="([^"]*)"', svg))
    classes = {style: f"s{place:x}" for place, (style, count) in enumerate(counts.items()) if count > 2}
    svg = re.sub(
        r'style="([^"]*)"',
        lambda found: f'class="{classes[found[1]]}"' if found[1] in classes else found[0],
        svg,
    )
    sheet = "".join(f".{name}{{{style}}}" for style, name in classes.items())
    return svg.replace("</style>", f"{sheet}</style>", 1)
