"""What one request asks for, as a pure function of seed, user and the user's request number.

The order in which requests happen to be sent never changes what they contain, so two runs with one
seed offer the same work, whatever the serving stack makes of it. Randomness is SHAKE-128 of the
coordinates: the same on every machine and with every library version.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from anarchy.ground.errors import UserError

Ints = npt.NDArray[np.int64]

UNIQUE_PROMPT: Final = -1
"""Template number of a prompt that no other request shares."""

FIRST_BLOCK_TOKENS: Final = 16
"""A KV cache block of the serving stack; prompts that differ here share no cached prefix."""

_FIRST_BLOCK_BITS: Final = 64
"""Least entropy of a unique prompt's first block: a million prompts then collide once in 37 million runs."""


@dataclass(frozen=True)
class WorkloadSpec:
    """The distribution that requests are drawn from.

    Lengths in tokens. Output lengths are whole and uniform on mean * (1 -+ output_jitter), and at least on
    mean -+ output_slack. ``templates``
    is the number of distinct prompts; 0 makes every prompt unique. Template i = 0, 1, ... has weight
    1 / (i + 1)^skew (Zipf), so skew 0 makes them equally likely. Prompt tokens are uniform on
    [token_low, token_high). Raises UserError for a spec that cannot be drawn from.
    """

    input_tokens: int = 128
    output_tokens: int = 64
    output_jitter: float = 0.3
    output_slack: int = 0
    templates: int = 0
    skew: float = 0.0
    token_low: int = 100
    token_high: int = 32000

    def __post_init__(self) -> None:
        for name, value, least in (
            ("input_tokens", self.input_tokens, 1),
            ("output_tokens", self.output_tokens, 1),
            ("output_slack", self.output_slack, 0),
            ("templates", self.templates, 0),
            ("token_low", self.token_low, 0),
            ("token_high", self.token_high, self.token_low + 1),
        ):
            if value < least:
                raise _bad_spec(f"{name} is {value}", f"set it to at least {least}")
        if not 0 <= self.output_jitter < 1:
            raise _bad_spec(f"output_jitter is {self.output_jitter}", "set it to at least 0 and below 1")
        if not 0 <= self.skew < math.inf:
            raise _bad_spec(f"skew is {self.skew}", "set it to a number that is at least 0")
        if self.skew > 0 and self.templates == 0:
            raise _bad_spec(
                f"skew is {self.skew}, but every prompt is unique", "set skew to 0, or templates above 0"
            )
        bits = min(self.input_tokens, FIRST_BLOCK_TOKENS) * math.log2(self.token_high - self.token_low)
        if self.templates == 0 and bits < _FIRST_BLOCK_BITS:
            raise _bad_spec(
                f"unique prompts would not differ in their first block ({bits:.0f} bits)",
                "widen token_low..token_high, lengthen input_tokens, or use templates",
            )

    @cached_property
    def output_range(self) -> tuple[int, int]:
        """Shortest and longest output, tokens, both possible."""
        spread = max(self.output_tokens * self.output_jitter, float(self.output_slack))
        # The margin keeps a bound that is whole in exact arithmetic from being lost to rounding.
        low = math.ceil(self.output_tokens - spread - 1e-9)
        high = math.floor(self.output_tokens + spread + 1e-9)
        return max(1, low), high


@dataclass(frozen=True, slots=True)
class Request:
    """The content of one request: prompt token ids, output length in tokens, template (-1 = unique)."""

    prompt: tuple[int, ...]
    output_tokens: int
    template: int


@dataclass(frozen=True)
class Workload:
    """A seeded stream of requests; the k-th request of a user depends on nothing else."""

    spec: WorkloadSpec
    seed: int
    _template_prompts: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)
    _template_ends: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        prompts = tuple(self._prompt(f"template/{template}") for template in range(self.spec.templates))
        object.__setattr__(self, "_template_prompts", prompts)
        object.__setattr__(self, "_template_ends", _zipf_ends(self.spec.templates, self.spec.skew))

    def request(self, user: int, k: int) -> Request:
        """Return the k-th request (from 0) of a user (from 0)."""
        output_tokens, template = self.shape(user, k)
        own = template == UNIQUE_PROMPT
        prompt = self._prompt(f"unique/{user}/{k}") if own else self._template_prompts[template]
        return Request(prompt, output_tokens, template)

    def shape(self, user: int, k: int) -> tuple[int, int]:
        """Output length, tokens, and template of that request, without its prompt."""
        lengths, templates = self.shapes([(user, k)])
        return int(lengths[0]), int(templates[0])

    def shapes(self, requests: Sequence[tuple[int, int]]) -> tuple[Ints, Ints]:
        """Output lengths, tokens, and templates of requests by (user, k), shape (requests,) each."""
        spec = self.spec
        words = b"".join(self._bytes(f"shape/{user}/{k}", 8) for user, k in requests)
        draws = np.frombuffer(words, dtype="<u4").reshape(-1, 2).astype(np.int64)
        low, high = spec.output_range
        lengths = low + (draws[:, 0] * (high - low + 1) >> 32)
        if spec.templates == 0:
            templates = np.full(len(draws), UNIQUE_PROMPT, dtype=np.int64)
        elif spec.skew:
            templates = np.searchsorted(self._template_ends, draws[:, 1], side="right").astype(np.int64)
        else:
            templates = draws[:, 1] * spec.templates >> 32
        return lengths, templates

    def _prompt(self, coordinates: str) -> tuple[int, ...]:
        span = self.spec.token_high - self.spec.token_low
        words = self._words(f"prompt/{coordinates}", self.spec.input_tokens)
        tokens = (words.astype(np.uint64) * np.uint64(span) >> np.uint64(32)) + np.uint64(self.spec.token_low)
        return tuple(tokens.tolist())

    def _words(self, coordinates: str, count: int) -> npt.NDArray[np.uint32]:
        """Return ``count`` uniform 32-bit words that belong to the coordinates alone."""
        return np.frombuffer(self._bytes(coordinates, 4 * count), dtype="<u4")

    def _bytes(self, coordinates: str, count: int) -> bytes:
        """Return ``count`` uniform bytes that belong to the coordinates alone."""
        return hashlib.shake_128(f"{self.seed}/{coordinates}".encode()).digest(count)


def _zipf_ends(templates: int, skew: float) -> tuple[int, ...]:
    """Where the templates' shares of the 2^32 draws end, the last one's (2^32) left out."""
    weights = [(index + 1.0) ** -skew for index in range(templates)]
    total = math.fsum(weights)
    return tuple(round(share / total * 2**32) for share in itertools.accumulate(weights[:-1]))


def _bad_spec(what: str, remedy: str) -> UserError:
    return UserError(what, where="workload", remedy=remedy)
