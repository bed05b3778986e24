"""The command that sums what runs on Lambda have cost, by user."""

import json
from dataclasses import asdict
from datetime import date

import click

from maggjob.errors import InputError


@click.command("bills")
@click.option("--since", metavar="DAY", help="First day, such as 2026-05-01 [default: all that are kept].")
@click.option("--lithops-config", metavar="FILE", help="Lithops configuration [default: ./lithops_config.yaml].")
@click.option("--json", "as_json", is_flag=True, help="Print every bill as JSON.")
def bills_command(since: str | None, lithops_config: str | None, as_json: bool) -> None:
    """Sum what runs on Lambda have cost, by user, from the bills in Lithops' bucket.

    \b
    maggjob bills --since 2026-05-01
    """  # noqa: D301
    from maggjob.backend.bills import bills_in
    from maggjob.backend.settings import settings_of
    from maggjob.show.bill_text import bills_text

    try:
        first = "" if since is None else str(date.fromisoformat(since))
    except ValueError as problem:
        raise InputError(f"--since is {since!r}; write a day as 2026-05-01") from problem
    settings = settings_of("aws_lambda", 1, given=lithops_config)
    found = bills_in(str(settings.private_bucket), settings.region, first)
    click.echo(json.dumps([asdict(bill) for bill in found], indent=1) if as_json else bills_text(found))
