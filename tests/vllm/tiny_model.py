"""A Llama of two layers with random weights, made here: it says nothing sensible, always the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from anarchy.serving.model_folder import VOCABULARY, write_model_folder

HIDDEN, FEED_FORWARD, LAYERS, HEADS, KV_HEADS, HEAD_SIZE = 256, 512, 2, 4, 2, 64
EMBEDDING_SCALE, WEIGHT_SCALE = 0.02, 0.15
"""Layers speak louder than the token itself, so that what comes next depends on the whole prompt."""


def write_tiny_llama(folder: Path, seed: int = 0) -> Path:
    """Write configuration, tokenizer and weights (18 MB, bfloat16) into `folder` and return its path."""
    folder = write_model_folder(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_SIZE,
        "max_position_embeddings": 32_768,
        "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(seed)
    weights = {
        name: np.ones(shape, np.float32)
        if len(shape) == 1
        else rng.standard_normal(shape, np.float32)
        * (EMBEDDING_SCALE if name.startswith("model.embed") else WEIGHT_SCALE)
        for name, shape in _shapes().items()
    }
    _write_safetensors(folder / "model.safetensors", weights)
    return folder


def _shapes() -> dict[str, tuple[int, ...]]:
    heads, kv_heads = HEADS * HEAD_SIZE, KV_HEADS * HEAD_SIZE
    layer = {
        "input_layernorm": (HIDDEN,),
        "post_attention_layernorm": (HIDDEN,),
        "self_attn.q_proj": (heads, HIDDEN),
        "self_attn.k_proj": (kv_heads, HIDDEN),
        "self_attn.v_proj": (kv_heads, HIDDEN),
        "self_attn.o_proj": (HIDDEN, heads),
        "mlp.gate_proj": (FEED_FORWARD, HIDDEN),
        "mlp.up_proj": (FEED_FORWARD, HIDDEN),
        "mlp.down_proj": (HIDDEN, FEED_FORWARD),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    for number in range(LAYERS):
        shapes |= {f"model.layers.{number}.{name}.weight": shape for name, shape in layer.items()}
    return shapes


def _write_safetensors(path: Path, weights: dict[str, np.ndarray]) -> None:
    """Write bfloat16 tensors in the safetensors format: length of the header, header, data."""
    header: dict[str, object] = {}
    parts: list[bytes] = []
    at = 0
    for name, values in weights.items():
        # bfloat16 is the upper half of float32 (little-endian; truncated, which is good enough here).
        data = (np.ascontiguousarray(values).view("<u4") >> 16).astype("<u2").tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": list(values.shape),
            "data_offsets": [at, at + len(data)],
        }
        parts.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))
