"""A deployment to play with: up until Ctrl-C, SIGTERM or a fault."""

from __future__ import annotations

import signal
import time

from anarchy.engines.spec import DeploymentSpec
from anarchy.serving.stack import Deployment, Progress


def serve(spec: DeploymentSpec, *, tell: Progress = print, stop_after_s: float | None = None) -> None:
    """Start a deployment, tell where its frontends listen, and keep it up until Ctrl-C, SIGTERM or a fault.

    `stop_after_s` ends it by itself. Raises `DeploymentFaultError` when a process dies or discovery is lost.
    """
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Deployment(spec, progress=tell) as deployment:
            for policy in spec.policies:
                host, port = deployment.endpoints[policy.name]
                tell(f"{policy.name} (tau {policy.tau:g}, omega {policy.omega:g}): http://{host}:{port}/v1")
            for worker in deployment.workers:
                tell(f"{worker.name}: instance {worker.instance_id}, pid {worker.pid}, log {worker.log_path}")
            if deployment.self_test is not None and not deployment.self_test.ok:
                tell("WARNING: a routing policy does not take effect (see the self-test)")
            ends = None if stop_after_s is None else time.monotonic() + stop_after_s
            while ends is None or time.monotonic() < ends:
                deployment.raise_if_faulty()
                time.sleep(0.2)
    except KeyboardInterrupt:
        tell("stopped")
    finally:
        signal.signal(signal.SIGTERM, previous)
