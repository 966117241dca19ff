"""What nvidia-smi tells of a node's GPUs: facts once, and samples from one process that runs along."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anarchy.telemetry.probes import ProbeError, run_tool

FACT_FIELDS = (
    "index",
    "name",
    "uuid",
    "driver_version",
    "vbios_version",
    "pci.bus_id",
    "memory.total",
    "power.limit",
    "power.default_limit",
    "power.max_limit",
    "clocks.max.sm",
    "clocks.max.memory",
    "mig.mode.current",
    "persistence_mode",
    "ecc.mode.current",
    "compute_mode",
    "pcie.link.gen.max",
    "pcie.link.width.max",
)
"""What does not change during a run; power in W, clocks in MHz, memory in MiB, as nvidia-smi counts."""
NOW_FIELDS = ("index", "pstate", "clocks.sm", "clocks.mem", "temperature.gpu", "power.draw", "memory.used")
"""What does change: state before the run, in the same units and degrees Celsius."""
SAMPLE_FIELDS = (
    "timestamp",
    "index",
    "clocks.sm",
    "clocks.mem",
    "power.draw",
    "temperature.gpu",
    "temperature.memory",
    "memory.used",
    "utilization.gpu",
    "utilization.memory",
    "clocks_event_reasons.active",
)
"""What is sampled; power.draw is the driver's average over its last second on recent GPUs, the last field a
bit mask: 0x4 software power cap, 0x8 hardware slowdown, 0x20 software thermal, 0x40 hardware thermal."""
OLDER_NAMES = {"clocks_event_reasons.active": "clocks_throttle_reasons.active"}
"""Names under which an older driver knows a field."""
NOT_FOUND_STATUS = 127
RETRY_S = 30.0
"""Seconds before nvidia-smi is started again after it ended."""
SILENT_S = 10.0
"""Seconds without a sample after which nvidia-smi counts as hanging."""

_REFUSED = re.compile(r'Field "([\w.]+)" is not a valid field')
_ABSENT = re.compile(r"^\[?(N/A|Not Supported|Not Available|Unknown Error|GPU is lost.*)\]?$", re.IGNORECASE)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_LINE_LIMIT = 4096


def gpus(timeout_s: float) -> list[dict[str, Any]]:
    """Facts of every GPU, by nvidia-smi's names; raises `ProbeError` with the reason without nvidia-smi."""
    return query(FACT_FIELDS, timeout_s)


def gpu_state(timeout_s: float) -> list[dict[str, Any]]:
    """Clocks, power, temperature and memory of every GPU at this moment."""
    return query(NOW_FIELDS, timeout_s)


def cuda_driver(timeout_s: float) -> str:
    """Highest CUDA version that the driver supports."""
    found = re.search(r"CUDA Version\s*:\s*([\d.]+)", run_tool(["nvidia-smi"], timeout_s))
    if found is None:
        raise ProbeError("nvidia-smi tells no CUDA version")
    return found[1]


def topology(timeout_s: float) -> list[str]:
    """The matrix of links between GPUs and NICs, a line a row, as `nvidia-smi topo -m` prints it."""
    text = _ANSI.sub("", run_tool(["nvidia-smi", "topo", "-m"], timeout_s))
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def query(fields: Sequence[str], timeout_s: float) -> list[dict[str, Any]]:
    """A row a GPU; a field that this driver does not know is null in every row.

    nvidia-smi refuses a whole query for one unknown field, so it is asked again without it.
    """
    asked = list(fields)
    deadline = time.monotonic() + timeout_s
    while True:
        remaining = max(0.1, deadline - time.monotonic())
        command = ["nvidia-smi", f"--query-gpu={','.join(asked)}", "--format=csv,noheader,nounits"]
        try:
            text = run_tool(command, remaining)
        except ProbeError as error:
            refused = refused_field(str(error))
            if refused not in asked:
                raise
            asked.remove(refused)
        else:
            break
    rows = [parse_row(asked, line) for line in text.splitlines() if line.strip()]
    if not rows:
        raise ProbeError("nvidia-smi lists no GPU")
    return [{field: row.get(field) for field in fields} for row in rows]


def refused_field(text: str) -> str | None:
    """The field that nvidia-smi says it does not know."""
    found = _REFUSED.search(text)
    return found[1] if found else None


def parse_row(fields: Sequence[str], line: str) -> dict[str, Any]:
    """One line of nvidia-smi's CSV as values by field; raises `ProbeError` for anything else."""
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != len(fields):
        raise ProbeError(f"nvidia-smi printed {line.strip()[:120]!r}, not {len(fields)} values")
    row = dict(zip(fields, map(_value, cells), strict=True))
    if not isinstance(row.get("index", 0), int):
        raise ProbeError(f"nvidia-smi printed {line.strip()[:120]!r}, not a GPU's index")
    return row


def _value(cell: str) -> int | float | str | None:
    if not cell or _ABSENT.match(cell):
        return None
    if re.fullmatch(r"-?\d+", cell):
        return int(cell)
    return float(cell) if re.fullmatch(r"-?\d*\.\d+", cell) else cell


@dataclass(frozen=True)
class GpuNode:
    """A node whose GPUs are sampled: its alias, and what its command is prefixed with to run there.

    For example ("srun", "--overlap", "--unbuffered", "--nodes=1", "--ntasks=1", "--nodelist=..."); empty for
    this machine.
    """

    name: str
    prefix: tuple[str, ...] = ()


@dataclass(frozen=True)
class GpuSample:
    """One GPU at one moment: `values` by metric name, None for `[N/A]`; `t_node` the node's wall clock, s."""

    gpu: int
    t_node: float | None
    values: dict[str, float | None]


