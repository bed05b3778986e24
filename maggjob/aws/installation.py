"""An installation of maggjob at AWS: how its parts are named, and what of it is there.

Its parts belong together by the stack: functions have its role, images are in its repository, and buckets are its
resources. Nothing else is looked at or changed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from maggjob.aws.lithops_file import NAME
from maggjob.aws.refusals import code_of
from maggjob.errors import InputError

GOOD_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST_NAME = 20
"""Characters: the name is part of those of functions (64) and of buckets (63)."""
CONFIG_KEY = "maggjob.config/lithops_config.yaml"
"""Key in Lithops' bucket under which the operator's lithops_config.yaml is published for users of a hub."""
WORKER = "lithops-worker"
"""Part of the name of each function that Lithops creates."""
MISSING = frozenset(["404", "NoSuchBucket", "NotFound"])
MOST_PAGES = 20
"""Pages of 1,000 objects that are listed to find the size of a bucket."""
STORAGE = 0.023
"""US dollars per GB and month in S3, us-west-2; not looked up: compare with AWS's price list."""
IMAGES = 0.10
"""US dollars per GB and month in ECR; not looked up."""

BucketState = Literal["free", "ours", "taken"]


@dataclass(frozen=True)
class Names:
    """Names of the parts of an installation."""

    stack: str
    """Name of the stack."""
    lithops_bucket: str
    """Lithops' bucket."""
    output_bucket: str
    """Bucket for results."""
    namespace: str | None
    """Lithops' namespace, which keeps two installations in one account apart; None for the default name."""


def names_of(name: str, account: str, region: str, prefix: str | None = None) -> Names:
    """Return the names of the parts of a new installation.

    Parameters
    ----------
    name : str
        Name of the installation, which is that of its stack.
    account, region : str
        Parts of the buckets' names, because those are unique among all accounts of AWS.
    prefix : str, optional
        First part of the buckets' names; by default ``name``.

    Raises
    ------
    InputError
        If the name or the prefix cannot be part of names at AWS.

    Examples
    --------
    >>> names_of("maggjob", "123456789012", "us-west-2").output_bucket
    'maggjob-maps-123456789012-us-west-2'
    """
    for what, given in (("--name", name), ("--bucket-prefix", prefix or name)):
        if not GOOD_NAME.fullmatch(given) or len(given) > LONGEST_NAME:
            raise InputError(
                f"{what} {given!r}: give at most {LONGEST_NAME} lower-case letters, digits and single hyphens, "
                "with a letter first"
            )
    end = f"{account}-{region}"
    first = prefix or name
    namespace = None if name == NAME else name
    return Names(name, f"{first}-lithops-{end}", f"{first}-maps-{end}", namespace)


def bucket_state(s3: Any, bucket: str, account: str) -> BucketState:
    """Return whether the name of a bucket is free, or the bucket is ours, or somebody else's.

    Parameters
    ----------
    s3 : boto3 client
        Of the service s3.
    bucket : str
    account : str
        Our account.

    Raises
    ------
    botocore.exceptions.ClientError
        If S3 gives another answer.
    """
    from botocore.exceptions import ClientError

    try:
        s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
    except ClientError as problem:
        if code_of(problem) in MISSING:
            return "free"
        if code_of(problem) in ("403", "AccessDenied", "301", "PermanentRedirect"):
            return "taken"
        raise
    return "ours"


@dataclass(frozen=True)
class Size:
    """What lies in a bucket or a repository."""

    count: int
    """Number of objects or images."""
    size: int
    """Bytes."""
    is_whole: bool
    """False if there are more, which were not counted."""
    price: float
    """US dollars per GB and month."""

    @property
    def dollars(self) -> float:
        """Cost per month, US dollars."""
        return self.size / 1e9 * self.price

    def __str__(self) -> str:
        least = "" if self.is_whole else "at least "
        what = ("image" if self.price == IMAGES else "object") + ("" if self.count == 1 else "s")
        return f"{least}{self.count:,} {what}, {self.size / 1e6:,.1f} MB, {least}${self.dollars:,.2f} per month"


