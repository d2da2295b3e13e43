"""The command line: commands and their help. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str] | None = None) -> None:
    """Runs ``paucis``; leaves with 0, 2 after a mistake that one line explains, 130 after Ctrl-C, 1 after a fault."""
    from paucis.cli.app import app
    from paucis.errors import PaucisError
    from paucis.files import is_full

    _quiet()
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = app(arguments, standalone_mode=False)
    except PaucisError as error:
        _fail(str(error), debug)
    except KeyboardInterrupt:
        _stopped()
    except BrokenPipeError:  # | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _leave(1)
    except OSError as error:
        if debug:
            raise
        reason = f"{error.filename or 'a file'}: {error.strerror or error}"
        _fail(f"{reason}: {'free space' if is_full(error) else 'check the path'}, or choose another folder", debug)
    except Exception as error:  # typer carries click under one name or another: its errors are known by their form
        if type(error).__name__ == "Abort":
            _stopped()
        if debug:
            raise
        if not hasattr(error, "format_message"):
            _fail(_fault(error), debug, 1)
        _fail(_usage(error), debug)
    _leave(code if isinstance(code, int) else 0)


def _fail(message: str, debug: bool, code: int = 2) -> None:
    if debug:
        raise
    sys.stderr.write(f"paucis: {' '.join(message.split())}\n")
    _leave(code)


def _quiet() -> None:
    """Keeps what other libraries log, and would say on standard error where nobody listens, out of the way."""
    import logging

    logging.getLogger().addHandler(logging.NullHandler())


def _fault(error: Exception) -> str:
    """What no message of ours explains: a mistake in the program, or in a method or network of the user's."""
    import traceback

    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno}; --debug tells all)"


def _usage(error: object) -> str:
    message = getattr(error, "format_message", lambda: str(error))()
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "paucis"
    return f"{message.rstrip('.')} (`{command} --help` tells more)"


def _stopped() -> None:
    sys.stderr.write("stopped\n")
    _leave(130)


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.exit(code)
