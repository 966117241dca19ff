"""The description of an archive: `ro-crate-metadata.json`, a Workflow Run RO-Crate 0.5 on RO-Crate 1.1.

Facts in, one JSON document out. What each part is, how the run was made of what, and under which licence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from anarchy.archive.contents import CODE, RESULTS
from anarchy.archive.software import CODE_LICENCE, DATA_LICENCE, Software, paper_entity

METADATA: Final = "ro-crate-metadata.json"
MANIFEST: Final = "manifest-sha256.txt"
README: Final = "README.md"
CONTEXT: Final = "https://w3id.org/ro/crate/1.1/context"
SPECIFICATION: Final = "https://w3id.org/ro/crate/1.1"
WORKFLOW: Final = f"{CODE}Snakefile"
PROFILES: Final = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
SNAKEMAKE: Final = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
COMPUTATIONAL_WORKFLOW: Final = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
FORMAL_PARAMETER: Final = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
AUTHORS: Final = "#authors"
FORMATS: Final = {
    ".json": "application/json",
    ".csv": "text/csv",
    ".html": "text/html",
    ".md": "text/markdown",
    ".cff": "application/yaml",
}
"""Suffix -> media type; others are plain text."""

Entity = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A file or folder (its name ends in a slash) of an archive, and what it is to the run."""

    name: str
    what: str
    parameter: str = ""
    """How the workflow's description calls it, where it is an input or output."""


CONFIGURATION: Final = (
    Part(f"{CODE}workflow/config/", "What is studied: models, policies, workloads, ...", "configuration"),
    Part(f"{CODE}data/profiles/", "Predicted timing tables that simulated engines follow", "timing-tables"),
)
TRACES: Final = (
    Part(f"{RESULTS}raw/", "Raw traces, a row a request, each sealed with a checksum", "traces"),
)
MADE: Final = (
    Part(f"{RESULTS}estimates/", "Estimates with intervals: a table a design, and system.json", "estimates"),
    Part(f"{RESULTS}tables/", "Tables as CSV and TeX", "tables"),
    Part(f"{RESULTS}figures/", "Figures as PDF, SVG and PNG", "figures"),
    Part(f"{RESULTS}notebooks/", "Notebooks as they were executed", "notebooks"),
    Part(f"{RESULTS}claims.json", "A verdict on each published claim", "claims"),
    Part(f"{RESULTS}claims.csv", "The same as a table", "claims-table"),
    Part(f"{RESULTS}claims.md", "The same for people", "claims-page"),
    Part(f"{RESULTS}report.html", "The report, one file that needs no network", "report"),
)
BESIDE: Final = (
    Part(CODE, "The project at the commit that is named here, without recorded runs of others"),
    Part(f"{CODE}envs/", "Lock files of every environment, versions with hashes"),
    Part(f"{CODE}LICENSE", "Licence of the code: Apache-2.0"),
    Part(f"{CODE}data/LICENSE", "Licence of data and figures: CC BY 4.0"),
    Part(f"{CODE}CITATION.cff", "How to cite this artifact and the paper"),
    Part(f"{RESULTS}run.json", "Names the frozen run"),
    Part(f"{RESULTS}runs/", "Frozen runs: every choice, and every deployment as planned", "frozen-run"),
    Part(f"{RESULTS}knees/", "The knee of each system, that loads are multiples of"),
    Part(MANIFEST, "SHA-256 of every other file, as sha256sum reads it"),
    Part(README, "What this archive is, and how to check it"),
)  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What is said of the run beside its files."""

    digest: str
    """The frozen run's."""
    tier: str
    commit: str
    date: str
    """Of the commit; the archive says no other, so that it is the same whenever it is made."""
    versions: dict[str, str]
    """Program -> version."""
    started: str | None
    """When the first deployment was launched, and the last was through; None where no deployment says."""
    ended: str | None
    commits: tuple[str, ...]
    """That deployments were measured at, where they say so."""


def describe(software: Software, facts: Facts, names: Iterable[str]) -> dict[str, Any]:
    """The metadata of an archive that holds files of these names."""
    there = sorted(names)

    def present(parts: Sequence[Part]) -> list[Part]:
        return [part for part in parts if _is_there(part.name, there)]

    configuration, traces, made, beside = map(present, (CONFIGURATION, TRACES, MADE, BESIDE))
    frozen = [part for part in beside if part.parameter]
    inputs, outputs = [*configuration, *frozen], [*traces, *made]
    parts = [*inputs, *outputs, *(part for part in beside if not part.parameter)]
    graph: list[Entity] = [
        {
            "@id": METADATA,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": [{"@id": SPECIFICATION}, {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"}],
        },
        _root(software, facts, parts),
        _workflow(software, facts, inputs, outputs),
        *(_part(part) for part in sorted(parts, key=lambda one: one.name)),
        *(_parameter(part) for part in (*inputs, *outputs)),
        _measuring(facts, inputs, traces),
        _making(facts, [*traces, *inputs], made),
        {"@id": AUTHORS, "@type": "Organization", "name": "; ".join(software.authors)},
        *_cited(software),
        *(_program(name, version) for name, version in sorted(facts.versions.items())),
        *(
            {"@id": profile, "@type": "CreativeWork", "name": name, "version": version}
            for profile, (name, version) in PROFILES.items()
        ),
        {"@id": SNAKEMAKE, "@type": "ComputerLanguage", "name": "Snakemake", "alternateName": "smk",
         "identifier": {"@id": "https://snakemake.github.io"}, "url": {"@id": "https://snakemake.github.io"}},
        {"@id": CODE_LICENCE, "@type": "CreativeWork", "name": "Apache License 2.0"},
        {"@id": DATA_LICENCE, "@type": "CreativeWork", "name": "Creative Commons Attribution 4.0"},
    ]  # fmt: skip
    return {"@context": CONTEXT, "@graph": graph}


