"""H4, calculated: a full prefill worker passed by, against Little's law, bounds and a table made by hand."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest

from anarchy.engines.profiles import Profile, load_profile
from anarchy.estimate.bypass import Loop, one_prefill_worker, prefill_where_it_decodes
from anarchy.ground.layout import PROFILES

FLAT: Final = Profile(
    name="flat",
    prefill_tokens=np.array([1.0, 1e6]),
    prefill_ttft_s=np.array([1e-4, 100.0]),  # 0.1 ms a token, whatever is batched
    decode_kv_tokens=np.array([1.0, 1e9]),
    decode_context=np.array([1.0, 1e6]),
    decode_itl_s=np.full((2, 2), 0.01),
    provenance={},
)
"""10 ms a decode step at any load."""
LOOP: Final = Loop(users=400, workers=5, prompt=100, output=51, batched=1000)


def test_a_table_made_by_hand() -> None:
    before, after = one_prefill_worker(FLAT, LOOP), prefill_where_it_decodes(FLAT, LOOP)
    # 10 prompts in 100 ms; 50 tokens after the first take 0.5 s; 400 users wait for the rest of 4 s.
    assert (before.throughput, before.decode, before.ttft) == pytest.approx((100.0, 0.5, 3.5))
    # 80 requests a worker: 80 / 51.5 come in a step, 10 ms each beside the 10 ms of decoding.
    step = 0.01 + 80 / 51.5 * 0.01
    assert (after.ttft, after.decode) == pytest.approx((1.5 * step, 50 * step))


@pytest.mark.parametrize("users", [256, 384, 512, 1024])
def test_littles_law_holds_before_and_after(users: int) -> None:
    profile, loop = load_profile(PROFILES / "llama-3.1-70b-tp4"), Loop(users, 5)
    for felt in (one_prefill_worker(profile, loop), prefill_where_it_decodes(profile, loop)):
        assert felt.throughput * (felt.ttft + felt.decode) == pytest.approx(users)


def test_a_prefill_worker_that_is_not_full_has_no_queue_to_pass_by() -> None:
    with pytest.raises(ValueError, match="30 users do not fill one prefill worker"):
        one_prefill_worker(FLAT, Loop(30, 5, 100, 51, 1000))


def test_more_decode_workers_share_the_prefill() -> None:
    few, many = (prefill_where_it_decodes(FLAT, Loop(400, m, 100, 51, 1000)) for m in (2, 5))
    assert many.throughput > few.throughput
    assert many.ttft < few.ttft
