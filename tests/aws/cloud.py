"""An account without anything of maggjob in it, and the command line that sets it up.

CloudFormation, ECR, S3, IAM and STS are moto's (completed by `tests.aws.stacks`), images go to a registry that checks
what registries check, and functions are started by our own Lambda service.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import lithops.serverless.backends.aws_lambda.aws_lambda as lithops_lambda
import lithops.storage.storage as lithops_storage
import pytest
import yaml
from click.testing import CliRunner

from maggjob.aws import registry as registry_module, stack_state
from maggjob.cli import commands
from tests.aws.front import Front, front
from tests.aws.registry import Registry, image_registry, stand_for_ecr
from tests.aws.small_image import BASE, HERE, add_base, lock_line, write_wheel
from tests.aws.stacks import complete_cloudformation
from tests.aws.wheels import RUNTIME
from tests.aws.world import REGION, ROOT, World, to_service

ACCOUNT = "123456789012"
LITHOPS = f"maggjob-lithops-{ACCOUNT}-{REGION}"
MAPS = f"maggjob-maps-{ACCOUNT}-{REGION}"


@dataclass
class Cloud:
    """The account."""

    world: World
    door: Front
    """In front of S3 and the rest."""
    gate: Front
    """In front of Lambda."""
    registry: Registry
    """What ECR's images are in."""
    bases: Registry
    """Where base images come from."""
    folder: Path
    """Working directory, empty at first."""

    @property
    def base(self) -> str:
        """Name of the base image."""
        return f"{self.bases.host}/{BASE}:{HERE}-slim"

    def maggjob(self, *words: str, answer: str | None = None) -> subprocess.CompletedProcess[str]:
        """Type ``maggjob WORDS`` in the working directory, and an answer to what it asks."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["maggjob", *words])
            return run_main(answer)

    def type(self, *words: str, answer: str | None = None) -> subprocess.CompletedProcess[str]:
        """Type ``maggjob cloud WORDS``."""
        return self.maggjob("cloud", *words, answer=answer)

    def setup(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.type("setup", "--base", self.base, *words)

    @property
    def config(self) -> dict[str, Any]:
        """Content of lithops_config.yaml."""
        return yaml.safe_load((self.folder / "lithops_config.yaml").read_text())

    @property
    def functions(self) -> dict[str, dict[str, Any]]:
        return self.world.service.functions

    @property
    def buckets(self) -> set[str]:
        """Names of the buckets."""
        return {bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]}

    def keys(self, bucket: str) -> list[str]:
        """Keys of the objects in a bucket."""
        return [item.key for item in boto3.resource("s3").Bucket(bucket).objects.all()]

    def images(self) -> list[str]:
        """Tags of the images in the repository; none if there is no repository."""
        ecr = boto3.client("ecr")
        try:
            found = ecr.describe_images(repositoryName="lithops_v380_gjob/maggjob")["imageDetails"]
        except ecr.exceptions.RepositoryNotFoundException:
            return []
        return sorted(tag for item in found for tag in item["imageTags"])

    def add_bucket(self, name: str) -> None:
        boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})


def run_main(answer: str | None) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, with a line on standard input."""
    runner = CliRunner()
    with runner.isolation(input=answer) as (out, err, _):
        code = 0
        try:
            commands.main()
        except SystemExit as end:
            code = int(str(end.code or 0))
        said, errors = out.getvalue().decode(), err.getvalue().decode()
    return subprocess.CompletedProcess(sys.argv, code, said, errors)


def small_runtime(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """A folder like runtime/ whose lock has one package, which is called like Lithops."""
    wheel = write_wheel(folder / "index", "lithops", version("lithops"), {"lithops/__init__.py": b"name = 'small'\n"})
    runtime = folder / "runtime"
    runtime.mkdir()
    for path in RUNTIME.iterdir():
        (runtime / path.name).write_bytes(path.read_bytes())
    (runtime / f"worker-{HERE}.txt").write_text(lock_line(wheel))
    patch.setenv("PIP_NO_INDEX", "1")
    patch.setenv("PIP_FIND_LINKS", str(folder / "index"))
    patch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return runtime


@contextmanager
def empty_account(world: World, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """An account without stack, image and function."""
    patch.setattr(stack_state, "PAUSE", 0.01)
    patch.setattr(registry_module, "PAUSES", (0.0,))
    runtime = small_runtime(folder / "small", patch)
    patch.setattr("maggjob.aws.image.image_folder", lambda: runtime)
    patch.setattr("maggjob.aws.build.image_folder", lambda: runtime)
    patch.setattr("maggjob.aws.survey.image_folder", lambda: runtime)
    complete_cloudformation(patch)
    # What moto keeps of other tests.
    urlopen(Request(f"{world.endpoint}/moto-api/reset", method="POST")).close()
    with (
        image_registry() as registry,
        image_registry() as bases,
        front(world.endpoint) as door,
        front(world.service.url) as gate,
    ):
        stand_for_ecr(registry, patch)
        add_base(bases)
        door.blobs = lambda digest: json.loads(next(b[digest] for b in registry.blobs.values() if digest in b))
        patch.setenv("AWS_ENDPOINT_URL", door.url)
        patch.setenv("AWS_ENDPOINT_URL_LAMBDA", gate.url)
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("HOME", str(folder / "home"))
        patch.setattr(lithops_storage, "CACHE_DIR", str(folder / "cache"))
        patch.setattr(lithops_storage, "RUNTIME_META_CACHE", {})
        patch.setattr(lithops_lambda, "URLLib3Session", to_service(gate.url))
        yield Cloud(world, door, gate, registry, bases, folder)
        world.service.functions.clear()
