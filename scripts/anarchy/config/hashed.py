"""What decides a measurement, as it is hashed: which keys count, and under which names.

A sealed cell is known by the hash of everything that decided it. So a key keeps the name that it was first
hashed under, whatever it is called today (`KEPT`), and a key that came later counts only where it has another
value than the one it was introduced with (`LATER`): cells sealed before there was such a key were measured
with just that value. A default that is edited later is such another value, so it makes its cells stale.

To add a key to a block: give it a line in `LATER`, with the value at which it changes nothing. To rename one:
change the left side of its line, and leave the right side alone. A key in neither table is an error.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, is_dataclass
from typing import Any, Final

from pydantic import BaseModel

from anarchy.config import Controller, Limits, Model, Policy, Timing, Topology, Workload
from anarchy.config.loads import Stage

FOR_PEOPLE: Final = frozenset({"title"})
"""Keys that decide nothing: a better title must not cost a measurement."""


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


KEPT: Final[dict[type, dict[str, str]]] = {
    Model: _same("name", "tensor_parallel", "quantization", "profile", "kv_bytes_per_token", "dilation"),
    Topology: _same("name", "prefill", "decode"),
    Policy: _same("name", "kind"),
    Workload: _same("name", "input_tokens", "output_tokens", "output_jitter", "templates"),
    Timing: _same("warmup_s", "measure_s", "min_windows", "measure_max_s", "deadline_s"),
    Controller: _same(
        *("source", "theta1_times", "theta2_times", "theta1_s", "theta2_s"),
        *("weight", "confirm", "hysteresis"),
    ),
    Stage: _same("name", "concurrency", "settle_s", "seconds"),
    Limits: {},
}
"""Block -> key today -> the name that it is hashed under, of the keys that always count."""

LATER: Final[dict[type, dict[str, tuple[str, object]]]] = {
    Policy: {
        "way": ("way", "builtin"),
        "tau": ("tau", None),
        "omega": ("omega", None),
        "controller": ("controller", None),
        "batch_s": ("batch_s", None),
        "decode_active_request_weight": ("decode_active_request_weight", 0.0),
        "kv_event_lag_s": ("kv_event_lag_s", 0.0),
        "assume_kv_reuse": ("assume_kv_reuse", None),
        "affinity_threshold": ("affinity_threshold", None),
        "max_ttft_penalty_s": ("max_ttft_penalty_s", None),
        "peak_prefill_tokens_per_s": ("peak_prefill_tokens_per_s", None),
    },
    Workload: {
        "skew": ("skew", 0.0),
        "synchrony": ("synchrony", "spread"),
        "think_s": ("think_s", 0.0),
        "send_every_s": ("send_every_s", 0.0),
        "unique_tail_tokens": ("unique_tail_tokens", 0),
    },
    Limits: {
        "decode_max_num_seqs": ("decode_max_num_seqs", None),
        "max_num_batched_tokens": ("max_num_batched_tokens", 8192),
        "num_gpu_blocks": ("num_gpu_blocks", 65_536),
        "kv_link_gb_s": ("kv_link_gb_s", 64.0),
    },
}
"""Block -> key today -> the name that it is hashed under, and the value it was introduced with."""


def hashed(block: object, ignored: Collection[str] = ()) -> dict[str, object]:
    """Keys and values of a block that a measurement depends on, under the names that they are hashed under.

    Raises KeyError for a key that no table knows: its author has to say what it does to sealed cells.
    """
    # A kind of policy is hashed as a policy, its own keys among them.
    known = next(one for one in type(block).__mro__ if one in KEPT)
    kept, later = KEPT[known], LATER.get(known, {})
    found: dict[str, object] = {}
    for key, value in _entries(block).items():
        if key in FOR_PEOPLE or key in ignored:
            continue
        plain = hashed(value) if isinstance(value, tuple(KEPT)) else value
        if key in kept:
            found[kept[key]] = plain
        else:
            name, introduced = later[key]
            if plain != introduced:
                found[name] = plain
    return found


def _entries(block: Any) -> dict[str, Any]:
    if isinstance(block, BaseModel):
        return {key: getattr(block, key) for key in type(block).model_fields}
    assert is_dataclass(block), "blocks are models or dataclasses"
    return {field.name: getattr(block, field.name) for field in fields(block)}
