"""The image is built by ourselves or by a docker that records its calls, and deployed by the real Lithops to moto."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import lithops.serverless.backends.aws_lambda.aws_lambda as lithops_lambda
import pytest
import yaml

from maggjob.aws.build import BuildOptions
from maggjob.aws.docker import build_steps, write_context
from maggjob.aws.doctor import check_image, fetch_url
from maggjob.aws.image import Image, image_of, unique_runtime
from maggjob.aws.reference import LOCK
from maggjob.cli import commands
from maggjob.errors import InputError
from tests.aws.registry import Registry, image_registry, stand_for_ecr
from tests.aws.small_image import BASE, add_base, small_runtime
from tests.aws.world import ROOT, World, fresh_config

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
Maggjob = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A search path on which the recording docker is first, in an environment for it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    docker = programs / "docker"
    docker.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n")
    docker.write_text(docker.read_text() + "from tests.aws.fake_docker import main\nmain()\n")
    docker.chmod(0o755)
    monkeypatch.setenv("FAKE_DOCKER_LOG", str(tmp_path / "docker.jsonl"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HOME", str(tmp_path))  # Lithops keeps a cache there
    (tmp_path / "lithops_config.yaml").write_text(yaml.safe_dump(fresh_config()))
    return f"{programs}:{os.environ['PATH']}"


@pytest.fixture
def maggjob(programs: str, capfd: pytest.CaptureFixture[str]) -> Maggjob:
    """Runs the command line in this process."""

    def run(*words: str, path: str = programs, **variables: str) -> subprocess.CompletedProcess[str]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**variables, "PATH": path}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["maggjob", *words])
            capfd.readouterr()
            code = 0
            try:
                commands.main()
            except SystemExit as end:
                code = int(str(end.code or 0))
        return subprocess.CompletedProcess(words, code, *capfd.readouterr())

    return run


@pytest.fixture
def installed(programs: str) -> Maggjob:
    """Runs the command line in a process of its own."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        code = "import maggjob.cli.commands as c; c.main()"
        command, environment = [sys.executable, "-c", code, *words], {**os.environ, "PATH": programs}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=600)

    return run


def docker_calls(folder: Path) -> list[dict[str, Any]]:
    log = folder / "docker.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """ECR's registry, which also has a base; the packages are small ones."""
    with image_registry() as found:
        add_base(found)
        stand_for_ecr(found, monkeypatch)
        monkeypatch.setenv("MAGGJOB_CACHE", str(tmp_path / "cache"))
        runtime = small_runtime(tmp_path, monkeypatch)
        monkeypatch.setattr("maggjob.aws.build.image_folder", lambda: runtime)
        yield found


@pytest.mark.dear("builds a whole image; test_build checks each of its parts")
def test_build_deploy_delete_without_docker(
    aws: World, registry: Registry, maggjob: Maggjob, installed: Maggjob, tmp_path: Path
) -> None:
    base = f"{registry.host}/{BASE}:{HERE}-slim"
    built = maggjob("runtime", "build", "--base", base)
    assert built.returncode == 0, built.stderr
    assert docker_calls(tmp_path) == []
    runtime = built.stdout.split()[-1]
    tag = runtime.split(":")[1]
    ecr = boto3.client("ecr")
    image = image_of(aws.fresh_config(runtime=runtime), boto3.client("sts").get_caller_identity())
    assert registry.tags[image.repository].keys() == {tag}
    assert [one["imageTag"] for one in ecr.list_images(repositoryName=image.repository)["imageIds"]].count(tag) == 1
    # The password is nowhere to be seen.
    assert "token-of-ecr" not in built.stdout + built.stderr
    # The base is pinned beside the configuration.
    assert f"{base}@{registry.tags[BASE][f'{HERE}-slim']}" in (tmp_path / LOCK).read_text().splitlines()

    # The doctor finds what is inside: the small lock's Lithops, which is not this one.
    found = check_image(image, boto3.Session(), fetch_url)
    assert found.state == "bad"
    assert "has lithops 3.7.9, the client has 3.8.0" in str(found)

    again = maggjob("runtime", "build", "--base", base)
    assert again.returncode == 0, again.stderr
    assert re.search(r"0\.0 MB sent, 0\.0 MB fetched", again.stdout)

    deployed = installed("runtime", "deploy", runtime)
    assert deployed.returncode == 0, deployed.stderr
    assert docker_calls(tmp_path) == []
    function = next(f for f in aws.service.functions.values() if f["Tags"].get("runtime_name") == runtime)
    assert function["Architectures"] == ["arm64"]
    deleted = installed("runtime", "delete", runtime)
    assert deleted.returncode == 0, deleted.stderr
    assert function["FunctionName"] not in aws.service.functions


