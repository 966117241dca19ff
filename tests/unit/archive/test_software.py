"""What the artifact is called stands in one place; every other file says the same."""

from __future__ import annotations

import tomllib

import yaml

from anarchy.archive.software import load_software, made
from tests.helpers.places import PROJECT


def test_files_for_others_are_as_the_two_sources_have_them() -> None:
    for name, text in made().items():
        assert (PROJECT / name).read_text(encoding="utf-8") == text, f"{name}: run make pages"


def test_version_and_licence_agree() -> None:
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    cited = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    assert str(cited["version"]) == declared["version"]
    assert cited["license"] == declared["license"]


def test_nobody_is_made_an_author() -> None:
    cited = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    software = load_software()
    assert list(software.authors) == [author["name"] for author in cited["authors"]]
    (author,) = software.paper["authors"]
    assert author["family-names"] not in "".join(made().values()), "the paper's author did not write this"
