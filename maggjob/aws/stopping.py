"""``maggjob cloud stop``: let no new call start, and take that back."""

from collections.abc import Callable, Sequence
from typing import Any

from maggjob.aws.installation import KEPT, Function

NONE = "none"
"""Note that a function reserved nothing."""
Say = Callable[[str], object]


def stop_functions(client: Any, functions: Sequence[Function], say: Say, dry_run: bool = False) -> None:
    """Let no new call of functions start: their reserved concurrency becomes 0.

    Parameters
    ----------
    client : boto3 client
        Of the service lambda.
    functions : sequence of Function
    say : callable
    dry_run : bool
        If True, only say what would be done.
    """
    for function in functions:
        if function.reserved == 0:
            say(f"{function.name} is stopped already")
            continue
        say(f"{function.name}: nothing new starts")
        if not dry_run:
            note = NONE if function.reserved is None else str(function.reserved)
            client.tag_resource(Resource=function.arn, Tags={KEPT: note})
            client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=0)


def start_functions(client: Any, functions: Sequence[Function], say: Say, dry_run: bool = False) -> None:
    """Let calls of stopped functions start again, with the reserved concurrency that they had.

    Parameters
    ----------
    client : boto3 client
        Of the service lambda.
    functions : sequence of Function
    say : callable
    dry_run : bool
        If True, only say what would be done.
    """
    for function in functions:
        if function.reserved != 0:
            say(f"{function.name} is not stopped")
            continue
        had = int(function.kept) if function.kept.isdigit() else None
        say(f"{function.name}: calls start again" + ("" if had is None else f", {had:,} at once are reserved"))
        if dry_run:
            continue
        if had is None:
            client.delete_function_concurrency(FunctionName=function.name)
        else:
            client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=had)
