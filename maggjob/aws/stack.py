"""The CloudFormation stack: create it, update it, delete it, and recover one that was left half made.

`decide` says what to do about a stack in any state; the other functions do it. Changes are made by change sets, because
only these take over buckets and repositories that a former stack left.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maggjob.aws.refusals import AGAIN
from maggjob.aws.stack_state import (
    PAUSE,
    Events,
    Say,
    Stack,
    decide,
    expect_end,
    find_stack,
    has_changed,
    settle,
    template_parameters,
    wait_for_end,
)
from maggjob.errors import BackendError, InputError

NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
"""Parts of the reason of a change set that would change nothing."""


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


def recover_stack(cloud: Any, name: str, say: Say, pause: float = PAUSE) -> Stack | None:
    """Return a stack that can be updated, or None if one can be created: wait, repair, or delete a half-made one.

    Parameters
    ----------
    cloud : boto3 client
        Of the service cloudformation.
    name : str
    say : callable
        Called with a line per event.
    pause : float
        Seconds between two looks.

    Raises
    ------
    InputError
        If a stack of this name is not one of maggjob's.
    BackendError
        If CloudFormation could not do it.
    botocore.exceptions.ClientError
        If AWS refuses.
    """
    stack = settle(cloud, name, say, pause)
    if stack is None:
        return None
    check_ours(stack)
    if decide(stack.status) == "remove":
        say(f"stack {name} is half made ({stack.status}): it is deleted first")
        delete_stack(cloud, stack, say, pause)
        return None
    if decide(stack.status) == "repair":
        say(f"stack {name}: its last update could not be undone; the undoing is tried again")
        events = Events(cloud, stack.arn, say)
        cloud.continue_update_rollback(StackName=stack.arn)
        expect_end(cloud, stack.arn, ("UPDATE_ROLLBACK_COMPLETE",), events, pause)
    return find_stack(cloud, stack.arn)


def check_ours(stack: Stack) -> None:
    """Check that a stack is one of maggjob's.

    Raises
    ------
    InputError
        If it is not.
    """
    if not stack.is_ours:
        raise InputError(f"the stack {stack.name} exists, and is not one of maggjob's: give another --name")


def apply_stack(cloud: Any, wanted: Wanted, stack: Stack | None, say: Say, pause: float = PAUSE) -> Stack:
    """Create a stack, or bring it up to date if its template or parameters have changed, and return it.

    Parameters
    ----------
    cloud : boto3 client
        Of the service cloudformation.
    wanted : Wanted
    stack : Stack or None
        The stack as it is, from `recover_stack`.
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
    if stack is not None and not has_changed(cloud, stack, wanted.template, wanted.parameters):
        return stack
    made = cloud.create_change_set(**change_request(wanted, stack))
    changes, why = _changes(cloud, made["Id"], pause)
    if why is not None:
        _drop(cloud, made, is_new=stack is None)
        if stack is not None and any(text in why for text in NO_CHANGES):
            return stack
        raise BackendError(f"CloudFormation accepts no change of stack {wanted.name}: {why}; mend that, {AGAIN}")
    say(f"{len(changes)} changes: {', '.join(changes)}")
    events = Events(cloud, made["StackId"], say)
    cloud.execute_change_set(ChangeSetName=made["Id"])
    expect_end(cloud, made["StackId"], ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"), events, pause)
    found = find_stack(cloud, made["StackId"])
    if found is None:
        raise BackendError(f"stack {wanted.name} was deleted by somebody else; run the same command again")
    return found


def change_request(wanted: Wanted, stack: Stack | None) -> dict[str, Any]:
    """Return the arguments of CreateChangeSet.

    Parameters
    ----------
    wanted : Wanted
    stack : Stack or None
        The stack as it is.
    """
    request: dict[str, Any] = {
        "StackName": wanted.name,
        "ChangeSetName": f"maggjob-{time.time_ns()}",
        "ChangeSetType": "CREATE" if stack is None else "UPDATE",
        "TemplateBody": wanted.template,
        "Parameters": parameter_list(wanted, () if stack is None else tuple(stack.parameters)),
        "Capabilities": ["CAPABILITY_IAM"],
    }
    if stack is None:
        # Nothing half made is left behind.
        request |= {"OnStackFailure": "DELETE", "Tags": [{"Key": "project", "Value": "maggjob"}]}
    return request | ({"ImportExistingResources": True} if wanted.adopt else {})


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
    events = Events(cloud, stack.arn, say)
    cloud.delete_stack(StackName=stack.arn)
    status = wait_for_end(cloud, stack.arn, events, pause)
    if status not in (None, "DELETE_COMPLETE"):
        raise BackendError(
            f"stack {stack.name} could not be deleted ({status}): {events.reasons()}; mend that (a policy that is "
            f"attached to a user, group or role must be detached), {AGAIN}"
        )


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
