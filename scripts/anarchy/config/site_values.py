"""Kinds of values of a site file, which hands all over as text: numbers, Slurm's times and sizes, flags."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from anarchy.config.site_words import is_unlimited, megabytes_of, minutes_of
from anarchy.config.values import refusal

WHOLE = re.compile(r"[+-]?\d{1,9}", re.ASCII)
GRES = re.compile(r"[A-Za-z]\w*(?::[\w.+-]+)?", re.ASCII)
"""Name of a generic resource, with its type where it has one."""
COUNTED_GRES = re.compile(
    r"(?:gres/)?([A-Za-z]\w*:[\w.+-]+(?=[:=]\d)|[A-Za-z]\w*(?=[:=]\d{1,2}(?!\d)))[:=](\d{1,6})(?:\([^)]*\))?",
    re.ASCII,
)
"""The same with a number behind it, as sinfo shows it. Behind the name alone three digits are a type:
`gpu:3090`."""
TIME_WAYS = "minutes, or a time in Slurm's words: 90, 24:00:00, 2-00:00:00"


def _whole(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not WHOLE.fullmatch(value.strip()):
        raise refusal(f"{value!r} is no whole number", "give it a number alone, such as 8")
    return int(value)


def _minutes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = minutes_of(value)
    if not found:
        raise refusal(f"{value!r} is no time of a minute or more", f"give it {TIME_WAYS}")
    return found


def _limit(value: Any) -> Any:
    if isinstance(value, str) and is_unlimited(value):
        return None
    return _minutes(value)


def _megabytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = megabytes_of(value)
    if found is None:
        raise refusal(
            f"{value!r} is no size of memory",
            "give it megabytes, or a number with Slurm's K, M, G or T behind it: 512000, 500G",
        )
    return found


def _gres(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if counted := COUNTED_GRES.fullmatch(value):
        raise refusal(
            f"{value!r} has a number, which stands in gpus_per_node",
            f"write gres: {counted[1]} and gpus_per_node: {counted[2]}",
        )
    if not GRES.fullmatch(value):
        raise refusal(
            f"{value!r} is no name of a generic resource",
            "give it one name, with one type or none: gpu, gpu:b200 (sinfo -N -o '%N %G')",
        )
    return value


def _partition(value: Any) -> Any:
    if isinstance(value, str) and "*" in value:
        what = f"{value!r} has sinfo's mark of the default partition"
        raise refusal(what, f"write {value.replace('*', '')}")
    return value


def _flags(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return tuple(shlex.split(value))
    except ValueError as error:
        raise refusal(f"{value!r}: {error}", "write each flag as an entry of a list") from None


def _entries(value: Any) -> Any:
    return tuple(value.split(",")) if isinstance(value, str) else value


Whole = Annotated[int, BeforeValidator(_whole), Field(strict=True, ge=1)]
Minutes = Annotated[int, BeforeValidator(_minutes), Field(strict=True, ge=1)]
Limit = Annotated[Annotated[int, Field(strict=True, ge=1)] | None, BeforeValidator(_limit)]
"""Minutes; None is no limit."""
Megabytes = Annotated[int, BeforeValidator(_megabytes), Field(strict=True, ge=0)]
Gres = Annotated[str, BeforeValidator(_gres)]
Partition = Annotated[str, BeforeValidator(_partition)]
Flags = Annotated[tuple[str, ...], BeforeValidator(_flags)]
"""Flags as a list, or as one text."""
Entries = Annotated[tuple[str, ...], BeforeValidator(_entries)]
"""Entries as a list, or as one text with commas."""
