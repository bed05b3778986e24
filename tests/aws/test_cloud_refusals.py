"""What stops ``maggjob cloud``: one line, what to do, and nothing that blocks the next try."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.cloudformation.models import cloudformation_backends

from maggjob.aws.installation import CONFIG_KEY, names_of
from tests.aws.cloud import ACCOUNT, LITHOPS, MAPS, Cloud, empty_account
from tests.aws.stacks import attached, stacks
from tests.aws.world import REGION, World

FILE = Path("lithops_config.yaml")
REPOSITORY = "lithops_v380_gjob/maggjob"


@pytest.fixture
def cloud(aws: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with empty_account(aws, tmp_path, monkeypatch) as found:
        yield found


def last_line(done: Any) -> str:
    """The last line that was printed, of a command that failed without a traceback."""
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert "an error in maggjob itself" not in said
    (line,) = done.stderr.strip().splitlines()[-1:]
    return line


def empty(cloud: Cloud) -> bool:
    """Whether nothing of maggjob is in the account and in the folder."""
    return (cloud.buckets, stacks(), cloud.functions, cloud.images(), FILE.exists()) == (set(), {}, {}, [], False)


# --- before anything is changed


@pytest.mark.parametrize("command", ["setup", "use", "status", "stop", "teardown"])
def test_no_credentials(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    said = last_line(cloud.type(command))
    assert "credentials: no AWS credentials: type 'aws configure'" in said
    assert empty(cloud)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("lithops: {backend: ibm_cf}\nibm_cf: {runtime: mine}\n", "its backend is ibm_cf"),
        ("lithops: {backend: aws_lambda}\naws_lambda: {runtime: other:1}\n", "it does not mention maggjob"),
        ("just words\n", "it is not a mapping"),
        ("lithops: [\n", "while parsing"),
    ],
)
@pytest.mark.parametrize("command", ["setup", "use", "teardown"])
def test_a_foreign_file_is_named_and_left_alone(cloud: Cloud, text: str, why: str, command: str) -> None:
    FILE.write_text(text)
    said = last_line(cloud.type(command))
    assert str(FILE) in said
    assert why in said
    assert "give --lithops-config with the name of another file" in said
    assert FILE.read_text() == text
    assert (cloud.buckets, stacks()) == (set(), {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--name", "My Stack"), "--name 'My Stack': give at most 20 lower-case letters"),
        (("--bucket-prefix", "a--b"), "--bucket-prefix 'a--b': give at most 20"),
        (("--parameter", "KeepDays"), "--parameter 'KeepDays': give KEY=VALUE"),
        (("--parameter", "Color=red"), "the template has no parameter Color; it has LithopsBucketName,"),
        (("--lithops-config", "no/such/file.yaml"), "there is no folder"),
    ],
)
def test_options_that_cannot_be(cloud: Cloud, words: tuple[str, ...], said: str) -> None:
    assert said in last_line(cloud.setup(*words))
    assert empty(cloud)


def test_a_file_of_another_installation_is_left_alone(cloud: Cloud) -> None:
    text = "# maggjob\naws_lambda:\n  namespace: team\n  execution_role: arn:aws:iam::123456789012:role/x\n"
    FILE.write_text(text)
    for name in ("maggjob", "other"):
        said = last_line(cloud.setup("--name", name))
        assert f"lithops_config.yaml is for the installation team, not for {name}: give --lithops-config" in said
    FILE.write_text(text.replace("  namespace: team\n", ""))
    assert "is for the installation maggjob, not for other" in last_line(cloud.setup("--name", "other"))
    assert (cloud.buckets, stacks(), FILE.read_text()) == (set(), {}, text.replace("  namespace: team\n", ""))


def test_nothing_is_taken_down_by_who_may_not_see_the_stack(cloud: Cloud) -> None:
    set_up_stack(cloud)
    role = boto3.resource("cloudformation").Stack("maggjob").outputs
    (ours,) = [one["OutputValue"] for one in role if one["OutputKey"] == "ExecutionRole"]
    make_function(cloud, "lithops-worker-gjob-380-0000000001", ours.rpartition("/")[2], "image:1")
    FILE.write_text(f"# maggjob\naws_lambda:\n  execution_role: {ours}\n  runtime: maggjob:1\n")
    cloud.door.lacking = {"cloudformation:DescribeStacks"}
    said = last_line(cloud.type("teardown", "--yes"))
    assert "stack: the right cloudformation:DescribeStacks is missing" in said
    assert (len(cloud.functions), list(stacks())) == (1, ["maggjob"])
    # To stop, the role in the file is enough.
    assert cloud.type("stop").returncode == 0
    assert [function["reserved"] for function in cloud.functions.values()] == [0]


def test_a_stack_of_somebody_else_is_left_alone(cloud: Cloud) -> None:
    boto3.client("cloudformation").create_stack(
        StackName="website", TemplateBody=json.dumps({"Resources": {"Bucket": {"Type": "AWS::S3::Bucket"}}})
    )
    before = cloud.buckets
    for command in ("setup", "teardown", "stop"):
        said = last_line(cloud.type(command, "--name", "website"))
        assert "the stack website exists, and is not one of maggjob's: give another --name" in said
    assert (cloud.buckets, list(stacks())) == (before, ["website"])


# --- a right is missing: the next try, with the right, goes on


RIGHTS = {
    "cloudformation:DescribeStacks": "stack",
    "cloudformation:CreateChangeSet": "stack",
    "cloudformation:ExecuteChangeSet": "stack",
    "ecr:DescribeImages": "image",
    "ecr:GetAuthorizationToken": "image",
}
LATER = {"logs:CreateLogGroup": "function", "s3:PutObject": "function"}


def refused(cloud: Cloud, right: str, step: str) -> None:
    """Check what a setup says without a right."""
    cloud.door.lacking = {right}
    said = last_line(cloud.setup())
    assert said.startswith(f"error: {step}: the right {right} is missing: ask the administrator"), said
    assert said.endswith("then run the same command again: it goes on where it stopped")
    assert not FILE.exists()


def test_each_right_that_is_missing_is_named_and_the_next_try_goes_on(cloud: Cloud) -> None:
    for right, step in RIGHTS.items():
        refused(cloud, right, step)
    assert (list(stacks()), stacks()["maggjob"].status, cloud.images()) == (["maggjob"], "CREATE_COMPLETE", [])
    assert cloud.functions == {}


@pytest.mark.dear("goes on to the end of the setup; the rights of the first steps are tested without that")
def test_a_right_that_is_missing_at_the_end_is_named_and_the_next_try_ends_well(cloud: Cloud) -> None:
    for right, step in LATER.items():
        refused(cloud, right, step)
    cloud.door.lacking = set()
    done = cloud.setup()
    assert done.returncode == 0, done.stdout + done.stderr
    assert (len(cloud.functions), list(stacks()), len(cloud.images())) == (1, ["maggjob"], 1)


# --- half made


@pytest.mark.dear("the emulator sets up two stacks")
def test_a_bucket_name_that_is_taken_is_named_and_another_works(cloud: Cloud) -> None:
    cloud.door.statuses[MAPS] = 403
    said = last_line(cloud.setup())
    assert f"stack: the bucket name {MAPS} is taken by another account" in said
    assert "--bucket-prefix" in said
    assert empty(cloud)
    mine = {f"mine-lithops-{ACCOUNT}-{REGION}", f"mine-maps-{ACCOUNT}-{REGION}"}
    assert "mine-maps-" in cloud.setup("--dry-run", "--bucket-prefix", "mine").stdout
    assert set_up_stack(cloud, "--bucket-prefix", "mine")
    assert cloud.buckets == mine
    # The names are kept without the option.
    assert "maggjob is up to date" in set_up_stack(cloud)
    assert cloud.buckets == mine


def test_a_name_that_is_taken_meanwhile_leaves_nothing(cloud: Cloud) -> None:
    cloud.add_bucket(LITHOPS)
    # It was not there when it was looked for.
    cloud.door.statuses[LITHOPS] = 404
    said = last_line(cloud.setup())
    assert said.startswith("error: stack: CloudFormation could not do it, nothing of it is left: LithopsBucket: ")
    assert (cloud.buckets, stacks(), FILE.exists()) == ({LITHOPS}, {}, False)


@pytest.mark.dear("the emulator makes a stack per state; one stands for all", keep=("ROLLBACK_COMPLETE",))
@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS", "CREATE_FAILED", "DELETE_FAILED"])
def test_a_stack_that_is_half_made_is_made_again(cloud: Cloud, status: str) -> None:
    half_made(status)
    shown = cloud.setup("--dry-run")
    assert f"bring maggjob in order ({status})" in shown.stdout
    assert stacks()["maggjob"].status == status
    said = set_up_stack(cloud)
    assert f"stack maggjob is half made ({status}): it is deleted first" in said
    assert "maggjob is CREATE_COMPLETE" in said
    assert stacks()["maggjob"].status == "CREATE_COMPLETE"
    assert cloud.buckets == {LITHOPS, MAPS}


def set_up_stack(cloud: Cloud, *words: str) -> str:
    """Output of a setup that stops after the stack."""
    cloud.door.lacking = {"ecr:GetAuthorizationToken"}
    done = cloud.setup(*words)
    assert done.stderr.startswith("error: image: "), done.stdout + done.stderr
    return done.stdout


def half_made(status: str) -> None:
    """Make a stack, of which nothing is there but its state."""
    template = Path("small/runtime/template.yaml").read_text()
    given = {"LithopsBucketName": LITHOPS, "OutputBucketName": MAPS, "RepositoryName": REPOSITORY}
    parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()]
    boto3.client("cloudformation").create_change_set(
        StackName="maggjob",
        ChangeSetName="mine",
        ChangeSetType="CREATE",
        TemplateBody=template,
        Parameters=parameters,
        Capabilities=["CAPABILITY_IAM"],
    )
    stack = stacks()["maggjob"]
    stack._parse_template = lambda: None
    stack.resource_map.resolved_parameters.update(given)
    stack.status = status


def test_a_stack_in_the_middle_of_something_is_waited_for(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up_stack(cloud)
    stack, looks = stacks()["maggjob"], [3]
    stack.status = "UPDATE_IN_PROGRESS"
    backend = type(cloudformation_backends[ACCOUNT][REGION])
    describe = backend.describe_stacks

    def look(self: Any, name: str) -> Any:
        looks[0] -= 1
        if not looks[0]:
            stack.status = "UPDATE_COMPLETE"
        return describe(self, name)

    monkeypatch.setattr(backend, "describe_stacks", look)
    said = set_up_stack(cloud)
    assert said.count("stack maggjob is UPDATE_IN_PROGRESS: waiting until that ends") == 1
    assert "maggjob is UPDATE_COMPLETE" in said


def test_a_policy_that_is_attached_is_named_and_the_next_teardown_works(cloud: Cloud) -> None:
    set_up_stack(cloud)
    cloud.door.lacking = set()
    with attached("UserPolicy"):
        said = last_line(cloud.type("teardown", "--yes"))
    assert "could not be deleted (DELETE_FAILED): UserPolicy: Cannot delete a policy attached to entities." in said
    assert "must be detached" in said
    assert stacks()["maggjob"].status == "DELETE_FAILED"
    done = cloud.type("teardown", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (stacks(), cloud.buckets) == ({}, {LITHOPS, MAPS})


# --- what is in use, and what belongs to others


def make_function(cloud: Cloud, name: str, role: str, image: str, runtime: str = "maggjob:1") -> None:
    boto3.client("lambda").create_function(
        FunctionName=name,
        Role=f"arn:aws:iam::{ACCOUNT}:role/{role}",
        Code={"ImageUri": image},
        PackageType="Image",
        Architectures=["arm64"],
        Tags={"runtime_name": runtime, "lithops_version": "3.8.0"},
    )


def test_an_image_in_use_stays(cloud: Cloud) -> None:
    set_up_stack(cloud)
    cloud.door.lacking = set()
    ecr = boto3.client("ecr")
    digests: dict[str, str] = {}
    for tag in ("1", "2"):
        digests[tag] = f"sha256:{tag * 64}"
        ecr.put_image(repositoryName=REPOSITORY, imageTag=tag, imageManifest=manifest(tag), imageDigest=digests[tag])
    uri = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{REPOSITORY}"
    role = boto3.resource("cloudformation").Stack("maggjob").outputs
    (ours,) = [one["OutputValue"].rpartition("/")[2] for one in role if one["OutputKey"] == "ExecutionRole"]
    make_function(cloud, "lithops-worker-gjob-380-0000000001", ours, f"{uri}@{digests['1']}")
    make_function(cloud, "lithops-worker-else-380-0000000002", "another", f"{uri}@{digests['2']}")
    make_function(cloud, "web-shop", ours, "elsewhere:1")
    done = cloud.type("teardown", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "keep the image 2: a function of another role uses it" in done.stdout
    assert f"the repository {REPOSITORY} stays: it has images that are in use" in done.stdout
    assert cloud.images() == ["2"]
    assert set(cloud.functions) == {"lithops-worker-else-380-0000000002", "web-shop"}


def manifest(tag: str) -> str:
    config = {"digest": f"sha256:{tag * 64}", "size": 1, "mediaType": "application/vnd.oci.image.config.v1+json"}
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": []})


def test_only_buckets_of_the_stack_can_be_deleted(cloud: Cloud) -> None:
    set_up_stack(cloud)
    cloud.add_bucket("my-photos")
    said = last_line(cloud.type("teardown", "--yes", "--delete-bucket", "my-photos"))
    assert f"my-photos is not a bucket of maggjob, whose buckets are {LITHOPS} and {MAPS}" in said
    assert (list(stacks()), cloud.buckets) == (["maggjob"], {LITHOPS, MAPS, "my-photos"})


@pytest.mark.dear("the emulator sets up two stacks")
def test_stop_keeps_a_reservation_and_touches_no_others(cloud: Cloud) -> None:
    set_up_stack(cloud)
    (ours,) = [
        one["OutputValue"].rpartition("/")[2]
        for one in boto3.resource("cloudformation").Stack("maggjob").outputs
        if one["OutputKey"] == "ExecutionRole"
    ]
    one, two, other = (f"lithops-worker-gjob-380-000000000{n}" for n in (1, 2, 3))
    for name, role in ((one, ours), (two, ours), (other, "another")):
        make_function(cloud, name, role, "image:1")
    client = boto3.client("lambda")
    client.put_function_concurrency(FunctionName=one, ReservedConcurrentExecutions=100)
    cloud.type("stop", "--dry-run")
    assert [f.get("reserved") for f in cloud.functions.values()] == [100, None, None]
    # Twice is once.
    for _ in range(2):
        assert cloud.type("stop").returncode == 0
        assert [f.get("reserved") for f in cloud.functions.values()] == [0, 0, None]
    done = cloud.type("stop", "--undo")
    assert f"{one}: calls start again, 100 at once are reserved" in done.stdout
    assert [f.get("reserved") for f in cloud.functions.values()] == [100, None, None]
    cloud.gate.refused.append("/concurrency")
    assert last_line(cloud.type("stop")).startswith("error: stop: ")


# --- an operator's file


def test_use_reads_what_the_operator_published(cloud: Cloud) -> None:
    assert f"there is no bucket {LITHOPS}" in last_line(cloud.type("use"))
    cloud.add_bucket(LITHOPS)
    assert f"nothing is published in {LITHOPS}: the operator must type" in last_line(cloud.type("use"))
    s3 = boto3.client("s3")
    for text, why in (("lithops: {backend: k8s}", "its backend is k8s"), ("# maggjob\naws_lambda: {}", "not finished")):
        s3.put_object(Bucket=LITHOPS, Key=CONFIG_KEY, Body=text.encode())
        assert why in last_line(cloud.type("use"))
    assert not FILE.exists()
    cloud.door.lacking = {"s3:GetObject"}
    assert "the right s3:GetObject is missing" in last_line(cloud.type("use"))


def test_a_bucket_of_another_account_is_not_believed(cloud: Cloud) -> None:
    """Who guesses the name of our bucket could make it first, and hand out another role and another bucket."""
    cloud.add_bucket(LITHOPS)
    boto3.client("s3").put_object(Bucket=LITHOPS, Key=CONFIG_KEY, Body=b"# maggjob\n")
    cloud.door.statuses[LITHOPS] = 403
    said = last_line(cloud.type("use"))
    assert "or the bucket is another account's" in said
    assert not FILE.exists()


def test_names_are_unique_to_account_and_region() -> None:
    names = {names_of("maggjob", account, region).output_bucket for account in "12" for region in ("a-1", "b-1")}
    assert len(names) == 4
    longest = names_of("a" * 20, ACCOUNT, "ap-southeast-2")
    assert max(len(longest.lithops_bucket), len(longest.output_bucket)) <= 63
    assert len(f"{longest.namespace}-lithops-worker-gjob-380-0123456789") <= 64


def test_no_network(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert "credentials: AWS does not answer" in last_line(cloud.setup())
