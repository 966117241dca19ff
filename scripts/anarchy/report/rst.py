"""Captions for `snakemake --report`: one file a figure, written from the readings of the report.

``python -m anarchy.report.rst workflow/report``
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from anarchy.ground.files import write_whole
from anarchy.report.captions import READING


def captions() -> Mapping[str, str]:
    """Name of each file in workflow/report -> its text, in reStructuredText."""
    return {
        f"{design}/{figure}.rst": _escaped(reading) + "\n"
        for design, readings in READING.items()
        for figure, reading in readings.items()
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
