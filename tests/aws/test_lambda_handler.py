"""The entry point of the image, by itself: what it imports, and what it keeps between calls."""

import subprocess
import sys

import pytest

from tests.aws.world import ROOT, World

CODE = """
import os, sys
from maggjob.aws.handler import handler, shared_storage
import boto3, lithops.worker.handler as worker
boto3.client("s3").create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
heavy = "pydantic yaml click healpy zarr astropy shapely matplotlib earthaccess"
assert not [m for m in heavy.split() if m in sys.modules], sys.modules.keys()
config = {"backend": "aws_s3", "monitoring_interval": 1,
          "aws_s3": {"storage_bucket": "kept", "region": "us-west-2", "user_agent": "test"}}
one = worker.InternalStorage(dict(config))
assert worker.InternalStorage(dict(config)) is one
other = {**config, "aws_s3": {**config["aws_s3"], "user_agent": "other"}}
assert worker.InternalStorage(other) is not one
class Context:
    aws_request_id = "r-1"
print(handler({"get_metadata": {}}, Context())["lithops_version"], os.environ["__LITHOPS_ACTIVATION_ID"])
print(os.environ["__LITHOPS_ACTIVATION_ID"])
handler({"get_metadata": {}}, Context())
assert not {"pika.adapters", "requests.adapters"} & sys.modules.keys(), "imported only when used"
from maggjob.aws.base import LEFT_OUT
assert not set(LEFT_OUT) & {name.split(".")[0] for name in sys.modules}, "its byte code is in the image"
print(os.environ["__LITHOPS_ACTIVATION_ID"])
"""


@pytest.mark.dear("imports the handler in a process of its own; test_run_aws runs it")
def test_the_handler_hands_over_and_keeps_its_storage(aws: World) -> None:
    from maggjob.backend.outcome import Activation

    environment = {**aws.variables, "PYTHONPATH": str(ROOT), "AWS_LAMBDA_LOG_STREAM_NAME": "2025/11/21/[$LATEST]ab"}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = map(Activation.parse, done.stdout.split()[-2:])
    assert (first.request, first.log_stream) == ("r-1", "2025/11/21/[$LATEST]ab")
    assert first.init > 0
    assert second.init == 0  # a sandbox starts once
    assert second.started >= first.started
