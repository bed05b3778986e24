"""Check before a run on AWS Lambda that it can work.

Nothing is changed, except that one object is written to each bucket and deleted again. What is asked of AWS is asked
here; `maggjob.aws.verdicts` judges the answers.
"""

import json
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

from maggjob.aws.function import function_name, memory_of
from maggjob.aws.iam import lacking, needed
from maggjob.aws.image import PYTHONS, Image, image_of
from maggjob.aws.verdicts import (
    BUILD,
    DEPLOY,
    HERE,
    MANIFEST_LISTS,
    REGION,
    Check,
    judge_closed_bucket,
    judge_error,
    judge_function,
    judge_identity,
    judge_image,
    judge_manifest,
    judge_metadata,
    judge_no_function,
    judge_open_bucket,
    judge_quota,
    judge_rights,
    judge_role,
    judged,
)
from maggjob.backend.settings import OWN
from maggjob.storage.run_folder import run_folder

# Connections of Lithops' threads, plus a margin.
OPEN_FILES = 1024
MANIFESTS = ("application/vnd.docker.distribution.manifest.v2+json", "application/vnd.oci.image.manifest.v1+json")
SECRETS = ("access_key_id", "secret_access_key", "session_token")
PROBE = "maggjob-doctor"
SPARE = "the function is there"
# Numbers of section aws_lambda: Lithops' default, and the smallest and largest sensible value.
NUMBERS = {"runtime_memory": (256, 128, 10_240), "runtime_timeout": (180, 1, 900), "max_workers": (1000, 1, 100_000)}
LOG_IN_TO_AWS = "log in to AWS (aws configure, aws sso login, or AWS_PROFILE)"


def examine(
    config: Mapping[str, Any],
    session: Any,
    output: str | None = None,
    fetch: Callable[[str], bytes] | None = None,
) -> list[Check]:
    """Check everything that a run on AWS Lambda needs.

    Parameters
    ----------
    config : mapping
        From `maggjob.lithops_config`, for aws_lambda.
    session : boto3.Session
    output : str, optional
        s3:// URL that the result will be written to.
    fetch : callable, optional
        Returns the content of an https URL; by default `fetch_url`.

    Returns
    -------
    list of Check
        In the order in which to fix them.
    """
    section = {**config.get("aws", {}), **config.get("aws_lambda", {})}
    checks = [check_versions(), check_open_files(), check_config(config), check_region(section, session)]
    identity = _ask("credentials", lambda: session.client("sts").get_caller_identity(), LOG_IN_TO_AWS)
    if isinstance(identity, Check):
        left = ("account", "role", "bucket", "image", "function", "quota")
        return [*checks, identity, *(Check(name, "skipped", "needs credentials") for name in left)]
    checks.append(judge_identity(identity))
    account = identity["Account"]
    checks.append(check_account(section, account))
    bucket = config.get("aws_s3", {}).get("storage_bucket")
    image = _ask("image", lambda: image_of(config, identity), "type 'maggjob runtime build'")
    needs = Check("function", "skipped", "needs the image")
    function = needs if isinstance(image, Check) else check_function(image, session, memory_of(config), bucket)
    # Who may only invoke a function that is there need not see what it is made of.
    spare = SPARE if function.state in ("ok", "note") else ""
    checks.append(check_role(section, session, bucket, bucket_of(output), spare))
    mend = "write storage_bucket in section aws_s3"
    probe = f"lithops.jobs/{identity['UserId']}{OWN}{PROBE}"
    checks.append(check_bucket("Lithops' bucket", bucket, session, account, mend, probe))
    if output is not None:
        checks.append(check_output(output, session, account))
    checks.append(image if isinstance(image, Check) else check_image(image, session, fetch or fetch_url, spare))
    checks.append(function)
    workers = section.get("max_workers")
    checks.append(check_quota(session, workers if isinstance(workers, int) else NUMBERS["max_workers"][0]))
    return checks


def _ask(name: str, question: Callable[[], Any], mend: str, spare: str = "") -> Any:
    """Return AWS's answer, or a Check with the error."""
    try:
        return question()
    # botocore raises dozens of types; each is a finding.
    except Exception as problem:  # noqa: BLE001
        return judge_error(name, problem, mend, spare)


