"""The group of all commands: imported only when they are used, and listed by topic.

``maggjob --help`` and the completion of a shell import no command: they read the table here.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from maggjob.cli.options import EXIT_DONE


@dataclass(frozen=True)
class Entry:
    """A command that is imported when it is used."""

    module: str
    """Module in this room."""
    name: str
    """Name of the command in the module."""
    help: str
    """What it does, in some ten words."""


TOPICS: Mapping[str, Mapping[str, Entry]] = {
    "From nothing to a map": {
        "demo": Entry("commands", "demo", "run the whole job on simulated granules, in a minute"),
        "init": Entry("start", "init_command", "write a commented configuration to start from"),
        "catalog": Entry("commands", "catalog", "list granules and the cells that they cover"),
        "plan": Entry("commands", "plan", "estimate a run: cells, granules, time, cost"),
        "run": Entry("commands", "run", "run the job: read, bin, reduce, write"),
        "status": Entry("results", "status_command", "show the progress of a run, or its outcome"),
    },
    "Results": {
        "view": Entry("view", "view_command", "draw a map of a result, or write a page to pan and zoom"),
        "report": Entry("results", "report_command", "show what is known of a finished run; a page with -o"),
        "export": Entry("results", "export_command", "write GeoTIFF, netCDF, GeoParquet or CSV"),
        "verify": Entry("results", "verify_command", "check that a result is still what its run wrote"),
        "clean": Entry("results", "clean_command", "delete the parts of a finished run; the Zarr stays"),
    },
    "Change": {
        "update": Entry("change", "update_command", "bring a result up to date: new cycles, late granules"),
        "retry": Entry("results", "retry_command", "map the failed and partial cells of a result again"),
        "history": Entry("change", "history_command", "show the runs and updates that made a result"),
        "basins": Entry("change", "basins_command", "mean rate and volume change of drainage basins"),
    },
    "Other jobs": {
        "series": Entry("jobs", "series", "time series of means of gridded granules"),
        "scenes": Entry("jobs", "scenes", "merge and clip satellite scenes to regions, by day"),
    },
    "Simulated data": {
        "simulate": Entry("commands", "simulate", "write granules of ICESat-2 with an invented surface"),
        "simulate-sst": Entry("jobs", "simulate_sst_command", "write daily fields of sea surface temperature"),
        "simulate-scenes": Entry("jobs", "simulate_scenes_command", "write scenes of three tiles in Greenland"),
    },
    "AWS Lambda": {
        "cloud": Entry("cloud", "cloud_commands", "set up AWS Lambda, look at it, stop it, take it down"),
        "bills": Entry("bills", "bills_command", "sum what runs have cost, by user"),
        "doctor": Entry("aws", "doctor_command", "check what a run on AWS Lambda needs"),
        "runtime": Entry("aws", "runtime_commands", "build, deploy and delete the image of the worker"),
    },
    "This program": {
        "completion": Entry("start", "completion_command", "print the script that lets a shell complete commands"),
    },
}
"""All commands by topic, in the order in which they are listed."""
_ENTRIES = {name: entry for entries in TOPICS.values() for name, entry in entries.items()}


def _with_exit_codes(command: click.Command) -> click.Command:
    """Return a command whose help, and that of its own commands, says what its exit codes mean."""
    every = command.commands.values() if isinstance(command, click.Group) else [command]
    for one in every:
        one.epilog = one.epilog or EXIT_DONE
    return command


class LazyCommands(MutableMapping[str, click.Command]):
    """Commands by name; those of `TOPICS` are imported when they are asked for."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            entry = _ENTRIES[name]
            found = getattr(import_module(f"maggjob.cli.{entry.module}"), entry.name)
            self._loaded.setdefault(name, _with_exit_codes(found))
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = _with_exit_codes(command)

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in _ENTRIES or name in self._loaded

    def __iter__(self) -> Iterator[str]:
        return iter([*_ENTRIES, *(name for name in self._loaded if name not in _ENTRIES)])

    def __len__(self) -> int:
        return len(list(iter(self)))


class Commands(click.Group):
    """A group whose default command is ``run``: ``maggjob --config X`` runs the job."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``run`` before options that are not those of the group.

        Parameters
        ----------
        ctx : click.Context
        args : list of str
        """
        own = {"--help", "-h", "--version"}
        if args and args[0].startswith("-") and args[0] not in own:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands in the order of `TOPICS`."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by topic.

        Parameters
        ----------
        ctx : click.Context
        formatter : click.HelpFormatter
        """
        topics = {topic: {name: one.help for name, one in entries.items()} for topic, entries in TOPICS.items()}
        others = [name for name in self.commands if name not in _ENTRIES]
        if others:
            topics["Others"] = {name: self.commands[name].get_short_help_str(100) for name in others}
        width = max(map(len, self.commands))
        for topic, entries in topics.items():
            with formatter.section(topic):
                formatter.write_dl([(name.ljust(width), text) for name, text in entries.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin like what has been typed.

        Parameters
        ----------
        ctx : click.Context
        incomplete : str
            What has been typed.
        """
        names = [name for name in self.commands if name.startswith(incomplete)]
        found = [CompletionItem(name, help=_ENTRIES[name].help if name in _ENTRIES else None) for name in names]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]
