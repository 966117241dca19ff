"""Does a repeated template count once? Requests of one template on a worker, and where the next prompt goes.

A worker's decode cost is the number of KV blocks of its active requests. A version of Dynamo that assumes
reuse counts a block that several of them share once: `HELD` requests of one template of b blocks then cost b,
else `HELD` times b. A second worker holds one prompt of 2 b blocks, and all others more than either, so that
at tau = 0 the next prompt says which it is.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from anarchy.serving.health import UnhealthyError, random_prompt, wait_until
from anarchy.serving.holding import EndedEarlyError, Held, UnderTest

HELD = 4
TEMPLATE_BLOCKS = 16
DRAWS = 20
HOLD_S = 2.0
"""Wall seconds that requests are held, where they come to their end by themselves."""
TRIES = 4


@dataclass(frozen=True)
class ReuseCheck:
    """What the cheapest choice was while a worker held one template `HELD` times and another twice its size.

    `chosen` counts the draws that went to the first, the second, and any other worker; `expected`: whether a
    repeated template is to count once.
    """

    chosen: tuple[int, int, int]
    expected: bool

    @property
    def counts_once(self) -> bool | None:
        """Whether it counts once; None where the choices do not tell."""
        template, unique, other = self.chosen
        if other or (template and unique):
            return None
        return template > 0

    @property
    def ok(self) -> bool:
        """Whether it counts as it should."""
        return self.counts_once is self.expected

    @property
    def words(self) -> str:
        """What was seen, as a sentence."""
        seen = {True: "counts once", False: "counts each time", None: "counts neither once nor each time"}
        wanted = "once" if self.expected else "each time"
        return f"a repeated template {seen[self.counts_once]}, and was asked to count {wanted} {self.chosen}"


def check_reuse(under: UnderTest, cold: str, expected: bool, rng: random.Random) -> ReuseCheck:
    """Hold the requests and draw at the frontend `cold`, whose tau is 0; leaves no request behind.

    Raises `UnhealthyError` where they cannot be held for long enough.
    """
    first, second, *others = under.decode
    seconds = HOLD_S
    tokens = under.tokens_for(seconds, rng)
    for _ in range(TRIES):
        template = random_prompt(rng, TEMPLATE_BLOCKS * under.block_size)
        sizes = [(second, 2 * TEMPLATE_BLOCKS), *((other, 2 * HELD * TEMPLATE_BLOCKS) for other in others)]
        requests = [(first, template)] * HELD
        requests += [(worker, random_prompt(rng, blocks * under.block_size)) for worker, blocks in sizes]
        try:
            with under.held(cold, requests, tokens, seconds) as held:
                _await_beginning(under, held)
                drawn = under.draw(cold, DRAWS, rng)
                held.check()
                return ReuseCheck((drawn[0], drawn[1], sum(drawn[2:])), expected)
        except EndedEarlyError:
            tokens, seconds = 2 * tokens, 2 * seconds
    raise UnhealthyError(
        f"requests of the reuse self-test ended before it, {TRIES} times: too busy a machine"
    )


def _await_beginning(under: UnderTest, held: Held) -> None:
    wait_until(
        "waiting for the requests of the reuse self-test to begin",
        lambda: held.began() or None,
        time.monotonic() + under.answer_s,
        under.check,
        poll_s=0.01,
    )
