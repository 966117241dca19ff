"""What this artifact is, as `pyproject.toml` and `CITATION.cff` say it.

`codemeta.json` and `.zenodo.json` say the same in the words of others: ``python -m anarchy.archive.software``
makes them from those two.
"""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from anarchy.ground.bounded import MAX_CONFIG_BYTES, read_text
from anarchy.ground.bounded_yaml import load_yaml
from anarchy.ground.layout import PROJECT

CODE_LICENCE: Final = "https://spdx.org/licenses/Apache-2.0"
DATA_LICENCE: Final = "https://creativecommons.org/licenses/by/4.0/"
"""As `data/LICENSE` names it."""


@dataclass(frozen=True)
class Software:
    """Name, version and authors of this artifact, and the paper that it reproduces."""

    name: str
    version: str
    title: str
    abstract: str
    python: str
    authors: tuple[str, ...]
    keywords: tuple[str, ...]
    paper: dict[str, Any]


def load_software(project: Path = PROJECT) -> Software:
    """What the two files say; raises UserError for one that is missing or no YAML."""
    declared = tomllib.loads(read_text(project / "pyproject.toml", MAX_CONFIG_BYTES))["project"]
    cited = load_yaml(project / "CITATION.cff")
    (paper,) = cited["references"]
    return Software(
        name=declared["name"],
        version=declared["version"],
        title=cited["title"],
        abstract=" ".join(cited["abstract"].split()),
        python=declared["requires-python"],
        authors=tuple(_name(author) for author in cited["authors"]),
        keywords=tuple(cited["keywords"]),
        paper=paper,
    )


def _name(author: dict[str, str]) -> str:
    """A person's name, family name first as libraries sort it, or the name of a group."""
    return author.get("name") or f"{author['family-names']}, {author['given-names']}"


def paper_entity(software: Software) -> dict[str, Any]:
    """The paper in the words of schema.org."""
    paper = software.paper
    return {
        "@id": f"https://doi.org/{paper['doi']}",
        "@type": "ScholarlyArticle",
        "name": paper["title"],
        "author": [{"@type": "Person", "name": _name(author)} for author in paper["authors"]],
        "datePublished": str(paper["date-published"]),
        "url": paper["url"],
    }


def codemeta(software: Software) -> dict[str, Any]:
    """`codemeta.json`, CodeMeta 3.0."""
    return {
        "@context": "https://w3id.org/codemeta/3.0",
        "type": "SoftwareSourceCode",
        "name": software.name,
        "alternateName": software.title,
        "description": software.abstract,
        "version": software.version,
        "license": CODE_LICENCE,
        "author": [{"type": "Organization", "name": name} for name in software.authors],
        "keywords": list(software.keywords),
        "programmingLanguage": "Python",
        "runtimePlatform": f"Python {software.python}",
        "operatingSystem": "Linux",
        "referencePublication": {
            key.removeprefix("@"): value for key, value in paper_entity(software).items() if key != "author"
        },
    }


def zenodo(software: Software) -> dict[str, Any]:
    """`.zenodo.json`, what Zenodo takes for a release; the paper, which others wrote, is a reference."""
    return {
        "title": software.title,
        "description": software.abstract,
        "upload_type": "software",
        "version": software.version,
        "license": "Apache-2.0",
        "access_right": "open",
        "creators": [{"name": name} for name in software.authors],
        "keywords": list(software.keywords),
        "related_identifiers": [
            {"identifier": software.paper["doi"], "scheme": "doi", "relation": "references"},
        ],
    }


MADE: Final = {"codemeta.json": codemeta, ".zenodo.json": zenodo}
"""File at the top of the project -> what makes it."""


def made(project: Path = PROJECT) -> dict[str, str]:
    """Every such file as it should read now."""
    software = load_software(project)
    return {name: f"{json.dumps(make(software), indent=2)}\n" for name, make in MADE.items()}


if __name__ == "__main__":
    for name, text in made().items():
        (PROJECT / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}\n")
