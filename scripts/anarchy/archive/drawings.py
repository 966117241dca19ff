"""Whether two SVG files show the same: coordinates may be off by less than anybody sees, nothing else may."""

from __future__ import annotations

import re
from typing import Final

TOLERANCE_PT: Final = 0.001
"""Points that a coordinate may be off, ours: a thousand times the last digit that an SVG of ours holds.
docs/archive.md says what was seen."""
COORDINATES: Final = re.compile(
    r'(?<=\s)(?:d|points|x|y|x1|x2|y1|y2|cx|cy|width|height)="[^"]*"|(?<=translate\()[^)]*'
)
"""Where an SVG says where something is; what it looks like (line width, opacity, scale) stands elsewhere."""
NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
ID: Final = re.compile(r"\b[a-z][0-9a-f]{10}\b")
"""What Matplotlib calls a mark or a clip: a digest of it."""


def same_drawing(archived: bytes, again: bytes) -> bool:
    """Whether texts, shapes and looks are the same, and every coordinate within `TOLERANCE_PT`."""
    one, other = (_without_ids(svg.decode("utf-8", "replace")) for svg in (archived, again))
    if COORDINATES.split(one) != COORDINATES.split(other):
        return False
    return all(map(_near, COORDINATES.findall(one), COORDINATES.findall(other)))


def _near(one: str, other: str) -> bool:
    """Whether two lists of coordinates have the same commands, and numbers that are close."""
    if NUMBER.split(one) != NUMBER.split(other):
        return False
    pairs = zip(*(map(float, NUMBER.findall(text)) for text in (one, other)), strict=True)
    return all(abs(first - second) <= TOLERANCE_PT for first, second in pairs)


def _without_ids(svg: str) -> str:
    """An SVG whose marks and clips are named by the order in which they appear, not by their content."""
    order: dict[str, str] = {}
    return ID.sub(lambda found: order.setdefault(found[0], f"id{len(order)}"), svg)
