"""Requests to a registry: logins, what is tried again, and what never leaves for another host."""

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from hypothesis import given, strategies as st

from maggjob.aws import registry as registry_module
from maggjob.aws.login import Login, basic, bearer_token, ecr_login, stored_login
from maggjob.aws.reference import parse_reference
from maggjob.aws.registry import DOCKER_MANIFEST, Manifest, RegistryError, Repository, TemporaryError, sha256_of
from maggjob.errors import BackendError, InputError
from tests.aws.registry import Fault, Registry, image_registry, stand_for_ecr
from tests.aws.world import World
from tests.servers import server, status

USER = "AWS:secret"
CONTENT = b"0123456789" * 100
DIGEST = sha256_of(CONTENT)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture
def registry() -> Iterator[Registry]:
    with image_registry() as found:
        yield found


def repository(registry: Registry, user: str | None = None) -> Repository:
    return Repository(Login(registry.url, user and basic(user)), "maggjob")


def manifest_of(there: Repository) -> Manifest:
    """A manifest whose blobs are there."""
    there.push_blob(DIGEST, CONTENT)
    content = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": {"digest": DIGEST}, "layers": []}
    return Manifest(json.dumps(content).encode(), DOCKER_MANIFEST)


# --- Logins ---


@pytest.mark.parametrize("bearer", [False, True], ids=["Basic", "Bearer"])
def test_user_and_password_open_a_registry(registry: Registry, bearer: bool) -> None:
    registry.user, registry.bearer = USER, bearer
    there = repository(registry, USER)
    assert there.push_blob(DIGEST, CONTENT)
    there.push_manifest(manifest_of(there), "1")
    assert registry.tags["maggjob"].keys() == {"1"}
    # One token serves all requests.
    assert len(registry.requests("GET", "/token")) == bearer


@pytest.mark.parametrize("bearer", [False, True], ids=["Basic", "Bearer"])
@pytest.mark.parametrize("user", [None, "AWS:wrong"])
def test_a_wrong_login_is_refused_at_once(registry: Registry, bearer: bool, user: str | None) -> None:
    registry.user, registry.bearer = USER, bearer
    with pytest.raises(RegistryError, match=r"maggjob: HEAD .*401 .*; the login was refused: check user and pass") as e:
        repository(registry, user).push_blob(DIGEST, CONTENT)
    assert e.value.status == 401
    assert "secret" not in str(e.value)
    assert "wrong" not in str(e.value)
    assert len(registry.requests("HEAD")) == 1


def test_everybody_may_read_with_a_token(registry: Registry) -> None:
    registry.bearer = True
    registry.blobs["maggjob"][DIGEST] = CONTENT
    assert repository(registry).blob(DIGEST) == CONTENT
    # The token expires.
    registry.tokens.clear()
    assert repository(registry).blob(DIGEST) == CONTENT


def test_a_token_that_expires_during_a_push_is_renewed(registry: Registry) -> None:
    registry.user, registry.bearer = USER, True
    there = repository(registry, USER)
    registry.faults.append(Fault("POST", "/uploads/", status=503, act=registry.tokens.clear))
    assert there.push_blob(DIGEST, CONTENT)
    assert len(registry.requests("GET", "/token")) == 2


