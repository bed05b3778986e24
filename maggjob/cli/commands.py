"""The commands of the command line: each parses its options, calls a function, prints, and sets the exit code.

Exit codes: 0 complete, 1 bad usage or input, 2 finished with partial or failed cells (unless --allow-partial),
3 stopped. ``status`` exits with the code of the run, or with 0 while the run has not ended.
"""

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from maggjob.cli.groups import Commands, LazyCommands
from maggjob.cli.options import AREA, AREA_WORDS, CONFIG, EXIT_CODES, backend_option, deadline_option, driver_option
from maggjob.cli.results import BAD_INPUT, STOPPED, on_lambda, tell
from maggjob.errors import InputError, MaggjobError, StoppedError
from maggjob.icesat2.names import PRODUCT, PROVIDER, VERSION
from maggjob.inputs.places import local_place, may_replace

GO_ON = "the run is not finished; run the same command again to go on where it stopped"
Command = TypeVar("Command", bound=Callable[..., Any])


def _print_versions(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from maggjob.pipeline.record import package_versions

    click.echo("\n".join(f"{name} {version}" for name, version in package_versions().items()))
    context.exit()


@click.group(
    cls=Commands,
    commands=LazyCommands(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Show the versions of maggjob and its main packages.",
)
def cli() -> None:
    """Turn ICESat-2 ATL06 granules into a map of HEALPix cells.

    \b
    maggjob demo                             # run the whole job on simulated granules, in a minute
    maggjob catalog --cycle 22               # list the granules with NASA's CMR: catalog.json
    maggjob plan --config atl06              # estimate time and cost
    maggjob --config atl06                   # run the job: ./atl06.zarr
    maggjob status atl06.zarr                # show its progress, from another terminal
    maggjob view atl06.zarr -o map.png       # draw a map; view.html is a page to zoom into
    maggjob report atl06.zarr -o report.html # what the run did, and what it took

    Every command takes --help, and --debug, which shows the traceback of an error.
    """  # noqa: D301


def _what(command: Command) -> Command:
    """Add the options that select what to work on."""
    options = [
        click.option(
            "--config", required=True, type=CONFIG, metavar="FILE", help="Configuration file, or built-in: atl06, ..."
        ),
        click.option("--catalog", metavar="FILE", help="Catalog [default: the configuration's, or ./catalog.json]."),
        click.option("--store", metavar="PATH", help="Zarr [default: the configuration's, or ./<config>.zarr]."),
        driver_option,
        click.option("--max-cells", type=int, metavar="N", help="Only the N cells with the most granules."),
        click.option("--morton-cell", metavar="ID", help="Only this cell, such as -6134114."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command(epilog=EXIT_CODES)
@_what
@backend_option
@on_lambda
@click.option("--restart", is_flag=True, help="Drop the parts of an unfinished run, and start anew.")
@click.option("--overwrite", is_flag=True, help="Replace an existing store once the new one is complete.")
@click.option("--index/--no-index", default=None, help="Build and use indexes of granules [default: if it saves time].")
@click.option("--indexes", metavar="PATH", help="Where to keep indexes [default: user cache, or the bucket].")
@click.option("--dry-run", is_flag=True, help="Only print what the run would do.")
@click.option("--region", metavar="NAME", help="Region of the buckets [default: environment, profile, us-west-2].")
@click.option("--lithops-config", metavar="FILE", help="Lithops configuration [default: ./lithops_config.yaml].")
@deadline_option
@click.option("--allow-partial", is_flag=True, help="Accept partial and failed cells: exit with 0, and overwrite.")
def run(dry_run: bool, **options: Any) -> None:
    """Run the job: read, bin, reduce, write.

    \b
    maggjob run --config atl06.yaml --catalog catalog.json --store map.zarr
    maggjob run --config atl06.yaml --morton-cell -6134114 --store one.zarr
    maggjob run --config atl06.yaml --max-cells 5 --dry-run
    """  # noqa: D301
    from maggjob.backend.settings import resolve_backend
    from maggjob.pipeline.assembling import describe
    from maggjob.pipeline.cell_map import RunOptions, execute, plan_run
    from maggjob.pipeline.progress import Progress
    from maggjob.pipeline.reach import check_reach
    from maggjob.show.text import plan_text

    how = RunOptions.taken_from(options)
    plan = plan_run(**options, watch=_paging)
    _tell_notes(plan.catalog)
    if dry_run:
        check_reach(resolve_backend(how.backend), describe(plan, how.indexes))
        click.echo(plan_text(plan))
        return
    with Progress(len(plan.units)) as progress:
        result = execute(plan, how, watch=progress)
    tell(result.to_dict(), how.allow_partial)


@cli.command()
@_what
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Workers on Lambda [default: chosen by cost].")
@click.option("--map", "picture", metavar="PNG", help="Draw a map of area, cells and, of a search, tracks.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(as_json: bool, workers: int | None, picture: str | None, **options: Any) -> None:
    """Estimate a run without starting it: cells, granules, pairs, time, cost.

    \b
    maggjob plan --config atl06.yaml --catalog catalog.json
    maggjob plan --config atl06.yaml --catalog catalog.json --workers 500 --map plan.png
    """  # noqa: D301
    from maggjob.pipeline.cell_map import plan_run
    from maggjob.show.plan_map import draw_plan
    from maggjob.show.text import plan_dict, plan_text

    plan = plan_run(**options, watch=_paging)
    _tell_notes(plan.catalog)
    click.echo(json.dumps(plan_dict(plan, workers), indent=1) if as_json else plan_text(plan, workers))
    if picture is not None:
        draw_plan(plan, picture)
        click.echo(f"map       {picture}", err=as_json)


def _tell_notes(catalog: Any) -> None:
    """Print the notes about how a catalog was made."""
    for note in catalog.notes():
        click.echo(f"note: {note}", err=True)


def _paging(came: int, total: int) -> None:
    """Print how many granules CMR has listed so far."""
    click.echo(f"CMR: {came:,} of {total:,} granules listed", err=True)


@cli.command()
@click.option("--cycle", type=int, metavar="N", help="91-day repeat cycle, as in the granule names.")
@click.option("--cycles", metavar="A-B", help="First and last cycle.")
@click.option("--start", metavar="DATE", help="First day (2024-01-31), instead of cycles.")
@click.option("--end", metavar="DATE", help="Last day.")
@click.option("--aoi", type=AREA, metavar="AREA", help=f"Area of the search: {AREA_WORDS} [default: antarctica].")
@click.option("--south-of", type=float, metavar="LAT", hidden=True)
@click.option("--north-of", type=float, metavar="LAT", hidden=True)
@click.option("--short-name", metavar="NAME", help=f"Product [default: {PRODUCT}].")
@click.option("--version", metavar="VVV", help=f"Version of the product [default: {VERSION}].")
@click.option("--provider", metavar="NAME", help=f"Provider in CMR [default: {PROVIDER}].")
@click.option("--swath-buffer-km", type=float, metavar="KM", help="Distance by which to widen footprints [default: 0].")
@click.option("--endpoint", metavar="URL", help="URL of another CMR than NASA's.")
@click.option(
    "--from-records", "records", multiple=True, metavar="FILE", help="Saved pages of CMR's answer, instead of a search."
)
@click.option("--from-files", "places", multiple=True, metavar="DIR|GLOB", help="Local granules, instead of a search.")
@click.option(
    "--config",
    default="atl06",
    show_default=True,
    type=CONFIG,
    metavar="FILE",
    help="Configuration with the grid and the coordinates.",
)
@click.option("--out", default="catalog.json", show_default=True, metavar="FILE", help="Catalog to write.")
@click.option("--skip-unreadable", is_flag=True, help="Leave out granules and records that cannot be read.")
@click.option("--info", metavar="FILE", help="Only show the content of a catalog.")
def catalog(
    places: tuple[str, ...],
    records: tuple[str, ...],
    config: str,
    out: str,
    info: str | None,
    skip_unreadable: bool,
    **asked: Any,
) -> None:
    """List granules and the cells that they cover.

    \b
    maggjob catalog --cycle 22                              # Antarctica, from NASA's CMR
    maggjob catalog --cycles 21-22 --aoi basins:2,17 --out ross.json
    maggjob catalog --from-files ~/granules
    maggjob catalog --info catalog.json
    """  # noqa: D301
    from maggjob.catalog.find import find_catalog, make_catalog
    from maggjob.show.text import catalog_text

    if info is not None:
        given = [name for name, value in (asked | {"from_files": places, "from_records": records}).items() if value]
        if given:
            raise InputError(
                f"--info only shows a catalog and does not search; leave --{given[0].replace('_', '-')} out"
            )
        from maggjob.catalog.file import read_catalog

        click.echo(catalog_text(read_catalog(info)))
        return
    search = {name: value for name, value in asked.items() if value is not None}
    areas = [(name, search.pop(name)) for name in ("south_of", "north_of") if name in search]
    if len(areas) + ("aoi" in search) > 1:
        raise InputError("--aoi, --south-of and --north-of all set the area; give one of them")
    for name, latitude in areas:
        search["aoi"] = f"{name.replace('_', '-')}:{latitude}"
    if places:
        unused = sorted(search.keys() - {"aoi"}) + ["from_records"] * bool(records)
        if unused:
            raise InputError(
                f"--from-files lists local granules and does not search; leave --{unused[0].replace('_', '-')} out"
            )
        catalog = make_catalog(places, config, aoi=search.get("aoi"), skip_unreadable=skip_unreadable)
    else:
        catalog = find_catalog(
            config, records=records or None, watch=_paging, skip_unreadable=skip_unreadable, **search
        )
    catalog.write(out)
    click.echo(f"{out}: {len(catalog.granules):,} granules in {len(catalog.cells):,} cells, {catalog.pairs:,} pairs")
    _tell_notes(catalog)


@cli.command()
@click.argument("folder", metavar="DIR")
@click.option(
    "--cycle", "cycles", type=int, multiple=True, default=(22,), show_default=True, metavar="N", help="91-day cycle."
)
@click.option(
    "--region",
    "regions",
    type=int,
    multiple=True,
    default=(10, 11, 12),
    show_default=True,
    metavar="N",
    help="Along-track region, 1 to 14.",
)
@click.option("--aoi", type=AREA, metavar="AREA", help=f"Omit segments outside this area: {AREA_WORDS}.")
@click.option("--area", type=float, nargs=4, metavar="W S E N", hidden=True)
@click.option(
    "--rgt", "rgts", type=int, multiple=True, metavar="N", help="Reference ground track, 1 to 1387 [default: all]."
)
@click.option(
    "--every", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Keep every N-th segment."
)
@click.option("--most", type=click.IntRange(1), metavar="N", help="At most N granules per cycle.")
@click.option("--everything", is_flag=True, help="Write all datasets of a native granule, not only the main ones.")
@click.option("--pass-bias", type=float, default=0.0, show_default=True, metavar="METRES", help="Bias of each pass.")
@click.option("--cycle-bias", type=float, default=0.0, show_default=True, metavar="METRES", help="Bias of each cycle.")
@click.option(
    "--dem-error", type=float, default=0.0, show_default=True, metavar="METRES", help="Smooth error of dem_h."
)
@click.option("--flips", is_flag=True, help="Let the orientation (sc_orient) flip every 251 days.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the random numbers.")
@click.option("--records", metavar="FILE", help="Also write CMR-like records of the granules as JSON.")
def simulate(folder: str, records: str | None, **options: Any) -> None:
    """Write simulated granules with real geometry and an invented surface.

    \b
    maggjob simulate granules --aoi -108,-76.5,-98,-73.6 --every 5 --most 60
    maggjob simulate granules --rgt 858 --region 11          # one granule of full size

    Biases and errors are random, with these standard deviations.
    """  # noqa: D301
    from maggjob.cli.places import area_of
    from maggjob.simulator.scene import Scene, cmr_records, simulate as write

    options["rgts"] = options["rgts"] or None
    options["area"] = area_of(options.pop("aoi"), options["area"])
    listed = None if records is None else local_place(records, "records")
    if listed is not None:
        may_replace(listed, (b'{"hits"', b'{"items"'), "list of records")
    paths = write(folder, Scene(**options))
    if listed is not None:
        try:
            listed.write_text(json.dumps(cmr_records(paths)), encoding="utf-8")
        except OSError as problem:
            raise InputError(f"cannot write records to {records}: {problem}; give another file") from problem
    size = sum(path.stat().st_size for path in paths) / 1e6
    click.echo(f"{folder}: {len(paths):,} granules, {size:,.1f} MB")


@cli.command(epilog=EXIT_CODES)
@click.argument("folder", default="demo", metavar="[DIR]")
def demo(folder: str) -> None:
    """Run the whole job on simulated granules: simulate, catalogue, run, draw a map.

    \b
    maggjob demo
    """  # noqa: D301
    from maggjob.cli.demo import demo as show
    from maggjob.pipeline.progress import Progress

    result, picture = show(folder, click.echo, Progress)
    tell(result.to_dict())
    click.echo(f"picture       {picture}")
    opening = f"import maggjob; print(maggjob.open_result('{result.store_path}'))"
    click.echo(f'open it       {sys.executable} -c "{opening}"')


def main() -> None:
    """Run the command line; print an error as one line and exit with its code."""
    from maggjob.inputs.stopping import stop_on_signals
    from maggjob.storage.owner import sweep

    debug = "--debug" in sys.argv
    # A killed run may have left credentials: whatever command comes next removes them.
    sweep()
    try:
        # A command that writes a file leaves no half of it behind.
        with stop_on_signals():
            cli.main([arg for arg in sys.argv[1:] if arg != "--debug"], standalone_mode=False)
    except (click.Abort, KeyboardInterrupt) as stop:
        click.echo(str(stop) or "stopped", err=True)
        if getattr(stop, "unfinished", False):
            click.echo(GO_ON, err=True)
        sys.exit(STOPPED)
    except click.ClickException as problem:
        problem.show()
        sys.exit(BAD_INPUT)
    except Exception as problem:
        if debug:
            raise
        text = f"{type(problem).__name__}: {problem} (an error in maggjob itself; --debug shows the traceback)"
        click.echo(f"error: {problem if isinstance(problem, MaggjobError) else text}", err=True)
        unfinished = isinstance(problem, StoppedError) or getattr(problem, "unfinished", False)
        if unfinished:
            click.echo(GO_ON, err=True)
        sys.exit(STOPPED if unfinished else BAD_INPUT)
