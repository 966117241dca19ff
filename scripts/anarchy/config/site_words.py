"""Slurm's own words: states of nodes, generic resources, times and memory. Pure."""

from __future__ import annotations

import enum
import re

RUNNING_STATES = frozenset(
    {
        *("idle", "mixed", "mix", "allocated", "alloc", "completing", "comp", "planned", "plnd"),
        *("blocked", "block", "perfctrs", "npc", "resume", "resm", "undrain", "cancel_reboot", "canc_r"),
        *("cloud", "dynamic_norm", "power_down", "pow_dn", "powering_down", "powring_dn", "powered_down"),
        *("powered_dn", "power_up", "pow_up", "powering_up", "power_save", "power_saving"),
    }
)
"""States in which a node takes a job, now or when those on it have ended; one that is off is switched on."""
OUT_STATES = frozenset(
    {
        *("down", "drain", "drained", "draining", "drng", "fail", "failing", "failg", "error", "err"),
        *("maint", "maintenance", "reboot", "boot", "reboot_issued", "reboot_requested", "inval", "invalid"),
        *("invalid_reg", "unknown", "unk", "future", "futr", "dynamic_future", "external", "ext"),
        *("no_respond", "not_responding"),
    }
)
"""States in which a node takes no job, however long it waits."""
RESERVED_STATES = frozenset({"reserved", "resv"})
OUT_MARKS = "*$@^"
"""Behind a state: does not answer, maintenance, a reboot that is pending, a reboot under way (man sinfo)."""
MARKS = f"{OUT_MARKS}~#!%-+"
"""All marks; the others are power saving, a plan of the scheduler's, and jobs that end."""

MINUTES = re.compile(r"\d{1,6}|(?:(\d{1,5})-)?(\d{1,6})(?::(\d{1,6}))?(?::(\d{1,6}))?", re.ASCII)
UNLIMITED = ("infinite", "unlimited")
MEMORY = re.compile(r"(\d{1,9})([KMGT]?)", re.ASCII | re.IGNORECASE)
MB_PER_UNIT = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024 * 1024}


class NodeUse(enum.Enum):
    """What a node's state means for a job of this project."""

    RUNS = "runs jobs"
    RESERVED = "runs jobs of its reservation"
    OUT = "runs no jobs"
    UNHEARD = "a state that this project does not know"


def node_use(state: str) -> NodeUse:
    """What a state means, from sinfo's `%T` or `%t`, `idle~` or `IDLE+DRAIN`."""
    bare = state.strip().rstrip(MARKS)
    if set(state.strip()[len(bare) :]) & set(OUT_MARKS):
        return NodeUse.OUT
    words = set(bare.lower().split("+"))
    if words & OUT_STATES:
        return NodeUse.OUT
    if words <= RUNNING_STATES:
        return NodeUse.RUNS
    return NodeUse.RESERVED if words <= RUNNING_STATES | RESERVED_STATES else NodeUse.UNHEARD


def gpus_of(gres: str, name: str) -> int:
    """How many GPUs of a name a node has, from sinfo's `gpu:b200:8(S:0-1),...`; 0 for none.

    `gpu` counts every type, `gpu:b200` its own; a type that stands there twice, on two sockets, counts twice.
    """
    count = 0
    for entry in re.sub(r"\([^)]*\)", "", gres).split(","):
        kind, _, number = entry.strip().rpartition(":")
        kind = kind.removesuffix(":no_consume")
        if (kind == name or kind.startswith(f"{name}:")) and re.fullmatch(r"\d{1,6}", number, re.ASCII):
            count += int(number)
    return count


def minutes_of(text: str) -> int | None:
    """Whole minutes of a time in Slurm's words; None for what is none.

    `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours`, `days-hours:minutes` or
    `days-hours:minutes:seconds` (man sbatch, --time). Seconds over are left out.
    """
    found = MINUTES.fullmatch(text.strip())
    if found is None:
        return None
    days, *parts = (None if part is None else int(part) for part in found.groups())
    given = [part for part in parts if part is not None]
    if not given:
        return int(text)
    if days is None:
        *hours, minutes, _ = given
        return 60 * sum(hours) + minutes
    hours_of_day, minutes, _ = [*given, 0, 0][:3]
    return 1440 * days + 60 * hours_of_day + minutes


def is_unlimited(text: str) -> bool:
    """Say whether a time is Slurm's word for no limit."""
    return text.strip().lower() in UNLIMITED


def megabytes_of(text: str) -> int | None:
    """Megabytes of a memory size in Slurm's words, `512000`, `512000M`, `500G`; None for what is none.

    Slurm's K, M, G and T are powers of 1024. What is less than a megabyte counts as one.
    """
    found = MEMORY.fullmatch(text.strip())
    if found is None:
        return None
    return -int(-int(found[1]) * MB_PER_UNIT[found[2].upper()] // 1)
