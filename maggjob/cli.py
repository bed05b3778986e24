"""The command line: parse, call, print, exit code.

Exit codes: 0 complete, 1 bad usage or input, 2 finished with partial or failed cells (unless
--allow-partial), 3 stopped.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import click

from maggjob import __version__
from maggjob.errors import MaggjobError, StoppedError

COMPLETE, BAD_INPUT, INCOMPLETE, STOPPED = 0, 1, 2, 3
EVERY = 2.0  # seconds between two lines of progress


class _Commands(click.Group):
    """A group whose command is ``run`` when none is named: ``maggjob --config X``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version", "--debug"}
        named = [arg for arg in args if arg not in own]
        if named and named[0].startswith("-"):
            position = args.index(named[0])
            args = [*args[:position], "run", *args[position:]]
        return super().parse_args(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="maggjob")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Turn ICESat-2 ATL06 granules into a map of HEALPix cells.

    \b
    maggjob catalog --from-files FOLDER      # which granules there are: catalog.json
    maggjob --config atl06.yaml              # the job: ./atl06.zarr
    """  # noqa: D301  # click wants the backspace character itself


@cli.command()
@click.option("--config", required=True, metavar="FILE", help="Configuration, or the name of a built-in one.")
@click.option("--catalog", metavar="FILE", help="Catalog [default: the configuration's, else ./catalog.json].")
@click.option("--store", metavar="PATH", help="Zarr to write [default: the configuration's, else ./<config>.zarr].")
@click.option("--backend", default="localhost", show_default=True, help="localhost, aws_lambda, or serial.")
@click.option("--driver", metavar="NAME", help="How granules are read: s3, https, file [default: the configuration's].")
@click.option("--max-cells", type=int, metavar="N", help="Work on the N cells with most granules only.")
@click.option("--morton-cell", metavar="ID", help="Work on this cell only, such as -6134114.")
@click.option("--max-workers", type=int, metavar="N", help="Local processes [default: what cores and memory allow].")
@click.option("--overwrite", is_flag=True, help="Replace a store that is there, once the new one is complete.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--region", metavar="NAME", help="Region of the buckets [default: the environment's, else us-west-2].")
@click.option("--lithops-config", metavar="FILE", help="Lithops' own configuration [default: ./lithops_config.yaml].")
@click.option(
    "--deadline", type=float, default=6 * 3600.0, show_default=True, metavar="S", help="Give up after S seconds."
)
@click.option("--allow-partial", is_flag=True, help="Exit with 0 even if cells are partial or failed.")
def run(allow_partial: bool, **options: Any) -> None:
    """Run the job: read, bin, reduce, write.

    \b
    maggjob run --config atl06.yaml --catalog catalog.json --store map.zarr
    maggjob run --config atl06.yaml --max-cells 5 --dry-run
    """  # noqa: D301  # click wants the backspace character itself
    from maggjob.pipeline import run as run_job
    from maggjob.planning import Plan
    from maggjob.report import plan_text, summary

    result = run_job(**options, watch=_progress())
    if isinstance(result, Plan):
        click.echo(plan_text(result))
        return
    click.echo(summary(result))
    if not result.complete and not allow_partial:
        click.echo("not complete: see 'failed' above, and summary.json beside the parts", err=True)
        sys.exit(INCOMPLETE)


def _progress() -> Callable[[int, Any], None]:
    """Prints a line of progress now and then, to standard error."""
    counts = {"done": 0, "failed": 0, "observations": 0}
    started = shown = time.monotonic()

    def watch(index: int, outcome: Any) -> None:
        nonlocal shown
        counts["done"] += 1
        report = outcome.value
        if report is None or report.state in ("failed", "partial"):
            counts["failed"] += 1
        counts["observations"] += 0 if report is None else report.observations
        now = time.monotonic()
        if now - shown >= EVERY:
            shown = now
            rate = counts["done"] / (now - started)
            click.echo(
                f"{counts['done']:,} cells, {rate:.1f} a second, {counts['observations']:,} observations, "
                f"{counts['failed']:,} partial or failed",
                err=True,
            )

    return watch


@cli.command()
@click.option("--from-files", "places", multiple=True, required=True, metavar="DIR|GLOB", help="Local granules.")
@click.option("--config", default="atl06.yaml", show_default=True, metavar="FILE", help="Its grid and coordinates.")
@click.option("--out", default="catalog.json", show_default=True, metavar="FILE", help="Catalog to write.")
def catalog(places: tuple[str, ...], config: str, out: str) -> None:
    """List granules and the cells that they lie in.

    \b
    maggjob catalog --from-files ~/granules
    maggjob catalog --from-files 'granules/*_02??1*.h5' --out cycle02.json
    """  # noqa: D301  # click wants the backspace character itself
    from maggjob.catalog import from_files
    from maggjob.config_file import load_config

    made = from_files(places, load_config(config).recipe())
    made.write(out)
    click.echo(f"{out}: {len(made.granules):,} granules in {len(made.cells):,} cells, {made.pairs:,} pairs")


def main() -> None:
    """Entry point: errors of ours are one line and an exit code."""
    debug = "--debug" in sys.argv
    try:
        cli.main([arg for arg in sys.argv[1:] if arg != "--debug"], standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.Abort:
        click.echo("stopped", err=True)
        sys.exit(STOPPED)
    except click.ClickException as problem:
        problem.show()
        sys.exit(BAD_INPUT)
    except MaggjobError as problem:
        if debug:
            raise
        click.echo(f"error: {problem}", err=True)
        sys.exit(STOPPED if isinstance(problem, StoppedError) else BAD_INPUT)
    except KeyboardInterrupt:
        click.echo("stopped from the keyboard", err=True)
        sys.exit(STOPPED)
