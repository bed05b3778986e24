"""The commands about a result or a run in progress: status, report, verify, retry, clean and basins."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar

import click

from maggjob.cli.options import (
    AREA,
    AREA_WORDS,
    EXIT_CODES,
    EXIT_FILE,
    EXIT_STATUS,
    EXIT_VERIFY,
    backend_option,
    time_option,
    variables_option,
)

COMPLETE, BAD_INPUT, INCOMPLETE, STOPPED = 0, 1, 2, 3
"""Exit codes."""


Command = TypeVar("Command", bound=Callable[..., Any])


def on_lambda(command: Command) -> Command:
    """Add the options about how many workers a command may start on Lambda, and what they may cost."""
    options = [
        click.option(
            "--max-workers",
            type=int,
            metavar="N",
            help="Concurrent workers [default: by cores and memory; on Lambda by cost].",
        ),
        click.option(
            "--max-cost",
            type=float,
            metavar="DOLLARS",
            callback=_noted,
            help="What this command may cost on Lambda: refuse a dearer plan, stop a run that would cost more.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _noted(context: click.Context, _: click.Parameter, limit: float | None) -> float | None:
    """Note that a limit is ignored where nothing costs anything."""
    backend = context.params.get("backend", "localhost")
    if limit is not None and backend in ("localhost", "local", "serial"):
        click.echo(f"note: --max-cost is ignored, as backend {backend} costs nothing", err=True)
    return limit


def tell(result: dict[str, Any], allow_partial: bool = False, again: str | None = None) -> None:
    """Print the summary of a run; exit with 2 if the run is not complete.

    Parameters
    ----------
    result : dict
        Summary, as plain values.
    allow_partial : bool
        Whether an incomplete run is accepted.
    again : str, optional
        What maps the failed cells again; by default `retry`.
    """
    from maggjob.show.text import summary

    click.echo(summary(result))
    if not result["complete"] and not allow_partial:
        click.echo(
            f"not complete: see 'failed' above, and {result['run_path']}/summary.json; " + (again or _again(result)),
            err=True,
        )
        sys.exit(INCOMPLETE)


def _again(result: dict[str, Any]) -> str:
    """Return what does again what failed."""
    if "cells" not in result:
        return "the same command, or program, does again what failed"
    return f"'maggjob retry {result['store_path']}' maps the failed cells again"


@click.command("report", epilog=EXIT_FILE)
@click.argument("store")
@click.option("-o", "--out", metavar="FILE", help="Write a page instead, for any browser: its name ends in .html.")
@click.option("--region", metavar="NAME", help="Region of the bucket [default: the environment's, or us-west-2].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: all that the page shows.")
def report_command(store: str, out: str | None, region: str | None, as_json: bool) -> None:
    """Show what is known of a finished run: counts, failures, time, cost, and on a page the map and all calls.

    \b
    maggjob report atl06.zarr
    maggjob report atl06.zarr -o report.html
    """  # noqa: D301
    from maggjob.pipeline.overview_files import read_overview
    from maggjob.pipeline.status import damage_told

    if out is not None:
        from maggjob.show.report_page import write_report

        path = write_report(store, out, region)
        click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB", err=as_json)
    if as_json:
        click.echo(json.dumps(read_overview(store, region).to_dict(), indent=1))
    elif out is None:
        with damage_told(store):
            tell(dict(read_overview(store, region).summary), allow_partial=True)


@click.command("status", epilog=EXIT_STATUS)
@click.argument("store")
@click.option("--region", metavar="NAME", help="Region of the bucket [default: the environment's, or us-west-2].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status_command(store: str, region: str | None, as_json: bool) -> None:
    """Show the progress of the run of a store, or its outcome.

    \b
    maggjob status atl06.zarr                # in another terminal, during the run or after it
    """  # noqa: D301
    from maggjob.pipeline.status import read_status
    from maggjob.show.text import status_text

    found = read_status(store, region)
    click.echo(json.dumps(asdict(found), indent=1, default=datetime.isoformat) if as_json else status_text(found))
    if found.result is not None and not as_json:
        tell(dict(found.result))
    if found.stage == "stopped" or (found.result is not None and not found.result["complete"]):
        sys.exit(STOPPED if found.stage == "stopped" else INCOMPLETE)


@click.command("clean")
@click.argument("store")
def clean_command(store: str) -> None:
    """Delete the parts of a finished run; the Zarr and the summary stay.

    \b
    maggjob clean atl06.zarr
    """  # noqa: D301
    from maggjob.pipeline.result import clean as delete_parts

    click.echo(f"{store}: {delete_parts(store):,} parts and lists deleted")


@click.command("verify", epilog=EXIT_VERIFY)
@click.argument("store")
@click.option("--deep", is_flag=True, help="Read every object and compare its digest, not only its size.")
@click.option("--recompute", type=click.IntRange(0), default=0, metavar="N", help="Compute N random cells again.")
@click.option("--granules", is_flag=True, help="Ask the archive whether the granules have changed.")
@click.option("--region", metavar="NAME", help="Region of the bucket [default: the environment's, or us-west-2].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify_command(store: str, region: str | None, as_json: bool, **options: Any) -> None:
    """Check that a result is still what its run wrote, also after 'maggjob clean'.

    \b
    maggjob verify atl06.zarr
    maggjob verify atl06.zarr --deep --recompute 3 --granules
    """  # noqa: D301
    from maggjob.pipeline.checks import verify_result
    from maggjob.show.text import verification_text

    found = verify_result(store, region=region, **options)
    click.echo(json.dumps(found.to_dict(), indent=1) if as_json else verification_text(found))
    if not found.good:
        sys.exit(INCOMPLETE)


@click.command("retry", epilog=EXIT_CODES)
@click.argument("store")
@backend_option
@on_lambda
@click.option("--region", metavar="NAME", help="Region of the buckets [default: environment, profile, us-west-2].")
@click.option("--lithops-config", metavar="FILE", help="Lithops configuration [default: ./lithops_config.yaml].")
@click.option("--index/--no-index", default=None, help="Use indexes of granules [default: if it saves time].")
@click.option("--indexes", metavar="PATH", help="Where the indexes are [default: user cache, or the bucket].")
def retry_command(store: str, **options: Any) -> None:
    """Map the failed and partial cells of a result again, and publish it anew.

    Needs neither configuration nor catalog: the run keeps them beside its result.

    \b
    maggjob retry atl06.zarr
    """  # noqa: D301
    from maggjob.pipeline.cell_map import RunOptions, execute
    from maggjob.pipeline.progress import Progress
    from maggjob.pipeline.retry import retry_plan

    plan = retry_plan(store, options["region"])
    if plan is None:
        click.echo(f"{store}: complete; there is nothing to do again")
        return
    with Progress(len(plan.units)) as progress:
        result = execute(plan, RunOptions(**options), watch=progress)
    tell(result.to_dict())


@click.command("export", epilog=EXIT_FILE)
@click.argument("store")
@click.option("-o", "--out", required=True, metavar="FILE", help="FILE.tif, FILE.nc, FILE.parquet or FILE.csv.")
@variables_option("Variables to export [default: all].")
@click.option("--crs", metavar="EPSG:N", help="Reference system [default: EPSG:3031 or EPSG:3413, by hemisphere].")
@click.option(
    "--resolution", type=float, metavar="WIDTH", help="Width of a pixel, in units of --crs [default: half a cell]."
)
@click.option(
    "--aoi", type=AREA, metavar="AREA", help=f"Only cells whose centres lie in it: {AREA_WORDS} [default: all]."
)
@time_option("all")
@click.option("--group", metavar="ORDER", help="Group of a result of several orders [default: the finest].")
@click.option("--region", metavar="NAME", help="Region of the bucket [default: the environment's, or us-west-2].")
def export_command(store: str, out: str, variables: list[str] | None, **options: Any) -> None:
    """Write a result for other programs: GeoTIFF for QGIS, netCDF, GeoParquet of cells, CSV.

    \b
    maggjob export atl06.zarr -o atl06.tif --resolution 2000
    maggjob export atl06.zarr -o pine.csv --variables h_mean,count --aoi basins:22
    """  # noqa: D301
    from maggjob.show.export import export

    click.echo(export(store, out, variables, **options))
