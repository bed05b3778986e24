"""Faults of an account are found before a run, and are named together with what to do about them.

Most faults are judged here from answers as AWS gives them. A few whole examinations, against moto, show that the doctor
asks for these answers and reports the faults of all of them at once.
"""

import ast
import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pytest
import requests
import yaml
from botocore.exceptions import ClientError
from lithops import __version__ as LITHOPS  # noqa: N812
from moto.iam.access_control import IAMPolicy

from maggjob._version import __version__
from maggjob.aws import doctor, verdicts
from maggjob.aws.doctor import (
    check_account,
    check_config,
    check_function,
    check_open_files,
    check_output,
    check_region,
    check_role,
    examine,
)
from maggjob.aws.function import function_name
from maggjob.aws.iam import lacking, needed, trusts_lambda
from maggjob.aws.image import image_of
from maggjob.aws.verdicts import (
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
)
from maggjob.cli import commands as cli
from tests.aws.front import Front, allows, front
from tests.aws.lambda_service import ACCOUNT
from tests.aws.test_template import TEMPLATE
from tests.aws.world import BUCKET, REGION, ROLE, ROOT, World, fresh_config

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")  # what moto makes nothing of in the stack
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}
OTHER = "999999999999"
STORE = "s3://maps/map.zarr"
WEST = {"LocationConstraint": "us-west-2"}
NAMES = ["versions", "open files", "configuration", "region", "credentials", "account", "role"]
NAMES += ["Lithops' bucket", "output bucket", "image", "function", "quota"]
Config = dict[str, Any]
Answer = dict[str, Any]


@pytest.fixture(scope="module")
def policies(aws_world: World) -> dict[str, Any]:
    """Return what the stack of runtime/template.yaml lets workers and clients do, with the buckets of these tests."""
    cloud, iam = boto3.client("cloudformation"), boto3.client("iam")
    given = {"LithopsBucketName": "stack-lithops", "OutputBucketName": "stack-maps", "RepositoryName": "lithops_v1/it"}
    parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()]
    cloud.create_stack(
        StackName="rights",
        TemplateBody=TEMPLATE.read_text(),
        Parameters=parameters,
        Capabilities=["CAPABILITY_IAM"],
    )
    made = cloud.list_stack_resources(StackName="rights")["StackResourceSummaries"]
    names = {resource.get("LogicalResourceId"): resource.get("PhysicalResourceId") for resource in made}
    worker = iam.get_role_policy(RoleName=names["WorkerRole"], PolicyName="worker")["PolicyDocument"]
    client = iam.get_policy_version(PolicyArn=names["ClientPolicy"], VersionId="v1")["PolicyVersion"]["Document"]
    text = json.dumps({"worker": ast.literal_eval(worker), "client": client})  # moto keeps the first as Python shows it
    content: dict[str, Any] = json.loads(text.replace("stack-lithops", BUCKET).replace("stack-maps", "maps"))
    return content


@pytest.fixture
def gate(aws: World, policies: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """An account without a fault, and the server in front of it."""
    monkeypatch.setattr(doctor, "PYTHONS", (verdicts.HERE,))
    monkeypatch.setattr(aws.service, "concurrency", 1700)
    with front(aws.endpoint) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
        made.image = {"architecture": "arm64", "config": {"Labels": labels()}}
        s3, iam = boto3.client("s3"), boto3.client("iam")
        for bucket in {BUCKET, "maps"} - {known["Name"] for known in s3.list_buckets()["Buckets"]}:
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=WEST)
        if "maggjob-worker" not in [role["RoleName"] for role in iam.list_roles()["Roles"]]:
            iam.create_role(RoleName="maggjob-worker", AssumeRolePolicyDocument=json.dumps(TRUST))
        allow("maggjob-worker", policies["worker"])
        yield made


def allow(role: str, document: dict[str, Any]) -> None:
    """Give a role the rights of this policy, and no others."""
    boto3.client("iam").put_role_policy(RoleName=role, PolicyName="worker", PolicyDocument=json.dumps(document))


def labels(**other: str) -> dict[str, str]:
    ours = {"lithops": LITHOPS, "python": verdicts.HERE, "version": __version__}
    return {f"maggjob.{name}": value for name, value in (ours | other).items()}


