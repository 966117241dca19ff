"""Fingerprints: no names in them, and differences that can be read."""

from __future__ import annotations

import argparse
import copy
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anarchy.engines.mocker import MockerSettings
from anarchy.engines.spec import DeploymentSpec, RoutingPolicy
from anarchy.ground.errors import UserError
from anarchy.telemetry import diff as differences
from anarchy.telemetry.alias import Anonymiser, anonymiser_of, node_alias
from anarchy.telemetry.fingerprint import commit_words, fingerprint, lock_facts, remote_node_facts, spec_words
from anarchy.telemetry.leaks import find_leaks

TOKEN = "hunter2-of-the-cluster"


def node(host: str, **facts: object) -> dict[str, Any]:
    told = {name: {"value": value} for name, value in facts.items()}
    return {
        "identity": {"host_names": [host], "user_names": ["anna"], "homes": ["/lustre/home7/anna"]},
        "facts": told,
    }


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("b200-1 and b200-17.ex.org", "node01 and node02"),
        ("B200-17: NVIDIA B200", "node02: NVIDIA B200"),
        ("b200-170", "b200-170"),
        ("/lustre/home7/anna/x, /home/bert/y", "~/x, ~/y"),
        ("run by anna in /scratch/anna/z", "run by user in /scratch/user/z"),
        ("savannah banana", "savannah banana"),
        ("10.1.2.3:8000 failed.", "<address>:8000 failed."),
        ("at 192.168.0.1.", "at <address>."),
        ("127.0.0.1:80 ::1", "127.0.0.1:80 ::1"),
        ("fe80::1%eth0 and 2001:db8::7", "<address> and <address>"),
        ("97.00.88.00.0F 570.124.06 1.2.3.999 12:30:00 00000000:1B:00.0",) * 2,
        ("0c:42:a1:00:11:22", "<address>"),
        (f"token {TOKEN}!", "token <secret>!"),
        ("hf_abcdefghijklmnopqrstuv", "<secret>"),
        ("https://anna:pw@git.example/x", "https://git.example/x"),
    ],
)
def test_names_addresses_and_secrets_are_taken_out(text: str, clean: str) -> None:
    names = Anonymiser(
        {"b200-1": "node01", "b200-17": "node02", "b200-17.ex.org": "node02"},
        users=["anna", "root"],
        homes=["/lustre/home7/anna"],
        secrets=[TOKEN, "1"],
    )
    assert names.text(text) == clean


def test_hosts_that_are_called_like_aliases_are_not_mixed_up() -> None:
    nodes = [node("node02", says="I am node02"), node("node01", says="I am node01")]
    document = fingerprint(nodes).document
    assert {alias: facts["says"]["value"] for alias, facts in document["nodes"].items()} == {
        "node01": "I am node01",
        "node02": "I am node02",
    }
    assert anonymiser_of(nodes).text("from node01 to node02") == "from node02 to node01"
    assert [node_alias(0), node_alias(99)] == ["node01", "node100"]


def make_spec(folder: Path, **changes: Any) -> DeploymentSpec:
    (folder / "profile.npz").write_bytes(b"table")
    spec = DeploymentSpec(
        model="/home/anna/models/llama",
        prefill=1,
        decode=5,
        settings=MockerSettings(folder / "profile.npz"),
        policies=(RoutingPolicy("static", 0.0, 1.0),),
        log_dir=folder,
    )
    return replace(spec, **changes)


def test_the_written_file_holds_no_name_no_path_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    nodes = [
        node("b200-17.hpc.example.org", slurm_task={"node": "b200-17", "job_id": "9"}, says=f"anna {TOKEN}"),
        node("b200-18", says="cannot reach b200-17 at 10.0.0.7"),
    ]
    words = spec_words(make_spec(tmp_path))
    path = fingerprint(nodes, deployment=words, versions={"ai-dynamo": "1.5.1"}).write(tmp_path)
    text = path.read_text()
    for name in ("b200-17", "b200-18", "hpc.example", "anna", "10.0.0.7", TOKEN, str(tmp_path), "identity"):
        assert name not in text
    document = json.loads(text)
    assert document["nodes"]["node01"]["slurm_task"]["value"]["node"] == "node01"
    assert document["nodes"]["node02"]["says"]["value"] == "cannot reach node01 at <address>"
    assert document["deployment"]["model"] == "~/models/llama"
    assert len(document["deployment"]["profile"]["sha256"]) == 64
    assert document["deployment"]["policies"] == [
        {"name": "static", "tau": 0.0, "omega": 1.0, "decode_active_request_weight": 0.0}
    ]
    assert len(document["git"]["value"]["commit"]) == 40
    assert document["slurm"]["reason"].startswith("not in a Slurm job")
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "profile.npz"]


def test_the_locks_of_both_environments_are_there() -> None:
    facts = lock_facts()
    assert facts["driver"]["value"]["environment_is_from_it"] is True
    assert facts["serving"]["value"]["sha256"] != facts["driver"]["value"]["sha256"]


