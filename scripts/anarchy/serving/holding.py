"""Known loads on decode workers for a while: pinned requests that last, and how they come to their end."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from anarchy.engines.dynamo import Dynamo
from anarchy.engines.spec import Worker
from anarchy.serving.frontend_api import Address, Connection, HeldRequest
from anarchy.serving.health import UnhealthyError, random_prompt, wait_until

IN_FLIGHT = 8
SHORT_TOKENS, LONG_TOKENS = 2, 34
"""Lengths of the two requests that tell how long a token takes."""
ENDS_WITHIN = 4.0
"""A request that is to end by itself gets so many times its expected time, and ten seconds."""


class EndedEarlyError(Exception):
    """A request that was to hold load came to its end before the test did."""


class Held:
    """Requests that hold load while a block runs."""

    def __init__(self, requests: Sequence[HeldRequest]) -> None:
        self._requests = requests

    def began(self) -> bool:
        """Whether every request has had its first token: by then its frontend has booked it."""
        return all(one.began.is_set() for one in self._requests)

    def check(self) -> None:
        """Raise EndedEarlyError where one is over."""
        if any(one.ended.is_set() for one in self._requests):
            raise EndedEarlyError


@dataclass(frozen=True, kw_only=True)
class UnderTest:
    """What a self-test asks: frontends by name, the model's name there, and the decode workers.

    A request may take `answer_s` wall seconds; `check` raises where a process has died. `hold_tokens`: output
    tokens of a request that lasts until it is cancelled.
    """

    frontends: Mapping[str, Address]
    model: str
    decode: Sequence[Worker]
    dynamo: Dynamo
    block_size: int
    hold_tokens: int
    answer_s: float
    check: Callable[[], None]

    def draw(self, name: str, count: int, rng: random.Random) -> tuple[int, ...]:
        """How often each worker is chosen by a frontend's router for prompts of one block; none is sent."""
        with Connection(self.frontends[name], timeout_s=self.answer_s) as connection:
            prompts = (random_prompt(rng, self.block_size) for _ in range(count))
            return self._in_order(Counter(connection.choose(self.model, prompt) for prompt in prompts))

    def dispatch(self, name: str, count: int, rng: random.Random, in_flight: int) -> tuple[int, ...]:
        """How often each worker serves requests of one block and one token, so many at a time."""
        prompts = [random_prompt(rng, self.block_size) for _ in range(count)]

        def send(share: Sequence[list[int]]) -> list[int]:
            with Connection(self.frontends[name], timeout_s=self.answer_s) as connection:
                return [connection.complete(self.model, prompt, 1).decode_worker for prompt in share]

        with ThreadPoolExecutor(in_flight) as pool:
            shares = pool.map(send, [prompts[first::in_flight] for first in range(in_flight)])
            return self._in_order(Counter(worker for share in shares for worker in share))

    def _in_order(self, chosen: Counter[int]) -> tuple[int, ...]:
        unknown = chosen.keys() - {worker.instance_id for worker in self.decode}
        if unknown:
            raise UnhealthyError(
                f"a frontend chose workers that this deployment does not have: {sorted(unknown)}"
            )
        return tuple(chosen[worker.instance_id] for worker in self.decode)

    def tokens_for(self, seconds: float, rng: random.Random) -> int:
        """Output tokens of a request that is to hold load for so many wall seconds."""
        if self.dynamo.frees_cancelled:
            return self.hold_tokens
        address = next(iter(self.frontends.values()))
        took = []
        with Connection(address, timeout_s=self.answer_s) as connection:
            for tokens in (SHORT_TOKENS, LONG_TOKENS):
                started = time.monotonic()
                connection.complete(self.model, random_prompt(rng, self.block_size), tokens)
                took.append(time.monotonic() - started)
        each = max((took[1] - took[0]) / (LONG_TOKENS - SHORT_TOKENS), 1e-4)
        return min(self.hold_tokens, max(LONG_TOKENS, round(seconds / each)))

    @contextmanager
    def held(
        self, name: str, requests: Sequence[tuple[Worker, list[int]]], tokens: int, seconds: float
    ) -> Iterator[Held]:
        """Hold a prompt on each worker named, sent through one frontend, while the block runs.

        Where a stack forgets the load of a cancelled request they are cancelled then; else they come to their
        end by themselves, `tokens` output tokens and about `seconds` after they began. Raises
        `UnhealthyError` where they do not.
        """
        reads = not self.dynamo.frees_cancelled
        with ExitStack() as stack:
            sent = [
                stack.enter_context(
                    HeldRequest(self.frontends[name], self.model, prompt, tokens, worker.instance_id)
                )
                for worker, prompt in requests
            ]
            try:
                yield Held(sent)
            except EndedEarlyError:
                self._await_ends(sent, reads, seconds)
                raise
            self._await_ends(sent, reads, seconds)

    def _await_ends(self, sent: Sequence[HeldRequest], wanted: bool, seconds: float) -> None:
        if wanted:
            wait_until(
                "waiting for the self-test's own requests to end",
                lambda: all(one.ended.is_set() for one in sent) or None,
                time.monotonic() + ENDS_WITHIN * seconds + 10.0,
                self.check,
            )
