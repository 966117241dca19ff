"""Numbers as people read them: rounding, intervals, shares, durations, and where numbers come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import pandas as pd

MISSING: Final = "–"
"""What stands for a number that is not known."""


def number(value: Any, like: Any = None) -> str:
    """A number to three significant digits (as many decimals as ``like`` would get), or the mark for none."""
    if is_missing(value):
        return MISSING
    scale = abs(float(value if is_missing(like) else like))
    digits = 2 - math.floor(math.log10(scale)) if scale > 0 else 0
    return f"{float(value):.{min(max(digits, 0), 4)}f}"


def interval(value: Any, lo: Any, hi: Any) -> str:
    """A number and its interval with the same decimals: ``12.3 [11.9, 12.8]``."""
    if is_missing(value) or is_missing(lo) or is_missing(hi):
        return number(value)
    like = value or max(abs(lo), abs(hi))
    return f"{number(value, like)} [{number(lo, like)}, {number(hi, like)}]"


def is_missing(value: Any) -> bool:
    """Null, NaN or infinite: not a number that can be shown."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, float) and not math.isfinite(value)


def whole(value: Any) -> str:
    """A count, or the mark for none."""
    return MISSING if is_missing(value) else f"{int(value)}"


def share(value: Any) -> str:
    """A share as a percentage."""
    return MISSING if is_missing(value) else f"{100 * float(value):.1f} %"


def percent(value: Any) -> str:
    """A share as a percentage to three significant digits."""
    return MISSING if is_missing(value) else f"{number(100 * float(value))} %"


def duration(seconds: Any) -> str:
    """Seconds as people say them: ``42 s``, ``3 min 48 s``, ``2 h 5 min``."""
    if is_missing(seconds):
        return MISSING
    whole = round(float(seconds))
    if whole < 60:
        return f"{seconds:.1f} s" if whole < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def intervals(table: pd.DataFrame, name: str, factor: float = 1.0) -> list[str]:
    """Every number of a column with its interval (``name``, ``name_lo``, ``name_hi``), times ``factor``."""
    columns = (pd.to_numeric(table[name + bound], errors="coerce") * factor for bound in ("", "_lo", "_hi"))
    return [interval(*values) for values in zip(*columns, strict=True)]


def spaced(reasons: str) -> str:
    """Reasons with a space after each comma, so that lines can break there."""
    return ", ".join(word.strip() for word in reasons.split(",") if word.strip()) or "no valid attempt"


def counted(table: pd.DataFrame) -> list[str]:
    """Of each row whether it counts, and if not why: ``valid`` or ``no: errors, short``."""
    return [
        "valid" if valid else f"no: {reasons}"
        for valid, reasons in zip(table["valid"], table["reasons"].fillna("").map(spaced), strict=True)
    ]


def milliseconds(table: pd.DataFrame, rows: pd.DataFrame, name: str) -> None:
    """Copy a number and its interval into a table, times in ms and called so, anything else as it is."""
    is_time = name.startswith(("ttft", "itl"))
    for bound in ("", "_lo", "_hi"):
        column = f"{name}_ms{bound}" if is_time else name + bound
        table[column] = rows[name + bound] * (1e3 if is_time else 1.0)


def caption(what: str, label: str) -> str:
    """A table's caption: what it shows, and the engine's label."""
    return f"{what} {label[:1].upper()}{label[1:]}. Brackets hold the intervals."


def span(values: Iterable[Any], told: Callable[[Any], str] = number) -> str:
    """From the lowest of some numbers to the highest, or the one that they all are; the mark for none."""
    known = sorted(float(value) for value in values if not is_missing(value))
    return " to ".join(dict.fromkeys(map(told, (known[0], known[-1])))) if known else MISSING
