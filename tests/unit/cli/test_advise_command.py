"""The command `anarchy advise`: what it says of a library that replays by a rule, and what it refuses."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from anarchy.advise.example import rows
from anarchy.cli.main import main
from anarchy.virtual.replay import COLUMNS
from anarchy.virtual.replayer import Job, Replayed

SLO = ("--ttft-ms", "500", "--itl-ms", "15")


class Pools:
    """A library whose prefill takes 0.9 s over the number of workers, and a decode step 28 ms over theirs."""

    def __init__(self, _python: Path, log: Path) -> None:
        self.folder = log.parent

    def __enter__(self) -> Pools:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing runs."""

    def run(self, job: Job) -> Replayed:
        """Replay a trace, a request by itself."""
        import numpy as np

        told = [json.loads(line) for line in job.trace.read_text().splitlines()][:-1]
        at = np.array([row["timestamp"] for row in told]) - told[0]["timestamp"]
        first = at + 900.0 / job.prefill_workers
        output = np.array([row["output_length"] for row in told])
        last = first + (output - 1) * 28.0 / job.decode_workers
        columns = {
            "arrival_time_ms": at, "first_token_ms": first, "last_token_ms": last, "terminal_time_ms": last,
            "output_length": output, "user": np.arange(len(told)), "completed": output > 0,
        }  # fmt: skip
        rest = {name: np.zeros(len(told), dtype=int) for name in COLUMNS if name not in columns}
        return Replayed({**columns, **rest}, 0.01, 0.0)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(300, seed=1)))
    return path


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anarchy.advise.replays.Replayer", Pools)
    versions = {"ai-dynamo-runtime": "9.9.9"}
    monkeypatch.setattr("anarchy.advise.advising.library_versions", lambda _: versions)


def advise(trace: Path, *options: object, slo: Sequence[str] = SLO) -> int:
    told = (
        "advise",
        "--trace",
        trace,
        "--gpus",
        24,
        "--model",
        "llama-3.1-70b",
        *slo,
        "--processes",
        2,
        *options,
    )
    return main([str(one) for one in told])