def look(aws: World, config: Config | None = None, session: Any = None, store: str = STORE) -> dict[str, Check]:
    checks = examine(config or aws.fresh_config(), session or boto3.Session(region_name="us-west-2"), store)
    assert [check.name for check in checks] == NAMES
    return {check.name: check for check in checks}


def command(*words: str) -> int:
    """Exit code of the command line, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["maggjob", *words])
        try:
            cli.main()
        except SystemExit as end:
            return int(str(end.code))
    return 0


# ---- recorded answers, judged


def test_a_good_configuration_is_ok() -> None:
    assert check_config(fresh_config()).state == "ok"


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        ("aws", {"secret_access_key": "x"}, "would travel with each call"),
        ("aws_lambda", {"execution_role": "arn:aws:iam::123456789012:role/CHANGE-ME"}, "execution_role: .*CHANGE-ME"),
        ("aws_lambda", {"architecture": "x86_64"}, "the image is for arm64"),
        ("aws_lambda", {"user_tags": "x"}, "user_tags is not a mapping"),
        ("aws_lambda", {"runtime_timeout": 901}, "runtime_timeout is 901, not between 1 and 900"),
        ("aws_lambda", {"runtime_timeout": "900"}, "runtime_timeout is '900', not between"),
        ("aws_lambda", {"max_workers": "many"}, "max_workers is 'many', not between"),
        ("aws_lambda", {"max_workers": None}, "max_workers is None, not between"),
        ("aws_lambda", {"runtime_memory": 0}, "runtime_memory is 0, not between 128 and 10,240"),
        ("aws_s3", {"storage_bucket": ""}, "aws_s3: no storage_bucket"),
    ],
    ids="secret placeholder x86 tags timeout text many none memory bucket".split(),
)
def test_a_fault_of_the_configuration_is_named(section: str, values: dict[str, Any], said: str) -> None:
    config = fresh_config()
    config[section].update(values)
    check = check_config(config)
    assert check.state == "bad"
    assert re.search(said, check.found)
    assert check.mend == "edit lithops_config.yaml"


def error(operation: str, status: int, code: str) -> ClientError:
    """An error as botocore raises it for an answer of AWS."""
    answer: Any = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


def role(service: str = "lambda", arn: str = ROLE) -> Answer:
    """Return the answer of GetRole. IAM writes a policy as quoted JSON."""
    return {"Arn": arn, "AssumeRolePolicyDocument": quote(json.dumps(TRUST).replace("lambda", service))}


def head(region: str) -> Answer:
    """Return the answer of HeadBucket."""
    return {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {"x-amz-bucket-region": region}}}


def image(architecture: str = "arm64", **other: str) -> Answer:
    """An image's configuration, as docker writes it."""
    return {"architecture": architecture, "config": {"Labels": labels(**other)}}


def function(architecture: str = "arm64", state: str = "Active", **besides: Any) -> Answer:
    """Return the answer of GetFunction."""
    found = {"FunctionName": "lithops-worker-x", "Architectures": [architecture], "Timeout": 15, "State": state}
    return {"Configuration": found, **besides}


def metadata(**other: str) -> Answer:
    """What Lithops notes about a function when it is deployed."""
    return {"lithops_version": LITHOPS, "python_version": verdicts.HERE, "preinstalls": []} | other


