"""Gate `override_inert`: a routing policy without effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from anarchy.gates.gate import Gate, Verdict


def override_inert(routing_test: Mapping[str, Any]) -> Verdict:
    """The deployment could not prove that its routing policy takes effect.

    A trace without any proof (somebody else's) does not fail; a proof that failed does.
    """
    proven = routing_test.get("ok")
    return proven is not None and not proven, {"routing_p_value": routing_test.get("p_value")}


GATE: Final = Gate(
    name="override_inert",
    rank=110,
    sentence="The deployment could not prove that its routing policy takes effect.",
    threshold="its routing test failed",
    machine=False,
    own=True,
    public=False,
    ask=lambda asked: override_inert(asked.trace.manifest.routing_test),
)
