"""The scenes job on Lambda: scenes in a bucket, results in another, with the bytes of this machine."""

import json
from pathlib import Path

import boto3
import pytest

import maggjob
from maggjob.backend.executor import run_tasks
from maggjob.config.scenes import load_scenes_config
from maggjob.pipeline.scenes import ScenesResult
from maggjob.simulator.scenes import simulate_scenes
from tests import calls
from tests.aws.world import World

SCENES, RESULTS = "scenes-of-somebody", "results"
SHAPE = [[-49.11, 61.22], [-49.06, 61.225], [-49.03, 61.205], [-49.09, 61.19], [-49.11, 61.22]]


@pytest.mark.dear("an emulated Lambda; that of series is run by make test")
def test_lambda_gives_the_bytes_of_this_machine(aws: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shape = {"type": "Polygon", "coordinates": [SHAPE]}
    region = {"type": "Feature", "properties": {"name": "134_Arsuk"}, "geometry": shape}
    Path("regions.json").write_text(json.dumps({"type": "FeatureCollection", "features": [region]}))
    simulate_scenes("tiles", start="2023-07-01", end="2023-07-06")
    given = {"regions": "regions.json", "start": "2023-07-01", "end": "2023-07-06"}
    here = maggjob.scenes("sentinel2.yaml", items="tiles/items.json", store="scenes", backend="serial", **given)
    assert isinstance(here, ScenesResult)

    there = {bucket.name for bucket in boto3.resource("s3").buckets.all()}
    for bucket in {SCENES, RESULTS} - there:
        boto3.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for path in Path("tiles").glob("*.tif"):
        boto3.client("s3").upload_file(str(path), SCENES, path.name)
    content = json.loads(Path("tiles/items.json").read_text())
    for asset in (asset for item in content["features"] for asset in item["assets"].values()):
        asset["href"] = f"s3://{SCENES}/{Path(asset['href']).name}"
    Path("cloud.json").write_text(json.dumps(content))
    run_tasks(calls.square, [1], backend="aws_lambda", config=aws.fresh_config())
    config = load_scenes_config("sentinel2.yaml").model_dump() | {"sources": [f"s3://{SCENES}"]}
    how = {"backend": "aws_lambda", "lithops_config": aws.fresh_config(), "deadline": 600}
    done = maggjob.scenes(config, items="cloud.json", store=f"s3://{RESULTS}/scenes", **how, **given)
    assert isinstance(done, ScenesResult)
    assert done.complete, done.summary
    (stage,) = done.summary["stages"]
    assert (stage["calls"], stage["failed"]) == (2, 0)
    found = boto3.resource("s3").Bucket(RESULTS).objects.filter(Prefix="scenes/")
    cloud = {one.key.removeprefix("scenes/"): one.get()["Body"].read() for one in found}
    local = {str(p.relative_to("scenes")): p.read_bytes() for p in Path("scenes").rglob("*") if p.is_file()}
    assert cloud == local
