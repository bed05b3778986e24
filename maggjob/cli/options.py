"""Options that several commands have, spelt and explained in one way, and words that a shell completes.

The types only help: values are checked where they are used, whose errors say in one line what is possible.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
EXIT_DONE = """\b
Exit codes:
  0  done
  1  wrong usage or input, or something that cannot be reached or used
  3  stopped"""
"""Last lines of the help of commands that have none of their own."""
EXIT_CODES = """\b
Exit codes:
  0  complete
  1  wrong usage or input, no login, or a backend that cannot be used
  2  finished, with partial or failed work (0 with --allow-partial, where there is that option)
  3  stopped: the same command again goes on"""
"""Last lines of the help of commands that run a job."""
EXIT_FILE = """\b
Exit codes:
  0  written, or shown
  1  wrong usage or input, nothing is written
  3  stopped, nothing is written"""
"""Last lines of the help of commands that write a picture, a page or an export."""
EXIT_STATUS = """\b
Exit codes:
  0  in progress, or complete
  1  no such run
  2  finished, with partial or failed work
  3  stopped"""
"""Last lines of the help of ``status``."""
EXIT_VERIFY = """\b
Exit codes:
  0  nothing differs
  1  no such result
  2  something differs"""
"""Last lines of the help of ``verify``."""
AREA_WORDS = "antarctica, grounded, basins:2,17, greenland, south-of:LAT, W,S,E,N, or a file"
"""What an area can be."""


class Words(click.ParamType):  # type: ignore[type-arg]
    """A word of a few, or a file.

    Parameters
    ----------
    metavar : str
        Name of the value in the help.
    words : tuple of str
        Words that are completed.
    files : bool
        Whether a file may be given as well.
    """

    def __init__(self, metavar: str, words: tuple[str, ...], *, files: bool = False) -> None:
        self.name, self.words, self.files = metavar, words, files

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the words that begin like what has been typed; if none does, ask for files.

        Parameters
        ----------
        ctx : click.Context
        param : click.Parameter
        incomplete : str
            What has been typed.
        """
        found = [CompletionItem(word) for word in self.words if word.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file")] if self.files and not (found and incomplete) else found


class ConfigName(Words):
    """A file of a configuration, or the name of a built-in one, which no file with that name and an end hides."""

    def __init__(self) -> None:
        super().__init__("FILE", (), files=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value, after a note if a file beside may have been meant.

        Parameters
        ----------
        value : str
        param : click.Parameter or None
        ctx : click.Context or None
        """
        beside = Path(f"{value}.yaml")
        if not Path(str(value)).exists() and beside.is_file():
            from maggjob.config.builtin import find_builtin

            if find_builtin(str(value), None) is not None:
                click.echo(f"note: {value} is the built-in configuration; --config {beside} reads the file", err=True)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the names of built-in configurations that begin like what has been typed; if none does, files.

        Parameters
        ----------
        ctx : click.Context
        param : click.Parameter
        incomplete : str
            What has been typed.
        """
        from maggjob.config.builtin import builtin_names

        self.words = tuple(builtin_names(None))
        return super().shell_complete(ctx, param, incomplete)


CONFIG = ConfigName()
BACKEND = Words("localhost|aws_lambda|serial", ("localhost", "aws_lambda", "serial"))
DRIVER = Words("s3|https|file", ("s3", "https", "file"))
FILL = Words("none|mean", ("none", "mean"))
AREA = Words("AREA", ("antarctica", "grounded", "basins:", "greenland", "south-of:", "north-of:"), files=True)

backend_option = click.option(
    "--backend",
    default="localhost",
    show_default=True,
    is_eager=True,
    type=BACKEND,
    metavar=BACKEND.name,
    help="Where the calls run.",
)
deadline_option = click.option(
    "--deadline", type=float, default=21600.0, show_default=True, metavar="SECONDS", help="Give up after this time."
)
driver_option = click.option(
    "--driver",
    type=DRIVER,
    metavar=DRIVER.name,
    help="How granules are read [default: as the configuration says].",
)


def _names(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> list[str] | None:
    return [name.strip() for one in given for name in one.split(",")] or None


def variables_option(does: str) -> Decorator:
    """Return the option for variables of a result: names between commas, or the option several times.

    Parameters
    ----------
    does : str
        What is done with them, for the help.
    """
    return click.option(
        "--variables", "--variable", "variables", multiple=True, callback=_names, metavar="A,B", help=does
    )


def time_option(default: str) -> Decorator:
    """Return the option for a time of a result with a time axis.

    Parameters
    ----------
    default : str
        What is used without it, for the help.
    """
    return click.option(
        "--time", "--cycle", "--month", "time", metavar="LABEL", help=f"Cycle or month [default: {default}]."
    )