def bucket_size(s3: Any, bucket: str) -> tuple[Size, list[dict[str, Any]]]:
    """Return what lies in a bucket, and the summaries of runs among it, the newest first.

    Parameters
    ----------
    s3 : boto3 client
        Of the service s3.
    bucket : str
    """
    count = size = 0
    runs: list[dict[str, Any]] = []
    is_whole = False
    for number, page in enumerate(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)):
        found = page.get("Contents", [])
        count, size = count + len(found), size + sum(item["Size"] for item in found)
        runs += [item for item in found if item["Key"].endswith(".run/summary.json")]
        is_whole = not page.get("IsTruncated", False)
        if number + 1 == MOST_PAGES:
            break
    runs.sort(key=lambda item: item["LastModified"], reverse=True)
    return Size(count, size, is_whole, STORAGE), runs


@dataclass(frozen=True)
class StoredImage:
    """An image in the repository."""

    digest: str
    """Digest of its manifest."""
    tags: tuple[str, ...]
    """Tags."""
    size: int
    """Bytes, compressed; layers that images share count in each."""
    pushed: str
    """Date."""


def list_images(ecr: Any, repository: str) -> list[StoredImage]:
    """Return the images in a repository, the newest first; none if there is no such repository.

    Parameters
    ----------
    ecr : boto3 client
        Of the service ecr.
    repository : str
    """
    try:
        pages = list(ecr.get_paginator("describe_images").paginate(repositoryName=repository))
    except ecr.exceptions.RepositoryNotFoundException:
        return []
    found = [item for page in pages for item in page["imageDetails"]]
    found.sort(key=lambda item: str(item.get("imagePushedAt", "")), reverse=True)
    return [
        StoredImage(
            item["imageDigest"],
            tuple(item.get("imageTags", ())),
            int(item.get("imageSizeInBytes", 0)),
            str(item.get("imagePushedAt", ""))[:10],
        )
        for item in found
    ]


def images_size(images: Sequence[StoredImage]) -> Size:
    """Return the size of images together; layers that they share are counted several times."""
    return Size(len(images), sum(image.size for image in images), True, IMAGES)


@dataclass(frozen=True)
class Function:
    """A Lambda function that Lithops created."""

    name: str
    """Name."""
    arn: str
    """ARN."""
    role: str
    """ARN of its role."""
    runtime: str
    """Name of its runtime in Lithops; empty if it has no such tag."""
    lithops: str
    """Version of Lithops that created it; empty if it has no such tag."""
    image: str
    """Name of its image with tag."""
    state: str
    """State, such as Active."""
    memory: int
    """Memory, MB."""
    timeout: int
    """Timeout, seconds."""
    reserved: int | None
    """Reserved concurrency; None if there is none. 0 lets no call start."""
    kept: str
    """What ``maggjob cloud stop`` noted about the reservation before it."""


def get_function(client: Any, name: str) -> Function:
    """Return a function.

    Parameters
    ----------
    client : boto3 client
        Of the service lambda.
    name : str
    """
    found = client.get_function(FunctionName=name)
    about, tags = found["Configuration"], found.get("Tags") or {}
    return Function(
        about["FunctionName"],
        about["FunctionArn"],
        about["Role"],
        tags.get("runtime_name", ""),
        tags.get("lithops_version", ""),
        found.get("Code", {}).get("ImageUri", ""),
        about.get("State", ""),
        about["MemorySize"],
        about["Timeout"],
        found.get("Concurrency", {}).get("ReservedConcurrentExecutions"),
        tags.get(KEPT, ""),
    )


KEPT = "maggjob.reserved"
"""Tag in which the reserved concurrency is noted before a function is stopped."""


def list_functions(client: Any, role: str | None = None) -> list[Function]:
    """Return the functions that Lithops created.

    Parameters
    ----------
    client : boto3 client
        Of the service lambda.
    role : str, optional
        ARN of the role that they have: that of the installation. By default, those of all roles.
    """
    pages = client.get_paginator("list_functions").paginate()
    found = [item for page in pages for item in page["Functions"] if WORKER in item["FunctionName"]]
    return [get_function(client, item["FunctionName"]) for item in found if role in (None, item["Role"])]
