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

BLOCK_TOKENS: Final = 16
"""A KV cache block of the serving stack; prompts that differ in one share neither it nor any later one."""

_BLOCK_BITS: Final = 64
"""Least entropy of the first block that is not shared: of a million prompts two then have it in common once
in 37 million runs."""


@dataclass(frozen=True)
class WorkloadSpec:
    """The distribution that requests are drawn from.

    Lengths in tokens. Output lengths are whole and uniform on mean * (1 -+ output_jitter), and at least on
    mean -+ output_slack. ``templates`` is the number of distinct prompts; 0 makes every prompt unique.
    Template i = 0, 1, ... has weight 1 / (i + 1)^skew (Zipf), so skew 0 makes them equally likely. The last
    ``unique_tail_tokens`` of a template's prompt are each request's own, and its head is shared in whole KV
    blocks. ``think_s`` is the mean of the exponential time between an answer and its user's next request,
    model s. Prompt tokens are uniform on [token_low, token_high). Raises UserError for a spec that cannot be
    drawn from.
    """

    input_tokens: int = 128
    output_tokens: int = 64
    output_jitter: float = 0.3
    output_slack: int = 0
    templates: int = 0
    skew: float = 0.0
    unique_tail_tokens: int = 0
    think_s: float = 0.0
    token_low: int = 100
    token_high: int = 32000

    def __post_init__(self) -> None:
        for name, value, least in (
            ("input_tokens", self.input_tokens, 1),
            ("output_tokens", self.output_tokens, 1),
            ("output_slack", self.output_slack, 0),
            ("templates", self.templates, 0),
            ("unique_tail_tokens", self.unique_tail_tokens, 0),
            ("token_low", self.token_low, 0),
            ("token_high", self.token_high, self.token_low + 1),
        ):
            if value < least:
                raise _bad_spec(f"{name} is {value}", f"set it to at least {least}")
        if not 0 <= self.output_jitter < 1:
            raise _bad_spec(f"output_jitter is {self.output_jitter}", "set it to at least 0 and below 1")
        for name, number in (("skew", self.skew), ("think_s", self.think_s)):
            if not 0 <= number < math.inf:
                raise _bad_spec(f"{name} is {number}", "set it to a number that is at least 0")
        if self.skew > 0 and self.templates == 0:
            raise _bad_spec(
                f"skew is {self.skew}, but every prompt is unique", "set skew to 0, or templates above 0"
            )
        self._check_unshared()

    @property
    def head_tokens(self) -> int:
        """Tokens that the prompts of a template begin with alike; 0 where every prompt is unique."""
        return self.input_tokens - self.unique_tail_tokens if self.templates else 0

    def _check_unshared(self) -> None:
        """Prompts that are to differ do so in the first block that they do not share."""
        own = self.unique_tail_tokens if self.templates else self.input_tokens
        bit = math.log2(self.token_high - self.token_low)
        bits = min(own, BLOCK_TOKENS - self.head_tokens % BLOCK_TOKENS) * bit
        if self.templates == 0 and self.unique_tail_tokens:
            raise _bad_spec(
                f"unique_tail_tokens is {self.unique_tail_tokens}, but every prompt is unique",
                "set unique_tail_tokens to 0, or templates above 0",
            )
        if self.templates and self.unique_tail_tokens and self.head_tokens < BLOCK_TOKENS:
            raise _bad_spec(
                f"unique_tail_tokens is {self.unique_tail_tokens} of {self.input_tokens}: nothing is shared",
                f"leave the head a block of {BLOCK_TOKENS} tokens or more",
            )
        if own and bits < _BLOCK_BITS:
            raise _bad_spec(
                f"prompts would not differ in the first block that is not shared ({bits:.0f} bits)",
                "widen token_low..token_high, or lengthen input_tokens or unique_tail_tokens",
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
    """The content of one request: prompt token ids, output length in tokens, template (-1 = unique).

    The last `tail_tokens` of a template's prompt are the request's own.
    """

    prompt: tuple[int, ...]
    output_tokens: int
    template: int
    tail_tokens: int = 0


@dataclass(frozen=True)
class Workload:
    """A seeded stream of requests; the k-th request of a user depends on nothing else."""

    spec: WorkloadSpec
    seed: int
    _heads: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)
    _template_ends: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        length = self.spec.head_tokens
        heads = tuple(self._tokens(f"template/{template}", length) for template in range(self.spec.templates))
        object.__setattr__(self, "_heads", heads)
        object.__setattr__(self, "_template_ends", _zipf_ends(self.spec.templates, self.spec.skew))

    def request(self, user: int, k: int) -> Request:
        """Return the k-th request (from 0) of a user (from 0)."""
        output_tokens, template = self.shape(user, k)
        if template == UNIQUE_PROMPT:
            prompt = self._tokens(f"unique/{user}/{k}", self.spec.input_tokens)
            return Request(prompt, output_tokens, template)
        tail = self.spec.unique_tail_tokens
        own = self._tokens(f"tail/{user}/{k}", tail) if tail else ()
        return Request(self._heads[template] + own, output_tokens, template, tail)

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

    def think_s(self, user: int, k: int) -> float:
        """How long a user waits after the answer to its k-th request before it sends again, model s."""
        if not self.spec.think_s:
            return 0.0
        (word,) = self._words(f"think/{user}/{k}", 1)
        # To the microsecond, because the last digit of a logarithm is the machine's own.
        return round(-self.spec.think_s * math.log((int(word) + 0.5) / 2**32), 6)

    def _tokens(self, coordinates: str, count: int) -> tuple[int, ...]:
        span = self.spec.token_high - self.spec.token_low
        words = self._words(f"prompt/{coordinates}", count)
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
