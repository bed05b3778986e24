"""What is wrong with an account is found before a run, named, and comes with what to do about it."""

import ast
import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
import yaml
from lithops import __version__ as LITHOPS  # noqa: N812

from maggjob._version import __version__
from maggjob.aws import doctor
from maggjob.aws.doctor import Check, check_open_files, check_role, examine
from maggjob.aws.iam import trusts_lambda
from maggjob.cli import commands as cli
from tests.aws.front import Front, front
from tests.aws.test_template import TEMPLATE
from tests.aws.world import BUCKET, ROLE, ROOT, World, lithops_repository

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
Edit = Callable[[World, Front, Config], None]


@pytest.fixture(scope="module")
def policies(aws_world: World) -> dict[str, Any]:
    """What the stack of runtime/template.yaml lets workers and clients do, with the buckets of these tests."""
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
    """An account in which all is well."""
    monkeypatch.setattr(doctor, "PYTHONS", (doctor.HERE,))
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
    """Let a role do what a policy says, and nothing else."""
    boto3.client("iam").put_role_policy(RoleName=role, PolicyName="worker", PolicyDocument=json.dumps(document))


def labels(**other: str) -> dict[str, str]:
    ours = {"lithops": LITHOPS, "python": doctor.HERE, "version": __version__}
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


def test_where_all_is_well_nothing_is_bad(aws: World, gate: Front) -> None:
    found = look(aws)
    assert {name: check.state for name, check in found.items()} == dict.fromkeys(NAMES, "ok") | {"function": "skipped"}
    assert "arm64" in found["image"].found
    left = boto3.client("s3").list_objects_v2(Bucket="maps")
    assert left["KeyCount"] == 0


def old_index(aws: World, gate: Front, config: Config) -> None:
    manifest = {"schemaVersion": 2, "mediaType": doctor.MANIFEST_LISTS[0], "manifests": []}
    ecr = boto3.client("ecr")
    if "index" not in [i.get("imageTag") for i in ecr.list_images(repositoryName=lithops_repository())["imageIds"]]:
        ecr.put_image(repositoryName=lithops_repository(), imageTag="index", imageManifest=json.dumps(manifest))
    config["aws_lambda"]["runtime"] = "maggjob:index"


def role_of(service: str) -> Edit:
    def edit(aws: World, gate: Front, config: Config) -> None:
        trust = json.dumps(TRUST).replace("lambda", service)
        boto3.client("iam").create_role(RoleName=service, AssumeRolePolicyDocument=trust)
        config["aws_lambda"]["execution_role"] = f"arn:aws:iam::123456789012:role/{service}"

    return edit


def in_another_region(aws: World, gate: Front, config: Config) -> None:
    there = {"LocationConstraint": "eu-central-1"}
    boto3.client("s3", region_name="eu-central-1").create_bucket(Bucket="far", CreateBucketConfiguration=there)
    config["aws_s3"]["storage_bucket"] = "far"


def somebody_else() -> Any:
    """A session in another account."""
    asked = boto3.client("sts").assume_role(RoleArn=f"arn:aws:iam::{OTHER}:role/theirs", RoleSessionName="them")
    keys = asked["Credentials"]
    return boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name="us-west-2")


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account's buckets are closed to others, as they are at AWS; moto opens them by default."""
    monkeypatch.setenv("MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS", "false")


def anothers_bucket(aws: World, gate: Front, config: Config) -> None:
    somebody_else().client("s3").create_bucket(Bucket="theirs", CreateBucketConfiguration=WEST)
    config["aws_s3"]["storage_bucket"] = "theirs"


def section(name: str = "aws_lambda", **values: Any) -> Edit:
    return lambda aws, gate, config: config[name].update(values)


