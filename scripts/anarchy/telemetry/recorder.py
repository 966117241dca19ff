"""Records a deployment while it is measured: /metrics of its processes and its GPUs, once a second."""

from __future__ import annotations

import contextlib
import datetime
import os
import select
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from anarchy.ground.errors import UserError
from anarchy.ground.files import write_json
from anarchy.telemetry.alias import Anonymiser, scrubber
from anarchy.telemetry.exposition import Exposition, Series, labels_json
from anarchy.telemetry.gpu import GpuNode, GpuSample, GpuStream
from anarchy.telemetry.metrics import Scrape, Scraper, Source
from anarchy.telemetry.recording import RECORDING_FILE, Segments, seal

INTERVAL_S = 1.0
FLUSH_S = 10.0
"""Seconds between segments: what a kill loses at most, and the second that was running."""
STOP_S = 30.0
"""Seconds that the end of a recording may take, sealing included; it is then left as it is."""
RECORDING_SCHEMA = 1


class Recorder:
    """A thread that scrapes `sources` and samples `gpu_nodes` each second into `folder`; use it in a `with`.

    `folder` is new for each start of a deployment. What fails is a row with its reason and counted in
    `errors`; nothing here raises or waits while a deployment is measured, except a source with a malformed
    address (`ValueError`) or a folder in use (`UserError`), at once. `anonymiser` takes host and user names
    out of labels and reasons (`anonymiser_of`); the environment's secrets go in any case.
    """

    def __init__(
        self,
        folder: Path,
        sources: Sequence[Source],
        *,
        gpu_nodes: Sequence[GpuNode] = (GpuNode("node01"),),
        anonymiser: Anonymiser | None = None,
        interval_s: float = INTERVAL_S,
        flush_s: float = FLUSH_S,
    ) -> None:
        self.folder = folder
        self.errors: Counter[tuple[str, str]] = Counter()
        self.sealed = False
        self._scraper = Scraper(sources)
        self._streams = [GpuStream(node, interval_s) for node in gpu_nodes]
        self._anonymiser = anonymiser or scrubber()
        self._interval_s = interval_s
        self._flush_s = flush_s
        self._stop = threading.Event()
        self._woken, self._wake = -1, -1
        self._thread: threading.Thread | None = None
        self._segments: Segments | None = None
        self._expositions = {source.name: Exposition() for source in sources}
        self._series: dict[tuple[str, Series], int] = {}
        self._cleaned: dict[str, str] = {}
        self._gpu_values: dict[int, float] = {}
        self._skew: dict[str, float] = {}
        self._facts: dict[str, Any] = {}
        self._missed = 0
        self._cpu_s = 0.0
        self._longest_s = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin; raises `UserError` when the folder holds a recording."""
        if self.folder.exists() and any(self.folder.iterdir()):
            raise UserError(
                "is not empty", where=self.folder, remedy="record each start in a folder of its own"
            )
        try:
            self._segments = Segments(self.folder)
        except OSError as error:
            self._count("recorder", f"{error.strerror or error}")
            return
        self._facts = {"started": _clocks()}
        self._woken, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, seal, and write recording.json; may be called twice, and never raises."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stop.set()
        os.write(self._wake, b".")
        thread.join(STOP_S)
        if thread.is_alive():
            self._count("recorder", f"did not end within {STOP_S:g} s")
            return
        for end in (self._woken, self._wake):
            os.close(end)

    def summary(self) -> dict[str, Any]:
        """What recording.json holds: clocks and their skew, counts, errors by source, and what it cost."""
        errors = [
            {"source": source, "reason": reason, "count": count}
            for (source, reason), count in sorted(self.errors.items())
        ]
        return {
            "schema_version": RECORDING_SCHEMA,
            "interval_s": self._interval_s,
            "sources": [source.name for source in self._scraper.sources],
            "gpu_nodes": {
                stream.node.name: {
                    "fields": stream.fields,
                    "unknown_fields": stream.dropped,
                    # Smallest difference seen: the node's clock behind ours, plus the way here.
                    "clock_behind_s": self._skew.get(stream.node.name),
                }
                for stream in self._streams
            },
            **self._facts,
            "rows": self._segments.rows if self._segments is not None else 0,
            "missed_seconds": self._missed,
            "cpu_s": round(self._cpu_s, 3),
            "longest_tick_s": round(self._longest_s, 4),
            "errors": errors,
        }

    def _run(self) -> None:
        try:
            self._record()
        except Exception as error:  # noqa: BLE001  a fault in here must not end a measurement; it is told
            self._count("recorder", f"{type(error).__name__}: {error}")
        finally:
            for stream in self._streams:
                stream.stop()
        self._finish()

    def _record(self) -> None:
        begun = time.monotonic()
        tick = 0
        flushed = begun
        while True:
            last = self._stop.is_set()
            self._tick()
            now = time.monotonic()
            self._cpu_s = time.thread_time()
            self._longest_s = max(self._longest_s, now - (begun + tick * self._interval_s))
            if now - flushed >= self._flush_s - self._interval_s / 2 or last:
                self._flush()
                flushed = now
            if last:
                return
            # The next whole second: one that is missed is counted, not caught up with.
            following = int((time.monotonic() - begun) / self._interval_s) + 1
            self._missed += following - tick - 1
            tick = following
            self._wait(begun + tick * self._interval_s)
            if self._stop.is_set():
                begun, tick = time.monotonic(), 0

    def _wait(self, until: float) -> None:
        """Wait for a moment or for the end; GPU samples are taken as they come: their times are true."""
        while not self._stop.is_set() and (remaining := until - time.monotonic()) > 0:
            waiting = select.poll()  # not `select`, which knows descriptors below 1024 only
            waiting.register(self._woken, select.POLLIN)
            for stream in self._streams:
                if (descriptor := stream.fileno()) is not None:
                    waiting.register(descriptor, select.POLLIN)
            if waiting.poll(max(1.0, remaining * 1000)):
                self._poll_gpus()

    def _poll_gpus(self) -> None:
        for stream in self._streams:
            samples, wrong = stream.poll(time.monotonic())
            self._take_gpus(stream.node.name, samples, wrong)

    def _tick(self) -> None:
        t_wall, t_mono = time.time(), time.monotonic()
        for scrape in self._scraper.scrape():
            self._take(t_wall, t_mono, scrape)
        self._poll_gpus()

    def _take(self, t_wall: float, t_mono: float, scrape: Scrape) -> None:
        segments, source = self._running(), scrape.source
        if scrape.body is None:
            self._fail(t_wall, t_mono, source, scrape.reason or "no reason", scrape.seconds)
            return
        changes = self._expositions[source].update(scrape.body)
        if changes.bad_lines:
            self.errors[source, "lines that are not Prometheus text"] += changes.bad_lines
        if changes.ambiguous:
            self.errors[source, "lines that give a series a second value"] += changes.ambiguous
        if changes.values or changes.gone:
            numbers = [self._number(source, series) for series in changes.values]
            gone = [self._number(source, series) for series in changes.gone]
            segments.add_values(t_wall, t_mono, numbers, list(changes.values.values()), gone)
        segments.add_scrape(t_wall, t_mono, source, scrape.seconds, None)

    def _take_gpus(self, node: str, samples: Sequence[GpuSample], wrong: Sequence[str]) -> None:
        """Write GPU samples at the time of their arrival, like a scrape of the source `<node>/gpu`."""
        source = f"{node}/gpu"
        t_wall, t_mono = time.time(), time.monotonic()
        for reason in wrong:
            self._fail(t_wall, t_mono, source, reason, 0.0)
        if not samples:
            return
        changed: dict[int, float] = {}
        gone: set[int] = set()
        for sample in samples:
            if sample.t_node is not None:
                behind = t_wall - sample.t_node
                self._skew[node] = min(behind, self._skew.get(node, behind))
            for metric, value in sample.values.items():
                number = self._gpu_number(source, metric, sample.gpu)
                if value is None:
                    if self._gpu_values.pop(number, None) is not None:
                        gone.add(number)
                elif self._gpu_values.get(number) != value:
                    self._gpu_values[number] = changed[number] = value
        if changed or gone:
            numbers = list(changed)
            self._running().add_values(
                t_wall, t_mono, numbers, list(changed.values()), tuple(gone - changed.keys())
            )
        self._running().add_scrape(t_wall, t_mono, source, 0.0, None)

    def _number(self, source: str, series: Series) -> int:
        key = (source, series)
        if key not in self._series:
            metric, raw = series
            labels = {name: self._clean(value) for name, value in raw}
            self._series[key] = self._running().series(source, metric, labels_json(labels))
        return self._series[key]

    def _clean(self, value: str) -> str:
        """A label's value without names; the same few values stand in thousands of series."""
        if value not in self._cleaned:
            self._cleaned[value] = self._anonymiser.text(value)
        return self._cleaned[value]

    def _gpu_number(self, source: str, metric: str, gpu: int) -> int:
        return self._number(source, (metric, (("gpu", str(gpu)),)))

    def _fail(self, t_wall: float, t_mono: float, source: str, reason: str, seconds: float) -> None:
        told = self._count(source, reason)
        self._running().add_scrape(t_wall, t_mono, source, seconds, told)

    def _count(self, source: str, reason: str) -> str:
        told = self._anonymiser.text(reason)
        self.errors[source, told] += 1
        return told

    def _flush(self) -> None:
        try:
            self._running().flush()
        except OSError as error:
            self._count("recorder", f"a segment was lost: {error.strerror or error}")

    def _finish(self) -> None:
        self._facts["ended"] = _clocks()
        start, end = self._facts["started"], self._facts["ended"]
        wall, monotonic = (end[clock] - start[clock] for clock in ("wall_s", "monotonic_s"))
        self._facts["wall_clock_stepped_s"] = round(wall - monotonic, 6)
        try:
            seal(self.folder)
            self.sealed = True
        except (OSError, ValueError) as error:
            self._count("recorder", f"was not sealed, its segments are kept: {error}")
        with contextlib.suppress(OSError, UserError):  # the tables, which are what counts, are written
            write_json(self.folder / RECORDING_FILE, self.summary())

    def _running(self) -> Segments:
        assert self._segments is not None
        return self._segments


