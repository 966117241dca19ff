"""Limits of the workers, which the live engines and the one in virtual time share."""

from __future__ import annotations

from anarchy.config.values import NonNegative, PositiveInt, Strict
from anarchy.engines.spec import KV_LINK_GB_S, MAX_NUM_BATCHED_TOKENS, NUM_GPU_BLOCKS


class Limits(Strict):
    """What a worker holds and runs at once; the defaults are those of vLLM, or hold nobody up."""

    decode_max_num_seqs: PositiveInt | None = None
    """Requests that a decode worker runs at once; the others wait. Without it more than there are users."""
    max_num_batched_tokens: PositiveInt = MAX_NUM_BATCHED_TOKENS
    """New tokens of one step of a worker."""
    num_gpu_blocks: PositiveInt = NUM_GPU_BLOCKS
    """KV blocks of 16 tokens that a worker holds."""
    kv_link_gb_s: NonNegative = KV_LINK_GB_S
    """Simulated engines only: bandwidth from a prefill to a decode worker, GB/s; 0 = no delay."""
