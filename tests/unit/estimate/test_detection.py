"""When a controller fired against when the load crossed the knee, on logs made by hand."""

from __future__ import annotations

import datetime
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anarchy.config import AdaptivePolicy, Controller
from anarchy.control.detector import PARAMETERS, Detector, Regime
from anarchy.control.loop import ControlLoop, LoopSettings
from anarchy.control.observation import Observation
from anarchy.estimate import columns
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.detection import crossing, detection_tables, log_row, poll_rows
from anarchy.ground.errors import UserError
from anarchy.ground.files import sha256_of
from anarchy.trace.control_log import ControllerLog, read_log
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import StageSpan
from anarchy.trace.starts import utc
from tests.helpers.condition_samples import ADAPTIVE, HEAD, STARTED, measured, staged, stages_of, trace_of

SPANS = (
    StageSpan("low", 32, 0.0, 10.0, 40.0),
    StageSpan("high", 96, 40.0, 50.0, 90.0),
    StageSpan("after", 32, 90.0, 100.0, 150.0),
)
KNEE = 64
ZERO = datetime.datetime.fromisoformat(STARTED).timestamp()


def trace(folder: Path = Path(), **changes: Any) -> CellTrace:
    """A staged trace whose rows do not matter here."""
    table, _ = staged((16,), n=60)
    found = trace_of(table, stages=SPANS, dilation=2.0, **changes)
    return CellTrace(folder, found.manifest, found.table)


def write_log(path: Path, switches: list[tuple[float, Regime]], **changes: Any) -> Path:
    """A log that began 1 model s after the cell, with thetas of 1 and 10 s and a poll every 5 s."""
    p99: dict[float, float | None] = changes.pop("p99", {})
    start = {
        "schema": 1,
        "source": "client",
        "at_wall_s": ZERO + 2.0,
        "period_s": 5.0,
        "dilation": 2.0,
        "detector": {"theta1": 1.0, "theta2": 10.0},
    }
    regime = Regime.BELOW
    with ControllerLog(path) as log:
        log.write("start", **{**start, **changes})
        for number in range(1, 30):
            t = 5.0 * number
            poll = {
                "poll": number,
                "window": (t - 5.0, t),
                "requests": 50,
                "p99": p99.get(t, 0.1),
                "bracket": (0.05, 0.1),
                "ewma": 0.1,
                "reason": "",
                "forgot": False,
                "late_s": 0.0,
                "skipped": 0,
                "notes": (),
            }
            here = [to for at, to in switches if at == t]
            after = here[0] if here else regime
            verdict = "switch" if here else ("missing" if poll["p99"] is None else "steady")
            log.write("poll", **poll, regime=after.word, verdict=verdict)
            if here:
                tau, omega = PARAMETERS[after]
                log.write(
                    "switch",
                    **{"t": t, "from": regime.word, "to": after.word, "tau": tau, "omega": omega},
                    reason="",
                    applied=True,
                    applied_t=t,
                )
            regime = after
        log.write("end", t=150.0, regime=regime.word, reason="stopped")
    return path


def test_delay_from_the_crossing_to_the_switch(tmp_path: Path) -> None:
    """The log's clock is 1 s behind the cell's: its 60 s are the cell's 61 s."""
    path = write_log(
        tmp_path / "l",
        [(60.0, Regime.TRANSITION), (70.0, Regime.SATURATED), (110.0, Regime.BELOW)],
        p99={45.0: 0.5, 50.0: 3.0, 55.0: None, 60.0: 8.0},
    )
    row = log_row(read_log(path), trace(), KNEE)
    assert (row["crossed_stage"], row["crossed_concurrency"], row["crossed_s"]) == ("high", 96, 40.0)
    assert row["fired"]
    assert (row["fired_s"], row["fired_to"]) == (61.0, "transition")
    assert (row["delay_s"], row["delay_polls"]) == (21.0, 4.2)
    assert (row["ttft_crossed_s"], row["system_delay_s"], row["detector_delay_s"]) == (51.0, 11.0, 10.0)
    assert row["saturated_s"] == 71.0
    assert (row["recovered_s"], row["released_s"], row["release_delay_s"]) == (90.0, 111.0, 21.0)
    assert (row["false_alarms"], row["late_alarms"], row["switches"]) == (0, 0, 3)
    assert (row["polls"], row["polls_missing"], row["polls_skipped"]) == (29, 1, 0)
    assert row["regime_crossed"] == "below"
    assert (row["theta1_s"], row["theta2_s"]) == (1.0, 10.0)
    assert math.isnan(row["baseline_s"])
    assert row["valid"]
    assert row["reasons"] == ""