SESSION = boto3.Session(region_name="us-west-2")
GONE = error("GetRole", 404, "NoSuchEntity")
OTHERS = "arn:aws:iam::999999999999:role/maggjob-worker"
DENIED = judge_error("role", error("SimulatePrincipalPolicy", 403, "AccessDenied"), "")
UNREAD = judge_error("image", error("GetDownloadUrlForLayer", 400, "LayersNotFoundException"), "")
FUNCTION = judge_function("maggjob:01", 2048, function())
JUDGED: dict[str, tuple[Check, str, str]] = {
    "region": (check_region({"region": REGION}, SESSION), "ok", REGION),
    "region of the session": (check_region({}, SESSION), "ok", REGION),
    "other region": (check_region({"region": "eu-central-1"}, SESSION), "bad", "eu-central-1; .*us-west-2"),
    "identity": (judge_identity({"UserId": "AROAX:jane", "Arn": "arn:jane"}), "ok", "arn:jane$"),
    "nameless session": (
        judge_identity({"UserId": "AROAX:botocore-session-1700000000", "Arn": "arn:x"}),
        "note",
        "arn:x; the name of the session is made up.*; .*role_session_name",
    ),
    "account": (check_account({"execution_role": ROLE}, ACCOUNT), "ok", ACCOUNT),
    "other account": (
        check_account({"execution_role": OTHERS}, ACCOUNT),
        "bad",
        "credentials are for 123456789012, execution_role is for 999999999999; .*AWS_PROFILE",
    ),
    "role": (judge_role(ROLE, role()), "ok", ROLE),
    "no role": (judge_error("role", GONE, verdicts.DEPLOY), "bad", "NoSuchEntity.*; .*template.yaml"),
    "role of EC2": (judge_role(ROLE, role("ec2")), "bad", "cannot be assumed by Lambda; .*template.yaml"),
    "role at the edge": (judge_role(ROLE, role("edgelambda")), "bad", "cannot be assumed by Lambda"),
    "role by name": (judge_role("maggjob-worker", role()), "bad", f"is maggjob-worker, .*{ROLE}; write {ROLE}"),
    "rights": (judge_rights(ROLE, []), "ok", ROLE),
    "right": (judge_rights(ROLE, ["s3:PutObject on x"]), "bad", "maggjob-worker lacks s3:PutObject on x; .*template"),
    "rights unknown": (
        judge_rights(ROLE, DENIED),
        "skipped",
        f"{ROLE}; its rights could not be simulated .*AccessDenied.*ClientPolicy",
    ),
    "bucket": (judge_open_bucket("b", "maps", head(REGION)), "ok", "maps, writable"),
    "bucket elsewhere": (judge_open_bucket("b", "far", head("eu-central-1")), "bad", "eu-central-1; .*us-west-2"),
    "no bucket": (judge_closed_bucket("b", "maps", error("HeadBucket", 404, "404")), "bad", "maps does not exist; "),
    "closed bucket": (
        judge_closed_bucket("b", "maps", error("HeadBucket", 403, "403")),
        "bad",
        "maps belongs to another account, or denies access; name a bucket of this",
    ),
    "moved bucket": (
        judge_closed_bucket("b", "maps", error("HeadBucket", 301, "301")),
        "bad",
        "maps is in another region; name a bucket in us-west-2",
    ),
    "bucket out of order": (
        judge_closed_bucket("b", "maps", error("HeadBucket", 500, "500")),
        "bad",
        r"maps: ClientError: .*\(500\).*; see this message",
    ),
    "may not": (
        judge_error("b", error("PutObject", 403, "AccessDenied"), "x"),
        "bad",
        "AccessDenied.*; .*ClientPolicy",
    ),
    "index": (
        judge_manifest("maggjob:01", {"mediaType": verdicts.MANIFEST_LISTS[0], "manifests": []}) or UNREAD,
        "bad",
        "index of several images.*; .*runtime build",
    ),
    "image": (judge_image("maggjob:01", image()), "ok", "maggjob:01: arm64"),
    "image unread": (judge_image("maggjob:01", UNREAD), "skipped", "maggjob:01 exists; .*LayersNotFound"),
    "x86 image": (judge_image("maggjob:01", image("amd64")), "bad", "is for amd64, not arm64; .*runtime build"),
    "other lithops": (judge_image("a:1", image(lithops="3.7.0")), "bad", "has lithops 3.7.0, the client has 3"),
    "other python": (judge_image("a:1", image(python="3.9")), "bad", "has python 3.9, the client has 3"),
    "other maggjob": (judge_image("a:1", image(version="0.0.1")), "bad", "has maggjob 0.0.1, the client has "),
    "no labels": (judge_image("a:1", {"architecture": "arm64", "config": {}}), "bad", r"has lithops \(no label\)"),
    "function": (FUNCTION, "ok", "lithops-worker-x, 2048 MB, 15 s$"),
    "no function": (
        judge_no_function("maggjob:01", 2048, error("GetFunction", 404, "ResourceNotFoundException")),
        "skipped",
        "none for maggjob:01 with 2048 MB yet",
    ),
    "hidden function": (
        judge_no_function("maggjob:01", 2048, error("GetFunction", 403, "AccessDeniedException")),
        "bad",
        "AccessDenied.*; .*ClientPolicy",
    ),
    "x86 function": (
        judge_function("maggjob:01", 2048, function("x86_64")),
        "bad",
        "lithops-worker-x is for .*x86_64.*; .*runtime delete maggjob:01",
    ),
    "sleeping function": (judge_function("maggjob:01", 2048, function(state="Inactive")), "ok", "first call wakes it"),
    "failed function": (
        judge_function("maggjob:01", 2048, function(state="Failed")),
        "bad",
        "cannot start .*; .*delete",
    ),
    "stopped function": (
        judge_function("maggjob:01", 2048, function(Concurrency={"ReservedConcurrentExecutions": 0})),
        "bad",
        "lithops-worker-x is stopped.*; .*cloud stop --undo",
    ),
    "noted": (judge_metadata(FUNCTION, "maggjob:01", metadata()), "ok", "lithops-worker-x, 2048 MB, 15 s$"),
    "not noted": (judge_metadata(FUNCTION, "maggjob:01", None), "note", "no note of it.*; .*runtime deploy maggjob:01"),
    "noted with another python": (
        judge_metadata(FUNCTION, "maggjob:01", metadata(python_version="3.9")),
        "bad",
        "has python 3.9, the client has lithops .*; run maggjob in an environment with python 3.9",
    ),
    "quota": (judge_quota({"UnreservedConcurrentExecutions": 1700}, 1700), "ok", "1,700 at once"),
    "small quota": (
        judge_quota({"UnreservedConcurrentExecutions": 10}, 1700),
        "note",
        "10 at once.*up to 170 times as long.*; new accounts have 10; .*max_workers: 10",
    ),
    "half a quota": (
        judge_quota({"UnreservedConcurrentExecutions": 850}, 1700),
        "note",
        "up to 2 times.*; ask for more.*: 850",
    ),
    "no quota": (judge_quota({"UnreservedConcurrentExecutions": 0}, 1700), "bad", "0 at once.*; no call can start"),
    "spared": (
        judge_error("role", error("GetRole", 403, "AccessDenied"), "x", "the function is there"),
        "skipped",
        "you may not look at it, and need not: the function is there",
    ),
}


