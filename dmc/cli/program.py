"""The commands of the program, and how what goes wrong in one is told."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

import dmc
from dmc.cli import asking, comparing, completing, demo, fitting, installation, judging
from dmc.cli.wording import WrongUse, in_shell_words

app = typer.Typer(
    help="Fill in tables with gaps, and recommend from ratings or clicks: compressed deep matrix completion.",
    epilog="Start with: dmc demo. For a command's options: dmc COMMAND --help",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: it starts sooner, and reads the same in a pipe
)
COMMANDS = (
    *(completing.complete, fitting.fit, fitting.update, fitting.forget),
    *(asking.predict, asking.recommend, asking.similar, asking.explain, asking.export),
    *(judging.evaluate, judging.report, comparing.compare),
    *(demo.demo, installation.doctor, installation.bench),
)
EXAMPLES = {
    "fit": "dmc fit ratings.csv -o model.dmc",
    "update": "dmc update model.dmc new_ratings.csv",
    "forget": "dmc forget model.dmc --user ann --user bob",
    "predict": "dmc predict model.dmc pairs.csv -o predictions.csv",
    "recommend": "dmc recommend model.dmc --user ann -n 5",
    "similar": "dmc similar model.dmc --item 50 --titles titles.csv",
    "explain": "dmc explain model.dmc --user ann --item 50",
    "export": "dmc export model.dmc vectors --vectors ranking",
    "evaluate": "dmc evaluate ratings.csv --split user --relevant 4",
    "report": "dmc report model.dmc --test test.csv -o report.html",
    "complete": "dmc complete table.csv -o completed.csv --std deviations.csv",
    "compare": "dmc compare table.csv --standardize --figure comparison.png",
    "demo": "dmc demo",
    "bench": "dmc bench all",
    "doctor": "dmc doctor",
}
for command in COMMANDS:
    app.command(epilog=f"Example: {EXAMPLES[command.__name__]}")(command)

# typer has no public name for what it raises of wrong use, all of which is one class.
UsageError: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "UsageError")


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"dmc {dmc.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _program(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run(arguments: Sequence[str]) -> int:
    """The exit status of a command line; warnings and errors are sentences on the error output."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _tell(in_shell_words(message))
        try:
            return app(arguments, prog_name="dmc", standalone_mode=False) or 0
        except UsageError as error:
            _tell(_of_wrong_use(error))
            return 2
        except WrongUse as error:
            _tell(str(error))
            return 2
        except typer.Abort:
            return 1
        except (ValueError, TypeError, OSError, ImportError, MemoryError, FloatingPointError) as error:
            _tell(_of_system(error) or in_shell_words(error) or type(error).__name__)
            return 1


def _tell(sentence: str) -> None:
    typer.echo(f"dmc: {sentence}", file=sys.stderr)


def _of_system(error: Exception) -> str:
    """What the operating system says, such as of a full disk, in a sentence; empty of all other errors."""
    if not isinstance(error, OSError) or not error.strerror:
        return ""
    return f"{error.filename or 'the output'} cannot be used: {error.strerror[:1].lower()}{error.strerror[1:]}"


def _of_wrong_use(error: Exception) -> str:
    """What typer says of it, in one sentence that ends with where to look."""
    context, message = getattr(error, "ctx", None), " ".join(error.format_message().split())  # type: ignore[attr-defined]
    message = message.replace("Value error, ", "")
    path = context.command_path if context is not None else "dmc"
    return f"{message[:1].lower()}{message[1:].rstrip('.')}; see {path} --help"
