"""The command that shows a result: as a picture, or as a page."""

from pathlib import Path
from typing import Any

import click

from maggjob.cli.options import AREA, AREA_WORDS, EXIT_FILE, time_option, variables_option
from maggjob.errors import InputError


@click.command("view", epilog=EXIT_FILE)
@click.argument("store")
@click.option(
    "-o", "--out", default="map.png", show_default=True, metavar="FILE", help="Ends in .png, .pdf, .svg or .html."
)
@variables_option("Variables; several give several panels.")
@time_option("the last with data")
@click.option("--aoi", type=AREA, metavar="AREA", help=f"Only this area: {AREA_WORDS} [default: all].")
@click.option("--group", metavar="NAME", help="Group of the Zarr [default: that of the finest order].")
@click.option("--region", metavar="NAME", help="Region of the bucket [default: the environment's, or us-west-2].")
def view_command(store: str, out: str, variables: list[str] | None, time: str | None, **asked: Any) -> None:
    """Draw a map of a result, or write it as a page to pan, zoom and ask.

    \b
    maggjob view atl06.zarr -o map.png
    maggjob view dh.zarr --variables dh_dt,dh_dt_error --aoi basins:21,22 -o rates.pdf
    maggjob view atl06_cycles.zarr --cycle 21 -o cycle21.png
    maggjob view atl06.zarr -o view.html     # one file, opens in any browser without a network
    """  # noqa: D301
    from maggjob.show.maps import ENDS

    if Path(out).suffix.lower() not in (*ENDS, ".html"):
        raise InputError(f"cannot write {out}: give a name that ends in {', '.join(ENDS)} or .html")
    if Path(out).suffix.lower() == ".html":
        from maggjob.show.page import write_page

        if time is not None:
            raise InputError("a page shows every time; leave --time, --cycle and --month out, or write a picture")
        path = write_page(store, out, variables, **asked)
    else:
        from maggjob.show.maps import draw_map

        path = draw_map(store, out, variables, time=time, **asked)
    click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
