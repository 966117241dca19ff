"""The code that a digest stands for is all the code that runs: seen by running it, on the recorded sample."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anarchy.designs.registry import designs
from anarchy.plan.workbench import open_run
from anarchy.workflow.staleness.closure import Package
from anarchy.workflow.staleness.sources import EXECUTES, parts_of, python_of, roots_of
from tests.helpers.experiments import experiment_of
from tests.helpers.made_up_run import seal_everything
from tests.helpers.places import PROJECT
from tests.helpers.shared import made_once

DESIGN_OF = {experiment_of(design): design for design in designs()}
STEPS = [
    *(f"{kind} {experiment}" for kind in ("system", "notebook") for experiment in DESIGN_OF),
    *("claims", "report"),
]
PLANNED = re.compile(r"workflow/config/|data/profiles/|envs/[a-z-]+\.lock")
"""What a command reads to plan the run; of this the blocks of its system count, and the plan hashes."""
CONFIGURATION = re.compile(r"anarchy\.(config\.(loads|policies|sample|staged|tiers)|designs\.\w+\.tier):")
"""What reads and checks the study, of every design at once: it counts by the blocks that it gives."""
DATA = {
    "claims": {"data/paper/claims.yaml"},
    "notebook step": {"data/paper/claims.yaml"},
    "report": {
        "scripts/anarchy/report/page.html.j2",
        *("data/paper/claims.yaml", "data/paper/elements.yaml"),
    },
}
"""What else a step reads of the project: parameters of its rule, or of the claims that the report needs."""


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each step ran and read, over the recorded traces of tier live, and made-up ones of the others."""
    folder = made_once(tmp_path_factory, "used-definitions", use_everything)
    told: dict[str, Any] = json.loads((folder / "used.json").read_text())
    return told


def use_everything(results: Path) -> None:
    (results / "live").mkdir()
    (results / "live" / "raw").symlink_to(PROJECT / "data" / "sample" / "live" / "raw")
    virtual = ["cache", "engines", "split", "step"]
    seal_everything(open_run({"tier": "smoke", "experiments": virtual, "results": str(results)}))
    script, output = Path(__file__).with_name("used_definitions.py"), results / "used.json"
    done = subprocess.run(
        [sys.executable, script, results, output], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def package() -> Package:
    return Package(PROJECT / "scripts" / "anarchy")


def followed(package: Package, step: str) -> set[str]:
    """The definitions that the digest of a step stands for."""
    kind, _, experiment = step.partition(" ")
    design = DESIGN_OF[experiment].name if experiment else ""
    if kind == "notebook":
        file = PROJECT / "notebooks" / f"{DESIGN_OF[experiment].notebook}.ipynb"
        cells = package.closure_of("\n".join(python_of(file)))
        return {*cells.parts, *package.closure([EXECUTES, *parts_of(kind, design)]).parts}
    return set(package.closure(roots_of(kind, design)).parts)


@pytest.mark.nightly  # two minutes of CPU time
@pytest.mark.parametrize("step", STEPS)
def test_every_definition_that_runs_is_followed(used: dict[str, Any], package: Package, step: str) -> None:
    parts = followed(package, step)
    whole = {part.partition(":")[0] for part in parts if part.endswith(":*")}
    ran = {name for name in used[step]["ran"] if not CONFIGURATION.match(name)}
    assert len(ran) > 50
    assert {name for name in ran - parts if name.partition(":")[0] not in whole} == set()


@pytest.mark.nightly  # two minutes of CPU time
@pytest.mark.parametrize("step", STEPS)
def test_every_file_that_is_read_counts(used: dict[str, Any], step: str) -> None:
    read = {file for file in used[step]["read"] if not PLANNED.match(file)}
    assert read == DATA.get(step, set())


@pytest.mark.parametrize("kind", ["system", "notebook"])
def test_no_design_runs_what_only_another_is_made_by(package: Package, kind: str) -> None:
    parts = {name: followed(package, f"{kind} {name}") for name in DESIGN_OF}
    named = {
        "system": {"estimate_ladder": {"equilibrium", "step"}, "pareto_front": {"pareto"}},
        "notebook": {"poa_against_concurrency": {"equilibrium"}, "poa_of_pairs": {"pareto"}},
    }[kind]
    for function, owners in named.items():
        having = {
            name for name, found in parts.items() if any(part.endswith(f":{function}") for part in found)
        }
        assert having == owners, function


def test_importing_a_module_does_nothing(package: Package) -> None:
    """Only names are followed, and no name leads to what a module does on the side when it is imported."""
    assert {name: package.loose(name) for name in package.names() if package.loose(name)} == {}
