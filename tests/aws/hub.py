"""An account with the stack of runtime/template.yaml, whose people have the rights that its policies give."""

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import lithops.serverless.backends.aws_lambda.aws_lambda as lithops_lambda
import lithops.storage.storage as lithops_storage
import pytest
import yaml

from maggjob.aws.image import Image, image_of
from tests.aws.front import Front, front
from tests.aws.policies import Principal
from tests.aws.test_template import TEMPLATE
from tests.aws.world import MANIFEST, REGION, World, fresh_config, to_service

LITHOPS, MAPS = "hub-lithops", "hub-maps"
PROTECTED = "nsidc-cumulus-prod-protected"
NASA = "ASIANASA"
"""Access key that the data centre issues."""


@dataclass
class Hub:
    """The account. Requests of people are judged by `tests.aws.policies`, those of workers as well."""

    world: World
    door: Front
    """In front of S3 and the rest."""
    gate: Front
    """In front of Lambda."""
    outputs: Mapping[str, str]
    """Outputs of the stack."""
    keys: dict[str, str] = field(default_factory=dict)
    """Access key of each person."""
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """Lithops' configuration, as the operator hands it out."""
        config = fresh_config(
            execution_role=self.outputs["ExecutionRole"], runtime="maggjob:01", user_id="maggjob", runtime_memory=1769
        )
        config["aws_s3"]["storage_bucket"] = LITHOPS
        return config

    @property
    def image(self) -> Image:
        return image_of(self.config, boto3.client("sts").get_caller_identity())

    def join(self, name: str, *documents: Mapping[str, Any]) -> None:
        """Make a user with these policies."""
        iam = boto3.client("iam", endpoint_url=self.world.endpoint)
        user = iam.create_user(UserName=name)["User"]
        key = iam.create_access_key(UserName=name)["AccessKey"]
        self.keys[name], self.secrets[name] = key["AccessKeyId"], key["SecretAccessKey"]
        self.admit(key["AccessKeyId"], Principal(user["UserId"], documents))

    def admit(self, key: str, principal: Principal) -> None:
        for one in (self.door, self.gate):
            one.principals[key] = principal

    def user_id(self, name: str) -> str:
        return self.door.principals[self.keys[name]].user_id

    @contextmanager
    def as_user(self, name: str, cache: Path) -> Iterator[boto3.Session]:
        """Be somebody: with their keys, and a home of their own."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", self.keys[name])
            patch.setenv("AWS_SECRET_ACCESS_KEY", self.secrets[name])
            patch.setenv("AWS_ENDPOINT_URL", self.door.url)
            patch.setenv("AWS_ENDPOINT_URL_LAMBDA", self.gate.url)
            patch.setenv("MAGGJOB_CACHE", str(cache / name / "maggjob"))
            patch.setenv("HOME", str(cache / name))
            patch.setattr(lithops_storage, "CACHE_DIR", str(cache / name / "lithops"))
            patch.setattr(lithops_storage, "RUNTIME_META_CACHE", {})
            patch.setattr(lithops_lambda, "URLLib3Session", to_service(self.gate.url))
            yield boto3.Session(region_name=REGION)

    def keys_of(self, bucket: str) -> list[str]:
        """Keys of a bucket, whoever asks."""
        plain = boto3.Session("test", "test", region_name=REGION)
        found = plain.resource("s3", endpoint_url=self.world.endpoint).Bucket(bucket).objects.all()
        return [item.key for item in found]

    def config_file(self, folder: Path) -> Path:
        """Write the configuration to a file."""
        path = folder / "lithops_config.yaml"
        path.write_text(yaml.safe_dump(self.config))
        return path

    def denied(self, name: str) -> list[str]:
        """What was refused to somebody, and on which resource."""
        judged = [*self.door.judged, *self.gate.judged]
        key = self.keys.get(name, name)
        return [f"{asked.action} {asked.resource}" for who, asked, allowed in judged if who == key and not allowed]


def create_stack(name: str, **parameters: str) -> dict[str, str]:
    """Create the stack in moto, and return its outputs."""
    cloud = boto3.client("cloudformation")
    given = {"RepositoryName": f"lithops_v1/{name}"} if name != "hub" else {}
    cloud.create_stack(
        StackName=name,
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in (given | parameters).items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    (stack,) = cloud.describe_stacks(StackName=name)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def policies_of(stack: str, endpoint: str) -> dict[str, dict[str, Any]]:
    """Return the policies of a stack in moto: of workers, of clients, of users."""
    cloud, iam = boto3.client("cloudformation", endpoint_url=endpoint), boto3.client("iam", endpoint_url=endpoint)
    made = cloud.list_stack_resources(StackName=stack)["StackResourceSummaries"]
    names = {resource.get("LogicalResourceId"): resource.get("PhysicalResourceId") for resource in made}
    worker = iam.get_role_policy(RoleName=names["WorkerRole"], PolicyName="worker")["PolicyDocument"]
    managed = {
        name: iam.get_policy_version(PolicyArn=names[name], VersionId="v1")["PolicyVersion"]["Document"]
        for name in ("ClientPolicy", "UserPolicy")
    }
    # moto keeps the first as Python shows it.
    return {"WorkerRole": ast.literal_eval(worker) if isinstance(worker, str) else worker, **managed}


@contextmanager
def hub(world: World) -> Iterator[Hub]:
    """Create the stack; an operator and two users, jane and joe; and an archive that opens to NASA's key only."""
    outputs = create_stack("hub", LithopsBucketName=LITHOPS, OutputBucketName=MAPS)
    policies = policies_of("hub", world.endpoint)
    image = world.service.image
    with front(world.endpoint) as door, front(world.service.url) as gate:
        made = Hub(world, door, gate, outputs)
        made.join("operator", policies["ClientPolicy"])
        made.join("jane", policies["UserPolicy"])
        made.join("joe", policies["UserPolicy"])
        made.admit("WORKER", Principal("AROAWORKER:lithops-worker", [policies["WorkerRole"]]))
        archive = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": f"arn:aws:s3:::{PROTECTED}/*"}
        made.admit(NASA, Principal("AROANASA:them", [{"Statement": [archive]}]))
        repository = outputs["RepositoryUri"].partition("/")[2]
        boto3.client("ecr").put_image(repositoryName=repository, imageTag="01", imageManifest=MANIFEST % 7)
        inside = {"AWS_ENDPOINT_URL": door.url, "AWS_ACCESS_KEY_ID": "WORKER", "AWS_SECRET_ACCESS_KEY": "w"}
        world.service.image = replace(image, environment={**(image.environment or {}), **inside})
        try:
            yield made
        finally:
            world.service.image = image
            world.service.end_sandboxes()
