"""Two ways of a hub: users who only invoke what the operator deployed, and one who does it all with keys of their own.

Every request is judged by the policies of the stack, for each person apart, and for the workers (`tests.aws.policies`).
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import maggjob
from maggjob.aws import doctor, verdicts
from maggjob.aws.doctor import examine
from maggjob.aws.function import EVENT_AGE, KEEP_LOGS, RETRIES, deploy_function, function_name, log_group
from maggjob.catalog.catalog import Catalog
from maggjob.errors import StoreError
from maggjob.pipeline.result import RunResult
from maggjob.storage.credentials import CredentialSet, S3Credentials
from maggjob.storage.earthdata import private_object
from maggjob.storage.folder import Folder
from tests.aws.clocks import wait_for
from tests.aws.faults import Crash
from tests.aws.hub import LITHOPS, MAPS, NASA, PROTECTED, Hub, create_stack, hub, policies_of
from tests.aws.policies import Asked, Principal, allows
from tests.aws.world import ROOT, World

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")  # what moto makes nothing of in the stack
GRANULE = f"s3://{PROTECTED}/a.h5"


@pytest.fixture(scope="module")
def account(aws_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The account, after the operator has deployed the function."""
    with hub(aws_world) as made:
        folder = tmp_path_factory.mktemp("operator")
        said: list[str] = []
        with made.as_user("operator", folder) as session:
            name = deploy_function(session, made.config, made.image, made.config_file(folder), said.append)
        assert name == function_name(made.image, 1769)
        assert made.denied("operator") == []
        assert [text for text in said if "30 days" in text]
        yield made


