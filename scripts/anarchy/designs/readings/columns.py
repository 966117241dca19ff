"""Tables of a system measured over a grid of C under several policies, read in every way."""

from __future__ import annotations

from typing import Final

from anarchy.estimate.columns import ATTEMPTS, JUDGED, POLICY, STEP, SYSTEM, WORKLOAD
from anarchy.estimate.frames import bounded, counts, numbers, table, texts
from anarchy.games.readings import Reading

READING: Final[Reading] = "idle"
"""The reading that is drawn and told: in step the only one beside `table` that says what users wait."""

CELLS: Final = table(
    "a workload, set of policies, policy and concurrency, launches pooled",
    SYSTEM,
    WORKLOAD,
    POLICY,
    counts("users", concurrency="C"),
    counts(n_launches="launches that count", n_requests="requests measured"),
    texts(interval_kind="across-launches (3 or more) or within-run"),
    bounded(
        "s",
        ttft_mean="mean time to first token",
        ttft_p50="median time to first token",
        ttft_p99="99 % quantile of the time to first token",
        itl_mean="mean inter-token latency",
    ),
    bounded("1/s", throughput_rps="requests completed a second"),
    STEP,
    JUDGED,
)

READ: Final = table(
    "a workload, set of policies, policy, reading and concurrency, launches pooled",
    SYSTEM,
    WORKLOAD,
    POLICY,
    texts(reading="fitted, idle, table or both-sides"),
    counts("users", concurrency="C"),
    counts(n_launches="launches that the reading could price", n_windows="windows of the routing game"),
    texts(interval_kind="across-launches (3 or more) or within-run"),
    bounded(poa_hat="PoA-hat under the reading"),
    texts(regime="artifact, plateau (C below the knee) or growth; of this reading's own PoA-hat"),
    JUDGED,
)

LADDERS: Final = table(
    "a workload, set of policies, policy and reading, all concurrencies together",
    SYSTEM,
    WORKLOAD,
    POLICY,
    texts(reading="fitted, idle, table or both-sides"),
    bounded(
        level="PoA-hat over the tier's level_over, geometric mean of the cells",
        plateau="PoA-hat below the knee, geometric mean of the cells",
        growth="PoA-hat of the deepest cell over the level",
        deepest="PoA-hat of the deepest cell",
    ),
    counts("users", deepest_c="C of the deepest cell"),
    bounded("users", knee="breakpoint of two lines; null where there is no knee"),
    numbers(slope_before="exponent of C before the knee"),
    counts(in_step_cells="cells whose users marched in step", cells="cells that count"),
    texts(refused="why launches have no such reading; empty where all have"),
)

DEPTHS: Final = table(
    "a workload, set of policies, policy, reading and C that its grid is taken to end at",
    SYSTEM,
    WORKLOAD,
    POLICY,
    texts(
        reading="fitted, idle, table or both-sides",
        synchrony="how far users keep apart: spread, one-token, staggered or in-step",
    ),
    counts(
        "tokens",
        output_tokens="mean length of an answer",
        input_tokens="length of a prompt",
        shared_tokens="tokens of a prompt that its template's others begin with; 0: prompts are unique",
        max_num_batched_tokens="new tokens of one step of a worker",
    ),
    counts(
        "users",
        deepest_c="C that the grid is taken to end at",
        first_post_knee="smallest C of the grid at or past the knee",
    ),
    bounded("users", knee="breakpoint of two lines; null where there is no knee"),
    numbers(slope_before="exponent of C before the knee"),
    bounded(
        plateau="PoA-hat below the knee, geometric mean of the cells",
        deepest="PoA-hat of the deepest cell",
        rise="PoA-hat of the deepest cell over the plateau",
    ),
    texts(regimes="of artifact, plateau and growth those that a cell lies in"),
)

TABLES: Final = {
    "cells": CELLS,
    "readings": READ,
    "ladders": LADDERS,
    "depths": DEPTHS,
    "attempts": ATTEMPTS,
}
"""By the stems of their files."""
