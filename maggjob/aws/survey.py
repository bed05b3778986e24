"""What a setup of maggjob at AWS would find: the options, and what is there already. Nothing is changed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from maggjob._version import __version__
from maggjob.aws.base import resolve_base
from maggjob.aws.build import BuildOptions, base_name, check_inputs
from maggjob.aws.function import function_name, memory_of
from maggjob.aws.image import NAME as RUNTIME_NAME, Image, image_folder, image_of
from maggjob.aws.image_layers import package_files
from maggjob.aws.installation import Function, Names, get_function, list_images, names_of
from maggjob.aws.lithops_file import (
    NAME,
    AccountValues,
    check_same_installation,
    check_writable,
    fill_in,
    read_own_file,
)
from maggjob.aws.login import stored_login
from maggjob.aws.refusals import code_of, refusals
from maggjob.aws.registry import Repository
from maggjob.aws.stack import Wanted, check_ours
from maggjob.aws.stack_state import PAUSE, Stack, decide, find_stack, has_changed, template_parameters
from maggjob.backend.settings import lithops_config
from maggjob.errors import InputError
from maggjob.inputs.plain_yaml import load_yaml

REGION = "us-west-2"
"""Region of NASA's archive, the default."""
NEW_ROLE = "arn:aws:iam::000000000000:role/CHANGE-ME"
"""Role in the configuration before the stack tells the real one."""


@dataclass(frozen=True)
class SetupOptions:
    """What was asked for."""

    file: Path
    """lithops_config.yaml."""
    build: BuildOptions
    """How the image is built."""
    name: str | None = None
    """Name of the installation; by default the namespace of the file, else maggjob."""
    bucket_prefix: str | None = None
    """First part of the names of new buckets; by default the name of the installation."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Values of parameters of the template; the others keep their values, or have the template's default."""
    docker: bool = False
    """If True, Docker builds and pushes the image."""
    pause: float = PAUSE
    """Seconds between two looks at a stack that changes."""


@dataclass(frozen=True)
class Deployment:
    """What is there of an image and its function."""

    has_image: bool
    """True if the repository has the image."""
    function: Function | None
    """The function of the image; None if there is none."""
    is_deployed: bool
    """True if the function is as it shall be."""


@dataclass(frozen=True)
class Survey:
    """What is there."""

    caller: str
    """ARN of the caller."""
    account: str
    """Account."""
    region: str
    """Region."""
    names: Names
    """Names of the parts."""
    text: str | None
    """Text of lithops_config.yaml; None if there is no file."""
    config: Mapping[str, Any]
    """Lithops' configuration as it will be, but for the role."""
    stack: Stack | None
    """The stack; None if there is none."""
    wanted: Wanted
    """The stack as it shall be."""
    is_stack_current: bool
    """True if the stack has the wanted template and parameters."""
    image: Image
    """The image that is wanted."""
    deployment: Deployment
    """What is there of the image and its function."""


def current_runtime(build: BuildOptions, base: str) -> str:
    """Return the name of the runtime whose image has what is installed here.

    The tag is a digest of all that decides the image, so that no image is built twice.

    Parameters
    ----------
    build : BuildOptions
    base : str
        Digest of the base image.
    """
    files = package_files(Path(str(resources.files("maggjob"))))
    digest = hashlib.sha256(repr([str(base_name(build)), base, build.readers, version("lithops")]).encode())
    for name, read in sorted(files.items()):
        digest.update(name.encode() + hashlib.sha256(read()).digest())
    for path in (build.lock, build.runtime_folder / "Dockerfile"):
        if path.is_file():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{RUNTIME_NAME}:{__version__}-py{build.python}-{digest.hexdigest()[:12]}"


def base_digest(build: BuildOptions) -> str:
    """Return the digest of the base image: the pinned one, else the one that its registry has now.

    Raises
    ------
    InputError
        If there is no such image.
    BackendError
        If the registry does not answer.
    """
    name = base_name(build)
    if name.digest is not None:
        return name.digest
    with refusals("image"):
        return resolve_base(name, Repository(stored_login(name.host, build.base_login), name.repository)).digest