@pytest.fixture
def team(account: Hub, aws: World, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The account, with nothing judged yet, and a login to NASA."""
    monkeypatch.setattr(doctor, "PYTHONS", (verdicts.HERE,))
    monkeypatch.setattr("maggjob.storage.earthdata.login", object)
    until = datetime.now(UTC) + timedelta(hours=1)
    issued = CredentialSet({"NSIDC": S3Credentials(NASA, "s3cret", "s3ssion", until)})
    monkeypatch.setattr("maggjob.storage.earthdata.obtain", lambda urls, auth: issued)
    for one in (account.door, account.gate):
        one.judged.clear()
    return account


def test_the_function_is_set_up_at_deploy(team: Hub) -> None:
    name = function_name(team.image, 1769)
    found = boto3.client("lambda").get_function_event_invoke_config(FunctionName=name)
    assert (found["MaximumRetryAttempts"], found["MaximumEventAgeInSeconds"]) == (RETRIES, EVENT_AGE)
    (group,) = boto3.client("logs").describe_log_groups(logGroupNamePrefix=log_group(name))["logGroups"]
    assert (group["logGroupName"], group["retentionInDays"]) == (f"/aws/lambda/{name}", KEEP_LOGS)


def test_the_test_event_of_the_page_for_novices_starts_the_function(team: Hub) -> None:
    """The event is sent as the console does; its answer has what the page says."""
    page = (ROOT / "docs" / "no-account.md").read_text()
    (event,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    name = function_name(team.image, 1769)
    answer = boto3.client("lambda").invoke(FunctionName=name, Payload=event.encode())
    assert "FunctionError" not in answer
    content = json.loads(answer["Payload"].read())
    assert content["python_version"] == verdicts.HERE
    assert all(f"`{key}`" in page for key in ("lithops_version", "python_version"))
    assert {"lithops_version", "python_version"} < content.keys()
    wrong = boto3.client("lambda").invoke(FunctionName=name, Payload=b'{"key1": "value1"}')
    assert wrong["FunctionError"] == "Unhandled"


@pytest.mark.dear("another process of Lithops; each step alone can be repeated by its nature")
def test_a_deployment_can_be_repeated(team: Hub, tmp_path: Path) -> None:
    name = function_name(team.image, 1769)
    boto3.client("lambda").put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=2)
    with team.as_user("operator", tmp_path) as session:
        again = deploy_function(session, team.config, team.image, team.config_file(tmp_path), lambda text: None)
    assert again == name
    assert boto3.client("lambda").get_function_event_invoke_config(FunctionName=name)["MaximumRetryAttempts"] == RETRIES


def test_who_may_only_invoke_is_told_what_could_not_be_looked_at(team: Hub, tmp_path: Path) -> None:
    with team.as_user("jane", tmp_path) as session:
        found = {check.name: check for check in examine(team.config, session, f"s3://{MAPS}/jane.zarr")}
    assert [name for name, check in found.items() if check.state == "bad"] == []
    assert [name for name, check in found.items() if check.state == "skipped"] == ["role", "image"]
    assert "need not: the function is there" in found["role"].found
    assert found["function"].found.startswith("lithops-worker-gjob-380-")
    assert [key for bucket in (LITHOPS, MAPS) for key in team.keys_of(bucket) if "doctor" in key] == []


def test_without_a_function_what_may_not_be_looked_at_is_bad(team: Hub, tmp_path: Path) -> None:
    config = team.config
    config["aws_lambda"]["runtime"] = "maggjob:other"
    with team.as_user("jane", tmp_path) as session:
        found = {check.name: check for check in examine(config, session)}
    assert found["function"].state == "skipped"
    assert {found[name].state for name in ("role", "image")} == {"bad"}


Forbidden = Callable[[boto3.Session, Hub], Any]
FORBIDDEN: dict[str, tuple[str, Forbidden]] = {
    "create a function": (
        "lambda:CreateFunction",
        lambda s, h: s.client("lambda").create_function(
            FunctionName="lithops-worker-x", Role=h.outputs["ExecutionRole"], Code={"ImageUri": "x"}
        ),
    ),
    "delete the function": (
        "lambda:DeleteFunction",
        lambda s, h: s.client("lambda").delete_function(FunctionName=function_name(h.image, 1769)),
    ),
    "change the function": (
        "lambda:UpdateFunctionCode",
        lambda s, h: s.client("lambda").update_function_code(FunctionName=function_name(h.image, 1769), ImageUri="x"),
    ),
    "stop the function": (
        "lambda:PutFunctionConcurrency",
        lambda s, h: s.client("lambda").put_function_concurrency(
            FunctionName=function_name(h.image, 1769), ReservedConcurrentExecutions=0
        ),
    ),
    "invoke another function": (
        "lambda:InvokeFunction",
        lambda s, h: s.client("lambda").invoke(FunctionName="billing", Payload=b"{}"),
    ),
    "list functions": ("lambda:ListFunctions", lambda s, h: s.client("lambda").list_functions()),
    "read the role": ("iam:GetRole", lambda s, h: s.client("iam").get_role(RoleName="x")),
    "make a user": ("iam:CreateUser", lambda s, h: s.client("iam").create_user(UserName="x")),
    "push an image": (
        "ecr:PutImage",
        lambda s, h: s.client("ecr").put_image(repositoryName=h.image.repository, imageManifest="{}"),
    ),
    "delete an image": (
        "ecr:BatchDeleteImage",
        lambda s, h: s.client("ecr").batch_delete_image(
            repositoryName=h.image.repository, imageIds=[{"imageTag": "01"}]
        ),
    ),
    "change what Lithops knows of the function": (
        "s3:PutObject",
        lambda s, h: s.client("s3").put_object(Bucket=LITHOPS, Key="lithops.runtimes/x.meta.json", Body=b"{}"),
    ),
    "change the configuration of all": (
        "s3:PutObject",
        lambda s, h: s.client("s3").put_object(Bucket=LITHOPS, Key="maggjob.config/lithops_config.yaml", Body=b""),
    ),
    "answer another's call": (
        "s3:PutObject",
        lambda s, h: s.client("s3").put_object(
            Bucket=LITHOPS, Key=f"lithops.jobs/{h.user_id('joe')}:abcdef-0-M000/00000/output.pickle", Body=b""
        ),
    ),
    "read another's call": (
        "s3:GetObject",
        lambda s, h: s.client("s3").get_object(
            Bucket=LITHOPS, Key=f"lithops.jobs/{h.user_id('joe')}:abcdef-0-M000/aggdata.pickle"
        ),
    ),
    "delete the bucket": ("s3:DeleteBucket", lambda s, h: s.client("s3").delete_bucket(Bucket=LITHOPS)),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_user_may_not(team: Hub, tmp_path: Path, what: str) -> None:
    action, attempt = FORBIDDEN[what]
    functions, keys = dict(team.world.service.functions), team.keys_of(LITHOPS)
    with team.as_user("jane", tmp_path) as session, pytest.raises(ClientError, match=r"AccessDenied|Forbidden|403"):
        attempt(session, team)
    assert [text.partition(" ")[0] for text in team.denied("jane")] == [action]
    assert (team.world.service.functions, team.keys_of(LITHOPS)) == (functions, keys)


def test_credentials_of_another_user_are_out_of_reach(team: Hub, tmp_path: Path) -> None:
    with team.as_user("joe", tmp_path), private_object([GRANULE], LITHOPS, "us-west-2") as place:
        folder, _, name = str(place).rpartition("/")
        assert folder == f"s3://{LITHOPS}/maggjob.private/{team.user_id('joe')}"
        assert b"s3cret" in (Folder(folder, "us-west-2").find(name) or b"")
        with team.as_user("jane", tmp_path):
            theirs = Folder(folder, "us-west-2")
            for attempt in (lambda: theirs.find(name), lambda: theirs.put(name, b"{}"), lambda: theirs.delete([name])):
                with pytest.raises(StoreError):
                    attempt()
            # Their own are as before, beside those of the other.
            with private_object([GRANULE], LITHOPS, "us-west-2") as own:
                assert str(own).startswith(f"s3://{LITHOPS}/maggjob.private/{team.user_id('jane')}/")
        assert name in "".join(team.keys_of(LITHOPS))
    assert {text.split()[0] for text in team.denied("jane")} == {"s3:GetObject", "s3:PutObject", "s3:DeleteObject"}
    assert [key for key in team.keys_of(LITHOPS) if key.startswith("maggjob.private/")] == []


@pytest.mark.parametrize("prefix", ["", "people/", "${aws:userid}/"])
def test_results_go_below_a_prefix_if_the_operator_wants(aws: World, prefix: str) -> None:
    name = f"results-{len(prefix)}"
    create_stack(name, LithopsBucketName=f"{name}-l", OutputBucketName=f"{name}-m", UserPrefix=prefix)
    jane = Principal("AROAX:jane", [policies_of(name, aws.endpoint)["UserPolicy"]])

    def may(action: str, key: str) -> bool:
        return allows(jane, Asked(f"s3:{action}", f"arn:aws:s3:::{name}-m/{key}", {}))

    assert may("PutObject", f"{prefix.replace('${aws:userid}', 'AROAX:jane')}map.zarr/zarr.json")
    assert may("PutObject", "map.zarr/zarr.json") == (prefix == "")
    assert may("DeleteObject", "AROAX:joe/map.zarr/zarr.json") == (prefix == "")
    assert may("GetObject", "AROAX:joe/map.zarr/zarr.json")


FUNCTION = "arn:aws:lambda:us-west-2:123456789012:function:lithops-worker-gjob-380-0123456789"
STACK = "arn:aws:cloudformation:us-west-2:123456789012:stack"


def test_the_operator_may_look_stop_and_clear_up_but_not_change_the_stack(team: Hub) -> None:
    operator = team.door.principals[team.keys["operator"]]
    group = FUNCTION.replace("lambda", "logs").replace("function:", "log-group:/aws/lambda/")
    where = f"arn:aws:ecr:us-west-2:123456789012:repository/{team.image.repository}"
    may = {
        "lambda:PutFunctionConcurrency": FUNCTION,
        "lambda:DeleteFunctionConcurrency": FUNCTION,
        "lambda:GetFunctionEventInvokeConfig": FUNCTION,
        "lambda:TagResource": FUNCTION,
        "lambda:DeleteFunction": FUNCTION,
        "lambda:ListFunctions": "*",
        "logs:DeleteLogGroup": group,
        "ecr:DescribeImages": where,
        "ecr:BatchDeleteImage": where,
        "ecr:GetAuthorizationToken": "*",
        "cloudformation:DescribeStacks": f"{STACK}/hub/*",
        "cloudformation:DescribeStackEvents": f"{STACK}/hub/0",
        "s3:PutObject": f"arn:aws:s3:::{LITHOPS}/maggjob.config/lithops_config.yaml",
    }
    assert [a for a, where in may.items() if not allows(operator, Asked(a, where, {}))] == []
    may_not = {
        "cloudformation:DeleteStack": f"{STACK}/hub/*",
        "cloudformation:CreateChangeSet": f"{STACK}/hub/*",
        "cloudformation:DescribeStacks": f"{STACK}/other/*",
        "lambda:DeleteFunction": FUNCTION.replace("lithops-worker", "billing"),
        "iam:PutRolePolicy": team.outputs["ExecutionRole"],
        "iam:CreateRole": "*",
        "s3:DeleteBucket": f"arn:aws:s3:::{LITHOPS}",
        "s3:GetObject": "arn:aws:s3:::other/x",
        "ecr:DeleteRepository": where,
    }
    assert [a for a, where in may_not.items() if allows(operator, Asked(a, where, {}))] == []


def test_a_policy_is_judged_as_iam_does() -> None:
    """The stand-in that all of these tests rest on."""
    own = {"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::b/${aws:userid}:*"}
    passes = {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    role = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "arn:aws:iam::1:role/w", "Condition": passes}
    jane = Principal("AROAX:j.*", [{"Statement": [own, role]}])

    def may(action: str, resource: str, **context: str) -> bool:
        return allows(jane, Asked(action, resource, {k.replace("_", ":"): v for k, v in context.items()}))

    assert may("s3:GetObject", "arn:aws:s3:::b/AROAX:j.*:1/x")
    assert not may("s3:PutObject", "arn:aws:s3:::b/AROAX:j.*:1/x")
    for other in ("AROAX:joe:1", "AROAX:j.:1", "AROAX:j.x:1", "AROAX:j.*", "x/AROAX:j.*:1"):
        assert not may("s3:GetObject", f"arn:aws:s3:::b/{other}")
    assert may("iam:PassRole", "arn:aws:iam::1:role/w", iam_PassedToService="lambda.amazonaws.com")
    assert not may("iam:PassRole", "arn:aws:iam::1:role/w", iam_PassedToService="ec2.amazonaws.com")
    assert not may("iam:PassRole", "arn:aws:iam::1:role/w")
    denies = {"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}
    assert not allows(replace(jane, documents=[*jane.documents, denies]), Asked("s3:GetObject", "arn:aws:s3:::b/x", {}))


@pytest.mark.dear("calls that die in the emulator")
def test_aws_tries_a_call_that_dies_as_often_as_the_function_says(team: Hub) -> None:
    service, name = team.world.service, function_name(team.image, 1769)
    service.faults.in_sandbox.extend([Crash(0.0)] * 3)
    service.accept(service.functions[name], b"{}", None)
    wait_for(lambda: len(service.runs) == 1 + RETRIES)
    service.settle()
    assert [run.status for run in service.runs] == ["exit"] * (1 + RETRIES)
    assert len(service.faults.in_sandbox) == 3 - 1 - RETRIES


# ---- whole runs


@dataclass(frozen=True)
class Archive:
    """A few simulated granules."""

    catalog: Catalog
    """Of the granules in NASA's bucket."""
    zarr: dict[str, bytes]
    """Objects of the map that one process makes of them."""


@pytest.fixture(scope="module")
def archive(account: Hub, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("granules")
    maggjob.simulate(folder, area=(-105.0, -76.0, -100.0, -75.0), every=20, most=2)
    here, s3 = maggjob.make_catalog(folder), boto3.client("s3")
    s3.create_bucket(Bucket=PROTECTED, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for path in folder.glob("*.h5"):
        s3.upload_file(str(path), PROTECTED, path.name)
    moved = [replace(e, urls={"s3": f"s3://{PROTECTED}/{Path(e.urls['file']).name}"}) for e in here.granules]
    store = tmp_path_factory.mktemp("maps") / "map.zarr"
    maggjob.run("atl06.yaml", catalog=here, store=store, backend="serial")
    zarr = {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    return Archive(replace(here, granules=tuple(moved)), zarr)


@pytest.mark.dear("two whole runs, in which all requests of client and workers are judged")
@pytest.mark.parametrize("who", ["jane", "operator"], ids=["of a hub", "with keys of their own"])
def test_a_whole_map(team: Hub, archive: Archive, tmp_path: Path, who: str) -> None:
    store, options = f"s3://{MAPS}/{who}/map.zarr", {"backend": "lambda", "lithops_config": team.config}
    with team.as_user(who, tmp_path):
        result = maggjob.run("atl06.yaml", catalog=archive.catalog, store=store, **options)
        assert isinstance(result, RunResult)
        assert result.complete
        assert result.tally.cells["complete"] == len(result.plan.cells)
        assert maggjob.verify_result(store, deep=True).good
        assert maggjob.read_status(store).stage == "done"
    assert {name: team.denied(name) for name in (who, "WORKER", NASA)} == {who: [], "WORKER": [], NASA: []}
    assert {key for key, _, _ in team.door.judged} == {team.keys[who], "WORKER", NASA}
    jobs = [a.resource for _, a, _ in team.door.judged if f"{LITHOPS}/lithops.jobs/" in a.resource]
    assert len(jobs) > 10
    assert all(f"lithops.jobs/{team.user_id(who)}:" in resource for resource in jobs)
    kept = ("lithops.runtimes/", f"maggjob.bills/{team.user_id(who)}/")
    others = [f"maggjob.bills/{team.user_id(other)}/" for other in ("jane", "operator")]
    assert [key for key in team.keys_of(LITHOPS) if not key.startswith((*kept, *others))] == []
    assert any(key.startswith(kept[1]) for key in team.keys_of(LITHOPS))
    objects = boto3.resource("s3").Bucket(MAPS).objects.filter(Prefix=f"{who}/map.zarr/")
    assert {one.key.removeprefix(f"{who}/map.zarr/"): one.get()["Body"].read() for one in objects} == archive.zarr
