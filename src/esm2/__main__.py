"""`esm2`, and `python -m esm2`.

Until the command line is there, which takes some tenths of a second, Ctrl-C ends the process in
silence: nothing has begun that could be told of, and a traceback of imports helps nobody.
"""

import signal


def main() -> None:
    """Load the command line and run it."""
    ours = signal.getsignal(signal.SIGINT) == signal.default_int_handler  # nohup ignores it
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from esm2 import cli

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
