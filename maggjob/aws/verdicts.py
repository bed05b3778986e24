"""Verdicts on what AWS answered: what was found, whether it is good, and how to fix it.

Everything here is a pure function of an answer, or of the error in its place. `maggjob.aws.doctor` asks.
"""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal
from urllib.parse import unquote

from maggjob._version import __version__
from maggjob.aws.iam import trusts_lambda

# NASA's Earthdata Cloud allows s3:// access only from this region.
REGION = "us-west-2"
MANIFEST_LISTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
# Version of Python on this machine.
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
# What to do about a role, and about an image.
DEPLOY = "deploy the stack of runtime/template.yaml, and copy its output ExecutionRole"
BUILD = "type 'maggjob runtime build' and 'maggjob runtime deploy'"

State = Literal["ok", "note", "bad", "skipped"]


@dataclass(frozen=True)
class Check:
    """Result of one check."""

    name: str
    """Subject of the check: credentials, region, role, ..."""
    state: State
    """ok; note if a run works, but not as well as it could; bad; or skipped if the check could not be made."""
    found: str
    """Finding."""
    mend: str = ""
    """What to do about it."""

    def __str__(self) -> str:
        return f"{self.state:8}{self.name:16}{self.found}" + (f"; {self.mend}" if self.mend else "")


def judged(name: str, found: str, mend: str) -> Check:
    """Return a check that is ok if nothing needs fixing.

    Parameters
    ----------
    name, found : str
        Subject of the check, and finding.
    mend : str
        What to do about it; empty if nothing.
    """
    return Check(name, "bad" if mend else "ok", found, mend)


def judge_error(name: str, problem: Exception, mend: str, spare: str = "") -> Check:
    """Report a failed request as a bad check, or as a skipped one if the client was denied access and can do without.

    Parameters
    ----------
    name : str
        Name of the check.
    problem : Exception
        Error of botocore.
    mend : str
        What to do about it, unless the client was denied access: the policy for clients fixes that.
    spare : str
        Why the client need not have access; empty if it must.
    """
    if _response(problem).get("Error", {}).get("Code") in DENIED:
        if spare:
            return Check(name, "skipped", f"you may not look at it, and need not: {spare}")
        mend = "attach the policy ClientPolicy of the stack to your role or group"
    return Check(name, "bad", f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}", mend)


def _response(problem: Exception) -> Mapping[str, Any]:
    """Return AWS's answer to a failed request; empty if there was none, as for some of botocore's own errors."""
    return getattr(problem, "response", None) or {}


def judge_identity(identity: Mapping[str, str]) -> Check:
    """Judge who the client is: policies for users need a session of a role to have one name for all libraries.

    Parameters
    ----------
    identity : mapping
        Answer of STS's GetCallerIdentity.
    """
    if re.search(r":botocore-session-\d+$", identity["UserId"]):
        found = f"{identity['Arn']}; the name of the session is made up, by each library another"
        mend = "with UserPolicy calls are denied: write role_session_name, such as your name, into the profile"
        return Check("credentials", "note", found, mend)
    return Check("credentials", "ok", identity["Arn"])


def judge_role(given: str, role: Mapping[str, Any]) -> Check:
    """Judge whether Lambda can assume a role, and whether the configuration has the role's ARN.

    Parameters
    ----------
    given : str
        The configuration's execution_role.
    role : mapping
        Role, as in the answer of IAM's GetRole.
    """
    name, arn = given.rsplit("/", 1)[-1], str(role["Arn"])
    trust = role["AssumeRolePolicyDocument"]
    trust = json.loads(unquote(trust)) if isinstance(trust, str) else trust
    if not trusts_lambda(trust):
        return Check("role", "bad", f"{name} cannot be assumed by Lambda", DEPLOY)
    if given != arn:
        return Check("role", "bad", f"execution_role is {given}, the ARN of {name} is {arn}", f"write {arn}")
    return Check("role", "ok", arn)


def judge_rights(arn: str, denied: list[str] | Check) -> Check:
    """Judge the rights of a role.

    Parameters
    ----------
    arn : str
        ARN of the role.
    denied : list of str or Check
        Rights that the role lacks, or the failed check if they are unknown.
    """
    if isinstance(denied, Check):
        return Check("role", "skipped", f"{arn}; its rights could not be simulated ({denied.found})", denied.mend)
    if denied:
        return Check("role", "bad", f"{arn.rsplit('/', 1)[-1]} lacks {', '.join(denied)}", DEPLOY)
    return Check("role", "ok", arn)


def judge_closed_bucket(what: str, name: str, problem: Exception) -> Check:
    """Judge a bucket for which S3's HeadBucket failed.

    Parameters
    ----------
    what : str
        Name of the check.
    name : str
        Name of the bucket.
    problem : Exception
        Error of botocore.
    """
    status = _response(problem).get("ResponseMetadata", {}).get("HTTPStatusCode")
    reasons = {
        404: (f"{name} does not exist", "deploy the stack of runtime/template.yaml"),
        403: (f"{name} belongs to another account, or denies access", "name a bucket of this account"),
        301: (f"{name} is in another region", f"name a bucket in {REGION}"),
    }
    found, mend = reasons.get(status, (f"{name}: {type(problem).__name__}: {problem}", "see this message"))
    return Check(what, "bad", found, mend)


