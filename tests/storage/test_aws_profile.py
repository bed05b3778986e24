"""Buckets are used with the credentials of an AWS profile, as boto3 finds them; every other way stays as it was."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import obstore
import pytest

import maggjob
from maggjob.errors import AccessError, ExpiredKeysError, InputError, StoreError
from maggjob.pipeline.result import read_summary
from maggjob.storage import aws_profile, stores
from maggjob.storage.archive import Archive, Source
from maggjob.storage.credentials import CredentialSet, S3Credentials
from maggjob.storage.folder import Folder
from tests.aws.front import Front, front
from tests.granule_files import beam, write_granule
from tests.servers import archive, s3_server, server, status

KEY, OTHER, SECRET = "AKIAPROFILE", "AKIAOTHER", "pr0file-s3cret"
ROOT = Path(maggjob.__file__).parents[1]
PROTECTED = "nsidc-cumulus-prod-protected"
Profile = Callable[..., None]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server("results", PROTECTED) as endpoint:
        yield endpoint


@pytest.fixture
def door(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """Two buckets that are open to one key only."""
    with front(s3) as made:
        made.keys = {"results": {KEY}, PROTECTED: {"ASIAKEY"}}
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setattr(stores, "RETRY", {"max_retries": 0, "retry_timeout": timedelta(seconds=60)})
        yield made


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """Writes ``~/.aws/credentials`` and ``~/.aws/config``, and chooses a profile."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name)

    def write(credentials: str = "", config: str = "", **variables: str) -> None:
        for variable, name, content in (
            ("AWS_SHARED_CREDENTIALS_FILE", "credentials", credentials),
            ("AWS_CONFIG_FILE", "config", config),
        ):
            if content:
                path = Path(variables.get(variable, str(tmp_path / "home" / ".aws" / name)))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)

    return write


def keys(name: str, key: str = KEY) -> str:
    return f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = {SECRET}\n"


def process(folder: Path, lasts: timedelta | None = None) -> str:
    """A credential_process that writes a line to ./asked each time."""
    content: dict[str, Any] = {"Version": 1, "AccessKeyId": KEY, "SecretAccessKey": SECRET}
    if lasts is not None:
        content |= {"SessionToken": "t0ken", "Expiration": (datetime.now(UTC) + lasts).isoformat()}
    script = folder / "process.sh"
    script.write_text(f"#!/bin/sh\necho asked >> {folder}/asked\necho '{json.dumps(content)}'\n")
    script.chmod(0o755)
    return f"credential_process = {script}\n"


