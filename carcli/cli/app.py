"""The ``carcli`` program: its commands, and how every one of them fails."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

from carcli.cli import bench, down, info, train, up, weights
from carcli.cli.common import CANNOT_RUN, INTERRUPTED, WRONG_USAGE, say_error
from carcli.errors import CarcliError, UsageError
from carcli.runtime.memory import huge_pages
from carcli.version import __version__

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
app.command(epilog="Example: carcli info lr/photo.png")(info.info)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"carcli {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the program; every foreseeable failure is one line and an exit code of its own."""
    huge_pages()
    warnings.filterwarnings("ignore", module="PIL")  # what is wrong with a file, decoding it says
    warnings.showwarning = lambda message, *_: say_error(str(message))
    try:
        app()
    except KeyboardInterrupt:
        say_error("interrupted")
        sys.exit(INTERRUPTED)
    except UsageError as error:
        say_error(str(error))
        sys.exit(WRONG_USAGE)
    except CarcliError as error:
        say_error(str(error))
        sys.exit(CANNOT_RUN)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


if __name__ == "__main__":
    main()