def judge_open_bucket(what: str, name: str, head: Mapping[str, Any]) -> Check:
    """Judge the region of a bucket. The check is ok only if the bucket is also writable, which is not tested here.

    Parameters
    ----------
    what : str
        Name of the check.
    name : str
        Name of the bucket.
    head : mapping
        Answer of S3's HeadBucket.
    """
    region = head.get("BucketRegion") or head["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", REGION)
    if region != REGION:
        return Check(what, "bad", f"{name} is in {region}", f"name one in {REGION}: AWS bills traffic between regions")
    return Check(what, "ok", f"{name}, writable")


def judge_manifest(name: str, manifest: Mapping[str, Any]) -> Check | None:
    """Judge whether a manifest describes a single image.

    Parameters
    ----------
    name : str
        Name of the runtime.
    manifest : mapping
        Manifest, as in the answer of ECR's BatchGetImage.

    Returns
    -------
    Check or None
        A bad check, or None if the manifest describes a single image.
    """
    if manifest.get("mediaType") in MANIFEST_LISTS or "manifests" in manifest:
        return Check("image", "bad", f"{name} is an index of several images, which Lambda does not accept", BUILD)
    return None


def judge_image(name: str, content: Mapping[str, Any] | Check) -> Check:
    """Judge the architecture and the labels of an image.

    Parameters
    ----------
    name : str
        Name of the runtime.
    content : mapping or Check
        Configuration of the image, as docker writes it, or the failed check if it could not be read.
    """
    if isinstance(content, Check):
        return Check("image", "skipped", f"{name} exists; its content could not be read ({content.found})")
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


def judge_function(runtime: str, memory: int, answer: Mapping[str, Any]) -> Check:
    """Judge the function that Lithops created from a runtime.

    Parameters
    ----------
    runtime : str
    memory : int
        Memory of the function, MB.
    answer : mapping
        Answer of Lambda's GetFunction.
    """
    function = answer["Configuration"]
    name = function["FunctionName"]
    if function.get("Architectures") != ["arm64"]:
        mend = f"type 'maggjob runtime delete {runtime}', then deploy"
        return Check("function", "bad", f"{name} is for {function.get('Architectures')}", mend)
    if answer.get("Concurrency", {}).get("ReservedConcurrentExecutions") == 0:
        found = f"{name} is stopped: its reserved concurrency is 0"
        return Check("function", "bad", found, "type 'maggjob cloud stop --undo'")
    if function.get("State") == "Failed":
        found = f"{name} cannot start ({function.get('StateReason', 'no reason given')})"
        return Check("function", "bad", found, f"type 'maggjob runtime delete {runtime}', then deploy")
    asleep = ", asleep: the first call wakes it" if function.get("State") == "Inactive" else ""
    return Check("function", "ok", f"{name}, {memory} MB, {function['Timeout']} s{asleep}")


def judge_no_function(runtime: str, memory: int, problem: Exception) -> Check:
    """Judge a function that Lambda's GetFunction does not show.

    Parameters
    ----------
    runtime : str
    memory : int
        Memory of the function, MB.
    problem : Exception
        Error of botocore.
    """
    if _response(problem).get("Error", {}).get("Code") == "ResourceNotFoundException":
        found = f"none for {runtime} with {memory} MB yet: 'maggjob runtime deploy' or the first call creates it"
        return Check("function", "skipped", found)
    return judge_error("function", problem, "see this message")


def judge_metadata(function: Check, runtime: str, metadata: Mapping[str, Any] | None) -> Check:
    """Judge what Lithops noted about a function that is there when it was deployed.

    Parameters
    ----------
    function : Check
        The function.
    runtime : str
    metadata : mapping, optional
        Content of Lithops' note; None if there is none.

    Returns
    -------
    Check
        The function's, unless something is wrong.
    """
    if metadata is None:
        found = f"{function.found}; Lithops has no note of it in its bucket"
        return Check("function", "note", found, f"type 'maggjob runtime deploy {runtime}', or let the operator do so")
    ours = {"lithops_version": version("lithops"), "python_version": HERE}
    other = [f"{key.split('_')[0]} {metadata.get(key)}" for key in ours if metadata.get(key) != ours[key]]
    if other:
        inside, here = " and ".join(other), f"lithops {version('lithops')} and python {HERE}"
        found = f"{function.found}, has {inside}, the client has {here}"
        return Check("function", "bad", found, f"run maggjob in an environment with {inside}, or {BUILD}")
    return function


def judge_quota(limit: Mapping[str, Any], workers: int) -> Check:
    """Judge whether an account may run enough sandboxes at once. With fewer, a run works, and takes longer.

    Parameters
    ----------
    limit : mapping
        AccountLimit in the answer of Lambda's GetAccountSettings.
    workers : int
        The configuration's max_workers.
    """
    quota = limit["UnreservedConcurrentExecutions"]
    text = f"{quota:,} at once, max_workers is {workers:,}"
    if quota >= workers:
        return Check("quota", "ok", text)
    if quota == 0:
        return Check(
            "quota", "bad", text, "no call can start: free concurrency that functions reserve, or ask for more"
        )
    slower = f"{text}: a run takes up to {workers / quota:,.0f} times as long as with all of them, and costs the same"
    new = "new accounts have 10; " if quota <= 10 else ""
    more = f"{new}ask for more (Service Quotas, Lambda, concurrent executions); until then write max_workers: {quota}"
    return Check("quota", "note", slower, more)
