"""``maggjob cloud use``: lithops_config.yaml for people who run maggjob with functions that somebody else deployed.

The operator's setup publishes its file in Lithops' bucket, where UserPolicy lets users read it. A function can also be
named; then what AWS knows about it is written.
"""

import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from maggjob.aws.function import function_name, memory_of
from maggjob.aws.image import image_of
from maggjob.aws.installation import CONFIG_KEY, get_function
from maggjob.aws.lithops_file import AccountValues, fill_in, why_foreign
from maggjob.aws.refusals import NO_RIGHT, code_of, is_denied
from maggjob.backend.settings import TO_FILL_IN, lithops_config
from maggjob.errors import BackendError, InputError
from maggjob.inputs.plain_yaml import load_yaml

LARGEST = 100_000
"""Bytes; more is not a lithops_config.yaml."""
FUNCTION = re.compile(r"(?:(?P<namespace>.+)-)?lithops-worker-(?P<user>[a-z0-9]{1,4})-\d+-[0-9a-f]{10}")
SECRETS = ("access_key_id", "secret_access_key", "session_token")


def read_published(session: Any, account: str, bucket: str) -> str:
    """Return the lithops_config.yaml that the operator published.

    Parameters
    ----------
    session : boto3.Session
    account : str
        Our account, which must own the bucket: anybody can make a bucket of a name that is easy to guess.
    bucket : str
        Lithops' bucket.

    Raises
    ------
    BackendError
        If there is none, or it may not be read.
    botocore.exceptions.ClientError
        If AWS gives another answer.
    """
    from botocore.exceptions import ClientError

    s3 = session.client("s3")
    try:
        found = s3.get_object(Bucket=bucket, Key=CONFIG_KEY, ExpectedBucketOwner=account)
        return bytes(found["Body"].read(LARGEST)).decode("utf-8-sig")
    except ClientError as problem:
        code = code_of(problem)
        if code == "NoSuchBucket":
            raise BackendError(
                f"there is no bucket {bucket}: ask the operator for the name of Lithops' bucket, and give it with "
                "--bucket; or type 'maggjob cloud setup' if nobody has set maggjob up in this account"
            ) from None
        if code == "NoSuchKey":
            raise BackendError(
                f"nothing is published in {bucket}: the operator must type 'maggjob cloud setup'"
            ) from None
        if is_denied(problem) and not NO_RIGHT.search(str(problem)):
            raise BackendError(
                f"you may not read s3://{bucket}/{CONFIG_KEY}, or the bucket is another account's: ask the operator to "
                "attach the policy UserPolicy of the stack to you, or give the right name with --bucket"
            ) from None
        raise


def published_values(text: str) -> AccountValues:
    """Return the values of a lithops_config.yaml that was published.

    Raises
    ------
    InputError
        If it is not a finished one, or has secrets.
    """
    try:
        content = load_yaml(text)
    except ValueError as problem:
        raise InputError(f"the published lithops_config.yaml: {' '.join(str(problem).split())}") from problem
    again = "the operator must type 'maggjob cloud setup' again"
    if why := why_foreign(text, content):
        raise InputError(f"the published lithops_config.yaml is not one of maggjob's ({why}): {again}")
    config = lithops_config("aws_lambda", given=content)
    section = config["aws_lambda"]
    if any(key in config.get(name, {}) for name in ("aws", "aws_lambda", "aws_s3") for key in SECRETS):
        raise InputError(f"the published lithops_config.yaml has keys in it, which it must not: {again}")
    needed = (
        section.get("region") or config.get("aws", {}).get("region"),
        config.get("aws_s3", {}).get("storage_bucket"),
        section.get("execution_role"),
        section.get("runtime"),
    )
    if not all(needed) or TO_FILL_IN in str(needed):
        raise InputError(f"the published lithops_config.yaml is not finished: {again}")
    region, bucket, role, runtime = (str(value) for value in needed)
    own = {key: section.get(name) for key, name in (("namespace", "namespace"), ("user", "user_id"))}
    return AccountValues(
        region,
        bucket,
        role,
        runtime,
        own["namespace"],
        own["user"],
        section.get("runtime_memory"),
        section.get("runtime_timeout"),
    )


def function_values(session: Any, name: str, bucket: str, identity: Mapping[str, str]) -> AccountValues:
    """Return the values of an existing function.

    Parameters
    ----------
    session : boto3.Session
    name : str
        Name of the function.
    bucket : str
        Lithops' bucket.
    identity : mapping
        ``Account`` and ``UserId``, from STS.

    Raises
    ------
    InputError
        If there is no such function, or Lithops would not find it.
    botocore.exceptions.ClientError
        If AWS refuses.
    """
    client = session.client("lambda")
    try:
        function = get_function(client, name)
    except client.exceptions.ResourceNotFoundException:
        raise InputError(
            f"there is no function {name} in {session.region_name}; check --function and --region"
        ) from None
    parts = FUNCTION.fullmatch(function.name)
    if parts is None or not function.runtime:
        raise InputError(
            f"{name} is not a function that Lithops made, or you lack the right lambda:ListTags; ask the operator"
        )
    values = AccountValues(
        session.region_name,
        bucket,
        function.role,
        function.runtime,
        parts["namespace"],
        parts["user"],
        function.memory,
        function.timeout,
    )
    config = lithops_config("aws_lambda", given=load_yaml(fill_in(None, values).text))
    if function_name(image_of(config, identity), memory_of(config)) != function.name:
        raise InputError(
            f"{name} was made by Lithops {function.lithops or 'of another version'}, here is {version('lithops')}: "
            f"install lithops=={function.lithops or 'the same'}, or ask the operator for 'maggjob cloud update'"
        )
    return values
