"""``maggjob`` as it is typed, in this process: a new interpreter costs a second and proves little more."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from maggjob.cli.commands import main


@dataclass(frozen=True)
class Done:
    """Result of a command, with the names of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def maggjob(*arguments: str) -> Done:
    """Call the entry point with arguments."""
    before, code = sys.argv, 0
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            sys.argv = ["maggjob", *arguments]
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.argv = before
    return Done(code, out.getvalue(), err.getvalue())