BAD: dict[str, tuple[Edit, str, str]] = {
    "region": (section("aws", region="eu-central-1"), "region", "eu-central-1.*us-west-2"),
    "account": (
        section(execution_role="arn:aws:iam::999999999999:role/maggjob-worker"),
        "account",
        "credentials are for 123456789012, execution_role is for 999999999999",
    ),
    "role": (section(execution_role="arn:aws:iam::123456789012:role/gone"), "role", "NoSuchEntity.*template.yaml"),
    "role of another": (role_of("ec2"), "role", "cannot be assumed by Lambda"),
    "role at the edge": (role_of("edgelambda"), "role", "cannot be assumed by Lambda"),
    "role by name": (section(execution_role="maggjob-worker"), "role", f"is maggjob-worker, .*{ROLE}; write {ROLE}"),
    "no role": (section(execution_role=None), "role", "NoSuchEntity.*template.yaml"),
    "right": (lambda a, g, c: allow("maggjob-worker", NOTHING), "role", "lacks logs:.*s3:PutObject on arn:aws:s3:::"),
    "no name": (section("aws_s3", storage_bucket=""), "Lithops' bucket", "no name; write storage_bucket"),
    "no bucket": (section("aws_s3", storage_bucket="nowhere"), "Lithops' bucket", "does not exist"),
    "another's bucket": (anothers_bucket, "Lithops' bucket", "theirs belongs to another account.*name a bucket of"),
    "closed bucket": (lambda a, g, c: g.statuses.update(maps=403), "output bucket", "maps .* denies access"),
    "bucket elsewhere": (in_another_region, "Lithops' bucket", "eu-central-1.*us-west-2"),
    "no image": (section(runtime="maggjob:none"), "image", "maggjob:none|no tag none.*runtime build"),
    "no repository": (section(runtime="other:01"), "image", "RepositoryNotFound.*runtime build"),
    "x86 image": (lambda a, g, c: g.image.update(architecture="amd64"), "image", "is for amd64, not arm64"),
    "other lithops": (
        lambda a, g, c: g.image.update(config={"Labels": labels(lithops="3.7.0")}),
        "image",
        "has lithops 3.7.0, the client has 3",
    ),
    "other python": (
        lambda a, g, c: g.image.update(config={"Labels": labels(python="3.9")}),
        "image",
        "has python 3.9, the client has 3",
    ),
    "other maggjob": (
        lambda a, g, c: g.image.update(config={"Labels": labels(version="0.0.1")}),
        "image",
        "has maggjob 0.0.1, the client has ",
    ),
    "no labels": (lambda a, g, c: g.image.update(config={}), "image", "no label"),
    "index": (old_index, "image", "index of several images"),
    "quota": (lambda a, g, c: setattr(a.service, "concurrency", 10), "quota", "10 at once.*max_workers: 10"),
    "secret": (section("aws", secret_access_key="x"), "configuration", "would travel with each call"),
    "not filled in": (
        section(execution_role="arn:aws:iam::123456789012:role/CHANGE-ME"),
        "configuration",
        "CHANGE-ME",
    ),
    "x86": (section(architecture="x86_64"), "configuration", "the image is for arm64"),
    "tags": (section(user_tags="x"), "configuration", "user_tags is not a mapping"),
    "timeout": (section(runtime_timeout=901), "configuration", "runtime_timeout is 901, not between 1 and 900"),
    "timeout as text": (section(runtime_timeout="900"), "configuration", "runtime_timeout is '900', not between"),
    "many workers": (section(max_workers="many"), "configuration", "max_workers is 'many', not between"),
    "no workers": (section(max_workers=None), "configuration", "max_workers is None, not between"),
    "no memory": (section(runtime_memory=0), "configuration", "runtime_memory is 0, not between 128 and 10,240"),
}
ALSO = {  # what one fault entails
    "not filled in": {"role"},
    "region": {"quota", "image", "function"},
    "account": {"role"},
    "no name": {"configuration"},
    "another's bucket": {"role"},  # which may not use it either
    "no bucket": {"role"},
    "bucket elsewhere": {"role"},
}


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("what", BAD)
def test_each_fault_is_found_and_named(
    aws: World, gate: Front, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    edit, name, said = BAD[what]
    config = aws.fresh_config()
    edit(aws, gate, config)
    (tmp_path / "lithops_config.yaml").write_text(yaml.safe_dump(config))
    assert command("doctor", "--store", STORE) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[8:24].strip() for line in lines] == NAMES
    bad = {line[8:24].strip(): line for line in lines if line.startswith("bad ")}
    assert re.search(said, bad[name])
    assert all("; " in line for line in bad.values())  # each says what to do
    assert bad.keys() - {name} <= ALSO.get(what, set())


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


@pytest.mark.parametrize(("statement", "action"), RIGHTS)
def test_each_right_that_the_role_lacks_is_named(
    aws: World, gate: Front, policies: dict[str, Any], statement: str, action: str
) -> None:
    document = copy.deepcopy(policies["worker"])
    (changed,) = [s for s in document["Statement"] if s["Sid"] == statement]
    changed["Action"] = [a for a in listed(changed["Action"]) if a != action] or ["s3:GetBucketTagging"]
    allow("maggjob-worker", document)
    role = check_role(aws.config["aws_lambda"], boto3.Session(), BUCKET, "maps")
    assert role.state == "bad"
    lacking = re.findall(r"(\S+) on (\S+?)(?=,|;)", str(role))
    assert {what for what, _ in lacking} == {action}
    resources = [pattern.replace("*", ".*") for pattern in listed(changed["Resource"])]
    assert len(lacking) == len(resources)
    for _, resource in lacking:
        assert [pattern for pattern in resources if re.fullmatch(pattern, resource)]


