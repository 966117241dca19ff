from __future__ import annotations

import json
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from anarchy.ground.errors import UserError
from anarchy.serving.model_folder import VOCABULARY, write_model_folder
from anarchy.serving.ports import MODEL_EXPRESS_PORT, check_ports, ephemeral_floor, free_ports
from anarchy.serving.versions import machine_versions, serving_versions

HOST = "127.0.0.1"


def test_free_ports_differ_and_keep_off_the_reserved_one() -> None:
    ports = free_ports(HOST, 40, avoid=(20_000,))
    assert len(set(ports)) == 40
    assert MODEL_EXPRESS_PORT not in ports
    assert 20_000 not in ports
    if ephemeral_floor() > 21_000:
        assert max(ports) < ephemeral_floor()
    check_ports(HOST, ports)


def test_a_port_in_use_is_refused() -> None:
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(UserError, match="in use") as refused:
            check_ports(HOST, (port,))
    assert str(port) in str(refused.value)


@pytest.mark.parametrize("ports", [(MODEL_EXPRESS_PORT,), (80,), (70_000,), (20_123, 20_123)])
def test_unusable_ports_are_refused(ports: tuple[int, ...]) -> None:
    with pytest.raises(UserError):
        check_ports(HOST, ports)


def test_a_deployment_raises_a_low_soft_limit_on_open_files(tmp_path: Path) -> None:
    code = f"""
        import resource
        from pathlib import Path
        from anarchy.engines.mocker import MockerSettings
        from anarchy.engines.spec import DeploymentSpec, RoutingPolicy
        from anarchy.serving.stack import Deployment
        folder = Path({str(tmp_path)!r})
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        policies = (RoutingPolicy("p", 0.0, 1.0),)
        settings = MockerSettings(folder / "none.npz")
        Deployment(DeploymentSpec("m", 1, 2, policies, folder, settings)).start()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "ulimit" not in done.stderr
    assert "no such timing table" in done.stderr  # what is looked at next


def test_model_folder(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "model")
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(VOCABULARY))
    assert "chat_template" in json.loads((folder / "tokenizer_config.json").read_text())


def test_a_missing_or_half_built_serving_environment_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="make setup"):
        serving_versions(tmp_path / "python")
    with pytest.raises(UserError, match="lacks ai-dynamo"):
        serving_versions(Path(sys.executable))
    assert machine_versions()["python"]
