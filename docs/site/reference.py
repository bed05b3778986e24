"""Text of the reference pages, made from the code: commands, configuration, statistics, ledger, exit codes, API."""

import inspect
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import click
import pydantic

import maggjob
from maggjob.cli.commands import cli
from maggjob.cli.results import BAD_INPUT, COMPLETE, INCOMPLETE, STOPPED
from maggjob.config.schema import Config
from maggjob.statistics.functions import FUNCTIONS

sys.path.insert(0, str(Path(__file__).parent))

import schema

ROOT = Path(__file__).resolve().parents[2]
TOPICS = {
    "From a search to a map": "find_catalog make_catalog plan Plan run execute RunResult retry read_status",
    "Results": "open_result draw_map write_page write_report export difference basins ledger verify_result history "
    "HistoryEntry",
    "Updates": "plan_update UpdatePlan update",
    "With Lithops by hand": "tasks task CellTask Granule map_cell CellReport reduce_tally Tally assemble_run "
    "archive_credentials lithops_config area_cells",
    "Other jobs": "series scenes session open_granule",
    "Configuration and simulation": "load_config Config simulate simulate_sst",
}


def text_of(name: str) -> str:
    """Return a generated part of a page."""
    return PARTS[name]()


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in lines
    )


# --- Python


def python() -> str:
    """Return the public names by topic, each topic with a table of contents; those that no topic has come last."""
    left = [name for name in maggjob.__all__ if name not in " ".join(TOPICS.values()).split()]
    topics = {**TOPICS, **({"More": " ".join(left)} if left else {})}
    parts = []
    for topic, names in topics.items():
        paths = {name: f"{getattr(maggjob, name).__module__}.{name}" for name in names.split()}
        rows = [(f"[`{name}`](#{path})", first_sentence(getattr(maggjob, name))) for name, path in paths.items()]
        parts += [f"## {topic}", table(("name", "what it is for"), rows)]
        parts += [f"::: {path}" for path in paths.values()]
    return "\n\n".join(parts)


