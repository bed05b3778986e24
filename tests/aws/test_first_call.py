"""A run that cannot start names the fault of the account, exits with code 1, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

import maggjob
from tests.aws.world import BUCKET, ROOT, World
from tests.granule_files import beam, write_granule
from tests.servers import server, status

WEST = {"LocationConstraint": "us-west-2"}
OTHER = "999999999999"
Variables = dict[str, str]
Edit = Callable[[World, dict[str, Any], Variables], None]


def keys_of_somebody_else() -> Variables:
    asked = boto3.client("sts").assume_role(RoleArn=f"arn:aws:iam::{OTHER}:role/theirs", RoleSessionName="them")
    made = asked["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
        "AWS_SESSION_TOKEN": made["SessionToken"],
    }


@pytest.fixture(scope="module")
def _buckets(aws_world: World) -> None:
    """Ours with a granule, one for results, and somebody else's."""
    for name in ("archive", "results", BUCKET):
        boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration=WEST)
    theirs = keys_of_somebody_else()
    them = boto3.Session(*theirs.values())
    them.client("s3").create_bucket(Bucket="theirs", CreateBucketConfiguration=WEST)


@pytest.fixture
def folder(aws: World, _buckets: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a catalog of granules in a bucket; buckets are closed to other accounts, as at AWS."""
    monkeypatch.setenv("MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS", "false")
    path = write_granule(tmp_path / "ATL06_20190222031200_08500211_006_01.h5", {"gt1l": beam(60)})
    boto3.client("s3").upload_file(str(path), "archive", path.name)
    here = maggjob.make_catalog(tmp_path)
    moved = [replace(entry, urls={"s3": f"s3://archive/{path.name}"}) for entry in here.granules]
    replace(here, granules=tuple(moved)).write(str(tmp_path / "catalog.json"))
    return tmp_path


def section(name: str = "aws_lambda", **values: Any) -> Edit:
    return lambda aws, config, variables: config[name].update(values)


def instead(**values: str) -> Edit:
    """Return variables in place of the keys."""

    def edit(aws: World, config: dict[str, Any], variables: Variables) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            del variables[name]
        variables.update(values)

    return edit


def other_account(aws: World, config: dict[str, Any], variables: Variables) -> None:
    variables.update(keys_of_somebody_else())


def role_that_is_gone(aws: World, config: dict[str, Any], variables: Variables) -> None:
    gone = "arn:aws:iam::123456789012:role/gone"
    aws.service.bad_roles.add(gone)
    config["aws_lambda"]["execution_role"] = gone


FAULTS: dict[str, tuple[Edit, str]] = {
    "no credentials": (instead(), "no AWS credentials found: log in"),
    "no such profile": (instead(AWS_PROFILE="gone"), r"profile \(gone\) could not be found; set AWS_PROFILE"),
    "another account": (other_account, "cannot list s3://results/.*403 Forbidden.*check that .* may read and write it"),
    "another's bucket": (section("aws_s3", storage_bucket="theirs"), "the bucket is another account's"),
    "no bucket named": (section("aws_s3", storage_bucket=None), "names no bucket; write storage_bucket"),
    "no image": (section(runtime="maggjob:none"), "there is no image with this tag; type 'maggjob runtime build'"),
    "no repository": (section(runtime="other:01"), "there is no image of this name; type 'maggjob runtime build'"),
    "no role": (role_that_is_gone, "check execution_role in aws_lambda"),
}


def run(folder: Path, store: str, config: dict[str, Any], variables: Variables) -> tuple[int, str]:
    """Exit code and standard error of a run; no process of its session is left."""
    (folder / "lithops_config.yaml").write_text(yaml.safe_dump(config))
    words = ["--config", "atl06.yaml", "--backend", "aws_lambda", "--store", store]
    with server(status(404)) as metadata:  # of a machine that is none of AWS's
        none = {"AWS_METADATA_ENDPOINT": metadata.url(), "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(folder)}
        process = subprocess.Popen(
            [sys.executable, "-m", "maggjob", "run", *words],
            env=variables | none | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            _, said = process.communicate(timeout=600)  # only what hangs takes as long
            with pytest.raises(ProcessLookupError):  # of its session
                os.killpg(process.pid, 0)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


def content(bucket: str) -> list[str]:
    return [item.key for item in boto3.resource("s3").Bucket(bucket).objects.all()]


@pytest.mark.parametrize(
    "what",
    [
        what if number < 1 else pytest.param(what, marks=pytest.mark.dear("a process each; the first is in make test"))
        for number, what in enumerate(FAULTS)
    ],
)
def test_a_run_that_cannot_start_leaves_nothing(aws: World, folder: Path, what: str) -> None:
    edit, expected = FAULTS[what]
    config, before = aws.fresh_config(), dict(aws.service.functions)
    variables = dict(os.environ)
    edit(aws, config, variables)
    code, said = run(folder, "s3://results/map.zarr", config, variables)
    assert code == 1, said
    (line,) = said.splitlines()
    assert re.match(rf"error: .*{expected}", line)
    assert content("results") == content(BUCKET) == []
    assert aws.service.functions == before
    assert aws.service.invocations == []
