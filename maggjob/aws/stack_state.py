"""A CloudFormation stack as it is: its state, what the state calls for, and its events while it changes."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from maggjob.aws.refusals import AGAIN, code_of
from maggjob.errors import BackendError

Say = Callable[[str], object]
PAUSE = 3.0
"""Seconds between two looks at a stack that changes."""
CANCELLED = ("cancelled", "Cancelled")
"""Words of events that are a consequence of another failure."""

OURS = frozenset(["LithopsBucketName", "OutputBucketName", "RepositoryName"])
"""Parameters that every stack of maggjob has had."""

Todo = Literal["create", "update", "remove", "repair", "wait"]
HALF_MADE = frozenset(["REVIEW_IN_PROGRESS", "CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"])
"""States of a stack that never worked, or no longer does. It can only be deleted."""


@dataclass(frozen=True)
class Stack:
    """A stack, as CloudFormation describes it."""

    name: str
    """Name."""
    arn: str
    """ARN, which also names it once it is deleted."""
    status: str
    """Status, such as CREATE_COMPLETE."""
    reason: str = ""
    """Reason of the status."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Outputs by name."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Values of the parameters."""

    @property
    def is_ours(self) -> bool:
        """True if the stack is one of maggjob's, or has no resources yet."""
        return self.parameters.keys() >= OURS or self.status == "REVIEW_IN_PROGRESS"


def decide(status: str | None) -> Todo:
    """Decide what to do about a stack that shall be there.

    Parameters
    ----------
    status : str or None
        Status of the stack; None if there is none.

    Returns
    -------
    str
        ``create``; ``update``; ``remove`` a half-made one, then create; ``repair`` one whose update could not be
        undone; or ``wait`` until another operation ends.

    Examples
    --------
    >>> decide("ROLLBACK_COMPLETE")
    'remove'
    """
    if status is None or status == "DELETE_COMPLETE":
        return "create"
    if status in HALF_MADE:
        return "remove"
    if status == "UPDATE_ROLLBACK_FAILED":
        return "repair"
    return "wait" if status.endswith("_IN_PROGRESS") else "update"


