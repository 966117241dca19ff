"""An operator's requests: read from a Mooncake trace or from Dynamo's request trace, within bounds.

Mooncake (https://github.com/kvcache-ai/Mooncake, FAST25-release): a JSON object a line with `timestamp` (ms),
`input_length`, `output_length` (tokens) and `hash_ids`, a number for every begun block of 512 prompt tokens.
Dynamo (`dynamo.request.trace.v1`): records `request_end` whose `request` has `request_received_ms`,
`output_tokens` and `replay`, with `trace_block_size`, `input_length` and `input_sequence_hashes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from anarchy.ground.errors import UserError
from anarchy.trace.importers.dynamo import MS, NO_REQUESTS, SCHEMA
from anarchy.trace.importers.lines import MAX_NS, MAX_TOKENS, Line, json_lines
from anarchy.virtual.arrivals import Arrivals

Format = Literal["mooncake", "dynamo"]
MOONCAKE_BLOCK: Final = 512
"""Tokens of a block in Mooncake's published traces."""
MOST_HASH: Final = 2**64 - 1
MOST_REQUESTS: Final = 1_000_000
MOST_BLOCKS: Final = 50_000_000
"""Of all prompts: 400 MB of numbers."""
FORMATS: Final = (
    "read are Mooncake traces (timestamp, input_length, output_length, hash_ids) and Dynamo's request trace "
    "(DYN_REQUEST_TRACE=1), JSON Lines, plain or gzip"
)
NO_LENGTHS: Final = f"lengths are what is simulated: {FORMATS}"
NO_HASHES: Final = (
    "prefix hashes tell which prompts share a beginning: take a trace that has them (hash_ids of Mooncake's, "
    "request.replay of Dynamo's), or say that no two prompts share one: --unique-prompts"
)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What to take of a trace.

    `block_size`: tokens of a Mooncake block. `unique`: hashes are not asked, no two prompts share a block.
    `first`: so many requests. `longest`: leave out what has more tokens, prompt and answer together.
    `model`: of a trace of several models, the one to take. `load`: arrivals come so many times as fast.
    """

    block_size: int = MOONCAKE_BLOCK
    unique: bool = False
    first: int | None = None
    longest: int | None = None
    model: str | None = None
    load: float = 1.0


@dataclass(frozen=True)
class TraceLoad:
    """The requests of a trace, where they came from, and what was left out, a sentence each."""

    arrivals: Arrivals
    format: Format
    files: tuple[Path, ...]
    notes: tuple[str, ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest context, prompt and answer together."""
        return int((self.arrivals.input_tokens + self.arrivals.output_tokens).max())


class _Told(NamedTuple):
    """A request as a line tells it; `at_ns` on the clock of the file."""

    at_ns: int
    input_tokens: int
    output_tokens: int
    hashes: list[int] | None
    block_size: int
    model: str | None


@dataclass
class _Tally:
    models: Counter[str] = field(default_factory=Counter)
    blocks: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    others: int = 0
    long: int = 0
    passed_over: int = 0


def read_load(files: Sequence[Path], reading: Reading) -> TraceLoad:
    """The requests of one trace, of one or several files, in the order of coming.

    Raises UserError with file, line and key for what cannot be: no lengths, no hashes, as many hashes as the
    prompt has not blocks, a mix of models, nothing left.
    """
    tally = _Tally()
    form, told = _all(files, reading, tally)
    if len(tally.models) > 1 and reading.model is None:
        names = ", ".join(f"{name} ({count})" for name, count in tally.models.most_common())
        raise UserError(
            f"holds requests of several models: {names}",
            where=files[0],
            remedy="each model has workers of its own: name one with --served-model",
        )
    if len(tally.blocks) > 1:
        raise UserError(
            f"has blocks of several sizes: {', '.join(map(str, sorted(tally.blocks)))} tokens",
            where=files[0],
            remedy="hashes of different blocks cannot be held against each other: name files of one size",
        )
    kept = sorted((one for one in told if _kept(one, reading, tally)), key=lambda one: one.at_ns)
    kept = kept[: reading.first]
    if not kept:
        raise UserError(
            f"no request is left: {'; '.join(_notes(tally, reading)) or 'it holds none'}",
            where=files[0],
            remedy="take a trace with requests that were answered, or leave out less",
        )
    return TraceLoad(_arrivals(kept, reading), form, tuple(files), tuple(_notes(tally, reading)))


