"""What is wrong with a request: the caller can mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from esm2.errors.base import Esm2Error


class RequestError(Esm2Error):
    """The request cannot be answered as it is."""

    code = "request.invalid"


class EmptySequence(RequestError):
    """A sequence has no residues."""

    code = "request.empty_sequence"

    def __init__(self) -> None:
        super().__init__("the sequence is empty; send at least one residue")


class InvalidSequence(RequestError):
    """A sequence has a letter ESM-2 has no token for.

    Attributes:
        position: 0-based residue index of the first such letter (a `<mask>` counts as one).
        letter: the letter itself.
    """

    code = "request.invalid_sequence"

    def __init__(self, position: int, letter: str, advice: str = "") -> None:
        self.position = position
        self.letter = letter
        super().__init__(
            f"residue {position + 1} is {letter!r}, which ESM-2 has no token for;"
            f" {advice or _advice(letter)}"
        )


_LETTERS = "the letters are ACDEFGHIKLMNPQRSTVWY, X B U Z O, '-' and '.'"


def _advice(letter: str) -> str:
    if letter.isspace():
        return "remove white space and line ends"
    if letter.islower():
        return "write residues in upper case"
    if letter.isdigit():
        return f"remove numbers; {_LETTERS}"
    if letter == "*":
        return "remove stop codons"
    if letter == "<":
        return "the only word in angle brackets is <mask>"
    return f"{_LETTERS}; X stands for any residue"


class SequenceTooLong(RequestError):
    """A sequence has more residues than this machine accepts.

    Attributes:
        length: its residues.
        limit: the most that are accepted.
    """

    code = "request.sequence_too_long"

    def __init__(self, length: int, limit: int) -> None:
        self.length = length
        self.limit = limit
        super().__init__(
            f"the sequence has {length} residues, the limit here is {limit} (nothing is truncated);"
            " shorten it, or raise max_residues"
        )


class DoesNotFit(RequestError):
    """The answer to a sequence takes more memory than this machine has for it.

    Attributes:
        length: its residues.
        longest: the most residues of which the same outputs fit; 0 if none do.
        outputs: in words.
    """

    code = "request.does_not_fit"

    def __init__(self, length: int, longest: int, outputs: str) -> None:
        self.length = length
        self.longest = longest
        self.outputs = outputs
        super().__init__(
            f"{outputs} of {length} residues do not fit into the memory here; of at most {longest}"
            " residues they do (ask for fewer outputs or layers at once for longer ones)"
        )


class ReplyTooLarge(RequestError):
    """The outputs of all items of a request hold more than this server has for replies.

    Attributes:
        size, limit: bytes.
        fit: so many of its items, in their order, do not.
    """

    code = "request.reply_too_large"

    def __init__(self, size: int, limit: int, fit: int) -> None:
        self.size = size
        self.limit = limit
        self.fit = fit
        fewer = "ask for fewer outputs or layers"
        if fit:
            fewer = f"the first {fit} of its items fit: send so many at once, or {fewer}"
        super().__init__(
            f"the outputs would hold {size / 1e6:.0f} MB, and this server has {limit / 1e6:.0f} MB"
            f" for replies; {fewer} (Accept: application/x-npz is a fifth of what JSON is to read)"
        )


class BeyondBudget(RequestError):
    """A request for more residues than its token has for a minute.

    Attributes:
        residues: of all forward passes of the request.
        budget: residues in a minute.
    """

    code = "request.beyond_budget"

    def __init__(self, residues: int, budget: int) -> None:
        self.residues = residues
        self.budget = budget
        super().__init__(
            f"the request comes to {residues} residues and its token may ask for {budget} in a"
            " minute, so it can never pass; send smaller requests"
        )


class InvalidHeader(RequestError):
    """A header of ours with a value that means nothing.

    Attributes:
        name: of the header.
    """

    code = "request.invalid_header"

    def __init__(self, name: str, must_be: str) -> None:
        self.name = name
        super().__init__(f"the header {name} must be {must_be}")


class MaskNotAllowed(RequestError):
    """A `<mask>` where every residue must be known.

    Attributes:
        position: 0-based residue index of the first mask.
    """

    code = "request.mask_not_allowed"

    def __init__(self, position: int, asked: str = "") -> None:
        self.position = position
        where = f"for {asked}" if asked else "here"
        super().__init__(
            f"residue {position + 1} is <mask>, and every residue must be known {where}; for masked"
            " ones use predict"
        )


class MaskMissing(RequestError):
    """A sequence for predict without a `<mask>`."""

    code = "request.mask_missing"

    def __init__(self) -> None:
        super().__init__("the sequence has no <mask>; predict needs at least one")


class LayerOutOfRange(RequestError):
    """A layer that the model does not have.

    Attributes:
        layer: the index asked for.
        layers: the number of layers N of the model; valid are -(N+1)..N.
    """

    code = "request.layer_out_of_range"

    def __init__(self, layer: int, layers: int) -> None:
        self.layer = layer
        self.layers = layers
        super().__init__(
            f"layer {layer} does not exist; this model has layers 0 (embedding) to {layers},"
            f" or -1 (last) to {-(layers + 1)} from the end"
        )


class HeadOutOfRange(RequestError):
    """An attention head that the model does not have.

    Attributes:
        head: the index asked for.
        heads: the number of heads H of each layer; valid are -H..H - 1.
    """

    code = "request.head_out_of_range"

    def __init__(self, head: int, heads: int) -> None:
        self.head = head
        self.heads = heads
        super().__init__(
            f"head {head} does not exist; each layer of this model has heads 0 to {heads - 1}, or"
            f" -1 (last) to {-heads} from the end"
        )


class ContactsUnavailable(RequestError):
    """Contacts asked of a checkpoint that came without a contact head."""

    code = "request.contacts_unavailable"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name} has no contact head: its checkpoint came without contact-regression weights;"
            " every other output works (a fair-esm X.pt needs X-contact-regression.pt beside it)"
        )


class LogitsUnavailable(RequestError):
    """Logits, or what is made of them, asked of a checkpoint that came without a language head."""

    code = "request.logits_unavailable"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name} has no language head: its checkpoint came without lm_head weights, so it gives"
            " no logits, and no predict, log_prob or scores, which are made of them; every other"
            " output works (EsmForMaskedLM saves the head, EsmModel and classifiers do not)"
        )


class TooManyItems(RequestError):
    """More items in one request than this server accepts."""

    code = "request.too_many_items"

    def __init__(self, count: int, limit: int) -> None:
        self.count = count
        self.limit = limit
        super().__init__(
            f"the request has {count} items, the limit here is {limit}; send several requests,"
            " or raise max_items on the server"
        )


class InvalidRequest(RequestError):
    """One or more faults in the body of a request, each with its place.

    Attributes:
        faults: place in the body ("items__1__sequence") -> messages.
        code: that of the fault, where all faults are of one kind.
    """

    def __init__(self, faults: Mapping[str, Sequence[str]], code: str = "request.invalid") -> None:
        self.faults = {place: list(messages) for place, messages in faults.items()}
        self.code = code
        super().__init__("; ".join(f"{k}: {', '.join(v)}" for k, v in self.faults.items()))


class NotJson(RequestError):
    """A body that is not JSON."""

    code = "request.not_json"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the body is not JSON: {reason}")


class BodyTooLarge(RequestError):
    """A body over the size limit, as sent or after inflation."""

    code = "request.body_too_large"

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(
            f"the body is larger than {limit} bytes; send fewer or shorter sequences in a request"
        )


class BodyTimeout(RequestError):
    """A body that was still not all there when its time was over.

    Attributes:
        seconds: that it had.
    """

    code = "request.body_timeout"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"the body was not all there after {seconds:g} seconds; send it again")


class UnsupportedEncoding(RequestError):
    """A Content-Encoding that is neither gzip nor none."""

    code = "request.unsupported_encoding"


class NotAcceptable(RequestError):
    """An Accept header that wants what there is not."""

    code = "request.not_acceptable"

    def __init__(self, wanted: str, there: Sequence[str]) -> None:
        super().__init__(f"Accept wants {wanted}; it can be {' or '.join(there)}")


class Moved(RequestError):
    """The API that was there before v2, which nobody serves any more.

    Attributes:
        address: that answers the same question now.
    """

    code = "http.moved"

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(
            f"the API of 2023 that was here is not served; POST {address} answers the same, with"
            ' {"items": [{"sequence": "MKT"}]} as its body; see /docs'
        )


class BeyondFloat16(RequestError):
    """Arrays that were wanted in float16 and have a number that it cannot hold.

    Attributes:
        name: of the array.
    """

    code = "request.beyond_float16"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name} has a number above 65504, which float16 cannot hold; ask for float32"
        )


class InvalidFasta(RequestError):
    """A file that is not FASTA, or a record in it that cannot be used.

    Attributes:
        source: name of the file, "-" for standard input.
        line: 1-based line where the trouble is; of a table, the row.
    """

    code = "request.invalid_fasta"

    def __init__(self, source: str, line: int, reason: str, unit: str = "line") -> None:
        self.source = source
        self.line = line
        self.reason = reason
        super().__init__(f"{source}, {unit} {line}: {reason}")


class InvalidStructure(RequestError):
    """A structure that cannot be read, or is not that of the protein asked about.

    Attributes:
        source: name of the file.
        reason: what is wrong with it.
    """

    code = "request.invalid_structure"

    def __init__(self, source: Path | str, reason: str) -> None:
        self.source = str(source)
        self.reason = reason
        super().__init__(f"{source}: {reason}")
