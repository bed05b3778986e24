"""What is wrong with an account is found before a run, named, and comes with what to do about it."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from lithops import __version__ as LITHOPS  # noqa: N812

from maggjob import doctor
from maggjob.doctor import Check, check_open_files, examine
from tests.aws.front import Front, front
from tests.aws.world import BUCKET, ROOT, World

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}
NOT_LAMBDA = json.dumps(TRUST).replace("lambda", "ec2")
STORE = "s3://maps/map.zarr"
WEST = {"LocationConstraint": "us-west-2"}
NAMES = ["versions", "open files", "configuration", "region", "credentials", "account", "role"]
NAMES += ["Lithops' bucket", "output bucket", "image", "function", "quota"]
Edit = Callable[[World, Front, dict[str, Any]], None]


@pytest.fixture
def gate(aws: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
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
        yield made


def labels(**other: str) -> dict[str, str]:
    return {"maggjob.lithops": LITHOPS, "maggjob.python": doctor.HERE} | {f"maggjob.{k}": v for k, v in other.items()}


def look(aws: World, config: dict[str, Any] | None = None) -> dict[str, Check]:
    checks = examine(config or aws.fresh_config(), boto3.Session(region_name="us-west-2"), STORE)
    assert [check.name for check in checks] == NAMES
    return {check.name: check for check in checks}


def test_where_all_is_well_nothing_is_bad(aws: World, gate: Front) -> None:
    found = look(aws)
    assert {name: check.state for name, check in found.items()} == dict.fromkeys(NAMES, "ok") | {"function": "skipped"}
    assert "arm64" in found["image"].found
    left = boto3.client("s3").list_objects_v2(Bucket="maps")
    assert left["KeyCount"] == 0


def old_index(aws: World, gate: Front, config: dict[str, Any]) -> None:
    manifest = {"schemaVersion": 2, "mediaType": doctor.INDEXES[0], "manifests": []}
    from tests.aws.world import lithops_repository

    ecr = boto3.client("ecr")
    if "index" not in [i.get("imageTag") for i in ecr.list_images(repositoryName=lithops_repository())["imageIds"]]:
        ecr.put_image(repositoryName=lithops_repository(), imageTag="index", imageManifest=json.dumps(manifest))
    config["aws_lambda"]["runtime"] = "maggjob:index"


def role_of_another_service(aws: World, gate: Front, config: dict[str, Any]) -> None:
    boto3.client("iam").create_role(RoleName="ec2", AssumeRolePolicyDocument=NOT_LAMBDA)
    config["aws_lambda"]["execution_role"] = "arn:aws:iam::123456789012:role/ec2"


def in_another_region(aws: World, gate: Front, config: dict[str, Any]) -> None:
    there = {"LocationConstraint": "eu-central-1"}
    boto3.client("s3", region_name="eu-central-1").create_bucket(Bucket="far", CreateBucketConfiguration=there)
    config["aws_s3"]["storage_bucket"] = "far"


def section(name: str = "aws_lambda", **values: Any) -> Edit:
    return lambda aws, gate, config: config[name].update(values)


BAD: dict[str, tuple[Edit, str, str]] = {
    "region": (section("aws", region="eu-central-1"), "region", "eu-central-1.*us-west-2"),
    "account": (
        section(execution_role="arn:aws:iam::999999999999:role/maggjob-worker"),
        "account",
        "credentials are of 123456789012, execution_role is of 999999999999",
    ),
    "role": (section(execution_role="arn:aws:iam::123456789012:role/gone"), "role", "NoSuchEntity.*template.yaml"),
    "role of another": (role_of_another_service, "role", "cannot be assumed by Lambda"),
    "right": (lambda a, g, c: g.denied.add("s3:PutObject"), "role", "lacks s3:PutObject on arn:aws:s3:::"),
    "no bucket": (section("aws_s3", storage_bucket="nowhere"), "Lithops' bucket", "is not there"),
    "another's bucket": (lambda a, g, c: g.statuses.update(maps=403), "output bucket", "somebody else's"),
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
    "tags": (section(user_tags="x"), "configuration", "user_tags is no mapping"),
}


@pytest.mark.parametrize("what", BAD)
def test_each_fault_is_found_and_named(aws: World, gate: Front, what: str) -> None:
    edit, name, said = BAD[what]
    config = aws.fresh_config()
    edit(aws, gate, config)
    found = look(aws, config)
    assert found[name].state == "bad"
    assert re.search(said, str(found[name]))
    assert found[name].mend
    others = {n for n, check in found.items() if check.state == "bad"} - {name}
    assert others <= (
        {"role"} if what == "not filled in" else {"quota", "image", "function"} if what == "region" else set()
    )


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


def test_without_credentials_the_rest_is_skipped(monkeypatch: pytest.MonkeyPatch, aws: World) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    checks = examine(aws.fresh_config(), boto3.Session(region_name="us-west-2"))
    states = {check.name: check.state for check in checks}
    assert states["credentials"] == "bad"
    assert {states[name] for name in ("account", "role", "image", "quota")} == {"skipped"}


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
        "import maggjob.doctor as d; d.PYTHONS = (d.HERE,)\nimport maggjob.cli as c; c.main()"
    )
    environment = {**aws.variables, "AWS_ENDPOINT_URL": gate.url, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", program, "doctor", "--store", STORE]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(NAMES)
    assert sum(line.startswith("bad") for line in lines) == code
    assert "Traceback" not in done.stderr
