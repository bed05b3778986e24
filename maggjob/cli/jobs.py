"""The commands of the other jobs: series of gridded products, and scenes of regions."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from maggjob.cli.results import COMPLETE, INCOMPLETE, on_lambda
from maggjob.inputs.places import local_place

Command = TypeVar("Command", bound=Callable[..., Any])


def _how(command: Command) -> Command:
    """Add the options that every job has."""
    options = [
        click.option(
            "--backend", default="localhost", show_default=True, is_eager=True, help="localhost, aws_lambda, or serial."
        ),
        on_lambda,
        click.option("--overwrite", is_flag=True, help="Replace a series that was made with another configuration."),
        click.option("--dry-run", is_flag=True, help="Only find the granules, and print what they would cost."),
        click.option(
            "--region", metavar="NAME", help="Region of the buckets [default: environment, profile, us-west-2]."
        ),
        click.option(
            "--lithops-config", metavar="FILE", help="Lithops configuration [default: ./lithops_config.yaml]."
        ),
        click.option(
            "--deadline", type=float, default=21600.0, show_default=True, metavar="S", help="Give up after S seconds."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command("simulate-sst")
@click.argument("folder", metavar="DIR")
@click.option("--start", required=True, metavar="DAY", help="First day, such as 2019-01-01.")
@click.option("--end", required=True, metavar="DAY", help="Last day.")
@click.option(
    "--every", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="N times 0.25 degrees."
)
@click.option("--skip", multiple=True, metavar="DAY", help="Day to leave out.")
def simulate_sst_command(folder: str, **options: Any) -> None:
    """Write simulated daily fields of sea surface temperature, in the layout of MUR25, whose mean is known.

    \b
    maggjob simulate-sst sst --start 2019-01-01 --end 2019-12-31 --every 4
    """  # noqa: D301
    from maggjob.simulator.sst import simulate_sst

    paths = simulate_sst(local_place(folder, "folder"), **options)
    click.echo(f"{folder}: {len(paths):,} granules, {sum(path.stat().st_size for path in paths) / 1e6:,.1f} MB")


@click.command()
@click.option("--config", required=True, metavar="FILE", help="Configuration of a series, or name of a built-in one.")
@click.option("--start", required=True, metavar="DAY", help="First day, such as 2019-01-01.")
@click.option("--end", required=True, metavar="DAY", help="Last day.")
@click.option("--files", multiple=True, metavar="PLACE", help="Folder, pattern or file, in place of a search of CMR.")
@click.option("--store", metavar="PATH", help="Zarr [default: the configuration's, or ./<config>.zarr].")
@click.option("--driver", metavar="NAME", help="s3 or https [default: the configuration's].")
@_how
def series(files: tuple[str, ...], dry_run: bool, **options: Any) -> None:
    """Make a time series of area-weighted means of gridded granules: a Zarr, a netCDF and a picture.

    The same command with a later --end reads only the granules that are new.

    \b
    maggjob series --config mur25_sst.yaml --start 2019-01-01 --end 2019-12-31
    """  # noqa: D301
    from maggjob.pipeline.series import SeriesResult, series as make
    from maggjob.show.series_text import plan_lines, result_lines

    done = make(**options, files=files or None, dry_run=dry_run)
    if isinstance(done, SeriesResult):
        click.echo("\n".join(result_lines(done)))
        sys.exit(COMPLETE if done.complete else INCOMPLETE)
    click.echo("\n".join(plan_lines(done)))


@click.command()
@click.option("--config", required=True, metavar="FILE", help="Configuration of scenes, or name of a built-in one.")
@click.option("--regions", required=True, metavar="FILE", help="GeoPackage, shapefile or GeoJSON with the regions.")
@click.option("--names", metavar="NAMES", help="Names of regions, with commas [default: all].")
@click.option("--start", required=True, metavar="DAY", help="First day, such as 2023-07-01.")
@click.option("--end", required=True, metavar="DAY", help="Last day.")
@click.option("--items", metavar="FILE", help="File of STAC items, in place of a search.")
@click.option(
    "--store", metavar="PATH", help="Folder or prefix of the results [default: the configuration's, or ./scenes]."
)
@_how
def scenes(dry_run: bool, **options: Any) -> None:
    """Merge and clip satellite scenes to regions, day by day: GeoTIFFs, STAC items, an index and a contact sheet.

    The same command with a later --end makes only what is new.

    \b
    maggjob scenes --config sentinel2.yaml --regions glaciers.gpkg --names 134_Arsuk \\
        --start 2023-07-01 --end 2023-07-31
    """  # noqa: D301
    from maggjob.pipeline.scenes import ScenesResult, scenes as make
    from maggjob.show.scenes_text import plan_lines, result_lines

    done = make(**options, dry_run=dry_run)
    if isinstance(done, ScenesResult):
        click.echo("\n".join(result_lines(done)))
        sys.exit(COMPLETE if done.complete else INCOMPLETE)
    click.echo("\n".join(plan_lines(done)))


@click.command("simulate-scenes")
@click.argument("folder", metavar="DIR")
@click.option("--start", required=True, metavar="DAY", help="First day, such as 2023-07-01.")
@click.option("--end", required=True, metavar="DAY", help="Last day.")
@click.option("--every", type=click.IntRange(1), default=5, show_default=True, metavar="N", help="Days between passes.")
def simulate_scenes_command(folder: str, **options: Any) -> None:
    """Write simulated scenes of three tiles near Arsuk in Greenland, their STAC items, and two regions.

    \b
    maggjob simulate-scenes tiles --start 2023-07-01 --end 2023-07-16
    """  # noqa: D301
    from maggjob.simulator.scenes import simulate_scenes

    items = simulate_scenes(local_place(folder, "folder"), **options)
    click.echo(f"{items}: items of the scenes beside it; {items.with_name('regions.json')}: two regions")


job_commands = (series, scenes, simulate_sst_command, simulate_scenes_command)
