"""What the cells ran on: read from recordings, told in a deployment's summary, marked and shown."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from anarchy.designs.registry import design_of
from anarchy.estimate.deployments import HELD_BACK_SHARE, held_back
from anarchy.estimate.document import RunningOn
from anarchy.report import running_on as shown
from anarchy.telemetry.recording import Segments, seal
from anarchy.telemetry.running_on import running_on, wall_span
from tests.helpers.trace_samples import manifest

BEGIN = 1_000_000.0


def record(folder: Path, gpus: bool = True) -> None:
    """Ten seconds of two GPUs, one of them held back from the fifth on, and of a worker that falls silent."""
    segments = Segments(folder)
    clock = segments.series("node01/gpu", "nvidia_smi_clocks_sm", '{"gpu": "0"}')
    other = segments.series("node01/gpu", "nvidia_smi_clocks_sm", '{"gpu": "1"}')
    reason = segments.series("node01/gpu", "nvidia_smi_clocks_event_reasons_active", '{"gpu": "0"}')
    for second in range(10):
        at = BEGIN + second
        if gpus:
            numbers = [1965.0, 1900.0, 4.0 if second >= 5 else 1.0]
            segments.add_values(at, float(second), [clock, other, reason], numbers, [])
            segments.add_scrape(at, float(second), "node01/gpu", 0.0, None)
        silent = second == 9
        segments.add_scrape(at, float(second), "decode-0", 0.002, "no answer" if silent else None)
    segments.flush()
    seal(folder)


def test_only_what_was_recorded_during_the_cells_counts(tmp_path: Path) -> None:
    record(tmp_path / "telemetry" / "a")
    found = running_on(tmp_path, [(BEGIN + 3, BEGIN + 5), (BEGIN + 8, BEGIN + 10)])
    assert found == {
        "gpus": 2,
        "samples": {"sm_clock_mhz": [1900.0, 1932.5, 1965.0]},
        "held_back_share": 0.5,
        "answer_p99_s": pytest.approx(0.002),
        "unanswered_share": 0.25,
    }
    RunningOn.model_validate(found)
    nothing = running_on(tmp_path, [])
    assert nothing is not None
    assert (nothing["gpus"], nothing["held_back_share"], nothing["unanswered_share"]) == (0, None, None)


def test_a_deployment_without_recordings_tells_nothing(tmp_path: Path) -> None:
    assert running_on(tmp_path, [(BEGIN, BEGIN + 1)]) is None
    (tmp_path / "telemetry" / "empty").mkdir(parents=True)
    assert running_on(tmp_path, [(BEGIN, BEGIN + 1)]) is None


def test_a_cell_spans_wall_time() -> None:
    started = datetime.fromtimestamp(BEGIN, UTC).isoformat()
    cell = manifest(started_at=started, duration_s=10.0, dilation=3.0)
    assert wall_span(cell) == (BEGIN, BEGIN + 30.0)
    assert wall_span(manifest(started_at="", duration_s=10.0)) is None


def deployment(**facts: Any) -> dict[str, Any]:
    return {"routing_set": "builtin", "trial": 1, **facts}


def test_gpus_that_were_held_back_are_marked() -> None:
    plan: Any = SimpleNamespace(routing="builtin", trial=2)
    for share, marked in ((None, False), (HELD_BACK_SHARE, False), (0.25, True)):
        marks = held_back([plan], [{"running_on": {"held_back_share": share}}])
        assert bool(marks) is marked
    assert "launch 2 back for 25%" in marks[0]
    assert held_back([plan], [{}]) == []


def test_the_report_tells_hosts_gpus_and_processes(tmp_path: Path) -> None:
    record(tmp_path / "telemetry" / "a")
    told = running_on(tmp_path, [(BEGIN, BEGIN + 10)])
    attempts = pd.DataFrame({"host_cpu_share": [0.25, 0.5, 0.75], "client_cpu_share": [0.1, 0.2, 0.3]})
    info = {"deployments": [deployment(running_on=told), deployment()]}
    system: Any = SimpleNamespace(
        design="ladder", experiment="equilibrium", title="M, 1P/2D", attempts=attempts, info=info
    )
    hosts, gpus, processes = (part([system]) for part in (shown.hosts, shown.gpus, shown.processes))
    assert hosts is not None
    assert gpus is not None
    assert processes is not None
    title = f"{design_of('ladder').id}, M, 1P/2D"
    assert hosts["rows"][0][:2] == [title, "3"]
    assert gpus["head"][2] == "SM clock, MHz"
    assert [row[1] for row in gpus["rows"]] == ["2"]
    assert len(processes["rows"]) == 1
    for words in (hosts, gpus, processes):
        assert all(len(row) == len(words["head"]) == len(words["numeric"]) for row in words["rows"])


def test_without_telemetry_the_report_leaves_the_section_out() -> None:
    attempts = pd.DataFrame({"host_cpu_share": [None], "client_cpu_share": [None]})
    system: Any = SimpleNamespace(design="ladder", title="M", attempts=attempts, info={"deployments": [{}]})
    assert shown.hosts([system]) is None
    assert shown.gpus([system]) is None
    assert shown.processes([system]) is None
