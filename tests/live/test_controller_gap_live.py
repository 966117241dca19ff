"""The frontends' metrics go away in the middle of an adaptive cell: it holds, it ends, and a gate tells.

Between the controller and each frontend's page stands a door of this test's own. Requests go past it, so that
nothing but the controller's sight is taken away.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pytest

from anarchy.config import Controller
from anarchy.config.loads import Stage
from anarchy.control.sources import TIMEOUT_S, PrometheusSource
from anarchy.gates.controller_blind import MAX_BLIND_SHARE
from anarchy.ground.layout import cell_directory
from anarchy.measure import routing as cell_routing
from anarchy.measure.progress import SweepProgress
from anarchy.measure.session import Session
from anarchy.measure.sweep import specify
from anarchy.plan.conditions import timing_of
from anarchy.plan.launches import Cell, DeploymentPlan, derive_seed
from anarchy.plan.workbench import open_run
from anarchy.serving.stack import Deployment
from anarchy.trace.control_log import LOG_FILE, LogRecords, clock_offset, read_log
from anarchy.trace.reader import CellTrace, read_cell
from anarchy.trace.starts import StackStart

MODEL = "nemotron-4-340b"
POLL_S = 0.5
"""Model s; 1 s of wall time at the dilation of 2."""
CONFIRM = 6
"""Polls that the switch takes: more than the three before the gap, so that it would happen in the gap."""
WATCHFUL = Controller(theta1_s=0.001, theta2_s=1000.0, confirm=CONFIRM)
"""Any load at all is above its lower threshold: whether and when it switches is what is tested."""
C = 16
AFTER_S = 16.0
"""Wall s of a cell that are left when its gap is over: time for the switch."""
MARGIN_S = 0.5
"""Wall s between when a poll's window ends and when its question is at the doors, at most."""
Away = Literal["refuses", "hangs"]

pytestmark = [pytest.mark.live, pytest.mark.nightly]