def test_the_login_to_ecr_is_its_token_and_is_renewed(
    aws: World, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_for_ecr(registry, monkeypatch)
    registry.mirror = None
    login = ecr_login(boto3.client("ecr"))
    assert login.endpoint == registry.url
    assert login.authorization == basic(str(registry.user))
    there = Repository(login, "maggjob")

    def expire() -> None:
        registry.user = "AWS:another-token"

    # The upload has begun when ECR's token is no longer valid.
    registry.faults.append(Fault("PATCH", "/uploads/", status=401, act=expire))
    assert there.push_blob(DIGEST, CONTENT)
    assert registry.blobs["maggjob"] == {DIGEST: CONTENT}
    assert {authorization for _, _, authorization in registry.seen} == {
        *(basic("AWS:token-of-ecr"), basic("AWS:another-token"))
    }


def test_ecr_that_gives_no_login_is_named(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(status(403)) as denied:
        ecr = boto3.client("ecr", endpoint_url=denied.url())
        with pytest.raises(BackendError, match=r"ECR gives no login: ClientError: .*; type 'maggjob doctor'"):
            ecr_login(ecr)


def test_stored_logins_are_those_of_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert stored_login("ghcr.io") == Login("https://ghcr.io")
    assert stored_login("127.0.0.1:5000").endpoint == "http://127.0.0.1:5000"
    auth = base64.b64encode(b"me:secret").decode()
    auths = {"ghcr.io": {"auth": auth}, "https://index.docker.io/v1/": {"auth": auth}, "helped.io": {}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths, "credsStore": "pass"}))
    assert stored_login("ghcr.io").authorization == basic("me:secret")
    assert stored_login(parse_reference("python").host).authorization == basic("me:secret")
    assert stored_login("helped.io").authorization is None
    assert stored_login("ghcr.io", "you:other").authorization == basic("you:other")
    with pytest.raises(InputError, match="has no colon; give USER:PASSWORD"):
        stored_login("ghcr.io", "secret")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is not docker's configuration"):
        stored_login("ghcr.io")


def test_passwords_go_to_services_with_a_certificate_only() -> None:
    with server(status(200)) as there:
        realm = there.url("/token").replace("127.0.0.1", socket.gethostname())
        assert bearer_token(f'Bearer realm="{realm}",service="x"', basic(USER)) is None
        assert bearer_token('Basic realm="x"', basic(USER)) is None
        assert there.seen == []


def test_the_login_goes_to_no_other_host(registry: Registry) -> None:
    """A registry may keep its blobs at another service, and send the client there."""
    with image_registry() as storage:
        storage.blobs["maggjob"][DIGEST] = CONTENT
        registry.user = USER
        # Another name of this machine.
        url = storage.url.replace("127.0.0.1", "localhost")
        location = f"{url}/signed/maggjob/{DIGEST}"
        registry.faults.append(Fault("GET", "/blobs/", status=307, headers={"Location": location}))
        assert repository(registry, USER).blob(DIGEST) == CONTENT
        location = f"{url}/v2/maggjob/blobs/uploads/12"
        registry.faults.append(Fault("POST", "/uploads/", status=202, headers={"Location": location}))
        with pytest.raises(RegistryError, match="404 BLOB_UPLOAD_UNKNOWN"):
            repository(registry, USER).push_blob(DIGEST, CONTENT)
        assert [(method, authorization) for method, _, authorization in storage.seen] == [("GET", ""), ("PATCH", "")]


# --- What fails for the moment ---


@pytest.mark.parametrize("code", [429, 500, 502, 503])
@pytest.mark.parametrize(
    ("method", "path"),
    [("HEAD", "/blobs/"), ("POST", "/uploads/"), ("PATCH", "/uploads/"), ("PUT", "/uploads/"), ("PUT", "/manifests/")],
)
def test_what_may_succeed_later_is_tried_again(registry: Registry, code: int, method: str, path: str) -> None:
    registry.faults.append(Fault(method, path, status=code, times=2))
    there = repository(registry)
    there.push_manifest(manifest_of(there), "1")
    assert registry.blobs["maggjob"] == {DIGEST: CONTENT}
    assert registry.tags["maggjob"].keys() == {"1"}


