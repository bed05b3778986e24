"""The CloudFormation stack: without findings of cfn-lint, created in moto, and no wider than it must be."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from cfnlint.decode import cfn_yaml

from maggjob.aws.image import image_of
from maggjob.backend.settings import lithops_config
from tests.aws.wheels import RUNTIME
from tests.aws.world import ROOT, World

TEMPLATE = RUNTIME / "template.yaml"


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return json.loads(json.dumps(cfn_yaml.load(str(TEMPLATE))))


def statements(template: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement that allows something, with the resource it belongs to."""
    for name, resource in template["Resources"].items():
        properties = resource["Properties"]
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        documents += [properties[key] for key in ("PolicyDocument", "RepositoryPolicyText") if key in properties]
        for document in documents:
            for statement in document["Statement"]:
                if statement["Effect"] == "Allow":
                    yield name, statement


@pytest.mark.dear("cfn-lint alone takes 3 CPU-seconds")
def test_cfn_lint_finds_nothing() -> None:
    code = "import sys; from cfnlint.runner import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--regions", "us-west-2", "--template", str(TEMPLATE)]
    done = subprocess.run([*command, "--include-checks", "W", "I"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.filterwarnings("ignore:Tried to parse")  # which moto makes nothing of
def test_the_stack_is_created(aws: World) -> None:
    cloud = boto3.client("cloudformation")
    given = {"LithopsBucketName": "mine-lithops", "OutputBucketName": "mine-maps", "RepositoryName": "lithops_v1/it"}
    parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()]
    capabilities = ["CAPABILITY_IAM"]
    cloud.create_stack(
        StackName="maggjob", TemplateBody=TEMPLATE.read_text(), Parameters=parameters, Capabilities=capabilities
    )
    (stack,) = cloud.describe_stacks(StackName="maggjob")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    assert outputs["StorageBucket"] == "mine-lithops"
    assert outputs["OutputBucket"] == "mine-maps"
    s3 = boto3.client("s3")
    for bucket in ("mine-lithops", "mine-maps"):
        rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    role = outputs["ExecutionRole"].rsplit("/", 1)[1]
    iam = boto3.client("iam")
    document = iam.get_role_policy(RoleName=role, PolicyName="worker")["PolicyDocument"]
    for resource in ("arn:aws:s3:::mine-lithops/lithops.jobs/*", "arn:aws:s3:::mine-maps/*"):
        assert resource in str(document)
    trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert [s["Principal"] for s in trust] == [{"Service": "lambda.amazonaws.com"}]
    (repository,) = boto3.client("ecr").describe_repositories(repositoryNames=["lithops_v1/it"])["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"


def test_buckets_are_private_encrypted_and_emptied(template: dict[str, Any]) -> None:
    """Check the settings that moto does not take from a template."""
    buckets = [r["Properties"] for r in template["Resources"].values() if r["Type"] == "AWS::S3::Bucket"]
    assert len(buckets) == 2
    for bucket in buckets:
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {"true"} or all(
            bucket["PublicAccessBlockConfiguration"].values()
        )
        assert len(bucket["PublicAccessBlockConfiguration"]) == 4
        rules = bucket["LifecycleConfiguration"]["Rules"]
        assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)
    policies = [r["Properties"] for r in template["Resources"].values() if r["Type"] == "AWS::S3::BucketPolicy"]
    for policy in policies:
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Action"]) == ("Deny", "s3:*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert len(policies) == 2
    expiring = {r["Prefix"] for b in buckets for r in b["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in r}
    assert expiring == {"lithops.jobs/", "maggjob.private/"}


def test_a_stack_that_could_not_be_created_leaves_nothing(template: dict[str, Any]) -> None:
    """A name that is taken would block the next try; what a stack has held is kept."""
    kept = {name: r for name, r in template["Resources"].items() if "DeletionPolicy" in r}
    assert kept.keys() == {"LithopsBucket", "OutputBucket", "Repository"}
    assert {(r["DeletionPolicy"], r["UpdateReplacePolicy"]) for r in kept.values()} == {
        ("RetainExceptOnCreate", "Retain")
    }


def test_no_image_with_a_tag_expires(template: dict[str, Any]) -> None:
    """It may be that of a function, which needs it again when it wakes; and tags are never moved to another image."""
    repository = template["Resources"]["Repository"]["Properties"]
    assert repository["ImageTagMutability"] == "IMMUTABLE"
    rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert [rule["selection"]["tagStatus"] for rule in rules] == ["untagged"]
    (statement,) = repository["RepositoryPolicyText"]["Statement"]
    assert statement["Condition"].keys() == {"ArnLike"}
    assert statement["Condition"]["ArnLike"].keys() == {"aws:SourceArn"}


def test_the_budget_sees_what_credits_pay_and_needs_no_address(template: dict[str, Any]) -> None:
    budget = template["Resources"]["Budget"]
    assert "Condition" not in budget
    assert {budget["Properties"]["Budget"]["CostTypes"][key] for key in ("IncludeCredit", "IncludeRefund")} <= {
        False,
        "false",
    }
    condition, alarms, none = budget["Properties"]["NotificationsWithSubscribers"]["Fn::If"]
    assert (condition, len(alarms), none) == ("HasEmail", 2, {"Ref": "AWS::NoValue"})


@pytest.mark.parametrize(
    ("prefix", "good"),
    [
        ("", True),
        ("people/", True),
        ("${aws:userid}/", True),
        ("maps/${aws:PrincipalTag/user}/", True),
        ("people", False),
        ("*/", False),
        ("${other}/", False),
    ],
)
def test_a_prefix_for_results_is_checked(template: dict[str, Any], prefix: str, good: bool) -> None:
    pattern = template["Parameters"]["UserPrefix"]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, prefix)) == good


def test_no_statement_is_wider_than_named(template: dict[str, Any]) -> None:
    found = list(statements(template))
    assert len(found) == 24
    for name, statement in found:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not [action for action in actions if "*" in action], (name, statement)
        if statement.get("Resource") == "*":  # these three know no resources
            assert set(actions) <= {"lambda:ListFunctions", "lambda:GetAccountSettings", "ecr:GetAuthorizationToken"}
    worker = {action for name, s in found if name == "WorkerRole" for action in s["Action"] if len(action) > 1}
    assert not [action for action in worker if action.startswith(("iam:", "lambda:", "ecr:", "sts:"))]
    user = {action for name, s in found if name == "UserPolicy" for action in s["Action"] if len(action) > 1}
    assert not [action for action in user if action.startswith(("iam:", "ecr:", "sts:", "logs:", "cloudformation:"))]
    assert {action for action in user if action.startswith("lambda:")} == {
        "lambda:InvokeFunction",
        "lambda:GetFunction",
        "lambda:ListTags",
    }


def test_the_readme_gives_a_reason_for_every_statement(template: dict[str, Any]) -> None:
    text = (RUNTIME / "README.md").read_text()
    missing = [statement["Sid"] for _, statement in statements(template) if f"`{statement['Sid']}`" not in text]
    assert missing == []


def test_the_repository_is_the_one_that_lithops_looks_for(template: dict[str, Any]) -> None:
    config = lithops_config("aws_lambda", given=ROOT / "lithops_config.yaml")
    image = image_of(config, {"Account": "1", "UserId": "somebody"})
    assert image.repository == template["Parameters"]["RepositoryName"]["Default"]
