"""Whether a run on AWS Lambda can work: what is checked before it, what was found, and how to mend it.

Nothing is changed, but for one object that is written to each bucket and deleted again.

Functions named ``check_*`` ask AWS. Functions named ``judge_*`` are pure: they are given what AWS answered.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from maggjob._version import __version__
from maggjob.aws.iam import lacking, needed, trusts_lambda
from maggjob.aws.image import PYTHONS, Image, image_of

REGION = "us-west-2"  # NASA's Earthdata Cloud gives s3:// access from there only
OPEN_FILES = 1024  # connections of Lithops' threads, and room
MANIFEST_LISTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = ("application/vnd.docker.distribution.manifest.v2+json", "application/vnd.oci.image.manifest.v1+json")
SECRETS = ("access_key_id", "secret_access_key", "session_token")
PROBE = "lithops.jobs/maggjob-doctor"
# Of section aws_lambda: what Lithops takes when there is none, and the least and the most that make sense
NUMBERS = {"runtime_memory": (256, 128, 10_240), "runtime_timeout": (180, 1, 900), "max_workers": (1000, 1, 100_000)}
DEPLOY = "deploy the stack of runtime/template.yaml, and take its output ExecutionRole"
BUILD = "type 'maggjob runtime build' and 'maggjob runtime deploy'"
LOG_IN_TO_AWS = "log in to AWS (aws configure, aws sso login, or AWS_PROFILE)"
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"

State = Literal["ok", "bad", "skipped"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    """What: credentials, region, role, ..."""
    state: State
    """Whether it is as it must be; skipped when that could not be told."""
    found: str
    """What was found."""
    mend: str = ""
    """What to do about it."""

    def __str__(self) -> str:
        return f"{self.state:8}{self.name:16}{self.found}" + (f"; {self.mend}" if self.mend else "")


def _judged(name: str, found: str, mend: str) -> Check:
    """A check that is ok if there is nothing to mend."""
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
        s3:// URL that a result is to be written to.
    fetch : callable, optional
        Gives the content of an https URL; by default with requests.

    Returns
    -------
    list of Check
        In the order in which to mend them.
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
    checks.append(check_role(section, session, bucket, bucket_of(output)))
    mend = "write storage_bucket in section aws_s3"
    checks.append(check_bucket("Lithops' bucket", bucket, session, identity["Account"], mend))
    if output is not None:
        checks.append(check_output(output, session, identity["Account"]))
    image = _ask("image", lambda: image_of(config, identity), "type 'maggjob runtime build'")
    checks += [image] if isinstance(image, Check) else check_image(image, session, fetch or fetch_url, section)
    workers = section.get("max_workers")
    checks.append(check_quota(session, workers if isinstance(workers, int) else NUMBERS["max_workers"][0]))
    return checks


def _ask(name: str, question: Callable[[], Any], mend: str) -> Any:
    """The answer of AWS, or a Check that says why there is none."""
    try:
        return question()
    except Exception as problem:  # noqa: BLE001  # botocore has dozens; each is a finding
        return judge_error(name, problem, mend)


def judge_error(name: str, problem: Exception, mend: str) -> Check:
    """Report an error of botocore; ``mend`` is for errors other than a missing right of the client."""
    if _response(problem).get("Error", {}).get("Code") in DENIED:
        mend = "attach the policy ClientPolicy of the stack to your role or group"
    return Check(name, "bad", f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}", mend)


def _response(problem: Exception) -> Mapping[str, Any]:
    """What AWS answered; nothing where there was no answer: botocore's own errors have None there, or no such thing."""
    return getattr(problem, "response", None) or {}