def first_sentence(named: object) -> str:
    """Return the first sentence of a docstring."""
    text = " ".join((inspect.getdoc(named) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", text)[0].replace("``", "`")


# --- Commands


def every_command(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield each command with its full name."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from every_command(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def commands() -> str:
    """Return the help of every command."""
    parts = []
    for name, command in every_command(cli, "maggjob"):
        context = click.Context(command, info_name=name, max_content_width=100)
        parts.append(f"## {name}\n\n```\n{command.get_help(context).rstrip()}\n```")
    return "\n\n".join(parts)


# --- Configuration


def models_in(annotation: object) -> list[type[pydantic.BaseModel]]:
    """Return the models that the type of a key names."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in models_in(argument)]


def type_name(annotation: object) -> str:
    """Return the type of a key in the words of YAML."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin is typing.Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_name(one) for one in arguments))
    if origin in (tuple, list, frozenset):
        return f"list of {type_name(arguments[0])}" if arguments else "list"
    if origin is not None and issubclass(origin, dict | typing.Mapping):
        return f"mapping of names to {type_name(arguments[1])}"
    if models_in(annotation):
        return "mapping"
    words = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "NoneType": "nothing"}
    return words.get(getattr(annotation, "__name__", ""), "value")


def default_of(field: pydantic.fields.FieldInfo) -> str:
    """Return the default of a key; empty where a value is required or the default is a whole section."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, pydantic.BaseModel):
        return ""
    return "none" if value is None else f"`{value}`"


def keys(model: type[pydantic.BaseModel], path: str, seen: tuple[type, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the keys of a section and of those in it."""
    for name, field in model.model_fields.items():
        key = f"{path}.{field.alias or name}".lstrip(".")
        inner = [one for one in models_in(field.annotation) if one not in seen]
        below = f"{key}.NAME" if typing.get_origin(field.annotation) is dict else key
        yield key_code(key), type_name(field.annotation), default_of(field), " ".join((field.description or "").split())
        for one in inner:
            yield from keys(one, below, (*seen, one))


def key_code(key: str) -> str:
    """Return a key as code that a narrow column may break at its dots."""
    return f"<code>{key.replace('.', '.<wbr>')}</code>"


def configuration() -> str:
    """Return a table of all keys of a configuration, one section per part of the file."""
    parts = []
    for name, field in Config.model_fields.items():
        meaning = " ".join((field.description or "").split())
        rows = [(key_code(name), type_name(field.annotation), default_of(field), meaning)]
        for model in models_in(field.annotation):
            rows += keys(model, name, (model,))
        parts.append(f"## {name}\n\n" + table(("key", "type", "default", "meaning"), list(dict.fromkeys(rows))))
    return "\n\n".join(parts)


# --- Statistics


STATISTICS = {
    "count": "number of segments; with a source that may be missing, of those that have it",
    "len": "number of segments",
    "nunique": "number of different values, such as of `rgt`",
    "min": "smallest value; one bad segment decides it",
    "max": "largest value; one bad segment decides it",
    "sum": "sum, in float64 or, of a column of integers with an integer `dtype`, exact",
    "mean": "arithmetic mean",
    "average": "Σ w x / Σ w with `weights` w, such as `1.0 / s_li**2`; without them the mean",
    "median": "middle value, or the mean of the two in the middle",
    "std": "√var: the spread within the cell, which is mostly slope, not the error of the mean",
    "var": "Σ (x - mean)² / (n - `ddof`), `ddof` 0 by default; NaN where n ≤ `ddof`",
    "quantile": "linear interpolation as by `numpy.quantile`; a list of `q` makes one variable each",
    "mad": "median of abs(x - median); a spread that outliers do not move",
    "nmad": "1.4826 mad, the standard deviation if the values are normal (Höhle and Höhle 2009)",
    "mode": "centre of the fullest bin of `bin_width`; the lowest of several; bins begin at multiples of the width",
    "skewness": "Fisher-Pearson g₁ = m₃ / m₂^1.5; with `bias: false` G₁ of Joanes and Gill (1998), from three segments",
    "weighted_median": "smallest value up to which the weights are at least half of all (Cormen et al., problem 9-2)",
    "fit": "least squares with errors clustered by pass (Liang and Zeger 1986); several variables, see below",
}
"""What each statistic of the values x of the segments of a cell is, and where it misleads."""


def statistics() -> str:
    """Return a table of all statistics."""
    if STATISTICS.keys() != FUNCTIONS.keys():
        raise ValueError(f"not explained, or unknown: {sorted(STATISTICS.keys() ^ FUNCTIONS.keys())}")
    rows = [
        (
            f"`{name}`",
            STATISTICS[name],
            "<br>".join(
                f"`{one}`{' (required)' if one in function.required else ''}" for one in sorted(function.params)
            ),
            _units(name),
            (function.cell_method or "").replace("_", " "),
        )
        for name, function in FUNCTIONS.items()
    ]
    return table(("`function`", "what it is", "`params`", "units", "CF cell method"), rows)


def _param(name: str, required: frozenset[str]) -> str:
    return f"`{name}`{' (required)' if name in required else ''}"


def _units(name: str) -> str:
    function = FUNCTIONS[name]
    if function.counts or function.unitless:
        return "1"
    if function.outputs:
        return "of each output"
    return "source²" if name == "var" else "of the source"


# --- Output


def output_schema() -> str:
    """Return the arrays of the result of each built-in configuration of a map."""
    parts = []
    for name, config in schema.maps().items():
        order = config.output.grid.child_order
        orders = order if isinstance(order, int) else ", ".join(map(str, order))
        parts.append(f"### {name}\n\nGroup `{orders}`:\n\n{table(schema.HEAD, schema.rows_of(config))}")
    return "\n\n".join(parts)


def attributes(meanings: dict[str, str]) -> str:
    """Return a table of attributes."""
    return table(("attribute", "meaning"), [(f"`{name}`", text) for name, text in meanings.items()])


def ledger() -> str:
    """Return the table of the ledger's columns, as the page about the output has it."""
    page = (ROOT / "docs" / "output.md").read_text(encoding="utf-8")
    section = page[page.index("### The ledger as a table") :]
    found = re.search(r"^\| column .*?(?=^$)", section, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError("docs/output.md has no table of the ledger's columns")
    return found[0].strip()


def exit_codes() -> str:
    """Return the exit codes in general, and those of each command."""
    meanings = {
        COMPLETE: "complete",
        BAD_INPUT: "wrong usage or input, no login, a store or backend that cannot be used; nothing was written",
        INCOMPLETE: "finished, with partial or failed cells, or `verify` found a difference; 0 with `--allow-partial`",
        STOPPED: "stopped: from the keyboard, by a signal, or by an error after the run had begun; repeat the command",
    }
    general = table(("exit code", "meaning"), [(str(code), text) for code, text in sorted(meanings.items())])
    of: dict[str, list[str]] = {}
    for name, command in every_command(cli, "maggjob"):
        of.setdefault(str(command.epilog), []).append(f"`{name.removeprefix('maggjob ')}`")
    parts = [general, "## By command", "As the help of each command says:"]
    for epilog, names in sorted(of.items(), key=lambda one: one[1]):
        own = re.findall(r"^  (\d)  (.+)$", epilog, re.MULTILINE)
        parts += [", ".join(names) + ":", table(("exit code", "meaning"), own)]
    return "\n\n".join(parts)


def file(name: str) -> str:
    """Return a file of the root of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def builtin() -> str:
    """Return the built-in configurations."""
    paths = sorted((ROOT / "configs").glob("*.yaml"))
    return "\n\n".join(f"### {path.stem}\n\n```yaml\n{path.read_text('utf-8').rstrip()}\n```" for path in paths)


def errors() -> str:
    """Return the errors of maggjob with the reason that the ledger and the summary give for each."""
    import maggjob.errors as module

    rows = []
    for name, kind in inspect.getmembers(module, inspect.isclass):
        if issubclass(kind, module.MaggjobError):
            meaning = textwrap.dedent(kind.__doc__ or "").strip().split("\n\n")[0]
            rows.append(
                (f"`{name}`", f"`{kind.reason}`" if getattr(kind, "reason", None) else "", " ".join(meaning.split()))
            )
    return table(("error", "reason in the ledger", "meaning"), rows)


PARTS = {
    "python": python,
    "commands": commands,
    "configuration": configuration,
    "statistics": statistics,
    "output-schema": output_schema,
    "output-attributes": lambda: attributes(schema.GROUP),
    "output-root": lambda: attributes(schema.ROOT),
    "ledger": ledger,
    "exit-codes": exit_codes,
    "changelog": lambda: file("CHANGELOG.md"),
    "contributing": lambda: file("CONTRIBUTING.md"),
    "builtin": builtin,
    "errors": errors,
}
"""Generated parts by name."""
