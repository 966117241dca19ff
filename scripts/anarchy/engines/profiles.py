"""Timing tables of simulated engines: read, check, interpolate and convert them as the mock engine does.

A profile is a folder with `prefill.csv`, `decode.csv` (milliseconds of model time) and `provenance.json`, as
written by `anarchy.engines.make_profiles`. In memory all times are seconds.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anarchy.ground.bounded import load_json, read_bytes, read_text
from anarchy.ground.errors import UserError

Array = npt.NDArray[np.float64]
Row = tuple[float, ...]

PREFILL_COLUMNS = ("input_tokens", "ttft_ms")
DECODE_COLUMNS = ("active_kv_tokens", "context_length", "itl_ms")
SHORTEST_DECODE_STEP_S = 1e-3  # the mock engine lets no decode step take less, before any speed-up
MAX_TABLE_BYTES = 16 * 1024 * 1024
"""Of a timing table: ours have up to 185 KB."""
RESTORE = "restore the folder from version control, or remake the tables with anarchy.engines.make_profiles"


@dataclass(frozen=True)
class Profile:
    """Prefill and decode times of one model on one engine.

    `prefill_tokens` (P,) new prompt tokens of a prefill batch in all, `prefill_ttft_s` (P,) its seconds;
    `decode_kv_tokens` (K,) sum of context lengths of a decode batch, `decode_context` (L,) their mean,
    `decode_itl_s` (K, L) seconds of a decode step. Axes rise strictly. `provenance` says where it comes from.
    """

    name: str
    prefill_tokens: Array
    prefill_ttft_s: Array
    decode_kv_tokens: Array
    decode_context: Array
    decode_itl_s: Array
    provenance: dict[str, Any]

    @property
    def digest(self) -> str:
        """One word for both tables: the digests that `load_profile` has checked."""
        return "-".join(self.provenance["sha256"][file] for file in sorted(self.provenance["sha256"]))

    def ttft_s(self, tokens: float) -> float:
        """Seconds of a prefill batch with `tokens` new tokens: linear, also beyond the ends; 0 for none."""
        if tokens <= 0:
            return 0.0
        left, weight = _cell(self.prefill_tokens, tokens)
        low, high = self.prefill_ttft_s[left : left + 2]
        return max(0.0, float(low + weight * (high - low)))

    def ttfts_s(self, tokens: npt.NDArray[np.int64]) -> Array:
        """`ttft_s` of many batches at once, each with tokens; shape (n,)."""
        axis, seconds = self.prefill_tokens, self.prefill_ttft_s
        left = np.clip(np.searchsorted(axis, tokens, side="right") - 1, 0, len(axis) - 2)
        weight = (tokens - axis[left]) / (axis[left + 1] - axis[left])
        return np.maximum(0.0, seconds[left] + weight * (seconds[left + 1] - seconds[left]))

    def itl_s(self, active_kv_tokens: float, context_length: float) -> float:
        """Seconds of a decode step: bilinear, also beyond the ends, and never under a millisecond.

        `active_kv_tokens` is the sum of the context lengths of the batch (a token that two sequences share
        counts twice), `context_length` their mean, which the mock engine rounds down to a whole token.
        """
        row, down = _cell(self.decode_kv_tokens, active_kv_tokens)
        column, across = _cell(self.decode_context, context_length)
        corners = self.decode_itl_s[row : row + 2, column : column + 2]
        low, high = corners[0] + down * (corners[1] - corners[0])
        return max(SHORTEST_DECODE_STEP_S, float(low + across * (high - low)))


def load_profile(directory: Path) -> Profile:
    """Read and check one profile; its name is the folder's.

    Raises `UserError`, naming file and row, for anything missing, unreadable, out of order, not positive and
    finite, or different from what the provenance has on record.
    """
    if not directory.is_dir():
        known = sorted(entry.parent.name for entry in directory.parent.glob("*/provenance.json"))
        remedy = f"name one of: {', '.join(known)}" if known else RESTORE
        raise UserError("no such timing profile", where=directory, remedy=remedy)
    provenance = _read_provenance(directory / "provenance.json")
    prefill = _read_table(directory / "prefill.csv", PREFILL_COLUMNS)
    decode = _read_table(directory / "decode.csv", DECODE_COLUMNS)
    _check_rising(directory / "prefill.csv", PREFILL_COLUMNS[0], [row[0] for row in prefill])
    kv_tokens, context, itl_ms = _grid(directory / "decode.csv", decode)
    for file in ("prefill.csv", "decode.csv"):
        _check_digest(directory / file, provenance["sha256"])
    tokens, ttft_ms = np.array(prefill, dtype=np.float64).T
    return Profile(directory.name, tokens, ttft_ms / 1e3, kv_tokens, context, itl_ms / 1e3, provenance)


def write_npz(profile: Profile, path: Path) -> None:
    """Write the profile as the mock engine's `--planner-profile-data` takes it, in milliseconds.

    The engine wants the suffix `.npz`. Raises `ValueError` without it, `OSError` when it cannot be written.
    """
    if path.suffix != ".npz":
        raise ValueError(f"{path}: the mock engine reads timing tables from files named *.npz only")
    np.savez(
        path,
        prefill_isl=profile.prefill_tokens,
        prefill_ttft_ms=profile.prefill_ttft_s * 1e3,
        decode_active_kv_tokens=profile.decode_kv_tokens,
        decode_context_length=profile.decode_context,
        decode_itl=profile.decode_itl_s * 1e3,
    )


def _cell(axis: Array, at: float) -> tuple[int, float]:
    """Index of the node left of `at`, and how far `at` is to the next (outside 0..1 beyond the ends)."""
    left = int(np.clip(np.searchsorted(axis, at, side="right") - 1, 0, len(axis) - 2))
    return left, float((at - axis[left]) / (axis[left + 1] - axis[left]))


def _read_provenance(path: Path) -> dict[str, Any]:
    """The provenance, with at least `kind` and the digests of both tables."""
    provenance = load_json(path, remedy=RESTORE, missing=RESTORE)
    if not isinstance(provenance.get("kind"), str):
        raise UserError('has no "kind" (prediction or measurement)', where=path, remedy=RESTORE)
    digests = provenance.get("sha256")
    for file in ("prefill.csv", "decode.csv"):
        if not isinstance(digests, dict) or not isinstance(digests.get(file), str):
            raise UserError(f'has no "sha256" of {file}', where=path, remedy=RESTORE)
    return provenance


def _read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a CSV file with exactly these columns, every cell positive and finite."""
    header, *lines = read_text(path, MAX_TABLE_BYTES, missing=RESTORE).splitlines() or [""]
    if header != ",".join(columns):
        what = f"expected the columns {','.join(columns)}, found {header or 'nothing'}"
        raise UserError(what, where=f"{path}, line 1", remedy=RESTORE)
    numbered = enumerate(lines, start=2)
    return [_read_row(f"{path}, line {number}", columns, line.split(",")) for number, line in numbered]


