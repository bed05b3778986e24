"""Check before a run on AWS Lambda that it can work: what is checked, what was found, and how to fix it.

Nothing is changed, except that one object is written to each bucket and deleted again.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from maggjob._version import __version__
from maggjob.aws.iam import lacking, needed, trusts_lambda
from maggjob.aws.image import PYTHONS, Image, image_of

# NASA's Earthdata Cloud allows s3:// access only from this region.
REGION = "us-west-2"
# Connections of Lithops' threads, plus a margin.
OPEN_FILES = 1024
MANIFEST_LISTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = ("application/vnd.docker.distribution.manifest.v2+json", "application/vnd.oci.image.manifest.v1+json")
SECRETS = ("access_key_id", "secret_access_key", "session_token")
PROBE = "lithops.jobs/maggjob-doctor"
# Numbers of section aws_lambda: Lithops' default, and the smallest and largest sensible value.
NUMBERS = {"runtime_memory": (256, 128, 10_240), "runtime_timeout": (180, 1, 900), "max_workers": (1000, 1, 100_000)}
LOG_IN_TO_AWS = "log in to AWS (aws configure, aws sso login, or AWS_PROFILE)"
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"

State = Literal["ok", "bad", "skipped"]


@dataclass(frozen=True)
class Check:
    """Result of one check."""

    name: str
    """Subject of the check: credentials, region, role, ..."""
    state: State
    """ok, bad, or skipped if the check could not be made."""
    found: str
    """Finding."""
    mend: str = ""
    """What to do about it."""

    def __str__(self) -> str:
        return f"{self.state:8}{self.name:16}{self.found}" + (f"; {self.mend}" if self.mend else "")


def _judged(name: str, found: str, mend: str) -> Check:
    """Return a check that is ok if nothing needs fixing."""
    return Check(name, "bad" if mend else "ok", found, mend)


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
    checks.append(Check("credentials", "ok", identity["Arn"]))
    checks.append(check_account(section, identity["Account"]))
    bucket = config.get("aws_s3", {}).get("storage_bucket")
    target = urlsplit(output).netloc if output is not None and output.startswith("s3://") else ""
    checks.append(check_role(section, session, bucket, target))
    mend = "write storage_bucket in section aws_s3"
    checks.append(check_bucket("Lithops' bucket", bucket, session, identity["Account"], mend))
    if output is not None:
        mend = f"workers cannot write to {output}: give --store s3://BUCKET/NAME.zarr"
        checks.append(check_bucket("output bucket", target, session, identity["Account"], mend))
    image = _ask("image", lambda: image_of(config, identity), "type 'maggjob runtime build'")
    checks += [image] if isinstance(image, Check) else check_image(image, session, fetch or fetch_url, section)
    workers = section.get("max_workers")
    checks.append(check_quota(session, workers if isinstance(workers, int) else NUMBERS["max_workers"][0]))
    return checks


def _ask(name: str, question: Callable[[], Any], mend: str) -> Any:
    """Return AWS's answer, or a bad Check with the error."""
    try:
        return question()
    # botocore raises dozens of types; each is a finding.
    except Exception as problem:  # noqa: BLE001
        if _response(problem).get("Error", {}).get("Code") in DENIED:
            mend = "attach the policy ClientPolicy of the stack to your role or group"
        return Check(name, "bad", f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}", mend)


def _response(problem: Exception) -> Mapping[str, Any]:
    """Return AWS's answer to a failed request; empty if there was none, as for some of botocore's own errors."""
    return getattr(problem, "response", None) or {}


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
    return _judged("versions", text, mend)


def check_open_files(limit: int | None = None) -> Check:
    """Check the number of files that this process may open: each connection counts as one."""
    if limit is None:
        try:
            import resource
        except ImportError:
            return Check("open files", "skipped", "this system has no such limit")
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        # Negative: unlimited.
        limit = sys.maxsize if limit < 0 else limit
    mend = "" if limit >= OPEN_FILES else f"type: ulimit -n {4 * OPEN_FILES}"
    return _judged("open files", f"up to {limit:,}", mend)


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
    return _judged("region", f"{region}", mend)


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


