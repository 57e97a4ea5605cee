"""Everything that can go wrong, as classes.

    Esm2Error
    ├── RequestError               the caller can mend it
    │   ├── EmptySequence          InvalidSequence     SequenceTooLong
    │   ├── MaskNotAllowed         MaskMissing
    │   ├── LayerOutOfRange        ContactsUnavailable TooManyItems
    │   ├── InvalidRequest         one or more of the above, each with its place in the body
    │   ├── NotJson                BodyTooLarge        UnsupportedEncoding
    │   └── InvalidFasta
    ├── UnknownModel               no such slug
    ├── ModelNotServed             a known slug that this server does not serve
    ├── WeightsMissing             a known slug without weights on this machine
    ├── NoReference                no published numbers to verify a model against
    ├── CheckpointError            a checkpoint that is not ESM-2, or is damaged
    ├── HubError
    │   ├── HubUnreachable
    │   └── HashMismatch
    ├── Unauthenticated            no token, or an unknown one
    ├── Overloaded                 the queue is full
    ├── ShuttingDown               the server is stopping
    ├── EngineError                the forward pass failed
    │   └── NotFinite              it gave NaN or infinity
    ├── FileError                  a file cannot be read or written
    └── SettingsError              a setting that cannot be
        └── MissingExtra           an optional dependency is not installed

Each class has a `code` that never changes, and keeps its data as attributes. `str(error)` is one
sentence for a person: what, where, and what to do. It never holds a sequence or a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


class Esm2Error(Exception):
    """Base of every error that this package raises on purpose."""

    code: str = "error"


# --- what a caller can mend --------------------------------------------------------------------


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

    def __init__(self, position: int, letter: str) -> None:
        self.position = position
        self.letter = letter
        super().__init__(
            f"residue {position + 1} is {letter!r}, which ESM-2 has no token for; {_advice(letter)}"
        )


def _advice(letter: str) -> str:
    if letter.isspace():
        return "remove white space and line ends"
    if letter.islower():
        return "write residues in upper case"
    if letter == "*":
        return "remove stop codons"
    if letter == "<":
        return "the only word in angle brackets is <mask>"
    return "the letters are ACDEFGHIKLMNPQRSTVWY, X B U Z O, '-' and '.'; X stands for any residue"


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
            " shorten it, or raise max_residues on the server"
        )


class MaskNotAllowed(RequestError):
    """A `<mask>` where every residue must be known.

    Attributes:
        position: 0-based residue index of the first mask.
    """

    code = "request.mask_not_allowed"

    def __init__(self, position: int) -> None:
        self.position = position
        super().__init__(
            f"residue {position + 1} is <mask>, which encode does not accept; use predict"
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


class ContactsUnavailable(RequestError):
    """Contacts asked of a checkpoint that came without a contact head."""

    code = "request.contacts_unavailable"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name} has no contact head: its checkpoint came without contact-regression weights;"
            " every other output works. A fair-esm X.pt needs X-contact-regression.pt beside it"
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


class UnsupportedEncoding(RequestError):
    """A Content-Encoding that is not gzip, or a body that is not what it says."""

    code = "request.unsupported_encoding"


class InvalidFasta(RequestError):
    """A file that is not FASTA, or a record in it that cannot be used.

    Attributes:
        source: name of the file, "-" for standard input.
        line: 1-based line where the trouble is.
    """

    code = "request.invalid_fasta"

    def __init__(self, source: str, line: int, reason: str) -> None:
        self.source = source
        self.line = line
        self.reason = reason
        super().__init__(f"{source}, line {line}: {reason}")


# --- models and weights ------------------------------------------------------------------------


class UnknownModel(Esm2Error):
    """A model name that means nothing here.

    Attributes:
        name: the name asked for.
        nearest: known names that resemble it, best first.
    """

    code = "model.unknown"

    def __init__(self, name: str, nearest: Sequence[str], known: Sequence[str]) -> None:
        self.name = name
        self.nearest = tuple(nearest)
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"known: {', '.join(known)}"
        super().__init__(f"no model is called {name[:80]!r}; {hint}")


class ModelNotServed(Esm2Error):
    """A model that is known, but that this server does not serve."""

    code = "model.not_served"

    def __init__(self, slug: str, served: Sequence[str]) -> None:
        self.slug = slug
        super().__init__(
            f"{slug} is not served here (served: {', '.join(served)}); on the server, run"
            f" `esm2 fetch {slug}` and start it with `esm2 serve --model {slug}`"
        )


class WeightsMissing(Esm2Error):
    """No weights for a model on this machine.

    Attributes:
        slug: the model.
        places: where they were looked for.
    """

    code = "model.weights_missing"

    def __init__(self, slug: str, places: Sequence[str], note: str = "") -> None:
        self.slug = slug
        self.places = tuple(places)
        super().__init__(
            f"no weights for {slug} on this machine (looked in {', '.join(places)}){note}; run"
            f" `esm2 fetch {slug}` with internet, or name a checkpoint with --model {slug}=PATH"
        )


class NoReference(Esm2Error):
    """Nobody published reference numbers for a model, so it cannot be verified.

    Attributes:
        slug: the model.
    """

    code = "model.no_reference"

    def __init__(self, slug: str, known: Sequence[str]) -> None:
        self.slug = slug
        super().__init__(
            f"there are no published numbers to verify {slug} against, so nothing was verified;"
            f" there are for {', '.join(known)}. For a copy of one of them: SLUG=PATH with its slug"
        )


class CheckpointError(Esm2Error):
    """A checkpoint that cannot be loaded as ESM-2.

    Attributes:
        path: the file or directory.
        reason: what is wrong; it names the tensor or the setting.
    """

    code = "checkpoint.invalid"

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class HubError(Esm2Error):
    """Weights could not be fetched."""

    code = "hub.failed"


class HubUnreachable(HubError):
    """The hub did not answer, or may not be asked (HF_HUB_OFFLINE)."""

    code = "hub.unreachable"


class HashMismatch(HubError):
    """A file is not the one that the catalog pins.

    Attributes:
        path: the file.
        expected, found: digests, "sha256:..." or "git-sha1:...".
        advice: what to do about it.
    """

    code = "hub.hash_mismatch"

    def __init__(
        self,
        path: Path | str,
        expected: str,
        found: str,
        advice: str = "delete it and fetch it again",
    ) -> None:
        self.path = str(path)
        self.expected = expected
        self.found = found
        self.advice = advice
        super().__init__(
            f"{path} is not the published file: expected {expected}, found {found}; {advice}"
        )


# --- service -----------------------------------------------------------------------------------


class Unauthenticated(Esm2Error):
    """No token, or one that this server does not know."""

    code = "auth.unauthenticated"


class Overloaded(Esm2Error):
    """The queue is full.

    Attributes:
        queued, limit: cost waiting and the most that may wait, in tokens.
    """

    code = "service.overloaded"

    def __init__(self, queued: int, limit: int) -> None:
        self.queued = queued
        self.limit = limit
        super().__init__(
            f"the queue is full ({queued} of {limit} tokens are waiting); try again later"
        )


class ShuttingDown(Esm2Error):
    """The server is stopping and takes no more work."""

    code = "service.shutting_down"

    def __init__(self) -> None:
        super().__init__("the server is stopping and takes no more work; try again later")


class EngineError(Esm2Error):
    """The forward pass failed; the request was not at fault as far as is known."""

    code = "engine.failed"


class NotFinite(EngineError):
    """The model gave NaN or infinity.

    Attributes:
        output: the output in which they were found.
    """

    code = "engine.not_finite"

    def __init__(self, output: str) -> None:
        self.output = output
        super().__init__(f"the model gave NaN or infinity in {output}; nothing is returned")


class FileError(Esm2Error):
    """A file that the operating system does not let us read or write.

    Attributes:
        path: the file, "-" for standard input.
        reason: what stands in the way.
    """

    code = "file.failed"

    def __init__(self, path: Path | str, doing: str, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"cannot {doing} {path}: {reason}")


class SettingsError(Esm2Error):
    """A setting, or a combination of settings, that cannot be."""

    code = "settings.invalid"


class MissingExtra(SettingsError):
    """An optional dependency is not installed."""

    code = "settings.missing_extra"

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"this needs {package}: pip install 'esm2[{extra}]'")
