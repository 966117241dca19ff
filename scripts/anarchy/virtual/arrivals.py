"""Requests of an open loop: they come by themselves, whoever waits. Each is a session of one turn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors
from anarchy.load.workload import UNIQUE_PROMPT, Workload
from anarchy.virtual.sessions import prompt_blocks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BYTES_PER_REQUEST: Final = 12_000
"""Memory of a request in the library, beside its blocks ..."""
BYTES_PER_BLOCK: Final = 160
"""... and of a KV block of its prompt, which all lie there at once (10,000 requests of 346: 0.6 GB)."""
NEVER_MS: Final = 1e12
"""After an answer: beyond the end of every replay."""
MOST_BYTES: Final = 4 * 2**30
"""Memory that one replay may take."""


@dataclass(frozen=True, eq=False)
class Arrivals:
    """When each request comes, how long it is, and which blocks its prompt is made of.

    Shapes: (R,) each, in the order of coming; `hashes` (B,) are the numbers of all prompts' blocks, request
    after request, a block for every begun `block_size` tokens of a prompt. Two prompts that begin with the
    same numbers share those blocks. Units: `at_s` model s, lengths tokens. `templates`: as in traces; none
    is a prompt of its own each. Errors: ValueError on shapes that do not fit, times that fall or are below 0,
    and lengths below 1.
    """

    at_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    hashes: Ints
    block_size: int
    templates: Ints | None = None

    def __post_init__(self) -> None:
        columns = [self.input_tokens, self.output_tokens]
        if self.templates is not None:
            columns.append(self.templates)
        if not len(self.at_s) or any(len(column) != len(self.at_s) for column in columns):
            raise ValueError("want at least one request, and as many times, lengths and templates")
        if not np.isfinite(self.at_s).all() or self.at_s[0] < 0.0 or (np.diff(self.at_s) < 0.0).any():
            raise ValueError("want finite times of at least 0 that do not fall")
        if self.block_size < 1 or min(self.input_tokens.min(), self.output_tokens.min()) < 1:
            raise ValueError("want lengths and blocks of at least one token")
        if len(self.hashes) != self.ends[-1]:
            raise ValueError(f"{self.ends[-1]} blocks, and {len(self.hashes)} numbers of blocks")

    def __len__(self) -> int:
        return len(self.at_s)

    @cached_property
    def blocks(self) -> Ints:
        """Blocks of each prompt, the last one may be begun only. (R,)."""
        return -(-self.input_tokens // self.block_size)

    @cached_property
    def ends(self) -> Ints:
        """Where the blocks of each prompt end in `hashes`. (R,)."""
        return np.cumsum(self.blocks)

    def prompt(self, request: int) -> Ints:
        """The numbers of one prompt's blocks."""
        end = self.ends[request]
        return self.hashes[end - self.blocks[request] : end]

    def taken(self, requests: Ints, at_s: Floats) -> Arrivals:
        """Some of these requests, in this order, at other times; one that is taken twice keeps its blocks."""
        starts = np.repeat(self.ends[requests] - self.blocks[requests], self.blocks[requests])
        ends = np.cumsum(self.blocks[requests])
        within = np.arange(len(starts)) - np.repeat(ends - self.blocks[requests], self.blocks[requests])
        return Arrivals(
            at_s,
            self.input_tokens[requests],
            self.output_tokens[requests],
            self.hashes[starts + within],
            self.block_size,
            None if self.templates is None else self.templates[requests],
        )


def poisson_times(rate: float, requests: int, seed: int) -> Floats:
    """Times of requests that come by chance, `rate` a model second, a gap before the first too. (R,)."""
    return np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, requests))


def arrivals_of(workload: Workload, at_s: Floats, block_size: int) -> Arrivals:
    """The requests of a workload at given times: each is the first of a user of its own."""
    spec = workload.spec
    lengths, templates = workload.shapes([(user, 0) for user in range(len(at_s))])
    prompts = [prompt_blocks(spec, template, n, block_size) for n, template in enumerate(templates.tolist())]
    return Arrivals(
        np.asarray(at_s, dtype=np.float64),
        np.full(len(at_s), spec.input_tokens, dtype=np.int64),
        lengths,
        np.array(prompts, dtype=np.int64).ravel(),
        block_size,
        templates if spec.templates else np.full(len(at_s), UNIQUE_PROMPT, dtype=np.int64),
    )


def write_arrivals(path: Path, arrivals: Arrivals, engine_block_size: int) -> None:
    """Write the requests as a replay takes them; raises UserError for more than memory holds.

    The last session has a second turn that never comes: where every session has one turn alone, the library
    does not tell which request is which (seen).
    """
    check_memory(arrivals, engine_block_size)
    columns = zip(
        (arrivals.at_s * 1e3).tolist(),
        arrivals.input_tokens.tolist(),
        arrivals.output_tokens.tolist(),
        strict=True,
    )
    with disk_errors(path), path.open("w", encoding="utf-8") as file:
        for request, (at_ms, input_tokens, output_tokens) in enumerate(columns):
            ids = ",".join(map(str, arrivals.prompt(request).tolist()))
            file.write(
                f'{{"session_id":"{request}","timestamp":{at_ms!r},"input_length":{input_tokens},'
                f'"output_length":{output_tokens},"hash_ids":[{ids}]}}\n'
            )
        file.write(
            f'{{"session_id":"{len(arrivals) - 1}","delay":{NEVER_MS!r},"input_length":1,"output_length":1,'
            '"hash_ids":[0]}\n'
        )


def check_memory(arrivals: Arrivals, engine_block_size: int) -> None:
    """Refuse requests that the library could not hold in memory."""
    blocks = int(np.ceil(arrivals.input_tokens / engine_block_size).sum())
    needed = len(arrivals) * BYTES_PER_REQUEST + blocks * BYTES_PER_BLOCK
    if needed > MOST_BYTES:
        raise UserError(
            f"{len(arrivals)} requests with {blocks} KV blocks of prompts take about "
            f"{needed / 2**30:.1f} GiB of memory in virtual time; at most {MOST_BYTES / 2**30:.0f} GiB are "
            "taken",
            where="arrivals",
            remedy=f"take a part of them: about {math.floor(len(arrivals) * MOST_BYTES / needed)} fit",
        )
