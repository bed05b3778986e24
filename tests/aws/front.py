"""A server in front of moto: it answers what moto does not know or is to refuse, and passes other requests on."""

import ast
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPConnection
from typing import Any
from urllib.parse import parse_qs

import boto3
from moto.iam.access_control import IAMPolicy, PermissionResult

from tests.aws.policies import Asked, Principal, allows as may, asked_of, service_of
from tests.aws.sandbox import Handler, serve

SIMULATED = (
    '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><SimulatePrincipalPolicyResult>'
    "<IsTruncated>false</IsTruncated><EvaluationResults>{}</EvaluationResults></SimulatePrincipalPolicyResult>"
    "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></SimulatePrincipalPolicyResponse>"
)
JUDGED = "<member><EvalActionName>{}</EvalActionName><EvalDecision>{}</EvalDecision></member>"
REFUSED = (
    '<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type>'
    "<Code>AccessDenied</Code><Message>You may not.</Message></Error><RequestId>r</RequestId></ErrorResponse>"
)
DENIED = "<Error><Code>AccessDenied</Code><Message>You may not.</Message></Error>"
XML = {"Content-Type": "text/xml"}

EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"

MISSING = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"


def allows(policies: Sequence[IAMPolicy], action: str, resource: str) -> bool:
    """Return whether policies allow an action, as moto judges them."""
    judged = {policy.is_action_permitted(action, resource) for policy in policies}
    return PermissionResult.PERMITTED in judged and PermissionResult.DENIED not in judged


def right_of(request: Handler, body: bytes) -> str:
    """Return the right that a request needs, whether or not a policy can give it."""
    service, target = service_of(request.headers)[1], request.headers.get("X-Amz-Target", "")
    if service in ("s3", "lambda"):
        asked = asked_of(request.command, request.path, request.headers, body)
        return asked[0].action if asked else ""
    return f"{service}:{target.rpartition('.')[2] or parse_qs(body.decode()).get('Action', [''])[0]}"


def refuse(request: Handler, said: str = "You may not.") -> None:
    """Answer that a request is not allowed, as its service does."""
    service = service_of(request.headers)[1]
    if request.command == "HEAD":
        request.reply(403)
    elif service == "s3":
        request.reply(403, DENIED.replace("You may not.", said).encode(), XML)
    elif service in ("iam", "cloudformation", "sts"):
        request.reply(403, REFUSED.replace("You may not.", said).encode(), XML)
    else:
        plain = {"__type": "AccessDeniedException", "message": said, "Message": said}
        request.reply(403, plain, {"X-Amzn-Errortype": "AccessDeniedException"})


