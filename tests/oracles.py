"""The reference for every output: fair-esm 2.0.0, and transformers' EsmForMaskedLM beside it.

    one sequence, alone  ->  {"mean 0": (D,), "per_token 0": (L, D), "bos 0": (D,), "mean 1": ...,
                              "logits": (L, 33), "contacts": (L, L), "attentions": (N, L),
                              "maps": (2, L, L)}, of the last layer's head 1 and the first's 0

Both oracles turn the raw results of their model into outputs with plain slices and means, and
tokenize with fair-esm's own alphabet: nothing of ours takes part. `flat` gives our Outputs the same
names, so that a comparison is a loop over names.
"""

from __future__ import annotations

import torch
import transformers
from esm.model.esm2 import ESM2
from torch import Tensor

from esm2.alphabet import tokenize
from esm2.engine.engine import Engine
from esm2.types import ForwardRequest, Outputs, Want
from tests.near import Arrays

KINDS = ("mean", "per_token", "bos", "logits", "contacts", "attentions")


def fair_esm_outputs(model: ESM2, sequence: str) -> Arrays:
    """All outputs of one sequence at all layers, from fair-esm."""
    with torch.inference_mode():
        raw = model(
            _token_ids(model, sequence),
            repr_layers=range(model.num_layers + 1),
            return_contacts=True,
        )
    return _outputs(
        hidden=[raw["representations"][layer][0] for layer in range(model.num_layers + 1)],
        logits=raw["logits"][0],
        contacts=raw["contacts"][0],
        maps=raw["attentions"][0],
    )


def transformers_outputs(
    model: transformers.EsmForMaskedLM, alphabet_of: ESM2, sequence: str
) -> Arrays:
    """All outputs of one sequence at all layers, from transformers.

    Args:
        model: loaded with attn_implementation="eager", which is the one that shows its maps.
        alphabet_of: the fair-esm model whose tokens are used.
    """
    token_ids = _token_ids(alphabet_of, sequence)
    everything = torch.ones_like(token_ids)
    with torch.inference_mode():
        raw = model(
            token_ids,
            attention_mask=everything,
            output_hidden_states=True,
            output_attentions=True,
        )
        contacts = model.predict_contacts(token_ids, everything)
    return _outputs(
        hidden=[states[0] for states in raw.hidden_states],
        logits=raw.logits[0],
        contacts=contacts[0],
        maps=torch.stack([maps[0] for maps in raw.attentions]),
    )


def our_outputs(engine: Engine, sequence: str) -> Arrays:
    """All outputs of one sequence at all layers, from our engine, the sequence alone."""
    request = ForwardRequest(tokenize(sequence), everything(engine.decided.shape.layers))
    return flat(engine.run([request])[0])


def flat(outputs: Outputs) -> Arrays:
    """Our Outputs under the names of the oracles; what is absent has no name."""
    arrays: Arrays = {}
    for kind in ("mean", "per_token", "bos"):
        for layer, array in getattr(outputs, kind).items():
            arrays[f"{kind} {layer}"] = array
    for kind in ("logits", "contacts", "attentions", "maps"):
        array = getattr(outputs, kind)
        if array is not None:
            arrays[kind] = array
    return arrays


def _token_ids(model: ESM2, sequence: str) -> Tensor:
    """int64 (1, L + 2), BOS and EOS included."""
    _, _, token_ids = model.alphabet.get_batch_converter()([("", sequence)])
    return token_ids


def _outputs(hidden: list[Tensor], logits: Tensor, contacts: Tensor, maps: Tensor) -> Arrays:
    """Cut raw results: hidden (T, D) each, logits (T, 33), maps (N, H, T, T); T = L + 2."""
    tensors: dict[str, Tensor] = {}
    for layer, states in enumerate(hidden):
        tensors[f"mean {layer}"] = states[1:-1].mean(0)
        tensors[f"per_token {layer}"] = states[1:-1]
        tensors[f"bos {layer}"] = states[0]
    tensors["logits"] = logits[1:-1]
    tensors["contacts"] = contacts
    # The mean over heads, then over the L + 2 query positions; the columns are residues.
    tensors["attentions"] = maps.mean(1).mean(1)[:, 1:-1]
    tensors["maps"] = torch.stack([maps[-1, 1], maps[0, 0]])[:, 1:-1, 1:-1]
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def everything(layers: int) -> Want:
    """All outputs at all layers 0..N, and two maps."""
    every = tuple(range(layers + 1))
    return Want(every, **dict.fromkeys(KINDS, True), maps=((layers, 1), (1, 0)))
