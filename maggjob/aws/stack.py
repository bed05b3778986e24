"""The CloudFormation stack: create it, update it, delete it, and recover one that was left half made.

`decide` says what to do about a stack in any state; the other functions do it. Changes are made by change sets, because
only these take over buckets and repositories that a former stack left.
"""

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
NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
CAPABILITIES = ("CAPABILITY_IAM",)
CANCELLED = ("cancelled", "Cancelled")
"""Words of events that are a consequence of another failure."""

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


@dataclass(frozen=True)
class Wanted:
    """A stack as it shall be."""

    name: str
    """Name."""
    template: str
    """Template, YAML."""
    parameters: Mapping[str, str]
    """Values of parameters; those that are left out keep their value, or have the template's default."""
    adopt: bool = False
    """If True, take over buckets and a repository of these names that exist in the account."""


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


def has_changed(cloud: Any, stack: Stack, wanted: Wanted) -> bool:
    """Return True if the template or a parameter differs from that of a stack; nothing is changed.

    Parameters
    ----------
    cloud : boto3 client
        Of the service cloudformation.
    stack : Stack
    wanted : Wanted
    """
    given = any(stack.parameters.get(key) != value for key, value in wanted.parameters.items())
    if given:
        return True
    body = cloud.get_template(StackName=stack.arn)["TemplateBody"]
    return str(body).strip() != wanted.template.strip()


def ensure_stack(cloud: Any, wanted: Wanted, say: Say, pause: float = PAUSE) -> Stack:
    """Create a stack or bring it up to date, whatever state it is in, and return it.

    Parameters
    ----------
    cloud : boto3 client
        Of the service cloudformation.
    wanted : Wanted
    say : callable
        Called with a line per event.
    pause : float
        Seconds between two looks.

    Raises
    ------
    BackendError
        If CloudFormation could not make the change. A stack that could not be created is deleted.
    botocore.exceptions.ClientError
        If AWS refuses.
    """
    stack = settle(cloud, wanted.name, say, pause)
    if stack is not None and decide(stack.status) == "remove":
        say(f"stack {stack.name} is half made ({stack.status}): it is deleted first")
        delete_stack(cloud, stack, say, pause)
        stack = None
    elif stack is not None and decide(stack.status) == "repair":
        say(f"stack {stack.name}: its last update could not be undone; the undoing is tried again")
        cloud.continue_update_rollback(StackName=stack.arn)
        _expect(cloud, stack.arn, ("UPDATE_ROLLBACK_COMPLETE",), _Events(cloud, stack.arn, say), pause)
        stack = find_stack(cloud, wanted.name)
    if stack is not None and not has_changed(cloud, stack, wanted):
        return stack
    return _change(cloud, wanted, stack, say, pause)


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


def delete_stack(cloud: Any, stack: Stack, say: Say, pause: float = PAUSE) -> None:
    """Delete a stack, and wait until it is gone.

    Parameters
    ----------
    cloud : boto3 client
        Of the service cloudformation.
    stack : Stack
    say : callable
        Called with a line per event.
    pause : float
        Seconds between two looks.

    Raises
    ------
    BackendError
        If a resource cannot be deleted, such as a policy that is attached to a role.
    """
    events = _Events(cloud, stack.arn, say)
    cloud.delete_stack(StackName=stack.arn)
    status = _wait(cloud, stack.arn, events, pause)
    if status not in (None, "DELETE_COMPLETE"):
        raise BackendError(
            f"stack {stack.name} could not be deleted ({status}): {events.reasons()}; mend that (a policy that is "
            f"attached to a user, group or role must be detached), {AGAIN}"
        )