def check_versions() -> Check:
    """Check that an image exists for this Python, and that Lithops and boto3 are installed."""
    found = {}
    for package in ("lithops", "boto3"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            return Check("versions", "bad", f"{package} is not installed", "pip install 'maggjob[aws]'")
    text = f"Python {HERE}, " + ", ".join(f"{name} {number}" for name, number in found.items())
    mend = "" if HERE in PYTHONS else f"run maggjob with Python {' or '.join(PYTHONS)}, as the image must have the same"
    return judged("versions", text, mend)


def check_open_files(limit: int | None = None) -> Check:
    """Check the number of files that this process may open: each connection counts as one."""
    if limit is None:
        try:
            import resource
        # Windows has no such module.
        except ImportError:
            return Check("open files", "skipped", "this system has no such limit")
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        # A negative number means unlimited.
        limit = sys.maxsize if limit < 0 else limit
    mend = "" if limit >= OPEN_FILES else f"type: ulimit -n {4 * OPEN_FILES}"
    return judged("open files", f"up to {limit:,}", mend)


def check_config(config: Mapping[str, Any]) -> Check:
    """Check that Lithops' configuration is complete, for ARM64, and without secrets."""
    section = config.get("aws_lambda", {})
    wrong = []
    for name in ("aws", "aws_lambda", "aws_s3"):
        secrets = sorted(set(SECRETS) & config.get(name, {}).keys())
        if secrets:
            wrong.append(f"{name}: {', '.join(secrets)} would travel with each call; remove it")
    for name in ("aws_lambda", "aws_s3"):
        wrong += [f"{name}.{key}: {v}" for key, v in config.get(name, {}).items() if "CHANGE-ME" in str(v)]
    if not config.get("aws_s3", {}).get("storage_bucket"):
        wrong.append("aws_s3: no storage_bucket")
    if section.get("architecture") != "arm64":
        wrong.append(f"aws_lambda.architecture is {section.get('architecture', 'x86_64')}, the image is for arm64")
    if not isinstance(section.get("user_tags", {}), Mapping):
        wrong.append("aws_lambda.user_tags is not a mapping")
    for key, (usual, least, most) in NUMBERS.items():
        value = section.get(key, usual)
        if not isinstance(value, int) or not least <= value <= most:
            wrong.append(f"aws_lambda.{key} is {value!r}, not between {least:,} and {most:,}")
    if wrong:
        return Check("configuration", "bad", "; ".join(wrong), "edit lithops_config.yaml")
    memory, timeout = (section.get(key, NUMBERS[key][0]) for key in ("runtime_memory", "runtime_timeout"))
    return Check("configuration", "ok", f"{memory} MB, {timeout} s, arm64")


def check_region(section: Mapping[str, Any], session: Any) -> Check:
    """Check the region of the workers.

    Parameters
    ----------
    section : mapping
        Sections aws and aws_lambda of Lithops' configuration, merged.
    session : boto3.Session
    """
    region = section.get("region") or section.get("region_name") or session.region_name
    mend = "" if region == REGION else f"write region: {REGION} in section aws: NASA allows s3:// from there only"
    return judged("region", f"{region}", mend)


def check_account(section: Mapping[str, Any], account: str) -> Check:
    """Check that configuration and credentials name the same account.

    Parameters
    ----------
    section : mapping
    account : str
        Account of the credentials, 12 digits.
    """
    role = str(section.get("execution_role", ""))
    named = {"execution_role": (role.split(":") + 5 * [None])[4], "account_id": section.get("account_id")}
    other = {key: value for key, value in named.items() if value is not None and str(value) != account}
    if other:
        text = f"credentials are for {account}, " + ", ".join(f"{key} is for {value}" for key, value in other.items())
        return Check("account", "bad", text, "choose another profile (AWS_PROFILE), or edit lithops_config.yaml")
    return Check("account", "ok", account)


def check_role(
    section: Mapping[str, Any], session: Any, bucket: str | None, output: str | None, spare: str = ""
) -> Check:
    """Check that the workers' role exists, can be assumed by Lambda, and has the rights that a worker needs.

    Parameters
    ----------
    section : mapping
    session : boto3.Session
    bucket, output : str, optional
        Bucket of Lithops, and of the result.
    spare : str
        Why the client need not look at it; empty if it must.
    """
    given = str(section.get("execution_role", ""))
    iam = session.client("iam")
    role = _ask("role", lambda: iam.get_role(RoleName=given.rsplit("/", 1)[-1])["Role"], DEPLOY, spare)
    if isinstance(role, Check):
        return role
    verdict = judge_role(given, role)
    if verdict.state == "bad":
        return verdict
    arn = str(role["Arn"])
    denied = _ask("role", lambda: lacking(iam, arn, needed(arn.split(":")[4], REGION, bucket, output)), "")
    return judge_rights(arn, denied)


def bucket_of(output: str | None) -> str:
    """Return the bucket of an s3:// URL; empty if it is anything else."""
    return urlsplit(output).netloc if output is not None and output.startswith("s3://") else ""


def check_output(output: str, session: Any, account: str) -> Check:
    """Check the bucket that the result will be written to.

    Parameters
    ----------
    output : str
        URL of the result; bad unless it is an s3:// URL.
    session : boto3.Session
    account : str
        Account that must own the bucket.
    """
    mend = f"workers cannot write to {output}: give --store s3://BUCKET/NAME.zarr"
    # Where the run's folder will be, as some may write below a prefix only.
    probe = f"{urlsplit(run_folder(output)).path.lstrip('/')}/{PROBE}"
    return check_bucket("output bucket", bucket_of(output), session, account, mend, probe)


def check_bucket(what: str, name: str | None, session: Any, account: str, mend: str, key: str) -> Check:
    """Check that a bucket exists, belongs to the account, is in the region, and is writable.

    Parameters
    ----------
    what : str
        Name of the check.
    name : str, optional
    session : boto3.Session
    account : str
        Account that must own the bucket.
    mend : str
        What to do if the bucket has no name.
    key : str
        Key of an object that is written and deleted again.
    """
    if not name:
        return Check(what, "bad", "no name", mend)
    s3 = session.client("s3")
    try:
        head = s3.head_bucket(Bucket=name, ExpectedBucketOwner=account)
    # botocore raises dozens of types.
    except Exception as problem:  # noqa: BLE001
        return judge_closed_bucket(what, name, problem)
    verdict = judge_open_bucket(what, name, head)
    if verdict.state == "bad":
        return verdict

    def probe() -> None:
        s3.put_object(Bucket=name, Key=key, Body=b"probe")
        s3.delete_object(Bucket=name, Key=key)

    answer = _ask(what, probe, "see this message")
    return answer if isinstance(answer, Check) else verdict


def check_image(image: Image, session: Any, fetch: Callable[[str], bytes], spare: str = "") -> Check:
    """Check that the image exists, is for ARM64, and has our Lithops and Python, as its labels tell.

    Parameters
    ----------
    image : Image
    session : boto3.Session
    fetch : callable
        As in `examine`.
    spare : str
        Why the client need not look at it; empty if it must.
    """
    ecr = session.client("ecr")

    def get() -> Mapping[str, Any]:
        found = ecr.batch_get_image(
            repositoryName=image.repository,
            imageIds=[{"imageTag": image.tag}],
            acceptedMediaTypes=[*MANIFESTS, *MANIFEST_LISTS],
        )
        if not found["images"]:
            raise LookupError(f"{image.repository} has no tag {image.tag}")
        return json.loads(found["images"][0]["imageManifest"])

    def read() -> Mapping[str, Any]:
        digest = manifest["config"]["digest"]
        where = ecr.get_download_url_for_layer(repositoryName=image.repository, layerDigest=digest)["downloadUrl"]
        return json.loads(fetch(where))

    manifest = _ask("image", get, BUILD, spare)
    bad = manifest if isinstance(manifest, Check) else judge_manifest(image.runtime, manifest)
    return bad or judge_image(image.runtime, _ask("image", read, ""))


def check_function(image: Image, session: Any, memory: int, bucket: str | None) -> Check:
    """Check the function that Lithops created from the image, if it exists, and what Lithops noted about it.

    Parameters
    ----------
    image : Image
    session : boto3.Session
    memory : int
        Memory of the function, MB.
    bucket : str, optional
        Lithops' bucket.
    """
    name = function_name(image, memory)
    try:
        answer = session.client("lambda").get_function(FunctionName=name)
    # botocore raises dozens of types.
    except Exception as problem:  # noqa: BLE001
        return judge_no_function(image.runtime, memory, problem)
    function = judge_function(image.runtime, memory, answer)
    if function.state == "bad" or not bucket:
        return function
    s3 = session.client("s3")
    key = f"lithops.runtimes/aws_lambda/{version('lithops')}/{image.region}/{name}.meta.json"
    try:
        metadata = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except s3.exceptions.NoSuchKey:
        metadata = None
    # What is wrong with the bucket is found by its own check.
    except Exception:  # noqa: BLE001
        return function
    return judge_metadata(function, image.runtime, metadata)


def check_quota(session: Any, workers: int) -> Check:
    """Check that the account may run enough sandboxes at once.

    Parameters
    ----------
    session : boto3.Session
    workers : int
        The configuration's max_workers.
    """
    answer = _ask("quota", lambda: session.client("lambda").get_account_settings()["AccountLimit"], "see this message")
    return answer if isinstance(answer, Check) else judge_quota(answer, workers)


def fetch_url(url: str) -> bytes:
    """Return the content of an https URL."""
    import requests

    answer = requests.get(url, timeout=30)
    answer.raise_for_status()
    return answer.content
