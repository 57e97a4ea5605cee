"""Everything that can go wrong, as classes.

    Esm2Error
    ├── RequestError               the caller can mend it
    │   ├── EmptySequence          InvalidSequence     SequenceTooLong
    │   ├── DoesNotFit             ReplyTooLarge       InvalidHeader
    │   ├── BeyondBudget           more than the token has for a minute
    │   ├── BodyTimeout            a body that came too slowly
    │   ├── MaskNotAllowed         MaskMissing
    │   ├── LayerOutOfRange        HeadOutOfRange      TooManyItems
    │   ├── ContactsUnavailable    LogitsUnavailable
    │   ├── InvalidRequest         one or more of the above, each with its place in the body
    │   ├── NotJson                BodyTooLarge        UnsupportedEncoding
    │   ├── NotAcceptable          BeyondFloat16       Moved
    │   ├── InvalidFasta           InvalidStructure
    │   ├── InvalidVariant         OffsetNotFound      InvalidTable
    │   └── TooManySubstitutions   TooMuchWork
    ├── UnknownModel               no such slug
    ├── ModelNotServed             a known slug that this server does not serve
    ├── WeightsMissing             a known slug without weights on this machine
    ├── NoReference                no published numbers to verify a model against
    ├── CheckpointError            a checkpoint that is not ESM-2, or is damaged
    ├── HubError
    │   ├── HubUnreachable
    │   └── HashMismatch
    ├── Unauthenticated            no token, or an unknown one
    ├── Forbidden                  a token that is not good for this
    ├── ForeignHost                ForeignOrigin       a page elsewhere, without tokens here
    ├── RateLimited                a token whose budget is used up
    ├── TokensUnavailable          the token database cannot be reached
    ├── Overloaded                 the queue is full
    ├── DeadlineExceeded           no answer in the time allowed
    ├── ModelUnavailable           a model cannot compute at the moment
    ├── ShuttingDown               the server is stopping
    ├── EngineError                the forward pass failed
    │   ├── NotFinite              it gave NaN or infinity
    │   └── EngineLost             the process that computed is gone
    │       ├── EngineCrashed
    │       └── EngineHung
    ├── ServerUnreachable          no whole reply came from a server
    ├── UnexpectedReply            a reply that no esm2 server gives
    ├── Refused                    a server's refusal that has no class here
    ├── FileError                  a file cannot be read or written
    │   └── CannotResume           an interrupted run was another one
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
    BeyondBudget,
    BeyondFloat16,
    BodyTimeout,
    BodyTooLarge,
    ContactsUnavailable,
    DoesNotFit,
    EmptySequence,
    HeadOutOfRange,
    InvalidFasta,
    InvalidHeader,
    InvalidRequest,
    InvalidSequence,
    InvalidStructure,
    LayerOutOfRange,
    LogitsUnavailable,
    MaskMissing,
    MaskNotAllowed,
    Moved,
    NotAcceptable,
    NotJson,
    ReplyTooLarge,
    RequestError,
    SequenceTooLong,
    TooManyItems,
    UnsupportedEncoding,
)
from esm2.errors.scoring import (
    InvalidTable,
    InvalidVariant,
    OffsetNotFound,
    TooManySubstitutions,
    TooMuchWork,
)
from esm2.errors.service import (
    CannotResume,
    DeadlineExceeded,
    EngineCrashed,
    EngineError,
    EngineHung,
    EngineLost,
    FileError,
    Forbidden,
    ForeignHost,
    ForeignOrigin,
    MissingExtra,
    ModelUnavailable,
    NotFinite,
    Overloaded,
    RateLimited,
    SettingsError,
    ShuttingDown,
    TokensUnavailable,
    Unauthenticated,
)

__all__ = [
    "Esm2Error",
    "RequestError",
    "EmptySequence",
    "InvalidSequence",
    "SequenceTooLong",
    "DoesNotFit",
    "ReplyTooLarge",
    "InvalidHeader",
    "BeyondBudget",
    "BodyTimeout",
    "MaskNotAllowed",
    "MaskMissing",
    "LayerOutOfRange",
    "ContactsUnavailable",
    "LogitsUnavailable",
    "TooManyItems",
    "InvalidRequest",
    "NotJson",
    "BodyTooLarge",
    "UnsupportedEncoding",
    "NotAcceptable",
    "BeyondFloat16",
    "InvalidFasta",
    "InvalidStructure",
    "InvalidVariant",
    "OffsetNotFound",
    "InvalidTable",
    "TooManySubstitutions",
    "TooMuchWork",
    "UnknownModel",
    "ModelNotServed",
    "WeightsMissing",
    "NoReference",
    "CheckpointError",
    "HubError",
    "HubUnreachable",
    "HashMismatch",
    "HeadOutOfRange",
    "Unauthenticated",
    "Forbidden",
    "ForeignHost",
    "ForeignOrigin",
    "RateLimited",
    "TokensUnavailable",
    "Overloaded",
    "DeadlineExceeded",
    "ModelUnavailable",
    "Moved",
    "ShuttingDown",
    "EngineError",
    "NotFinite",
    "EngineLost",
    "EngineCrashed",
    "EngineHung",
    "ServerUnreachable",
    "UnexpectedReply",
    "Refused",
    "FileError",
    "CannotResume",
    "SettingsError",
    "MissingExtra",
]