def _change(cloud: Any, wanted: Wanted, stack: Stack | None, say: Say, pause: float) -> Stack:
    """Make a change set, carry it out, and wait for it."""
    kept = () if stack is None else tuple(stack.parameters)
    words: dict[str, Any] = {
        "StackName": wanted.name,
        "ChangeSetName": f"maggjob-{time.time_ns()}",
        "ChangeSetType": "CREATE" if stack is None else "UPDATE",
        "TemplateBody": wanted.template,
        "Parameters": parameter_list(wanted, kept),
        "Capabilities": list(CAPABILITIES),
    }
    if stack is None:
        words |= {"OnStackFailure": "DELETE", "Tags": [{"Key": "project", "Value": "maggjob"}]}
    if wanted.adopt:
        words["ImportExistingResources"] = True
    made = cloud.create_change_set(**words)
    changes, why = _changes(cloud, made["Id"], pause)
    if why is not None:
        _drop(cloud, made, is_new=stack is None)
        if stack is not None and any(text in why for text in NO_CHANGES):
            return stack
        raise BackendError(f"CloudFormation accepts no change of stack {wanted.name}: {why}; mend that, {AGAIN}")
    say(f"stack {wanted.name}: {len(changes)} resources, {', '.join(changes)}")
    events = _Events(cloud, made["StackId"], say)
    cloud.execute_change_set(ChangeSetName=made["Id"])
    _expect(cloud, made["StackId"], ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"), events, pause)
    found = find_stack(cloud, made["StackId"])
    if found is None:
        raise BackendError(f"stack {wanted.name} was deleted by somebody else; run the same command again")
    return found


def parameter_list(wanted: Wanted, kept: Sequence[str]) -> list[dict[str, Any]]:
    """Return the parameters of a change, as boto3 takes them.

    Parameters
    ----------
    wanted : Wanted
    kept : sequence of str
        Names of the parameters that the stack has. Those that are not given keep their value.

    Examples
    --------
    >>> parameter_list(Wanted("x", "Parameters: {A: {}, Days: {}}", {"A": "1"}), ["A", "Days", "Gone"])
    [{'ParameterKey': 'A', 'ParameterValue': '1'}, {'ParameterKey': 'Days', 'UsePreviousValue': True}]
    """
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in wanted.parameters.items()]
    # A parameter that the new template no longer has would be refused.
    known = template_parameters(wanted.template)
    left = [key for key in kept if key in known and key not in wanted.parameters]
    return given + [{"ParameterKey": key, "UsePreviousValue": True} for key in left]


def template_parameters(template: str) -> list[str]:
    """Return the names of the parameters of a template, YAML with the tags of CloudFormation."""

    class Loader(yaml.SafeLoader):
        """Reads tags such as !Ref as nothing."""

    Loader.add_multi_constructor("!", lambda loader, tag, node: None)
    # The loader is a safe one.
    content = yaml.load(template, Loader)  # noqa: S506
    return list(content.get("Parameters") or ())


def _changes(cloud: Any, change_set: str, pause: float) -> tuple[list[str], str | None]:
    """Return the changes of a change set, and why it failed, if it failed."""
    while True:
        found = cloud.describe_change_set(ChangeSetName=change_set)
        if found["Status"] == "CREATE_COMPLETE":
            return [
                f"{c['ResourceChange']['Action']} {c['ResourceChange']['LogicalResourceId']}"
                for c in found.get("Changes", ())
                if "ResourceChange" in c
            ], None
        if found["Status"] == "FAILED":
            return [], found.get("StatusReason", "no reason given")
        time.sleep(pause)


def _drop(cloud: Any, made: Mapping[str, str], *, is_new: bool) -> None:
    """Delete a change set that failed, and the empty stack that was made for it."""
    cloud.delete_change_set(ChangeSetName=made["Id"])
    if is_new:
        cloud.delete_stack(StackName=made["StackId"])


class _Events:
    """Events of a stack that are new since this was made."""

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


def _wait(cloud: Any, arn: str, events: _Events, pause: float) -> str | None:
    """Wait until an operation ends, and return the status of the stack; None if it is gone."""
    while True:
        stack = find_stack(cloud, arn)
        events.show()
        if stack is None:
            return None
        # Before the first event, the status may still be that of the last operation.
        if events.began and not stack.status.endswith("_IN_PROGRESS"):
            return stack.status
        time.sleep(pause)


def _expect(cloud: Any, arn: str, good: Sequence[str], events: _Events, pause: float) -> None:
    """Wait until an operation ends.

    Raises
    ------
    BackendError
        If it does not end well.
    """
    status = _wait(cloud, arn, events, pause)
    if status not in good:
        left = "nothing of it is left" if status is None else f"it is {status}"
        raise BackendError(f"CloudFormation could not do it, {left}: {events.reasons()}; mend that, {AGAIN}")
