"""The page itself: what every section of the template is filled with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2

from anarchy import tables
from anarchy.claims import readings
from anarchy.claims.readings import Read
from anarchy.designs import tables as design_tables
from anarchy.designs.ladder.tables import summary_table, summary_words
from anarchy.designs.loading import load_systems
from anarchy.designs.registry import design_of
from anarchy.engines.devices import is_live, is_simulated, is_virtual, labels_in
from anarchy.ground.errors import UserError
from anarchy.ground.files import write_whole
from anarchy.ground.layout import Layout
from anarchy.report import facts, running_on
from anarchy.report.findings import findings
from anarchy.report.pictures import links, pictures, plain
from anarchy.report.summary import by_experiment, engine_label, ladders, march, marching, overview
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
        summary=plain(summary_words(summary_table(swept))) if swept else None,
        summary_files=links(layout, [layout.root / "tables" / f"summary.{s}" for s in ("csv", "tex")])[0],
        overview=overview(layout, swept) if swept else None,
        march=march(layout, marching(systems)) if marching(systems) else None,
        experiments=[
            {
                "id": name,
                "title": f"{design.id}, {design.title}" + ("" if name == design.notebook else f" ({name})"),
                "systems": [_section(layout, system, run_info) for system in mine],
                "findings": [found for system in mine for found in findings(system)],
                "swept": mine[0] in swept,
            }
            for design, name, mine in by_experiment(systems)
        ],
        claims=claims,
        exploratory=_exploratory(layout, exploratory),
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
    )


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
        "dilations": list(dict.fromkeys((system.title, system.info["dilation"]) for system in live)),
    }


def write(layout: Layout, html: str) -> Path:
    """Write the report, whole or not at all."""
    write_whole(layout.report, html.encode())
    return layout.report


def _section(layout: Layout, system: System, run_info: Mapping[str, Any]) -> dict[str, Any]:
    listed = run_info.get("systems")
    folder = layout.tables(system.experiment)
    shown = []
    for name, made in design_tables.make(system, design_of(system.design).part("tables").TABLES).items():
        stem = "_".join((*system.key, name) if name else system.key)
        found, missing = links(layout, [folder / f"{stem}.{suffix}" for suffix in ("csv", "tex")])
        shown.append(
            {
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
        "deviations": list(system.info.get("deviations") or []),
        "pictures": pictures(layout, system),
        "tables": shown,
    }
