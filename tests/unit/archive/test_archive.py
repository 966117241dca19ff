"""An archive of a run: what is in it, that it is the same each time, and that its check sees every change."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anarchy.archive.checking import problems, read_manifest
from anarchy.archive.contents import code_of, refuse_changes
from anarchy.archive.crate import MANIFEST, METADATA, WORKFLOW
from anarchy.archive.zipped import Entry, open_archive, write_zip
from anarchy.cli.main import main
from anarchy.ground.errors import UserError
from anarchy.plan.workbench import Workbench
from anarchy.telemetry.alias import Anonymiser
from tests.helpers.archived import committed_project, copied, entries_of, finished_run

Change = Callable[[dict[str, bytes]], None]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return committed_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """Not to be changed by a test."""
    return finished_run(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def archive(whole: Workbench, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "smoke.zip"
    write_zip(path, entries_of(whole, project))
    return path


def edited(archive: Path, folder: Path, change: Change) -> Path:
    """The archive with its files changed, and its manifest as it was."""
    with zipfile.ZipFile(archive) as file:
        files = {name: file.read(name) for name in file.namelist() if not name.endswith("/")}
    change(files)
    write_zip(folder / "edited.zip", [Entry(name, content) for name, content in files.items()])
    return folder / "edited.zip"


def graph_of(archive: Path) -> dict[str, dict[str, Any]]:
    with zipfile.ZipFile(archive) as file:
        return {one["@id"]: one for one in json.loads(file.read(METADATA))["@graph"]}


def test_two_calls_give_the_same_bytes(
    whole: Workbench, project: Path, archive: Path, tmp_path: Path
) -> None:
    write_zip(tmp_path / "again.zip", entries_of(whole, project))
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_it_holds_the_run_and_the_code_at_the_commit(archive: Path, whole: Workbench) -> None:
    names = set(zipfile.ZipFile(archive).namelist())
    digest = whole.run.digest
    assert names > {
        "code/Snakefile",
        "code/LICENSE",
        "code/envs/driver.lock",
        "results/run.json",
        f"results/runs/{digest}.json",
        "results/claims.json",
        "results/report.html",
        "results/estimates/equilibrium/llama-3.1-70b_1p2d/cells.parquet",
    }
    assert any(name.startswith("results/raw/") and name.endswith("trace.parquet") for name in names)
    assert not any(name.startswith("code/data/sample") for name in names)
    assert zipfile.ZipFile(archive).getinfo("code/envs/build").external_attr >> 16 & 0o100


def test_logs_and_unfinished_files_stay_at_home(whole: Workbench, project: Path, tmp_path: Path) -> None:
    run = copied(whole, tmp_path)
    root = run.layout.root
    for name in ("logs/claims.log", "raw/equilibrium/x/logs/sweep.log", ".cache/x", "raw/trace.partial"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("on gpu-17\n")
    names = {entry.name for entry in entries_of(run, project, Anonymiser({"gpu-17": "node01"}))}
    assert not any("logs/" in name or "cache" in name or "partial" in name for name in names)


def test_every_reference_of_the_description_leads_somewhere(archive: Path) -> None:
    graph, names = graph_of(archive), set(zipfile.ZipFile(archive).namelist())
    root = graph["./"]
    assert root["mainEntity"] == {"@id": WORKFLOW}
    assert {part["@id"] for part in root["hasPart"]} <= names
    referred = {
        one["@id"]
        for entity in graph.values()
        for key, value in entity.items()
        if key not in ("conformsTo", "url", "identifier")
        for one in (value if isinstance(value, list) else [value])
        if isinstance(one, dict)
    }
    assert referred <= set(graph)
    assert graph["#program-snakemake"]["softwareVersion"] == "9.27.1"
    assert graph["#measuring"]["result"] == {"@id": "results/raw/"}
    assert {"@id": "results/raw/"} in graph["#making"]["object"]


def test_the_start_and_end_are_those_of_the_deployments(
    whole: Workbench, project: Path, tmp_path: Path
) -> None:
    run = copied(whole, tmp_path)
    (deployment,) = run.deployments
    starts = [
        {"launched_at": "2026-11-29T10:00:00.000+00:00", "wall_s": 90.0, "commit": "abc"},
        {"launched_at": "2026-11-29T11:00:00.000+00:00", "wall_s": 60.5},
    ]
    run.layout.summary(*deployment.key).write_text(json.dumps({"sittings": starts}))
    write_zip(tmp_path / "a.zip", entries_of(run, project))
    measuring = graph_of(tmp_path / "a.zip")["#measuring"]
    assert measuring["startTime"] == "2026-11-29T10:00:00.000+00:00"
    assert measuring["endTime"] == "2026-11-29T11:01:00.500+00:00"
    assert "measured at abc" in measuring["description"]


def test_names_are_replaced_for_people_and_refused_in_sealed_files(
    whole: Workbench, project: Path, tmp_path: Path
) -> None:
    run = copied(whole, tmp_path)
    names = Anonymiser({"gpu-17": "node01"})
    run.layout.report.write_text("<p>measured on gpu-17</p>\n")
    (run.layout.root / "raw" / "fingerprint.json").write_text('{"job_id": "4711", "node": "node01"}')
    files = {entry.name: entry for entry in entries_of(run, project, names)}
    assert files["results/report.html"].content() == b"<p>measured on node01</p>\n"
    assert files["results/raw/fingerprint.json"].content() == b'{"job_id": "<job>", "node": "node01"}'
    (run.layout.root / "raw" / "notes.txt").write_text("on gpu-17\n")
    with pytest.raises(UserError, match=r"notes\.txt, line 1: on node01"):
        entries_of(run, project, names)


def test_a_trace_with_one_byte_changed_is_not_archived(
    whole: Workbench, project: Path, tmp_path: Path
) -> None:
    run = copied(whole, tmp_path)
    trace = sorted(run.layout.root.rglob("trace.parquet"))[0]
    content = bytearray(trace.read_bytes())
    content[len(content) // 2] ^= 1
    trace.write_bytes(content)
    with pytest.raises(UserError, match=r"trace\.parquet.*checksum|trace\.parquet.*seal") as told:
        entries_of(run, project)
    assert "remedy" in str(told.value)


def test_a_run_without_a_report_is_not_archived(whole: Workbench, project: Path, tmp_path: Path) -> None:
    run = copied(whole, tmp_path)
    run.layout.report.unlink()
    with pytest.raises(UserError, match=r"report\.html: is not there, so this is no finished run"):
        entries_of(run, project)


@pytest.mark.parametrize(
    "lost",
    [
        "estimates/equilibrium/llama-3.1-70b_1p2d/system.json",
        "estimates/equilibrium/llama-3.1-70b_1p2d/cells.parquet",
        "figures/equilibrium/llama-3.1-70b_1p2d_step.narrow.svg",
        "tables/equilibrium/llama-3.1-70b_1p2d.csv",
    ],
)
def test_a_run_that_broke_off_is_not_archived_though_it_has_a_report(
    whole: Workbench, project: Path, tmp_path: Path, lost: str
) -> None:
    run = copied(whole, tmp_path)
    (run.layout.root / lost).unlink()
    with pytest.raises(UserError, match=f"{re.escape(lost)}: is not there, so this is no finished run"):
        entries_of(run, project)


def test_code_that_no_commit_holds_is_refused(tmp_path: Path) -> None:
    project = committed_project(tmp_path / "p")
    refuse_changes(project)
    (project / "Snakefile").write_text("rule other:\n")
    with pytest.raises(UserError, match="1 files differ from the commit") as told:
        refuse_changes(project)
    assert "Snakefile" in str(told.value)
    with pytest.raises(UserError, match="git does not tell"):
        code_of(tmp_path)


def test_a_whole_archive_passes(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(archive)]) == 0
    assert "are as they were archived" in capsys.readouterr().out


@pytest.mark.parametrize("option", [("-B", "100"), ("--processes", "2")])
def test_what_only_a_redrawing_takes_is_refused_without_one(
    archive: Path, option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(archive), *option]) == 2
    assert f"{' '.join(option)}: needs --redraw" in capsys.readouterr().err


CLAIMS = "results/claims.md"


def _flip(files: dict[str, bytes]) -> None:
    name = next(name for name in files if name.endswith("trace.parquet"))
    files[name] = files[name][:-9] + bytes([files[name][-9] ^ 1]) + files[name][-8:]


def _remove(files: dict[str, bytes]) -> None:
    del files[CLAIMS]


def _add(files: dict[str, bytes]) -> None:
    files["results/more.md"] = b"more"


@pytest.mark.parametrize(
    ("change", "said"),
    [(_flip, "trace.parquet: SHA-256"), (_remove, f"missing: {CLAIMS}"), (_add, "added: results/more.md")],
)
def test_every_edit_is_named(
    archive: Path, tmp_path: Path, change: Change, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(edited(archive, tmp_path, change)), "--redraw"]) == 1
    told = capsys.readouterr().out
    assert said in told
    assert "not made again" in told


def test_a_byte_changed_in_the_zip_is_named(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = archive.read_bytes()
    place = content.index(b"<p>the report")
    (tmp_path / "a.zip").write_bytes(content[:place] + b"<p>The report" + content[place + 13 :])
    assert main(["verify", str(tmp_path / "a.zip")]) == 1
    assert "changed: results/report.html cannot be read: Bad CRC-32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (None, f"holds no {MANIFEST}"),
        (b"hello\n", "line 1 is no checksum"),
        (2 * (64 * b"0" + b"  a\n"), "second"),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    archive: Path, tmp_path: Path, manifest: bytes | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(files: dict[str, bytes]) -> None:
        del files[MANIFEST]
        if manifest is not None:
            files[MANIFEST] = manifest

    assert main(["verify", str(edited(archive, tmp_path, change))]) == 2
    assert said in capsys.readouterr().err


def test_a_description_of_something_else_is_named(archive: Path, tmp_path: Path) -> None:
    def change(files: dict[str, bytes]) -> None:
        files[METADATA] = b"{}"

    with open_archive(edited(archive, tmp_path, change)) as opened:
        found = list(problems(opened, read_manifest(opened)))
    assert found[0].startswith(f"changed: {METADATA}: SHA-256")
    assert found[1] == f"{METADATA}: describes no archive"