def survey(session: Any, options: SetupOptions) -> Survey:
    """Look at what is there; nothing is changed.

    Parameters
    ----------
    session : boto3.Session
    options : SetupOptions

    Raises
    ------
    InputError
        If the file is not one of maggjob's, or a name, a parameter, this Python or the base image cannot be used.
    BackendError
        If AWS refuses.
    """
    check_writable(options.file)
    check_inputs(options.build)
    text = read_own_file(options.file)
    with refusals("credentials"):
        identity = session.client("sts").get_caller_identity()
    account, region, cloud = identity["Account"], session.region_name, session.client("cloudformation")
    name = options.name or name_in(text) or NAME
    check_same_installation(text, name)
    names = names_of(name, account, region, options.bucket_prefix)
    with refusals("stack"):
        stack = find_stack(cloud, names.stack)
    usable = stack if stack is not None and decide(stack.status) == "update" else None
    if stack is not None and decide(stack.status) != "remove":
        check_ours(stack)
        # Other names would mean other buckets, and results would be left behind.
        old = stack.parameters
        names = replace(names, lithops_bucket=old["LithopsBucketName"], output_bucket=old["OutputBucketName"])
    values = AccountValues(
        region,
        names.lithops_bucket,
        NEW_ROLE,
        current_runtime(options.build, base_digest(options.build)),
        names.namespace,
    )
    config = lithops_config("aws_lambda", given=load_yaml(fill_in(text, values).text))
    image = image_of(config, identity)
    wanted = wanted_stack(names, image.repository, options.parameters)
    is_current, deployment = False, Deployment(False, None, False)
    if usable is not None:
        with refusals("stack"):
            is_current = not has_changed(cloud, usable, wanted.template, wanted.parameters)
        deployment = look_at_deployment(session, image, config, usable)
    caller = identity["Arn"]
    return Survey(caller, account, region, names, text, config, stack, wanted, is_current, image, deployment)


def name_in(text: str | None) -> str | None:
    """Return the name of the installation that a lithops_config.yaml is for: its namespace; None if it has none."""
    content = (load_yaml(text) or {}) if text else {}
    name = (content.get("aws_lambda") or {}).get("namespace")
    return None if name is None else str(name)


def wanted_stack(names: Names, repository: str, parameters: Mapping[str, str]) -> Wanted:
    """Return the stack as it shall be.

    Parameters
    ----------
    names : Names
    repository : str
        Repository in which Lithops looks for the image.
    parameters : mapping
        Further parameters.

    Raises
    ------
    InputError
        If the template has no such parameter.
    """
    template = (image_folder() / "template.yaml").read_text(encoding="utf-8")
    known = template_parameters(template)
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise InputError(f"the template has no parameter {', '.join(unknown)}; it has {', '.join(known)}")
    buckets = {"LithopsBucketName": names.lithops_bucket, "OutputBucketName": names.output_bucket}
    return Wanted(names.stack, template, {**buckets, "RepositoryName": repository, **parameters})


def look_at_deployment(session: Any, image: Image, config: Mapping[str, Any], stack: Stack) -> Deployment:
    """Return what is there of an image and its function.

    Parameters
    ----------
    session : boto3.Session
    image : Image
    config : mapping
        Lithops' configuration.
    stack : Stack

    Raises
    ------
    BackendError
        If AWS refuses.
    """
    with refusals("image"):
        has_image = any(image.tag in one.tags for one in list_images(session.client("ecr"), image.repository))
    with refusals("function"):
        function = find_function(session.client("lambda"), function_name(image, memory_of(config)))
        is_good = (
            function is not None
            and function.role == stack.outputs.get("ExecutionRole")
            and function.state != "Failed"
            and _is_noted(session, function.name, image, stack.outputs.get("StorageBucket", ""))
        )
    return Deployment(has_image, function, is_good)


def find_function(client: Any, name: str) -> Function | None:
    """Return a function, or None if there is none.

    Parameters
    ----------
    client : boto3 client
        Of the service lambda.
    name : str
    """
    try:
        return get_function(client, name)
    except client.exceptions.ResourceNotFoundException:
        return None


def _is_noted(session: Any, function: str, image: Image, bucket: str) -> bool:
    """Return True if a function was deployed to the end: Lithops' note of it is there, and AWS's retries are set."""
    from botocore.exceptions import ClientError

    try:
        session.client("s3").head_object(Bucket=bucket, Key=note_key(function, image.region))
        session.client("lambda").get_function_event_invoke_config(FunctionName=function)
    except ClientError as problem:
        if code_of(problem) in ("404", "NoSuchKey", "NotFound", "ResourceNotFoundException"):
            return False
        raise
    return True


def note_key(function: str, region: str) -> str:
    """Return the key under which Lithops notes what a function's image has.

    Parameters
    ----------
    function : str
        Name of the function.
    region : str
    """
    return f"lithops.runtimes/aws_lambda/{version('lithops')}/{region}/{function}.meta.json"
