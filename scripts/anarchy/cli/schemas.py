"""JSON Schemas of every configuration file and of the trace format, generated from the models in code.

The models are the one source; the files under ``workflow/schemas`` are for editors, Snakemake and readers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from anarchy.config import BLOCKS
from anarchy.config.knees import RecordedKnees
from anarchy.designs.registry import designs
from anarchy.estimate.output import CellEstimate
from anarchy.ground.files import disk_errors, make_folder
from anarchy.ground.layout import SCHEMAS
from anarchy.plan.run import Run
from anarchy.trace.schema import Manifest, TraceRow

DIALECT = "https://json-schema.org/draft/2020-12/schema"

MODELS: dict[str, Any] = {
    **BLOCKS,
    "knees": RecordedKnees,
    "frozen-run": Run,
    "manifest": Manifest,
    "trace": TraceRow,
    "estimate": CellEstimate,
    **{f"system-{design.name}": design.part("document").DOCUMENT for design in designs()},
}
"""One schema file each."""
LISTS = frozenset({"estimate"})
"""Documents that are a list of such objects."""


class _PlainSchema(GenerateJsonSchema):
    """Without the titles that pydantic makes up from the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 (pydantic's signature)
        """Never: a key is its own title."""
        return False


def file_name(name: str) -> str:
    """Name of a schema file: ``<block>.schema.json``."""
    return f"{name}.schema.json"


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of one block, with the docstrings of its model as descriptions."""
    generated = TypeAdapter(MODELS[name]).json_schema(schema_generator=_PlainSchema)
    if name in LISTS:
        definitions = generated.pop("$defs", {})
        generated = {"type": "array", "items": generated, **({"$defs": definitions} if definitions else {})}
    return {"$schema": DIALECT, **generated}


def render(name: str) -> str:
    """Text of one schema file: keys sorted, one newline at the end."""
    return json.dumps(schema(name), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write(directory: Path = SCHEMAS) -> list[Path]:
    """Write every schema and return the files; raises UserError where they cannot be written."""
    files = []
    make_folder(directory)
    with disk_errors(directory):
        for name in MODELS:
            file = directory / file_name(name)
            file.write_text(render(name), encoding="utf-8")
            files.append(file)
    return files


def drift(directory: Path = SCHEMAS) -> list[str]:
    """What differs between the files and the models: one line for each file missing, stale or left over."""
    wanted = {file_name(name): name for name in MODELS}
    found = {file.name for file in directory.glob("*.json")}
    problems = [f"{file} is missing" for file in sorted(wanted.keys() - found)]
    problems += [f"{file} belongs to no model" for file in sorted(found - wanted.keys())]
    for file in sorted(wanted.keys() & found):
        if (directory / file).read_text(encoding="utf-8") != render(wanted[file]):
            problems.append(f"{file} differs from its model; run `make schemas`")
    return problems


if __name__ == "__main__":
    for written in write(Path(sys.argv[1]) if len(sys.argv) > 1 else SCHEMAS):
        print(written)
