"""The process that replays, with programs in its place: what a crash or a missing library means."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from anarchy.ground.errors import UserError
from anarchy.serving.stack import SCRATCH_PREFIX
from anarchy.virtual import replay
from anarchy.virtual.replayer import Job, Replayer, ReplayError

JOB = Job(
    trace=Path("trace"), prefill={}, decode={}, router=None, prefill_workers=1, decode_workers=2, until_s=1.0
)
ANSWER = """
import json, sys, numpy
for line in sys.stdin:
    job = json.loads(line)
    {act}
    with open(job["columns"], "wb") as file:
        numpy.savez(file, user=numpy.arange(3))
    print(json.dumps({{"requests": 3, "replay_s": 0.5, "columns_s": 0.1}}), flush=True)
"""


def replayer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str) -> Replayer:
    program = tmp_path / "library.py"
    program.write_text(ANSWER.format(act=act))
    monkeypatch.setattr(replay, "__file__", str(program))
    return Replayer(Path(sys.executable), tmp_path / "logs" / "replay.log")


def test_one_process_answers_job_after_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with replayer(tmp_path, monkeypatch, "pass") as one:
        folder = one.folder
        told = [one.run(JOB) for _ in range(3)]
    assert [list(each.columns["user"]) for each in told] == [[0, 1, 2]] * 3
    assert (told[0].replay_s, told[0].own_s) == (0.5, 0.1)
    assert not folder.exists()


def test_what_a_kill_would_leave_lies_where_a_sweep_clears_it_away(tmp_path: Path) -> None:
    with Replayer(Path(sys.executable), tmp_path / "log", tmp_path):
        assert len(list(tmp_path.glob(f"{SCRATCH_PREFIX}*"))) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_crash_costs_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash = "import os; os.path.exists('crashed') or (open('crashed', 'w').close(), os.kill(os.getpid(), 11))"
    monkeypatch.chdir(tmp_path)
    with replayer(tmp_path, monkeypatch, crash) as one:
        with pytest.raises(ReplayError, match="signal 11"):
            one.run(JOB)
        assert list(one.run(JOB).columns["user"]) == [0, 1, 2]


def test_a_process_that_ends_between_two_jobs_costs_one_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads the next job then: BrokenPipeError is what `anarchy plan | head` ends with, in silence."""
    end = "    os.path.exists('ended') or (open('ended', 'w').close(), os._exit(7))\n"
    monkeypatch.setattr(f"{__name__}.ANSWER", ANSWER + end)
    monkeypatch.chdir(tmp_path)
    with replayer(tmp_path, monkeypatch, "import os") as one:
        assert list(one.run(JOB).columns["user"]) == [0, 1, 2]
        assert one._process is not None
        one._process.wait(60.0)
        with pytest.raises(ReplayError, match="exit status 7"):
            one.run(JOB)
        assert list(one.run(JOB).columns["user"]) == [0, 1, 2]


def test_a_refusal_is_told_and_the_process_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = 'print(json.dumps({"error": "ValueError: no"}), flush=True); continue'
    with replayer(tmp_path, monkeypatch, refuse) as one:
        for _ in range(2):
            with pytest.raises(ReplayError, match="ValueError: no"):
                one.run(JOB)


def test_a_process_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anarchy.virtual.replayer.ANSWER_S", 0.2)
    with (
        replayer(tmp_path, monkeypatch, "import time; time.sleep(600)") as one,
        pytest.raises(ReplayError, match="no answer within"),
    ):
        one.run(JOB)


def test_a_library_without_the_function_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        replayer(tmp_path, monkeypatch, "print('lacks it', file=sys.stderr); sys.exit(3)") as one,
        pytest.raises(UserError, match="cannot replay in virtual time: lacks it") as caught,
    ):
        one.run(JOB)
    assert "make setup" in caught.value.remedy


def test_what_an_earlier_process_said_means_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = replayer(tmp_path, monkeypatch, "import os; os.kill(os.getpid(), 11)")
    one.log.parent.mkdir()
    one.log.write_text("ModuleNotFoundError: No module named 'dynamo'\n")
    with one, pytest.raises(ReplayError, match=r"ended with signal 11$"):
        one.run(JOB)


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    with (
        Replayer(tmp_path / "none", tmp_path / "log") as one,
        pytest.raises(UserError, match="serving environment is missing"),
    ):
        one.run(JOB)


def test_a_newer_library_is_told_the_same_in_other_words() -> None:
    told = {"worker_type": "decode", "max_num_seqs": 8, "planner_profile_data": "/t.npz"}

    class Older:
        MockEngineArgs = dict

    assert replay.engine_arguments(Older, told) == told
    newer = replay.engine_arguments(object(), told)
    timing = {"type": "external", "provider": "dynamo_profile", "config": {"path": "/t.npz"}}
    assert newer["engine"] == {"worker_type": "decode", "max_num_seqs": 8, "timing_model": timing}
    assert newer["num_gpu_blocks_is_explicit"] is True
