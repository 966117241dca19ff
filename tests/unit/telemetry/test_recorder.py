"""Recordings: complete, small, readable after a kill, and never in the way of a measurement."""

from __future__ import annotations

import http.server
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from anarchy.ground.errors import UserError
from anarchy.telemetry import exposition
from anarchy.telemetry.alias import Anonymiser
from anarchy.telemetry.gpu import GpuNode, GpuStream
from anarchy.telemetry.metrics import Scraper, Source
from anarchy.telemetry.recorder import Recorder, recording_folder
from anarchy.telemetry.recording import Recording, read, seal, values
from tests.helpers.telemetry_samples import write_fake_nvidia_smi
from tests.helpers.waiting import until

TOKEN = "hunter2-of-the-cluster"
Answer = Callable[[http.server.BaseHTTPRequestHandler], None]
Serve = Callable[[Answer], str]
Smi = Callable[..., None]


def plain(text: Callable[[], str] | str) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        body = (text() if callable(text) else text).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder in this process waits for an answer however busy the machine is."""
    monkeypatch.setattr(
        "anarchy.telemetry.recorder.Scraper", lambda sources: Scraper(sources, timeout_s=60.0)
    )


def recorded(folder: Path, metric: str, source: str | None = None) -> int:
    """Values of a metric in the segments that a running recording has written."""
    try:
        return int(values(read(folder), metric, source=source).num_rows)
    except UserError:  # nothing yet
        return 0


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/metrics"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def redirect(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "http://127.0.0.1:1/elsewhere")
    handler.end_headers()


def cut_off(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"a 1\n")


def dripping(at_once: list[int]) -> Answer:
    """A byte now and then, for ever; tells how many were asked at the same time, whenever one more is."""
    open_now: set[int] = set()

    def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
        open_now.add(id(handler))
        at_once.append(len(open_now))
        for _ in range(6000):
            try:
                handler.wfile.write(b"x")
            except OSError:
                break
            time.sleep(0.1)
        open_now.discard(id(handler))

    return drip


def test_answers_and_reasons_come_in_order_within_one_deadline(serve: Serve) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/metrics"
        at_once: list[int] = []
        drip = dripping(at_once)
        sources = [
            Source("good", serve(plain("up 1\n"))),
            Source("redirect", serve(redirect)),
            Source("closed", closed),
            Source("cut", serve(cut_off)),
            *(Source(f"drip-{n}", serve(drip)) for n in range(8)),
            Source("name", "http://no-such-host.invalid:80/metrics"),
        ]
        scraper = Scraper(sources, timeout_s=2.0)
        scraper.scrape()  # the resolver's first answer may take its time
        answers = {answer.source: answer for answer in scraper.scrape()}
    assert max(at_once) > 3, "one after the other there would be one, and one that has not noticed its end"
    assert list(answers) == [source.name for source in sources]
    assert answers["good"].body == "up 1\n"
    assert answers["redirect"].reason == "answered 302"
    assert "Connection refused" in (answers["closed"].reason or "")
    assert answers["cut"].reason == "the answer was cut off"
    assert {answers[f"drip-{n}"].reason for n in range(8)} == {"no answer within 2 s"}
    assert "gaierror" in (answers["name"].reason or "")


@pytest.mark.parametrize("url", ["https://h:1/m", "http://h/m", "ftp://h:1/", "nonsense"])
def test_a_malformed_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="is not http"):
        Scraper([Source("a", url)])


def counting() -> Callable[[], str]:
    count = iter(range(10_000))
    return lambda: (
        f'requests_total{{model="/home/anna/m",host="b200-1"}} {next(count)}\nidle{{le="+Inf"}} 0\n'
    )


def test_a_recording_is_sealed_and_can_be_cut_by_wall_clock(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "rec"
    names = Anonymiser({"b200-1": "node01"})
    sources = [Source("worker", serve(plain(counting()))), Source("bad", serve(redirect))]
    started = time.monotonic()
    with Recorder(folder, sources, gpu_nodes=(), anonymiser=names, interval_s=0.05, flush_s=0.2) as recorder:
        until(lambda: recorded(folder, "requests_total") >= 8)
    took = time.monotonic() - started
    assert {path.name for path in folder.iterdir()} == {
        "metrics.parquet",
        "scrapes.parquet",
        "recording.json",
    }
    recording = read(folder)
    assert recording.sealed
    rows = values(recording, "requests_total", source="worker")
    assert 8 <= rows.num_rows <= took / 0.05 + 2, "no more often than asked for"
    assert rows["value"].to_pylist() == list(range(rows.num_rows))
    assert json.loads(rows["labels"][0].as_py()) == {"host": "node01", "model": "~/m"}
    # The idle series has one row on disk, and a value at every scrape that answered.
    assert recording.metrics.filter(_is(recording, "idle")).num_rows == 1
    assert values(recording, "idle")["value"].to_pylist() == [0.0] * rows.num_rows
    times = rows["t_wall"].to_pylist()
    assert values(recording, "idle", start=times[3], end=times[6]).num_rows == 3
    assert values(recording, "no_such").num_rows == 0
    assert recorder.errors == {("bad", "answered 302"): rows.num_rows}
    summary = json.loads((folder / "recording.json").read_text())
    assert summary["errors"] == [{"source": "bad", "reason": "answered 302", "count": rows.num_rows}]
    assert abs(summary["wall_clock_stepped_s"]) < 10
    assert "anna" not in json.dumps(summary)


def _is(recording: Recording, metric: str) -> Any:
    import pyarrow.compute as pc

    return pc.equal(recording.metrics["metric"], metric)


def test_a_source_that_is_away_has_no_values_then(serve: Serve, tmp_path: Path) -> None:
    healthy = threading.Event()
    healthy.set()
    asked: list[bool] = []

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(healthy.is_set())
        (plain("a 1\nb 2\n") if asked[-1] else redirect)(handler)

    def three_more(well: bool) -> None:
        before = asked.count(well)
        until(lambda: asked.count(well) >= before + 3)

    sources = [Source("w", serve(answer))]
    with Recorder(tmp_path / "rec", sources, gpu_nodes=(), interval_s=0.05) as recorder:
        three_more(True)
        healthy.clear()
        three_more(False)
        healthy.set()
        three_more(True)
    recording = read(tmp_path / "rec")
    assert recorder.errors["w", "answered 302"] >= 2
    answered = recording.scrapes.num_rows - recording.scrapes["reason"].combine_chunks().null_count
    assert answered == recorder.errors["w", "answered 302"]
    assert values(recording, "a").num_rows == recording.scrapes.num_rows - answered


def test_a_series_that_vanishes_has_no_values_afterwards(serve: Serve, tmp_path: Path) -> None:
    asked = itertools.count()
    sources = [Source("w", serve(plain(lambda: "a 1\nb 2\n" if next(asked) < 3 else "a 1\n")))]
    with Recorder(tmp_path / "rec", sources, gpu_nodes=(), interval_s=0.05, flush_s=0.1):
        until(lambda: recorded(tmp_path / "rec", "a") > 4)
    recording = read(tmp_path / "rec")
    assert values(recording, "b").num_rows == 3
    assert values(recording, "a").num_rows > 4


RECORDING_PROCESS = """
import sys, time
from pathlib import Path
from anarchy.telemetry.metrics import Source
from anarchy.telemetry.recorder import Recorder
recorder = Recorder(Path(sys.argv[1]), [Source("w", sys.argv[2])], interval_s=0.05, flush_s=0.3)
recorder.start()
print("on", flush=True)
time.sleep(600)
"""


def running_in(folder: Path) -> list[psutil.Process]:
    found = psutil.process_iter(["cmdline", "status"])
    return [
        one for one in found if str(folder) in str(one.info["cmdline"]) and one.info["status"] != "zombie"
    ]


def test_a_kill_leaves_segments_that_can_be_read_and_sealed(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "rec"
    write_fake_nvidia_smi(tmp_path / "bin")
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDING_PROCESS, str(folder), serve(plain(counting()))],
        stdout=subprocess.PIPE,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    until(lambda: recorded(folder, "requests_total") >= 8)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (folder / "metrics-99998.partial").write_bytes(b"PAR1 half")
    (folder / "metrics-99999.parquet").write_bytes(b"")  # torn by a power cut
    left = read(folder)
    assert not left.sealed
    assert left.unreadable == ("metrics-99999.parquet",)
    before = values(left, "requests_total")
    assert before.num_rows >= 8
    seal(folder)
    seal(folder)
    after = read(folder)
    assert after.sealed
    until(lambda: not running_in(tmp_path))  # nvidia-smi died of its broken pipe
    assert values(after, "requests_total").equals(before)
    assert not list(folder.glob("*-*.parquet"))


def test_a_folder_in_use_is_refused_and_new_starts_get_new_folders(serve: Serve, tmp_path: Path) -> None:
    first = recording_folder(tmp_path, 1e9)
    assert first == tmp_path / "telemetry" / "20010909T014640Z"
    with Recorder(first, [], gpu_nodes=(), interval_s=0.05):
        time.sleep(0.1)
    assert recording_folder(tmp_path, 1e9) != first
    with pytest.raises(UserError, match="not empty"):
        Recorder(first, []).start()


def test_a_disk_that_cannot_be_written_is_counted_and_nothing_raises(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("anarchy.telemetry.recording._write", full)
    sources = [Source("w", serve(plain(counting())))]
    lost = ("recorder", "a segment was lost: No space left on device")
    with Recorder(tmp_path / "rec", sources, gpu_nodes=(), interval_s=0.05, flush_s=0.1) as recorder:
        until(lambda: recorder.errors[lost] >= 2)


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Smi:
    def install(**options: Any) -> None:
        write_fake_nvidia_smi(tmp_path / "bin", **options)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    return install


def test_gpus_of_two_nodes_are_sampled_with_the_skew_of_their_clocks(smi: Smi, tmp_path: Path) -> None:
    smi(refused=("clocks_event_reasons.active",))
    nodes = (GpuNode("node01"), GpuNode("node02", ("env", "TELEMETRY_TEST=1")))
    power_draw = "nvidia_smi_power_draw"
    with Recorder(tmp_path / "rec", [], gpu_nodes=nodes, interval_s=0.1, flush_s=0.2) as recorder:
        until(lambda: min(recorded(tmp_path / "rec", power_draw, f"node0{n}/gpu") for n in (1, 2)) > 10)
    recording = read(tmp_path / "rec")
    power = values(recording, power_draw, source="node02/gpu").to_pandas()
    assert set(power["value"]) == {710.25, 711.25}
    assert set(power["labels"]) == {'{"gpu":"0"}', '{"gpu":"1"}'}
    assert len(power) > 10
    assert values(recording, "nvidia_smi_clocks_event_reasons_active")["value"].to_pylist()[0] == 4
    assert values(recording, "nvidia_smi_temperature_memory").num_rows == 0  # [N/A]
    told = recorder.summary()["gpu_nodes"]["node01"]
    assert told["unknown_fields"] == ["clocks_event_reasons.active"]
    assert 0 <= told["clock_behind_s"] < 30


@pytest.mark.parametrize(
    ("mode", "reason"), [("garbage", "nvidia-smi printed"), ("fail", "ended with status 9")]
)
def test_a_broken_nvidia_smi_is_a_reason_and_no_secret(
    smi: Smi, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, reason: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    smi(mode=mode, tail=f"(log in /var/{TOKEN}/nvidia.log)")
    sources = [Source("w", serve(plain(f'a{{path="/x/{TOKEN}"}} 1\n')))]
    with Recorder(tmp_path / "rec", sources, interval_s=0.05, flush_s=0.1) as recorder:
        until(lambda: any(reason in told for node, told in list(recorder.errors) if node == "node01/gpu"))
        until(lambda: recorded(tmp_path / "rec", "a") > 5)
    assert values(read(tmp_path / "rec"), "a").num_rows > 5
    for path in (tmp_path / "rec").iterdir():
        assert TOKEN.encode() not in path.read_bytes()
    assert TOKEN not in str(read(tmp_path / "rec").metrics.to_pydict())
    assert "<secret>" in str(read(tmp_path / "rec").metrics.to_pydict())
    assert TOKEN not in str(read(tmp_path / "rec").scrapes.to_pydict())


def test_without_nvidia_smi_one_reason_is_recorded_and_no_more(tmp_path: Path) -> None:
    with Recorder(tmp_path / "rec", [], interval_s=0.05) as recorder:
        time.sleep(0.5)
    assert recorder.errors == {("node01/gpu", "nvidia-smi: not found"): 1}


def test_a_hanging_nvidia_smi_is_ended_and_tried_again(smi: Smi) -> None:
    smi(mode="hang")
    stream = GpuStream(GpuNode("node01"))
    assert stream.poll(100.0) == ([], [])
    assert stream._process is not None
    pid = stream._process.pid
    assert stream.poll(105.0) == ([], [])
    assert stream.poll(111.0) == ([], ["nvidia-smi: no sample for 10 s"])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert stream.poll(120.0) == ([], [])
    assert stream.fileno() is None
    stream.poll(142.0)
    assert stream.fileno() is not None
    stream.stop()
    stream.stop()


def test_what_does_not_change_is_neither_parsed_nor_written_again(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse, parsed = exposition.parse_line, list[str]()

    def counted(line: str) -> exposition.Sample:
        parsed.append(line)
        return parse(line)

    monkeypatch.setattr(exposition, "parse_line", counted)
    lines = [f'metric_{number}{{le="{number}",model="m"}}' for number in range(1800)]
    count = iter(range(10_000))

    def text() -> str:
        value = next(count)
        return "\n".join(f"{line} {value if number < 600 else 0}" for number, line in enumerate(lines)) + "\n"

    sources = [Source("w", serve(plain(text)))]
    with Recorder(tmp_path / "rec", sources, gpu_nodes=(), interval_s=0.05, flush_s=0.1) as recorder:
        until(lambda: recorded(tmp_path / "rec", "metric_0") > 10)
    recording = read(tmp_path / "rec")
    again = recording.scrapes.num_rows - 1
    assert recording.metrics.num_rows == 1800 + 600 * again
    assert len(parsed) == 1800 + 600 * again, "the changed lines; at first all"
    assert recorder.summary()["cpu_s"] > 0