def check_role(section: Mapping[str, Any], session: Any, bucket: str | None, output: str | None) -> Check:
    """Check that the workers' role exists, can be assumed by Lambda, and has the rights that a worker needs.

    Parameters
    ----------
    section : mapping
    session : boto3.Session
    bucket, output : str, optional
        Bucket of Lithops, and of the result.
    """
    given = str(section.get("execution_role", ""))
    name = given.rsplit("/", 1)[-1]
    iam = session.client("iam")
    mend = "deploy the stack of runtime/template.yaml, and copy its output ExecutionRole"
    answer = _ask("role", lambda: iam.get_role(RoleName=name)["Role"], mend)
    if isinstance(answer, Check):
        return answer
    trust = answer["AssumeRolePolicyDocument"]
    trust = json.loads(unquote(trust)) if isinstance(trust, str) else trust
    if not trusts_lambda(trust):
        return Check("role", "bad", f"{name} cannot be assumed by Lambda", mend)
    arn = str(answer["Arn"])
    if given != arn:
        return Check("role", "bad", f"execution_role is {given}, the ARN of {name} is {arn}", f"write {arn}")
    denied = _ask("role", lambda: lacking(iam, arn, needed(arn.split(":")[4], REGION, bucket, output)), "")
    if isinstance(denied, Check):
        return Check("role", "skipped", f"{arn}; its rights could not be simulated ({denied.found})", denied.mend)
    return Check("role", "bad", f"{name} lacks {', '.join(denied)}", mend) if denied else Check("role", "ok", arn)


