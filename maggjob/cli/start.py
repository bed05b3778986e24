"""The commands that come first: init writes a configuration, completion teaches a shell the commands."""

import os
import shlex
from pathlib import Path

import click

from maggjob.cli.options import Words
from maggjob.errors import ConfigError, ExistsError, InputError
from maggjob.inputs.places import local_place

SHELLS = Words("bash|zsh|fish", ("bash", "zsh", "fish"))
LITHOPS_FILE = "lithops_config.yaml"
HEAD = """\
# Configuration of maggjob, from the built-in {name}. Change it, then type
#
#     maggjob {command} --config {file}
#
# A key that is misspelt is an error, which names those that exist.

"""


@click.command("init")
@click.argument("file", default="map.yaml", metavar="[FILE]")
@click.option("--from", "name", default="atl06", show_default=True, metavar="NAME", help="Built-in configuration.")
@click.option("--lithops", is_flag=True, help=f"Write {LITHOPS_FILE} as well, if there is none.")
def init_command(file: str, name: str, lithops: bool) -> None:
    """Write a commented configuration to start from; no file is ever replaced.

    \b
    maggjob init                             # map.yaml; its result will be ./map.zarr
    maggjob init change.yaml --from atl06_trend
    maggjob init --lithops                   # and lithops_config.yaml, for workers, memory and AWS Lambda
    """  # noqa: D301
    from maggjob.backend.settings import packaged_config
    from maggjob.config.builtin import builtin_names, find_builtin, job_of
    from maggjob.config.load import COMMANDS

    path, source = local_place(file, "configuration"), find_builtin(name, None)
    if source is None:
        raise ConfigError(f"no built-in configuration {name!r}; there are {', '.join(builtin_names(None))}")
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise InputError(f"cannot write {path}: give a name that ends in .yaml")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    command = COMMANDS[job_of(source)]
    head = HEAD.format(name=source.stem, command=command, file=path)
    _write_new(path, head + source.read_text(encoding="utf-8"))
    click.echo(
        f"{path}: a copy of the built-in {source.stem}; next: maggjob {command} --config {shlex.quote(str(path))}"
    )
    if not lithops:
        return
    # Lithops' configuration is looked for here, wherever the other file is.
    beside = Path(LITHOPS_FILE)
    if beside.exists():
        click.echo(f"{beside}: there already, left as it is")
        return
    _write_new(beside, packaged_config().read_text(encoding="utf-8"))
    click.echo(f"{beside}: for AWS Lambda, fill in what says CHANGE-ME, or type 'maggjob doctor'")


def _write_new(path: Path, text: str) -> None:
    """Write a file that does not exist yet, whole or not at all.

    Raises
    ------
    ExistsError
        If it does.
    InputError
        If it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        raise ExistsError(f"{path} exists and is not replaced; give another name") from None
    except OSError as problem:
        raise InputError(f"cannot write {path}: {problem.strerror}; give another place") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as problem:
        path.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {problem.strerror}; give another place") from None


@click.command("completion")
@click.argument("shell", type=SHELLS, metavar=SHELLS.name)
def completion_command(shell: str) -> None:
    """Print the script that lets a shell complete commands, options and their values.

    \b
    maggjob completion bash >> ~/.bashrc
    maggjob completion zsh >> ~/.zshrc
    maggjob completion fish > ~/.config/fish/completions/maggjob.fish
    """  # noqa: D301
    from click.shell_completion import get_completion_class

    from maggjob.cli.commands import cli

    kind = get_completion_class(shell)
    if kind is None or shell not in SHELLS.words:
        raise InputError(f"shell {shell!r} is unknown; known are {', '.join(SHELLS.words)}")
    click.echo(kind(cli, {}, "maggjob", "_MAGGJOB_COMPLETE").source())