@dataclass
class Front:
    """The answers of the server itself."""

    url: str = ""
    """URL of the server."""
    image: dict[str, Any] = field(default_factory=dict)
    """Configuration of every image, as docker writes it."""
    behind: str = ""
    """Endpoint of moto."""
    may_simulate: bool = True
    """Whether the client may ask IAM what a role may do."""
    statuses: dict[str, int] = field(default_factory=dict)
    """Status for every request to a bucket."""
    refused: list[str] = field(default_factory=list)
    """Parts of paths that the client may not use."""
    denied: set[tuple[str, str]] = field(default_factory=set)
    """Methods and buckets of requests that S3 denies: DELETE (of many objects, too), LIST or GET, for example."""
    lost: Callable[[str], bool] = lambda path: False
    """Tells which objects cannot be found, by path, although they are listed."""
    shut: Callable[[str], bool] = lambda path: False
    """Tells which objects may not be read, by path."""
    expired: set[str] = field(default_factory=set)
    """Access keys that no service accepts any more."""
    keys: dict[str, set[str]] = field(default_factory=dict)
    """Access keys that a bucket is open to. A bucket that is not named is open to all."""
    renewed: threading.Event | None = None
    """If given: after the first use of these buckets, further requests wait for it."""
    used: list[str] = field(default_factory=list)
    """Access keys of the requests to these buckets that were let in."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of each request."""
    principals: dict[str, Principal] = field(default_factory=dict)
    """Who is who, by access key. If there is any, requests are judged, and those of other keys are refused."""
    judged: list[tuple[str, Asked, bool]] = field(default_factory=list)
    """Access key, what was asked, and whether it was allowed, of each judged request."""
    lacking: set[str] = field(default_factory=set)
    """Rights that everybody lacks, such as cloudformation:CreateChangeSet."""
    blobs: Callable[[str], Any] | None = None
    """Returns a blob of the registry by its digest; by default each is ``image``."""

    def answer(self, request: Handler, body: bytes) -> bool:
        """Answer a request; return False when moto is to answer it."""
        target = request.headers.get("X-Amz-Target", "")
        if self.principals and not self.may(request, body):
            refuse(request)
            return True
        key = request.headers.get("Authorization", "").partition("Credential=")[2].split("/")[0]
        path, _, query = request.path.partition("?")
        bucket, method = path.split("/")[1], request.command
        if self.lacking and (right := right_of(request, body)) in self.lacking:
            refuse(request, f"User: arn:aws:iam::123456789012:user/me is not authorized to perform: {right}")
        elif key in self.expired:
            # An answer to HEAD has no content. S3 says 400; STS says 403.
            request.reply(400, b"" if method == "HEAD" else EXPIRED, XML)
        elif method == "POST" and "delete" in query and ("DELETE", bucket) in self.denied:
            keys = re.findall(rb"<Key>(.*?)</Key>", body)
            errors = b"".join(
                b"<Error><Key>" + key + b"</Key><Code>AccessDenied</Code><Message>no</Message></Error>" for key in keys
            )
            request.reply(200, b"<DeleteResult>" + errors + b"</DeleteResult>", XML)
        elif ("LIST" if "list-type" in query else method, bucket) in self.denied or (
            method == "GET" and self.shut(path)
        ):
            request.reply(403, DENIED.encode(), XML)
        elif method == "GET" and self.lost(path):
            request.reply(404, MISSING, XML)
        elif target.endswith("GetDownloadUrlForLayer"):
            digest = json.loads(body)["layerDigest"]
            request.reply(200, {"downloadUrl": f"{self.url}/blob/{digest}", "layerDigest": digest})
        elif request.path.startswith("/blob/"):
            request.reply(200, self.blobs(request.path.removeprefix("/blob/")) if self.blobs else self.image)
        elif b"Action=SimulatePrincipalPolicy" in body:
            if self.may_simulate:
                request.reply(200, SIMULATED.format(self.judge(parse_qs(body.decode()))).encode(), XML)
            else:
                request.reply(403, REFUSED.encode(), XML)
        elif any(part in request.path for part in self.refused):
            request.reply(403, {"Message": "You may not."}, {"X-Amzn-Errortype": "AccessDeniedException"})
        elif bucket in self.statuses:
            request.reply(self.statuses[bucket])
        elif bucket in self.keys:
            if self.used and self.renewed is not None:
                self.renewed.wait(600)
            if key not in self.keys[bucket]:
                request.reply(403, EXPIRED, {"Content-Type": "application/xml"})
                return True
            self.used.append(key)
            return False
        else:
            return False
        return True

    def may(self, request: Handler, body: bytes) -> bool:
        """Return whether a request is allowed to the principal that signed it. Unsigned ones are moto's own matter."""
        key, _ = service_of(request.headers)
        if not key:
            return True
        for asked in asked_of(request.command, request.path, request.headers, body):
            allowed = key in self.principals and may(self.principals[key], asked)
            self.judged.append((key, asked, allowed))
            if not allowed:
                return False
        return True

    @cached_property
    def iam(self) -> Any:
        """A client of moto's IAM, with credentials of its own."""
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.Session(**keys, region_name="us-west-2").client("iam", endpoint_url=self.behind)

    def judge(self, asked: Mapping[str, list[str]]) -> str:
        """Say what a role's policies allow: moto does not offer SimulatePrincipalPolicy."""
        role = asked["PolicySourceArn"][0].rsplit("/", 1)[-1]
        iam = self.iam
        found = [
            iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
        ]
        # moto keeps those of a stack as Python shows them.
        plain = [ast.literal_eval(one) if isinstance(one, str) else one for one in found]
        policies = [IAMPolicy(json.dumps(document)) for document in plain]
        (resource,) = asked["ResourceArns.member.1"]
        text = ""
        for number in range(1, sum(name.startswith("ActionNames.") for name in asked) + 1):
            (action,) = asked[f"ActionNames.member.{number}"]
            text += JUDGED.format(action, "allowed" if allows(policies, action, resource) else "implicitDeny")
        return text


@contextmanager
def front(endpoint: str) -> Iterator[Front]:
    """Start the server in front of an endpoint of moto's."""
    made = Front(behind=endpoint)

    class Passing(Handler):
        def pass_on(self) -> None:
            body = self.body()
            made.requests.append((self.command, self.path))
            if made.answer(self, body):
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            connection = HTTPConnection(endpoint.removeprefix("http://"))
            connection.request(self.command, self.path, body or None, headers)
            reply = connection.getresponse()
            self.hand_back(reply.status, reply.headers, reply.read())
            connection.close()

        def hand_back(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
            drop = {"connection", "content-length", "transfer-encoding", "date", "server"}
            self.reply(status, content, {k: v for k, v in headers.items() if k.lower() not in drop})

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = pass_on  # noqa: N815

    server = serve(Passing)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
