"""Who the client is to AWS, as policies of IAM know it."""

import os

import boto3
import pytest

from maggjob.errors import AccessError
from maggjob.storage.archive import Archive
from maggjob.storage.credentials import CredentialSet
from maggjob.storage.earthdata import private_object
from maggjob.storage.folder import Folder
from maggjob.storage.identity import caller_id
from maggjob.storage.stores import _s3
from tests.servers import s3_server

GRANULE = "s3://nsidc-cumulus-prod-protected/ATLAS/a.h5"
SESSION = "jane+x=1,@example.org"
"""All characters that the name of a session may have besides letters, digits and the underscore."""


def test_the_private_object_lies_below_the_id_of_the_session_of_a_role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maggjob.storage.earthdata.login", object)
    monkeypatch.setattr("maggjob.storage.earthdata.obtain", lambda urls, auth: CredentialSet(token="b3arer"))
    with s3_server("lithops") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        anybody = boto3.Session("t", "t", region_name="us-west-2")
        # moto makes up a new id of a role that does not exist with every answer.
        anybody.client("iam").create_role(RoleName="hub", AssumeRolePolicyDocument="{}")
        sts = anybody.client("sts")
        asked = sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/hub", RoleSessionName=SESSION)
        for name, key in (("ACCESS_KEY_ID", "AccessKeyId"), ("SECRET_ACCESS_KEY", "SecretAccessKey")):
            monkeypatch.setenv(f"AWS_{name}", asked["Credentials"][key])
        monkeypatch.setenv("AWS_SESSION_TOKEN", asked["Credentials"]["SessionToken"])
        user = caller_id("us-west-2")
        assert user == asked["AssumedRoleUser"]["AssumedRoleId"]
        assert user.endswith(f":{SESSION}")
        with private_object([GRANULE], "lithops", "us-west-2") as place:
            assert str(place).startswith(f"s3://lithops/maggjob.private/{user}/")
            assert Archive(place, region="us-west-2").credential_set().token == "b3arer"
            found = boto3.client("s3", region_name="us-west-2").list_objects_v2(Bucket="lithops")["Contents"]
            assert {item["Key"].rpartition("/")[0] for item in found} == {f"maggjob.private/{user}"}
        assert Folder("s3://lithops").keys() == []


def test_whom_aws_does_not_know_must_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(AccessError, match=r"AWS does not recognise the caller: .*credentials; log in to AWS"):
        caller_id()


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, None),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}, "maggjob"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/t", "JUPYTERHUB_USER": "jane"}, "maggjob-jane"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/t", "JUPYTERHUB_USER": "Jané/x"}, "maggjob-Jan--x"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/t", "JUPYTERHUB_USER": "j" * 99}, "maggjob-" + 56 * "j"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/t", "AWS_ROLE_SESSION_NAME": "mine"}, "mine"),
    ],
    ids=["keys", "nobody", "hub", "letters", "long", "named"],
)
def test_the_session_of_a_token_has_one_name(
    variables: dict[str, str], name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_SESSION_NAME", "JUPYTERHUB_USER"):
        # Set first, so that what is set here is undone.
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    _s3("s3://lithops", "us-west-2")
    assert os.environ.get("AWS_ROLE_SESSION_NAME") == name
