"""Predict the timing tables of `data/profiles` with aiconfigurator, offline and without a GPU.

Runs in the environment of `envs/profiles.lock`, which has nothing of the driver's packages, so this file
imports nothing of the project; `COMMAND` below starts it.
Times are milliseconds of model time. They are predictions of a performance model, not measurements.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SYSTEM = "b200_sxm"
PROMPT_TOKENS = 128  # the paper's prompt length: what one request of a prefill batch is taken to be
MAX_BATCH = 1024  # beyond it the last prediction is held; the mock engines run with at most as many sequences
STEPS_PER_OCTAVE = 8
CONTEXT_OCTAVES = (16, 9)  # 16 .. 8192 tokens
KV_OCTAVES = (16, 18)  # 16 .. 4194304 tokens
COMMAND = "PYTHONPATH=scripts .envs/profiles/bin/python -m anarchy.engines.make_profiles --out data/profiles"


@dataclass(frozen=True)
class Shape:
    """The transformer that is predicted, in the words of a Llama `config.json`."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    vocab_size: int


@dataclass(frozen=True)
class Target:
    """One table: a model, how it is split and quantized, and whose kernels are assumed."""

    name: str
    model: str
    stand_in: str | None
    shape: Shape
    tensor_parallel: int
    backend: str
    backend_version: str
    gemm: str = "fp8_static"
    kv_cache: str = "fp8"
    attention: str = "fp8"
    communication: str = "half"


TARGETS = (
    Target(
        name="llama-3.1-70b-tp4",
        model="Llama-3.1-70B",
        stand_in=None,
        shape=Shape(8192, 80, 64, 8, 28672, 128256),
        tensor_parallel=4,
        backend="trtllm",
        backend_version="1.3.0rc20",
    ),
    Target(
        name="nemotron-4-340b-tp8",
        model="Nemotron-4-340B",
        stand_in="""A Llama of the same width, depth, heads and vocabulary. Its FFN has three gated
            matrices of width 49152, as many weights as Nemotron's two of 73728; squared ReLU and
            LayerNorm are taken as SiLU gating and RMSNorm. The tool maps Nemotron's own architecture to
            another family and predicts zero, and has no attention data of head size 192 for trtllm or
            vllm, so the kernels are those of sglang.""",
        shape=Shape(18432, 96, 96, 8, 49152, 256000),
        tensor_parallel=8,
        backend="sglang",
        backend_version="0.5.14",
    ),
)

ASSUMPTIONS = (
    f"""prefill.csv: input_tokens is the sum of new (not cached) prompt tokens over the whole prefill
    batch, as the mock engine indexes it. The batch is input_tokens / {PROMPT_TOKENS} prompts of
    {PROMPT_TOKENS} tokens; below {PROMPT_TOKENS} it is one prompt of that many tokens. Cached prefixes
    cost nothing. Longer prompts cost more than the table says: see accuracy.""",
    """decode.csv: active_kv_tokens is the sum of the context lengths of all sequences in the decode step,
    as the mock engine indexes it: tokens shared by several sequences count once for each. context_length
    is their mean. So the batch is the quotient of the two.""",
    f"""Cells whose quotient lies outside 1 .. {MAX_BATCH} sequences hold the time of the nearer end; no
    engine with at most {MAX_BATCH} sequences asks for them, they only close the grid.""",
    """Where the tool's time jumps from one batch to the next (kernel tiles, as from 256 to 257), the table
    spreads the jump over a cell of the grid, 9 % wide. Near it times are off by up to the largest error under
    accuracy, and ripple with the context.""",
    "All sequences of a batch have the mean length. Only the operations of a forward step are counted.",
    "Static FP8 scales. No speculative decoding. All GPUs of a worker in one node.",
    "Memory capacity is not modelled here: a cell may need more KV cache than the GPUs have.",
)
MONOTONE = """Work that grows must not take less time: each prediction was raised to the largest one of a
    smaller batch at the same context, and of a shorter context at the same batch (running maximum);
    prefill likewise in input_tokens."""


@dataclass(frozen=True)
class Tables:
    """Both tables of a target: grid in tokens, times in ms; `decode` has shape (kv_tokens, contexts)."""

    tokens: list[int]
    prefill: Array
    kv_tokens: list[int]
    contexts: list[int]
    decode: Array


class Engine(Protocol):
    """What is used of aiconfigurator's compiled engine; times in milliseconds."""

    def predict_prefill_latency(self, bs: int, isl: int) -> float:
        """Time of a prefill step of `bs` prompts of `isl` tokens."""

    def predict_decode_latency(self, bs: int, isl: int) -> float:
        """Time of a decode step of `bs` sequences with `isl` tokens of context."""

    def decode_step_per_op(self, gen_tokens: int, isl: int, osl: int) -> list[tuple[str, float, float, str]]:
        """Name, time, energy and data source of every operation of a decode step."""


def geometric_grid(start: int, octaves: int) -> list[int]:
    """Whole tokens from `start` over `octaves` doublings, `STEPS_PER_OCTAVE` a doubling; strictly rising."""
    return [round(start * 2 ** (step / STEPS_PER_OCTAVE)) for step in range(octaves * STEPS_PER_OCTAVE + 1)]