def test_alarms_before_and_after(tmp_path: Path) -> None:
    switches = [
        (15.0, Regime.TRANSITION),
        (30.0, Regime.BELOW),
        (35.0, Regime.TRANSITION),
        (100.0, Regime.SATURATED),
        (120.0, Regime.BELOW),
    ]
    row = log_row(read_log(write_log(tmp_path / "l", switches)), trace(), KNEE)
    assert (row["false_alarms"], row["late_alarms"]) == (2, 1)
    assert not row["fired"]
    assert math.isnan(row["delay_s"])
    assert row["regime_crossed"] == "transition"
    assert row["released_s"] == 121.0


def test_a_detector_that_never_fires(tmp_path: Path) -> None:
    row = log_row(read_log(write_log(tmp_path / "l", [])), trace(), KNEE)
    assert not row["fired"]
    assert math.isnan(row["ttft_crossed_s"])
    assert math.isnan(row["released_s"])
    assert row["fired_to"] == ""


def test_a_load_that_never_crosses_makes_every_alarm_false(tmp_path: Path) -> None:
    row = log_row(read_log(write_log(tmp_path / "l", [(60.0, Regime.TRANSITION)])), trace(), 200)
    assert row["false_alarms"] == 1
    assert not row["fired"]
    assert row["crossed_stage"] == ""
    assert "no stage lies above the knee" in row["reasons"]
    assert math.isnan(crossing(SPANS, None).crossed_s)


def test_without_a_knee_nobody_knows_which_alarms_are_false(tmp_path: Path) -> None:
    row = log_row(read_log(write_log(tmp_path / "l", [(60.0, Regime.TRANSITION)])), trace(), None)
    assert math.isnan(row["false_alarms"])
    assert row["switches"] == 1


def test_a_load_that_does_not_come_back_recovers_at_its_end() -> None:
    assert crossing(SPANS[:2], KNEE).recovered_s == 90.0


def test_a_log_that_was_cut_off_is_told(tmp_path: Path) -> None:
    path = write_log(tmp_path / "l", [(60.0, Regime.TRANSITION)])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:20], lines[20][:10]]))
    row = log_row(read_log(path), trace(), KNEE)
    assert row["unreadable"] == 1
    assert row["reasons"] == "the log has no end"
    path.write_text(lines[1] + "\n")
    headless = log_row(read_log(path), trace(), KNEE)
    assert not headless["valid"]
    assert headless["reasons"] == "the log has no start"
    assert poll_rows(read_log(path), trace()) == []


def test_a_controller_that_broke_is_told(tmp_path: Path) -> None:
    path = write_log(tmp_path / "l", [])
    text = path.read_text().replace('"reason": "stopped"', '"reason": "UserError: no disk space"')
    path.write_text(text)
    assert log_row(read_log(path), trace(), KNEE)["reasons"].startswith("the controller ended early")


def test_a_manifest_without_a_clock_is_refused(tmp_path: Path) -> None:
    path = write_log(tmp_path / "l", [])
    with pytest.raises(UserError, match="started_at"):
        log_row(read_log(path), trace(started_at=""), KNEE)


class Steps:
    """A source whose P99 follows the load of the stages, on the log's clock."""

    name = "client"

    def __init__(self) -> None:
        self.start = 0.0

    def begin(self, t: float) -> None:
        self.start = t

    def poll(self, t: float) -> Observation:
        start, self.start = self.start, t
        return Observation(start, t, 50, 5.0 if 40.0 < t <= 90.0 else 0.1)