def test_a_failed_build_leaves_nothing_that_runs(
    aws: World, registry: Registry, maggjob: Maggjob, tmp_path: Path
) -> None:
    base = f"{registry.host}/{BASE}:{HERE}-slim"
    failed = maggjob("runtime", "build", "--base", base, "--digest", "sha256:" + "0" * 64)
    assert failed.returncode == 1
    assert f"base image {base}@sha256:000" in failed.stderr.splitlines()[-1]
    assert "Traceback" not in failed.stderr
    assert not any(registry.tags[name] for name in registry.tags if name != BASE)
    assert not (tmp_path / LOCK).exists()


@pytest.mark.dear("a whole run on the emulator; without Docker is the default")
def test_build_deploy_run_delete_by_docker(aws: World, installed: Maggjob, maggjob: Maggjob, tmp_path: Path) -> None:
    built = maggjob("runtime", "build", "--docker", "--digest", "sha256:" + "0" * 64)
    assert built.returncode == 0, built.stderr
    runtime = built.stdout.split()[-1]
    version, build = docker_calls(tmp_path)
    assert version["arguments"] == ["buildx", "version"]
    arguments = build["arguments"]
    assert arguments[:6] == ["buildx", "build", "--platform", "linux/arm64", "--provenance=false", "--sbom=false"]
    given = {arguments[i + 1] for i, word in enumerate(arguments) if word == "--build-arg"}
    base = f"BASE=public.ecr.aws/docker/library/python:{HERE}-slim"
    assert {base, f"DIGEST=sha256:{'0' * 64}", f"PYTHON={HERE}", "LITHOPS=3.8.0", "REQUIREMENTS=worker"} <= given
    assert {"maggjob/aws/handler.py", "maggjob/job.py", "runtime/Dockerfile", "runtime/worker-3.12.txt"} <= set(
        build["files"]
    )
    assert not [name for name in build["files"] if "__pycache__" in name or "tests" in name]

    deployed = installed("runtime", "deploy", "--docker", runtime)
    assert deployed.returncode == 0, deployed.stderr
    login, push = docker_calls(tmp_path)[2:]
    backend = lithops_lambda.AWSLambdaBackend(
        {"user_agent": "", "region": "us-west-2", "execution_role": "", **aws.config["aws_lambda"]}, None
    )
    registry = f"{backend.account_id}.dkr.ecr.us-west-2.amazonaws.com"
    assert login["arguments"] == ["login", "--username", "AWS", "--password-stdin", registry]
    assert len(login["stdin"]) > 10
    assert login["stdin"] not in deployed.stdout + deployed.stderr
    name, tag = runtime.split(":")
    assert push["arguments"] == ["push", f"{registry}/{backend._format_repo_name(name)}:{tag}"]
    assert push["arguments"][1] in build["arguments"]
    function = aws.service.functions[backend._format_function_name(runtime, 2048)]
    assert function["Architectures"] == ["arm64"]
    assert function["Tags"]["runtime_name"] == runtime
    assert f"runtime: {runtime}" in deployed.stdout

    shown = maggjob("runtime", "status")
    assert shown.returncode == 0, shown.stderr
    assert runtime in shown.stdout

    deleted = installed("runtime", "delete", runtime)
    assert deleted.returncode == 0, deleted.stderr
    assert function["FunctionName"] not in aws.service.functions
    images = boto3.client("ecr").list_images(repositoryName=backend._format_repo_name(name))["imageIds"]
    assert tag not in [image.get("imageTag") for image in images]


SHOWN = {
    ("build",): "take the base image public.ecr.aws/docker/library/python",
    ("build", "--docker"): "docker buildx build",
    ("deploy", "maggjob:x"): "create the function",
    ("deploy", "--docker", "maggjob:x"): "docker push",
    ("status",): "runtime list",
    ("delete", "maggjob:x"): "aws ecr",
}