def test_rights_that_cannot_be_simulated_are_not_said_to_be_lacking(aws: World, gate: Front) -> None:
    gate.may_simulate = False
    role = check_role(aws.config["aws_lambda"], boto3.Session(), BUCKET, "maps")
    assert role.state == "skipped"
    assert re.search(f"{ROLE}; its rights could not be simulated .*AccessDenied.*ClientPolicy", str(role))


def test_who_may_assume_a_role() -> None:
    statement = TRUST["Statement"][0]
    assert trusts_lambda(TRUST)
    assert trusts_lambda({"Statement": statement})
    assert trusts_lambda({"Statement": [{**statement, "Principal": {"Service": ["ec2", "lambda.amazonaws.com"]}}]})
    for other in ({"Effect": "Deny"}, {"Principal": "*"}, {"Principal": {"AWS": "lambda.amazonaws.com"}}):
        assert not trusts_lambda({"Statement": [{**statement, **other}]})


@pytest.mark.usefixtures("apart")
def test_credentials_of_another_account_are_named(aws: World, gate: Front) -> None:
    found = look(aws, session=somebody_else())
    assert found["credentials"].state == "ok"
    assert re.search(
        f"credentials are for {OTHER}, execution_role is for 123456789012.*AWS_PROFILE", str(found["account"])
    )
    assert "another account" in str(found["Lithops' bucket"])
    assert "another account" in str(found["output bucket"])
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


@pytest.mark.parametrize("store", ["map.zarr", "https://maps/map.zarr", "s3:/maps/map.zarr", "s3://"])
def test_a_store_that_is_in_no_bucket_is_named(aws: World, gate: Front, store: str) -> None:
    found = look(aws, store=store)
    assert {name for name, check in found.items() if check.state == "bad"} == {"output bucket"}
    assert f"workers cannot write to {store}: give --store s3://" in str(found["output bucket"])


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


def test_functions_that_may_not_be_looked_at_are_a_finding(
    aws: World, gate: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = {"FunctionName": "lithops-worker-x", "Role": ROLE, "Code": {"ImageUri": "x"}, "MemorySize": 2048}
    aws.service.create(function)
    arn = aws.service.functions["lithops-worker-x"]["FunctionArn"]
    with front(aws.service.url) as door:
        door.refused.append("/tags/")
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", door.url)
        found = look(aws)["function"]
    del aws.service.functions["lithops-worker-x"]
    assert any(arn in path or "tags" in path for _, path in door.requests)
    assert found.state == "bad"
    assert re.search(r"AccessDenied.*ClientPolicy", str(found))


def test_a_function_for_x86_is_found(aws: World, gate: Front) -> None:
    function = {
        "FunctionName": "lithops-worker-test",
        "Role": aws.config["aws_lambda"]["execution_role"],
        "Code": {"ImageUri": "x"},
        "MemorySize": 2048,
        "Tags": {"runtime_name": "maggjob:01"},
    }
    aws.service.create(function)
    assert look(aws)["function"].state == "bad"
    aws.service.functions["lithops-worker-test"]["Architectures"] = ["arm64"]
    assert look(aws)["function"].state == "ok"
    del aws.service.functions["lithops-worker-test"]


@pytest.fixture
def nobody(aws: World, gate: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody is logged in; where the profiles of AWS would be."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / "lithops_config.yaml").write_text(yaml.safe_dump(aws.config))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    gate.requests.clear()
    return tmp_path / "config"


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
    gate: Front,
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
    assert gate.requests == []


def test_a_profile_that_is_not_there_is_named(
    nobody: Path, gate: Front, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "gone")
    assert command("doctor") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(r"error: The config profile \(gone\) could not be found; set AWS_PROFILE .*\n", told.err)
    assert gate.requests == []


def test_a_profile_is_enough(nobody: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    nobody.write_text("[profile lab]\naws_access_key_id = test\naws_secret_access_key = test\n")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert command("doctor", "--store", STORE) == 0
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("bad")]


@pytest.mark.parametrize(("limit", "state"), [(256, "bad"), (1024, "ok"), (1_048_576, "ok")])
def test_few_open_files_are_bad(limit: int, state: str) -> None:
    assert check_open_files(limit).state == state


@pytest.mark.parametrize(("quota", "code"), [(1700, 0), (10, 1)])
def test_the_command_says_it_all_and_exits_with_one(
    aws: World, gate: Front, tmp_path: Path, quota: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws.service, "concurrency", quota)
    (tmp_path / "lithops_config.yaml").write_text(yaml.safe_dump(aws.config))
    program = (
        "import resource; soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))\n"
        "import maggjob.aws.doctor as d; d.PYTHONS = (d.HERE,)\nimport maggjob.cli.commands as c; c.main()"
    )
    environment = {**aws.variables, "AWS_ENDPOINT_URL": gate.url, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", program, "doctor", "--store", STORE]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(NAMES)
    assert sum(line.startswith("bad") for line in lines) == code
    assert "Traceback" not in done.stderr
