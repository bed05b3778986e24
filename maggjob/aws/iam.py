"""What the worker's role on Lambda must allow, and which of these rights IAM says are missing.

The rights are those that runtime/template.yaml gives the role.
"""

from collections.abc import Mapping
from typing import Any

from maggjob.storage.run_folder import PRIVATE

Needs = dict[str, tuple[str, ...]]


def trusts_lambda(document: Mapping[str, Any]) -> bool:
    """Return True if a role's trust policy allows Lambda to assume the role."""
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
    """Return the actions that a worker performs, by the resource that they apply to.

    Parameters
    ----------
    account, region : str
        Account and region of the workers.
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
            f"arn:aws:s3:::{bucket}/{PRIVATE}/x/x": ("s3:GetObject",),
        }
    if output:
        changes = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
        found |= {f"arn:aws:s3:::{output}": ("s3:ListBucket",), f"arn:aws:s3:::{output}/x": changes}
    return found


def lacking(iam: Any, role: str, needs: Needs) -> list[str]:
    """Return which of the needed actions a role does not allow, according to IAM's simulation.

    Parameters
    ----------
    iam : botocore.client.IAM
    role : str
        ARN of the role.
    needs : dict
        From `needed`.

    Raises
    ------
    botocore.exceptions.ClientError
        If the credentials do not allow the simulation.
    """
    found = []
    for resource, actions in needs.items():
        answer = iam.simulate_principal_policy(PolicySourceArn=role, ActionNames=list(actions), ResourceArns=[resource])
        denied = [item for item in answer["EvaluationResults"] if item["EvalDecision"] != "allowed"]
        found += [f"{item['EvalActionName']} on {resource}" for item in denied]
    return found
