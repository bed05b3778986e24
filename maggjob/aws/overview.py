"""``maggjob cloud status``: what an installation consists of, in which state, and what it costs.

Each line is asked for by itself: where a right is missing, the line says so, and the others are there.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from maggjob.aws.installation import Function, StoredImage, bucket_size, images_size, list_images
from maggjob.aws.located import Located, own_functions
from maggjob.aws.refusals import explain_refusal

WIDTH = 12
"""Characters of the first column."""
LAST_RUNS = 3
"""Number of runs that are shown."""


def overview(session: Any, found: Located) -> list[str]:
    """Return an installation as lines of text.

    Parameters
    ----------
    session : boto3.Session
    found : Located
    """
    lines = [_line("account", f"{found.account}, {found.region}"), _line("stack", stack_text(found))]
    lines += _asked("function", lambda: function_lines(own_functions(session, found), found.runtime))
    ecr = session.client("ecr")
    lines += _asked("images", lambda: image_lines(list_images(ecr, found.repository), found.runtime, found.repository))
    s3 = session.client("s3")
    runs: list[tuple[str, str]] = []

    def bucket(name: str) -> list[str]:
        size, summaries = bucket_size(s3, name)
        runs.extend((name, item["Key"]) for item in summaries[:LAST_RUNS])
        return [f"{name}: {size}"]

    for name in found.buckets:
        lines += _asked("bucket", lambda name=name: bucket(name))  # type: ignore[misc]
    lines += _asked("budget", lambda: [budget_text(session, found)])
    lines += _asked("last runs", lambda: [run_text(s3, *run) for run in runs] or ["none"])
    return lines


def _line(what: str, text: str) -> str:
    return f"{what:<{WIDTH}}{text}"


def _asked(what: str, ask: Callable[[], Sequence[str]]) -> list[str]:
    """Return lines about a part, or why they are not known."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return [_line(what, text) for text in ask()]
    except (BotoCoreError, ClientError) as problem:
        return [_line(what, f"unknown: {explain_refusal(problem)}")]


def stack_text(found: Located) -> str:
    """Return what is known about the stack."""
    if found.stack is None:
        return f"{found.name}: there is none, or you may not look at it"
    return f"{found.name}: {found.stack.status}" + (f" ({found.stack.reason})" if found.stack.reason else "")


def function_lines(functions: Sequence[Function], runtime: str | None) -> list[str]:
    """Return what is known about functions, a line each.

    Parameters
    ----------
    functions : sequence of Function
    runtime : str or None
        Runtime that lithops_config.yaml names.
    """
    lines = []
    for one in functions:
        ours = ", in lithops_config.yaml" if one.runtime == runtime else ""
        limit = "" if one.reserved is None else f", {one.reserved:,} at once reserved"
        stopped = ", STOPPED: 'maggjob cloud stop --undo' lets calls start again" if one.reserved == 0 else limit
        lines.append(f"{one.name} ({one.runtime}{ours}): {one.state}, {one.memory} MB, {one.timeout} s{stopped}")
    return lines or ["none: type 'maggjob cloud setup'"]


def image_lines(images: Sequence[StoredImage], runtime: str | None, repository: str) -> list[str]:
    """Return what is known about images.

    Parameters
    ----------
    images : sequence of StoredImage
    runtime : str or None
        Runtime that lithops_config.yaml names.
    repository : str
    """
    tag = (runtime or "").partition(":")[2]
    ours = next((one for one in images if tag and tag in one.tags), None)
    lines = [f"{repository}: {images_size(images)} if they shared no layers"] if images else [f"{repository}: none"]
    if ours is not None:
        lines.append(f"{runtime}, in lithops_config.yaml: {ours.size / 1e6:,.1f} MB compressed, pushed {ours.pushed}")
    return lines


def budget_text(session: Any, found: Located) -> str:
    """Return the limit and the use of the stack's budget.

    Parameters
    ----------
    session : boto3.Session
    found : Located
    """
    if found.stack is None:
        return "unknown without the stack"
    resources = session.client("cloudformation").describe_stack_resources(StackName=found.stack.arn)["StackResources"]
    names = [one["PhysicalResourceId"] for one in resources if one["LogicalResourceId"] == "Budget"]
    if not names:
        return "the stack has none"
    # The service has one endpoint for all regions.
    client = session.client("budgets", region_name="us-east-1")
    budget = client.describe_budget(AccountId=found.account, BudgetName=names[0])["Budget"]
    limit, spent = float(budget["BudgetLimit"]["Amount"]), budget.get("CalculatedSpend", {}).get("ActualSpend")
    used = "" if spent is None else f", ${float(spent['Amount']):,.2f} used this month by the whole account"
    return f"${limit:,.2f} per month{used}"


def run_text(s3: Any, bucket: str, key: str) -> str:
    """Return a run's state and cost.

    Parameters
    ----------
    s3 : boto3 client
        Of the service s3.
    bucket, key : str
        Place of its summary.
    """
    url = f"s3://{bucket}/{key.removesuffix('.run/summary.json')}"
    try:
        summary = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        dollars = sum(stage["dollars"] for stage in summary["stages"]) if "stages" in summary else None
        how = "complete" if summary["complete"] else "partial"
        when = summary["started"]
    except (ValueError, KeyError, TypeError):
        return f"{url}: its summary cannot be read"
    return f"{url}: {how}, started {when}" + ("" if dollars is None else f", ${dollars:,.4f} for calls on Lambda")
