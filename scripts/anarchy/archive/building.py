"""An archive of one run, put together: contents, description, checksums."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from anarchy.archive.contents import CODE, Code, results_of
from anarchy.archive.crate import MANIFEST, METADATA, README, Facts, describe
from anarchy.archive.software import Software
from anarchy.archive.zipped import Entry
from anarchy.ground.bounded import load_json
from anarchy.ground.layout import Layout
from anarchy.plan.run import Run, read_run
from anarchy.telemetry.alias import Anonymiser

PINNED: Final = re.compile(r"^(snakemake|numpy|scipy|pandas|pyarrow|matplotlib)==([^\s;\\]+)", re.MULTILINE)
"""Programs whose versions are named in the description; the lock files name every other."""
ABOUT: Final = """\
# {title}

Run {digest} of tier {tier}, archived with the code of commit {commit}.

| what | where |
|---|---|
| the report, which opens in a browser without a network | `results/report.html` |
| verdicts on the published claims | `results/claims.md` |
| raw traces, estimates, tables, figures, executed notebooks | `results/` |
| the code, its lock files and licences | `code/`; `code/README.md` says how to run it |
| what belongs to what, as a Workflow Run RO-Crate | `{metadata}` |

Check it: `sha256sum -c {manifest}` here, or `anarchy verify ARCHIVE --redraw` in a clone of the project,
which also makes estimates, figures and verdicts again from the traces and compares.

Licences: code Apache-2.0 (`code/LICENSE`), everything under `results/` CC BY 4.0 (`code/data/LICENSE`).
`code/CITATION.cff` says how to cite it.
"""


def build(folder: Path, code: Code, software: Software, anonymiser: Anonymiser) -> list[Entry]:
    """Every file of the archive of the run whose results lie in `folder` (results/<tier>).

    Raises UserError as `results_of` and for a frozen run that was edited.
    """
    entries = [*code.entries, *results_of(folder, anonymiser)]
    facts = facts_of(folder, code)
    names = [entry.name for entry in entries]
    metadata = describe(software, facts, names)
    about = ABOUT.format(
        title=software.title,
        digest=facts.digest,
        tier=facts.tier,
        commit=facts.commit,
        metadata=METADATA,
        manifest=MANIFEST,
    )
    entries += [
        Entry(METADATA, f"{json.dumps(metadata, indent=2)}\n".encode()),
        Entry(README, about.encode()),
    ]
    return [*entries, Entry(MANIFEST, manifest_of(entries).encode())]


def manifest_of(entries: Sequence[Entry]) -> str:
    """A line a file, its SHA-256 and its name, as `sha256sum -c` reads it."""
    lines = {entry.name: hashlib.sha256(entry.content()).hexdigest() for entry in entries}
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(lines.items()))


def facts_of(folder: Path, code: Code) -> Facts:
    """What run, code and deployments say of themselves; raises UserError as `read_run`."""
    layout = Layout(folder)
    run = read_run(layout.latest_run)
    summaries = [load_json(file) for file in sorted((folder / "raw").rglob("deployment.json"))]
    starts = [start for summary in summaries for start in summary.get("sittings", ())]
    return Facts(
        digest=run.digest,
        tier=run.choices.tier,
        commit=code.commit,
        date=code.date,
        versions={**_pinned(code), **_recorded(run)},
        started=min((start["launched_at"] for start in starts), default=None),
        ended=max(map(_end, starts), default=None),
        commits=tuple(sorted({start["commit"] for start in starts if start.get("commit")})),
    )


def _end(start: Mapping[str, Any]) -> str:
    launched = datetime.fromisoformat(start["launched_at"])
    return (launched + timedelta(seconds=start["wall_s"])).isoformat(timespec="milliseconds")


def _pinned(code: Code) -> dict[str, str]:
    lock = next((one for one in code.entries if one.name == f"{CODE}envs/driver.lock"), None)
    return dict(PINNED.findall(lock.content().decode())) if lock else {}


def _recorded(run: Run) -> dict[str, str]:
    """Version of this package, and every serving stack, whose words are `name version; name version`."""
    stacks = [words.rpartition(" ") for words in run.versions["serving"].split("; ") if words]
    return {"anarchy": run.versions["anarchy"], **{name: version for name, _, version in stacks if name}}
