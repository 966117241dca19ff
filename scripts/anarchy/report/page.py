"""The page itself: what every section of the template is filled with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2

from anarchy import tables
from anarchy.claims import readings
from anarchy.claims.readings import Read
from anarchy.claims.scoreboard import counts, of_paper, scoreboard
from anarchy.designs import tables as design_tables
from anarchy.designs.design import Design
from anarchy.designs.ladder.design import DESIGN as LADDER
from anarchy.designs.ladder.tables import summary_table, summary_words
from anarchy.designs.loading import load_systems
from anarchy.designs.readings.design import DESIGN as READINGS
from anarchy.designs.registry import design_of
from anarchy.engines.devices import is_live, is_simulated, is_virtual, labels_in
from anarchy.ground.errors import UserError
from anarchy.ground.files import write_whole
from anarchy.ground.layout import Layout
from anarchy.report import facts, running_on
from anarchy.report.elements import elements
from anarchy.report.findings import answer, findings
from anarchy.report.learned import learned
from anarchy.report.library import data_tables
from anarchy.report.pictures import Picture, links, pictures, plain
from anarchy.report.summary import (
    by_experiment,
    engine_label,
    forest_picture,
    forest_words,
    ladders,
    march,
    marching,
    overview,
)
from anarchy.report.titles import title_of
from anarchy.tables import MISSING, System, number

TEMPLATE: Final = Path(__file__).with_name("page.html.j2")

LONG: Final = 16
"""Rows from which a table is folded away at first."""


def render(
    layout: Layout,
    run_info: Mapping[str, Any],
    claims: Sequence[Mapping[str, Any]] | None,
    exploratory: Sequence[Read] = (),
) -> str:
    """The report as HTML, from the estimates on disk and the figures that the notebooks saved.

    ``run_info``, every key optional: ``tier``; ``systems``: [experiment, model, topology] of each system of
    this run; ``predicted_s`` and ``measured_s`` in all; ``started_at``; ``command``; ``commit``; ``versions``
    and ``machine``: name to value. ``claims``: rows of claims.json, or None when nobody looked.
    ``exploratory``: claims under every reading, where something was so measured. Raises UserError when no
    system has estimates.
    """
    systems = load_systems(layout)
    if not systems:
        raise UserError(
            "holds no estimates, so there is nothing to report",
            where=layout.root,
            remedy="run `make reproduce` first",
        )
    tier = str(run_info.get("tier") or systems[0].info["tier"])
    swept = ladders(systems)
    tiles = scoreboard(claims or ())
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {
        "duration": tables.duration,
        "number": number,
        "srcset": lambda uri: uri.replace(" ", "%20"),
    }
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        tier=tier,
        run=run_info,
        label=engine_label(systems),
        learned=learned(tiles, claims or (), systems),
        tiles=tiles,
        counts=counts(of_paper(tiles)),
        published=of_paper(tiles),
        forest=_forest(layout, claims or ()) if tiles else None,
        summary=plain(summary_words(summary_table(swept))) if swept else None,
        summary_files=links(layout, [layout.root / "tables" / f"summary.{s}" for s in ("csv", "tex")])[0],
        overview=overview(layout, swept) if swept else None,
        march=march(layout, marching(systems)) if marching(systems) else None,
        experiments=[
            _experiment(layout, design, name, mine, run_info) for design, name, mine in by_experiment(systems)
        ],
        claims=claims,
        claim_notes=_notes(claims or ()),
        claim_files=links(layout, [layout.claims.with_suffix(f".{s}") for s in ("csv", "json", "md")])[0],
        exploratory=_exploratory(layout, exploratory),
        elements=elements(systems),
        attempts=facts.attempts(systems),
        gates=facts.reasons(systems),
        deployments=facts.deployments(systems),
        hosts=running_on.hosts(systems),
        gpus=running_on.gpus(systems),
        processes=running_on.processes(systems),
        simulated=_simulated(systems),
        versions=facts.versions(systems, run_info),
        regenerate=facts.regenerate(tier, systems, run_info),
        missing=MISSING,
        library=data_tables(),
    )


def _experiment(
    layout: Layout, design: Design, name: str, systems: Sequence[System], run_info: Mapping[str, Any]
) -> dict[str, Any]:
    """One experiment: what it asks, its answer, its key figures, and its systems in full."""
    answers = {system.key[0] if design.budget else system.key for system in systems}
    sections = [_section(layout, system, run_info, alone=len(answers) == 1) for system in systems]
    _once(sections)
    if design.budget:
        _one_budget(systems, sections)
    return {
        "id": name,
        "title": title_of(design, name),
        "question": design.question or f"{design.title[:1].upper()}{design.title[1:]}.",
        "answer": answer(systems),
        "label": engine_label(systems),
        "systems": sections,
        "key": _key(design, systems, sections),
        "findings": [found for system in systems for found in findings(system)],
        "remarks": remarks(systems),
        "swept": design is LADDER,
        "marching": design is READINGS,
    }


def _once(sections: Sequence[Mapping[str, Any]]) -> None:
    """Long tables that systems share, such as the game of a budget, stand with the first of them."""
    first: dict[str, Mapping[str, Any]] = {}
    for section in sections:
        for table in section["tables"]:
            owner = first.setdefault(repr((table["name"], table["words"])), section)
            table["same_as"] = owner if owner is not section and table["folded"] else None


def _one_budget(systems: Sequence[System], sections: Sequence[dict[str, Any]]) -> None:
    """Figures of a budget stand with its first split: those of another differ by the line that marks it."""
    owners: dict[str, dict[str, Any]] = {}
    for system, section in zip(systems, sections, strict=True):
        owner = owners.setdefault(system.key[0], section)
        if owner is not section:
            section["elsewhere"] = {"owner": owner, "pictures": [*section["key"], *section["pictures"]]}
            section["key"] = section["pictures"] = []


def _key(design: Design, systems: Sequence[System], sections: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """The figures that answer an experiment's question: one a system, or a model whose systems share one."""
    shared: dict[str, list[Picture]] = {}
    for system, section in zip(systems, sections, strict=True):
        shared.setdefault(system.key[0] if design.budget else section["id"], section["key"])
    return [picture for pictures in shared.values() for picture in pictures]


