"""The command line: one file a command, heavy imports inside the functions.

Results go to standard output or to the file that was named, everything else to standard error.
Exit status: 0 done; 1 an error, told in one sentence with its code; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import sys

import typer

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
    serve,
    token,
    verify,
)
from esm2.errors import Esm2Error

app = typer.Typer(
    name="esm2",
    help="ESM-2 protein language models: embeddings, contacts, logits and attentions, exact and"
    " fast, from the command line or over HTTP. Not affiliated with Meta or BioLM.",
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


def main() -> None:
    """Run the command line; never a traceback for what a person can mend."""
    try:
        status = app(standalone_mode=False)
    except Esm2Error as error:
        print(f"esm2: {error} [{error.code}]", file=sys.stderr)
        sys.exit(1)
    except typer.TyperException as error:
        print(_usage(error), file=sys.stderr)
        sys.exit(error.exit_code)
    if status == 130:  # what typer makes of Ctrl-C
        print("esm2: interrupted", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)


def _usage(error: typer.TyperException) -> str:
    message, context = error.format_message(), getattr(error, "ctx", None)
    if context is None or message.startswith("Usage:"):  # the whole help: `esm2` alone
        return message
    return f"{context.get_usage()}\nesm2: {message} (see {context.command_path} --help)"
