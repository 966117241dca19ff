"""Controllers beside a cell: they start with it, their failure reaches it, and they end with it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from anarchy.control import running
from anarchy.control.detector import Detector, Regime
from anarchy.control.loop import LoopSettings
from anarchy.control.observation import Observation
from anarchy.control.running import RunningControllers, Watch
from anarchy.ground.errors import UserError
from anarchy.trace.control_log import ControllerLog, read_log
from tests.helpers.waiting import until

SETTINGS = LoopSettings(Detector(0.1, 1.0, confirm=1), period_s=0.01)


class Steady:
    """A source that always sees one P99, and counts how often it was asked."""

    name = "client"

    def __init__(self, p99: float) -> None:
        self.p99, self.polls = p99, 0
        self.asked: list[float] = []
        """When it began and was polled, by the monotonic clock."""
        self._start = 0.0

    def begin(self, t: float) -> None:
        self.asked.append(time.monotonic())
        self._start = t

    def poll(self, t: float) -> Observation:
        self.asked.append(time.monotonic())
        self.polls += 1
        start, self._start = self._start, t
        return Observation(start, t, 1, self.p99)


def test_a_controller_polls_from_start_to_the_end_and_tells_of_its_switch(tmp_path: Path) -> None:
    source, seen = Steady(0.5), list[Regime]()
    watch = Watch(source, SETTINGS, tmp_path / "controller.jsonl", seen.append)
    with RunningControllers([watch]) as controllers:
        assert source.polls == 0
        controllers.start()
        until(lambda: seen == [Regime.TRANSITION])
        controllers.raise_if_failed()
    polls = source.polls
    records = read_log(watch.log)
    assert records.of("switch")[0]["to"] == "transition"
    assert records.of("end")[0]["reason"] == "stopped"
    time.sleep(0.05)
    assert source.polls == polls
    assert not [thread for thread in threading.enumerate() if thread.name == "control-client"]


def test_what_ends_a_controller_comes_out_of_the_cell(tmp_path: Path) -> None:
    def refuse(_: Regime) -> None:
        raise UserError("the router has gone", where="router", remedy="run again")

    watch = Watch(Steady(0.5), SETTINGS, tmp_path / "controller.jsonl", refuse)
    with RunningControllers([watch]) as controllers:
        controllers.start()
        until(lambda: not [t for t in threading.enumerate() if t.name == "control-client"])
        with pytest.raises(UserError, match="the router has gone"):
            controllers.raise_if_failed()


def test_the_log_of_an_attempt_that_was_cut_off_is_not_continued(tmp_path: Path) -> None:
    log = tmp_path / "controller.jsonl"
    log.write_text('{"kind": "poll", "poll": 99}\n')
    with RunningControllers([Watch(Steady(0.01), SETTINGS, log)]) as controllers:
        controllers.start()
        until(lambda: bool(read_log(log).of("poll")))
    assert 99 not in [record["poll"] for record in read_log(log).of("poll")]


def test_without_a_start_nothing_runs_and_the_end_is_clean(tmp_path: Path) -> None:
    source = Steady(0.5)
    with RunningControllers([Watch(source, SETTINGS, tmp_path / "controller.jsonl")]) as controllers:
        assert controllers.logs == (tmp_path / "controller.jsonl",)
    assert source.polls == 0


def test_a_controller_begins_after_a_while(tmp_path: Path) -> None:
    """The ramp of the first stage is in no baseline: nothing is polled before, and the clock begins then."""
    source = Steady(0.5)
    watch = Watch(source, SETTINGS, tmp_path / "controller.jsonl")
    with RunningControllers([watch]) as controllers:
        started, at_wall = time.monotonic(), time.time()
        controllers.start(0.3)
        until(lambda: source.polls > 2)
    begun = started + 0.299
    assert min(source.asked) >= begun
    log = read_log(watch.log)
    assert at_wall + 0.29 <= log.of("start")[0]["at_wall_s"] <= time.time()
    first, last = log.of("poll")[0]["window"]
    assert first == 0.0
    assert last <= source.asked[1] - begun, "of a clock that began no earlier"


def test_one_that_has_not_begun_yet_ends_at_once(tmp_path: Path) -> None:
    source = Steady(0.5)
    watch = Watch(source, SETTINGS, tmp_path / "controller.jsonl")
    started = time.monotonic()
    with RunningControllers([watch]) as controllers:
        controllers.start(300.0)
    assert time.monotonic() - started < 60.0
    controllers.raise_if_failed()
    assert source.polls == 0
    assert read_log(watch.log).records == ()


class FullDisk(ControllerLog):
    """A log on a disk that has no space left, from its first record on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file.close()
        self._file = Path("/dev/full").open("r+b")  # noqa: SIM115 (closed as the log's)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of the first controller lies on a full disk."""
    kinds = iter((FullDisk, ControllerLog))
    monkeypatch.setattr(running, "ControllerLog", lambda path: next(kinds)(path))


def two(tmp_path: Path) -> list[Watch]:
    return [Watch(Steady(0.01), SETTINGS, tmp_path / f"controller-{n}.jsonl") for n in range(2)]


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_comes_out_of_the_cell_and_every_log_is_closed(tmp_path: Path) -> None:
    watches = two(tmp_path)
    controllers = RunningControllers(watches)

    def cell() -> None:
        with controllers:
            controllers.start()
            until(lambda: bool(read_log(watches[1].log).of("poll")))
            until(lambda: bool(controllers._failures))
            controllers.raise_if_failed()

    with pytest.raises(UserError, match="no disk space") as full:
        cell()
    assert full.value.where == watches[0].log
    assert all(log._file.closed for log in controllers._logs)
    assert read_log(watches[1].log).of("end")[0]["reason"] == "stopped"


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError])
def test_a_log_that_cannot_be_closed_hides_no_earlier_error(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    controllers = RunningControllers(two(tmp_path))

    def cell() -> None:
        with controllers:
            controllers._logs[0]._file.write(b"left in the buffer")
            raise failure

    with pytest.raises(failure) as raised:
        cell()
    assert "no disk space" in raised.value.__notes__[0]
    assert all(log._file.closed for log in controllers._logs)


@pytest.mark.usefixtures("full_disk")
def test_a_log_that_cannot_be_closed_is_told_where_nothing_else_failed(tmp_path: Path) -> None:
    controllers = RunningControllers(two(tmp_path))

    def cell() -> None:
        with controllers:
            controllers._logs[0]._file.write(b"left in the buffer")

    with pytest.raises(UserError, match="no disk space"):
        cell()
    assert all(log._file.closed for log in controllers._logs)
    controllers.stop()


def test_a_log_that_cannot_be_opened_leaves_none_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[ControllerLog] = []

    def note(path: Path) -> ControllerLog:
        opened.append(ControllerLog(path))
        return opened[-1]

    monkeypatch.setattr(running, "ControllerLog", note)
    (tmp_path / "file").touch()
    watches = [*two(tmp_path)[:1], Watch(Steady(0.01), SETTINGS, tmp_path / "file" / "controller.jsonl")]
    with pytest.raises((UserError, OSError)):
        RunningControllers(watches).__enter__()
    assert [log._file.closed for log in opened] == [True]
