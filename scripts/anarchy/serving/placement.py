"""Which processes a deployment consists of, with nodes, commands, environments and ports: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anarchy.engines.frontend import frontend_command
from anarchy.engines.hosts import HERE, Node, Seat
from anarchy.engines.registry import served_by
from anarchy.engines.spec import DeploymentSpec, Role, RoutingPolicy
from anarchy.serving.nats import NATS, nats_server
from anarchy.serving.selector_process import service_command

EVENT_BROKER_SCRIPT = Path(__file__).with_name("event_broker.py")


@dataclass(frozen=True)
class ProcessPlan:
    """One process to start: its unique name, command, the variables to add to its environment, its seat."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    seat: Seat = HERE


@dataclass(frozen=True)
class WorkerPlan:
    """One worker to start; `index` counts within the role, `request_port` is 0 where it may be any."""

    index: int
    role: Role
    system_port: int
    request_port: int
    process: ProcessPlan


@dataclass(frozen=True)
class FrontendPlan:
    """One frontend to start, for one policy, at one port."""

    policy: RoutingPolicy
    port: int
    process: ProcessPlan


@dataclass(frozen=True)
class Placement:
    """All processes of a deployment, workers ordered prefill 0..P-1, then decode 0..D-1.

    `infrastructure` is what must be there before the others start: discovery (etcd), the event broker, and
    the selector where policies route for themselves.
    """

    infrastructure: tuple[ProcessPlan, ...]
    workers: tuple[WorkerPlan, ...]
    frontends: tuple[FrontendPlan, ...]

    @property
    def processes(self) -> tuple[ProcessPlan, ...]:
        """Every process in the order of starting."""
        return (
            *self.infrastructure,
            *(worker.process for worker in self.workers),
            *(frontend.process for frontend in self.frontends),
        )


@dataclass(frozen=True)
class Ports:
    """The ports of one deployment: no two alike, so that nodes may share an address.

    The first two are those of the event plane; a NATS server takes the first alone. `etcd` holds the port for
    clients and the one for peers; none with file discovery. `engine` holds what the engine of each worker
    takes beside its system port, `requests` where each worker takes requests, if it is to be known by that.
    """

    broker_publish: int
    broker_subscribe: int
    system: tuple[int, ...]
    http: tuple[int, ...]
    etcd: tuple[int, ...] = ()
    engine: tuple[tuple[int, ...], ...] = ()
    requests: tuple[int, ...] = ()

    @staticmethod
    def needed(spec: DeploymentSpec, extra_frontends: int = 0) -> int:
        """How many free ports a deployment takes beside those that its spec names."""
        http = 0 if spec.http_ports else len(spec.policies)
        etcd = 2 if spec.discovery == "etcd" else 0
        each = 1 + served_by(spec.engine).ports + (not spec.dynamo.tells_instance)
        workers = (spec.prefill + spec.decode) * each
        return 2 + etcd + workers + http + extra_frontends

    @classmethod
    def of(cls, spec: DeploymentSpec, free: Sequence[int]) -> Ports:
        """Share out as many free ports as are needed; the named ones of the policies come first."""
        publish, subscribe, *rest = free
        etcd, rest = (tuple(rest[:2]), rest[2:]) if spec.discovery == "etcd" else ((), rest)
        workers, each = spec.prefill + spec.decode, served_by(spec.engine).ports
        system, rest = tuple(rest[:workers]), rest[workers:]
        engine = tuple(tuple(rest[each * index : each * (index + 1)]) for index in range(workers))
        rest = rest[each * workers :]
        told = spec.dynamo.tells_instance
        requests, rest = ((), rest) if told else (tuple(rest[:workers]), rest[workers:])
        http = (*spec.http_ports, *rest)
        return cls(publish, subscribe, system, http, etcd, engine, requests)


def common_environment(
    spec: DeploymentSpec, ports: Ports, node: Node, *, discovery_dir: Path, home: Path
) -> dict[str, str]:
    """Dynamo's settings for a process on one node, listening on that node's address only.

    Left alone, each process publishes its events on 0.0.0.0 and answers on the first network interface: the
    broker (a documented mode of the ZMQ event plane) or the NATS server, and the interface named for streams
    (0.9.0 does not know that variable), keep both where they belong.
    """
    return {
        **_discovery(spec, ports, discovery_dir),
        "DYN_REQUEST_PLANE": "tcp",
        **_events(spec, ports),
        "DYN_TCP_RPC_HOST": node.address,
        "DYN_TCP_RESPONSE_STREAM_HOST": node.interface,
        "DYN_SYSTEM_HOST": node.address,
        # The default level writes several lines a request; "warn" still tells of lost discovery.
        "DYN_LOG": "warn",
        "DYN_SDK_DISABLE_ANSI_LOGGING": "1",
        "HOME": str(home),  # frontends leave copies of the model folder in ~/.cache/dynamo
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONUNBUFFERED": "1",
        **spec.dynamo.environment,
    }


