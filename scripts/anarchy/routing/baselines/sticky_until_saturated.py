"""llm-d's default since August 2026: to the worker that has the prompt, until that is too far behind.

Source: the plugins `prefix-cache-affinity-filter` and `token-load-scorer` with a `max-score-picker`, composed
as in llm-d's optimized baseline; the filter's page in github.com/llm-d/llm-d-router has the rule, and
https://llm-d.ai/blog/sticky-until-saturated-token-aware-routing the reasons. Their defaults are the defaults
here. What a worker has in its cache is approximated, as there, by what was sent to it.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from anarchy.config.policies import PromptPolicy
from anarchy.config.values import NonNegative, Positive
from anarchy.engines.spec import BLOCK_SIZE, NUM_GPU_BLOCKS


class StickyUntilSaturated(PromptPolicy):
    """The workers that have most of the prompt, and of these the one with the fewest uncached tokens."""

    kind: Literal["sticky_until_saturated"] = "sticky_until_saturated"
    affinity_threshold: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.8
    """Share of a prompt's KV blocks from which a worker that has them is sticky."""
    max_ttft_penalty_s: NonNegative = 18.0
    """How much longer the best sticky worker's estimated TTFT may be than the best other's, model s; 0: ever
    so much."""
    peak_prefill_tokens_per_s: Positive = 15_928.0
    """Tokens that a worker prefills, model 1/s; llm-d's default is of Qwen 32B on two H100, and is to be
    measured anew for every model."""

    def remember(self, workers: int, rng: random.Random) -> StickyMemory:
        """Nothing yet."""
        return StickyMemory(self, [_Worker() for _ in range(workers)], rng)


@dataclass
class _Worker:
    """What was sent to one worker."""

    blocks: OrderedDict[int, None] = field(default_factory=OrderedDict)
    """Of its prompts, named by all tokens up to their end; the least recently used first."""
    waiting: int = 0
    """Prompt tokens that were not in its cache, of requests without a first token."""

    def found(self, blocks: Sequence[int]) -> int:
        """How many of a prompt's blocks it has, from the first one on."""
        return next((place for place, one in enumerate(blocks) if one not in self.blocks), len(blocks))

    def store(self, blocks: Sequence[int]) -> None:
        """Count a prompt's blocks as cached; the least recently used go where there is no room."""
        for one in reversed(blocks):  # a chain goes from its end
            self.blocks[one] = None
            self.blocks.move_to_end(one)
        while len(self.blocks) > NUM_GPU_BLOCKS:
            self.blocks.popitem(last=False)


@dataclass
class StickyMemory:
    """What was sent to the workers of one pool."""

    policy: StickyUntilSaturated
    workers: Sequence[_Worker]
    rng: random.Random
    held: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Request without a first token -> its worker, and its tokens that were not cached there."""

    def choose(self, request_id: str, prompt: Sequence[int]) -> int:
        """The worker of a request, which is counted on it from now on; ties at random."""
        blocks = _chain(prompt)
        found = [worker.found(blocks) for worker in self.workers]
        uncached = [len(prompt) - BLOCK_SIZE * shared for shared in found]
        cost = {j: self.workers[j].waiting + uncached[j] for j in self._candidates(found, len(blocks))}
        least = min(cost.values())
        chosen = self.rng.choice([j for j, tokens in cost.items() if tokens == least])
        self.held[request_id] = chosen, uncached[chosen]
        self.workers[chosen].waiting += uncached[chosen]
        self.workers[chosen].store(blocks)
        return chosen

    def _candidates(self, found: Sequence[int], blocks: int) -> list[int]:
        """The sticky workers; all where there are none, and where the best of them is too far behind."""
        everyone = list(range(len(self.workers)))
        sticky = [j for j in everyone if blocks and found[j] >= self.policy.affinity_threshold * blocks]
        others = [j for j in everyone if j not in sticky]
        if not sticky or not others:
            return everyone
        behind = min(self.workers[j].waiting for j in sticky) - min(self.workers[j].waiting for j in others)
        penalty_s = behind / self.policy.peak_prefill_tokens_per_s
        saturated = 0 < self.policy.max_ttft_penalty_s < penalty_s
        return everyone if saturated else sticky

    def prefilled(self, request_id: str) -> None:
        """Its prompt waits no longer."""
        worker, tokens = self.held.pop(request_id)
        self.workers[worker].waiting -= tokens

    def ended(self, request_id: str) -> None:
        """What never got a first token waits no longer either."""
        if request_id in self.held:
            self.prefilled(request_id)


def _chain(prompt: Sequence[int]) -> list[int]:
    """The full blocks of a prompt, each named by all tokens up to its end."""
    names, before = [], 0
    for start in range(0, len(prompt) - BLOCK_SIZE + 1, BLOCK_SIZE):
        before = hash((before, *prompt[start : start + BLOCK_SIZE]))
        names.append(before)
    return names


POLICY = StickyUntilSaturated
