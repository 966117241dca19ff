"""Options that say which run a command is about: a frozen one by its file, or the choices of a new one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from anarchy.cli.extras import check_checkout
from anarchy.cli.traces import whole
from anarchy.config.choices import Choices
from anarchy.ground.bounded import LARGEST_SEED
from anarchy.ground.errors import UserError


def run_options() -> argparse.ArgumentParser:
    """A frozen run by its file, or the choices of a new one: an option for each key of `config.Choices`."""
    options = argparse.ArgumentParser(add_help=False)
    group = options.add_argument_group(
        "the run",
        "a frozen run, or the choices of one: defaults are in workflow/config/run.yaml; the same keys as "
        "`snakemake --config key=value`",
    )
    group.add_argument(
        "--run", type=Path, metavar="FILE",
        help="a frozen run, results/TIER/runs/DIGEST.json, or the run.json that names the latest",
    )  # fmt: skip
    for name, field in Choices.model_fields.items():
        number = "int" in str(field.annotation)  # the seed
        words = " ".join(str(field.description).replace("`", "").split()).replace("%", "%%")
        group.add_argument(f"--{name}", type=whole(0, LARGEST_SEED) if number else str, help=words)
    return options


def open_chosen(options: argparse.Namespace, *, frozen: bool = False) -> Any:
    """The run that was named or chosen; ``frozen``: written down first, where it is a new one."""
    check_checkout()
    from anarchy.plan.workbench import open_frozen, open_run

    chosen = {key: getattr(options, key) for key in Choices.model_fields}
    chosen = {key: value for key, value in chosen.items() if value is not None}
    if options.run is not None:
        if chosen:
            raise UserError(
                f"--run names a frozen run, which {', '.join(f'--{key}' for key in chosen)} cannot change",
                where="command line",
                remedy="leave one of the two out",
            )
        return open_frozen(options.run)
    bench = open_run(chosen)
    if frozen:
        bench.freeze()
    return bench