class Skipping:
    """A clock that waits by jumping."""

    stopped = False

    def __init__(self) -> None:
        self.t = 0.0

    def now(self) -> float:
        return self.t

    def wait(self, seconds: float) -> None:
        self.t += seconds


def real_log(path: Path) -> Path:
    """The log of the project's own loop over these stages."""
    with ControllerLog(path) as log:
        settings = LoopSettings(Detector(1.0, 10.0))
        loop = ControlLoop(Steps(), settings, log=log, clock=Skipping())  # type: ignore[arg-type]
        loop.run(polls=28)
    return path


FOLLOWS_CLIENT = AdaptivePolicy(name="adaptive", title="adaptive", controller=Controller(source="client"))


def cell_with(folder: Path, *logs: Path, reason: str = "") -> MeasuredCell:
    """A cell of an adaptive policy that has just begun."""
    companions = {path.name: sha256_of(path) for path in logs}
    found = trace(folder, companions=companions, policy="adaptive", started_at=utc(time.time()))
    return measured(found, FOLLOWS_CLIENT, stages=stages_of((32, 96, 32)), reason=reason)


def test_the_projects_own_log_is_understood(tmp_path: Path) -> None:
    log = real_log(tmp_path / "controller.jsonl")
    watched = real_log(tmp_path / "controller-client.jsonl")
    tables = detection_tables([cell_with(tmp_path, log, watched)], KNEE, HEAD, watched=("client",))
    detection, polls = tables["detection"], tables["polls"]
    assert list(detection.columns) == columns.DETECTION.names
    assert list(polls.columns) == columns.POLLS.names
    assert detection["log"].tolist() == ["controller-client.jsonl", "controller.jsonl"]
    assert detection["acts"].tolist() == [False, True]
    # One poll until the average is above, two more that confirm: at the log's 55 s.
    offset = detection["fired_s"] - 55.0
    assert detection["fired"].all()
    assert detection["delay_polls"].tolist() == pytest.approx(((15.0 + offset) / 5.0).tolist())
    assert len(polls) == 2 * 28
    switched = polls[(polls["log"] == "controller.jsonl") & (polls["switch_from"] != "")]
    assert switched["regime"].tolist() == ["transition", "below"]
    assert switched["switch_from"].tolist() == ["below", "transition"]
    assert np.isfinite(polls["theta1"]).all()


def test_logs_that_should_be_there_and_are_not(tmp_path: Path) -> None:
    tables = detection_tables([cell_with(tmp_path)], KNEE, HEAD, watched=("client",))
    rows = tables["detection"]
    assert set(zip(rows["source"], rows["acts"], strict=True)) == {("client", False), ("client", True)}
    assert not rows["valid"].any()
    assert set(rows["reasons"]) == {"no log of this controller"}
    unmeasured = measured(None, ADAPTIVE, stages=stages_of((32,)))
    rows = detection_tables([unmeasured], KNEE, HEAD)["detection"]
    assert rows["reasons"].tolist() == ["no log of this controller: not measured"]


def test_logs_of_a_cell_that_does_not_count_are_shown_and_marked(tmp_path: Path) -> None:
    log = real_log(tmp_path / "controller.jsonl")
    rows = detection_tables([cell_with(tmp_path, log, reason="errors")], KNEE, HEAD)["detection"]
    mine = rows[rows["log"] == "controller.jsonl"]
    assert mine["fired"].tolist() == [True]
    assert mine["valid"].tolist() == [False]
    assert mine["reasons"].tolist() == ["errors"]


def test_a_log_that_was_edited_is_refused(tmp_path: Path) -> None:
    log = real_log(tmp_path / "controller.jsonl")
    cell = cell_with(tmp_path, log)
    log.write_text(log.read_text() + "{}\n")
    with pytest.raises(UserError, match="does not match its seal"):
        detection_tables([cell], KNEE, HEAD)