def _all(files: Sequence[Path], reading: Reading, tally: _Tally) -> tuple[Format, list[_Told]]:
    forms: set[Format] = set()
    told: list[_Told] = []
    blocks = 0
    for file in files:
        lines = json_lines(file)
        first = next(lines, None)
        if first is None:
            raise UserError("is empty", where=file, remedy=FORMATS)
        form = _format(first)
        forms.add(form)
        for one in _requests(form, _again(first, lines), reading, tally):
            told.append(one)
            blocks += -(-one.input_tokens // one.block_size)
            if len(told) > MOST_REQUESTS or blocks > MOST_BLOCKS:
                raise UserError(
                    f"holds more than {MOST_REQUESTS} requests, or {MOST_BLOCKS} blocks of prompts",
                    where=file,
                    remedy="cut a part of it out: head -n 100000 TRACE > part.jsonl",
                )
    if len(forms) > 1:
        raise UserError(
            "are of different formats",
            where="--trace",
            remedy="name files of one format: one clock, one hash",
        )
    return forms.pop(), told


def _again(first: Line, rest: Iterator[Line]) -> Iterator[Line]:
    yield first
    yield from rest


def _format(first: Line) -> Format:
    data = first.data
    event = data.get("event")
    schema = event.get("schema") if isinstance(event, dict) else data.get("schema")
    if schema == SCHEMA:
        return "dynamo"
    if schema is None and {"timestamp", "created_time", "input_length", "hash_ids"} & data.keys():
        return "mooncake"
    keys = ", ".join(sorted(data)[:8]) or "none"
    what = f"schema {schema!r}" if schema is not None else f"keys {keys}"
    raise first.fault(f"is of no format that is read here: its first record has {what}", FORMATS)


def _requests(form: Format, lines: Iterable[Line], reading: Reading, tally: _Tally) -> Iterator[_Told]:
    read = _mooncake if form == "mooncake" else _dynamo
    for line in lines:
        one = read(line, reading, tally)
        if one is None:
            continue
        if one.model is not None:
            tally.models[one.model] += 1
        if reading.model is not None and one.model != reading.model:
            tally.others += 1
            continue
        tally.blocks[one.block_size] += 1
        yield one


def _mooncake(line: Line, reading: Reading, _: _Tally) -> _Told:
    data = line.data
    at = _either(data, "timestamp", "created_time")
    if data.get(at) is None and "delay" in data:
        raise line.fault(
            "has a delay and no timestamp: it is a turn of a session that waits for the one before",
            "here requests come by themselves: write the time at which each came as timestamp, ms",
        )
    at_ns = line.needed(line.nanoseconds(data, at, MS), "timestamp")
    input_tokens = _length(line, data, _either(data, "input_length", "input_tokens"), 1)
    output_tokens = _length(line, data, _either(data, "output_length", "output_tokens"), 0)
    hashes = None if reading.unique else _hashes(line, data, "hash_ids")
    one = _Told(at_ns, input_tokens, output_tokens, hashes, reading.block_size, line.text(data, "model"))
    remedy = "name the trace's block with --block-size: Mooncake's published traces have 512 tokens"
    _check_blocks(line, one, "hash_ids", remedy)
    return one


def _dynamo(line: Line, reading: Reading, tally: _Tally) -> _Told | None:
    record = line.part(line.data, "event") if "event" in line.data else line.data
    if record.get("schema") != SCHEMA:
        raise line.fault(f"has schema {record.get('schema')!r}, not {SCHEMA}")
    kind = line.text(record, "event_type")
    if kind != "request_end":
        if kind not in NO_REQUESTS:
            raise line.fault(f"has event_type {kind!r}, which Dynamo does not write")
        tally.passed_over += 1
        return None
    request = line.part(record, "request")
    received = line.needed(line.whole(request, "request_received_ms", MAX_NS // MS), "request_received_ms")
    model = line.text(request, "model")
    output_tokens = _length(line, request, "output_tokens", 0)
    if request.get("replay") is None:
        if not reading.unique:
            raise line.fault("has no request.replay, so neither lengths nor hashes", NO_HASHES)
        input_tokens = _length(line, request, "input_tokens", 1)
        return _Told(received * MS, input_tokens, output_tokens, None, reading.block_size, model)
    replay = line.part(request, "replay")
    block = line.needed(line.whole(replay, "trace_block_size"), "trace_block_size")
    if block < 1:
        raise line.fault("trace_block_size is 0")
    input_tokens = _length(line, replay, "input_length", 1)
    if reading.unique:
        return _Told(received * MS, input_tokens, output_tokens, None, reading.block_size, model)
    hashes = _hashes(line, replay, "input_sequence_hashes")
    one = _Told(received * MS, input_tokens, output_tokens, hashes, block, model)
    _check_blocks(line, one, "input_sequence_hashes", "record it again: Dynamo writes a hash a begun block")
    return one


def _either(data: dict[str, Any], name: str, other: str) -> str:
    """Dynamo reads both names."""
    return other if name not in data and other in data else name


def _length(line: Line, data: dict[str, Any], key: str, least: int) -> int:
    tokens = line.whole(data, key, MAX_TOKENS)
    if tokens is None:
        raise line.fault(f"has no {key}", NO_LENGTHS)
    if tokens < least:
        raise line.fault(f"{key} is {tokens}: a prompt has a token or more", NO_LENGTHS)
    return tokens


def _hashes(line: Line, data: dict[str, Any], key: str) -> list[int]:
    found = data.get(key)
    if found is None:
        raise line.fault(f"has no {key}", NO_HASHES)
    if not isinstance(found, list) or any(type(one) is not int for one in found):
        raise line.fault(f"{key} is not a list of whole numbers", NO_HASHES)
    if found and not 0 <= min(found) <= max(found) <= MOST_HASH:
        raise line.fault(f"{key} holds a number outside 0 to {MOST_HASH}", NO_HASHES)
    return found


def _check_blocks(line: Line, one: _Told, key: str, remedy: str) -> None:
    if one.hashes is None:
        return
    blocks = -(-one.input_tokens // one.block_size)
    if len(one.hashes) != blocks:
        raise line.fault(
            f"{key} has {len(one.hashes)} numbers, and {one.input_tokens} tokens of prompt take {blocks} "
            f"blocks of {one.block_size}",
            remedy,
        )


def _kept(one: _Told, reading: Reading, tally: _Tally) -> bool:
    if one.output_tokens < 1:
        tally.unanswered += 1
        return False
    if reading.longest is not None and one.input_tokens + one.output_tokens > reading.longest:
        tally.long += 1
        return False
    return True


def _notes(tally: _Tally, reading: Reading) -> Iterator[str]:
    told = (
        (tally.others, f"of other models than {reading.model}"),
        (tally.unanswered, "without an answer"),
        (tally.long, f"of more than {reading.longest} tokens"),
        (tally.passed_over, "of records that are no requests"),
    )
    for count, which in told:
        if count:
            yield f"{count} {which} were left out"


def _arrivals(kept: Sequence[_Told], reading: Reading) -> Arrivals:
    at_ns = np.array([one.at_ns for one in kept], dtype=np.int64)
    input_tokens = np.array([one.input_tokens for one in kept], dtype=np.int64)
    block_size = kept[0].block_size
    if reading.unique:
        hashes = np.arange(int((-(-input_tokens // block_size)).sum()), dtype=np.int64)
    else:
        # Numbers of 64 bits become small ones: only which are equal counts.
        said = np.concatenate([np.array(one.hashes, dtype=np.uint64) for one in kept])
        hashes = np.unique(said, return_inverse=True)[1].astype(np.int64)
    return Arrivals(
        (at_ns - at_ns[0]) / 1e9 / reading.load,
        input_tokens,
        np.array([one.output_tokens for one in kept], dtype=np.int64),
        hashes,
        block_size,
    )
