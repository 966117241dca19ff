"""The selector's place in a deployment: a process of its own beside the broker, never in a container."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from anarchy.engines.dynamo import STACKS
from anarchy.engines.image import ServingImage
from anarchy.engines.spec import DeploymentSpec, RoutingPolicy
from anarchy.ground.errors import UserError
from anarchy.serving.placement import Placement, Ports, place
from anarchy.serving.selector_process import SERVICE
from tests.helpers.specs import mock_spec


@pytest.fixture
def spec(tmp_path: Path) -> DeploymentSpec:
    return mock_spec(tmp_path, RoutingPolicy("pinned", 0.0, 1.0), selector=True)


def placed(spec: DeploymentSpec, selector: Path | None) -> Placement:
    folder = Path("scratch")
    ports = Ports(1, 2, (11, 12, 13), (21,))
    return place(
        spec, ports, model_folder=folder, discovery_dir=folder / "kv", home=folder, selector=selector
    )


def test_the_selector_is_infrastructure_and_is_told_its_socket(spec: DeploymentSpec) -> None:
    placement = placed(spec, Path("scratch/selector.sock"))
    assert [process.name for process in placement.infrastructure] == ["event-broker", "selector"]
    selector = placement.infrastructure[1]
    asked = ("--core", "selection_core", "--model-folder", "scratch")
    assert selector.command == ("python", "-P", str(SERVICE), "--socket", "scratch/selector.sock", *asked)
    assert selector.seat.node == spec.nodes[0]
    names = [process.name for process in placement.processes]
    assert names.index("selector") < names.index("prefill-0"), "it is there before whoever it chooses from"
    assert "0.0.0.0" not in " ".join((*selector.command, *selector.environment.values()))


def test_each_version_of_dynamo_has_its_own_core_beside_the_service(tmp_path: Path) -> None:
    cores = {name: one.selector_core for name, one in STACKS.items() if one.serves}
    assert cores == {"1.5.1": "selection_core", "0.9.0": "push_router_core"}
    assert all(SERVICE.with_name(f"{core}.py").is_file() for core in cores.values())
    papers = mock_spec(tmp_path, RoutingPolicy("pinned", 0.0, 1.0), selector=True, stack="0.9.0")
    ports = Ports(1, 2, (11, 12, 13), (21,), requests=(31, 32, 33))
    folder = Path("scratch")
    placement = place(
        papers, ports, model_folder=folder, discovery_dir=folder, home=folder, selector=folder / "s"
    )
    assert "push_router_core" in placement.infrastructure[1].command


def test_without_pinned_policies_there_is_none(spec: DeploymentSpec) -> None:
    without = replace(spec, selector=False)
    assert "selector" not in [process.name for process in placed(without, None).processes]
    assert Ports.needed(without) == Ports.needed(spec), "a Unix socket takes no port"


def test_a_socket_whose_path_the_kernel_would_cut_off_is_refused(spec: DeploymentSpec) -> None:
    with pytest.raises(UserError, match="too many for the path of a Unix socket"):
        placed(spec, Path("/" + "x" * 100) / "selector.sock")


def test_a_selector_in_a_container_is_refused(spec: DeploymentSpec) -> None:
    image = ServingImage("apptainer", "dynamo.sif", None)
    assert replace(spec, selector=False, container=image).container is image
    with pytest.raises(UserError, match=r"pinned routing with a container(?s:.*)remedy: .*runtime none"):
        replace(spec, container=image)
