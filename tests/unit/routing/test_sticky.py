"""Sticky until saturated: a prompt stays where it is cached, until that worker is too far behind."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from anarchy.engines.spec import BLOCK_SIZE, NUM_GPU_BLOCKS
from anarchy.ground.errors import UserError
from anarchy.routing.baselines.sticky_until_saturated import StickyMemory, StickyUntilSaturated
from tests.helpers.config_samples import refused_policy

PROMPT = tuple(range(8 * BLOCK_SIZE))


def memory(workers: int = 3, seed: int = 1, **keys: float) -> StickyMemory:
    keys.setdefault("peak_prefill_tokens_per_s", 1000.0)
    policy = StickyUntilSaturated(name="sticky", title="sticky", way="pinned", **keys)
    return policy.remember(workers, random.Random(seed))


def fresh(number: int, tokens: int = 8 * BLOCK_SIZE) -> tuple[int, ...]:
    """A prompt that shares nothing with any other."""
    return tuple(range(10_000 * (number + 1), 10_000 * (number + 1) + tokens))


def test_prompts_that_nobody_has_go_to_the_fewest_waiting_tokens() -> None:
    known = memory()
    chosen = [known.choose(f"{turn}", fresh(turn)) for turn in range(6)]
    assert Counter(chosen) == {0: 2, 1: 2, 2: 2}
    known.prefilled("1")
    assert known.choose("6", fresh(6)) == chosen[1], "its prompt waits no longer there"


def test_ties_are_shared_and_hang_on_the_seed_alone() -> None:
    def first(seed: int) -> int:
        return memory(seed=seed).choose("a", PROMPT)

    assert {first(seed) for seed in range(30)} == {0, 1, 2}
    assert [first(seed) for seed in range(10)] == [first(seed) for seed in range(10)]


def test_a_prompt_stays_with_the_worker_that_has_it_however_many_come() -> None:
    known = memory()
    home = known.choose("a", PROMPT)
    assert {known.choose(f"{turn}", PROMPT) for turn in range(200)} == {home}


@pytest.mark.parametrize(("shared", "stays"), [(6, False), (7, True), (8, True)])
def test_a_worker_is_sticky_from_its_share_of_the_blocks_on(shared: int, stays: bool) -> None:
    known = memory(affinity_threshold=0.8)
    home = known.choose("a", PROMPT)
    others = [j for j in range(3) if j != home]
    # Behind by less than the penalty, and by more than the tokens that are cached there.
    known.workers[home].waiting = 10_000
    chosen = known.choose("b", (*PROMPT[: shared * BLOCK_SIZE], *fresh(1)[: (8 - shared) * BLOCK_SIZE]))
    assert (chosen == home) == stays
    assert chosen in ([home] if stays else others)


@pytest.mark.parametrize(("waiting", "penalty_s", "leaves"), [
    (18_000, 18.0, False), (18_001, 18.0, True), (10**9, 0.0, False), (501, 0.5, True),
])  # fmt: skip
def test_it_leaves_where_the_wait_is_longer_by_more_than_the_penalty(
    waiting: int, penalty_s: float, leaves: bool
) -> None:
    known = memory(max_ttft_penalty_s=penalty_s)
    home = known.choose("a", PROMPT)
    known.prefilled("a")
    known.workers[home].waiting = waiting  # at 1,000 tokens/s
    assert (known.choose("b", PROMPT) != home) == leaves


def test_cached_tokens_wait_nowhere_so_that_a_hot_prompt_never_saturates() -> None:
    known = memory(max_ttft_penalty_s=0.001)
    home = known.choose("a", PROMPT)
    known.prefilled("a")
    assert {known.choose(f"{turn}", PROMPT) for turn in range(500)} == {home}
    assert known.workers[home].waiting == 0


def test_what_is_shorter_than_a_block_is_cached_nowhere() -> None:
    known = memory()
    short = PROMPT[: BLOCK_SIZE - 1]
    assert len({known.choose(f"{turn}", short) for turn in range(3)}) == 3


def test_a_request_is_let_go_once_whether_it_got_a_token_or_not() -> None:
    known = memory(workers=1)
    for name in ("a", "b"):
        known.choose(name, fresh(len(name)))
    known.prefilled("a")
    known.ended("a")
    known.ended("b")
    assert (known.workers[0].waiting, known.held) == (0, {})


def test_a_cache_is_no_larger_than_the_workers_and_loses_the_oldest() -> None:
    known = memory(workers=1)
    known.choose("old", PROMPT)
    for turn in range(3):
        known.choose(f"{turn}", fresh(turn, NUM_GPU_BLOCKS // 3 * BLOCK_SIZE))
    (worker,) = known.workers
    assert len(worker.blocks) == NUM_GPU_BLOCKS
    assert known.choose("again", PROMPT) == 0
    assert known.held["again"][1] > 0, "its end was evicted first"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("affinity_threshold", 0.0),
        ("affinity_threshold", 1.5),
        ("max_ttft_penalty_s", -1.0),
        ("peak_prefill_tokens_per_s", 0.0),
        ("way", "builtin"),
    ],
)
def test_values_that_mean_nothing_are_refused(key: str, value: object) -> None:
    error: UserError = refused_policy({"kind": "sticky_until_saturated", "way": "pinned", key: value})
    assert key in str(error)
    assert error.remedy
