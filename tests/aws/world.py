"""AWS for a test: moto's S3, STS, ECR, IAM and CloudFormation, and our own Lambda service, all on 127.0.0.1."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import lithops
import lithops.serverless.backends.aws_lambda.aws_lambda as lithops_lambda
import lithops.storage.storage as lithops_storage
import pytest
from botocore.httpsession import URLLib3Session
from botocore.loaders import create_loader
from lithops.storage.utils import create_init_key, init_key_suffix

from tests.aws.lambda_service import ACCOUNT, LambdaService
from tests.aws.sandbox import Image
from tests.servers import Seen, s3_server

ROOT = Path(__file__).resolve().parents[2]
REGION = "us-west-2"
BUCKET = "lithops-test"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/maggjob-worker"
MANIFEST = (
    '{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",'
    '"config":{"digest":"sha256:%064d","size":1,"mediaType":"application/vnd.docker.container.image.v1+json"},'
    '"layers":[]}'
)
CONFIG: dict[str, dict[str, Any]] = {
    "lithops": {"backend": "aws_lambda", "storage": "aws_s3", "data_cleaner": False, "monitoring_interval": 0.2},
    "aws": {"region": REGION},
    "aws_s3": {"storage_bucket": BUCKET},
    "aws_lambda": {
        "execution_role": ROLE,
        "runtime": "maggjob:01",
        "runtime_memory": 2048,
        "runtime_timeout": 300,
        "max_workers": 1700,
        "architecture": "arm64",
        "user_tags": {},
    },
}

# botocore parses a service's model (up to 1 MB of JSON) once per session. Here, all sessions of a process share one
# loader, which saves a third of a second and some memory per session.
shared_loader = cache(create_loader)


def fresh_config(**section: Any) -> dict[str, Any]:
    """Return a copy of Lithops' configuration for a `World`, with changes to its section aws_lambda."""
    copy = {key: dict(value) for key, value in CONFIG.items()}
    copy["aws_lambda"] |= section
    return copy


@dataclass(frozen=True)
class World:
    """AWS, as a test sees it."""

    endpoint: str
    """URL of S3, STS, ECR, IAM and the rest."""
    service: LambdaService
    """The Lambda service."""
    config: dict[str, Any]
    """Lithops' configuration for it."""
    variables: dict[str, str]
    """Environment that points a process here."""
    seen: list[Seen] = field(default_factory=list)
    """Requests to S3 and the rest, of the client and of all sandboxes; not those to the Lambda service."""

    def fresh_config(self, **section: Any) -> dict[str, Any]:
        """Copy of the configuration, with changes to its section aws_lambda."""
        return fresh_config(**section)

    @property
    def job_objects(self) -> list[str]:
        """Keys of the objects that Lithops' jobs left in its bucket."""
        found = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="lithops.jobs/")
        return [item["Key"] for item in found.get("Contents", [])]

    def empty(self) -> None:
        """Delete the objects of events that ended after their run. At AWS they expire."""
        for bucket in boto3.resource("s3").buckets.all():
            if bucket.name == BUCKET:
                bucket.objects.filter(Prefix="lithops.jobs/").delete()


def to_service(url: str) -> type[URLLib3Session]:
    """Send to ``url`` what Lithops sends to https://lambda.REGION.amazonaws.com, whatever the environment says."""

    class Redirected(URLLib3Session):
        def send(self, request: Any) -> Any:
            request.url = re.sub(r"^https://lambda\.[\w-]+\.amazonaws\.com", url, request.url)
            return super().send(request)

    return Redirected


def lithops_repository(name: str = "maggjob") -> str:
    """Return the repository in which Lithops looks for an image."""
    user = boto3.client("sts").get_caller_identity()["UserId"].split(":")[0][-4:].lower()
    return f"lithops_v{lithops.__version__.replace('.', '')}_{user}/{name}"


@contextmanager
def world(cache: Path, image: Image | None = None, **options: Any) -> Iterator[World]:
    """Start it all, point this process at it, and stop it all.

    Parameters
    ----------
    cache : Path
        Folder to use instead of Lithops' ~/.lithops/cache.
    image : Image, optional
        Image of the sandboxes; by default this checkout, in this Python.
    **options
        For `LambdaService`.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    patch = pytest.MonkeyPatch()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    seen: list[Seen] = []
    with s3_server(seen=seen) as endpoint:
        runs = image or Image(environment={"PYTHONPATH": str(ROOT)})
        inside = {**keys, "AWS_ENDPOINT_URL": endpoint, **(runs.environment or {})}
        with LambdaService(replace(runs, environment=inside), region=REGION, **options) as service:
            variables = {**keys, "AWS_ENDPOINT_URL": endpoint, "AWS_ENDPOINT_URL_LAMBDA": service.url}
            for name, value in {**variables, "AWS_DEFAULT_REGION": REGION}.items():
                patch.setenv(name, value)
            patch.setattr("botocore.session.create_loader", shared_loader)
            patch.setattr(lithops_storage, "CACHE_DIR", str(cache))
            patch.setattr(lithops_storage, "RUNTIME_META_CACHE", {})
            patch.setattr(lithops_lambda, "URLLib3Session", to_service(service.url))
            ecr, repository = boto3.client("ecr"), lithops_repository()
            ecr.create_repository(repositoryName=repository)
            ecr.put_image(repositoryName=repository, imageTag="01", imageManifest=MANIFEST % 1)
            s3 = boto3.client("s3")

            def has_started(executor: str, job: str, calls: Sequence[str]) -> bool:
                prefixes = [create_init_key(executor, job, call, "").rsplit("/", 1)[0] for call in calls]
                found = [s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/") for prefix in prefixes]
                return all(any(o["Key"].endswith(init_key_suffix) for o in one.get("Contents", [])) for one in found)

            service.has_started = has_started
            try:
                yield World(endpoint, service, fresh_config(), {**variables, "AWS_DEFAULT_REGION": REGION}, seen)
            finally:
                patch.undo()
