"""The command line: one file a command, heavy imports inside the functions.

Results go to standard output or to the file that was named, everything else to standard error.
Exit status: 0 done; 1 an error, told in one sentence with its code; 2 wrong usage; 3 written, with
records left out; 130 interrupted, and 128 + N by signal N, which ends a command as Ctrl-C does.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Annotated

import typer

from esm2 import __version__
from esm2.cli import (
    attentions,
    contacts,
    doctor,
    embed,
    extract,
    fetch,
    fill_mask,
    logits,
    merge,
    models,
    pll,
    scan,
    score,
    search,
    serve,
    streams,
    token,
    verify,
)
from esm2.cli.options import say, sentence
from esm2.errors import Esm2Error

app = typer.Typer(
    name="esm2",
    help="ESM-2 protein language models: embeddings, contacts, logits and attentions, exact and"
    " fast, from the command line or over HTTP. Not affiliated with Meta or BioLM.",
    epilog="Exit status: 0 done; 1 an error, nothing was written; 2 wrong usage; 3 written, with"
    " records left out (--strict stops at the first instead); 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("serve")(serve.serve)
app.command("embed")(embed.embed)
app.command(
    "extract",
    # Its arguments are esm-extract's, and argparse reads them.
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)(extract.extract)
app.command("merge")(merge.merge)
app.command("search")(search.search)
app.command("score")(score.score)
app.command("scan")(scan.scan)
app.command("pll")(pll.pll)
app.command("contacts")(contacts.contacts)
app.command("attentions")(attentions.attentions)
app.command("logits")(logits.logits)
app.command("fill-mask")(fill_mask.fill_mask)
app.command("models")(models.models)
app.command("fetch")(fetch.fetch)
app.command("verify")(verify.verify)
app.add_typer(token.app, name="token")
app.command("doctor")(doctor.doctor)


#: How batch systems and closed terminals end a program.
_ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU)
_ended_by: list[int] = []

# An exception that comes here leaves a lock taken for ever, and threads that wait for it.
_CHANGING_HANDS = (threading.Condition.__enter__.__code__, threading.Condition.__exit__.__code__)
_SOON = 0.001  # seconds


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"esm2 {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_tell_version
        ),
    ] = False,
) -> None:
    # A server has a way of its own to end.
    if context.invoked_subcommand != "serve":
        _end_as_by_ctrl_c()


def _end_as_by_ctrl_c() -> None:
    """Let signals that end a program interrupt it, so that it leaves nothing behind."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _ENDS:
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, _interrupt)
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if frame and frame.f_code in _CHANGING_HANDS:
        signal.signal(signal.SIGALRM, lambda _, later: _interrupt(number, later))
        signal.setitimer(signal.ITIMER_REAL, _SOON)
        return
    if number == signal.SIGINT:
        signal.signal(number, signal.default_int_handler)
    else:
        signal.signal(number, signal.SIG_IGN)  # some send it twice
        _ended_by.append(number)
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; never a traceback for what a person can mend."""
    try:
        with streams.results():
            status = app(standalone_mode=False)
    except Esm2Error as error:
        say(f"esm2: {sentence(error)} [{error.code}]")
        sys.exit(1)
    except typer.TyperException as error:
        say(_usage(error))
        sys.exit(error.exit_code)
    if status == 130:  # what typer makes of Ctrl-C
        say(f"esm2: {_ending()}")
        status += _ended_by[0] - signal.SIGINT if _ended_by else 0
    sys.exit(status if isinstance(status, int) else 0)


def _ending() -> str:
    return f"ended by {signal.Signals(_ended_by[0]).name}" if _ended_by else "interrupted"


def _usage(error: typer.TyperException) -> str:
    # typer puts the name of Python's exception before the word that is none of an option's.
    message = error.format_message().replace(": Value error, ", ": ")
    context = getattr(error, "ctx", None)
    if context is None or message.startswith("Usage:"):  # the whole help: `esm2` alone
        return message
    return f"{context.get_usage()}\nesm2: {message} (see {context.command_path} --help)"
