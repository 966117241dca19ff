"""Captions for `snakemake --report`: one file a figure, written from the readings of the report.

``python -m anarchy.report.rst workflow/report``
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from anarchy.designs.registry import designs
from anarchy.ground.files import write_whole


def captions() -> Mapping[str, str]:
    """Name of each file in workflow/report -> its text, in reStructuredText."""
    return {
        f"{design.name}/{figure}.rst": _escaped(reading) + "\n"
        for design in designs()
        for figure, reading in design.figures.items()
    }


def _escaped(text: str) -> str:
    """Characters that reStructuredText reads as its own, as themselves."""
    return "".join(f"\\{character}" if character in "\\*`_|" else character for character in text)


def main(folder: Path) -> None:
    """Write every caption."""
    for name, text in captions().items():
        write_whole(folder / name, text.encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
