"""What a checkpoint says of its tokens and of its settings is held against ESM-2's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import EsmTokenizer

from esm2.alphabet import TOKENS
from tests.checkpoints import save_hf
from tests.loading import MODEL, load, refusal, write_with

#: Alphabetical amino acids, as a tokenizer of one's own has them: every token there, all loads.
SORTED = (*TOKENS[:4], *sorted(TOKENS[4:24]), *TOKENS[24:])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return save_hf(MODEL, tmp_path / "hf")


def _tokenizer(tokens: tuple[str, ...]) -> dict[str, Any]:
    """tokenizer.json as the tokenizers library writes it."""
    special = [{"id": 0, "content": tokens[0], "special": True}]
    vocabulary = {token: id_ for id_, token in enumerate(tokens)}
    return {"added_tokens": special, "model": {"type": "WordLevel", "vocab": vocabulary}}


def test_what_the_tokenizer_of_transformers_saves_is_accepted(directory: Path) -> None:
    (directory / "vocab.txt").write_text("\n".join(TOKENS))
    EsmTokenizer(str(directory / "vocab.txt")).save_pretrained(directory)
    assert (directory / "tokenizer_config.json").exists()
    load(directory)


def test_the_files_of_a_tokenizer_with_our_tokens_are_accepted(directory: Path) -> None:
    (directory / "vocab.txt").write_text("\n".join(TOKENS) + "\n\n")
    (directory / "tokenizer.json").write_text(json.dumps(_tokenizer(TOKENS)))
    (directory / "added_tokens.json").write_text(json.dumps({"<mine>": 33}))
    load(directory)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("vocab.txt", "\n".join(SORTED)),
        ("vocab.json", {token: id_ for id_, token in enumerate(SORTED)}),
        ("tokenizer.json", _tokenizer(SORTED)),
        ("tokenizer.json", {"model": {"type": "Unigram", "vocab": [[t, 0.0] for t in SORTED]}}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"4": {"content": "A"}}}),
        ("added_tokens.json", {"A": 4}),
    ],
)
def test_another_order_of_the_tokens_is_refused(directory: Path, file: str, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (directory / file).write_text(text)
    message = refusal(directory)
    assert f"{file}: token 4 is 'A', in ESM-2 it is 'L'" in message


def test_a_token_of_ours_under_a_number_beyond_is_refused(directory: Path) -> None:
    (directory / "added_tokens.json").write_text(json.dumps({TOKENS[32]: 33}))
    assert "token '<mask>' is number 33, in ESM-2 it is 32" in refusal(directory)


@pytest.mark.parametrize("count", [0, 24, 32, 34])
def test_another_number_of_tokens_is_refused(directory: Path, count: int) -> None:
    (directory / "vocab.txt").write_text("\n".join([*TOKENS, "<more>"][:count]))
    assert f"vocab.txt: has {count} tokens, ESM-2 has 33" in refusal(directory)


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
def test_another_special_token_is_refused(directory: Path, file: str) -> None:
    (directory / file).write_text(json.dumps({"mask_token": {"content": "[MASK]"}}))
    assert f"{file}: mask_token is '[MASK]', in ESM-2 it is '<mask>'" in refusal(directory)


@pytest.mark.parametrize(
    "file", ["vocab.json", "tokenizer.json", "tokenizer_config.json", "added_tokens.json"]
)
@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_file_of_a_tokenizer_that_is_damaged_is_named(
    directory: Path, file: str, content: bytes
) -> None:
    (directory / file).write_bytes(content)
    assert file in refusal(directory)


def test_a_vocabulary_that_is_not_text_is_named(directory: Path) -> None:
    (directory / "vocab.txt").write_bytes(b"\xff\xfe\x00")
    assert "vocab.txt: is not text" in refusal(directory)


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("is_encoder_decoder", True),
        ("emb_layer_norm_after", False),
        ("hidden_act", "relu"),
        ("bos_token_id", 1),
        ("eos_token_id", 32),
        ("rope_scaling", {"type": "linear", "factor": 2.0}),
        ("rope_parameters", {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0}),
        ("rope_parameters", "default"),
        ("rope_theta", "large"),
        ("partial_rotary_factor", 0.5),
        ("head_dim", 24),
        ("num_key_value_heads", 2),
        ("embedding_size", 24),
        ("pruned_heads", {"0": [1]}),
        ("esmfold_config", {"trunk": {"num_blocks": 48}}),
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}),
        ("token_dropout", "false"),
        ("tie_word_embeddings", 1),
        ("num_hidden_layers", True),
        ("layer_norm_eps", 0),
    ],
)
def test_a_setting_that_would_change_a_number_is_refused_with_its_value(
    tmp_path: Path, key: str, value: object
) -> None:
    message = refusal(write_with(tmp_path / "hf", {key: value}))
    assert f"config.json: {key} is {repr(value)[:80]}" in message


def test_a_list_of_tokens_in_the_configuration_counts(tmp_path: Path) -> None:
    load(write_with(tmp_path / "ours", {"vocab_list": list(TOKENS)}))
    message = refusal(write_with(tmp_path / "other", {"vocab_list": list(SORTED)}))
    assert "config.json: token 4 is 'A', in ESM-2 it is 'L'" in message


@pytest.mark.parametrize(
    "settings",
    [
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        {"rope_theta": 10000},
        {"hidden_act": "gelu", "bos_token_id": 0, "eos_token_id": 2, "head_dim": 12},
        {"is_decoder": False, "add_cross_attention": None, "pruned_heads": {}},
        {"id2label": {"0": "a"}, "problem_type": "regression", "dtype": "bfloat16"},
    ],
    ids=str,
)
def test_settings_that_say_what_esm2_is_or_nothing_of_it_are_accepted(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    load(write_with(tmp_path / "hf", settings))