class GpuStream:
    """One long-running nvidia-smi on one node, read without waiting; started again when it ends or hangs.

    Its output is a pipe: should this process be killed, nvidia-smi's next line ends it.
    """

    def __init__(self, node: GpuNode, interval_s: float = 1.0) -> None:
        self.node = node
        self.fields = list(SAMPLE_FIELDS)
        self.dropped: list[str] = []
        self.gave_up = False
        self._interval_s = interval_s
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._next_start = 0.0
        self._heard = 0.0

    def poll(self, now: float) -> tuple[list[GpuSample], list[str]]:
        """What was printed since the last call, and what went wrong; `now` is monotonic. Never waits."""
        if self.gave_up:
            return [], []
        if self._process is None:
            return [], self._start(now) if now >= self._next_start else []
        lines, ended = self._read()
        samples, wrong = self._parse(lines)
        if samples:
            self._heard = now
        if ended:
            told = self._ended(now)
            wrong = [told] if self.gave_up else [*wrong, told]
        elif now - self._heard > SILENT_S:
            self.stop()
            self._next_start = now + RETRY_S
            wrong.append(f"nvidia-smi: no sample for {SILENT_S:g} s")
        return samples, [text for text in wrong if text]

    def fileno(self) -> int | None:
        """Descriptor that is readable when there is something to `poll`; None while nothing runs."""
        if self._process is None or self._process.stdout is None:
            return None
        return self._process.stdout.fileno()

    def stop(self) -> None:
        """End nvidia-smi and what its prefix started."""
        process, self._process = self._process, None
        if process is None:
            return
        for ending in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, ending)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1.0)
                break
        if process.stdout is not None:
            process.stdout.close()

    def _start(self, now: float) -> list[str]:
        # In UTC its time stamps can be compared with ours wherever the node believes it stands.
        period = f"--loop-ms={round(self._interval_s * 1000)}"
        query = f"--query-gpu={','.join(self.fields)}"
        command = ("env", "TZ=UTC", "nvidia-smi", query, "--format=csv,noheader,nounits", period)
        try:
            self._process = subprocess.Popen(
                (*self.node.prefix, *command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self.gave_up = True
            return [f"{(*self.node.prefix, *command)[0]}: {error.strerror or error}"]
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._rest, self._heard = b"", now
        return []

    def _read(self) -> tuple[list[str], bool]:
        """Whole lines that are there, and whether the pipe was closed."""
        assert self._process is not None
        assert self._process.stdout is not None
        ended = False
        while True:
            try:
                chunk = os.read(self._process.stdout.fileno(), 65536)
            except BlockingIOError:
                break
            if not chunk:
                ended = True
                break
            self._rest += chunk
        *lines, self._rest = self._rest.split(b"\n")
        if ended:
            lines, self._rest = [*lines, self._rest], b""
        self._rest = self._rest[-_LINE_LIMIT:]
        return [line.decode("utf-8", "replace").strip() for line in lines if line.strip()], ended

    def _parse(self, lines: Sequence[str]) -> tuple[list[GpuSample], list[str]]:
        samples: list[GpuSample] = []
        wrong: list[str] = []
        for line in lines:
            if line.startswith("env: "):
                continue  # there is no nvidia-smi: the exit status tells
            refused = refused_field(line)
            if refused in self.fields:
                self._replace(refused)
                wrong.append(f"nvidia-smi does not know {refused}")
                continue
            try:
                samples.append(_sample(parse_row(self.fields, line)))
            except ProbeError as error:
                wrong.append(str(error))
        return samples, wrong

    def _replace(self, field: str) -> None:
        """Ask for an unknown field by its older name, or no more."""
        older = OLDER_NAMES.get(field)
        self.dropped.append(field)
        self.fields = [name if name != field else older or "" for name in self.fields]
        self.fields = [name for name in self.fields if name]
        self._next_start = 0.0

    def _ended(self, now: float) -> str:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.2)
        status, renamed = self._process.returncode, self._next_start == 0.0 and self.dropped
        self.stop()
        if renamed:
            self._next_start = now
            return ""
        self._next_start = now + RETRY_S
        self.gave_up = status == NOT_FOUND_STATUS
        return "nvidia-smi: not found" if self.gave_up else f"nvidia-smi ended with status {status}"


def _sample(row: dict[str, Any]) -> GpuSample:
    """Numbers only, named nvidia_smi_<field>; the bit mask of reasons as a number."""
    values: dict[str, float | None] = {}
    for field, value in row.items():
        if field in {"index", "timestamp"}:
            continue
        if value is None:
            values[metric_name(field)] = None
            continue
        number = int(value, 16) if isinstance(value, str) and value.startswith("0x") else value
        if isinstance(number, str):
            raise ProbeError(f"nvidia-smi printed {number[:120]!r} as {field}")
        values[metric_name(field)] = float(number)
    return GpuSample(row["index"], _wall_clock(row.get("timestamp")), values)


def metric_name(field: str) -> str:
    """Name in the recording of one of nvidia-smi's fields; renamed fields keep their first name."""
    newer = next((new for new, old in OLDER_NAMES.items() if old == field), field)
    return "nvidia_smi_" + newer.replace(".", "_")


def _wall_clock(text: object) -> float | None:
    """Seconds since the epoch of `2026/01/31 12:00:00.123`, UTC."""
    try:
        read = datetime.datetime.strptime(str(text), "%Y/%m/%d %H:%M:%S.%f")
    except ValueError:
        return None
    return read.replace(tzinfo=datetime.UTC).timestamp()
