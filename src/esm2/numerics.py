"""The numeric contract: how far apart two results of a sequence may be, by what differs.

    float32     company, what else is asked for, processor; fair-esm, transformers    -> Limits
    narrower    bfloat16, int8                                                        -> relative L2
    scores      sums of log-probabilities                                             -> nats

What is promised in docs/numerics.md is made from this table; `esm2 verify`, the health checks and
the tests measure with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How far apart two float32 results may be.

    Attributes:
        differs: what differs between them, for people.
        largest: limit of the largest difference of an output, in units of the output's own scale,
            its largest absolute number; of any output but contacts.
        contacts: limit of the largest difference of contacts, absolute: they are probabilities.
        l2: limit of the relative L2 distance of any output but contacts.
    """

    differs: str
    largest: float
    contacts: float
    l2: float = math.inf

    def allowed(self, kind: str, scale: float) -> float:
        """The largest difference of an output of that kind and scale."""
        return self.contacts if kind == "contacts" else self.largest * scale


#: The same question in any company, seat and pack, with any number of threads.
BITS = Limits("company in a pack, and threads, where `batch_invariant` is true", 0, 0, 0)
COMPANY = Limits("company in a pack, and threads, where it is false", 1e-5, 1e-5)
#: One output asked for alone, or together with others: maps that are seen are computed otherwise.
MORE = Limits("what else is asked of the same sequence", 1e-5, 2e-5)
#: Sums in another order.
PROCESSOR = Limits("processor, or kernel", 1e-5, 2e-5)
FAIR_ESM = Limits("fair-esm 2.0.0 computes", 2e-5, 2e-5, 5e-6)
TRANSFORMERS = Limits("transformers' `EsmForMaskedLM` computes", 1e-4, 1e-4)

CONTRACT = (BITS, COMPANY, MORE, PROCESSOR, FAIR_ESM, TRANSFORMERS)

#: Of a score (log p, its sums and differences) in nats, however it is asked for.
SCORE = 1e-4

#: Limit of the relative L2 distance from float32 of any output of an untrained model.
ROUNDED = {"bfloat16": 0.02, "int8": 0.06}

#: By which the answer to a known question may differ from the one at the start: logits. Narrower
#: types round otherwise in other company on some devices; a broken model is further away.
KNOWN_ANSWER = 1e-3


def company(batch_invariant: bool) -> Limits:
    """What company may change, by what was decided when the model was loaded."""
    return BITS if batch_invariant else COMPANY


def published(precision: str, kind: str, scale: float, whole: bool) -> dict[str, float]:
    """What `esm2 verify` allows against numbers that others published.

    float32: recorded on other hardware. Two builds of the API differ by 2e-7 in embeddings and 6e-6
    in contacts; bfloat16 rounds a factor by 2e-3 of itself, TF32 by 5e-4. The limits lie between:
    1e-4, for embeddings times their largest number (the residual stream has outliers near 600), for
    a log-probability times its residues. Attentions are means over queries, near 1/L, hence 1e-5.
    A cosine hides a constant factor, so it never stands alone.

    bfloat16: the three sequences of FastPLMs, with its own targets for bfloat16 against fair-esm
    (residues p1 .999, pooled .9995) and its limit for the relative difference, 3e-2.

    printed: four decimals; transformers' own test allows 1e-4 of each number and 1e-4 more.

    Args:
        precision: "float32", "bfloat16" or "printed".
        kind: of output.
        scale: the largest absolute number that was published, 1 at least.
        whole: whether all of the output was published.

    Returns:
        measure (of esm2.verify) -> limit.
    """
    if precision == "bfloat16":
        pooled = {"1 - cosine, p1": 1e-3, "1 - cosine, pooled": 5e-4} if kind == "per_token" else {}
        return {**pooled, "relative L2": 3e-2}
    if precision == "printed" or kind in ("mean", "per_token", "bos"):
        angle = {"1 - cosine": 1e-5} if kind == "mean" and whole else {}
        return {"largest": 1e-4 * scale, **angle}
    return {"largest": 1e-5 if kind == "attentions" else 1e-4}
