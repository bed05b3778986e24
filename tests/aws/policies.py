"""IAM's judgement of requests: which action on which resource a request is, and whether policies allow it.

moto judges neither variables of policies nor requests to most services by their resource. Only what the policies of
runtime/template.yaml use is judged here; anything else is an error, so that nothing is allowed by mistake.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ACCOUNT = "123456789012"
REGION = "us-west-2"
Context = Mapping[str, str]


@dataclass(frozen=True)
class Principal:
    """Who sends requests."""

    user_id: str
    """What the variable ``aws:userid`` stands for."""
    documents: Sequence[Mapping[str, Any]]
    """Policies."""
    tags: Mapping[str, str] | None = None
    """What ``aws:PrincipalTag/...`` stands for."""

    @property
    def context(self) -> dict[str, str]:
        """Variables of all requests."""
        return {"aws:userid": self.user_id, **{f"aws:PrincipalTag/{k}": v for k, v in (self.tags or {}).items()}}


@dataclass(frozen=True)
class Asked:
    """What a request asks for."""

    action: str
    resource: str
    context: Context


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def matches(pattern: str, value: str, context: Context) -> bool:
    """Return whether a value matches a pattern of a policy. A variable's value is taken literally."""
    found = ""
    for piece in re.split(r"(\$\{[^}]+\}|\*|\?)", pattern):
        if piece.startswith("${"):
            if piece[2:-1] not in context:
                return False
            found += re.escape(context[piece[2:-1]])
        else:
            found += {"*": ".*", "?": "."}.get(piece, re.escape(piece))
    return re.fullmatch(found, value, re.DOTALL) is not None


