"""The trace of a closed loop: a session a user, the live client's lengths, shared blocks of templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from anarchy.ground.errors import UserError
from anarchy.load.workload import Workload, WorkloadSpec
from anarchy.virtual.sessions import check_size, write_sessions


def sessions(tmp_path: Path, spec: WorkloadSpec, **more: Any) -> list[dict[str, Any]]:
    path = tmp_path / "sessions.jsonl"
    told = {"users": 3, "turns": 4, "stagger_s": 0.6, "block_size": 16} | more
    write_sessions(path, Workload(spec, seed=5), **told)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_user_is_a_session_whose_turns_follow_at_once(tmp_path: Path) -> None:
    rows = sessions(tmp_path, WorkloadSpec())
    assert [row["session_id"] for row in rows] == [str(user) for user in range(3) for _ in range(4)]
    assert [row.get("timestamp") for row in rows if "timestamp" in row] == pytest.approx([0.0, 200.0, 400.0])
    assert {row["delay"] for row in rows if "timestamp" not in row} == {0.0}


def test_a_turn_is_delayed_by_what_its_user_thinks_after_the_one_before(tmp_path: Path) -> None:
    workload = Workload(WorkloadSpec(think_s=0.5), seed=5)
    rows = sessions(tmp_path, workload.spec)
    thought = [workload.think_s(user, turn) * 1e3 for user in range(3) for turn in range(3)]
    assert [row["delay"] for row in rows if "timestamp" not in row] == thought
    assert len(set(thought)) == len(thought)


def test_requests_are_those_of_the_live_client(tmp_path: Path) -> None:
    workload = Workload(WorkloadSpec(templates=3), seed=5)
    rows = sessions(tmp_path, workload.spec)
    asked = [workload.request(user, turn) for user in range(3) for turn in range(4)]
    assert [row["output_length"] for row in rows] == [request.output_tokens for request in asked]
    assert {row["input_length"] for row in rows} == {128}
    blocks = {request.template: row["hash_ids"] for request, row in zip(asked, rows, strict=True)}
    assert all(row["hash_ids"] == blocks[request.template] for request, row in zip(asked, rows, strict=True))
    assert len({tuple(ids) for ids in blocks.values()}) == len(blocks)


@pytest.mark.parametrize(
    ("tokens", "tail", "alike"), [(128, 32, 6), (128, 40, 5), (128, 112, 1), (130, 18, 7)]
)
def test_templates_with_a_tail_share_the_blocks_that_their_head_fills(
    tmp_path: Path, tokens: int, tail: int, alike: int
) -> None:
    workload = Workload(WorkloadSpec(input_tokens=tokens, templates=3, unique_tail_tokens=tail), seed=5)
    rows = sessions(tmp_path, workload.spec)
    asked = [workload.request(user, turn) for user in range(3) for turn in range(4)]
    heads: dict[int, set[tuple[int, ...]]] = {}
    own: list[int] = []
    for request, row in zip(asked, rows, strict=True):
        assert len(row["hash_ids"]) == -(-tokens // 16)
        heads.setdefault(request.template, set()).add(tuple(row["hash_ids"][:alike]))
        own += row["hash_ids"][alike:]
    assert all(len(ids) == 1 for ids in heads.values())
    shared = {block for ids in heads.values() for head in ids for block in head}
    assert len(shared) == alike * len(heads)
    assert len(set(own)) == len(own)
    assert not shared & set(own)


def test_prompts_of_their_own_share_no_block(tmp_path: Path) -> None:
    rows = sessions(tmp_path, WorkloadSpec(input_tokens=130))
    ids = [block for row in rows for block in row["hash_ids"]]
    assert len(ids) == len(set(ids)) == 12 * 9, "130 tokens take nine blocks"


def test_more_than_memory_holds_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(UserError, match=r"100000 users with 1000 requests of 640 KV blocks") as caught:
        check_size(100_000, 1000, 640)
    assert "engine mocker" in caught.value.remedy