@pytest.mark.parametrize("what", JUDGED)
def test_an_answer_of_aws_is_judged(what: str) -> None:
    check, state, said = JUDGED[what]
    assert check.state == state
    assert re.search(said, str(check)[24:])
    assert bool(check.mend) == (state in ("bad", "note")) or state == "skipped"


@pytest.mark.parametrize("store", ["map.zarr", "https://maps/map.zarr", "s3:/maps/map.zarr", "s3://"])
def test_a_store_that_is_in_no_bucket_is_named(store: str) -> None:
    check = check_output(store, SESSION, ACCOUNT)
    assert check.state == "bad"
    assert f"workers cannot write to {store}: give --store s3://" in check.mend


@pytest.mark.parametrize(("limit", "state"), [(256, "bad"), (1024, "ok"), (1_048_576, "ok")])
def test_few_open_files_are_bad(limit: int, state: str) -> None:
    assert check_open_files(limit).state == state


def test_who_may_assume_a_role() -> None:
    statement = TRUST["Statement"][0]
    assert trusts_lambda(TRUST)
    assert trusts_lambda({"Statement": statement})
    assert trusts_lambda({"Statement": [{**statement, "Principal": {"Service": ["ec2", "lambda.amazonaws.com"]}}]})
    for other in ({"Effect": "Deny"}, {"Principal": "*"}, {"Principal": {"AWS": "lambda.amazonaws.com"}}):
        assert not trusts_lambda({"Statement": [{**statement, **other}]})


# ---- rights


NOTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}
RIGHTS = [  # of each statement of the worker's role in runtime/template.yaml
    ("WriteItsLog", "logs:CreateLogGroup"),
    ("WriteItsLog", "logs:CreateLogStream"),
    ("WriteItsLog", "logs:PutLogEvents"),
    ("TakeCallsAndAnswer", "s3:GetObject"),
    ("TakeCallsAndAnswer", "s3:PutObject"),
    ("ReadTheArchivesCredentials", "s3:GetObject"),
    ("ReadListsWriteParts", "s3:GetObject"),
    ("ReadListsWriteParts", "s3:PutObject"),
    ("ReadListsWriteParts", "s3:DeleteObject"),
    ("ReadListsWriteParts", "s3:AbortMultipartUpload"),
    ("TellMissingFromForbidden", "s3:ListBucket"),
]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_these_are_all_rights_of_the_stack(policies: dict[str, Any]) -> None:
    assert [(s["Sid"], action) for s in policies["worker"]["Statement"] for action in listed(s["Action"])] == RIGHTS


class Simulated:
    """IAM with a single policy, as moto judges it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.policies = [IAMPolicy(json.dumps(document))]

    def simulate_principal_policy(self, **asked: Any) -> Answer:
        (resource,) = asked["ResourceArns"]
        decisions = {
            action: "allowed" if allows(self.policies, action, resource) else "implicitDeny"
            for action in asked["ActionNames"]
        }
        return {"EvaluationResults": [{"EvalActionName": a, "EvalDecision": may} for a, may in decisions.items()]}


def test_the_role_of_the_stack_lacks_nothing(policies: dict[str, Any]) -> None:
    assert lacking(Simulated(policies["worker"]), ROLE, needed(ACCOUNT, REGION, BUCKET, "maps")) == []


@pytest.mark.parametrize(("statement", "action"), RIGHTS)
def test_each_right_that_the_role_lacks_is_named(policies: dict[str, Any], statement: str, action: str) -> None:
    document = copy.deepcopy(policies["worker"])
    (changed,) = [s for s in document["Statement"] if s["Sid"] == statement]
    changed["Action"] = [a for a in listed(changed["Action"]) if a != action] or ["s3:GetBucketTagging"]
    found = lacking(Simulated(document), ROLE, needed(ACCOUNT, REGION, BUCKET, "maps"))
    denied = [tuple(text.split(" on ")) for text in found]
    assert {what for what, _ in denied} == {action}
    resources = [pattern.replace("*", ".*") for pattern in listed(changed["Resource"])]
    assert len(denied) == len(resources)
    for _, resource in denied:
        assert [pattern for pattern in resources if re.fullmatch(pattern, resource)]


def test_rights_that_cannot_be_simulated_are_not_said_to_be_lacking(aws: World, gate: Front) -> None:
    gate.may_simulate = False
    found = check_role(aws.config["aws_lambda"], boto3.Session(), BUCKET, "maps")
    assert found.state == "skipped"
    assert re.search(f"{ROLE}; its rights could not be simulated .*AccessDenied.*ClientPolicy", str(found))


# ---- whole examinations


def states(found: dict[str, Check]) -> dict[str, str]:
    """The state of each check that is not ok."""
    return {name: check.state for name, check in found.items() if check.state != "ok"}


def somebody_else() -> Any:
    """A session in another account."""
    asked = boto3.client("sts").assume_role(RoleArn=f"arn:aws:iam::{OTHER}:role/theirs", RoleSessionName="them")
    keys = asked["Credentials"]
    return boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name="us-west-2")


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account's buckets are closed to others, as they are at AWS; moto opens them by default."""
    monkeypatch.setenv("MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS", "false")


def test_where_all_is_well_nothing_is_bad(aws: World, gate: Front) -> None:
    found = look(aws)
    assert states(found) == {"function": "skipped"}
    assert "arm64" in found["image"].found
    left = boto3.client("s3").list_objects_v2(Bucket="maps")
    assert left["KeyCount"] == 0