def check_bucket(what: str, name: str | None, session: Any, account: str, mend: str) -> Check:
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
    """
    if not name:
        return Check(what, "bad", "no name", mend)
    s3 = session.client("s3")
    try:
        head = s3.head_bucket(Bucket=name, ExpectedBucketOwner=account)
    # botocore raises dozens of types.
    except Exception as problem:  # noqa: BLE001
        status = _response(problem).get("ResponseMetadata", {}).get("HTTPStatusCode")
        reasons = {
            404: (f"{name} does not exist", "deploy the stack of runtime/template.yaml"),
            403: (f"{name} belongs to another account, or denies access", "name a bucket of this account"),
            301: (f"{name} is in another region", f"name a bucket in {REGION}"),
        }
        found, mend = reasons.get(status, (f"{name}: {type(problem).__name__}: {problem}", "see this message"))
        return Check(what, "bad", found, mend)
    region = head.get("BucketRegion") or head["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", REGION)
    if region != REGION:
        return Check(what, "bad", f"{name} is in {region}", f"name one in {REGION}: AWS bills traffic between regions")

    def probe() -> None:
        s3.put_object(Bucket=name, Key=PROBE, Body=b"probe")
        s3.delete_object(Bucket=name, Key=PROBE)

    answer = _ask(what, probe, "see this message")
    return answer if isinstance(answer, Check) else Check(what, "ok", f"{name}, writable")


def check_image(image: Image, session: Any, fetch: Callable[[str], bytes], section: Mapping[str, Any]) -> list[Check]:
    """Check that the image exists, is for ARM64, and has our Lithops and Python; also check its function.

    Parameters
    ----------
    image : Image
    session : boto3.Session
    fetch : callable
    section : mapping
        As in `examine` and `check_region`.
    """
    ecr, build = session.client("ecr"), "type 'maggjob runtime build' and 'maggjob runtime deploy'"

    def get() -> Mapping[str, Any]:
        found = ecr.batch_get_image(
            repositoryName=image.repository,
            imageIds=[{"imageTag": image.tag}],
            acceptedMediaTypes=[*MANIFESTS, *MANIFEST_LISTS],
        )
        if not found["images"]:
            raise LookupError(f"{image.repository} has no tag {image.tag}")
        return found["images"][0]

    stored = _ask("image", get, build)
    if isinstance(stored, Check):
        return [stored, Check("function", "skipped", "needs the image")]
    manifest = json.loads(stored["imageManifest"])
    if manifest.get("mediaType") in MANIFEST_LISTS or "manifests" in manifest:
        found = f"{image.runtime} is an index of several images, which Lambda does not accept"
        return [Check("image", "bad", found, build), Check("function", "skipped", "needs the image")]

    def read() -> Mapping[str, Any]:
        digest = manifest["config"]["digest"]
        where = ecr.get_download_url_for_layer(repositoryName=image.repository, layerDigest=digest)["downloadUrl"]
        return json.loads(fetch(where))

    content = _ask("image", read, "")
    checks = [
        Check("image", "skipped", f"{image.runtime} exists; its content could not be read ({content.found})")
        if isinstance(content, Check)
        else judge_image(image.runtime, content, build)
    ]
    return [*checks, check_function(image, session, section)]


def judge_image(name: str, content: Mapping[str, Any], mend: str) -> Check:
    """Check architecture and labels of an image.

    Parameters
    ----------
    name, mend : str
        Name of the runtime, and what to do if something is wrong.
    content : mapping
        Configuration of the image, as docker writes it.
    """
    labels = content.get("config", {}).get("Labels") or {}
    wrong = []
    if content.get("architecture") != "arm64":
        wrong.append(f"is for {content.get('architecture')}, not arm64")
    for what, ours in (("lithops", version("lithops")), ("python", HERE), ("version", __version__)):
        if (theirs := labels.get(f"maggjob.{what}")) != ours:
            named = "maggjob" if what == "version" else what
            wrong.append(f"has {named} {theirs or '(no label)'}, the client has {ours}")
    if wrong:
        return Check("image", "bad", f"{name} {', '.join(wrong)}", mend)
    return Check(
        "image", "ok", f"{name}: arm64, Python {labels['maggjob.python']}, lithops {labels['maggjob.lithops']}"
    )


def check_function(image: Image, session: Any, section: Mapping[str, Any]) -> Check:
    """Check the function that Lithops created from the image, if it exists.

    Parameters
    ----------
    image : Image
    session : boto3.Session
    section : mapping
    """
    memory = section.get("runtime_memory", 256)
    functions = _ask("function", lambda: functions_of(image.runtime, memory, session), "see this message")
    if isinstance(functions, Check):
        return functions
    for function in functions:
        if function.get("Architectures") != ["arm64"]:
            found = f"{function['FunctionName']} is for {function.get('Architectures')}"
            return Check("function", "bad", found, f"type 'maggjob runtime delete {image.runtime}', then deploy")
        return Check("function", "ok", f"{function['FunctionName']}, {memory} MB, {function['Timeout']} s")
    return Check("function", "skipped", f"none for {image.runtime} with {memory} MB yet: the first call creates it")


def functions_of(runtime: str, memory: int, session: Any) -> list[dict[str, Any]]:
    """Return the Lambda functions that Lithops created from a runtime.

    Parameters
    ----------
    runtime : str
    memory : int
        Memory of the functions, MB.
    session : boto3.Session
    """
    client = session.client("lambda")
    known = [f for page in client.get_paginator("list_functions").paginate() for f in page["Functions"]]
    ours = [f for f in known if f["MemorySize"] == memory and "lithops-worker" in f["FunctionName"]]
    tags = [client.list_tags(Resource=function["FunctionArn"])["Tags"] for function in ours]
    return [f for f, tag in zip(ours, tags, strict=True) if tag.get("runtime_name") == runtime]


def check_quota(session: Any, workers: int) -> Check:
    """Check that the account may run all workers at once.

    Parameters
    ----------
    session : boto3.Session
    workers : int
        Sandboxes at once, as max_workers says.
    """
    answer = _ask("quota", lambda: session.client("lambda").get_account_settings()["AccountLimit"], "see this message")
    if isinstance(answer, Check):
        return answer
    quota = answer["UnreservedConcurrentExecutions"]
    more = f"ask for more (Service Quotas, Lambda, concurrent executions), or write max_workers: {quota}"
    return _judged("quota", f"{quota:,} at once, max_workers is {workers:,}", more if quota < workers else "")


def fetch_url(url: str) -> bytes:
    """Return the content of an https URL."""
    import requests

    answer = requests.get(url, timeout=30)
    answer.raise_for_status()
    return answer.content
