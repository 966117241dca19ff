"""What a policy of Dynamo's own cost is told, and where it would do nothing."""

from __future__ import annotations

import pytest

from tests.helpers.config_samples import refused_policy


def test_a_weight_of_active_requests_is_refused_where_requests_are_pinned() -> None:
    error = refused_policy(
        {"kind": "kv", "way": "pinned", "tau": 0.0, "omega": 1.0, "decode_active_request_weight": 8.0}
    )
    assert "decode_active_request_weight with way: pinned" in str(error)
    assert "way: builtin" in str(error.remedy)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"way": "pinned", "omega": 1.0}, "kv_event_lag_s with way: pinned"),
        ({"way": "builtin", "omega": 0.0}, "kv_event_lag_s with omega: 0"),
    ],
)
def test_late_events_are_refused_where_nobody_would_hear_them(said: dict[str, object], why: str) -> None:
    error = refused_policy({"kind": "kv", "tau": 0.0, "kv_event_lag_s": 1.0, **said})
    assert why in str(error)
    assert "leave it out" in str(error.remedy)
