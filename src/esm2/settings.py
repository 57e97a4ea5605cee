"""Every knob, once: flag, environment variable, default, check and documentation follow from here.

    flag of `esm2 serve`  >  environment variable ESM2_*  >  default

Only this module reads the environment (for clients, `client/environment.py`). Settings are frozen;
what was decided from them (device, dtype, weights hash) is another value, `types.Decided`. An
unknown ESM2_* variable is an error: a misspelled ESM2_TOKENS must not leave a server open. Those
that Kubernetes sets for a Service called esm2 are ignored, and said.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from esm2 import kubernetes
from esm2.catalog import DEMO_SLUG
from esm2.errors import SettingsError
from esm2.hosts import is_loopback

_PREFIX = "ESM2_"
_HOST = r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]"

#: Settings that close a server: a blank one is a variable that was to be filled in.
_NEVER_BLANK = ("tokens", "token_database")
_OR = "fill it in, or unset it"

#: Of one item of score: every substitution of 1,000 residues.
MOST_SUBSTITUTIONS = 20_000

# What a body holds at most: a residue may be `<mask>`, a substitution "p.Ala1024Gly", and beside
# them an item has a label. Parsing holds everybody up, so no default is above the last of these.
_BYTES_A_RESIDUE, _BYTES_A_SUBSTITUTION, _BYTES_A_LABEL = 6, 16, 4096
_LEAST_BODY = 1 << 10
_MOST_BODY = 16  # MiB


class Settings(BaseSettings):
    """How a server runs."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    host: str = Field("127.0.0.1", description="address to listen on; a public one needs tokens")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    uds: str = Field(
        "", description="path of a Unix socket to listen on, in place of a host and a port"
    )
    root_path: str = Field(
        "",
        description="path below which a proxy has this server, such as /esm2, for a proxy that"
        " leaves it in front of the addresses",
    )
    trust_proxy: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="address or network of a proxy whose X-Forwarded-For says who asks; unix for"
        " whoever comes over the Unix socket; repeat the flag for several (in the variable,"
        " separate by commas)",
    )
    allow_host: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="host name under which a server without tokens answers, beside localhost and"
        " other names of loopback; repeat the flag for several",
    )
    allow_origin: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="origin of web pages elsewhere that may ask this server, such as"
        " https://lab.example (CORS); repeat the flag for several",
    )
    model: Annotated[tuple[str, ...], NoDecode] = Field(
        (DEMO_SLUG,),
        description="SLUG or SLUG=PATH to serve; repeat the flag for several (in the variable,"
        f" separate by commas). {DEMO_SLUG} is always served",
    )
    device: str = Field(
        "auto",
        description="auto (cuda when there is one), cpu, cuda, cuda:1; several, separated by"
        " commas, for a worker process on each",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that compute, for each model; of two or more, one is always kept"
        " free of long requests. They share the cores, each has its own copy of the weights",
    )
    ray: str = Field(
        "",
        description="Ray cluster whose GPUs (or else CPUs) compute, each for every model:"
        " HOST:PORT of its head, auto for the one that this machine is part of, local to start"
        " one here",
    )
    dtype: str = Field(
        "auto",
        description="dtype of the arithmetic: float32 (auto), bfloat16, int8 (CPU), float16 (CUDA)",
    )
    tokens: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="API tokens, separated by commas; when there is none, anyone who can reach"
        " the address may use it, so it must be a loopback address",
        json_schema_extra={"flag": False},
    )
    token_database: str = Field(
        "",
        description="where `esm2 token` keeps API tokens, which then open this server too:"
        " sqlite:////path/tokens.db or postgresql://user@host/database; with a password in it, in"
        " the variable only",
    )
    limits_storage: str = Field(
        "memory://",
        description="where the residues a minute of tokens are counted: memory:// for one server,"
        " redis://host:6379/0 (or Valkey's) for several; with a password in it, in the variable"
        " only",
    )
    cache_mb: int = Field(
        0, ge=0, description="MiB of results kept for who asks the same again; 0: none is kept"
    )
    cache_url: str = Field(
        "",
        description="redis://host:6379/1 (or Valkey's) keeps results there instead, each of at most"
        " cache_mb, for several servers; with a password in it, in the variable only",
    )
    max_items: int = Field(8, ge=1, description="items in one request")
    max_residues: int = Field(2048, ge=1, description="residues in one sequence; a <mask> is one")
    max_body_bytes: int = Field(
        0,
        ge=0,
        description="bytes of a request body, as sent and inflated; 0: what the largest request"
        " takes that the other limits allow, in whole MiB (3 by default, at most 16)",
    )
    max_connections: int = Field(
        1000, ge=1, description="connections at once; further ones are closed at once"
    )
    header_seconds: float = Field(
        20, gt=0, description="seconds for the headers of a request; then 408"
    )
    body_seconds: float = Field(
        120, gt=0, description="seconds for the body of a request; then 408"
    )
    send_seconds: float = Field(
        30,
        gt=0,
        description="seconds in which a caller takes less than 16 KB of its reply; then it is cut",
    )
    pack_tokens: int = Field(4096, ge=1, description="cost budget of one forward pass, in tokens")
    queue_tokens: int = Field(
        5_000_000, ge=1, description="cost that may wait for one model, in tokens; beyond it 429"
    )
    max_wait_seconds: float = Field(
        1200,
        gt=0,
        description="the longest that a request may be expected to wait for its turn; beyond it"
        " 429. BioLM's SDKs wait for 20 minutes and never ask again",
    )
    timeout_seconds: float = Field(
        1200,
        gt=0,
        description="seconds until a request that has no answer gets 504; a caller can ask for less"
        " with the header X-ESM2-Timeout",
    )
    hung_seconds: float = Field(
        60,
        gt=0,
        description="seconds that a forward pass may take, beside ten times what it should, before"
        " its process is killed and replaced",
    )
    memory_mb: int = Field(
        0,
        ge=0,
        description="MiB for forward passes and replies, half for each, beside the weights; 0: what"
        " is free at the start. What cannot fit is refused",
    )
    admin_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port for /metrics, /health and /info, without tokens; 0: they are on the main"
        " port, where /metrics and /info want a token if there are tokens",
    )
    admin_host: str = Field("127.0.0.1", description="address of the admin port")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="debug, info (a line for each request), warning, error"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="text or json (one object a line), on standard error"
    )
    drain_seconds: float = Field(
        0,
        ge=0,
        description="seconds between SIGTERM, from which on /health/ready says 503, and the closing"
        " of the port, for a load balancer to notice",
    )
    grace_seconds: int = Field(
        60, ge=0, description="seconds that requests in flight get when the server is stopped"
    )

    @field_validator("model", "tokens", "trust_proxy", "allow_host", "allow_origin", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("max_body_bytes")
    @classmethod
    def _largest_body(cls, given: int, info: ValidationInfo) -> int:
        if 0 < given < _LEAST_BODY:
            raise ValueError(f"{given} is less than {_LEAST_BODY}, which a request needs")
        residues, items = info.data.get("max_residues", 1), info.data.get("max_items", 1)
        item = _BYTES_A_RESIDUE * residues + _BYTES_A_SUBSTITUTION * MOST_SUBSTITUTIONS
        mib = math.ceil(items * (item + _BYTES_A_LABEL) / (1 << 20))
        return given or min(mib, _MOST_BODY) << 20

    @field_validator("ray")
    @classmethod
    def _decides(cls, given: str, info: ValidationInfo) -> str:
        if given and info.data.get("workers", 1) != 1:
            raise ValueError("each device of the cluster has one worker: leave workers out")
        return given

    @field_validator("root_path")
    @classmethod
    def _path(cls, given: str) -> str:
        if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", given):
            raise ValueError(f"{given[:80]!r} is no path; write it like /esm2")
        return given.rstrip("/")

    @field_validator("trust_proxy")
    @classmethod
    def _proxies(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in given:
            try:
                proxy == "unix" or ipaddress.ip_network(proxy)
            except ValueError as error:
                raise ValueError(
                    f"{proxy[:80]!r} is no address such as 10.0.0.7, no network such as"
                    " 10.0.0.0/8, and not unix"
                ) from error
        return given

    @field_validator("allow_host")
    @classmethod
    def _hosts(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for host in given:
            if not re.fullmatch(_HOST, host):
                raise ValueError(
                    f"{host[:80]!r} is no host name; write it without scheme, port and path"
                )
        return tuple(host.lower() for host in given)

    @field_validator("allow_origin")
    @classmethod
    def _origins(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for origin in given:
            if not re.fullmatch(rf"https?://({_HOST})(:\d{{1,5}})?", origin):
                raise ValueError(
                    f"{origin[:80]!r} is no origin; name each as browsers do, such as"
                    " https://lab.example or http://localhost:3000"
                )
        # A browser leaves out the port that goes without saying.
        usual = {"http": ":80", "https": ":443"}
        lower = (origin.lower() for origin in given)
        return tuple(origin.removesuffix(usual[origin.partition(":")[0]]) for origin in lower)

    @property
    def closed(self) -> bool:
        """Whether only those with a token are answered."""
        return bool(self.tokens or self.token_database)

    @field_validator("tokens")
    @classmethod
    def _can_be_sent(cls, tokens: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for number, token in enumerate(tokens, 1):
            if not re.fullmatch("[!-~]+", token.get_secret_value()):
                raise ValueError(
                    f"token {number} of {len(tokens)} has white space in it, or a character that is"
                    " not visible ASCII, and no client could send it; use letters and digits"
                )
        return tokens

    @model_validator(mode="after")
    def _closed_to_the_world(self) -> Settings:
        if not (self.closed or self.uds or is_loopback(self.host)):
            raise ValueError(
                f"{self.host} can be reached from other machines and there are no tokens;"
                " set ESM2_TOKENS to one or more secrets, or ESM2_TOKEN_DATABASE, or listen on"
                " 127.0.0.1"
            )
        return self


def load(flags: Mapping[str, Any], say: Callable[[str], None] = lambda _: None) -> Settings:
    """Settings from flags and environment.

    Args:
        flags: field -> value, None where the flag was not given.
        say: told in one line which variables are Kubernetes' and were ignored.

    Raises:
        SettingsError: one sentence that names every flag or variable that is wrong.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    ignored = sorted(
        name for name, own in os.environ.items() if kubernetes.sets(name, own, _PREFIX)
    )
    if ignored:
        say(f"ignoring {', '.join(ignored)}, which Kubernetes sets beside a Service of that name")
    for name, value in os.environ.items():
        field = name.upper().removeprefix(_PREFIX).lower()
        if not name.upper().startswith(_PREFIX):
            continue
        if name in ignored:
            if field in Settings.model_fields:  # or it would be read as ours
                given.setdefault(field, Settings.model_fields[field].default)
        elif field not in Settings.model_fields:
            known = ", ".join(sorted(map(_variable, Settings.model_fields)))
            raise SettingsError(f"{name} is not a setting; known: {known}")
        elif field in _NEVER_BLANK and not value.replace(",", " ").strip():
            raise SettingsError(
                f"{name} is set and empty, which would leave the server open; {_OR}"
            )
    for name, value in flags.items():
        _refuse_password(name, value)
    try:
        return Settings(**given)
    except ValidationError as error:
        faults = (_sentence(fault, flags) for fault in error.errors())
        raise SettingsError("; ".join(faults)) from error


def origin(name: str, flags: Mapping[str, Any]) -> str:
    """How a person gave a setting: its flag, or else its variable.

    Args:
        name: of the field.
        flags: as for `load`.
    """
    flag = flags.get(name) is not None or name not in Settings.model_fields
    return f"--{name.replace('_', '-')}" if flag else _variable(name)


def _variable(name: str) -> str:
    return _PREFIX + name.upper()


def token_database(flag: str | None) -> str:
    """The URL of the token database: a flag, or else the variable; empty for neither.

    Raises:
        SettingsError: the flag has a password in it, or the variable is empty.
    """
    _refuse_password("token_database", flag)
    variable = _variable("token_database")
    if not flag and not os.environ.get(variable, "unset").strip():
        raise SettingsError(f"{variable} is set and empty; {_OR}")
    return flag or os.environ.get(variable, "")


def _refuse_password(name: str, flag: Any) -> None:
    try:
        shown = isinstance(flag, str) and "://" in flag and urlsplit(flag).password
    except ValueError:
        shown = False
    if shown:
        raise SettingsError(
            f"--{name.replace('_', '-')} has a password in it, and everyone on this machine can see"
            f" the flags of a program; set {_variable(name)} instead"
        )


def _sentence(fault: Mapping[str, Any], flags: Mapping[str, Any]) -> str:
    name = str(fault["loc"][0]) if fault["loc"] else "host"  # which is all that a whole can fail by
    return f"{origin(name, flags)}: {str(fault['msg']).removeprefix('Value error, ')}"