def prefill_batches() -> list[int]:
    """Numbers of prompts in a prefill batch: each to 64 (an engine's usual 8,192 tokens), then sparser."""
    return [*range(1, 65), 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024]


@contextlib.contextmanager
def open_engine(target: Target) -> Iterator[Engine]:
    """Compile the target's shape into aiconfigurator's engine; its model folder lives as long."""
    # Imported by name: the module exists in the profiles environment only, not where types are checked.
    sdk: Any = importlib.import_module("aiconfigurator_core.sdk.engine")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "max_position_embeddings": 131072,
        **asdict(target.shape),
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config), encoding="utf-8")
        yield sdk.EngineHandle.compile(
            folder,
            SYSTEM,
            target.backend,
            backend_version=target.backend_version,
            tp_size=target.tensor_parallel,
            gemm_quant_mode=target.gemm,
            kvcache_quant_mode=target.kv_cache,
            fmha_quant_mode=target.attention,
            comm_quant_mode=target.communication,
        )


def predict_prefill(engine: Engine) -> tuple[list[int], Array]:
    """Total new tokens of a prefill batch, and the tool's times of such batches in ms."""
    short = [(1, tokens) for tokens in (1, 2, 4, 8, 16, 32, 64, 96)]
    steps = [*short, *((batch, PROMPT_TOKENS) for batch in prefill_batches())]
    tokens = [batch * length for batch, length in steps]
    return tokens, np.array([engine.predict_prefill_latency(batch, length) for batch, length in steps])


def predict_decode(engine: Engine, contexts: Sequence[int]) -> Array:
    """The tool's decode steps in ms; shape (MAX_BATCH, contexts), row b-1 for batch b."""
    batches = range(1, MAX_BATCH + 1)
    return np.array(
        [[engine.predict_decode_latency(batch, length) for length in contexts] for batch in batches]
    )


def monotone(times: Array) -> Array:
    """The running maximum of `times` along every axis: the smallest table above it that never falls."""
    for axis in range(times.ndim):
        times = np.maximum.accumulate(times, axis=axis)
    return times


def on_kv_axis(by_batch: Array, kv_tokens: Sequence[int], contexts: Sequence[int]) -> Array:
    """Re-index decode times from (batch, context) to (active KV tokens, context).

    Shape (kv_tokens, contexts). A fractional batch is interpolated between its whole neighbours; outside
    1 .. len(by_batch) the end is held.
    """
    batches = np.arange(1, len(by_batch) + 1)
    kv = np.asarray(kv_tokens, dtype=np.float64)
    return np.stack(
        [np.interp(kv / length, batches, by_batch[:, column]) for column, length in enumerate(contexts)],
        axis=1,
    )


