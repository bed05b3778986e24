"""What the worker's role on Lambda must allow, and what of it IAM says that it does not.

The rights are those that runtime/template.yaml gives the role.
"""

from collections.abc import Mapping
from typing import Any

from maggjob.storage.run_folder import PRIVATE

Needs = dict[str, tuple[str, ...]]


def trusts_lambda(document: Mapping[str, Any]) -> bool:
    """Whether Lambda may assume a role, by the role's trust policy."""
    statements = document.get("Statement", [])
    for statement in [statements] if isinstance(statements, Mapping) else statements:
        principal = statement.get("Principal", {})
        services = principal.get("Service", []) if isinstance(principal, Mapping) else []
        if statement.get("Effect") == "Allow" and "lambda.amazonaws.com" in (
            [services] if isinstance(services, str) else services
        ):
            return True
    return False


def needed(account: str, region: str, bucket: str | None, output: str | None = None) -> Needs:
    """Actions of a worker, by what they are done to.

    Parameters
    ----------
    account, region : str
        Of the workers.
    bucket : str, optional
        Lithops' bucket.
    output : str, optional
        Bucket that results are written to.
    """
    log = f"arn:aws:logs:{region}:{account}:log-group:/aws/lambda/lithops-worker-x:log-stream:x"
    found: Needs = {log: ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents")}
    if bucket:
        found |= {
            f"arn:aws:s3:::{bucket}": ("s3:ListBucket",),
            f"arn:aws:s3:::{bucket}/lithops.jobs/x": ("s3:GetObject", "s3:PutObject"),
            f"arn:aws:s3:::{bucket}/{PRIVATE}/x": ("s3:GetObject",),
        }
    if output:
        changes = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
        found |= {f"arn:aws:s3:::{output}": ("s3:ListBucket",), f"arn:aws:s3:::{output}/x": changes}
    return found


def lacking(iam: Any, role: str, needs: Needs) -> list[str]:
    """Which of the needs a role does not allow, as IAM simulates it.

    Parameters
    ----------
    iam : botocore.client.IAM
    role : str
        ARN.
    needs : dict
        From `needed`.

    Raises
    ------
    botocore.exceptions.ClientError
        IAM does not simulate it for us.
    """
    found = []
    for resource, actions in needs.items():
        answer = iam.simulate_principal_policy(PolicySourceArn=role, ActionNames=list(actions), ResourceArns=[resource])
        denied = [item for item in answer["EvaluationResults"] if item["EvalDecision"] != "allowed"]
        found += [f"{item['EvalActionName']} on {resource}" for item in denied]
    return found
