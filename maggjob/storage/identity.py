"""Who the client is to AWS.

Policies of IAM tell the objects of one user from those of others by the variable ``aws:userid``. What a client writes
to Lithops' bucket has this id in its key (runtime/template.yaml, UserPolicy).
"""

from maggjob.errors import AccessError
from maggjob.storage import aws_profile
from maggjob.storage.stores import DEFAULT_REGION


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
