"""The command line: one module a command, all registered here.

Commands import what they need when they run, so that `h2a --help` answers at once.
"""

import errno
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from h2a_lib.commands import (
    data,
    diff,
    doctor,
    export,
    predict,
    prepare,
    publish,
    render,
    report,
    status,
    train,
)
from h2a_lib.errors import UserError, unknown


class Commands(TyperGroup):
    """The commands; Typer would suggest a hidden one in place of a misspelt one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is named; a UserError if there is none."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            listed = [name for name, one in self.commands.items() if not one.hidden]
            raise unknown("command", args[0], listed)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Hand-To-Age: how much can a machine learn from a child's hand radiograph?",
)
for module in (report, train, predict, status, diff, doctor, render, export, publish):
    app.command(name=module.__name__.rpartition(".")[2])(module.command)
app.command(name="prepare", hidden=True)(prepare.command)
app.add_typer(data.app, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"h2a {version('h2a-lib')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line; a user's mistake ends in its message and exit code 2."""
    # A limit or a backend that the user has set for other programs ends ours in a traceback.
    for name in [name for name in os.environ if name.startswith(("OPENCV_", "LOKY_", "MPLBACK"))]:
        del os.environ[name]
    try:
        app()
    except UserError as error:
        print(f"h2a: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # Without a file's name: what is printed goes to a disk that is full.
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        print(f"h2a: the output cannot be written: {error.strerror}", file=sys.stderr)
        os._exit(2)  # the rest of the output would only fail again


if __name__ == "__main__":
    main()