def remarks(systems: Sequence[System]) -> list[tuple[str, str]]:
    """What to know of an experiment, each remark once, and what it is of; empty where that is everything."""
    told: dict[str, list[str]] = {}
    for system in systems:
        for found in findings(system):
            for note in found.notes:
                told.setdefault(note, []).append(found.of)
        for deviation in system.info.get("deviations") or ():
            told.setdefault(deviation, []).append(system.title)
    every = ({found.of for system in systems for found in findings(system)}, {one.title for one in systems})
    return [(remark, "" if set(of) in every else "; ".join(of)) for remark, of in told.items()]


def _notes(claims: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Every remark on a verdict or a part, once, and its number."""
    notes = [
        note
        for claim in claims
        for note in (
            *claim.get("notes", ()),
            *(note for part in claim.get("parts", ()) for note in part.get("notes", ())),
        )
    ]
    return {note: place + 1 for place, note in enumerate(dict.fromkeys(notes))}


def _forest(layout: Layout, claims: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figure of all claims that have a number, and its numbers as a table."""
    return {"picture": forest_picture(layout, claims), "table": plain(forest_words(claims))}


def _exploratory(layout: Layout, found: Sequence[Read]) -> dict[str, Any] | None:
    """Claims under every reading as the page shows them: heading, what it is, both tables."""
    if not found:
        return None
    files = [layout.root / f"{readings.STEM}.{suffix}" for suffix in ("csv", "md")]
    return {
        "title": readings.HEAD,
        "about": readings.ABOUT,
        "verdicts": plain(readings.readings_words(found)),
        "values": plain(readings.values_words(found)),
        "links": links(layout, files)[0],
    }


def _simulated(systems: Sequence[System]) -> dict[str, Any]:
    """What has to be said of simulated engines: which kinds are among them, and how live ones are dilated."""
    labels = [label for system in systems for label in labels_in(str(system.info["engine"]))]
    told = [label for label in labels if is_simulated(label)]
    live = [system for system in systems if is_live(str(system.info["engine"]))]
    return {
        "any": bool(told),
        "live": any(is_live(label) for label in told),
        "virtual": any(is_virtual(label) for label in told),
        "dilations": list(
            dict.fromkeys((system.title, factor) for system in live for factor in _slower(system))
        ),
    }


def _slower(system: System) -> list[float]:
    """How many times slower than the wall clock the live engines of a system ran, ascending."""
    live = system.rows["engine"].map(lambda label: any(map(is_live, labels_in(str(label)))))
    return sorted({float(factor) for factor in system.rows.loc[live, "dilation"].dropna()})


def write(layout: Layout, html: str) -> Path:
    """Write the report, whole or not at all."""
    write_whole(layout.report, html.encode())
    return layout.report


def _section(layout: Layout, system: System, run_info: Mapping[str, Any], *, alone: bool) -> dict[str, Any]:
    """One system in full; ``alone``: its figure alone answers the experiment's question."""
    listed = run_info.get("systems")
    folder = layout.tables(system.experiment)
    key, others = pictures(layout, system, alone=alone)
    shown = []
    for name, made in design_tables.make(system, design_of(system.design).part("tables").TABLES).items():
        stem = "_".join((*system.key, name) if name else system.key)
        found, missing = links(layout, [folder / f"{stem}.{suffix}" for suffix in ("csv", "tex")])
        shown.append(
            {
                "name": name,
                "what": made.what.rstrip("."),
                "words": plain(made.words),
                "folded": len(made.words) > LONG,
                "links": found,
                "missing": missing,
            }
        )
    return {
        "id": "_".join((system.experiment, *system.key)),
        "title": system.title,
        "label": engine_label([system]),
        "part_of_run": listed is None
        or [system.experiment, *system.key] in [list(entry) for entry in listed],
        "findings": findings(system),
        "key": key,
        "pictures": others,
        "elsewhere": None,
        "tables": shown,
    }