def find_stack(cloud: Any, name: str) -> Stack | None:
    """Return a stack, or None if there is none.

    Parameters
    ----------
    cloud : boto3 client
        Of the service cloudformation.
    name : str
        Name or ARN.

    Raises
    ------
    botocore.exceptions.ClientError
        If AWS refuses.
    """
    from botocore.exceptions import ClientError

    try:
        (found,) = cloud.describe_stacks(StackName=name)["Stacks"]
    except ClientError as problem:
        if code_of(problem) == "ValidationError" and "does not exist" in str(problem):
            return None
        raise
    if found["StackStatus"] == "DELETE_COMPLETE":
        return None
    return Stack(
        found["StackName"],
        found["StackId"],
        found["StackStatus"],
        found.get("StackStatusReason", ""),
        {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", ())},
        {one["ParameterKey"]: one["ParameterValue"] for one in found.get("Parameters", ())},
    )


def has_changed(cloud: Any, stack: Stack, template: str, parameters: Mapping[str, str]) -> bool:
    """Return True if a template or a parameter differs from that of a stack; nothing is changed.

    Parameters
    ----------
    cloud : boto3 client
        Of the service cloudformation.
    stack : Stack
    template : str
    parameters : mapping
        Values that shall be; those that are left out may be any.
    """
    if any(stack.parameters.get(key) != value for key, value in parameters.items()):
        return True
    body = cloud.get_template(StackName=stack.arn)["TemplateBody"]
    return str(body).strip() != template.strip()


def template_parameters(template: str) -> list[str]:
    """Return the names of the parameters of a template, YAML with the tags of CloudFormation."""

    class Loader(yaml.SafeLoader):
        """Reads tags such as !Ref as nothing."""

    Loader.add_multi_constructor("!", lambda loader, tag, node: None)
    # The loader is a safe one.
    content = yaml.load(template, Loader)  # noqa: S506
    return list(content.get("Parameters") or ())


def settle(cloud: Any, name: str, say: Say, pause: float = PAUSE) -> Stack | None:
    """Return a stack once no operation on it is under way; None if there is none.

    Parameters
    ----------
    cloud : boto3 client
        Of the service cloudformation.
    name : str
    say : callable
        Called with a line if there is something to wait for.
    pause : float
        Seconds between two looks.
    """
    stack, told = find_stack(cloud, name), False
    while stack is not None and decide(stack.status) == "wait":
        if not told:
            say(f"stack {name} is {stack.status}: waiting until that ends")
            told = True
        time.sleep(pause)
        stack = find_stack(cloud, stack.arn)
    return stack


class Events:
    """Events of a stack that are new since this was made.

    Parameters
    ----------
    cloud : boto3 client
        Of the service cloudformation.
    arn : str
        ARN of the stack.
    say : callable
        Called with a line per event that ends something.
    """

    def __init__(self, cloud: Any, arn: str, say: Say) -> None:
        self.cloud, self.arn, self.say = cloud, arn, say
        self.seen: set[str] = set()
        self.failures: list[str] = []
        self.began = False
        self.seen = {event["EventId"] for event in self._recent()}

    def _recent(self) -> list[dict[str, Any]]:
        pages = self.cloud.get_paginator("describe_stack_events").paginate(StackName=self.arn)
        found: list[dict[str, Any]] = []
        for page in pages:
            new = [event for event in page["StackEvents"] if event["EventId"] not in self.seen]
            found += new
            # Events come newest first.
            if len(new) < len(page["StackEvents"]):
                break
        return found[::-1]

    def show(self) -> None:
        """Say what happened since the last look."""
        for event in self._recent():
            self.began = True
            self.seen.add(event["EventId"])
            status, why = event["ResourceStatus"], event.get("ResourceStatusReason", "")
            what = event["LogicalResourceId"]
            if status.endswith("_FAILED") and not any(word in why for word in CANCELLED):
                self.failures.append(f"{what}: {' '.join(why.split()) or status}")
            if not status.endswith("_IN_PROGRESS"):
                self.say(f"  {status:<24} {what}{f' ({why})' if why and 'FAILED' in status else ''}")

    def reasons(self) -> str:
        """Return why it failed, in one line."""
        return "; ".join(self.failures[:3]) or "see its events in the CloudFormation console"


def wait_for_end(cloud: Any, arn: str, events: Events, pause: float) -> str | None:
    """Wait until an operation ends, and return the status of the stack; None if it is gone.

    Parameters
    ----------
    cloud : boto3 client
        Of the service cloudformation.
    arn : str
        ARN of the stack.
    events : Events
        Events since before it began.
    pause : float
        Seconds between two looks.
    """
    while True:
        stack = find_stack(cloud, arn)
        events.show()
        if stack is None:
            return None
        # Before the first event, the status may still be that of the last operation.
        if events.began and not stack.status.endswith("_IN_PROGRESS"):
            return stack.status
        time.sleep(pause)


def expect_end(cloud: Any, arn: str, good: Sequence[str], events: Events, pause: float) -> None:
    """Wait until an operation ends well.

    Parameters
    ----------
    cloud : boto3 client
        Of the service cloudformation.
    arn : str
        ARN of the stack.
    good : sequence of str
        States that it may end in.
    events : Events
        Events since before it began.
    pause : float
        Seconds between two looks.

    Raises
    ------
    BackendError
        If it does not end well.
    """
    status = wait_for_end(cloud, arn, events, pause)
    if status not in good:
        left = "nothing of it is left" if status is None else f"it is {status}"
        raise BackendError(f"CloudFormation could not do it, {left}: {events.reasons()}; mend that, {AGAIN}")
