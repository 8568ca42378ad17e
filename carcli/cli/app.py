"""The ``carcli`` program: its commands, and how every one of them fails."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any

import typer

from carcli.cli import bench, down, export, info, serve, streams, train, up, weights
from carcli.cli.common import CANNOT_RUN, INTERRUPTED, WRONG_USAGE, Unwritable, say, say_error
from carcli.errors import CarcliError, UsageError
from carcli.runtime.memory import huge_pages
from carcli.runtime.paths import reason
from carcli.version import __version__

Mistake: type[Exception] = typer.BadParameter.__mro__[
    2
]  # of which all errors in a command line are: ClickException, wherever it is defined

app = typer.Typer(
    name="carcli",
    help="Make small versions of photographs that can be brought back.",
    epilog="Example: carcli down photos/ --scale 4, then: carcli up lr/",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog="Example: carcli down photos/ --scale 4 -o lr/")(down.down)
app.command(epilog="Example: carcli up lr/ -o sr/")(up.up)
app.command(epilog="Example: carcli bench --dataset set14 --scale 4 --model edsr,bicubic")(bench.bench)
app.add_typer(weights.app, name="weights")
app.command(epilog="Example: carcli train edsr-base-x4 photos/ --minutes 60 -o run/")(train.train)
app.command(epilog="Example: carcli export tad-x4 -o onnx/")(export.export)
app.command(epilog="Example: carcli info lr/photo.png")(info.info)
app.command(epilog="Example: carcli serve --port 8000")(serve.serve)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"carcli {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def main(hush: bool = False) -> None:
    """Run the program and exit, with standard streams that take whatever is printed.

    ``hush`` keeps what libraries in C print from standard error, for the rest of the process.
    """
    streams.make_ready()
    if hush:
        streams.hush_libraries()
    sys.exit(streams.finish(run()))


def run() -> int:
    """Carry out what the command line asks for; every foreseeable failure is one line, and an exit code of its own."""
    huge_pages()
    warnings.filterwarnings("ignore", module="PIL")  # what is wrong with a file, decoding it says
    warnings.showwarning = lambda message, *_: say_error(str(message))
    try:
        code = app(standalone_mode=False)
    except Mistake as error:
        return _wrong_usage(error)
    except typer.Abort:
        return INTERRUPTED
    except UsageError as error:
        say_error(str(error))
        return WRONG_USAGE
    except CarcliError as error:
        say_error(str(error))
        return CANNOT_RUN
    except Unwritable as error:
        return streams.unwritable(error.cause)
    except OSError as error:
        say_error(f"{error.filename}: {reason(error)}" if error.filename else reason(error))
        return CANNOT_RUN
    return code if isinstance(code, int) else 0


def _wrong_usage(error: Any) -> int:
    """What a command line itself is wrong in, and where to read what it may be."""
    message = str(error.format_message()).replace("Value error, ", "")  # which newer typers put before what is wrong
    if "\n" in message:  # the help that a command without any argument gives
        error.show()
    else:
        command = error.ctx.command_path if error.ctx is not None else "carcli"
        say_error(f"{message.rstrip('.')}; see: {command} --help")
    return WRONG_USAGE
