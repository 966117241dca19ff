"""The patterns of paths in the rules are those that the layout computes: neither can change alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from anarchy.ground.layout import FIGURE_SUFFIXES, NARROW, Layout
from anarchy.plan.workbench import open_run
from anarchy.workflow.rules import Workflow
from tests.helpers.places import PROJECT

CONSTRAINT = re.compile(r"\{(\w+),[^{}]*\}")
EXPERIMENT, MODEL, TOPOLOGY = SYSTEM = ("{experiment}", "{model}", "{topology}")
LAUNCH = (*SYSTEM, "{policy_set}", "{launch}")

PARSED = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, Quietness, ResourceSettings

with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
    workflow = api.workflow(
        resource_settings=ResourceSettings(cores=2),
        config_settings=ConfigSettings(config={"tier": sys.argv[2], "results": sys.argv[1]}),
        snakefile=Path("Snakefile"),
    )._workflow
    told = {
        rule.name: {
            "input": [str(path) for path in rule.input if not callable(path)],
            "output": [str(path) for path in rule.output],
            "log": [str(path) for path in rule.log],
        }
        for rule in workflow.rules
    }
print(json.dumps(told))
"""
"""Every rule with its paths as Snakemake reads them; nothing is planned and nothing runs."""

Rules = dict[str, dict[str, set[str]]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module", params=["quick", "why"])
def tier(request: pytest.FixtureRequest) -> str:
    """One that measures E1, and one that measures users in step."""
    return str(request.param)


@pytest.fixture(scope="module")
def rules(results: Path, tier: str) -> Rules:
    """Patterns of each rule by kind, without what its wildcards may be."""
    done = subprocess.run(
        [sys.executable, "-c", PARSED, str(results), tier],
        cwd=PROJECT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rules = json.loads(done.stdout.splitlines()[-1])
    for kinds in rules.values():
        for kind, paths in kinds.items():
            kinds[kind] = {CONSTRAINT.sub(r"{\1}", path) for path in paths}
            assert len(kinds[kind]) == len(paths), f"a path stands twice: {paths}"
    return dict(rules)


def test_a_call_of_snakemake_loads_statistics_only_to_draw_a_sample(results: Path, tier: str) -> None:
    """They take a second, and each job of a run is a call. Tier why has a sample."""
    asked = PARSED.replace("print(json.dumps(told))", "print('scipy.stats' in sys.modules)")
    done = subprocess.run(
        [sys.executable, "-c", asked, str(results), tier],
        cwd=PROJECT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tier == "why")


def written(paths: Iterable[Path]) -> set[str]:
    return {str(path) for path in paths}


@pytest.fixture(scope="module")
def run(results: Path, tier: str) -> Workflow:
    return Workflow(open_run({"tier": tier, "results": str(results)}))


@pytest.fixture(scope="module")
def layout(run: Workflow) -> Layout:
    return run.layout


def with_suffixes(stem: Path, suffixes: Iterable[str]) -> list[Path]:
    return [stem.parent / f"{stem.name}.{suffix}" for suffix in suffixes]


def outputs(run: Workflow) -> dict[str, list[Path]]:
    """Rule -> what the layout says that it makes."""
    layout = run.layout
    overview = layout.figures("equilibrium") / "overview_poa"
    summary = layout.tables("") / "summary"
    march = layout.figures("why") / "overview_march"
    settings = with_suffixes(layout.claims.with_name("claims-settings"), ("csv", "md"))
    pictures = (*FIGURE_SUFFIXES, NARROW)
    forest = [*with_suffixes(layout.figures("claims") / "forest", pictures), layout.tables("") / "forest.csv"]
    ladder = [*with_suffixes(overview, pictures), *with_suffixes(summary, ("csv", "tex"))]
    read = with_suffixes(layout.claims.with_name("claims-readings"), ("csv", "md"))
    return {
        "knee": [layout.loads(MODEL, TOPOLOGY), layout.provenance(MODEL, TOPOLOGY)],
        "sweep": [layout.summary(*LAUNCH)],
        **{
            f"estimate_{design.name}": [layout.estimates(*SYSTEM) / file for file in design.files]
            for design in run.designs
        },
        **{
            f"notebook_{design.name}": run.drawn(design, EXPERIMENT, f"{MODEL}_{TOPOLOGY}")
            for design in run.designs
        },
        "claims": [
            *with_suffixes(layout.claims, ("csv", "json", "md")),
            *(read if run.has_readings else ()),
            *(settings if run.has_sample else ()),
        ],
        "report": [
            layout.report,
            *forest,
            *(ladder if run.has_ladder else ()),
            *(with_suffixes(march, pictures) if run.has_readings else ()),
        ],
    }


def test_rules_make_what_the_layout_says(rules: Rules, run: Workflow) -> None:
    made = {name: kinds["output"] for name, kinds in rules.items() if kinds["output"]}
    assert made == {name: written(paths) for name, paths in outputs(run).items()}


def test_logs_lie_beside_what_they_tell_of(rules: Rules, run: Workflow, layout: Layout) -> None:
    stem, logs = "_".join(SYSTEM), layout.root / "logs"
    expected = {
        "knee": [logs / f"knee_{MODEL}_{TOPOLOGY}.log"],
        "sweep": [layout.deployment(*LAUNCH) / "logs" / "sweep.log"],
        "claims": [logs / "claims.log"],
        "report": [logs / "report.log"],
        **{f"estimate_{design.name}": [logs / f"estimate_{stem}.log"] for design in run.designs},
        **{
            f"notebook_{design.name}": [layout.notebook(*SYSTEM), logs / f"notebook_{stem}.log"]
            for design in run.designs
        },
    }
    told = {name: kinds["log"] for name, kinds in rules.items() if kinds["log"]}
    assert told == {name: written(paths) for name, paths in expected.items()}


def test_rules_read_what_others_make(rules: Rules, run: Workflow) -> None:
    """What a pattern among the inputs names; functions ask the layout themselves."""
    for design in run.designs:
        estimates = written(outputs(run)[f"estimate_{design.name}"])
        assert rules[f"notebook_{design.name}"]["input"] == {*estimates, str(run.notebook(design))}
    layout = run.layout
    assert rules["all"]["input"] == written([layout.report, layout.claims.with_suffix(".md"), *run.measured])
    assert rules["report"]["input"] == written([*run.rendered, layout.claims.with_suffix(".json")])
    assert rules["claims"]["input"] == written(run.system_files)


@dataclass
class Asked:
    """Wildcards of an estimate."""

    experiment: str
    model: str = "llama-3.1-70b"
    topology: str = "1p5d"
    policy_set: str = ""
    launch: str = ""


def test_what_shares_a_budget_waits_for_all_of_it(results: Path) -> None:
    run = Workflow(open_run({"tier": "smoke", "experiments": "split,equilibrium", "results": str(results)}))
    asked = {name: Asked(name) for name in ("split", "equilibrium")}
    topologies = {
        name: {path.parts[-4] for path in run.summaries(wildcards)} for name, wildcards in asked.items()
    }
    assert topologies == {"split": {"1p5d", "2p4d", "3p3d"}, "equilibrium": {"1p5d"}}
    assert run.estimate_study(asked["split"]) != run.estimate_study(Asked("split", topology="2p4d"))
