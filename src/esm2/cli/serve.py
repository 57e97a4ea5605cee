"""`esm2 serve`: the HTTP API. Its flags are the settings, one for one."""

from __future__ import annotations

import inspect
import json
import signal
import socket
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esm2 import __version__, settings
from esm2.errors import MissingExtra, SettingsError

if TYPE_CHECKING:
    from esm2.runtime import Runtime


def _flags() -> inspect.Signature:
    """One option for each setting; None where it is not given, so the environment decides."""
    parameters = []
    for name, field in settings.Settings.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        if not extra.get("flag", True):
            continue
        several = isinstance(field.default, tuple)
        default = ",".join(field.default) if several else field.default
        option = typer.Option(
            f"--{name.replace('_', '-')}",
            metavar="SLUG[=PATH]" if name == "model" else name.split("_")[-1].upper(),
            help=f"{field.description} [default: {default}]",
        )
        kind = list[str] if several else field.annotation
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[kind | None, option],  # type: ignore[operator]
            )
        )
    return inspect.Signature(parameters)


def serve(**flags: Any) -> None:
    """Serve models over HTTP, with the API that BioLM documented for ESM-2.

    esm2-demo, inside the package, is always served. A known model that is not on this machine is
    fetched first (see `esm2 fetch`). Every flag is also an environment variable, ESM2_HOST for
    --host and so on. Tokens come from ESM2_TOKENS only, comma-separated: everyone on a machine can
    see the flags of a program.
    """
    chosen = settings.load(flags)
    try:
        import uvicorn

        from esm2.server.app import create_app
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "fastapi", "server") from error
    from esm2.runtime import open_runtime

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if not self.should_exit:
                announce()

    def announce() -> None:
        _announce(runtime, listener.getsockname()[1])

    # uvicorn drains on SIGTERM and then raises it anew: that is a stop as wanted, not a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    listener = _listen(chosen.host, chosen.port)  # before the models: a taken port shows at once
    with listener, open_runtime(chosen, _say) as runtime:
        config = uvicorn.Config(
            create_app(runtime),
            log_level="warning",
            access_log=False,
            # BioLM's SDKs keep connections for 65 s and take a closed one for a failure.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=chosen.grace_seconds,
            server_header=False,
        )
        try:
            Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            _say("stopped")


serve.__signature__ = _flags()  # type: ignore[attr-defined]  # how typer learns of the flags


def _listen(host: str, port: int) -> socket.socket:
    """A socket that is ours alone. Callers who come while the models load wait for an answer."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except OSError as error:
        reason = error.strerror or error
        raise SettingsError(
            f"cannot listen on {host}:{port}: {reason}; choose another with --host and --port"
        ) from error
    return listener


def _say(text: str) -> None:
    print(f"esm2: {text}", file=sys.stderr, flush=True)


def _announce(runtime: Runtime, port: int) -> None:
    """What is served, where, and a call to paste."""
    host = runtime.settings.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    _say(f"{__version__}, listening on {url} (docs: {url}/docs)")
    for service in runtime.services.values():
        model = service.decided
        note = f"; {model.caveat}" if model.caveat else ""
        _say(f"{model.slug} on {model.device} in {model.dtype}, {model.kernel}{note}")
    slug = next(iter(runtime.services))
    body = json.dumps({"items": [{"sequence": "MKTAYIAKQRQISFVKSHFSRQ"}]})
    token = " \\\n  --header 'Authorization: Token YOUR_TOKEN'" if runtime.settings.tokens else ""
    print(
        f"\ncurl {url}/api/v2/{slug}/encode/ \\\n"
        f"  --header 'Content-Type: application/json'{token} \\\n"
        f"  --data '{body}'\n",
        flush=True,
    )
