"""What a checkpoint says of its tokens, held against ours.

    vocab.txt, vocab.json, tokenizer.json, tokenizer_config.json, added_tokens.json, ...
    config.json: vocab_list

A model that learned another order of the tokens loads without a fault and answers nonsense, so
every file of a tokenizer that is there is read. What none of them says is taken to be ESM-2's.

Source: the tokenizer files that transformers and tokenizers write.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from esm2.alphabet import MASK, TOKENS
from esm2.engine.config import json_object
from esm2.errors import CheckpointError

# Under which names the special tokens stand in the settings of a tokenizer.
_SPECIAL = dict(zip(("cls_token", "pad_token", "eos_token", "unk_token"), TOKENS, strict=False))
_SPECIAL["mask_token"] = TOKENS[MASK]


def check_vocabulary(directory: Path) -> None:
    """Refuse a checkpoint whose tokenizer has other tokens, or ours in another order.

    Raises:
        CheckpointError: naming the file and the first token that differs.
    """
    lines = directory / "vocab.txt"
    if lines.is_file():
        try:
            text = lines.read_text(encoding="utf-8-sig")
        except ValueError as error:
            raise CheckpointError(lines, "is not text") from error
        _check_all(lines, "", [line.strip() for line in text.rstrip().splitlines()])
    config = directory / "config.json"
    if isinstance(listed := _object(config).get("vocab_list"), list):
        _check_all(config, "vocab_list ", listed)
    for name in ("vocab.json", "added_tokens.json"):
        if content := _object(directory / name):
            _check(directory / name, ((id_, token) for token, id_ in content.items()))
    file = directory / "tokenizer.json"
    if content := _object(file):
        _check(file, _of_tokenizer(content))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = directory / name
        if content := _object(file):
            _check(file, _decoder(content))
            _check_special(file, content)


def _check_all(file: Path, where: str, tokens: list[Any]) -> None:
    if len(tokens) != len(TOKENS):
        reason = f"{where}has {len(tokens)} tokens, ESM-2 has {len(TOKENS)}"
        raise CheckpointError(file, reason)
    _check(file, enumerate(tokens))


def _check(file: Path, said: Iterator[tuple[Any, Any]]) -> None:
    for id_, token in said:
        ours = TOKENS[id_] if isinstance(id_, int) and 0 <= id_ < len(TOKENS) else None
        if token == ours or (ours is None and token not in TOKENS):
            continue  # a token beyond ESM-2's has no number that could be wrong
        expected = TOKENS.index(token) if ours is None else repr(ours)
        what = f"token {token!r} is number" if ours is None else f"token {id_} is"
        found = id_ if ours is None else repr(token)
        raise CheckpointError(
            file,
            f"{what} {str(found)[:40]}, in ESM-2 it is {expected}: a model of other tokens, or of"
            " the same in another order, is not computed here",
        )


def _check_special(file: Path, content: dict[str, Any]) -> None:
    for key, ours in _SPECIAL.items():
        said = content.get(key)
        token = said.get("content") if isinstance(said, dict) else said
        if token not in (None, ours):
            raise CheckpointError(file, f"{key} is {str(token)[:40]!r}, in ESM-2 it is {ours!r}")


def _of_tokenizer(content: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        yield from ((id_, token) for token, id_ in vocabulary.items())
    elif isinstance(vocabulary, list):  # of pairs, token and score
        yield from enumerate(pair[0] for pair in vocabulary if isinstance(pair, list) and pair)
    added = content.get("added_tokens")
    for own in added if isinstance(added, list) else ():
        if isinstance(own, dict):
            yield own.get("id"), own.get("content")


def _decoder(content: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    decoder = content.get("added_tokens_decoder")
    for id_, own in decoder.items() if isinstance(decoder, dict) else ():
        if id_.isdecimal() and isinstance(own, dict):
            yield int(id_), own.get("content")


def _object(file: Path) -> dict[str, Any]:
    """The JSON object of a file; nothing where there is none."""
    return json_object(file) if file.is_file() else {}
