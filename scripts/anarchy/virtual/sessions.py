"""Users of a closed loop as sessions of a replay trace: the next turn comes when the last has ended.

Between the two a user may think: the library delays a turn by as much (seen: to the last digit).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

from anarchy.ground.files import disk_errors
from anarchy.load.workload import UNIQUE_PROMPT, Workload, WorkloadSpec
from anarchy.virtual.errors import CellError

MOST_TURNS: Final = 1_000_000
"""Of one user: block numbers of prompts of their own leave room for so many."""
BYTES_PER_TURN: Final = 2_000
"""Memory of a turn in the library, beside its blocks (1,024 users of 60 turns took 120 MiB)."""
BYTES_PER_BLOCK: Final = 16
MOST_BYTES: Final = 4 * 2**30
"""Memory that the trace of one cell may take."""


def write_sessions(
    path: Path, workload: Workload, *, users: int, turns: int, stagger_s: float, block_size: int
) -> None:
    """Write the trace of `users` users with `turns` requests each; who start evenly over `stagger_s`.

    A turn's `delay` is what its user thinks after the turn before, ms.

    Raises CellError for more than the library can hold in memory.
    """
    spec = workload.spec
    check_size(users, turns, math.ceil(spec.input_tokens / block_size))
    with disk_errors(path), path.open("w", encoding="utf-8") as file:
        for user in range(users):
            lengths, templates = workload.shapes([(user, turn) for turn in range(turns)])
            when = f'"timestamp":{stagger_s * user / users * 1e3!r}'
            drawn = zip(lengths.tolist(), templates.tolist(), strict=True)
            for turn, (output_tokens, template) in enumerate(drawn):
                ids = ",".join(map(str, prompt_blocks(spec, template, user * MOST_TURNS + turn, block_size)))
                file.write(
                    f'{{"session_id":"{user}",{when},"input_length":{spec.input_tokens},'
                    f'"output_length":{output_tokens},"hash_ids":[{ids}]}}\n'
                )
                when = f'"delay":{workload.think_s(user, turn) * 1e3!r}'


def prompt_blocks(spec: WorkloadSpec, template: int, number: int, block_size: int) -> list[int]:
    """The numbers of a prompt's KV blocks, by which the library tells prompts apart.

    Those of a template are shared, or as many as its head fills where it has a tail; all others are the own
    ones of the prompt `number`, which no two prompts of a trace may have in common.
    """
    blocks = math.ceil(spec.input_tokens / block_size)
    first = (spec.templates + number) * blocks
    if template == UNIQUE_PROMPT:
        return list(range(first, first + blocks))
    alike = spec.head_tokens // block_size if spec.unique_tail_tokens else blocks
    head = range(template * blocks, template * blocks + alike)
    return [*head, *range(first + alike, first + blocks)]


def check_size(users: int, turns: int, blocks: int) -> None:
    """Refuse a trace that does not fit in memory."""
    needed = users * turns * (BYTES_PER_TURN + BYTES_PER_BLOCK * blocks)
    if turns > MOST_TURNS or needed > MOST_BYTES:
        raise CellError(
            f"{users} users with {turns} requests of {blocks} KV blocks take about {needed / 2**30:.1f} GiB "
            f"of memory in virtual time; at most {MOST_BYTES / 2**30:.0f} GiB are taken",
            where="cell",
            remedy="measure for a shorter time, shorten the prompts, lower C, or take engine mocker",
        )
