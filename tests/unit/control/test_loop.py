"""The loop with a made-up clock: its schedule, its log, and how it ends."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from anarchy.control.detector import Detector, Regime
from anarchy.control.loop import Clock, ControlLoop, LoopSettings
from anarchy.control.observation import Observation
from anarchy.control.sources import ClientSource
from anarchy.control.thresholds import Multiples
from anarchy.ground.errors import UserError
from anarchy.trace.control_log import ControllerLog, LogRecords, read_log

PLAIN = Detector(1.0, 10.0, weight=1.0)


class FakeClock(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += seconds


class Script:
    """A source that answers with the given P99s, each after so many seconds of the clock (wall)."""

    name = "script"

    def __init__(
        self, clock: FakeClock, *answers: float | None, takes: dict[int, float] | None = None
    ) -> None:
        self.clock, self.answers, self.takes = clock, list(answers), takes or {}
        self.start = 0.0
        self.asked: list[float] = []

    def begin(self, t: float) -> None:
        self.start = t

    def poll(self, t: float) -> Observation:
        start, self.start = self.start, t
        self.asked.append(t)
        p99 = self.answers.pop(0)
        self.clock.time += self.takes.get(len(self.asked), 0.0)
        return Observation(start, t, 10, p99, reason="" if p99 is not None else "away")


def run(
    tmp_path: Path,
    *answers: float | None,
    settings: LoopSettings | None = None,
    takes: dict[int, float] | None = None,
    **callbacks: Any,
) -> tuple[Regime, Script, LogRecords]:
    clock = FakeClock()
    source = Script(clock, *answers, takes=takes)
    with ControllerLog(tmp_path / "controller.jsonl") as log:
        loop = ControlLoop(source, settings or LoopSettings(PLAIN), log=log, clock=clock, **callbacks)
        regime = loop.run(len(answers))
    return regime, source, read_log(tmp_path / "controller.jsonl")


def test_every_poll_and_switch_is_told_and_logged(tmp_path: Path) -> None:
    switched: list[Regime] = []
    regime, source, log = run(tmp_path, 0.5, 2, None, 2, 2, 0.5, 0.5, 0.5, on_switch=switched.append)
    assert switched == [Regime.TRANSITION, Regime.BELOW]
    assert regime is Regime.BELOW
    assert source.asked == pytest.approx([5, 10, 15, 20, 25, 30, 35, 40])
    assert [record["kind"] for record in log.records].count("poll") == 8
    verdicts = [record["verdict"] for record in log.of("poll")]
    words = "steady confirming missing confirming switch confirming confirming switch"
    assert verdicts == words.split()
    assert log.of("poll")[2]["reason"] == "away"
    first = log.of("switch")[0]
    assert (first["from"], first["to"], first["tau"], first["omega"]) == ("below", "transition", 0.7, 1.0)
    assert first["applied"]
    assert log.of("end")[0]["reason"] == "polls"
    assert log.of("start")[0]["detector"]["confirm"] == 3
    assert log.unreadable == ()


def test_model_time_is_wall_time_over_the_dilation(tmp_path: Path) -> None:
    _, source, _ = run(tmp_path, 0.5, 0.5, settings=LoopSettings(PLAIN, dilation=3.0))
    assert source.asked == pytest.approx([5, 10])
    assert source.clock.time == pytest.approx(1030)


def test_a_slow_poll_is_recorded_and_moves_no_other(tmp_path: Path) -> None:
    """The second poll takes 13 s: one poll is skipped, one is late, its window is stale, the rest on time."""
    _, source, log = run(tmp_path, *[0.5] * 6, takes={1: 2.0, 2: 13.0})
    assert source.asked == pytest.approx([5, 10, 23, 25, 30, 35])
    polls = log.of("poll")
    assert [poll["poll"] for poll in polls] == [1, 2, 4, 5, 6, 7]
    assert [poll["skipped"] for poll in polls] == [0, 0, 1, 0, 0, 0]
    assert [poll["late_s"] for poll in polls] == pytest.approx([0, 0, 3, 0, 0, 0])
    assert [poll["verdict"] for poll in polls] == [
        "steady",
        "steady",
        "missing",
        "steady",
        "steady",
        "steady",
    ]
    assert polls[2]["reason"].startswith("stale: a window of 13 s")


def test_the_schedule_does_not_drift(tmp_path: Path) -> None:
    polls = 200
    takes = dict.fromkeys(range(1, polls), 0.37)
    _, source, _ = run(tmp_path, *[0.5] * polls, takes=takes)
    assert source.asked[-1] == pytest.approx(5.0 * polls)


def test_thresholds_come_from_the_baseline(tmp_path: Path) -> None:
    told: list[float] = []
    settings = LoopSettings(Detector(3.0, 30.0, weight=1.0), Multiples(3.0, 30.0, polls=3))
    regime, _, log = run(
        tmp_path, 0.1, None, 0.2, 9.0, 0.5, 0.61, 0.61, 0.61,
        settings=settings, on_baseline=lambda p99, _: told.append(p99),
    )  # fmt: skip
    assert told == [0.2]
    assert log.of("baseline")[0]["theta1"] == pytest.approx(0.6)
    assert [poll["verdict"] for poll in log.of("poll")][:4] == ["baseline"] * 4
    assert regime is Regime.TRANSITION
    assert log.of("start")[0]["detector"]["theta1"] is None


def test_a_switch_that_fails_ends_the_loop_and_stands_in_the_log(tmp_path: Path) -> None:
    def refuse(_: Regime) -> None:
        raise RuntimeError("the frontend is gone")

    with pytest.raises(RuntimeError, match="gone"):
        run(tmp_path, 2, 2, 2, 2, on_switch=refuse)
    log = read_log(tmp_path / "controller.jsonl")
    assert log.of("switch")[0]["applied"] is False
    assert "the frontend is gone" in log.of("end")[0]["reason"]


class Full(ControllerLog):
    """A log whose disk is full from the first switch on."""

    full = False

    def write(self, kind: str, **facts: object) -> None:
        self.full = self.full or kind == "switch"
        if self.full:
            raise UserError("no disk space is left", where=self.path, remedy="free space")
        super().write(kind, **facts)


def test_a_log_that_cannot_be_written_does_not_hide_what_failed(tmp_path: Path) -> None:
    def refuse(_: Regime) -> None:
        raise RuntimeError("the router has gone")

    clock = FakeClock()
    with Full(tmp_path / "controller.jsonl") as log:
        loop = ControlLoop(
            Script(clock, *[5.0] * 9), LoopSettings(PLAIN), log=log, on_switch=refuse, clock=clock
        )
        with pytest.raises(RuntimeError, match="the router has gone") as failed:
            loop.run()
    assert "no disk space" in failed.value.__notes__[0]


def test_stop_ends_a_wait_at_once() -> None:
    loop = ControlLoop(ClientSource(), LoopSettings(PLAIN, period_s=600.0))
    thread = threading.Thread(target=loop.run)
    thread.start()
    time.sleep(0.05)
    loop.stop()
    thread.join(60.0)
    assert not thread.is_alive(), "not the ten minutes of the period"


@pytest.mark.parametrize("settings", [{"period_s": 0.0}, {"period_s": float("nan")}, {"dilation": -1.0}])
def test_settings_without_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="remedy:"):
        LoopSettings(PLAIN, **settings)


def test_half_a_line_of_a_killed_writer_is_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "controller.jsonl"
    with ControllerLog(path) as log:
        log.write("poll", poll=1, bracket=(1.0, float("inf")))
    with path.open("a") as file:
        file.write('{"kind": "poll", "po')
    assert [record["poll"] for record in read_log(path).records] == [1]
    assert read_log(path).unreadable == (2,)
    with ControllerLog(path) as log:  # the next one begins on a line of its own
        log.write("poll", poll=2)
    found = read_log(path)
    assert [record["poll"] for record in found.records] == [1, 2]
    assert found.unreadable == (2,)
    assert json.loads(path.read_text().splitlines()[0])["bracket"] == [1.0, None]


def test_a_log_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        ControllerLog(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        read_log(tmp_path / "none")