def _is_there(name: str, there: Sequence[str]) -> bool:
    if name.endswith("/"):
        return any(one.startswith(name) for one in there)
    return name in (MANIFEST, README) or name in there


def _ids(parts: Iterable[Part]) -> Entity | list[Entity]:
    """References, a single one bare, as RO-Crate recommends."""
    ids = [{"@id": part.name} for part in parts]
    return ids[0] if len(ids) == 1 else ids


def _root(software: Software, facts: Facts, parts: Sequence[Part]) -> Entity:
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{software.title}: run {facts.digest} of tier {facts.tier}",
        "description": "Raw traces, estimates, figures and verdicts of one run, and the code that made them. "
        + software.abstract,
        "identifier": facts.digest,
        "datePublished": facts.date,
        "license": {"@id": DATA_LICENCE},
        "author": {"@id": AUTHORS},
        "keywords": ", ".join(software.keywords),
        "citation": {"@id": paper_entity(software)["@id"]},
        "conformsTo": [{"@id": profile} for profile in PROFILES],
        "mainEntity": {"@id": WORKFLOW},
        "mentions": [{"@id": "#measuring"}, {"@id": "#making"}],
        "hasPart": [{"@id": name} for name in sorted({WORKFLOW, *(part.name for part in parts)})],
    }


def _workflow(software: Software, facts: Facts, inputs: Sequence[Part], outputs: Sequence[Part]) -> Entity:
    return {
        "@id": WORKFLOW,
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "conformsTo": {"@id": COMPUTATIONAL_WORKFLOW},
        "name": software.title,
        "description": software.abstract,
        "version": f"{software.version}, commit {facts.commit}",
        "license": {"@id": CODE_LICENCE},
        "author": {"@id": AUTHORS},
        "programmingLanguage": {"@id": SNAKEMAKE},
        "softwareRequirements": [{"@id": f"#program-{name}"} for name in sorted(facts.versions)],
        "input": [{"@id": f"#{part.parameter}"} for part in inputs],
        "output": [{"@id": f"#{part.parameter}"} for part in outputs],
    }


def _part(part: Part) -> Entity:
    is_code = part.name.startswith(CODE) and not part.name.startswith(f"{CODE}data/")
    entity: Entity = {
        "@id": part.name,
        "@type": "Dataset" if part.name.endswith("/") else "File",
        "name": part.name,
        "description": part.what,
        "license": {"@id": CODE_LICENCE if is_code else DATA_LICENCE},
    }
    if not part.name.endswith("/"):
        entity["encodingFormat"] = FORMATS.get(PurePosixPath(part.name).suffix, "text/plain")
    if part.name == README:
        entity["about"] = {"@id": "./"}
    if part.parameter:
        entity["exampleOfWork"] = {"@id": f"#{part.parameter}"}
    return entity


def _parameter(part: Part) -> Entity:
    return {
        "@id": f"#{part.parameter}",
        "@type": "FormalParameter",
        "conformsTo": {"@id": FORMAL_PARAMETER},
        "additionalType": "Dataset" if part.name.endswith("/") else "File",
        "name": part.parameter,
        "description": part.what,
        "workExample": {"@id": part.name},
    }


def _measuring(facts: Facts, inputs: Sequence[Part], traces: Sequence[Part]) -> Entity:
    at = f" Deployments were measured at {', '.join(facts.commits)}." if facts.commits else ""
    times = {"startTime": facts.started, "endTime": facts.ended}
    return {
        "@id": "#measuring",
        "@type": "CreateAction",
        "name": "Measuring",
        "description": f"Deployments were started and loaded, and every trace was sealed.{at}",
        "instrument": {"@id": WORKFLOW},
        "agent": {"@id": AUTHORS},
        "object": _ids(inputs),
        "result": _ids(traces),
        **{key: value for key, value in times.items() if value},
    }


def _making(facts: Facts, inputs: Sequence[Part], made: Sequence[Part]) -> Entity:
    return {
        "@id": "#making",
        "@type": "CreateAction",
        "name": "Estimating, drawing and judging",
        "description": f"Everything after the traces, with the code of commit {facts.commit}.",
        "instrument": {"@id": WORKFLOW},
        "agent": {"@id": AUTHORS},
        "object": _ids(inputs),
        "result": _ids(made),
    }


def _program(name: str, version: str) -> Entity:
    return {
        "@id": f"#program-{name}",
        "@type": "SoftwareApplication",
        "name": name,
        "softwareVersion": version,
    }


def _cited(software: Software) -> list[Entity]:
    """The paper, and its authors as entities of their own."""
    paper = paper_entity(software)
    people = [
        {"@id": f"#paper-author-{number}", **one} for number, one in enumerate(paper["author"], start=1)
    ]
    authors = [{"@id": one["@id"]} for one in people]
    return [{**paper, "author": authors[0] if len(authors) == 1 else authors}, *people]
