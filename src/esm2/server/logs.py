"""Logs: one line for each event, as text or as JSON, with the request that it belongs to.

No line has a sequence or a token in it. Of an exception, the kind and the places in our code are
told and its text is not: that could hold what a caller sent.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

#: Of the request that this task answers; empty outside of one.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")

#: One line for each request, at level info.
access = logging.getLogger("esm2.access")


def configure(level: str, form: Literal["text", "json"]) -> None:
    """Send everything that is logged in this process to standard error, in one form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def log_request(fields: Mapping[str, Any]) -> None:
    """Log a request that has its answer.

    Args:
        fields: method, route, status, ...; nothing of what was sent.
    """
    access.info("request", extra={"fields": dict(fields)})


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    fields: dict[str, Any] = {
        "time": time,
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    if request := REQUEST_ID.get():
        fields["request_id"] = request
    fields |= getattr(record, "fields", {})
    if record.exc_info and record.exc_info[0] is not None:
        fields["exception"] = record.exc_info[0].__name__
        frames = traceback.extract_tb(record.exc_info[2])
        fields["places"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return fields


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return orjson.dumps(_fields(record), default=str).decode()


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        head = [fields.pop(name) for name in ("time", "level", "logger", "message")]
        places = fields.pop("places", [])
        lines = [" ".join([*head, *(f"{name}={value}" for name, value in fields.items())])]
        return "\n".join([*lines, *(f"    {place}" for place in places)])
