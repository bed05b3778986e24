"""``maggjob cloud teardown``: delete functions, images and stack, and say what stays and what that costs.

Functions go first, as nothing can start then; the stack goes after them, because it tells which functions are ours.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from maggjob.aws.function import log_group
from maggjob.aws.installation import CONFIG_KEY, Function, Size, StoredImage, bucket_size, bucket_state, images_size
from maggjob.aws.located import Located, Unused, find_unused
from maggjob.aws.refusals import refusals
from maggjob.aws.stack import delete_stack
from maggjob.aws.stack_state import PAUSE, find_stack, settle
from maggjob.errors import BackendError, InputError

MOST_IMAGES = 100
"""Images that ECR deletes per request."""
NOTES = "lithops.runtimes/"
"""Prefix of Lithops' notes of functions in its bucket."""
Say = Callable[[str], object]


@dataclass(frozen=True)
class TeardownPlan:
    """What is deleted, and what stays."""

    where: Located
    """The installation."""
    unused: Unused
    """Functions and images to delete; images that a function of another installation uses stay."""
    doomed: tuple[tuple[str, Size], ...]
    """Buckets to delete with everything in them."""
    kept: tuple[tuple[str, Size], ...]
    """Buckets that stay."""

    def lines(self) -> list[str]:
        """Return the plan as text."""
        stack, images = self.where.stack, self.unused.images
        found = [f"delete the function {one.name} ({one.runtime}) and its logs" for one in self.unused.functions]
        found += [f"delete all images of {self.where.repository}: {images_size(images)}"] if images else []
        found += [f"delete the stack {stack.name}: role, policies, budget"] if stack is not None else []
        found += [f"DELETE the bucket {name} with {size}" for name, size in self.doomed]
        for image in self.unused.in_use:
            found.append(f"keep the image {', '.join(image.tags) or image.digest}: a function of another role uses it")
        found += [f"keep the bucket {name}: {size}" for name, size in self.kept]
        return found


def plan_teardown(session: Any, where: Located, doomed: Sequence[str]) -> TeardownPlan:
    """Look at what there is to delete; nothing is changed.

    Parameters
    ----------
    session : boto3.Session
    where : Located
    doomed : sequence of str
        Names of buckets to delete as well.

    Raises
    ------
    InputError
        If one of these is not a bucket of the installation.
    BackendError
        If AWS refuses.
    """
    foreign = [name for name in doomed if name not in where.buckets]
    if foreign:
        raise InputError(
            f"{', '.join(foreign)} is not a bucket of {where.name}, whose buckets are {' and '.join(where.buckets)}"
        )
    with refusals("functions and images"):
        unused = find_unused(session, where, None)
    s3 = session.client("s3")
    sizes = []
    for name in where.buckets:
        with refusals(f"bucket {name}"):
            if bucket_state(s3, name, where.account) == "ours":
                sizes.append((name, bucket_size(s3, name)[0]))
    kept = tuple(item for item in sizes if item[0] not in doomed)
    return TeardownPlan(where, unused, tuple(item for item in sizes if item[0] in doomed), kept)


def tear_down(session: Any, plan: TeardownPlan, say: Say, pause: float = PAUSE) -> None:
    """Carry out a teardown. What was deleted before is no error, so that it can be repeated.

    Parameters
    ----------
    session : boto3.Session
    plan : TeardownPlan
    say : callable
        Called with a line per deletion.
    pause : float
        Seconds between two looks at the stack.

    Raises
    ------
    BackendError
        If AWS refuses; what was deleted until then stays deleted.
    """
    where = plan.where
    lithops_bucket = where.buckets[0]
    with refusals("functions"):
        delete_functions(session, plan.unused.functions, say)
    with refusals("images"):
        delete_images(session.client("ecr"), where.repository, plan.unused.images, say)
    if lithops_bucket in [name for name, _ in plan.kept]:
        with refusals(f"bucket {lithops_bucket}"):
            _delete_notes(session.client("s3"), lithops_bucket)
    if where.stack is not None:
        cloud = session.client("cloudformation")
        with refusals("stack"):
            settle(cloud, where.stack.arn, say, pause)
            if (stack := find_stack(cloud, where.stack.arn)) is not None:
                delete_stack(cloud, stack, say, pause)
            say(f"deleted the stack {where.name}")
    with refusals("repository"):
        _delete_repository(session.client("ecr"), where.repository, say)
    for name, _ in plan.doomed:
        with refusals(f"bucket {name}"):
            delete_bucket(session, name, say)


def delete_functions(session: Any, functions: Sequence[Function], say: Say) -> None:
    """Delete functions and their logs.

    Parameters
    ----------
    session : boto3.Session
    functions : sequence of Function
    say : callable
    """
    client, logs = session.client("lambda"), session.client("logs")
    for function in functions:
        with suppress(client.exceptions.ResourceNotFoundException):
            client.delete_function(FunctionName=function.name)
        with suppress(logs.exceptions.ResourceNotFoundException):
            logs.delete_log_group(logGroupName=log_group(function.name))
        say(f"deleted the function {function.name}")


def delete_images(ecr: Any, repository: str, images: Sequence[StoredImage], say: Say) -> None:
    """Delete images.

    Parameters
    ----------
    ecr : boto3 client
        Of the service ecr.
    repository : str
    images : sequence of StoredImage
    say : callable

    Raises
    ------
    BackendError
        If ECR does not delete one of them.
    """
    for start in range(0, len(images), MOST_IMAGES):
        part = images[start : start + MOST_IMAGES]
        ids = [{"imageDigest": one.digest} for one in part]
        failures = ecr.batch_delete_image(repositoryName=repository, imageIds=ids).get("failures", [])
        # ECR answers 200 for images that it does not delete.
        wrong = [one for one in failures if one.get("failureCode") != "ImageNotFound"]
        if wrong:
            why = wrong[0].get("failureReason", wrong[0].get("failureCode"))
            raise BackendError(f"{len(wrong)} images of {repository} cannot be deleted: {why}")
        say(f"deleted {len(part)} images of {repository}")


def _delete_notes(s3: Any, bucket: str) -> None:
    """Delete the published configuration, and Lithops' notes of functions that are gone."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=NOTES)
    for key in [CONFIG_KEY, *(item["Key"] for page in pages for item in page.get("Contents", []))]:
        s3.delete_object(Bucket=bucket, Key=key)


def _delete_repository(ecr: Any, name: str, say: Say) -> None:
    """Delete a repository that is empty."""
    try:
        ecr.delete_repository(repositoryName=name)
    except ecr.exceptions.RepositoryNotFoundException:
        return
    except ecr.exceptions.RepositoryNotEmptyException:
        say(f"the repository {name} stays: it has images that are in use")
        return
    say(f"deleted the repository {name}")


def delete_bucket(session: Any, name: str, say: Say) -> None:
    """Delete a bucket with everything in it.

    Parameters
    ----------
    session : boto3.Session
    name : str
    say : callable
    """
    bucket = session.resource("s3").Bucket(name)
    bucket.object_versions.delete()
    bucket.delete()
    say(f"deleted the bucket {name}")