def _clocks() -> dict[str, Any]:
    """Both clocks at one moment, s; the monotonic one is that of this boot of this machine."""
    wall, monotonic = time.time(), time.monotonic()
    text = datetime.datetime.fromtimestamp(wall, datetime.UTC).isoformat(timespec="milliseconds")
    return {"at": text, "wall_s": wall, "monotonic_s": monotonic}


def recording_folder(deployment: Path, at: float | None = None) -> Path:
    """A new folder for one start of a deployment, telemetry/<UTC time>, beside its cells."""
    moment = datetime.datetime.fromtimestamp(time.time() if at is None else at, datetime.UTC)
    stem = deployment / "telemetry" / moment.strftime("%Y%m%dT%H%M%SZ")
    return stem if not stem.exists() else stem.with_name(f"{stem.name}-{os.getpid()}")


def deployment_sources(
    frontends: Mapping[str, tuple[str, int]], workers: Mapping[str, tuple[str, int]]
) -> list[Source]:
    """The endpoints of a running deployment.

    `frontends` holds (host, port) by policy, as `Deployment.endpoints`; `workers` those of the system ports,
    by the workers' names.
    """
    addresses = {**{f"frontend-{policy}": address for policy, address in frontends.items()}, **workers}
    return [Source(name, f"http://{host}:{port}/metrics") for name, (host, port) in addresses.items()]