def write(folder: Path, name: str, document: dict[str, Any]) -> Path:
    path = folder / name
    path.mkdir()
    (path / "fingerprint.json").write_text(json.dumps(document))
    return path


def run_diff(*words: str) -> int:
    parser = argparse.ArgumentParser()
    differences.add_arguments(parser)
    return differences.run(parser.parse_args(["diff", *words]))


def test_diff_of_the_same_set_up_is_empty_whatever_the_clocks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = fingerprint([node("x", gpu_state=[{"clocks.sm": 1965}], slurm_task={"job_id": "1"})]).document
    b = fingerprint([node("y", gpu_state=[{"clocks.sm": 345}], slurm_task={"job_id": "2"})]).document
    b["made_at"] = "2031-01-01"
    folders = [str(write(tmp_path, name, document)) for name, document in (("a", a), ("b", b))]
    assert run_diff(*folders) == 0
    assert capsys.readouterr().out == "the same\n"
    assert run_diff(*folders, "--all") == 1
    told = capsys.readouterr().out
    assert "gpu_state[0].clocks.sm" in told
    assert "made_at" in told


def test_diff_groups_by_section_and_shows_both_sides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = fingerprint([node("x", gpus=[{"power.limit": 1000.0}])], versions={"ai-dynamo": "1.5.1"}).document
    b = copy.deepcopy(a)
    b["versions"]["ai-dynamo"] = "1.6.1"
    b["nodes"]["node01"]["gpus"] = {"value": None, "reason": "nvidia-smi: not found"}
    b["nodes"]["node02"] = {}
    files = [
        str(write(tmp_path, name, document) / "fingerprint.json") for name, document in (("a", a), ("b", b))
    ]
    assert run_diff(*files) == 1
    assert capsys.readouterr().out == (
        "nodes node01\n"
        "  gpus\n    A  (absent)\n    B  unknown: nvidia-smi: not found\n"
        "  gpus[0].power.limit\n    A  1000.0\n    B  (absent)\n"
        "nodes node02\n"
        "  node02\n    A  (absent)\n    B  {}\n"
        "versions\n"
        "  ai-dynamo\n    A  1.5.1\n    B  1.6.1\n"
        "4 differences\n"
    )


@pytest.mark.parametrize("content", [None, "{", "[]", '{"schema_version": 1}'])
def test_what_is_no_fingerprint_is_a_user_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "fingerprint.json").write_text(content)
    with pytest.raises(UserError, match=r"fingerprint\.json"):
        run_diff(str(tmp_path), str(tmp_path))


def test_remote_nodes_come_in_the_order_asked_and_missing_ones_say_why(tmp_path: Path) -> None:
    script = tmp_path / "srun"
    lines = [json.dumps(node(host, cpu=host)) for host in ("b.ex.org", "a.ex.org")]
    script.write_text(
        "#!/bin/sh\necho 'srun: noise'\n" + "".join(f"echo '{line}'\n" for line in lines) + "exit 3"
    )
    script.chmod(0o755)
    found = remote_node_facts(["a", "b", "c"], [str(script), "--overlap"])
    assert [answer["facts"].get("cpu", {}).get("value") for answer in found] == ["a.ex.org", "b.ex.org", None]
    assert "status 3" in found[2]["facts"]["node"]["reason"]
    assert [entry["facts"]["node"]["value"] for entry in remote_node_facts(["a"], ["/no/srun"])] == [None]


def test_leaks_are_found_in_text_gzip_parquet_and_names(tmp_path: Path) -> None:
    names = Anonymiser({"b200-17": "node01"}, users=["anna"], secrets=[TOKEN])
    (tmp_path / "clean.json").write_text('{"host": "node01", "url": "tcp://127.0.0.1:4222"}')
    (tmp_path / "picture.png").write_bytes(b"anna")
    assert find_leaks(tmp_path, names) == []
    (tmp_path / "a.log").write_text("fine\nlistening on 10.0.0.7:4222\n")
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(f"token {TOKEN}".encode()))
    pq.write_table(pa.table({"number": [1, 2], "worker": ["x", "at b200-17"]}), tmp_path / "c.parquet")
    (tmp_path / "anna").mkdir()
    found = [(leak.path.name, leak.place, leak.clean) for leak in find_leaks(tmp_path, names)]
    assert found == [
        ("a.log", "line 2", "listening on <address>:4222"),
        ("anna", "its name", "user"),
        ("b.log.gz", "line 1", "token <secret>"),
        ("c.parquet", "column worker", "at node01"),
    ]


def test_a_commit_is_told_in_a_word_and_a_changed_tree_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"commit": "a" * 40, "dirty": False, "diff_sha256": None}
    monkeypatch.setattr("anarchy.telemetry.fingerprint.git_state", lambda _: state)
    assert commit_words(tmp_path) == "a" * 40
    state["dirty"] = True
    assert commit_words(tmp_path) == "a" * 40 + "-dirty"


def test_without_a_checkout_no_commit_is_told(tmp_path: Path) -> None:
    assert commit_words(tmp_path) == ""
