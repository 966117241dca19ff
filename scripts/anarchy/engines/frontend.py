"""Dynamo's frontend with its KV router: the same for every engine."""

from __future__ import annotations

from anarchy.engines.spec import DeploymentSpec, RoutingPolicy


def frontend_command(spec: DeploymentSpec, policy: RoutingPolicy, port: int) -> tuple[str, ...]:
    """Command of the frontend that routes by `policy`.

    The router's cost of worker j is `omega * max(0, prefill blocks_j - overlap_j) + decode blocks_j`, and
    `decode_active_request_weight` blocks more for each request active there. On the decode choice of a
    disaggregated deployment the prefill term is 0 for every worker, so omega has nothing to act on there.
    """
    dynamo = spec.dynamo
    return (
        *(str(spec.dynamo_python), "-m", "dynamo.frontend"),
        *("--http-host", spec.host, "--http-port", str(port)),
        *("--router-mode", "kv"),
        *("--router-temperature", repr(policy.tau)),
        *(dynamo.omega_flag, repr(policy.omega)),
        "--router-replica-sync",
        *dynamo.active_request_flags(policy.decode_active_request_weight),
        *dynamo.frontend_flags,
        *dynamo.reuse_flags(spec.assume_kv_reuse),
    )
