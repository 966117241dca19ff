"""Estimate, draw, judge and report the recorded sample, and say which definitions of the package really ran.

Usage: used_definitions.py RESULTS OUTPUT, where RESULTS/live/raw holds the traces of tier live, and
RESULTS/smoke/raw those of G1, G2, V1 and W2 at tier smoke.
OUTPUT: {step: {"ran": ["module:definition", ...], "read": [files of the project that it opened]}}. A step is
a command and what it is about: ``system pareto``, ``notebook pareto``, ``claims``, ``report``.

Every step runs in a process of its own, so that none finds what another has kept. The package is imported
before, so that only what a step calls counts, and not what a module calls when it is imported.
"""

from __future__ import annotations

import ast
import cProfile
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

from anarchy.cli import main as cli
from anarchy.ground.layout import PROJECT
from anarchy.plan.workbench import open_run
from anarchy.workflow.rules import Workflow

SCRIPTS = PROJECT / "scripts"
ELSEWHERE = ("anarchy.serving", "anarchy.archive.validate_crate")
"""Modules that run in another environment, or not in this process."""


def main(results: Path, output: Path) -> None:
    """Run one system of each design, then what comes after."""
    # One core: what other processes run is not seen.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    chosen = {"results": str(results), "knees": "recorded"}
    runs = [
        Workflow(open_run({**chosen, "tier": "live", "experiments": ["all"]})),
        Workflow(open_run({**chosen, "tier": "smoke", "experiments": ["cache", "engines", "split", "step"]})),
    ]
    for file in sorted(SCRIPTS.rglob("*.py")):
        if not module_of(file).startswith(ELSEWHERE):
            importlib.import_module(module_of(file))
    choices = ("--results", str(results), "--knees", "recorded", "--tier")
    systems = {system[0]: (run, system) for run in runs for system in run.bench.systems()}
    told: dict[str, Any] = {}
    for experiment, (run, system) in systems.items():
        words = ["system", *system, "--replicates", "20", *choices, run.bench.choices.tier]
        told[f"system {experiment}"] = step(command(words), output)
    told["claims"] = step(command(["claims", *choices, "live"]), output)
    for file in results.glob("live/estimates/*/*/system.json"):
        keep_first_workload(file)
    for experiment, (run, system) in systems.items():
        file = run.notebook(run.design(experiment))
        told[f"notebook {experiment}"] = step(notebook(file, system, run.layout.root), output)
    told["report"] = step(command(["report", *choices, "live"]), output)
    output.write_text(json.dumps(told))


def keep_first_workload(file: Path) -> None:
    """The figures of one workload run the same code as those of three, in a third of the time."""
    info = json.loads(file.read_text())
    info["workloads"] = dict(list(info["workloads"].items())[:1])
    file.write_text(json.dumps(info))


def command(words: list[str]) -> Callable[[], Any]:
    """A command of the command line, its options read already."""
    options = cli.build_parser().parse_args(words)
    return lambda: options.command(options)


def notebook(file: Path, system: tuple[str, str, str], root: Path) -> Callable[[], Any]:
    """The code cells of a notebook, with the parameters of a system; ``root``: the folder of its tier."""
    cells = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
    code = ["".join(cell["source"]) for cell in cells if "parameters" not in cell["metadata"].get("tags", ())]
    lines = [line for text in code for line in text.splitlines() if not line.startswith("%")]
    names = dict(zip(("experiment", "model", "topology"), system, strict=True))
    names |= {"tier": root.name, "results": str(root.parent)}
    program = compile("\n".join(lines), str(file), "exec")
    return lambda: exec(program, {**names, "display": lambda *_: None})


def step(call: Callable[[], Any], output: Path) -> dict[str, list[str]]:
    """What a call runs and reads, from a child that runs it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            output.write_text(json.dumps(observed(call)))
            status = 0
        except BaseException:  # noqa: BLE001 - the end below would swallow it
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1] != 0:
        raise SystemExit("a step failed; its message stands above")
    found: dict[str, list[str]] = json.loads(output.read_text())
    return found


def observed(call: Callable[[], Any]) -> dict[str, list[str]]:
    """The definitions that a call runs, and the files of the project that it opens."""
    opened: set[str] = set()
    watching = True

    def note(event: str, values: tuple[Any, ...]) -> None:
        if watching and event == "open":
            opened.add(os.fspath(values[0]) if isinstance(values[0], str | os.PathLike) else "")

    sys.addaudithook(note)
    profile = cProfile.Profile(builtins=False)
    profile.runcall(call)
    watching = False
    codes = (entry.code for entry in profile.getstats() if isinstance(entry.code, CodeType))
    return {"ran": sorted(set(definitions(codes))), "read": sorted(files(opened))}


def definitions(codes: Iterable[CodeType]) -> Iterable[str]:
    """The definition at the top of a module that each piece of the package's code stands in."""
    for code in codes:
        file = Path(code.co_filename)
        if file.is_relative_to(SCRIPTS):
            for first, last, name in places(file):
                if first <= code.co_firstlineno <= last:
                    yield f"{module_of(file)}:{name}"


@cache
def places(file: Path) -> list[tuple[int, int, str]]:
    """First and last line of everything that a module defines."""
    found = []
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        decorators = getattr(statement, "decorator_list", [])
        first = min(one.lineno for one in (statement, *decorators))
        bound = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [statement.name]
        else:
            names = [node.id for node in bound if isinstance(node.ctx, ast.Store)][:1]
        found += [(first, statement.end_lineno or first, name) for name in names]
    return found


def files(opened: Iterable[str]) -> Iterable[str]:
    """Those of the project that are no code of it and no part of its environment, relative to it."""
    for name in opened:
        path = PROJECT / name
        if path.is_relative_to(PROJECT) and path.suffix not in (".py", ".pyc"):
            relative = path.relative_to(PROJECT)
            if relative.parts and relative.parts[0] != ".envs":
                yield relative.as_posix()


def module_of(file: Path) -> str:
    """Name of the module in a file."""
    return ".".join(file.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
