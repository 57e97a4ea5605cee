"""Every knob, once: flag, environment variable, default, check and documentation follow from here.

    flag of `esm2 serve`  >  environment variable ESM2_*  >  default

Only this module reads the environment (for clients, `client/environment.py`). Settings are frozen;
what was decided from them (device, dtype, weights hash) is another value, `types.Decided`. An
unknown ESM2_* variable is an error: a misspelled ESM2_TOKENS must not leave a server open.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from esm2.catalog import DEMO_SLUG
from esm2.errors import SettingsError

_PREFIX = "ESM2_"


class Settings(BaseSettings):
    """How a server runs."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    host: str = Field("127.0.0.1", description="address to listen on; a public one needs tokens")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    model: Annotated[tuple[str, ...], NoDecode] = Field(
        (DEMO_SLUG,),
        description="SLUG or SLUG=PATH to serve; repeat the flag for several (in the variable,"
        f" separate by commas). {DEMO_SLUG} is always served",
    )
    device: str = Field("auto", description="auto (cuda when there is one), cpu, cuda, cuda:1")
    dtype: str = Field("auto", description="dtype of the arithmetic: auto or float32")
    tokens: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="API tokens, separated by commas; when there is none, anyone who can reach"
        " the address may use it, so it must be a loopback address",
        json_schema_extra={"flag": False},
    )
    max_items: int = Field(8, ge=1, description="items in one request")
    max_residues: int = Field(2048, ge=1, description="residues in one sequence; a <mask> is one")
    max_body_bytes: int = Field(
        16 << 20, ge=1024, description="bytes of a request body, as sent and inflated"
    )
    pack_tokens: int = Field(4096, ge=1, description="cost budget of one forward pass, in tokens")
    queue_tokens: int = Field(
        4_000_000, ge=1, description="cost that may wait for one model, in tokens; beyond it 429"
    )

    grace_seconds: int = Field(
        60, ge=0, description="seconds that requests in flight get when the server is stopped"
    )

    @field_validator("model", "tokens", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="after")
    def _closed_to_the_world(self) -> Settings:
        if not self.tokens and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} can be reached from other machines and there are no tokens;"
                " set ESM2_TOKENS to one or more secrets, or listen on 127.0.0.1"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load(flags: Mapping[str, Any]) -> Settings:
    """Settings from flags and environment.

    Args:
        flags: field -> value, None where the flag was not given.

    Raises:
        SettingsError: one sentence that names every field that is wrong.
    """
    known = {_PREFIX + name.upper() for name in Settings.model_fields}
    for name in os.environ:
        if name.upper().startswith(_PREFIX) and name.upper() not in known:
            raise SettingsError(f"{name} is not a setting; known: {', '.join(sorted(known))}")
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(fault) for fault in error.errors())) from error


def _sentence(fault: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
