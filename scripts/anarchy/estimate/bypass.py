"""H4, calculated: what a closed loop feels when requests pass by the one prefill worker.

A stationary calculation from a timing table, no simulation: no queue but that of the prefill worker, no
cache, equal decode workers, and a step of a worker that prefills takes as long as both kinds of it together.
"""

from __future__ import annotations

from dataclasses import dataclass

from anarchy.engines.profiles import Profile


@dataclass(frozen=True)
class Loop:
    """A closed loop of `users` over `workers` decode workers; lengths in tokens.

    `batched`: new tokens of one step of a worker.
    """

    users: int
    workers: int
    prompt: int = 128
    output: int = 64
    batched: int = 8192


@dataclass(frozen=True)
class Felt:
    """What it feels: requests/s, seconds to the first token, and seconds of the others together."""

    throughput: float
    ttft: float
    decode: float


def one_prefill_worker(profile: Profile, loop: Loop) -> Felt:
    """All prompts through one prefill worker, in batches as large as a step takes.

    Raises ValueError where that worker is not full at this C: there is no queue to pass by then.
    """
    full = max(1, loop.batched // loop.prompt)
    throughput = full / profile.ttft_s(full * loop.prompt)
    decode = 0.0
    for _ in range(100):  # how many decode hangs on how long it takes: a contraction
        decode = (loop.output - 1) * _step(profile, throughput * decode / loop.workers, loop)
    ttft = loop.users / throughput - decode
    if ttft < profile.ttft_s(full * loop.prompt):
        raise ValueError(f"{loop.users} users do not fill one prefill worker")
    return Felt(throughput, ttft, decode)


def prefill_where_it_decodes(profile: Profile, loop: Loop) -> Felt:
    """Every decode worker prefills its own requests between its decode steps, with no prefill worker.

    A request waits for half a step and is prefilled in the next one; each step prefills those who come in it.
    """
    running = loop.users / loop.workers
    came = running / (loop.output + 0.5)  # in each step: a request stays for so many steps
    step = _step(profile, running, loop) + profile.ttft_s(came * loop.prompt)
    ttft = 1.5 * step
    decode = (loop.output - 1) * step
    return Felt(loop.users / (ttft + decode), ttft, decode)


def _step(profile: Profile, running: float, loop: Loop) -> float:
    """Seconds of a decode step of so many requests, half way through their answers."""
    context = loop.prompt + loop.output / 2
    return profile.itl_s(max(running, 1.0) * context, context)