def test_each_of_many_faults_is_named(
    aws: World, gate: Front, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = aws.fresh_config(runtime="maggjob:none", runtime_timeout=901, execution_role=f"{ROLE}-gone")
    config["aws_s3"]["storage_bucket"] = "nowhere"
    gate.statuses["maps"] = 403
    monkeypatch.setattr(aws.service, "concurrency", 10)
    (tmp_path / "lithops_config.yaml").write_text(yaml.safe_dump(config))
    assert command("doctor", "--store", STORE) == 1
    lines = {line[8:24].strip(): line for line in capsys.readouterr().out.splitlines()}
    assert list(lines) == NAMES
    said = {
        "configuration": "runtime_timeout is 901",
        "role": "NoSuchEntity",
        "Lithops' bucket": "nowhere does not exist",
        "output bucket": "maps .* denies access",
        "image": "no tag none",
    }
    assert [name for name in NAMES if lines[name].startswith("bad ")] == list(said)
    assert [name for name in NAMES if lines[name].startswith("skipped ")] == ["function"]
    said["quota"] = "10 at once"
    assert lines["quota"].startswith("note ")
    for name, text in said.items():
        assert re.search(f"{text}.*; ", lines[name])  # which what to do follows


def test_faults_of_what_is_there_are_named(aws: World, gate: Front) -> None:
    config = aws.fresh_config()
    boto3.client("s3", region_name="eu-central-1").create_bucket(
        Bucket="far", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    config["aws_s3"]["storage_bucket"] = "far"
    allow("maggjob-worker", NOTHING)
    gate.image = image("amd64", lithops="3.7.0")
    of = image_of(config, boto3.client("sts").get_caller_identity())
    name = function_name(of, 2048)
    aws.service.create({"FunctionName": name, "Role": ROLE, "Code": {"ImageUri": "x"}, "MemorySize": 2048})
    found = look(aws, config)
    aws.service.functions[name]["Architectures"] = ["arm64"]
    mended = check_function(of, boto3.Session(), 2048, "far")
    del aws.service.functions[name]
    assert states(found) == dict.fromkeys(["role", "Lithops' bucket", "image", "function"], "bad")
    assert re.search("lacks logs:.*s3:PutObject on arn:aws:s3:::", str(found["role"]))
    assert "far is in eu-central-1" in str(found["Lithops' bucket"])
    assert re.search("is for amd64, not arm64, has lithops 3.7.0", str(found["image"]))
    assert f"{name} is for ['x86_64']" in str(found["function"])
    assert (mended.state, "no note of it" in mended.found) == ("note", True)


@pytest.mark.usefixtures("apart")
def test_credentials_of_another_account_are_named(aws: World, gate: Front) -> None:
    found = look(aws, session=somebody_else())
    assert found["credentials"].state == "ok"
    assert re.search(
        f"credentials are for {OTHER}, execution_role is for 123456789012.*AWS_PROFILE", str(found["account"])
    )
    assert "belongs to another account" in str(found["Lithops' bucket"])
    assert "belongs to another account" in str(found["output bucket"])
    assert "NoSuchEntity" in str(found["role"])
    assert "RepositoryNotFound" in str(found["image"])


@contextmanager
def enforced(gate: Front) -> Iterator[None]:
    """IAM's policies count from here on; moto counts them for S3 in full, elsewhere where they allow everything."""
    url, plain = f"{gate.behind}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    requests.post(url, "0", headers=plain, timeout=10).raise_for_status()
    try:
        yield
    finally:
        requests.post(url, "inf", headers=plain, timeout=10).raise_for_status()


HEAD = {"Effect": "Allow", "Action": "s3:HeadBucket", "Resource": "*"}  # as moto calls it; at AWS it is s3:ListBucket


def somebody_with(statements: list[dict[str, Any]], name: str) -> Any:
    """A session of a user of this account who may do no more than that."""
    iam = boto3.client("iam")
    iam.create_user(UserName=name)
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName=name, PolicyName="client", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name="us-west-2")


def test_the_policy_for_clients_opens_both_buckets(aws: World, gate: Front, policies: dict[str, Any]) -> None:
    user = somebody_with([*policies["client"]["Statement"], HEAD], "all")
    with enforced(gate):
        found = look(aws, session=user)
    assert found["credentials"].found.endswith("user/all")
    assert (found["Lithops' bucket"].state, found["output bucket"].state) == ("ok", "ok")


def test_what_the_client_may_not_do_is_named(aws: World, gate: Front, policies: dict[str, Any]) -> None:
    """May look at Lithops' bucket, and nothing else."""
    user = somebody_with([{**HEAD, "Resource": f"arn:aws:s3:::{BUCKET}*"}], "reads")
    with enforced(gate):
        found = look(aws, session=user)
    assert found["credentials"].state == "ok"
    assert "maps belongs to another account, or denies access" in str(found["output bucket"])
    for name in ("role", "Lithops' bucket"):
        assert found[name].state == "bad"
        assert re.search(r"AccessDenied.*; attach the policy ClientPolicy", str(found[name]))


def test_sections_that_are_left_empty_are_named(
    aws: World, gate: Front, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    (tmp_path / "lithops_config.yaml").write_text("lithops:\naws:\naws_s3:\naws_lambda:\n")
    assert command("doctor") == 1
    out = capsys.readouterr().out
    assert re.search(r"bad +configuration +aws_s3: no storage_bucket", out)
    assert re.search(r"bad +region +None; write region: us-west-2", out)


def test_a_service_that_cannot_be_reached_is_a_finding(
    aws: World, gate: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    with front(aws.endpoint) as gone:
        pass
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", gone.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", gone.url)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    found = look(aws)
    for name in ("Lithops' bucket", "output bucket", "image"):
        assert found[name].state == "bad"
        assert "EndpointConnectionError: Could not connect" in str(found[name])


def test_functions_that_may_not_be_looked_at_are_a_finding(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with front(aws.service.url) as door:
        door.refused.append("/functions/")
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", door.url)
        of = image_of(aws.config, {"Account": ACCOUNT, "UserId": "u"})
        found = check_function(of, boto3.Session(), 2048, BUCKET)
    assert any("/functions/" in path for _, path in door.requests)
    assert found.state == "bad"
    assert re.search(r"AccessDenied.*ClientPolicy", str(found))


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file for AWS's profiles of a client that is not logged in."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / "lithops_config.yaml").write_text(yaml.safe_dump(fresh_config()))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """A server in place of AWS that notes each request, and has nothing behind it."""
    with front("http://127.0.0.1:1") as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
        yield made


ENDED = "[profile lab]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = maps\n"
ENDED += "[sso-session s]\nsso_start_url = https://x.example/start\nsso_region = us-west-2\n"


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("", "NoCredentialsError.*log in to AWS"),
        ("[profile lab]\nregion = us-west-2\n", "NoCredentialsError.*log in to AWS"),
        (ENDED, "SSOTokenLoadError.*log in to AWS .*aws sso login"),
        ("[profile lab]\ncredential_process = false\n", "custom-process.*log in to AWS"),
    ],
    ids=["nothing", "no key", "no login", "process"],
)
def test_without_credentials_the_rest_is_skipped(
    nobody: Path,
    door: Front,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    profile: str,
    said: str,
) -> None:
    nobody.write_text(profile)
    if profile:
        monkeypatch.setenv("AWS_PROFILE", "lab")
    assert command("doctor", "--store", STORE) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if re.match(rf"bad +credentials .*{said}", line)]
    for name in ("account", "role", "bucket", "image", "function", "quota"):
        assert re.search(rf"^skipped {name} +needs credentials$", "\n".join(lines), re.MULTILINE)
    assert door.requests == []


def test_a_profile_that_is_not_there_is_named(
    nobody: Path, door: Front, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "gone")
    assert command("doctor") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(r"error: The config profile \(gone\) could not be found; set AWS_PROFILE .*\n", told.err)
    assert door.requests == []


def test_a_profile_is_enough(
    gate: Front, nobody: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody.write_text("[profile lab]\naws_access_key_id = test\naws_secret_access_key = test\n")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert command("doctor", "--store", STORE) == 0
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("bad")]


def test_fewer_workers_than_configured_are_no_fault(
    aws: World, gate: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws.service, "concurrency", 10)
    (tmp_path / "lithops_config.yaml").write_text(yaml.safe_dump(aws.config))
    program = (
        "import resource; soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))\n"
        "import maggjob.aws.doctor as d, maggjob.aws.verdicts as v; d.PYTHONS = (v.HERE,)\n"
        "import maggjob.cli.commands as c; c.main()"
    )
    environment = {**aws.variables, "AWS_ENDPOINT_URL": gate.url, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", program, "doctor", "--store", STORE]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(NAMES)
    assert [line[8:24].strip() for line in lines if line.startswith("note")] == ["quota"]
    assert not [line for line in lines if line.startswith("bad")]
    assert "Traceback" not in done.stderr
