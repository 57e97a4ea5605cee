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
    ├── ServerUnreachable          no whole reply came from a server
    ├── UnexpectedReply            a reply that no esm2 server gives
    ├── Refused                    a server's refusal that has no class here
    ├── FileError                  a file cannot be read or written
    └── SettingsError              a setting that cannot be
        └── MissingExtra           an optional dependency is not installed

Each class has a `code` that never changes, and keeps its data as attributes. `str(error)` is one
sentence for a person: what, where, and what to do. It never holds a sequence or a token.
"""

from __future__ import annotations

from esm2.errors.base import Esm2Error
from esm2.errors.model import (
    CheckpointError,
    HashMismatch,
    HubError,
    HubUnreachable,
    ModelNotServed,
    NoReference,
    UnknownModel,
    WeightsMissing,
)
from esm2.errors.remote import Refused, ServerUnreachable, UnexpectedReply
from esm2.errors.request import (
    BodyTooLarge,
    ContactsUnavailable,
    EmptySequence,
    InvalidFasta,
    InvalidRequest,
    InvalidSequence,
    LayerOutOfRange,
    MaskMissing,
    MaskNotAllowed,
    NotJson,
    RequestError,
    SequenceTooLong,
    TooManyItems,
    UnsupportedEncoding,
)
from esm2.errors.service import (
    EngineError,
    FileError,
    MissingExtra,
    NotFinite,
    Overloaded,
    SettingsError,
    ShuttingDown,
    Unauthenticated,
)

__all__ = [
    "Esm2Error",
    "RequestError",
    "EmptySequence",
    "InvalidSequence",
    "SequenceTooLong",
    "MaskNotAllowed",
    "MaskMissing",
    "LayerOutOfRange",
    "ContactsUnavailable",
    "TooManyItems",
    "InvalidRequest",
    "NotJson",
    "BodyTooLarge",
    "UnsupportedEncoding",
    "InvalidFasta",
    "UnknownModel",
    "ModelNotServed",
    "WeightsMissing",
    "NoReference",
    "CheckpointError",
    "HubError",
    "HubUnreachable",
    "HashMismatch",
    "Unauthenticated",
    "Overloaded",
    "ShuttingDown",
    "EngineError",
    "NotFinite",
    "ServerUnreachable",
    "UnexpectedReply",
    "Refused",
    "FileError",
    "SettingsError",
    "MissingExtra",
]