def _events(spec: DeploymentSpec, ports: Ports) -> dict[str, str]:
    if spec.dynamo.event_plane == "nats":
        return {"DYN_EVENT_PLANE": "nats", "NATS_SERVER": f"nats://{spec.host}:{ports.broker_publish}"}
    sides = (("xsub", ports.broker_publish), ("xpub", ports.broker_subscribe))
    url = " , ".join(f"{side}=tcp://{spec.host}:{port}" for side, port in sides)
    return {"DYN_EVENT_PLANE": "zmq", "DYN_ZMQ_BROKER_URL": url}


def _discovery(spec: DeploymentSpec, ports: Ports, folder: Path) -> dict[str, str]:
    if spec.discovery == "file":
        return {"DYN_DISCOVERY_BACKEND": "file", "DYN_FILE_KV": str(folder)}
    return {"DYN_DISCOVERY_BACKEND": "etcd", "ETCD_ENDPOINTS": f"http://{spec.host}:{ports.etcd[0]}"}


def _shown_gpus(seat: Seat) -> dict[str, str]:
    """The GPUs of a worker on this machine; on a node of a Slurm job its step is shown them."""
    if not seat.gpus or seat.node.slurm_name:
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, seat.gpus))}


def etcd_process(spec: DeploymentSpec, ports: Ports, data: Path) -> ProcessPlan:
    """The discovery service, with its data in a folder of the first node; no other member can join it."""
    client, peer = (f"http://{spec.host}:{port}" for port in ports.etcd)
    return ProcessPlan(
        "etcd",
        (
            *(spec.etcd, "--name", "anarchy", "--data-dir", str(data), "--log-outputs", "stderr"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"anarchy={peer}"),
        ),
        {},
    )


def event_process(
    spec: DeploymentSpec, ports: Ports, environment: Mapping[str, str], data: Path
) -> ProcessPlan:
    """What relays the events between routers and workers: NATS with JetStream in a folder, or our broker."""
    if spec.dynamo.event_plane == "nats":
        server = str(nats_server(spec.dynamo_python))
        address = ("-a", spec.host, "-p", str(ports.broker_publish))
        return ProcessPlan(NATS, (server, *address, "-js", "-sd", str(data)), {})
    sides = (ports.broker_publish, ports.broker_subscribe)
    addresses = (f"tcp://{spec.host}:{port}" for port in sides)
    command = (str(spec.dynamo_python), str(EVENT_BROKER_SCRIPT), *addresses)
    return ProcessPlan("event-broker", command, environment)


def place(
    spec: DeploymentSpec,
    ports: Ports,
    *,
    model_folder: Path,
    discovery_dir: Path,
    home: Path,
    contrasts: tuple[RoutingPolicy, ...] = (),
    selector: Path | None = None,
) -> Placement:
    """Lay out a deployment; `contrasts` are the short-lived frontends of the routing self-test.

    `model_folder` is what the engine takes for the model. `ports.system` holds one port a worker,
    `ports.http` one a policy and then one a contrast. `selector` is the path of the selector's socket, if
    there is to be one. Frontends, discovery, broker and selector are on the first node.
    """
    engine = served_by(spec.engine)

    def environment(node: Node) -> dict[str, str]:
        common = common_environment(spec, ports, node, discovery_dir=discovery_dir, home=home)
        return {**common, **engine.everywhere(spec)}

    here = environment(spec.nodes[0])
    places: list[tuple[Role, int]] = [("prefill", index) for index in range(spec.prefill)]
    places += [("decode", index) for index in range(spec.decode)]
    workers = tuple(
        WorkerPlan(
            index,
            role,
            port,
            requests,
            ProcessPlan(
                f"{role}-{index}",
                engine.command(spec, role, model_folder, more),
                {
                    **environment(seat.node),
                    "DYN_SYSTEM_PORT": str(port),
                    **({"DYN_TCP_RPC_PORT": str(requests)} if requests else {}),
                    **_shown_gpus(seat),
                    **engine.environment(spec, seat.node, more),
                },
                seat,
            ),
        )
        for (role, index), port, more, requests, seat in zip(
            places,
            ports.system,
            ports.engine or ((),) * len(places),
            ports.requests or (0,) * len(places),
            spec.seats,
            strict=True,
        )
    )
    frontends = tuple(
        FrontendPlan(
            policy,
            port,
            ProcessPlan(f"frontend-{policy.name}", frontend_command(spec, policy, port), here),
        )
        for policy, port in zip((*spec.policies, *contrasts), ports.http, strict=True)
    )
    broker = event_process(spec, ports, here, home / "nats")
    etcd = (etcd_process(spec, ports, discovery_dir),) if spec.discovery == "etcd" else ()
    asked: tuple[ProcessPlan, ...] = ()
    if selector is not None:
        command = service_command(spec.dynamo_python, selector, spec.dynamo.selector_core, model_folder)
        asked = (ProcessPlan("selector", command, here),)
    return Placement((*etcd, broker, *asked), workers, frontends)