class Door:
    """A port before a frontend's /metrics, that lets questions through until it is shut."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._behind = (parts.hostname, parts.port)
        self._hangs = False
        self._server: asyncio.Server | None = None
        # Bound and never listening: while nobody else listens, connections to this port are refused, and
        # no other process can get it.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port: int = self._place.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/metrics"

    async def open(self) -> None:
        self._hangs = False
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, reuse_port=True)

    async def shut(self, how: Away) -> None:
        self._hangs = how == "hangs"
        if how == "refuses" and self._server is not None:
            self._server.close()
            self._server = None

    def give_up(self) -> None:
        """Let the port go."""
        self._place.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._hangs:
                await reader.read()  # until the asker has had enough
                return
            answers, asks = await asyncio.open_connection(*self._behind)
            asks.write(await reader.readuntil(b"\r\n\r\n"))
            writer.write(await answers.read())
            asks.close()
        finally:
            writer.close()


class Doors:
    """A door for each page asked for, on an event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._doors: list[Door] = []
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def before(self, url: str) -> str:
        """Open a door before a page, and return its address."""
        self._doors.append(Door(url))
        self._done(self._doors[-1].open())
        return self._doors[-1].url

    def shut(self, how: Away) -> None:
        for door in self._doors:
            self._done(door.shut(how))

    def open(self) -> None:
        for door in self._doors:
            self._done(door.open())

    def remove(self) -> None:
        self.shut("refuses")
        for door in self._doors:
            door.give_up()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _done(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(5.0)


@dataclass(frozen=True)
class Gap:
    """When the pages were away, wall s since the epoch."""

    begun: float
    ended: float


def take_away(log: Path, doors: Doors, how: Away, seconds: float) -> Gap:
    """Wait until the controller has seen something three times, then take every page away for so long."""
    ends = time.monotonic() + 60.0
    while not (log.exists() and sum(poll["p99"] is not None for poll in read_log(log).of("poll")) >= 3):
        assert time.monotonic() < ends, "the controller sees nothing"
        time.sleep(0.05)
    doors.shut(how)
    begun = time.time()
    time.sleep(seconds)
    ended = time.time()
    doors.open()
    return Gap(begun, ended)


def staged(plan: DeploymentPlan, name: str, gap_s: float) -> Cell:
    """An adaptive cell of one stage, long enough for a gap of so many wall s after its first polls."""
    (cell,) = (cell for cell in plan.cells if cell.policy.kind == "adaptive")
    stages = (
        Stage("steady", C, 0.3, 4.0 * POLL_S + (gap_s + 2.0 * TIMEOUT_S + AFTER_S) / plan.model.dilation),
    )
    return replace(
        cell,
        name=name,
        policy=cell.policy.model_copy(update={"controller": WATCHFUL}),
        stages=stages,
        timing=timing_of(plan.settings.timing, stages),
        concurrency=C,
        seed=derive_seed(cell.seed, name),  # prompts of its own: those of another cell are in the caches
    )


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The experiment's own deployment: a frontend for each regime, polled every second of wall time."""
    folder = tmp_path_factory.mktemp("gap")
    choices = {"tier": "smoke", "experiments": ["adaptive"], "models": [MODEL], "knees": "recorded"}
    bench = open_run(choices)
    (planned,) = (plan for plan in bench.plans if plan.routing == "builtin")
    tier = type(planned.settings).model_validate({**planned.settings.model_dump(), "poll_s": POLL_S})
    tiers = {**planned.experiment.tiers, planned.tier: tier}
    plan = replace(planned, experiment=planned.experiment.model_copy(update={"tiers": tiers}))
    with (
        Deployment(specify(bench, plan, folder / "logs")) as deployment,
        SweepProgress(plan.title, 3, 0, 0.0, 0.0) as progress,
    ):
        yield Session(plan, folder, deployment, progress, StackStart("", plan.plan_hash))


@dataclass(frozen=True)
class Measured:
    """A sealed cell, and what its controller went through."""

    trace: CellTrace
    log: LogRecords
    gap: Gap
    wall_s: float

    def polls(self) -> tuple[list[Any], list[Any], list[Any]]:
        """Those that began before the gap, surely inside it, and later."""
        (start,) = self.log.of("start")
        parts: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        for poll in self.log.of("poll"):
            at = start["at_wall_s"] + poll["window"][1] * start["dilation"]
            inside = at < self.gap.ended - MARGIN_S
            parts[0 if at < self.gap.begun else 1 if inside else 2].append(poll)
        return parts

    def times(self, column: str) -> npt.NDArray[np.float64]:
        """A column of times on the clock of the log, model s, shape (rows,)."""
        return self.trace.column(column) - clock_offset(self.log.of("start")[0], self.trace)


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Doors]:
    """Controllers ask doors instead of the frontends' pages."""
    doors = Doors()

    def source(urls: Sequence[str], **more: Any) -> PrometheusSource:
        return PrometheusSource([doors.before(url) for url in urls], **more)

    monkeypatch.setattr(cell_routing, "PrometheusSource", source)
    yield doors
    doors.remove()


def measured(session: Session, doors: Doors, how: Away, gap_s: float) -> Measured:
    """Measure a cell as a sweep does, and take the pages away meanwhile. It ends when it should."""
    cell = staged(session.plan, f"{how}-{gap_s:g}s", gap_s)
    directory = cell_directory(session.folder, cell.name)
    log = directory / LOG_FILE
    with ThreadPoolExecutor(1) as beside:
        away = beside.submit(take_away, log, doors, how, gap_s)
        started = time.monotonic()
        manifest = session.measure(cell, 1)
        wall_s = time.monotonic() - started
        gap = away.result(0.0)
    last = max(stage.end_s for stage in manifest.stages)
    assert wall_s < (last + cell.timing.deadline_s) * session.plan.model.dilation + TIMEOUT_S
    return Measured(read_cell(directory), read_log(log), gap, wall_s)


