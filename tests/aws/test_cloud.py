"""``maggjob cloud``: from an empty account and an empty folder to a run, and back to nothing."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

import maggjob
from tests.aws.cloud import LITHOPS, MAPS, Cloud, empty_account
from tests.aws.small_image import HERE, lock_line, write_wheel
from tests.aws.stacks import stacks
from tests.aws.world import World

# moto makes nothing of policies of buckets and of budgets, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")
AREA = (-105.0, -76.0, -100.0, -75.0)
PUBLISHED = "maggjob.config/lithops_config.yaml"
FILE = "lithops_config.yaml"


@pytest.fixture
def cloud(aws: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with empty_account(aws, tmp_path, monkeypatch) as found:
        yield found


def last_line(done: Any) -> str:
    """The last line that was printed, of a command that failed without a traceback."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return (done.stdout + done.stderr).strip().splitlines()[-1]


def catalog_of(granules: Path, bucket: str) -> None:
    """Simulate granules, put them into a bucket, and write a catalog of them into the working directory."""
    maggjob.simulate(granules, area=AREA, every=20, most=2)
    here, s3 = maggjob.make_catalog(granules), boto3.client("s3")
    for path in granules.glob("*.h5"):
        s3.upload_file(str(path), bucket, path.name)
    entries = [replace(e, urls={"s3": f"s3://{bucket}/{Path(e.urls['file']).name}"}) for e in here.granules]
    replace(here, granules=tuple(entries)).write("catalog.json")


@pytest.mark.dear("sets up, runs, stops, updates and takes down: what each refuses is tested alone")
def test_from_nothing_to_a_run_and_back(cloud: Cloud, tmp_path: Path) -> None:
    # What would be done, and nothing is.
    shown = cloud.setup("--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[-1] == "nothing was changed"
    assert (list(tmp_path.glob("*.yaml")), cloud.buckets, stacks(), cloud.functions) == ([], set(), {}, {})
    assert {method for method, path in cloud.door.requests if path != "/"} <= {"GET", "HEAD"}

    # The setup, from nothing.
    done = cloud.setup("--email", "me@example.org", "--budget", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    assert cloud.buckets == {LITHOPS, MAPS}
    (function,) = cloud.functions.values()
    section = cloud.config["aws_lambda"]
    stack = stacks()["maggjob"]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stack.outputs}
    assert (section["execution_role"], section["runtime"]) == (
        outputs["ExecutionRole"],
        function["Tags"]["runtime_name"],
    )
    assert function["EventConfig"]
    parameters = {one["ParameterKey"]: one["ParameterValue"] for one in stack.parameter_list}
    assert (parameters["BudgetEmail"], parameters["BudgetLimit"]) == ("me@example.org", 20)
    assert list(cloud.registry.tags["lithops_v380_gjob/maggjob"]) == [section["runtime"].partition(":")[2]]
    published = boto3.client("s3").get_object(Bucket=LITHOPS, Key=PUBLISHED)["Body"].read()
    assert published == Path(FILE).read_bytes()
    assert "bad " not in done.stdout.partition("doctor\n")[2]

    # Again: everything is there.
    requests, written = len(cloud.world.service.requests), Path(FILE).stat().st_mtime_ns
    done = cloud.setup()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0.0 MB sent" not in done.stdout
    assert Path(FILE).stat().st_mtime_ns == written
    assert not [one for one in cloud.world.service.requests[requests:] if one[0] == "POST"]

    # A run with the written file.
    cloud.add_bucket("archive")
    catalog_of(tmp_path / "granules", "archive")
    run = "run", "--config", "atl06.yaml", "--catalog", "catalog.json", "--backend", "aws_lambda", "--no-index"
    done = cloud.maggjob(*run, "--store", f"s3://{MAPS}/map.zarr")
    assert done.returncode == 0, done.stdout + done.stderr
    status = cloud.type("status")
    assert status.returncode == 0, status.stderr
    assert f"s3://{MAPS}/map.zarr: complete" in status.stdout
    assert f"{function['FunctionName']} ({section['runtime']}, in {FILE}): Active" in status.stdout

    # Nothing new starts.
    assert cloud.type("stop").returncode == 0
    assert "STOPPED" in cloud.type("status").stdout
    before = len(cloud.world.service.runs)
    refused = cloud.maggjob(*run, "--store", f"s3://{MAPS}/other.zarr")
    assert "is stopped: its reserved concurrency is 0; 'maggjob cloud stop --undo'" in last_line(refused)
    assert len(cloud.world.service.runs) == before
    assert not [key for key in cloud.keys(MAPS) if key.startswith("other.zarr")]
    assert cloud.type("stop", "--undo").returncode == 0
    done = cloud.maggjob(*run, "--store", f"s3://{MAPS}/other.zarr")
    assert done.returncode == 0, done.stdout + done.stderr

    # A new version: the old function and image go only when that is wanted.
    new_version(cloud)
    done = cloud.type("update", "--base", cloud.base)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "maggjob cloud update --delete-old" in done.stdout
    assert len(cloud.functions) == 2
    newer = cloud.config["aws_lambda"]["runtime"]
    assert newer != section["runtime"]
    done = cloud.type("update", "--base", cloud.base, "--delete-old")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [one["Tags"]["runtime_name"] for one in cloud.functions.values()] == [newer]
    assert cloud.images() == [newer.partition(":")[2]]

    # Down: results stay.
    results = cloud.keys(MAPS)
    done = cloud.type("teardown", answer="n\n")
    assert (done.returncode, stacks().keys()) == (3, {"maggjob"})
    done = cloud.type("teardown", answer="y\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"keep the bucket {MAPS}: {len(results):,} objects" in done.stdout
    assert (stacks(), cloud.functions, cloud.images(), cloud.keys(MAPS)) == ({}, {}, [], results)

    # And up again: the buckets that stayed are taken over, and the file gets the new role.
    done = cloud.setup()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{LITHOPS}, {MAPS}: left by a former stack, taken over" in done.stdout
    assert (cloud.keys(MAPS), cloud.buckets) == (results, {LITHOPS, MAPS, "archive"})
    assert cloud.config["aws_lambda"]["execution_role"] != section["execution_role"]
    done = cloud.type("teardown", "--yes", "--delete-bucket", LITHOPS, "--delete-bucket", MAPS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert cloud.buckets == {"archive"}
    assert "nothing stays" in done.stdout.splitlines()[-1]


def new_version(cloud: Cloud) -> None:
    """Lock another package."""
    wheel = write_wheel(cloud.folder / "small" / "index", "extra", "1.0", {"extra.py": b"extra = True\n"})
    lock = cloud.folder / "small" / "runtime" / f"worker-{HERE}.txt"
    lock.write_text(lock.read_text() + lock_line(wheel))
