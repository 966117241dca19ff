"""A deployment of Dynamo 0.9.0: its NATS server, how its workers are known, and what is refused."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anarchy.engines.spec import DeploymentSpec, RoutingPolicy
from anarchy.ground.errors import UserError
from anarchy.serving.discovery import Registered, check_limits, registered_at
from anarchy.serving.nats import NatsServer, ask_nats, check_nats, check_nats_there, read_info
from anarchy.serving.placement import Ports, place
from anarchy.serving.requirements import check_stack
from anarchy.serving.reuse import ReuseCheck
from tests.helpers.specs import mock_spec


@pytest.fixture
def spec(tmp_path: Path) -> DeploymentSpec:
    return mock_spec(
        tmp_path,
        RoutingPolicy("static", 0.0, 1.0),
        RoutingPolicy("soft", 0.7, 1.0),
        dilation=2.0,
        decode_max_num_seqs=32,
        dynamo_python=tmp_path / "bin" / "python",
        stack="0.9.0",
    )


def test_placement(spec: DeploymentSpec, tmp_path: Path) -> None:
    needed = Ports.needed(spec)
    assert needed == 2 + 3 * 2 + 2
    ports = Ports.of(spec, range(1, needed + 1))
    assert (ports.system, ports.requests, ports.http) == ((3, 4, 5), (6, 7, 8), (9, 10))
    placed = place(
        spec, ports, model_folder=tmp_path / "model", discovery_dir=tmp_path / "kv", home=tmp_path / "home"
    )
    (nats,) = placed.infrastructure
    assert nats.command == (
        *(str(tmp_path / "bin" / "nats-server"), "-a", "127.0.0.1", "-p", "1"),
        *("-js", "-sd", str(tmp_path / "home" / "nats")),
    )
    for worker, system, request in zip(placed.workers, ports.system, ports.requests, strict=True):
        environment = worker.process.environment
        assert worker.request_port == request
        assert (environment["DYN_SYSTEM_PORT"], environment["DYN_TCP_RPC_PORT"]) == (
            str(system),
            str(request),
        )
    for process in placed.processes[1:]:
        assert process.environment["NATS_SERVER"] == "nats://127.0.0.1:1"
        assert (process.environment["DYN_EVENT_PLANE"], process.environment["DYN_STORE_KV"]) == (
            "nats",
            "file",
        )
        assert "DYN_ZMQ_BROKER_URL" not in process.environment
    for process in placed.processes:
        assert "0.0.0.0" not in " ".join((*process.command, *process.environment.values()))
    assert "DYN_TCP_RPC_PORT" not in placed.frontends[0].process.environment


# --- NATS ---


def test_no_nats_server_is_refused(spec: DeploymentSpec, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs a NATS server") as caught:
        check_nats_there(spec)
    assert "envs/build dynamo-0.9.0" in str(caught.value.remedy)
    check_nats_there(replace(spec, stack="1.5.1"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nats-server").touch()
    check_nats_there(spec)


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (NatsServer("2.9.10", jetstream=True), "version 2.9.10, and Dynamo needs 2.10"),
        (NatsServer("1.99.0", jetstream=True), "version 1.99.0"),
        (NatsServer("", jetstream=True), "version unknown"),
        (NatsServer("2.15.1", jetstream=False), "has no JetStream"),
    ],
)
def test_a_nats_server_that_will_not_do_is_refused(server: NatsServer, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        check_nats(server, Path("nats-server"))
    assert caught.value.remedy


@pytest.mark.parametrize("version", ["2.10.0", "2.15.1", "3.0.0-RC.1"])
def test_a_nats_server_that_will_do(version: str) -> None:
    check_nats(NatsServer(version, jetstream=True), Path("nats-server"))


@pytest.mark.parametrize("line", [b"", b"HTTP/1.1 400 Bad Request\r\n", b"INFO {broken\r\n", b"INFO [1]\r\n"])
def test_what_is_no_nats_server_says_nothing(line: bytes) -> None:
    assert read_info(line) is None


def test_a_server_is_asked_and_one_that_is_not_there_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b'INFO {"version":"2.15.1",')
                connection.sendall(b'"jetstream":true} \r\n')

        thread = threading.Thread(target=serve)
        thread.start()
        address = listening.getsockname()
        assert ask_nats(address) == NatsServer("2.15.1", jetstream=True)
        thread.join()
    assert ask_nats(address) is None


# --- registration ---


def register(folder: Path, instance: int, component: str, port: int, **limits: Any) -> None:
    name = f"dynamo%2F{component}%2Fgenerate%2F{instance:x}"
    documents = {
        "instances": {
            "component": component,
            "instance_id": instance,
            "transport": {"tcp": f"127.0.0.1:{port}/{instance:x}/generate"},
        },
        "mdc": {"instance_id": instance, "card_json": {"runtime_config": limits}},
    }
    for kind, document in documents.items():
        path = folder / "v1" / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))


def test_a_worker_is_known_by_its_port_once_its_card_is_whole(tmp_path: Path) -> None:
    assert registered_at(tmp_path, "decode", 7001) is None
    register(tmp_path, 2**63 + 5, "backend", 7001, max_num_seqs=32)
    register(tmp_path, 6, "backend", 70)
    register(tmp_path, 7, "prefill", 7002)
    assert registered_at(tmp_path, "decode", 7001) == Registered(2**63 + 5, {"max_num_seqs": 32})
    assert registered_at(tmp_path, "prefill", 7001) is None
    assert registered_at(tmp_path, "decode", 700) is None
    card = next((tmp_path / "v1" / "mdc").glob(f"*{2**63 + 5:x}"))
    card.write_text(card.read_text()[:20])  # half written
    assert registered_at(tmp_path, "decode", 7001) is None


def test_a_limit_that_is_not_honoured_is_refused(spec: DeploymentSpec) -> None:
    told = {"max_num_seqs": 32, "max_num_batched_tokens": 8192, "total_kv_blocks": 65_536}
    check_limits(spec, "decode", "decode-0", Registered(1, told))
    check_limits(spec, "prefill", "prefill-0", Registered(1, {**told, "max_num_seqs": 1024}))
    for name in told:
        with pytest.raises(UserError, match=f"decode-0 was told {name} {told[name]} and has 256") as caught:
            check_limits(spec, "decode", "decode-0", Registered(1, {**told, name: 256}))
        assert caught.value.remedy
    with pytest.raises(UserError, match="has None"):
        check_limits(spec, "decode", "decode-0", Registered(1, {}))


# --- the stack that is really there ---


@pytest.mark.parametrize(("asked", "there"), [("0.9.0", "1.5.1"), ("1.5.1", "0.9.0"), ("0.9.0", None)])
def test_another_stack_than_asked_for_is_refused(spec: DeploymentSpec, asked: str, there: str | None) -> None:
    with pytest.raises(UserError, match=rf"stack {asked} was asked for") as caught:
        check_stack(replace(spec, stack=asked), {"ai-dynamo": there})
    assert caught.value.remedy


@pytest.mark.parametrize(("asked", "there"), [("0.9.0", "0.9.0"), ("1.5.1", "1.5.1"), ("1.5.1", "1.6.1")])
def test_the_stack_asked_for_is_taken_and_so_is_a_new_one(
    spec: DeploymentSpec, asked: str, there: str
) -> None:
    check_stack(replace(spec, stack=asked), {"ai-dynamo": there})


# --- reuse ---


@pytest.mark.parametrize(
    ("chosen", "once"),
    [((20, 0, 0), True), ((0, 20, 0), False), ((19, 1, 0), None), ((19, 0, 1), None), ((0, 0, 20), None)],
)
def test_the_choices_tell_how_a_repeated_template_counts(
    chosen: tuple[int, int, int], once: bool | None
) -> None:
    assert ReuseCheck(chosen, expected=True).counts_once is once
    assert [ReuseCheck(chosen, expected=wanted).ok for wanted in (True, False)] == [
        once is True,
        once is False,
    ]
    assert str(chosen) in ReuseCheck(chosen, expected=True).words