def holds(condition: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    """Return whether all conditions of a statement hold."""
    for operator, wanted in condition.items():
        for key, values in wanted.items():
            if key not in context:
                return False
            if operator in ("StringLike", "ArnLike"):
                good = any(matches(value, context[key], context) for value in listed(values))
            elif operator in ("StringEquals", "Bool"):
                good = context[key] in listed(values)
            else:
                raise NotImplementedError(operator)
            if not good:
                return False
    return True


def allows(principal: Principal, asked: Asked) -> bool:
    """Return whether a principal's policies allow what is asked: one does, and none denies it."""
    context = {**principal.context, **asked.context}
    effects = set()
    for document in principal.documents:
        for statement in listed(document["Statement"]):
            unknown = statement.keys() - {"Sid", "Effect", "Action", "Resource", "Condition"}
            if unknown:
                raise NotImplementedError(unknown)
            if (
                any(matches(action.lower(), asked.action.lower(), {}) for action in listed(statement["Action"]))
                and any(matches(resource, asked.resource, context) for resource in listed(statement["Resource"]))
                and holds(statement.get("Condition", {}), context)
            ):
                effects.add(statement["Effect"])
    return effects == {"Allow"}


def service_of(headers: Mapping[str, str]) -> tuple[str, str]:
    """Return the access key that a request is signed with, and the service that it is signed for."""
    scope = headers.get("Authorization", "").partition("Credential=")[2].split(",")[0].split("/")
    return (scope[0], scope[3]) if len(scope) > 3 else ("", "")


def asked_of(method: str, url: str, headers: Mapping[str, str], body: bytes) -> list[Asked]:
    """Return what a request asks for; empty for what needs no right."""
    service = service_of(headers)[1]
    parts = urlsplit(url)
    path, query = unquote(parts.path), parse_qs(parts.query, keep_blank_values=True)
    if service == "s3":
        return list(_s3(method, path, query, headers, body))
    if service == "lambda":
        return list(_lambda(method, path, body))
    if service == "sts":
        return []
    if service in ("ecr", "logs"):
        plain = json.loads(body or b"{}")
        name = plain.get("repositoryName") or plain.get("logGroupName")
        kind = "repository/" if service == "ecr" else "log-group:"
        resource = "*" if name is None else f"arn:aws:{service}:{REGION}:{ACCOUNT}:{kind}{name}"
        return [Asked(f"{service}:{headers['X-Amz-Target'].rsplit('.', 1)[1]}", resource, {})]
    if service == "budgets":
        plain = json.loads(body)
        name = f"arn:aws:budgets::{plain['AccountId']}:budget/{plain['BudgetName']}"
        return [Asked("budgets:ViewBudget", name, {})]
    if service == "cloudformation":
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        stack = form.get("StackName", "*")
        if not stack.startswith("arn:") and stack != "*":
            stack = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{stack}/*"
        return [Asked(f"cloudformation:{form['Action']}", stack, {})]
    if service == "iam":
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        role = form.get("PolicySourceArn") or f"arn:aws:iam::{ACCOUNT}:role/{form.get('RoleName')}"
        return [Asked(f"iam:{form['Action']}", role, {})]
    raise NotImplementedError(f"{service} {method} {url}")


def _s3(
    method: str, path: str, query: Mapping[str, list[str]], headers: Mapping[str, str], body: bytes
) -> Iterator[Asked]:
    bucket, _, key = path.lstrip("/").partition("/")
    arn = f"arn:aws:s3:::{bucket}"
    if not key:
        if method == "POST" and "delete" in query:
            for name in re.findall(r"<Key>(.*?)</Key>", body.decode()):
                yield Asked("s3:DeleteObject", f"{arn}/{name}", {})
        elif method == "GET" and "location" in query:
            yield Asked("s3:GetBucketLocation", arn, {})
        elif method in ("GET", "HEAD"):
            yield Asked("s3:ListBucket", arn, {"s3:prefix": query["prefix"][0]} if "prefix" in query else {})
        else:
            yield Asked({"PUT": "s3:CreateBucket", "DELETE": "s3:DeleteBucket"}[method], arn, {})
        return
    if "x-amz-copy-source" in headers:
        yield Asked("s3:GetObject", f"arn:aws:s3:::{unquote(headers['x-amz-copy-source']).lstrip('/')}", {})
    delete = "s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject"
    actions = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "DELETE": delete}
    yield Asked(actions.get(method, "s3:PutObject"), f"{arn}/{key}", {})


LAMBDA = {
    ("POST", "/invocations"): "InvokeFunction",
    ("PUT", "/event-invoke-config"): "PutFunctionEventInvokeConfig",
    ("GET", "/event-invoke-config"): "GetFunctionEventInvokeConfig",
    ("PUT", "/concurrency"): "PutFunctionConcurrency",
    ("DELETE", "/concurrency"): "DeleteFunctionConcurrency",
    ("GET", "/concurrency"): "GetFunctionConcurrency",
    ("PUT", "/code"): "UpdateFunctionCode",
    ("GET", "/configuration"): "GetFunctionConfiguration",
    ("GET", ""): "GetFunction",
    ("DELETE", ""): "DeleteFunction",
}


def _lambda(method: str, path: str, body: bytes) -> Iterator[Asked]:
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:"
    if path.endswith("/account-settings"):
        yield Asked("lambda:GetAccountSettings", "*", {})
    elif "/tags/" in path:
        yield Asked("lambda:ListTags" if method == "GET" else "lambda:TagResource", path.partition("/tags/")[2], {})
    elif path.rstrip("/").endswith("/functions"):
        if method == "GET":
            yield Asked("lambda:ListFunctions", "*", {})
            return
        wanted = json.loads(body)
        yield Asked("lambda:CreateFunction", arn + wanted["FunctionName"], {})
        yield Asked("iam:PassRole", wanted["Role"], {"iam:PassedToService": "lambda.amazonaws.com"})
        if wanted.get("Tags"):
            yield Asked("lambda:TagResource", arn + wanted["FunctionName"], {})
    else:
        name, _, what = path.partition("/functions/")[2].rstrip("/").partition("/")
        yield Asked(f"lambda:{LAMBDA[method, f'/{what}' if what else '']}", arn + name, {})
