"""The command line: each command parses, calls one library function and prints.

A command's module is loaded when it is named, and loads its libraries when it runs.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from cnntk.cli.output import ARGUMENTS, QUIET, discard_output, prepare_streams, problem
from cnntk.cli.signals import ENDINGS, STATUS, ended_by_signals
from cnntk.runtime.errors import CnntkError, ImageError
from cnntk.version import __version__

__all__ = ["main"]

COMMANDS = ("train", "export", "verify", "inspect", "evaluate", "quantize", "infer", "bench", "doctor")

OUTPUT_LOST = 1
_COMPLETION = "_CNNTK_COMPLETE"
INTERNAL_ERROR = 70


class _Commands(click.Group):
    """The commands, each ``cnntk.cli.NAME:NAME``, in the order in which a model needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"cnntk.cli.{cmd_name}"), cmd_name)
        if not any(p.name == "debug" for p in command.params):
            command.params += [
                _state_option("-q --quiet", QUIET, "Show results and errors only: no notes, no progress."),
                _state_option("--debug", "debug", "Show a traceback on errors."),
            ]
        return command


def _state_option(flags: str, key: str, text: str) -> click.Option:
    """A flag of every command, whose value becomes part of the command's state."""

    def callback(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        ctx.find_root().ensure_object(dict)[key] = value

    return click.Option(flags.split(), is_flag=True, expose_value=False, callback=callback, help=text)


@click.group(
    cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="cnntk")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Bring a PyTorch image model to the device that it will run on.

    Train a network, export it to one .onnx file with checks, verify and inspect that file, quantize it, run
    it on images and measure its speed. COMMAND --help shows the options and examples of a command.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        Exit status: 0 success, 1 a check failed or an input could not be read, 2 wrong use, 130 interrupted,
        143 terminated, 70 a bug in cnntk.
    """
    state: dict[str, Any] = {}
    prepare_streams()
    with ended_by_signals(state), warnings.catch_warnings():
        warnings.showwarning = _show_warning
        status = _run(argv, state)
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        discard_output()
    return STATUS[signal.SIGTERM] if state.get("signal") == signal.SIGTERM else status


def _run(argv: Sequence[str] | None, state: dict[str, Any]) -> int:
    stdout = sys.stdout
    state[ARGUMENTS] = sys.argv[1:] if argv is None else list(argv)
    # Behind the installed packages, so that modules in this folder can be imported and shadow none of them.
    sys.path.append(os.getcwd())
    try:
        result = cli.main(argv, prog_name="cnntk", standalone_mode=False, obj=state)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        return _fail(_usage_message(error), error.exit_code, state)
    except ImageError as error:  # only `infer` has an option for the limit, and names it in its rows
        return _fail(error.for_option(""), error.exit_status, state)
    except CnntkError as error:
        return _fail(str(error), error.exit_status, state)
    except (click.Abort, KeyboardInterrupt):
        number = state.get("signal", signal.SIGINT)
        return _fail(ENDINGS[number], STATUS[number], state)
    except SystemExit as error:
        if _COMPLETION in os.environ:  # a shell asks click for completions
            return int(error.code or 0)
        # click wraps standard output and exits where a pipe's reader has enough, as with `| head`.
        if sys.stdout is not stdout:
            return 0
        return _fail(f"the source's own code called sys.exit({error.code})", CnntkError.exit_status, state)
    except BrokenPipeError:  # its reader has enough
        return 0
    except MemoryError:
        return _fail("out of memory; make the batch or the image smaller", CnntkError.exit_status, state)
    except OSError as error:
        if error.filename is None:
            return _fail(f"standard output: {error.strerror}", OUTPUT_LOST, state)
        return _fail(f"{error.filename}: {error.strerror}", CnntkError.exit_status, state)
    except Exception as error:  # a bug in cnntk, or a package that is too old for it
        from cnntk.requirements import outdated_packages

        if problems := outdated_packages():
            return _fail(f"{problems[0]} ({type(error).__name__}: {error})", CnntkError.exit_status, state)
        text = f"internal error, {type(error).__name__}: {error}. Please report it with the output of --debug"
        return _fail(text, INTERNAL_ERROR, state)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    kind = "warning" if category is UserWarning else category.__name__
    problem(f"{kind}: {message}", "warning")


def _fail(message: str, status: int, state: dict[str, Any]) -> int:
    if state.get("debug"):
        for line in traceback.format_exc().splitlines():
            problem(line, "")
    problem(f"cnntk: {message}")
    error = sys.exception()
    for line in getattr(error, "__notes__", ()):
        problem(line, "")
    if isinstance(error, CnntkError) and error.missing_arguments:
        command = shlex.join(["cnntk", *state[ARGUMENTS], *error.missing_arguments])
        problem(f"For example: {command}", "")
    return status


def _usage_message(error: click.ClickException) -> str:
    message = error.format_message().replace("\n", " ")
    ctx = getattr(error, "ctx", None)
    return f"{message} (see {ctx.command_path} --help)" if ctx is not None else message
