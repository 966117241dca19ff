"""The folder that Dynamo takes for a model where engines are simulated: tokenizer and shapes, no weights."""

from __future__ import annotations

import json
from pathlib import Path

VOCABULARY = 32_768
"""Number of token ids. Mock engines answer with ids below 2,000; prompts may use any."""
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")
FIRST_ORDINARY_TOKEN = len(SPECIAL_TOKENS)
_PAD, _BOS, _EOS, _UNK = range(len(SPECIAL_TOKENS))


def write_model_folder(folder: Path) -> Path:
    """Write the four files into `folder` (made if missing) and return its absolute path.

    The tokenizer is word-level with one ASCII word a token, so that every token is text of its own at once:
    with byte-level pieces a frontend holds back the tokens of an unfinished character, and the stream's
    times are wrong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "config.json": _config(),
        "generation_config.json": {"bos_token_id": _BOS, "eos_token_id": _EOS, "pad_token_id": _PAD},
        "tokenizer_config.json": _tokenizer_config(),
        "tokenizer.json": _tokenizer(),
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder.resolve()


def _config() -> dict[str, object]:
    """Shapes of a tiny Llama; the timing table, not these, says how long anything takes."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 131_072,
        "bos_token_id": _BOS,
        "eos_token_id": _EOS,
        "pad_token_id": _PAD,
        "torch_dtype": "bfloat16",
    }


def _tokenizer_config() -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL_TOKENS[_BOS],
        "eos_token": SPECIAL_TOKENS[_EOS],
        "unk_token": SPECIAL_TOKENS[_UNK],
        "pad_token": SPECIAL_TOKENS[_PAD],
        "model_max_length": 131_072,
        "clean_up_tokenization_spaces": False,
        "chat_template": "{% for message in messages %}{{ message['content'] }} {% endfor %}",
    }


def _tokenizer() -> dict[str, object]:
    vocabulary = {word: index for index, word in enumerate(SPECIAL_TOKENS)}
    vocabulary.update((f"t{index}", index) for index in range(FIRST_ORDINARY_TOKEN, VOCABULARY))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": word,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index, word in enumerate(SPECIAL_TOKENS)
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": SPECIAL_TOKENS[_UNK]},
    }