@pytest.mark.parametrize("words", SHOWN, ids=str)
def test_a_dry_run_shows_commands_and_does_nothing(
    aws: World, maggjob: Maggjob, tmp_path: Path, words: tuple[str, ...]
) -> None:
    before = dict(aws.service.functions)
    done = maggjob("runtime", *words, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert SHOWN[words] in done.stdout
    assert docker_calls(tmp_path) == []
    assert aws.service.functions == before


def test_a_dry_run_needs_no_account(aws: World, maggjob: Maggjob) -> None:
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    done = maggjob("runtime", "build", "--dry-run", **nobody)
    assert done.returncode == 0, done.stderr
    assert "ACCOUNT.dkr.ecr.us-west-2.amazonaws.com/lithops_v380_user/maggjob:" in done.stdout
    done = maggjob("runtime", "build", **nobody)
    assert done.returncode == 1
    assert "log in to AWS" in done.stderr


@pytest.mark.parametrize(
    ("fault", "words", "said"),
    [
        ("no-buildx", ("build", "--docker"), "install docker's buildx plugin"),
        ("no-engine", ("build", "--docker"), "start the Docker engine"),
        ("no-emulation", ("build", "--docker"), "install emulation of ARM64"),
        ("login-refused", ("deploy", "--docker", "maggjob:x"), "ECR refused the login"),
        ("push-refused", ("deploy", "--docker", "maggjob:x"), "the repository does not exist"),
    ],
)
def test_what_docker_refuses_is_named(
    aws: World, maggjob: Maggjob, tmp_path: Path, fault: str, words: tuple[str, ...], said: str
) -> None:
    before = dict(aws.service.functions)
    done = maggjob("runtime", *words, FAKE_DOCKER=fault)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert docker_calls(tmp_path)  # it was asked, and nothing after it was
    assert aws.service.functions == before


def test_no_docker_is_named(aws: World, maggjob: Maggjob, tmp_path: Path) -> None:
    done = maggjob("runtime", "build", "--docker", path=str(tmp_path))
    assert done.returncode == 1
    assert "docker is not installed" in done.stderr


def test_an_image_that_was_not_pushed_is_named(aws: World, maggjob: Maggjob) -> None:
    done = maggjob("runtime", "delete", "maggjob:never")
    assert done.returncode == 0, done.stderr  # nothing to delete is no error


@pytest.mark.parametrize("config", [{"aws": {"region": "us-west-2"}}, {"aws_lambda": {"runtime": "a:1"}}], ids=str)
def test_an_image_needs_region_and_name(config: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"Lithops configuration: no '(region|runtime)'"):
        image_of(config, {"Account": "1", "UserId": "u"})


@pytest.mark.parametrize("user", ["AIDAEXAMPLE", "AROAEXAMPLE:session", "maggjob", "x"])
@pytest.mark.parametrize("namespace", [None, "team"])
def test_names_are_those_that_lithops_looks_for(user: str, namespace: str | None) -> None:
    config = {
        "aws": {"region": "us-west-2"},
        "aws_lambda": {"account_id": "123456789012", "user_id": user, "namespace": namespace, "runtime": "Maggjob:1"},
    }
    section = {"user_agent": "", "region": "us-west-2", "execution_role": "", **config["aws_lambda"]}
    backend = lithops_lambda.AWSLambdaBackend(section, None)
    image = image_of(config, {})
    assert image.repository == backend._format_repo_name("Maggjob:1")
    assert (image.tag, image.account) == ("1", "123456789012")


def test_a_tag_is_one_that_ecr_and_lithops_take() -> None:
    name = unique_runtime("3.12")
    assert re.fullmatch(r"[a-z]+:[A-Za-z0-9_.-]{1,128}", name)
    assert unique_runtime("3.12", 0) != unique_runtime("3.12", 1)


def test_there_are_images_for_locked_pythons_only(tmp_path: Path) -> None:
    image = Image("1", "us-west-2", "user", "maggjob:1")
    with pytest.raises(
        InputError, match=r"Python 3\.9: there is no worker-3\.9\.txt, images exist for 3\.11, 3\.12, 3"
    ):
        build_steps(image, tmp_path, BuildOptions("3.9"))
    lock = tmp_path / LOCK
    lock.write_text(f"ghcr.io/mine:1@sha256:{'1' * 64}\n")
    options = BuildOptions(HERE, readers=True, base="ghcr.io/mine:1", base_lock=lock)
    (_, build) = build_steps(image, tmp_path, options)
    pinned = f"DIGEST=sha256:{'1' * 64}"
    assert {"REQUIREMENTS=worker-readers", "BASE=ghcr.io/mine:1", f"PYTHON={HERE}", pinned} <= set(build.command)


@pytest.mark.dear("imports the context in a process of its own")
def test_the_context_is_a_package_that_can_be_imported(tmp_path: Path) -> None:
    write_context(tmp_path / "context")
    code = "import maggjob.aws.handler as h; print(h.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "context"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.startswith(str(tmp_path))