def check_versions() -> Check:
    """Python and Lithops: those that there are images for."""
    found = {}
    for package in ("lithops", "boto3"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            return Check("versions", "bad", f"{package} is not installed", "pip install 'maggjob[aws]'")
    text = f"Python {HERE}, " + ", ".join(f"{name} {number}" for name, number in found.items())
    mend = "" if HERE in PYTHONS else f"run maggjob with Python {' or '.join(PYTHONS)}: the image has the same"
    return _judged("versions", text, mend)


def check_open_files(limit: int | None = None) -> Check:
    """Files that this process may open: each connection is one."""
    if limit is None:
        try:
            import resource
        except ImportError:  # Windows
            return Check("open files", "skipped", "this system has no such limit")
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        limit = sys.maxsize if limit < 0 else limit  # unlimited
    mend = "" if limit >= OPEN_FILES else f"type: ulimit -n {4 * OPEN_FILES}"
    return _judged("open files", f"up to {limit:,}", mend)


def check_config(config: Mapping[str, Any]) -> Check:
    """Lithops' configuration: complete, for ARM64, and without a secret."""
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
        wrong.append("aws_lambda.user_tags is no mapping")
    for key, (usual, least, most) in NUMBERS.items():
        value = section.get(key, usual)
        if not isinstance(value, int) or not least <= value <= most:
            wrong.append(f"aws_lambda.{key} is {value!r}, not from {least:,} to {most:,}")
    if wrong:
        return Check("configuration", "bad", "; ".join(wrong), "edit lithops_config.yaml")
    memory, timeout = (section.get(key, NUMBERS[key][0]) for key in ("runtime_memory", "runtime_timeout"))
    return Check("configuration", "ok", f"{memory} MB, {timeout} s, arm64")


def check_region(section: Mapping[str, Any], session: Any) -> Check:
    """Region of the workers."""
    region = section.get("region") or section.get("region_name") or session.region_name
    mend = "" if region == REGION else f"write region: {REGION} in section aws: s3:// is read from there only"
    return _judged("region", f"{region}", mend)


def check_account(section: Mapping[str, Any], account: str) -> Check:
    """That configuration and credentials mean one account."""
    role = str(section.get("execution_role", ""))
    named = {"execution_role": (role.split(":") + 5 * [None])[4], "account_id": section.get("account_id")}
    other = {key: value for key, value in named.items() if value is not None and str(value) != account}
    if other:
        text = f"credentials are of {account}, " + ", ".join(f"{key} is of {value}" for key, value in other.items())
        return Check("account", "bad", text, "choose the other profile (AWS_PROFILE), or edit lithops_config.yaml")
    return Check("account", "ok", account)


def check_role(section: Mapping[str, Any], session: Any, bucket: str | None, output: str | None) -> Check:
    """Check the workers' role: it exists, Lambda may assume it, and it has the rights that a worker uses."""
    given = str(section.get("execution_role", ""))
    iam = session.client("iam")
    role = _ask("role", lambda: iam.get_role(RoleName=given.rsplit("/", 1)[-1])["Role"], DEPLOY)
    if isinstance(role, Check):
        return role
    judged = judge_role(given, role)
    if judged.state == "bad":
        return judged
    arn = str(role["Arn"])
    denied = _ask("role", lambda: lacking(iam, arn, needed(arn.split(":")[4], REGION, bucket, output)), "")
    return judge_rights(arn, denied)


def judge_role(given: str, role: Mapping[str, Any]) -> Check:
    """Judge whether Lambda may assume a role, and whether the configuration gives its ARN.

    Parameters
    ----------
    given : str
        The configuration's execution_role.
    role : mapping
        What IAM's GetRole answers.
    """
    name, arn = given.rsplit("/", 1)[-1], str(role["Arn"])
    trust = role["AssumeRolePolicyDocument"]
    trust = json.loads(unquote(trust)) if isinstance(trust, str) else trust
    if not trusts_lambda(trust):
        return Check("role", "bad", f"{name} cannot be assumed by Lambda", DEPLOY)
    if given != arn:
        return Check("role", "bad", f"execution_role is {given}, that of {name} here is {arn}", f"write {arn}")
    return Check("role", "ok", arn)


def judge_rights(arn: str, denied: list[str] | Check) -> Check:
    """Judge the rights that a role lacks; a Check in their place says why they are unknown."""
    if isinstance(denied, Check):
        return Check("role", "skipped", f"{arn}; its rights could not be simulated ({denied.found})", denied.mend)
    if denied:
        return Check("role", "bad", f"{arn.rsplit('/', 1)[-1]} lacks {', '.join(denied)}", DEPLOY)
    return Check("role", "ok", arn)


def bucket_of(output: str | None) -> str:
    """Return the bucket of an s3:// URL; empty for anything else."""
    return urlsplit(output).netloc if output is not None and output.startswith("s3://") else ""


def check_output(output: str, session: Any, account: str) -> Check:
    """Check the bucket that a result is to be written to."""
    mend = f"workers cannot write to {output}: give --store s3://BUCKET/NAME.zarr"
    return check_bucket("output bucket", bucket_of(output), session, account, mend)


def check_bucket(what: str, name: str | None, session: Any, account: str, mend: str) -> Check:
    """Check that a bucket exists, is ours, in the region, and writable; ``mend`` is for one that has no name."""
    if not name:
        return Check(what, "bad", "no name", mend)
    s3 = session.client("s3")
    try:
        head = s3.head_bucket(Bucket=name, ExpectedBucketOwner=account)
    except Exception as problem:  # noqa: BLE001  # botocore has dozens
        return judge_closed_bucket(what, name, problem)
    judged = judge_open_bucket(what, name, head)
    if judged.state == "bad":
        return judged

    def probe() -> None:
        s3.put_object(Bucket=name, Key=PROBE, Body=b"probe")
        s3.delete_object(Bucket=name, Key=PROBE)

    answer = _ask(what, probe, "see what it says")
    return answer if isinstance(answer, Check) else judged


def judge_closed_bucket(what: str, name: str, problem: Exception) -> Check:
    """Judge why S3 did not answer HeadBucket."""
    status = _response(problem).get("ResponseMetadata", {}).get("HTTPStatusCode")
    reasons = {
        404: (f"{name} is not there", "deploy the stack of runtime/template.yaml"),
        403: (f"{name} is somebody else's, or closed to us", "name a bucket of this account"),
        301: (f"{name} is in another region", f"name a bucket in {REGION}"),
    }
    found, mend = reasons.get(status, (f"{name}: {type(problem).__name__}: {problem}", "see what it says"))
    return Check(what, "bad", found, mend)


def judge_open_bucket(what: str, name: str, head: Mapping[str, Any]) -> Check:
    """Judge the region of a bucket by what S3's HeadBucket answers."""
    region = head.get("BucketRegion") or head["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", REGION)
    if region != REGION:
        return Check(what, "bad", f"{name} is in {region}", f"name a bucket in {REGION}: traffic between regions costs")
    return Check(what, "ok", f"{name}, writable")


def check_image(image: Image, session: Any, fetch: Callable[[str], bytes], section: Mapping[str, Any]) -> list[Check]:
    """Check the image (it exists, is for ARM64, has our Lithops and Python) and the function made of it, if any."""
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

    manifest = _ask("image", get, BUILD)
    bad = manifest if isinstance(manifest, Check) else judge_manifest(image.runtime, manifest)
    if bad is not None:
        return [bad, Check("function", "skipped", "needs the image")]
    content = _ask("image", read, "")
    return [judge_image(image.runtime, content), check_function(image, session, section)]


def judge_manifest(name: str, manifest: Mapping[str, Any]) -> Check | None:
    """Judge whether a manifest is that of one image; None if so."""
    if manifest.get("mediaType") in MANIFEST_LISTS or "manifests" in manifest:
        return Check("image", "bad", f"{name} is an index of several images, which Lambda does not take", BUILD)
    return None


def judge_image(name: str, content: Mapping[str, Any] | Check) -> Check:
    """Judge the architecture and the labels of an image.

    Parameters
    ----------
    name : str
    content : mapping or Check
        The image's configuration as docker writes it, or why it could not be read.
    """
    if isinstance(content, Check):
        return Check("image", "skipped", f"{name} is there; what is in it could not be read ({content.found})")
    labels = content.get("config", {}).get("Labels") or {}
    wrong = []
    if content.get("architecture") != "arm64":
        wrong.append(f"is for {content.get('architecture')}, not arm64")
    for what, ours in (("lithops", version("lithops")), ("python", HERE), ("version", __version__)):
        if (theirs := labels.get(f"maggjob.{what}")) != ours:
            named = "maggjob" if what == "version" else what
            wrong.append(f"has {named} {theirs or '(no label)'}, the client has {ours}")
    if wrong:
        return Check("image", "bad", f"{name} {', '.join(wrong)}", BUILD)
    return Check(
        "image", "ok", f"{name}: arm64, Python {labels['maggjob.python']}, lithops {labels['maggjob.lithops']}"
    )


def check_function(image: Image, session: Any, section: Mapping[str, Any]) -> Check:
    """Check the function that Lithops made of the image, if it has made one."""
    memory = section.get("runtime_memory", 256)
    functions = _ask("function", lambda: functions_of(image.runtime, memory, session), "see what it says")
    return functions if isinstance(functions, Check) else judge_functions(image.runtime, memory, functions)


def judge_functions(runtime: str, memory: int, functions: Sequence[Mapping[str, Any]]) -> Check:
    """Judge the first of the functions that Lithops made of a runtime, as Lambda lists them."""
    for function in functions:
        if function.get("Architectures") != ["arm64"]:
            found = f"{function['FunctionName']} is for {function.get('Architectures')}"
            return Check("function", "bad", found, f"type 'maggjob runtime delete {runtime}', then deploy")
        return Check("function", "ok", f"{function['FunctionName']}, {memory} MB, {function['Timeout']} s")
    return Check("function", "skipped", f"none of {runtime} with {memory} MB yet: the first call makes it")


def functions_of(runtime: str, memory: int, session: Any) -> list[dict[str, Any]]:
    """Lambda functions that Lithops made of a runtime, with so many MB."""
    client = session.client("lambda")
    known = [f for page in client.get_paginator("list_functions").paginate() for f in page["Functions"]]
    ours = [f for f in known if f["MemorySize"] == memory and "lithops-worker" in f["FunctionName"]]
    tags = [client.list_tags(Resource=function["FunctionArn"])["Tags"] for function in ours]
    return [f for f, tag in zip(ours, tags, strict=True) if tag.get("runtime_name") == runtime]


def check_quota(session: Any, workers: int) -> Check:
    """Check how many sandboxes the account may run at once."""
    answer = _ask("quota", lambda: session.client("lambda").get_account_settings()["AccountLimit"], "see what it says")
    return answer if isinstance(answer, Check) else judge_quota(answer, workers)


def judge_quota(limit: Mapping[str, Any], workers: int) -> Check:
    """Judge the AccountLimit of Lambda's GetAccountSettings."""
    quota = limit["UnreservedConcurrentExecutions"]
    more = f"ask for more (Service Quotas, Lambda, concurrent executions), or write max_workers: {quota}"
    return _judged("quota", f"{quota:,} at once, max_workers is {workers:,}", more if quota < workers else "")


def fetch_url(url: str) -> bytes:
    """Content of an https URL."""
    import requests

    answer = requests.get(url, timeout=30)
    answer.raise_for_status()
    return answer.content
