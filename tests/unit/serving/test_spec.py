from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anarchy.engines.mocker import MockerSettings
from anarchy.engines.spec import DYNAMO_PYTHON_VARIABLE, DeploymentSpec, RoutingPolicy, default_dynamo_python
from anarchy.ground.errors import UserError
from anarchy.serving.placement import Ports, place
from tests.helpers.specs import mock_spec


@pytest.fixture
def spec(tmp_path: Path) -> DeploymentSpec:
    return mock_spec(
        tmp_path,
        RoutingPolicy("static", 0.0, 1.0),
        RoutingPolicy("soft", 0.7, 0.3),
        prefill=2,
        decode=3,
        settings=MockerSettings(tmp_path / "p.npz", dilation=4.0, kv_transfer_bandwidth=64.0),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"prefill": 0},
        {"decode": -1},
        {"block_size": 0},
        {"max_num_seqs": 0},
        {"policies": ()},
        {"policies": (RoutingPolicy("a", 0, 1), RoutingPolicy("a", 1, 1))},
        {"http_ports": (20_000,)},
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(spec: DeploymentSpec, change: dict[str, object]) -> None:
    with pytest.raises(UserError):
        replace(spec, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"dilation": 0.5},
        {"dilation": float("nan")},
        {"kv_transfer_bandwidth": -1.0},
        {"kv_bytes_per_token": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(change))):
        MockerSettings(Path("p.npz"), **change)


@pytest.mark.parametrize(("tau", "omega"), [(-0.1, 1), (float("nan"), 1), (0, -1), (0, float("inf"))])
def test_a_policy_that_makes_no_sense_is_refused(tau: float, omega: float) -> None:
    with pytest.raises(UserError, match="policy 'p'"):
        RoutingPolicy("p", tau, omega)


def test_dynamo_python_is_the_variables_then_the_set_up_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DYNAMO_PYTHON_VARIABLE, raising=False)
    assert default_dynamo_python().parts[-4:] == (".envs", "dynamo", "bin", "python")
    monkeypatch.setenv(DYNAMO_PYTHON_VARIABLE, "elsewhere/python")
    assert default_dynamo_python() == Path("elsewhere/python")


def option(command: tuple[str, ...], name: str) -> str:
    return command[command.index(name) + 1]


def test_placement(spec: DeploymentSpec, tmp_path: Path) -> None:
    contrast = RoutingPolicy("contrast", 1.0, 1.0)
    ports = Ports(1, 2, (11, 12, 13, 14, 15), (21, 22, 23))
    placed = place(
        spec,
        ports,
        model_folder=tmp_path / "model",
        discovery_dir=tmp_path / "kv",
        home=tmp_path,
        contrasts=(contrast,),
    )
    assert [worker.process.name for worker in placed.workers] == [
        "prefill-0",
        "prefill-1",
        "decode-0",
        "decode-1",
        "decode-2",
    ]
    assert [worker.index for worker in placed.workers] == [0, 1, 0, 1, 2]
    assert [worker.process.environment["DYN_SYSTEM_PORT"] for worker in placed.workers] == [
        "11",
        "12",
        "13",
        "14",
        "15",
    ]
    assert [frontend.port for frontend in placed.frontends] == [21, 22, 23]
    names = [process.name for process in placed.processes]
    assert [process.name for process in placed.infrastructure] == names[:1] == ["event-broker"]
    assert len(set(names)) == len(names) == 9

    decode = placed.workers[2].process.command
    assert option(decode, "--disaggregation-mode") == "decode"
    assert float(option(decode, "--speedup-ratio")) == 0.25
    # The mock engine does not slow the transfer down by itself.
    assert float(option(decode, "--kv-transfer-bandwidth")) == 16.0
    soft = placed.frontends[1].process.command
    assert (option(soft, "--router-temperature"), option(soft, "--router-prefill-load-scale")) == (
        "0.7",
        "0.3",
    )
    assert "--router-replica-sync" in soft
    for process in placed.processes:
        assert "0.0.0.0" not in " ".join((*process.command, *process.environment.values()))


def test_needed_ports(spec: DeploymentSpec) -> None:
    assert Ports.needed(spec, extra_frontends=1) == 2 + 5 + 2 + 1
    assert Ports.needed(replace(spec, http_ports=(20_001, 20_002))) == 2 + 5
