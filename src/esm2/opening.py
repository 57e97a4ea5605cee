"""`esm2.load`: a model by its name, a path, or both."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from esm2.loading import spec
from esm2.local import Model
from esm2.runtime import open_model


def load(name: str | Path, *, device: str = "auto", dtype: str = "auto") -> Model:
    """Load a model.

    Args:
        name: a slug or any other name of a known model, a path of a checkpoint (a Hugging Face
            directory or fair-esm's .pt), or SLUG=PATH. An official model that is not on this
            machine is fetched, which is said on standard error; so is what esm2-demo is.
        device: "auto" (cuda when there is one), "cpu", "cuda", "cuda:1".
        dtype: float32 (auto), bfloat16, int8 (CPU), float16 (CUDA).

    Raises:
        UnknownModel, CheckpointError, HubError, SettingsError: each says what to do.
    """
    model = opened(name, device=device, dtype=dtype)
    if model.decided.weights_kind == "demo":
        _say(f"{model.decided.slug} is {model.decided.caveat}")
    return model


def opened(name: str | Path, *, device: str, dtype: str) -> Model:
    """As `load`, for commands, which say themselves what the weights are."""
    stack = ExitStack()
    opening = open_model(spec(name), device=device, dtype=dtype, on_fetch=_say)
    # In a thread of its own, as it computes later: OpenMP keeps helpers for each thread that it has
    # served, and the one that a fork copies would wait for helpers that the copy does not have.
    with ThreadPoolExecutor(1) as thread:
        served = thread.submit(stack.enter_context, opening).result()
    return Model(served.decided, served.submit, stack)


def _say(message: str) -> None:
    print(f"esm2: {message}", file=sys.stderr)
