"""The commands about change: update, history and basins."""

import json
from dataclasses import asdict
from typing import Any

import click

from maggjob.cli.results import on_lambda, tell
from maggjob.errors import InputError


@click.command("update")
@click.argument("store")
@click.option("--catalog", metavar="FILE", help="Catalog of everything [default: ask as the result's own catalog did].")
@click.option("--config", metavar="FILE", help="Configuration, to be checked [default: the result's own].")
@click.option("--cycles", metavar="A-B", help="First and last cycle to search for [default: as before].")
@click.option("--aoi", metavar="AREA", help="Area of the search [default: as before].")
@click.option("--end", metavar="DATE", help="Last day to search for, if the search is by days [default: as before].")
@click.option("--withdrawn", is_flag=True, help="Accept that granules of the result are missing from the catalog.")
@click.option("--allow-partial", is_flag=True, help="Accept partial and failed cells: publish, and exit with 0.")
@click.option("--dry-run", is_flag=True, help="Only print what the update would do.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (with --dry-run).")
@click.option(
    "--backend", default="localhost", show_default=True, is_eager=True, help="localhost, aws_lambda, or serial."
)
@on_lambda
@click.option("--region", metavar="NAME", help="Region of the buckets [default: environment, profile, us-west-2].")
@click.option("--lithops-config", metavar="FILE", help="Lithops configuration [default: ./lithops_config.yaml].")
@click.option("--index/--no-index", default=None, help="Use indexes of granules [default: if it saves time].")
@click.option("--indexes", metavar="PATH", help="Where the indexes are [default: user cache, or the bucket].")
def update_command(
    store: str,
    catalog: str | None,
    config: str | None,
    cycles: str | None,
    aoi: str | None,
    end: str | None,
    withdrawn: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Bring a result up to date: new cycles, revised, late and withdrawn granules, and nothing else.

    \b
    maggjob update dh.zarr --cycles 18-24 --dry-run    # what would be done
    maggjob update dh.zarr --cycles 18-24
    maggjob update dh.zarr --catalog all.json
    """  # noqa: D301
    from maggjob.pipeline.cell_map import RunOptions
    from maggjob.pipeline.progress import Progress
    from maggjob.pipeline.update import carry_out, plan_update
    from maggjob.show.text import update_dict, update_text

    search: dict[str, Any] = {
        n: value for n, value in {"cycles": cycles, "aoi": aoi, "end": end}.items() if value is not None
    }
    region = options["region"]
    found = plan_update(store, catalog=catalog, config=config, withdrawn=withdrawn, region=region, **search)
    click.echo(json.dumps(update_dict(found), indent=1) if as_json else update_text(found))
    if dry_run or found.nothing:
        return
    with Progress(len(found.mapped)) as progress:
        result = carry_out(found, RunOptions(**options), watch=progress)
    tell(result.to_dict(), options["allow_partial"], f"'maggjob update {store}' maps the failed cells again")


@click.command("history")
@click.argument("store")
@click.option("--region", metavar="NAME", help="Region of the bucket [default: the environment's, or us-west-2].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def history_command(store: str, region: str | None, as_json: bool) -> None:
    """Show the runs and updates that made a result.

    \b
    maggjob history dh.zarr
    """  # noqa: D301
    from maggjob.pipeline.history import history
    from maggjob.show.text import history_text

    found = history(store, region)
    click.echo(json.dumps([asdict(entry) for entry in found], indent=1) if as_json else history_text(found))


@click.command("basins")
@click.argument("store")
@click.option("--polygons", metavar="FILE", help="Polygons with names [default: Antarctica's 27 drainage basins].")
@click.option("--names", metavar="A,B", help="Only the polygons with these names, such as 21,22.")
@click.option("--aoi", metavar="AREA", help="One area instead: grounded, basins:2,17, W,S,E,N, a file.")
@click.option("--rate", default="dh_dt", show_default=True, metavar="NAME", help="Variable of the rate.")
@click.option("--error", default="dh_dt_error", show_default=True, metavar="NAME", help="Variable of its error.")
@click.option(
    "--correlation-km", type=float, default=50.0, show_default=True, metavar="KM", help="Range of the errors; 0: none."
)
@click.option(
    "--systematic", type=float, default=0.0, show_default=True, metavar="S", help="Error that all cells have in common."
)
@click.option(
    "--fill",
    default="none",
    show_default=True,
    help="none, or mean: apply the mean rate to the uncovered area as well.",
)
@click.option("-o", "--out", metavar="CSV", help="Also write the table as CSV.")
@click.option("--group", metavar="NAME", help="Group of the Zarr [default: that of the finest order].")
@click.option("--region", metavar="NAME", help="Region of the bucket [default: the environment's, or us-west-2].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def basins_command(
    store: str, names: str | None, aoi: str | None, out: str | None, as_json: bool, **asked: Any
) -> None:
    """Compute the mean rate and the volume change of drainage basins, with standard errors.

    \b
    maggjob basins change.zarr -o basins.csv
    maggjob basins change.zarr --aoi grounded --correlation-km 100
    maggjob basins change.zarr --polygons glaciers.gpkg --names "Pine Island,Thwaites" --fill mean
    """  # noqa: D301
    from maggjob.show.basins import basins
    from maggjob.show.basins_text import basin_lines, csv_place, write_basins

    if aoi is not None:
        given = [name for name, value in (("polygons", asked["polygons"]), ("names", names)) if value is not None]
        if given:
            raise InputError(f"--aoi is one area; leave --{given[0]} out")
        asked["polygons"] = {aoi: aoi}
    path = None if out is None else csv_place(out)
    wanted = None if names is None else [name.strip() for name in names.split(",") if name.strip()]
    table = basins(store, names=wanted, **asked)
    if path is not None:
        write_basins(table, path)
    if as_json:
        click.echo(json.dumps(json.loads(table.to_json(orient="records", double_precision=15)), indent=1))
        return
    click.echo("\n".join(basin_lines(table)))
    if path is not None:
        click.echo(f"table  {path}")


change_commands = (update_command, history_command, basins_command)