def test_a_registry_says_how_long_to_wait(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("maggjob.aws.registry.time.sleep", waited.append)
    registry.faults.append(Fault("HEAD", "/blobs/", status=429, headers={"Retry-After": "7"}))
    registry.faults.append(Fault("HEAD", "/blobs/", status=429, headers={"Retry-After": "86400"}))
    assert not repository(registry).has_blob(DIGEST)
    assert waited == [7.0, 60.0]


@pytest.mark.parametrize("after", [0, 1, 500, 999])
def test_a_push_that_breaks_off_starts_again(registry: Registry, after: int) -> None:
    registry.faults.append(Fault("PATCH", "/uploads/", after=after, times=2))
    there = repository(registry)
    assert there.push_blob(DIGEST, CONTENT)
    assert registry.blobs["maggjob"] == {DIGEST: CONTENT}
    # What was sent in vain counts, too.
    assert there.sent >= len(CONTENT)


def test_a_push_whose_answer_is_lost_is_not_repeated(registry: Registry) -> None:
    def keep() -> None:
        registry.blobs["maggjob"][DIGEST] = CONTENT

    registry.faults.append(Fault("PUT", "/uploads/", status=502, act=keep))
    repository(registry).push_blob(DIGEST, CONTENT)
    assert len(registry.requests("PATCH")) == 1


def test_a_tag_whose_answer_is_lost_is_not_an_error(registry: Registry) -> None:
    there = repository(registry)
    manifest = manifest_of(there)

    def keep() -> None:
        registry.manifests["maggjob"][manifest.digest] = (manifest.content, manifest.media_type)
        registry.tags["maggjob"]["1"] = manifest.digest

    registry.faults.append(Fault("PUT", "/manifests/", status=502, act=keep))
    # ECR refuses a tag that exists, even for the same image.
    registry.faults.append(Fault("PUT", "/manifests/", status=400, times=9))
    there.push_manifest(manifest, "1")
    assert registry.tags["maggjob"] == {"1": manifest.digest}


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(TemporaryError, match=rf"127.0.0.1:{port}/maggjob: HEAD: .*refused.*; check the network") as e:
        Repository(Login(f"http://127.0.0.1:{port}"), "maggjob").has_blob(DIGEST)
    assert "\n" not in str(e.value)


# --- Bytes ---


@given(sizes=st.lists(st.integers(1, 400_000), min_size=1, max_size=4), start=st.integers(0, 300_000))
def test_a_pull_is_whole_wherever_it_breaks_off(
    sizes: list[int], start: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytes(range(256)) * 1200
    digest = sha256_of(content)
    path = tmp_path_factory.mktemp("pull") / "blob"
    path.write_bytes(content[:start])
    with image_registry() as registry:
        registry.blobs["maggjob"][digest] = content
        registry.faults += [Fault("GET", "/blobs/", after=size) for size in sizes[:3]]
        there = repository(registry)
        there.pull_blob(digest, len(content), path)
        assert path.read_bytes() == content
        assert there.fetched >= len(content) - start


def test_a_damaged_beginning_is_noticed_and_removed(registry: Registry, tmp_path: Path) -> None:
    registry.blobs["maggjob"][DIGEST] = CONTENT
    path = tmp_path / "blob"
    path.write_bytes(b"x" * 300)
    with pytest.raises(RegistryError, match="came damaged, and was deleted; try again"):
        repository(registry).pull_blob(DIGEST, len(CONTENT), path)
    assert not path.exists()
    repository(registry).pull_blob(DIGEST, len(CONTENT), path)
    assert path.read_bytes() == CONTENT


def test_other_bytes_than_the_digest_says_are_refused(registry: Registry, tmp_path: Path) -> None:
    registry.blobs["maggjob"][DIGEST] = CONTENT[:-1] + b"x"
    with pytest.raises(RegistryError, match="came damaged"):
        repository(registry).blob(DIGEST)
    registry.manifests["maggjob"][DIGEST] = (b"{}", DOCKER_MANIFEST)
    with pytest.raises(RegistryError, match="came with digest"):
        repository(registry).manifest(DIGEST)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("python:3.13-slim", ("registry-1.docker.io", "library/python", "3.13-slim", None)),
        ("me/python", ("registry-1.docker.io", "me/python", "latest", None)),
        ("localhost/base:1", ("localhost", "base", "1", None)),
        ("ghcr.io/a/b_c/d.e:V1@sha256:" + "0" * 64, ("ghcr.io", "a/b_c/d.e", "V1", "sha256:" + "0" * 64)),
        ("127.0.0.1:5000/base", ("127.0.0.1:5000", "base", "latest", None)),
    ],
)
def test_names_of_images_are_read_as_docker_does(text: str, parts: tuple[str | None, ...]) -> None:
    found = parse_reference(text)
    assert (found.host, found.repository, found.tag, found.digest) == parts


@pytest.mark.parametrize("text", ["", "Python", "ghcr.io/", "a b", "python@sha256:12", "python:-x", "../../etc:1"])
def test_what_is_no_name_of_an_image_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a name such as HOST/NAME:TAG"):
        parse_reference(text)