def _read_row(where: str, columns: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(columns):
        what = f"expected {len(columns)} cells, found {len(cells)}"
        raise UserError(what, where=where, remedy=RESTORE)
    return tuple(
        _read_cell(f"{where}, column {name}", text) for name, text in zip(columns, cells, strict=True)
    )


def _read_cell(where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise UserError(f"{text!r} is not a number", where=where, remedy=RESTORE) from error
    if not math.isfinite(value) or value <= 0:
        raise UserError(f"{text!r} is not positive and finite", where=where, remedy=RESTORE)
    return value


def _check_rising(path: Path, column: str, values: Sequence[float], lines_apart: int = 1) -> None:
    """Values that stand `lines_apart` in the file rise strictly, and there are two at least."""
    if len(values) < 2:
        raise UserError(
            f"needs two values of {column} or more, found {len(values)}", where=path, remedy=RESTORE
        )
    for step, (previous, value) in enumerate(itertools.pairwise(values), start=1):
        if value <= previous:
            what = f"must rise, found {value:g} after {previous:g}"
            where = f"{path}, line {2 + step * lines_apart}, column {column}"
            raise UserError(what, where=where, remedy=RESTORE)


def _grid(path: Path, rows: Sequence[Row]) -> tuple[Array, Array, Array]:
    """Both axes (K,), (L,) and the times (K, L) of a decode table; contexts change fastest."""
    kv_column, context_column, _ = DECODE_COLUMNS
    context = [row[1] for row in itertools.takewhile(lambda row: row[0] == rows[0][0], rows)]
    _check_rising(path, context_column, context)
    kv_tokens = [row[0] for row in rows[:: len(context)]]
    for number, (row, node) in enumerate(
        zip(rows, itertools.product(kv_tokens, context), strict=False), start=2
    ):
        if row[:2] != node:
            what = f"not a sorted, full grid: expected {node[0]:g},{node[1]:g}, found {row[0]:g},{row[1]:g}"
            raise UserError(what, where=f"{path}, line {number}", remedy=RESTORE)
    if len(rows) != len(kv_tokens) * len(context):
        what = f"not a full grid: {len(kv_tokens) * len(context)} rows expected, {len(rows)} found"
        raise UserError(what, where=f"{path}, line {len(rows) + 1}", remedy=RESTORE)
    _check_rising(path, kv_column, kv_tokens, lines_apart=len(context))
    times = np.array([row[2] for row in rows], dtype=np.float64).reshape(len(kv_tokens), len(context))
    return np.array(kv_tokens), np.array(context), times


def _check_digest(path: Path, digests: dict[str, str]) -> None:
    """The file is byte for byte what the provenance was written for."""
    if hashlib.sha256(read_bytes(path, MAX_TABLE_BYTES)).hexdigest() != digests[path.name]:
        what = "differs from the SHA-256 in provenance.json: edited, or from another run"
        raise UserError(what, where=path, remedy=RESTORE)
