"""`esm2 serve`: the HTTP API. Its flags are the settings, one for one."""

from __future__ import annotations

import inspect
import json
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esm2 import __version__, settings
from esm2.cli import ports, stacks, streams
from esm2.cli.options import say
from esm2.errors import MissingExtra, SettingsError

if TYPE_CHECKING:
    from esm2.runtime import Runtime
    from esm2.server.metrics import Metrics
    from esm2.watch import Event

# The start of human H-Ras (UniProt P01112) with Gly15 masked, the glycine of its P-loop.
_EXAMPLE = "MTEYKLVVVGAGGV<mask>KSALTIQLIQNHFVDEYDPT"


def _flags() -> inspect.Signature:
    """One option for each setting; None where it is not given, so the environment decides."""
    parameters = []
    for name, field in settings.Settings.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        if not extra.get("flag", True):
            continue
        several = isinstance(field.default, tuple)
        default = ",".join(field.default) if several else field.default
        said = "" if default == "" else f" [default: {default}]"
        option = typer.Option(
            f"--{name.replace('_', '-')}",
            metavar="SLUG[=PATH]" if name == "model" else name.split("_")[-1].upper(),
            help=f"{field.description}{said}",
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
    with streams.usable():
        stacks.dump_threads_on_signal()
        _serve(flags)


def _serve(flags: Mapping[str, Any]) -> None:
    chosen = settings.load(flags, _say)
    from esm2.runtime import open_runtime

    metrics: list[Metrics] = []

    def load_the_rest() -> None:
        """What answers is loaded beside the models: each takes as long as the other."""
        try:
            import esm2.cli.listening  # noqa: F401
            from esm2.server.metrics import Metrics
        except ModuleNotFoundError as error:
            raise MissingExtra(error.name or "fastapi", "server") from error
        metrics.append(Metrics())

    def watch(event: Event) -> None:
        metrics[0](event)

    # uvicorn drains on SIGTERM and then raises it anew: that is a stop as wanted, not a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # nohup ignores it
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    with _told_whose(flags), ExitStack() as stack:
        # Before the models: a taken port shows at once.
        listening_on = (
            ports.listen_unix(chosen.uds)
            if chosen.uds
            else ports.listen(chosen.host, chosen.port, "--host and --port")
        )
        listener = stack.enter_context(listening_on)
        admin = None
        if chosen.admin_port:
            where = (chosen.admin_host, chosen.admin_port)
            admin = stack.enter_context(ports.listen(*where, "--admin-host and --admin-port"))
        runtime = stack.enter_context(open_runtime(chosen, _say, watch, load_the_rest))
        from esm2.cli import listening

        try:
            listening.serve(
                runtime,
                metrics[0],
                listener,
                admin,
                lambda: _announce(runtime, listener),
            )
        except KeyboardInterrupt:
            _say("stopped")


serve.__signature__ = _flags()  # type: ignore[attr-defined]  # how typer learns of the flags


@contextmanager
def _told_whose(flags: Mapping[str, Any]) -> Iterator[None]:
    """A setting that shows to be wrong in use is told by its flag or variable, too."""
    try:
        yield
    except SettingsError as error:
        if not error.setting:
            raise
        raise SettingsError(f"{settings.origin(error.setting, flags)}: {error}") from error


def _say(text: str) -> None:
    say(f"esm2: {text}")


def _announce(runtime: Runtime, listener: socket.socket) -> None:
    """What is served, where, and a call to paste."""
    place = ports.place(listener, runtime.settings.host)
    url = place.url
    _say(f"{__version__}, listening on {url}{place.beside} (docs: {url}/docs)")
    for service in runtime.services.values():
        model = service.decided
        note = f"; {model.caveat}" if model.caveat else ""
        _say(f"{model.slug} on {model.device} in {model.dtype}, {model.kernel}{note}")
    slug = next(iter(runtime.services))
    body = json.dumps({"items": [{"sequence": _EXAMPLE}]})
    token = " \\\n  --header 'Authorization: Token YOUR_TOKEN'" if runtime.settings.closed else ""
    streams.tell(
        f"\n{place.curl} {url}/api/v2/{slug}/predict/ \\\n"
        f"  --header 'Content-Type: application/json'{token} \\\n"
        f"  --data '{body}'\n"
    )
