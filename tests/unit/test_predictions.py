"""A recorded run was predicted before it: the commit of its predictions is an ancestor of the run's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.history import History, NoHistoryError, history
from tests.helpers.places import PROJECT

PAGE: Final = "docs/predictions.md"
SAMPLE: Final = PROJECT / "data" / "sample"
PREDICTED: Final = {
    "why/step": "## Users in step, and readings of PoA-hat",
    "why/herding": "## Herding by the version of the router",
    "hook/herding": "## The paper's own hook",
    "why/quiet": "## Users in step on a quiet host",
    "why/users": "## Users who think, and prompts with tails",
    "why/map": "## What the paper must have run",
    "why/adaptive": "## E3 beside what is there today",
    "why-seed-1/step": "## Users in step, and readings of PoA-hat",
    "why-seed-1/map": "## What the paper must have run",
    "gpu/protocol": "## The 20-minute protocol on simulated engines",
    "quick/adaptive": "## The whole of tier quick again",
    "quick/split": "## The split of workers as a game (G1)",
    "quick/cache": "## What prefill workers keep in their caches (G2)",
    "quick/sharing": "## Shared prefixes and the split (G3)",
    "repeats/split": "## The split of workers as a game (G1)",
    "repeats/cache": "## What prefill workers keep in their caches (G2)",
    "games/open-loop": "## The split of workers in an open loop (G4)",
    "games/late-events": "## Late KV events (G5)",
    "games-live/split-live": "## Splits on the live stack (V2)",
}
"""Tier and experiment of a recorded run -> the heading of its predictions."""
BY_EXPERIMENT: Final = ("quick", "why", "why-seed-1", "games", "games-live", "repeats", "hook", "gpu")
"""Folders of the sample that hold experiments which were predicted and run apart."""
UNRECORDED: Final = {
    "live": "measured before there were predictions",
    "live-repeats": "measured before there were predictions",
    "seed-1": "measured before there were predictions",
    "split": "its deployments are those of quick/split, measured again",
    "cache": "its deployments are those of quick/cache",
    "quick-first": "holds no deployment, and was measured before a start recorded its commit",
    "why/step": "holds no deployment, and was measured before a start recorded its commit",
}
"""Recorded runs that tell no commit, and why; one that is recorded from now on tells it."""


def runs() -> list[str]:
    """Every recorded run: a folder of the sample, or an experiment of it."""
    apart = {
        f"{folder}/{path.name}"
        for folder in BY_EXPERIMENT
        for path in (SAMPLE / folder / "raw").glob("*")
        if path.is_dir()
    }
    whole = {path.name for path in SAMPLE.iterdir() if path.is_dir()} - set(BY_EXPERIMENT)
    return sorted(whole | apart | {"why/step"})


def commits_of(run: str) -> list[str]:
    """The commit of every start of a run's deployments."""
    folder, _, experiment = run.partition("/")
    files = sorted((SAMPLE / folder / "raw").glob(f"{experiment or '*'}/*/*/*/*/deployment.json"))
    return [
        start.get("commit", "")
        for file in files
        for start in json.loads(file.read_text(encoding="utf-8"))["sittings"]
    ]


@pytest.mark.parametrize("run", runs())
def test_predictions_were_committed_before_the_run(run: str) -> None:
    if run in UNRECORDED:
        assert not any(commits_of(run)), f"{run} tells its commit: take it out of UNRECORDED"
        pytest.skip(UNRECORDED[run])
    heading, commits = PREDICTED[run], commits_of(run)
    assert commits, "a recorded run holds its deployments"
    assert all(commits), "every start records its commit"
    try:
        told = history(PROJECT)
    except NoHistoryError as reason:
        pytest.skip(str(reason))
    predicted = told.first_with(heading, PAGE)
    assert predicted is not None, f"{PAGE} never had {heading!r}"
    for commit in sorted({one.removesuffix("-dirty") for one in commits}):
        assert told.knows(commit), f"{run} was measured at {commit}, which this history does not hold"
        assert told.is_before(predicted, commit), f"{run} was measured before its predictions were committed"


# --- the history itself, on made-up repositories ---


def git(folder: Path, *words: str) -> str:
    named = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", "-C", str(folder), *named, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, list[str]]:
    """A repository of three commits: nothing, a prediction, its outcome beside it."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    commits = []
    for text in ("# Predictions\n", "# Predictions\n\n## A\n", "# Predictions\n\n## A\n\nWhat came out.\n"):
        (folder / "page.md").write_text(text)
        git(folder, "add", "page.md")
        git(folder, "commit", "-qm", "one")
        commits.append(git(folder, "rev-parse", "HEAD"))
    return folder, commits


def test_the_commit_of_a_heading_is_the_one_that_wrote_it(repository: tuple[Path, list[str]]) -> None:
    folder, (before, predicted, after) = repository
    told: History = history(folder)
    assert told.first_with("## A", "page.md") == predicted
    assert told.first_with("## B", "page.md") is None
    assert told.is_before(predicted, predicted)
    assert told.is_before(predicted, after)
    assert not told.is_before(predicted, before), "a run before its predictions is found"
    assert told.knows(after)
    assert not told.knows("0" * 40)


def test_a_shallow_clone_and_an_archive_are_told_apart(
    repository: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, _ = repository
    git(tmp_path, "clone", "-q", "--depth", "1", folder.as_uri(), "shallow")
    with pytest.raises(NoHistoryError, match="shallow"):
        history(tmp_path / "shallow")
    (tmp_path / "archive").mkdir()
    with pytest.raises(NoHistoryError, match="archive"):
        history(tmp_path / "archive")
