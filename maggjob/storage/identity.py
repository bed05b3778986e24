"""Who the client is to AWS.

Policies of IAM tell the objects of one user from those of others by the variable ``aws:userid``. What a client writes
to Lithops' bucket has this id in its key (runtime/template.yaml, UserPolicy).
"""

import os
import re

from maggjob.errors import AccessError
from maggjob.storage import aws_profile
from maggjob.storage.stores import DEFAULT_REGION

WEB_IDENTITY = "AWS_WEB_IDENTITY_TOKEN_FILE"
"""Environment variable with a token by which a role is assumed, as on Kubernetes."""
SESSION_NAME = "AWS_ROLE_SESSION_NAME"
"""Environment variable with the name of the session of a role that is assumed with a token."""
HUB_USER = "JUPYTERHUB_USER"
"""Environment variable with the name of the user on a JupyterHub."""


def name_session() -> None:
    """Name the session of a role that is assumed with a token, unless it has a name.

    The name is part of ``aws:userid``. Without one, each library that assumes the role makes up its own, so that the
    same client would be several users.
    """
    if os.environ.get(WEB_IDENTITY) and not os.environ.get(SESSION_NAME):
        user = re.sub(r"[^\w+=,.@-]", "-", os.environ.get(HUB_USER, ""), flags=re.ASCII)
        os.environ[SESSION_NAME] = f"maggjob-{user}".rstrip("-")[:64]


def caller_id(region: str | None = None) -> str:
    """Return the id of the caller, as ``aws:userid`` has it: of a user of IAM, or of a role with the session's name.

    Parameters
    ----------
    region : str, optional
        Region whose STS is asked; by default that of the environment, or us-west-2.

    Raises
    ------
    InputError
        If the AWS profile cannot be used.
    AccessError
        If STS does not tell.
    """
    name_session()
    session = aws_profile.shared_session() if aws_profile.in_use() else aws_profile.open_session()
    from botocore.exceptions import BotoCoreError, ClientError

    where = region or session.region_name or DEFAULT_REGION
    try:
        return str(session.client("sts", region_name=where).get_caller_identity()["UserId"])
    except (BotoCoreError, ClientError) as problem:
        said = " ".join(str(problem).split())
        raise AccessError(
            f"AWS does not recognise the caller: {said}; log in to AWS (aws configure, aws sso login, or AWS_PROFILE)"
        ) from None