def write_csv(path: Path, header: Sequence[str], rows: Iterator[tuple[object, ...]]) -> str:
    """Write a table with Unix line ends and return the SHA-256 of its bytes."""
    with path.open("w", encoding="ascii", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bilinear(tables: Tables, kv_tokens: Array, context: float) -> Array:
    """The decode table between its nodes, in ms, for many `kv_tokens` and one `context`."""
    right = int(np.clip(np.searchsorted(tables.contexts, context), 1, len(tables.contexts) - 1))
    low, high = tables.contexts[right - 1], tables.contexts[right]
    weight = (context - low) / (high - low)
    column = (1 - weight) * tables.decode[:, right - 1] + weight * tables.decode[:, right]
    return np.interp(kv_tokens, tables.kv_tokens, column)


def decode_accuracy(engine: Engine, tables: Tables) -> dict[str, object]:
    """How far the interpolated table lies from the tool's predictions, relative to these."""
    contexts, batches, errors = (128, 192, 256, 384, 512, 1000, 2000, 3000, 4096), np.arange(1.0, 513.0), []
    for length in contexts:
        truth = np.array([engine.predict_decode_latency(int(batch), length) for batch in batches])
        errors.append(bilinear(tables, batches * length, length) / truth - 1)
    deviation = np.array(errors)
    worst = np.unravel_index(int(np.argmax(np.abs(deviation))), deviation.shape)
    return {
        "compared": f"interpolated table over the tool, minus 1; batches 1..512, contexts {contexts}",
        "mean_absolute": round(float(np.abs(deviation).mean()), 4),
        "p95_absolute": round(float(np.quantile(np.abs(deviation), 0.95)), 4),
        "largest": round(float(deviation[worst]), 4),
        "largest_at_batch": int(batches[worst[1]]),
    }


def prompt_length_error(engine: Engine, tables: Tables) -> dict[str, float]:
    """Prediction for one long prompt over the table's value for as many tokens, minus 1, by prompt length."""
    errors = {}
    for length in (1024, 4096, 8192):
        in_table = float(np.interp(length, tables.tokens, tables.prefill))
        errors[str(length)] = round(engine.predict_prefill_latency(1, length) / in_table - 1, 4)
    return errors


def data_sources(engine: Engine) -> dict[str, float]:
    """Share of a decode step's time (batch 32, context 128) by the tool's word for the data behind it."""
    operations = engine.decode_step_per_op(32, PROMPT_TOKENS, 2)
    total = sum(time for _, time, _, _ in operations)
    kinds = sorted({source for _, _, _, source in operations})
    return {
        kind: round(sum(time for _, time, _, source in operations if source == kind) / total, 3)
        for kind in kinds
    }


def made_on(folder: Path, digests: dict[str, str]) -> str:
    """Today's date in UTC, or the date on record while the tables are unchanged."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        previous = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        if previous["sha256"] == digests:
            return str(previous["date"])
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def predict(engine: Engine) -> tuple[Tables, dict[str, object]]:
    """Both tables of one engine, and how they were made monotone.

    Raises `ValueError` for times not positive and finite, as the tool answers for a model it cannot map.
    """
    contexts, kv_tokens = geometric_grid(*CONTEXT_OCTAVES), geometric_grid(*KV_OCTAVES)
    tokens, raw_prefill = predict_prefill(engine)
    raw_decode = predict_decode(engine, contexts)
    for raw in (raw_prefill, raw_decode):
        if not np.isfinite(raw).all() or raw.min() <= 0:
            raise ValueError("the tool predicted a time that is not positive and finite")
    prefill, by_batch = monotone(raw_prefill), monotone(raw_decode)
    raised = {
        "rule": one_line(MONOTONE),
        "largest_raise_prefill": round(float((prefill / raw_prefill).max() - 1), 4),
        "largest_raise_decode": round(float((by_batch / raw_decode).max() - 1), 4),
    }
    return Tables(tokens, prefill, kv_tokens, contexts, on_kv_axis(by_batch, kv_tokens, contexts)), raised


def one_line(text: str) -> str:
    """The text without its line breaks and indentation."""
    return " ".join(text.split())


def write_tables(tables: Tables, folder: Path) -> dict[str, str]:
    """Write `prefill.csv` and `decode.csv`, times to 0.1 us; return the SHA-256 of each by file name."""
    prefill = ((count, f"{time:.4f}") for count, time in zip(tables.tokens, tables.prefill, strict=True))
    decode = (
        (kv, length, f"{tables.decode[row, column]:.4f}")
        for row, kv in enumerate(tables.kv_tokens)
        for column, length in enumerate(tables.contexts)
    )
    return {
        "prefill.csv": write_csv(folder / "prefill.csv", ("input_tokens", "ttft_ms"), prefill),
        "decode.csv": write_csv(
            folder / "decode.csv", ("active_kv_tokens", "context_length", "itl_ms"), decode
        ),
    }


def describe(target: Target) -> dict[str, object]:
    """What was predicted, by which tool, under which assumptions: the provenance known beforehand."""
    tools = ("aiconfigurator", "aiconfigurator-core", "numpy")
    stand_in = None if target.stand_in is None else one_line(target.stand_in)
    return {
        "name": target.name,
        "kind": "prediction",
        "note": "Predicted by a performance model; nothing here was measured on a GPU for this project.",
        "tool": {name: importlib.metadata.version(name) for name in tools},
        "command": COMMAND,
        "system": SYSTEM,
        "backend": target.backend,
        "backend_version": target.backend_version,
        "tensor_parallel": target.tensor_parallel,
        "quantization": {
            "gemm": target.gemm,
            "kv_cache": target.kv_cache,
            "attention": target.attention,
            "communication": target.communication,
        },
        "model": {"name": target.model, "shape": asdict(target.shape), "stand_in": stand_in},
        "units": "milliseconds of model time",
        "assumptions": [one_line(text) for text in ASSUMPTIONS],
    }


def make(target: Target, out: Path) -> None:
    """Write `prefill.csv`, `decode.csv` and `provenance.json` of one target under `out/<name>`."""
    folder = out / target.name
    folder.mkdir(parents=True, exist_ok=True)
    with open_engine(target) as engine:
        tables, raised = predict(engine)
        found = {
            "monotone": raised,
            "accuracy": {
                "decode": decode_accuracy(engine, tables),
                "prefill_one_long_prompt_over_table": prompt_length_error(engine, tables),
            },
            "data_behind_decode_time": data_sources(engine),
        }
    digests = write_tables(tables, folder)
    provenance = {**describe(target), **found, "date": made_on(folder, digests), "sha256": digests}
    text = json.dumps(provenance, indent=2, ensure_ascii=False) + "\n"
    (folder / "provenance.json").write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Remake every table under `--out`."""
    parser = argparse.ArgumentParser(description="Predict the timing tables of data/profiles.")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the tables: one folder a model inside"
    )
    out: Path = parser.parse_args(arguments).out
    if importlib.util.find_spec("aiconfigurator_core") is None:
        sys.exit(
            "make_profiles: aiconfigurator is missing\n  remedy: use the environment of envs/profiles.lock"
        )
    for target in TARGETS:
        make(target, out)
        print(f"{target.name}: written to {out / target.name}")


if __name__ == "__main__":
    main()
