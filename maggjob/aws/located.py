"""Where an installation is: its stack, the role of its workers, its repository and buckets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maggjob.aws.image import image_of
from maggjob.aws.installation import Function, StoredImage, list_functions, list_images, names_of
from maggjob.aws.lithops_file import NAME, AccountValues, fill_in, read_own_file
from maggjob.aws.refusals import is_denied, refusals
from maggjob.aws.stack import check_ours
from maggjob.aws.stack_state import Stack, find_stack
from maggjob.aws.survey import NEW_ROLE, name_in
from maggjob.backend.settings import TO_FILL_IN, lithops_config
from maggjob.errors import InputError
from maggjob.inputs.plain_yaml import load_yaml


@dataclass(frozen=True)
class Located:
    """An installation that was found."""

    name: str
    """Name, which is that of the stack."""
    account: str
    """Account."""
    region: str
    """Region."""
    stack: Stack | None
    """The stack; None if there is none, or it may not be looked at."""
    role: str | None
    """ARN of the workers' role; None if unknown."""
    runtime: str | None
    """Runtime that lithops_config.yaml names; None if it names none."""
    repository: str
    """Repository of the images."""
    buckets: tuple[str, str]
    """Lithops' bucket and that for results."""


def locate(session: Any, file: Path, name: str | None, *, role_is_enough: bool = False) -> Located:
    """Find an installation by its name, or by the lithops_config.yaml that is there.

    Parameters
    ----------
    session : boto3.Session
    file : Path
        lithops_config.yaml, which need not exist.
    name : str, optional
        Name of the installation; by default the one that the file is for.
    role_is_enough : bool
        If True, the stack need not be looked at where the right is missing and the file names a role.

    Raises
    ------
    InputError
        If there is neither such a stack nor a file with the values of an account, or the stack is not one of maggjob's.
    BackendError
        If AWS refuses.
    """
    text = read_own_file(file)
    content = (load_yaml(text) or {}) if text else {}
    section = content.get("aws_lambda") or {}
    role, runtime = (_filled(section.get(key)) for key in ("execution_role", "runtime"))
    asked = name or name_in(text) or NAME
    if name is not None and name != (name_in(text) or NAME):
        role = runtime = None
    with refusals("credentials"):
        identity = session.client("sts").get_caller_identity()
    account, region = identity["Account"], session.region_name
    names = names_of(asked, account, region)
    with refusals("stack"):
        stack = _look_at(session.client("cloudformation"), names.stack, may_fail=role_is_enough and role is not None)
    if stack is None and role is None:
        raise InputError(
            f"there is no stack {names.stack} in {region} of the account {account}, and {file} names no role: "
            "type 'maggjob cloud setup', or give --name or --region"
        )
    values = AccountValues(region, names.lithops_bucket, NEW_ROLE, runtime or "maggjob:none", names.namespace)
    given = lithops_config("aws_lambda", given=load_yaml(fill_in(text, values).text))
    repository, buckets = image_of(given, identity).repository, (names.lithops_bucket, names.output_bucket)
    if stack is not None:
        check_ours(stack)
        role = stack.outputs.get("ExecutionRole", role)
        repository = stack.parameters.get("RepositoryName", repository)
        buckets = (
            stack.parameters.get("LithopsBucketName", buckets[0]),
            stack.parameters.get("OutputBucketName", buckets[1]),
        )
    return Located(names.stack, account, region, stack, role, runtime, repository, buckets)


def _filled(value: object) -> str | None:
    return None if value is None or TO_FILL_IN in str(value) else str(value)


def _look_at(cloud: Any, name: str, *, may_fail: bool) -> Stack | None:
    from botocore.exceptions import ClientError

    try:
        return find_stack(cloud, name)
    except ClientError as problem:
        # The role in lithops_config.yaml tells the functions as well.
        if may_fail and is_denied(problem):
            return None
        raise


def own_functions(session: Any, found: Located) -> list[Function]:
    """Return the functions of an installation: those with its role.

    Parameters
    ----------
    session : boto3.Session
    found : Located
    """
    return [] if found.role is None else list_functions(session.client("lambda"), found.role)


@dataclass(frozen=True)
class Unused:
    """Functions and images that can be deleted."""

    functions: tuple[Function, ...]
    """Functions."""
    images: tuple[StoredImage, ...]
    """Images that none of the other functions uses."""
    in_use: tuple[StoredImage, ...]
    """Images that another function uses."""


def find_unused(session: Any, found: Located, keep: str | None) -> Unused:
    """Return what of an installation can be deleted.

    Parameters
    ----------
    session : boto3.Session
    found : Located
    keep : str, optional
        Runtime whose functions and image are kept.
    """
    # Lambda may fetch the images for functions with this word in their names only, whatever their role is.
    every = list_functions(session.client("lambda"))
    old = tuple(one for one in every if one.role == found.role and (keep is None or one.runtime != keep))
    left = [one.image for one in every if one not in old]
    used: list[StoredImage] = []
    free: list[StoredImage] = []
    for image in list_images(session.client("ecr"), found.repository):
        names = [f"{found.repository}@{image.digest}", *(f"{found.repository}:{tag}" for tag in image.tags)]
        is_kept = keep is not None and keep.partition(":")[2] in image.tags
        is_used = is_kept or any(uri.endswith(f"/{name}") for uri in left for name in names)
        (used if is_used else free).append(image)
    return Unused(old, tuple(free), tuple(used))
