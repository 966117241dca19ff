"""GitHub's workflows call the same targets as CI does, and nothing that may change under them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.helpers.places import PROJECT

FILES = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))


def steps(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in document["jobs"].values() for step in job["steps"]]


def test_there_are_three() -> None:
    assert [file.stem for file in FILES] == ["docs", "nightly", "test"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_commands_are_targets_that_exist(file: Any) -> None:
    commands = [step["run"] for step in steps(yaml.safe_load(file.read_text())) if "run" in step]
    assert commands
    for command in commands:
        called = re.fullmatch(r"make ([a-z-]+)(?: [A-Z]+=\S+)*", command)
        assert called, f"{command} is no call of make"
        assert called[1] in TARGETS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_actions_are_pinned_and_may_write_nothing(file: Any) -> None:
    document = yaml.safe_load(file.read_text())
    assert document["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in document["jobs"].values())
    for step in steps(document):
        assert "uses" not in step or re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


def test_a_push_runs_what_ci_runs() -> None:
    ci = (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
    pushed = yaml.safe_load((PROJECT / ".github" / "workflows" / "test.yml").read_text())
    assert ci.splitlines()[-1] == "make test"
    assert [step["run"] for step in steps(pushed) if "run" in step] == ["make test"]
