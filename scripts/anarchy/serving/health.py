"""Proof that a deployment serves: every worker registered, and a request answered through every one."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from anarchy.engines.spec import Worker
from anarchy.serving.discovery import COMPONENTS
from anarchy.serving.frontend_api import HEALTHY_STATUS, Address, Connection, RefusedError, instance_id_of
from anarchy.serving.model_folder import FIRST_ORDINARY_TOKEN, VOCABULARY

T = TypeVar("T")

POLL_S = 0.05
PROBE_TOKENS = 2
DISCOVERY_LOST_MARKS = (
    "keep_alive failed",  # a process starved for 10 s, by itself (file discovery)
    "Keep-alive lease expired",  # the same with etcd
    "Unable to maintain lease",
    "Removing worker WorkerWithDpRank",  # a frontend, of a worker that is dead, starved or stopped
)
"""What a process writes when a registration is lost; from then on the worker may live and is never asked."""
PORT_TAKEN_MARK = "Address already in use"
"""What a process writes when somebody else has its port. A vLLM worker then waits for ever: the thread that
was to listen on NIXL's side channel is gone, and nobody asks for it (`nixl/base_scheduler.py`, vLLM 0.28)."""


class UnhealthyError(RuntimeError):
    """The deployment did not become healthy in time; the message says what was still missing."""


@dataclass(frozen=True)
class Probe:
    """A request answered through one prefill and one decode worker, by name, at one policy's frontend."""

    policy: str
    prefill: str
    decode: str
    seconds: float


def random_prompt(rng: random.Random, length: int) -> list[int]:
    """A prompt of ordinary token ids that no other request shares a block with (but for chance)."""
    return [rng.randrange(FIRST_ORDINARY_TOKEN, VOCABULARY) for _ in range(length)]


def wait_until(
    what: str,
    poll: Callable[[], T | None],
    deadline: float,
    check: Callable[[], None],
    poll_s: float = POLL_S,
) -> T:
    """Call `poll` until it returns something; `check` may raise in between.

    Raises `UnhealthyError` after `deadline` (monotonic seconds), with the last refusal as its cause.
    """
    last: RefusedError | None = None
    while True:
        check()
        try:
            found = poll()
        except RefusedError as refusal:
            found, last = None, refusal
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise UnhealthyError(f"timed out while {what}" + (f": {last}" if last else "")) from last
        time.sleep(poll_s)


def etcd_is_up(address: Address) -> bool | None:
    """True when the discovery service answers; None while it does not."""
    with Connection(address) as etcd:
        return True if etcd.healthy() else None


def registered_instance(host: str, system_port: int) -> int | None:
    """Instance id of the worker behind a system port; None while it is not up."""
    with Connection((host, system_port)) as system:
        return instance_id_of(system.metrics())


def knows_all(frontend: Address, model: str, workers: Sequence[Worker]) -> bool | None:
    """True when a frontend serves `model` and knows exactly these workers; None otherwise."""
    expected = {
        COMPONENTS[role]: frozenset(worker.instance_id for worker in workers if worker.role == role)
        for role in COMPONENTS
    }
    with Connection(frontend) as connection:
        generators = connection.generators()
        # A frontend of 0.9.0 is an instance itself, of a component of its own.
        known = {name: ids for name, ids in generators.items() if name in expected}
        ready = model in connection.models() and known == expected
    return True if ready else None


def probe_workers(
    frontends: Mapping[str, Address],
    model: str,
    workers: Sequence[Worker],
    *,
    rng: random.Random,
    deadline: float,
    check: Callable[[], None],
    answer_s: float = 10.0,
) -> tuple[Probe, ...]:
    """Send a pinned request through every worker at every frontend; just that worker must answer.

    Asks again until `deadline` (monotonic seconds), then raises `UnhealthyError` with the last answer; a
    request may take `answer_s`.
    """
    prefill = [worker for worker in workers if worker.role == "prefill"]
    decode = [worker for worker in workers if worker.role == "decode"]
    jobs = [
        (policy, address, prefill[turn % len(prefill)], decode[turn % len(decode)], random_prompt(rng, 32))
        for policy, address in frontends.items()
        for turn in range(max(len(prefill), len(decode)))
    ]

    given_up = threading.Event()

    def still_wanted() -> None:
        if given_up.is_set():
            raise UnhealthyError("given up")

    def run(job: tuple[str, Address, Worker, Worker, list[int]]) -> Probe:
        policy, address, through, onto, prompt = job
        what = f"waiting for {through.name} and {onto.name} to answer at the frontend of {policy}"

        def ask() -> Probe | None:
            started = time.monotonic()
            with Connection(address, timeout_s=answer_s) as connection:
                answer = connection.complete(
                    model,
                    prompt,
                    PROBE_TOKENS,
                    decode_worker=onto.instance_id,
                    prefill_worker=through.instance_id,
                )
            who = (answer.prefill_worker, answer.decode_worker, answer.output_tokens)
            if who != (through.instance_id, onto.instance_id, PROBE_TOKENS):
                # A frontend that has not found its prefill workers yet has the decode worker do both.
                raise RefusedError(
                    address,
                    HEALTHY_STATUS,
                    f"pinned to {through.instance_id} and {onto.instance_id} for {PROBE_TOKENS} tokens, "
                    f"but answered by {who[0]} and {who[1]} with {who[2]}",
                )
            return Probe(policy, through.name, onto.name, time.monotonic() - started)

        return wait_until(what, ask, deadline, still_wanted, poll_s=0.2)

    with ThreadPoolExecutor(max_workers=min(8, len(jobs))) as pool:
        futures = [pool.submit(run, job) for job in jobs]
        try:
            while not all(future.done() for future in futures):
                check()
                time.sleep(POLL_S)
        except BaseException:
            given_up.set()
            raise
        return tuple(future.result() for future in futures)


class LogWatch:
    """Reads what the processes append to their logs and finds the marks of what they do not survive."""

    def __init__(self, logs: Mapping[str, Path]) -> None:
        self._logs = dict(logs)
        self._offsets = dict.fromkeys(self._logs, 0)

    def lost(self) -> tuple[tuple[str, str], ...]:
        """(process, line) for every mark written since the last call."""
        found: list[tuple[str, str]] = []
        for name, path in self._logs.items():
            if not path.is_file() or path.stat().st_size <= self._offsets[name]:
                continue
            with path.open("rb") as file:
                file.seek(self._offsets[name])
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]  # an unfinished line is read again
            self._offsets[name] += len(whole)
            found += [(name, line) for line in fatal_lines(whole.decode(errors="replace").splitlines())]
        return tuple(found)


def fatal_lines(lines: Iterable[str]) -> list[str]:
    """The lines that say that a registration was lost or a port taken."""
    marks = (*DISCOVERY_LOST_MARKS, PORT_TAKEN_MARK)
    return [line for line in lines if any(mark in line for mark in marks)]