WAYS: dict[str, dict[str, str]] = {
    "default": {"credentials": keys("default")},
    "named": {"credentials": keys("default", OTHER) + keys("lab"), "AWS_PROFILE": "lab"},
    "named otherwise": {"credentials": keys("lab"), "AWS_DEFAULT_PROFILE": "lab"},
    "in config": {"config": keys("profile lab"), "AWS_PROFILE": "lab"},
    "file elsewhere": {"credentials": keys("default"), "AWS_SHARED_CREDENTIALS_FILE": "elsewhere/keys"},
    "config elsewhere": {"config": keys("default"), "AWS_CONFIG_FILE": "elsewhere/config"},
    "below home": {"credentials": keys("default"), "AWS_SHARED_CREDENTIALS_FILE": "elsewhere/keys"},
    "an empty key": {"credentials": keys("default"), "AWS_ACCESS_KEY_ID": ""},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_bucket_is_used_with_the_profile(door: Front, profile: Profile, tmp_path: Path, way: str) -> None:
    profile(**WAYS[way])
    place = Folder(f"s3://results/{tmp_path.name}")
    place.put("a/b", b"content")
    assert place.keys() == ["a/b"]
    assert place.get_range("a/b", 2, 3) == b"nte"
    assert Source(f"s3://results/{tmp_path.name}/a/b", Archive()).head == b"content"
    place.delete(["a/b"])
    assert place.keys() == []
    assert set(door.used) == {KEY}
    assert len(door.used) == len(door.requests) >= 6


def test_the_files_may_be_named_from_home(door: Front, profile: Profile, tmp_path: Path) -> None:
    profile(keys("default"))
    (tmp_path / "home" / ".aws").rename(tmp_path / "home" / "mine")
    profile(AWS_SHARED_CREDENTIALS_FILE="~/mine/credentials")
    Folder("s3://results").probe()
    assert set(door.used) == {KEY}


def test_keys_in_the_environment_go_first(door: Front, profile: Profile) -> None:
    profile(keys("lab"), AWS_PROFILE="lab", AWS_ACCESS_KEY_ID=OTHER, AWS_SECRET_ACCESS_KEY="x")
    with pytest.raises(StoreError):
        Folder("s3://results").probe()
    assert door.requests
    assert door.used == []
    door.keys["results"] = {OTHER}
    Folder("s3://results").probe()
    assert set(door.used) == {OTHER}


CODE = """
import sys
import maggjob.jobs.cells
from maggjob.storage.folder import Folder
place = Folder("s3://results/light")
if len(sys.argv) > 1:
    place.probe()
print([name for name in ("boto3", "botocore", "lithops", "obstore.auth.boto3") if name in sys.modules])
"""
LIGHT: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "keys": ({"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}, {"credentials": keys("default", OTHER)}),
    "on lambda": (
        {"AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET},
        {"credentials": keys("default", OTHER), "AWS_PROFILE": "gone"},
    ),
    "on lambda without keys": ({"AWS_LAMBDA_FUNCTION_NAME": "f"}, {"config": "[default]\nregion = us-east-1\n"}),
    "nothing": ({}, {}),
}


@pytest.mark.parametrize("how", LIGHT)
def test_a_worker_imports_boto3_for_a_profile_only(door: Front, profile: Profile, how: str) -> None:
    variables, files = LIGHT[how]
    profile(**files)
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    command = [sys.executable, "-c", CODE, *["put"] * ("AWS_ACCESS_KEY_ID" in variables)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert set(door.used) == ({KEY} if "AWS_ACCESS_KEY_ID" in variables else set())


def test_the_archive_is_read_with_its_own_credentials(door: Front, profile: Profile, tmp_path: Path) -> None:
    profile(keys("default"), "[default]\nregion = us-east-1\n")
    door.keys[PROTECTED].add(KEY)
    Folder(f"s3://{PROTECTED}").put("a.h5", b"granule")
    door.used.clear()
    lasts = datetime.now(UTC) + timedelta(hours=1)
    (tmp_path / "credential_set").write_bytes(
        CredentialSet({"NSIDC": S3Credentials("ASIAKEY", "s", "t", lasts)}).to_json()
    )
    access = Archive(str(tmp_path / "credential_set"))
    assert Source(f"s3://{PROTECTED}/a.h5", access).head == b"granule"
    assert set(door.used) == {"ASIAKEY"}
    assert access.store(f"s3://{PROTECTED}").config["region"] == "us-west-2"


# ---- once, and anew

TWELVE = timedelta(minutes=12)


def test_a_process_asks_once(door: Front, profile: Profile, tmp_path: Path) -> None:
    profile(config=f"[default]\n{process(tmp_path)}")
    for i in range(20):
        Folder(f"s3://results/{i}").probe()
    assert (tmp_path / "asked").read_text() == "asked\n"
    assert set(door.used) == {KEY}


def test_credentials_are_not_kept_beyond_their_end(profile: Profile, tmp_path: Path) -> None:
    profile(config=f"[default]\n{process(tmp_path, TWELVE)}")
    given = aws_profile.credentials()
    assert (given["access_key_id"], given["token"]) == (KEY, "t0ken")
    assert datetime.now(UTC) + timedelta(minutes=6) < given["expires_at"] < datetime.now(UTC) + TWELVE


def test_new_credentials_in_the_file_are_used(door: Front, profile: Profile) -> None:
    profile(keys("default", OTHER))
    with pytest.raises(StoreError):
        Folder("s3://results").probe()
    profile(keys("default"))
    Folder("s3://results").probe()
    assert set(door.used) == {KEY}


def test_a_login_that_ends_meanwhile_is_named(door: Front, profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_profile, "LIFE", timedelta(seconds=1))  # obstore asks before each request
    profile(keys("default"))
    place, access = Folder("s3://results"), Archive()
    place.put("there", b"x")
    source = Source("s3://results/there", access)
    profile("[default]\nregion = us-east-1\n")
    time.sleep(0.15)  # obstore asks no sooner than a tenth of a second after it has asked
    with pytest.raises(
        ExpiredKeysError, match=r"cannot read s3://results/there: .*AWS profile 'default' has no credentials"
    ):
        place.get("there")
    with pytest.raises(AccessError, match=r"AWS profile 'default' has no credentials"):
        source.get(0, 1)
    profile(keys("default"))
    assert place.get("there") == b"x"
    assert bytes(source.get(0, 1).content) == b"x"


def test_a_store_is_pickled_without_secrets(door: Front, profile: Profile) -> None:
    profile(keys("default"))
    Folder("s3://results").put("there", b"x")
    content = pickle.dumps(Folder("s3://results").store)
    assert SECRET.encode() not in content
    assert KEY.encode() not in content
    assert bytes(obstore.get(pickle.loads(content), "there").bytes()) == b"x"


# ---- the region

EAST = "[default]\nregion = us-east-1\n" + keys("default").partition("\n")[2]
REGIONS: dict[str, tuple[str | None, dict[str, str], str]] = {
    "argument": ("eu-west-1", {"AWS_REGION": "eu-west-2", "config": EAST}, "eu-west-1"),
    "AWS_REGION": (None, {"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-3", "config": EAST}, "eu-west-2"),
    "AWS_DEFAULT_REGION": (None, {"AWS_DEFAULT_REGION": "eu-west-3", "config": EAST}, "eu-west-3"),
    "profile": (None, {"config": EAST}, "us-east-1"),
    "profile without": (None, {"credentials": keys("default")}, "us-west-2"),
    "keys, not profile": (
        None,
        {"config": EAST, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"},
        "us-west-2",
    ),
}


@pytest.mark.parametrize("what", REGIONS)
def test_the_region_is_the_first_that_is_named(monkeypatch: pytest.MonkeyPatch, profile: Profile, what: str) -> None:
    region, settings, expected = REGIONS[what]
    profile(**settings)
    with server(archive({"/results/there": b"x"})) as there:
        monkeypatch.setenv("AWS_ENDPOINT_URL", there.url())
        assert Folder("s3://results", region).get("there") == b"x"
        assert Source("s3://results/there", Archive(region=region)).head == b"x"
    assert {seen.headers["authorization"].split("/")[2] for seen in there.seen} == {expected}


def test_a_bucket_of_another_region_is_named(monkeypatch: pytest.MonkeyPatch, profile: Profile) -> None:
    profile(config=EAST)
    with server(archive({}, always=status(301, b"<Error><Code>PermanentRedirect</Code></Error>"))) as there:
        monkeypatch.setenv("AWS_ENDPOINT_URL", there.url())
        with pytest.raises(StoreError, match=r"s3://results/x: .*not in us-east-1; set AWS_REGION"):
            Folder("s3://results").get("x")


# ---- what is wrong with a profile

WRONG: dict[str, tuple[dict[str, str], str]] = {
    "no such profile": ({"credentials": keys("default"), "AWS_PROFILE": "gone"}, r"\(gone\).*list-profiles"),
    "no file": ({"AWS_PROFILE": "gone"}, r"\(gone\).*list-profiles"),
    "no credentials": ({"config": "[profile lab]\nregion = us-east-1\n", "AWS_PROFILE": "lab"}, "'lab' has no cred"),
    "half a key": ({"credentials": "[default]\naws_access_key_id = x\n"}, "'default' gives no credentials: Partial"),
    "no ini": ({"credentials": "AKIA/secret"}, "Unable to parse config file.*credentials; mend the file"),
    "a process that fails": (
        {"config": "[default]\ncredential_process = false\n"},
        "'default' gives no credentials: .*custom-process.*get-caller-identity --profile default",
    ),
    "no such process": ({"config": "[default]\ncredential_process = /gone\n"}, "gives no credentials: .*/gone"),
}


@pytest.mark.parametrize("what", [*WRONG, "no boto3"])
def test_what_is_wrong_is_said_before_a_request(
    door: Front, profile: Profile, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    files, said = WRONG.get(what, (WAYS["default"], r"boto3.*not installed; type pip install 'maggjob\[aws\]'"))
    profile(**files)
    if what == "no boto3":
        monkeypatch.setitem(sys.modules, "boto3", None)  # as Python has it where it is not installed
    with pytest.raises(InputError, match=said):
        Folder("s3://results")
    with pytest.raises(AccessError, match=rf"s3://results: .*{said}") as caught:
        Source("s3://results/granule.h5", Archive())
    assert caught.value.reason == "auth"
    assert door.requests == []
    profile(**WAYS["default"], AWS_PROFILE="default", AWS_CONFIG_FILE="/nowhere")
    if what != "no boto3":
        Folder("s3://results").probe()
        assert set(door.used) == {KEY}


def test_that_nobody_is_logged_in_is_said(door: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(status(404)) as metadata:  # of a machine that has no role, or is none of AWS's
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", metadata.url())
        with pytest.raises(StoreError, match=r"cannot write s3://results/.*no AWS credentials found: log in .*aws"):
            Folder("s3://results").probe()
        with pytest.raises(AccessError, match=r"s3://results/granule\.h5.*no AWS credentials found: log in"):
            Source("s3://results/granule.h5", Archive())
    assert metadata.seen
    assert door.requests == []


SSO = "sso_start_url = https://x.example/start\nsso_region = us-west-2\n"
OF_A_ROLE = "sso_account_id = 123456789012\nsso_role_name = maps\n"
LOGINS = {
    "never": f"[profile lab]\n{SSO}{OF_A_ROLE}",
    "ended": f"[profile lab]\nsso_session = s\n{OF_A_ROLE}[sso-session s]\n{SSO}",
}


@pytest.mark.dear("starts boto3 in a process of its own", keep=("ended",))
@pytest.mark.parametrize("login", LOGINS)
def test_a_login_that_has_ended_is_named_and_nothing_is_written(
    door: Front, profile: Profile, tmp_path: Path, login: str
) -> None:
    profile(config=LOGINS[login])
    cache = tmp_path / "home" / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    token = {"startUrl": "x", "region": "us-west-2", "accessToken": "t0ken", "expiresAt": "2024-01-01T00:00:00Z"}
    (cache / f"{hashlib.sha1(b's').hexdigest()}.json").write_text(json.dumps(token))
    granules(tmp_path)
    maggjob.make_catalog("granules").write("catalog.json")
    before = sorted(tmp_path.rglob("*"))
    command = [sys.executable, "-m", "maggjob", "--config", "atl06.yaml", "--store", "s3://results/map.zarr"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "AWS_PROFILE": "lab"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: AWS profile 'lab' gives no credentials: ")
    assert line.endswith("type 'aws sso login --profile lab'")
    assert door.requests == []
    assert sorted(tmp_path.rglob("*")) == before


# ---- the whole job


def granules(folder: Path) -> None:
    (folder / "granules").mkdir()
    for i, (south, west) in enumerate(((-74.6, -100.0), (-75.0, -99.0))):
        path = folder / "granules" / f"ATL06_2019022203120{i}_085{i}0211_006_01.h5"
        write_granule(path, {"gt1l": beam(60, seed=i, south=south, west=west, step=1.6e-2)})


@pytest.mark.dear("a whole run with workers; reading and writing alone are in make test")
def test_workers_here_write_and_read_with_the_profile(door: Front, profile: Profile, tmp_path: Path) -> None:
    profile(keys("lab"), AWS_PROFILE="lab")
    granules(tmp_path)
    catalog = maggjob.make_catalog("granules")
    result = maggjob.run("atl06.yaml", catalog=catalog, store="s3://results/map.zarr", max_workers=2, index=True)
    assert result.complete
    assert result.tally.cells["complete"] == len(catalog.cells) > 1
    assert read_summary("s3://results/map.zarr")["complete"]
    assert int(maggjob.open_result("s3://results/map.zarr")["count"].sum()) == result.tally.observations
    assert set(door.used) == {KEY}
    assert len(door.used) == len(door.requests)


@pytest.mark.dear("starts a process")
def test_moto_itself_sees_the_profile(s3: str, profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same key to boto3 and to our store: what Lithops writes, we read."""
    profile(keys("lab"), AWS_PROFILE="lab", AWS_ENDPOINT_URL=s3)
    boto3.Session(region_name="us-west-2").client("s3").put_object(Bucket="results", Key="theirs", Body=b"x")
    assert Folder("s3://results").get("theirs") == b"x"