@pytest.mark.usefixtures("pools")
def test_it_says_what_is_best_what_staying_costs_and_that_it_is_simulated(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two prefill workers take 450 of 500 ms, four of decode 7 of 15 ms; 3P/3D and 4P/2D do as well."""
    assert advise(trace, "--now", "1P/5D,tau=0.3") == 0
    told, error = capsys.readouterr()
    assert told.startswith("Best: 2P/4D, tau 0.3, omega 1.\n")
    assert "Staying at 1P/5D, tau 0.3, omega 1 costs unbounded times that goodput." in told
    assert "Ties with it" in told
    assert "All of it is simulated in virtual time" in told
    assert "ai-dynamo-runtime 9.9.9; timing table llama-3.1-70b-tp4 (prediction)" in told
    assert "drawn with replacement" in told
    assert "predicted" in error
    assert "replay 10 of at most" in error


@pytest.mark.usefixtures("pools")
def test_staying_is_advised_where_nothing_is_better(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert advise(trace, "--now", "4P/2D", "--splits", "4P/2D", "3P/3D", "5P/1D") == 0
    told = capsys.readouterr().out
    assert told.startswith("Stay at 4P/2D, tau 0, omega 1: nothing that was tried is shown to be better.")
    assert "100.0 % of those that came" in told


@pytest.mark.usefixtures("pools")
def test_the_document_holds_everything_and_is_the_same_for_the_same_seed(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents: list[dict[str, Any]] = []
    for _ in range(2):
        assert advise(trace, "--json", "--now", "1P/5D", "--seed", "7", "--load", "2") == 0
        documents.append(json.loads(capsys.readouterr().out))
    one, other = documents
    assert one.pop("cost")["replays"] == other.pop("cost")["replays"]
    assert one == other
    assert one["simulated"] is True
    assert "simulated" in one["statement"]
    assert one["advice"]["split"] == "2P/4D"
    assert one["advice"]["stay"] is False
    assert one["now"]["price"] == {"value": None, "lo": None, "hi": None}
    assert {tie["split"] for tie in one["ties"]} >= {"3P/3D", "4P/2D"}
    assert not [tie for tie in one["ties"] if tie["split"] in ("1P/5D", "5P/1D")]
    assert one["engine"]["version"] == "9.9.9"
    assert len(one["screened"]) >= 5
    alone = one["workload"]["requests_per_s"]
    assert advise(trace, "--json", "--load", "1") == 0
    assert alone == pytest.approx(2 * json.loads(capsys.readouterr().out)["workload"]["requests_per_s"])


@pytest.mark.parametrize("at_once", [299, 600])
@pytest.mark.usefixtures("pools")
def test_a_trace_of_one_burst_and_a_straggler_is_advised_on(
    tmp_path: Path, at_once: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some draws of its stretches hold one request alone, and the trial might: a rate over no time."""
    path = tmp_path / "burst.jsonl"
    some = list(rows(at_once + 1, seed=1))
    for number, row in enumerate(some):
        row["timestamp"] = 100_000 if number == at_once else 500 * (at_once < 500) * number // at_once
    path.write_text("".join(json.dumps(row) + "\n" for row in some))
    assert advise(path, "--replications", "20", "--splits", "2P/4D", "3P/3D") == 0
    assert "Best: 2P/4D" in capsys.readouterr().out


@pytest.mark.usefixtures("pools")
def test_an_objective_that_no_split_meets_is_refused_with_the_nearest(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert advise(trace, slo=("--ttft-ms", "100", "--itl-ms", "5")) == 2
    error = capsys.readouterr().err
    assert "no split serves 90 % of the requests within TTFT 100 ms and ITL 5 ms. The nearest is" in error
    assert "9 of 10 requests have a TTFT of at most" in error
    assert "relax the objectives" in error


@pytest.mark.parametrize(
    ("options", "told", "remedy"),
    [
        (("--gpus", "4"), "4 GPUs hold 1 workers of llama-3.1-70b", "give at least 8"),
        (("--gpus", "200"), "50 workers have 49 splits", "--splits 12P/38D 25P/25D"),
        (("--model", "gpt"), "there is no model 'gpt'", "known: llama-3.1-70b"),
        (("--splits", "1P/4D"), "1P/4D is no split of 6 workers", "add up to 6"),
        (("--now", "3P/4D"), "3P/4D is no split of 6 workers", "add up to 6"),
        (("--first", "50"), "50 requests within", "give at least 100"),
        (("--served-model", "x"), "no request is left: 300 of other models than x", "leave out less"),
        (("--longest", "20"), "no request is left", "leave out less"),
        (("--timing", "nowhere"), "no such timing profile", "remedy"),
        (("--block-size", "16"), "blocks of 16", "--block-size"),
    ],
)
@pytest.mark.usefixtures("pools")
def test_what_cannot_be_is_refused_with_a_remedy(
    trace: Path, options: tuple[str, ...], told: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert advise(trace, *options) == 2
    error = capsys.readouterr().err
    assert told in error
    assert remedy in error


@pytest.mark.parametrize(
    "options",
    [("--now", "five"), ("--tau", "-1"), ("--omega", "nan"), ("--load", "0"), ("--load", "inf"),
     ("--attain", "1.1"), ("--attain", "x"), ("--replications", "2"), ("--splits", "1-5"), ("--gpus", "0"),
     ("--ttft-ms", "0")],
)  # fmt: skip
def test_what_is_mistyped_is_refused_at_once(trace: Path, options: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        advise(trace, *options)
    assert caught.value.code == 2


@pytest.mark.usefixtures("pools")
def test_contexts_beyond_the_timing_table_are_refused(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with trace.open("a") as file:
        long = {"timestamp": 1, "input_length": 9000, "output_length": 9, "hash_ids": list(range(18))}
        file.write(json.dumps(long) + "\n")
    assert advise(trace) == 2
    error = capsys.readouterr().err
    assert "1 of 301 requests have contexts of up to 9009 tokens" in error
    assert "--longest 8192" in error
    assert advise(trace, "--longest", "8192", "--splits", "2P/4D", "3P/3D") == 0
    assert "1 of more than 8192 tokens were left out" in capsys.readouterr().out


@pytest.mark.usefixtures("pools")
def test_a_packed_trace_is_read(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = trace.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(trace.read_bytes()))
    assert advise(packed, "--splits", "2P/4D", "3P/3D", "--tau", "0", "--omega", "1") == 0
    assert "300 requests (mooncake)" in capsys.readouterr().out


def test_a_library_that_is_missing_says_what_to_do(
    trace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANARCHY_DYNAMO_PYTHON", str(tmp_path / "none"))
    assert advise(trace) == 2
    assert "the serving environment is missing" in capsys.readouterr().err
