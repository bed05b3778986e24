"""``maggjob cloud`` with the rights of the stack's policies: users of a hub, and its operator."""

from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

from maggjob.aws import doctor, verdicts
from maggjob.aws.function import deploy_function, function_name
from maggjob.aws.installation import CONFIG_KEY
from tests.aws.cloud import run_main
from tests.aws.hub import LITHOPS, MAPS, Hub, hub
from tests.aws.world import World

pytestmark = pytest.mark.dear("an account with users, an operator and a function; test_hub judges their rights, too")
FILE = Path("lithops_config.yaml")
Type = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def account(aws_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The account, after the operator has deployed the function and published the configuration."""
    with hub(aws_world) as made:
        folder = tmp_path_factory.mktemp("operator")
        with made.as_user("operator", folder) as session:
            deploy_function(session, made.config, made.image, made.config_file(folder), lambda _: None, quiet=True)
            text = f"# maggjob on this hub\n{yaml.safe_dump(made.config)}"
            session.client("s3").put_object(Bucket=LITHOPS, Key=CONFIG_KEY, Body=text.encode())
        assert made.denied("operator") == []
        yield made


@pytest.fixture
def team(account: Hub, aws: World, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr(doctor, "PYTHONS", (verdicts.HERE,))
    for one in (account.door, account.gate):
        one.judged.clear()
    return account


@pytest.fixture
def type_as(team: Hub, tmp_path: Path) -> Type:
    """Type ``maggjob cloud WORDS`` as somebody."""

    def run(name: str, *words: str) -> CompletedProcess[str]:
        with team.as_user(name, tmp_path), pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["maggjob", "cloud", *words])
            return run_main(None)

    return run


def test_a_user_gets_what_the_operator_published(team: Hub, type_as: Type) -> None:
    shown = type_as("jane", "use", "--bucket", LITHOPS, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert not FILE.exists()
    done = type_as("jane", "use", "--bucket", LITHOPS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert yaml.safe_load(FILE.read_text()) == team.config
    assert "function        lithops-worker-gjob-380-" in done.stdout
    # What the doctor asks beyond a user's rights is not needed.
    assert not [right for right in team.denied("jane") if right.startswith(("s3:", "lambda:"))]


def test_what_a_user_wrote_stays(type_as: Type) -> None:
    FILE.write_text(
        "# maggjob, as I like it\nlithops:\n  backend: localhost\naws_lambda:\n  max_workers: 7  # of mine\n"
    )
    done = type_as("jane", "use", "--bucket", LITHOPS)
    assert done.returncode == 0, done.stdout + done.stderr
    text = FILE.read_text()
    assert "# maggjob, as I like it\n" in text
    assert "  max_workers: 7  # of mine\n" in text
    again = type_as("jane", "use", "--bucket", LITHOPS)
    assert f"{FILE} has the values of the account" in again.stdout
    assert FILE.read_text() == text


def test_an_existing_function_is_used_by_its_name(team: Hub, type_as: Type) -> None:
    name = function_name(team.image, 1769)
    done = type_as("jane", "use", "--function", name, "--bucket", LITHOPS)
    assert done.returncode == 0, done.stdout + done.stderr
    section = yaml.safe_load(FILE.read_text())["aws_lambda"]
    wanted = team.config["aws_lambda"]
    assert [section[key] for key in ("execution_role", "runtime", "runtime_memory", "runtime_timeout")] == [
        wanted["execution_role"],
        wanted["runtime"],
        1769,
        wanted["runtime_timeout"],
    ]
    assert section["user_id"].endswith("gjob")
    FILE.unlink()
    for given, said in (
        ("lithops-worker-gjob-380-ffffffffff", "there is no function lithops-worker-gjob-380-ffffffffff"),
    ):
        refused = type_as("jane", "use", "--function", given, "--bucket", LITHOPS)
        assert (refused.returncode, FILE.exists()) == (1, False)
        assert said in refused.stderr


@pytest.mark.parametrize("words", [("stop",), ("teardown", "--yes"), ("status",), ("setup",)], ids=str)
def test_a_user_is_told_which_right_is_missing(team: Hub, type_as: Type, words: tuple[str, ...]) -> None:
    before = (team.world.service.functions.keys(), team.keys_of(LITHOPS), team.keys_of(MAPS))
    refused = type_as("jane", *words, "--name", "hub")
    assert refused.returncode == 1
    (line,) = refused.stderr.strip().splitlines()
    assert line.startswith("error: stack: ")
    assert "DescribeStacks" in line
    assert (team.world.service.functions.keys(), team.keys_of(LITHOPS), team.keys_of(MAPS)) == before


def test_an_operator_looks_and_stops(team: Hub, type_as: Type) -> None:
    status = type_as("operator", "status", "--name", "hub")
    assert status.returncode == 0, status.stderr
    assert "unknown" not in status.stdout
    assert f"{MAPS}: 0 objects" in status.stdout
    (function,) = team.world.service.functions.values()
    assert type_as("operator", "stop", "--name", "hub").returncode == 0
    assert function["reserved"] == 0
    use = type_as("jane", "use", "--bucket", LITHOPS)
    assert (use.returncode, FILE.exists()) == (1, True)
    assert "is stopped: its reserved concurrency is 0; type 'maggjob cloud stop --undo'" in use.stdout
    assert type_as("operator", "stop", "--undo", "--name", "hub").returncode == 0
    assert "reserved" not in function
    assert team.denied("operator") == []
