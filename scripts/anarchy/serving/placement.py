"""Which processes a deployment consists of, with commands, environments and ports: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from anarchy.serving.engines import WORKER_COMMANDS, frontend_command
from anarchy.serving.spec import DeploymentSpec, Role, RoutingPolicy

EVENT_BROKER_SCRIPT = Path(__file__).with_name("event_broker.py")


@dataclass(frozen=True)
class ProcessPlan:
    """One process to start: its unique name, command, and the variables to add to its environment."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class WorkerPlan:
    """One worker to start; `index` counts within the role."""

    index: int
    role: Role
    system_port: int
    process: ProcessPlan


@dataclass(frozen=True)
class FrontendPlan:
    """One frontend to start, for one policy, at one port."""

    policy: RoutingPolicy
    port: int
    process: ProcessPlan


@dataclass(frozen=True)
class Placement:
    """All processes of a deployment on one host, workers ordered prefill 0..P-1, then decode 0..D-1."""

    broker: ProcessPlan
    workers: tuple[WorkerPlan, ...]
    frontends: tuple[FrontendPlan, ...]

    @property
    def processes(self) -> tuple[ProcessPlan, ...]:
        """Every process in the order of starting."""
        return (
            self.broker,
            *(worker.process for worker in self.workers),
            *(frontend.process for frontend in self.frontends),
        )


@dataclass(frozen=True)
class Ports:
    """The ports of one deployment on one host."""

    broker_publish: int
    broker_subscribe: int
    system: tuple[int, ...]
    http: tuple[int, ...]

    @staticmethod
    def needed(spec: DeploymentSpec, extra_frontends: int = 0) -> int:
        """How many free ports a deployment takes beside those that its spec names."""
        http = 0 if spec.http_ports else len(spec.policies)
        return 2 + spec.prefill + spec.decode + http + extra_frontends


def common_environment(
    spec: DeploymentSpec, ports: Ports, *, discovery_dir: Path, home: Path
) -> dict[str, str]:
    """Dynamo's settings for a stack on one host with neither etcd nor NATS, listening on the loopback only.

    Left alone, each process publishes its events on 0.0.0.0 and answers on the first network interface: the
    broker (a documented mode of the ZMQ event plane) and the stream interface `lo` keep both on the
    loopback.
    """
    return {
        "DYN_DISCOVERY_BACKEND": "file",
        "DYN_FILE_KV": str(discovery_dir),
        "DYN_REQUEST_PLANE": "tcp",
        "DYN_EVENT_PLANE": "zmq",
        "DYN_ZMQ_BROKER_URL": (
            f"xsub=tcp://{spec.host}:{ports.broker_publish} , xpub=tcp://{spec.host}:{ports.broker_subscribe}"
        ),
        "DYN_TCP_RPC_HOST": spec.host,
        "DYN_TCP_RESPONSE_STREAM_HOST": "lo",
        "DYN_SYSTEM_HOST": spec.host,
        # The default level writes several lines a request; "warn" still tells of lost discovery.
        "DYN_LOG": "warn",
        "DYN_SDK_DISABLE_ANSI_LOGGING": "1",
        "HOME": str(home),  # frontends leave copies of the model folder in ~/.cache/dynamo
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONUNBUFFERED": "1",
    }


def place(
    spec: DeploymentSpec,
    ports: Ports,
    *,
    model_folder: Path,
    discovery_dir: Path,
    home: Path,
    contrasts: tuple[RoutingPolicy, ...] = (),
) -> Placement:
    """Lay out a deployment on one host; `contrasts` are the short-lived frontends of the routing self-test.

    `ports.system` holds one port a worker, `ports.http` one a policy and then one a contrast.
    """
    common = common_environment(spec, ports, discovery_dir=discovery_dir, home=home)
    worker_command = WORKER_COMMANDS[spec.engine]
    places: list[tuple[Role, int]] = [("prefill", index) for index in range(spec.prefill)]
    places += [("decode", index) for index in range(spec.decode)]
    workers = tuple(
        WorkerPlan(
            index,
            role,
            port,
            ProcessPlan(
                f"{role}-{index}",
                worker_command(spec, role, model_folder),
                {**common, "DYN_SYSTEM_PORT": str(port)},
            ),
        )
        for (role, index), port in zip(places, ports.system, strict=True)
    )
    frontends = tuple(
        FrontendPlan(
            policy,
            port,
            ProcessPlan(f"frontend-{policy.name}", frontend_command(spec, policy, port), common),
        )
        for policy, port in zip((*spec.policies, *contrasts), ports.http, strict=True)
    )
    broker = ProcessPlan(
        "event-broker",
        (
            str(spec.dynamo_python),
            str(EVENT_BROKER_SCRIPT),
            f"tcp://{spec.host}:{ports.broker_publish}",
            f"tcp://{spec.host}:{ports.broker_subscribe}",
        ),
        common,
    )
    return Placement(broker, workers, frontends)