def holds_in_the_gap(cell: Measured, how: Away) -> None:
    """Every poll of the gap is there, with its reason; nothing was judged, and nothing switched."""
    before, inside, _ = cell.polls()
    judged = [poll["verdict"] for poll in before if poll["p99"] is not None]
    assert judged == ["confirming"] * len(judged)
    assert 3 <= len(judged) < CONFIRM
    assert {poll["verdict"] for poll in inside} == {"missing"}
    words = {"refuses": "Connection refused", "hangs": f"no answer within {TIMEOUT_S:g} s"}
    assert all(words[how] in poll["reason"] for poll in inside), inside
    assert {poll["regime"] for poll in inside} == {"below"}
    begin, end = inside[0]["window"][1], inside[-1]["window"][1]
    assert not [switch for switch in cell.log.of("switch") if switch["t"] <= end]
    sent = (cell.times("t_sent") >= begin) & (cell.times("t_sent") < end)
    assert sent.any(), "requests go on"
    assert set(cell.trace.column("regime")[sent]) == {"below"}
    assert set(cell.trace.column("status")[sent]) == {"ok"}


def sees_again_after_it(cell: Measured) -> None:
    """The window that began in the gap is missing too; later ones hold their own requests and no others."""
    _, _, after = cell.polls()
    answered = [poll for poll in after if "no reading now" not in poll["reason"]]
    assert "no reading at the start of the window" in answered[0]["reason"]
    seen = [poll for poll in answered if poll["p99"] is not None]
    assert seen
    for poll in seen:
        begin, end = poll["window"]
        assert end - begin < 1.5 * POLL_S
        # Its prefill ended in the window, so it was sent before and got its first token after.
        could = (cell.times("t_sent") < end + POLL_S) & (cell.times("t_first_token") > begin)
        assert poll["requests"] <= could.sum()


def switches_when_confirmed(cell: Measured) -> None:
    """The one switch comes with the k-th poll that saw something since anything was forgotten."""
    run = 0
    for poll in cell.log.of("poll"):
        run = 0 if poll["forgot"] else run + (poll["p99"] is not None)
        if poll["verdict"] == "switch":
            break
    assert (poll["verdict"], run) == ("switch", CONFIRM)
    assert [(switch["from"], switch["to"]) for switch in cell.log.of("switch")] == [("below", "transition")]
    assert set(cell.trace.column("regime")) == {"below", "transition"}


def told(cell: Measured) -> str:
    before, inside, after = cell.polls()
    gates = cell.trace.manifest.gates
    assert gates is not None
    return (
        f"{cell.trace.manifest.cell}: {cell.wall_s:.0f} s; polls {len(before)} before, {len(inside)} in the "
        f"gap ({sum(poll['skipped'] for poll in inside)} skipped), {len(after)} after it, "
        f"missing share {gates.measures['controller_missing_share']:.2f}, reasons {gates.reasons}; "
        f"switches {[(switch['to'], round(switch['t'], 1)) for switch in cell.log.of('switch')]}"
    )


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_thirty_seconds_away_end_as_a_named_gate(
    session: Session, doors: Doors, capsys: pytest.CaptureFixture[str], how: Away
) -> None:
    cell = measured(session, doors, how, 30.0)
    said = capsys.readouterr().err
    print(told(cell))
    holds_in_the_gap(cell, how)
    sees_again_after_it(cell)
    switches_when_confirmed(cell)
    _, inside, _ = cell.polls()
    assert [poll["forgot"] for poll in inside].count(True) == 1, "the average of before says nothing now"
    # A page that hangs costs 2 s a poll, so that polls every second are skipped, and counted.
    assert len(inside) + sum(poll["skipped"] for poll in inside) >= 25
    gates = cell.trace.manifest.gates
    assert gates is not None
    assert "controller_blind" in gates.reasons
    assert gates.measures["controller_missing_share"] > MAX_BLIND_SHARE  # type: ignore[operator]
    assert "errors" not in gates.reasons
    assert "NOT VALID" in said
    assert "controller_blind" in said


def test_a_short_absence_holds_and_is_no_fault(session: Session, doors: Doors) -> None:
    cell = measured(session, doors, "refuses", 3.0)
    print(told(cell))
    holds_in_the_gap(cell, "refuses")
    sees_again_after_it(cell)
    switches_when_confirmed(cell)
    gates = cell.trace.manifest.gates
    assert gates is not None
    assert "controller_blind" not in gates.reasons
    assert 0.0 < gates.measures["controller_missing_share"] <= MAX_BLIND_SHARE  # type: ignore[operator]
