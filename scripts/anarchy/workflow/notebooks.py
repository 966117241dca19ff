"""Execute a notebook: `python -m anarchy.workflow.notebooks SOURCE EXECUTED NAME=VALUE ...`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from anarchy.ground.surroundings import keep_out

KERNEL = "python3"
"""Name that the notebooks bear; it says nothing of what is started."""


def execute(source: Path, executed: Path, parameters: Mapping[str, str]) -> None:
    """Execute a notebook and write it with its outputs, also when a cell fails.

    Raises papermill's error of the cell that failed.
    """
    # Imported late: what `main` keeps out must not be imported before.
    import papermill

    from anarchy.workflow.kernel import OwnKernel

    papermill.execute_notebook(
        str(source),
        str(executed),
        dict(parameters),
        kernel_name=KERNEL,
        progress_bar=False,
        kernel_manager_class=OwnKernel,
    )


def main() -> None:
    """The command line of one notebook."""
    parser = argparse.ArgumentParser(description="Execute a notebook with this project's own kernel.")
    parser.add_argument("source", type=Path)
    parser.add_argument("executed", type=Path)
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE")
    options = parser.parse_args()
    keep_out(in_job=False)
    execute(options.source, options.executed, dict(word.split("=", 1) for word in options.parameters))


if __name__ == "__main__":
    main()
