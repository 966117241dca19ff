"""Commands that README and docs print, in blocks and in sentences, and whether they are well formed."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

from snakemake.cli import get_argument_parser

from anarchy.cli.main import build_parser
from anarchy.config import Choices
from anarchy.plan.workbench import open_run
from tests.helpers.places import PROJECT

PAGES: Final = (
    PROJECT / "README.md",
    *sorted((PROJECT / "docs").glob("*.md")),
    PROJECT / "data" / "README.md",
    PROJECT / "envs" / "container" / "README.md",
)
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS: Final = frozenset({"", "bash", "sh", "console"})
"""Languages of the blocks that hold commands."""
IN_A_SENTENCE = re.compile(
    r"(?<!`)`((?:\.envs/driver/bin/)?(?:make|anarchy|snakemake|pytest|envs/build|pip) [^`]+)`(?!`)"
)
MAKE_WORDS: Final = frozenset({"PYTHON", "TIER", "SITE", "ENGINE", "WHY", "FOLDER"})
CHOOSING: Final = frozenset({"reproduce", "plan", "lab-reproduce"})
"""Targets of make that take the choices of a run."""
FOREIGN: Final = frozenset({"mkdir", "cp", "apptainer", "enroot", "skopeo"})
"""Programs of others, of which only the files are looked at."""
FOLDERS: Final = frozenset(path.name for path in PROJECT.iterdir() if path.is_dir()) - {"results", "site"}
EXAMPLE_ENGINE: Final = "small"
"""The engine that docs/extending.md adds."""


@dataclass(frozen=True)
class Printed:
    """A command as it stands on a page."""

    text: str
    page: str
    whole: bool
    """In a block, to be copied as it is; a sentence may name a part of a command."""

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text.removeprefix(".envs/driver/bin/"))


def printed() -> list[Printed]:
    """Every command of every page; the same one of several pages stands once for each."""
    return [one for page in PAGES for one in _of(page.name, page.read_text(encoding="utf-8"))]


def _of(page: str, text: str) -> Iterator[Printed]:
    for language, block in BLOCK.findall(text):
        for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines() if language in SHELLS else ():
            for command in re.sub(r"(^|\s)#.*", "", line).split("&&"):
                if command.strip():
                    yield Printed(command.strip(), page, whole=True)
    for found in dict.fromkeys(IN_A_SENTENCE.findall(BLOCK.sub("", text))):
        yield Printed(" ".join(found.split()), page, whole=False)


def fault(one: Printed) -> str:
    """What is wrong with a command, or nothing."""
    program, *words = one.words
    if program in FOREIGN:
        return _files(words)
    check = CHECKS.get(program)
    return f"nobody knows {program}" if check is None else check(words, one.whole)


def _make(words: Sequence[str], whole: bool) -> str:
    targets = re.findall(r"^([a-z0-9-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = [word for word in words if "=" not in word]
    choices = dict(word.split("=", 1) for word in words if "=" in word)
    unknown = [name for name in named if name not in targets]
    unknown += [
        name for name in choices if name not in MAKE_WORDS and name.lower() not in Choices.model_fields
    ]
    if unknown:
        return f"make does not know {', '.join(unknown)}"
    if CHOOSING & set(named) and choices.get("ENGINE") != EXAMPLE_ENGINE:
        # A number is one, as `snakemake --config` reads it.
        read = {name.lower(): int(word) if word.isdigit() else word for name, word in choices.items()}
        _plan(tuple(read.items()))
    return ""


@cache
def _plan(choices: tuple[tuple[str, str | int], ...]) -> None:
    """Raises UserError where a run of these choices cannot be planned."""
    open_run(dict(choices))


def _anarchy(words: Sequence[str], whole: bool) -> str:
    parser = build_parser()
    if whole:
        return _parsed(parser, words)
    (commands,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    command = commands.choices.get(words[0])
    if command is None:
        return f"there is no command {words[0]}"
    options = [word.partition("=")[0] for word in words if word.startswith("-")]
    unknown = [option for option in options if option not in command._option_string_actions]
    return f"anarchy {words[0]} has no {', '.join(unknown)}" if unknown else ""


def _snakemake(words: Sequence[str], whole: bool) -> str:
    parser = get_argument_parser()
    if said := _parsed(parser, words):
        return said
    keys = [word.partition("=")[0] for word in words if re.match(r"\w+=", word)]
    unknown = [key for key in keys if key not in {*Choices.model_fields, "run"}]
    profiles = [name for option, name in pairwise(words) if option == "--profile"]
    missing = [name for name in profiles if not (PROJECT / name / "config.yaml").is_file()]
    return f"unknown keys {unknown}" if unknown else f"no profile {missing}" if missing else ""


def _pytest(words: Sequence[str], whole: bool) -> str:
    options = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]
    marks = {one.partition(":")[0] for one in options["ini_options"]["markers"]}
    named = [mark for option, mark in pairwise(words) if option == "-m"]
    return "" if set(named) <= marks else f"no mark {named}"


def _build(words: Sequence[str], whole: bool) -> str:
    missing = [name for name in words if not (PROJECT / "envs" / f"{name}.lock").is_file()]
    return f"no environment {missing}" if missing else ""


def _pip(words: Sequence[str], whole: bool) -> str:
    return "" if words[0] == "install" else "pip installs"


def _files(words: Sequence[str]) -> str:
    """Files of this project that are named and not there."""
    named = [word for word in words if "/" in word and word.split("/")[0] in FOLDERS]
    missing = [word for word in named if not (PROJECT / word).exists()]
    return f"no file {missing}" if missing else ""


def _parsed(parser: argparse.ArgumentParser, words: Sequence[str]) -> str:
    try:
        parser.parse_args(words)
    except SystemExit as error:
        return f"cannot be parsed (status {error.code})" if error.code else ""
    return ""


CHECKS: Final[Mapping[str, Callable[[Sequence[str], bool], str]]] = {
    "make": _make,
    "anarchy": _anarchy,
    "snakemake": _snakemake,
    "pytest": _pytest,
    "envs/build": _build,
    "pip": _pip,
}


def project_copy(folder: Path) -> Path:
    """A copy of what commands read and write; environments and data are the project's own."""
    folder.mkdir(parents=True)
    for name in ("Makefile", "Snakefile", "pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, folder / name)
    for name in ("docs", "envs", "notebooks", "profiles", "scripts", "slurm", "workflow"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "api")
        shutil.copytree(PROJECT / name, folder / name, ignore=ignored)
    for name in (".envs", "data"):
        (folder / name).symlink_to(PROJECT / name)
    return folder
