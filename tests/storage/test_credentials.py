"""Credentials are obtained once, kept private, sent to whom they belong, and picked up anew."""

import json
import os
import pickle
import re
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from maggjob.errors import AccessError, StoreError
from maggjob.storage import stores
from maggjob.storage.archive import Archive, Source
from maggjob.storage.credentials import (
    MARGIN,
    CredentialSet,
    S3Credentials,
    data_centre,
    needs_login,
    trusted_host,
    write_private,
)
from maggjob.storage.earthdata import fetch_s3, keep_fresh, login, obtain, private_object
from maggjob.storage.folder import Folder
from maggjob.storage.urls import is_remote
from tests.servers import (
    Answer,
    Request,
    Server,
    ToLoopback,
    archive,
    redirect,
    reset,
    s3_server,
    server,
    status,
    with_token,
    without_token,
)

NOW = datetime.now(UTC)
KEYS = S3Credentials("ASIAKEY", "s3cret", "s3ssion", NOW + timedelta(hours=1))
CREDENTIALS = CredentialSet({"NSIDC": KEYS}, "b3arer")
SECRETS = ("s3cret", "s3ssion", "b3arer", "ASIAKEY", "passw0rd")
URS, NSIDC = "urs.earthdata.nasa.gov", "data.nsidc.earthdatacloud.nasa.gov"
GRANULE = "s3://nsidc-cumulus-prod-protected/ATLAS/ATL06/007/2024/01/01/a.h5"
CONTENT = bytes(range(256)) * 10


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backoff = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=2), "base": 2}
    monkeypatch.setattr(stores, "RETRY", {"max_retries": 1, "retry_timeout": timedelta(seconds=60), "backoff": backoff})
    monkeypatch.setattr(stores, "CLIENT", {"connect_timeout": "60s", "timeout": "60s", "user_agent": "maggjob"})
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setattr("sys.stdin", None)


@dataclass
class Nasa:
    """Stand-in for Earthdata Login and for NSIDC's credentials."""

    password: str = "passw0rd"
    answer: object = field(
        default_factory=lambda: {
            "accessKeyId": "ASIAKEY",
            "secretAccessKey": "s3cret",
            "sessionToken": "s3ssion",
            "expiration": "2030-01-02 03:04:05+00:00",
        }
    )
    code: int = 200

    def __call__(self, request: Request) -> None:
        authorization = request.headers.get("Authorization", "")
        if request.key == f"/{URS}/api/users/find_or_create_token":
            if authorization != requests.auth._basic_auth_str("me", self.password):
                return request.reply(401, b'{"error": "invalid_credentials"}')
            return request.reply(200, b'{"access_token": "b3arer", "expiration_date": "10/31/2030"}')
        if request.key == f"/{NSIDC}/s3credentials" and authorization == "Bearer b3arer":
            return request.reply(self.code, json.dumps(self.answer).encode())
        return request.reply(403)


@pytest.fixture
def nasa(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Nasa, Server]]:
    """The real earthaccess, whose requests for https hosts come to a server of ours."""
    stand_in = Nasa()
    with server(stand_in) as there:
        adapter = ToLoopback(there.url())
        monkeypatch.setattr(requests.Session, "get_adapter", lambda *_, **__: adapter)
        yield stand_in, there
        adapter.close()


def test_a_book_comes_back() -> None:
    for credential_set in (CREDENTIALS, CredentialSet(), CredentialSet({"NSIDC": KEYS}), CredentialSet(token="b3arer")):
        assert CredentialSet.from_json(credential_set.to_json()) == credential_set


def test_no_repr_shows_a_secret() -> None:
    for text in (
        repr(CREDENTIALS),
        str(CREDENTIALS),
        repr(KEYS),
        f"{KEYS}",
        repr(CREDENTIALS.s3),
        repr(Archive("/nowhere")),
    ):
        assert not [secret for secret in SECRETS if secret in text]
    assert str(KEYS.expires.year) in repr(KEYS)


def test_a_private_object_is_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "private.json"
    old = os.umask(0)
    try:
        write_private(path, CredentialSet())
        write_private(path, CREDENTIALS)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert CredentialSet.from_json(path.read_bytes()) == CREDENTIALS
    assert [there.name for there in path.parent.iterdir()] == ["private.json"]


def test_a_private_object_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "private.json"
    path.write_bytes(b"anyone may read this")
    path.chmod(0o644)
    with path.open("rb") as before:
        write_private(path, CREDENTIALS)
        assert before.read() == b"anyone may read this"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_leftover_does_not_hinder(tmp_path: Path) -> None:
    path = tmp_path / "private.json"
    path.with_name(f".private.json.{os.getpid()}").symlink_to(tmp_path / "elsewhere")
    write_private(path, CREDENTIALS)
    assert CredentialSet.from_json(path.read_bytes()) == CREDENTIALS
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("url", "centre"),
    [
        (GRANULE, "NSIDC"),
        ("s3://nsidc-cumulus-prod-protected", "NSIDC"),
        ("s3://my-bucket/nsidc-cumulus-prod-protected/a.h5", None),
        ("https://nsidc-cumulus-prod-protected/a.h5", None),
        ("/data/nsidc-cumulus-prod-protected/a.h5", None),
    ],
)
def test_which_data_centre(url: str, centre: str | None) -> None:
    assert data_centre(url) == centre


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        (f"https://{NSIDC}/a.h5", True),
        ("https://nasa.gov/a.h5", True),
        ("https://NASA.gov/a.h5", True),
        ("http://127.0.0.1:5/a.h5", True),
        ("http://localhost:5/a.h5", True),
        ("http://[::1]:5/a.h5", True),
        ("https://notnasa.gov/a.h5", False),
        ("https://nasa.gov.elsewhere.invalid/a.h5", False),
        ("https://nasa.gov@elsewhere.invalid/a.h5", False),
        ("https://elsewhere.invalid/nasa.gov", False),
        ("https://elsewhere.invalid/?.nasa.gov", False),
        ("http://localhost.elsewhere.invalid/", False),
        ("nasa.gov", False),
        ("", False),
    ],
)
def test_who_may_see_a_token(url: str, trusted: bool) -> None:
    assert trusted_host(url) is trusted


def test_fresh_until_shortly_before_the_end() -> None:
    assert KEYS.fresh(NOW)
    assert KEYS.fresh(KEYS.expires - MARGIN - timedelta(seconds=1))
    assert not KEYS.fresh(KEYS.expires - MARGIN)
    assert not KEYS.fresh(KEYS.expires + timedelta(days=1))


def test_login_with_a_token(monkeypatch: pytest.MonkeyPatch, nasa: tuple[Nasa, Server]) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "b3arer")
    assert login().token["access_token"] == "b3arer"
    assert nasa[1].seen == []


def test_login_with_a_name(monkeypatch: pytest.MonkeyPatch, nasa: tuple[Nasa, Server]) -> None:
    monkeypatch.setenv("EARTHDATA_USERNAME", "me")
    monkeypatch.setenv("EARTHDATA_PASSWORD", "passw0rd")
    assert login().token["access_token"] == "b3arer"


def test_login_with_a_netrc(tmp_path: Path, nasa: tuple[Nasa, Server]) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine {URS} login me password passw0rd\n")
    netrc.chmod(0o600)
    assert login().token["access_token"] == "b3arer"
    assert {seen.path for seen in nasa[1].seen} == {f"/{URS}/api/users/find_or_create_token"}


def test_a_wrong_password_is_told(tmp_path: Path, nasa: tuple[Nasa, Server]) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine {URS} login me password wr0ng\n")
    netrc.chmod(0o600)
    with pytest.raises(AccessError, match="refused the credentials from netrc") as caught:
        login()
    assert caught.value.reason == "auth"
    assert "wr0ng" not in str(caught.value)


def test_no_login_says_what_to_set() -> None:
    with pytest.raises(AccessError) as caught:
        login()
    for word in ("EARTHDATA_TOKEN", "EARTHDATA_USERNAME", "EARTHDATA_PASSWORD", ".netrc"):
        assert word in str(caught.value)


def test_a_netrc_without_earthdata_is_no_login(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine elsewhere login me password passw0rd\n")
    with pytest.raises(AccessError) as caught:
        login()
    assert "passw0rd" not in str(caught.value)


def test_a_login_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, nasa: tuple[Nasa, Server]) -> None:
    with server(status(500)) as gone:
        nobody = ToLoopback(gone.url())
    monkeypatch.setattr(requests.Session, "get_adapter", lambda *_, **__: nobody)
    monkeypatch.setenv("EARTHDATA_USERNAME", "me")
    monkeypatch.setenv("EARTHDATA_PASSWORD", "passw0rd")
    with pytest.raises(AccessError) as caught:
        login()
    assert "passw0rd" not in str(caught.value)
    nobody.close()


def test_s3_credentials_with_their_end(monkeypatch: pytest.MonkeyPatch, nasa: tuple[Nasa, Server]) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "b3arer")
    got = fetch_s3("NSIDC", login())
    assert (got.access_key_id, got.secret_access_key, got.token) == ("ASIAKEY", "s3cret", "s3ssion")
    assert got.expires == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert got.for_obstore()["expires_at"] == got.expires


@pytest.mark.parametrize("text", ["2030-01-02 03:04:05", "2030-01-02T03:04:05Z", "2030-01-02T04:04:05+01:00"])
def test_an_end_is_in_utc(monkeypatch: pytest.MonkeyPatch, nasa: tuple[Nasa, Server], text: str) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "b3arer")
    assert isinstance(nasa[0].answer, dict)
    nasa[0].answer["expiration"] = text
    assert fetch_s3("NSIDC", login()).expires == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        (401, {}),
        (500, {}),
        (200, {}),
        (200, []),
        (200, {"accessKeyId": "A", "secretAccessKey": "B", "sessionToken": "C", "expiration": "tomorrow"}),
        (200, {"accessKeyId": "A", "secretAccessKey": "B", "expiration": "2030-01-02 03:04:05+00:00"}),
    ],
    ids=["401", "500", "empty", "list", "no time", "no token"],
)
def test_a_data_centre_that_gives_none(
    monkeypatch: pytest.MonkeyPatch, nasa: tuple[Nasa, Server], code: int, answer: object
) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "b3arer")
    nasa[0].code, nasa[0].answer = code, answer
    with pytest.raises(AccessError, match="NSIDC gave no S3 credentials") as caught:
        fetch_s3("NSIDC", login())
    assert caught.value.reason == "auth"


@pytest.mark.parametrize("fault", [status(200, b"<html>"), reset], ids=["html", "reset"])
def test_a_data_centre_that_answers_nonsense(
    monkeypatch: pytest.MonkeyPatch, nasa: tuple[Nasa, Server], fault: Answer
) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "b3arer")
    monkeypatch.setattr(Nasa, "__call__", lambda _self, request: fault(request))
    with pytest.raises(AccessError):
        fetch_s3("NSIDC", login())


@pytest.mark.parametrize(
    ("url", "needed"),
    [
        ("/a.h5", False),
        ("file:///b.h5", False),
        ("s3://my-bucket/c.h5", False),
        ("http://127.0.0.1/d.h5", False),
        ("https://example.org/e.h5", False),
        (f"https://{NSIDC}/f.h5", True),
        (GRANULE, True),
    ],
)
def test_only_the_archive_asks_for_a_login(url: str, needed: bool) -> None:
    assert needs_login(url) is needed


def test_what_is_needed_is_obtained(monkeypatch: pytest.MonkeyPatch, nasa: tuple[Nasa, Server]) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "b3arer")
    auth = login()
    assert obtain(["/a.h5"], auth) == CredentialSet()
    assert obtain([f"https://{NSIDC}/a.h5"], auth) == CredentialSet(token="b3arer")
    assert nasa[1].seen == []
    bucket = obtain([GRANULE, GRANULE], auth)
    assert bucket.s3.keys() == {"NSIDC"}
    assert bucket.token is None
    assert len(nasa[1].seen) == 1
    both = obtain([GRANULE, f"https://{NSIDC}/a.h5"], auth)
    assert (both.token, both.s3.keys()) == ("b3arer", {"NSIDC"})


def test_credentials_are_renewed_before_they_end(
    monkeypatch: pytest.MonkeyPatch, nasa: tuple[Nasa, Server], tmp_path: Path
) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "b3arer")
    auth, path, stop = login(), tmp_path / "private.json", threading.Event()
    old = replace(obtain([GRANULE], auth).s3["NSIDC"], expires=datetime.now(UTC) + timedelta(minutes=5))
    credential_set = CredentialSet({"NSIDC": old})
    write_private(path, credential_set)
    write = partial(write_private, path)
    keeper = threading.Thread(target=keep_fresh, args=(write, credential_set, [GRANULE], auth, stop, 0.02))
    keeper.start()
    try:
        until = time.monotonic() + 120
        while CredentialSet.from_json(path.read_bytes()).s3["NSIDC"] == old:
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        stop.set()
        keeper.join()
    assert CredentialSet.from_json(path.read_bytes()).s3["NSIDC"].fresh(datetime.now(UTC))
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(nasa[1].seen) == 2  # one at the start, one renewal: fresh ones are left alone


def test_a_renewal_that_fails_leaves_what_there_is(
    monkeypatch: pytest.MonkeyPatch, nasa: tuple[Nasa, Server], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "b3arer")
    auth, path, stop = login(), tmp_path / "private.json", threading.Event()
    old = CredentialSet({"NSIDC": replace(obtain([GRANULE], auth).s3["NSIDC"], expires=datetime.now(UTC))})
    write_private(path, old)

    def refuse(*_: Any) -> CredentialSet:
        stop.set()
        raise AccessError("the data centre is closed")

    monkeypatch.setattr("maggjob.storage.earthdata.obtain", refuse)
    keep_fresh(partial(write_private, path), old, [GRANULE], auth, stop, 0.01)
    assert CredentialSet.from_json(path.read_bytes()) == old
    assert "the data centre is closed" in caplog.text


def private(tmp_path: Path, credential_set: CredentialSet) -> str:
    write_private(tmp_path / "private.json", credential_set)
    return str(tmp_path / "private.json")


def test_a_token_goes_to_this_machine_and_no_further(tmp_path: Path) -> None:
    access = Archive(private(tmp_path, CREDENTIALS))
    with (
        server(without_token(archive({"/signed": CONTENT}))) as there,
        server(with_token("b3arer", archive({}, always=redirect(there.url("/signed", "localhost"))))) as here,
    ):
        assert Source(here.url("/a.h5"), access).head == CONTENT
    assert here.seen[0].headers["authorization"] == "Bearer b3arer"
    assert "authorization" not in there.seen[0].headers


def test_a_private_object_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "of the environment")
    with server(archive({"/a.h5": CONTENT})) as there:
        Source(there.url("/a.h5"), Archive(private(tmp_path, CREDENTIALS)))
        Source(there.url("/a.h5"), Archive())
    assert [seen.headers["authorization"] for seen in there.seen] == ["Bearer b3arer", "Bearer of the environment"]


def test_a_renewed_private_object_is_picked_up(tmp_path: Path) -> None:
    access = Archive(private(tmp_path, CredentialSet(token="old")))
    files, accepted = archive({"/a.h5": CONTENT * 100}), ["old"]

    def answer(request: Request) -> None:
        with_token(accepted[-1], files)(request)

    with server(answer) as there:
        source = Source(there.url("/a.h5"), access)
        accepted.append("n3w")
        private(tmp_path, CredentialSet(token="n3w"))
        assert source.read(70_000, 10) == (CONTENT * 100)[70_000:70_010]
        assert source.read(80_000, 10) == (CONTENT * 100)[80_000:80_010]
    tokens = [seen.headers["authorization"].split()[1] for seen in there.seen]
    assert tokens == ["old", "old", "n3w", "n3w"]
    assert source.access.requests == 4


def test_credentials_that_stay_wrong_are_tried_twice(tmp_path: Path) -> None:
    with server(with_token("other", archive({"/a.h5": CONTENT}))) as there, pytest.raises(AccessError) as caught:
        Source(there.url("/a.h5"), Archive(private(tmp_path, CREDENTIALS)))
    assert len(there.seen) == 2
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


def test_the_s3_credentials_of_a_private_object_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = GRANULE.removeprefix("s3:/")
    with server(archive({path: CONTENT * 100})) as there:
        monkeypatch.setenv("AWS_ENDPOINT_URL", there.url())
        source = Source(GRANULE, Archive(private(tmp_path, CREDENTIALS)))
        assert source.read(70_000, 10) == (CONTENT * 100)[70_000:70_010]
    for seen in there.seen:
        assert "ASIAKEY" in seen.headers["authorization"]
        assert seen.headers["x-amz-security-token"] == "s3ssion"


def test_renewed_s3_credentials_are_picked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, accepted = archive({GRANULE.removeprefix("s3:/"): CONTENT * 100}), ["s3ssion"]
    denied = status(400, b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>no</Message></Error>")

    def answer(request: Request) -> None:
        (files if request.headers.get("X-Amz-Security-Token") == accepted[-1] else denied)(request)

    with server(answer) as there:
        monkeypatch.setenv("AWS_ENDPOINT_URL", there.url())
        source = Source(GRANULE, Archive(private(tmp_path, CREDENTIALS)))
        accepted.append("n3w")
        private(tmp_path, CredentialSet({"NSIDC": S3Credentials("A", "B", "n3w", KEYS.expires)}))
        assert source.read(70_000, 10) == (CONTENT * 100)[70_000:70_010]


@pytest.mark.parametrize(
    "credential_set",
    [
        CredentialSet({"NSIDC": S3Credentials("A", "s3cret", "C", NOW - timedelta(hours=1))}),
        CredentialSet(token="b3arer"),
    ],
    ids=["expired", "none for NSIDC"],
)
def test_a_provider_without_good_credentials_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, credential_set: CredentialSet
) -> None:
    with server(archive({GRANULE.removeprefix("s3:/"): CONTENT})) as there:
        monkeypatch.setenv("AWS_ENDPOINT_URL", there.url())
        with pytest.raises(AccessError) as caught:
            Source(GRANULE, Archive(private(tmp_path, credential_set)))
    assert there.seen == []
    assert caught.value.reason == "auth"
    assert GRANULE in str(caught.value)
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


def test_other_buckets_get_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with server(archive({"/my-bucket/a.h5": CONTENT})) as there:
        monkeypatch.setenv("AWS_ENDPOINT_URL", there.url())
        Source("s3://my-bucket/a.h5", Archive(private(tmp_path, CREDENTIALS)))
    assert "of-the-environment" in there.seen[0].headers["authorization"]
    assert not [s for s in SECRETS if s in str(there.seen[0].headers)]


@pytest.mark.parametrize(
    "content", [None, b"", b"{}", b"no json", b"[]", b'{"s3": {"NSIDC": {"token": "s3cret"}}, "token": 1}']
)
def test_a_private_object_that_cannot_be_used(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "private.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AccessError) as caught:
        Archive(str(path)).credential_set()
    assert str(path) in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("folder", ["with space", "a#b", "100%", "a%20b"])
def test_a_private_object_in_any_folder(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    assert Archive(private(tmp_path / folder, CREDENTIALS)).credential_set() == CREDENTIALS


def test_no_credentials_travel_with_a_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "b3arer")
    problem = pickle.loads(pickle.dumps(AccessError("why")))
    assert (str(problem), problem.reason) == ("why", "auth")
    assert Archive().credential_set() == CredentialSet(token="b3arer")


@pytest.mark.parametrize("bucket", [None, "lithops"], ids=["file", "bucket"])
def test_a_run_that_breaks_off_leaves_no_credentials(
    bucket: str | None, monkeypatch: pytest.MonkeyPatch, nasa: tuple[Nasa, Server]
) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "b3arer")
    places: list[str] = []
    renewals: list[threading.Thread] = []

    def slow_renewal(
        write: Any, credential_set: CredentialSet, urls: list[str], auth: Any, stop: threading.Event
    ) -> None:
        """One that is under way when the run ends."""
        renewals.append(threading.current_thread())
        stop.wait()
        time.sleep(0.3)
        write(obtain(urls, auth))

    def broken_off() -> None:
        with private_object([GRANULE], bucket) as place:
            places.append(str(place))
            assert Archive(place).credential_set().s3.keys() == {"NSIDC"}
            assert is_remote(places[0]) or Path(places[0]).stat().st_mode & 0o777 == 0o600
            raise ValueError("broken off")

    monkeypatch.setattr("maggjob.storage.earthdata.keep_fresh", slow_renewal)
    with bucket_of_ours(monkeypatch, "lithops"):
        with pytest.raises(ValueError, match="broken off"):
            broken_off()
        (renewal,) = renewals
        renewal.join(120)
        assert not renewal.is_alive()
        assert Folder("s3://lithops").keys() == []
    assert is_remote(places[0]) or not Path(places[0]).parent.exists()


@contextmanager
def bucket_of_ours(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """An S3 that the environment points at."""
    with s3_server(name) as endpoint:
        for variable, value in {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "t", "SECRET_ACCESS_KEY": "t"}.items():
            monkeypatch.setenv(f"AWS_{variable}", value)
        yield


def test_a_private_object_in_a_bucket_is_renewed_and_deleted(
    monkeypatch: pytest.MonkeyPatch, nasa: tuple[Nasa, Server], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "b3arer")
    monkeypatch.setattr("maggjob.storage.earthdata.POLL", 0.02)
    soon = datetime.now(UTC) + timedelta(minutes=5)
    whole = nasa[0].answer
    nasa[0].answer = {**whole, "expiration": soon.isoformat()}  # type: ignore[dict-item]
    with bucket_of_ours(monkeypatch, "lithops"), caplog.at_level("DEBUG"):
        with private_object([GRANULE], "lithops") as place:
            key, owner = Folder("s3://lithops").keys()
            assert place == f"s3://lithops/{key}"
            assert re.fullmatch(r"maggjob\.private/\w+/[0-9a-f]{16}\.json", key)
            assert owner == key.replace("json", "owner.json")
            nasa[0].answer = whole
            until = time.monotonic() + 120
            while not Archive(place).credential_set().s3["NSIDC"].fresh(datetime.now(UTC)):
                assert time.monotonic() < until
                time.sleep(0.02)
        assert Folder("s3://lithops").keys() == []
        with pytest.raises(AccessError, match=r"cannot read credentials from s3://lithops/maggjob\.private"):
            Archive(place).credential_set()
    assert not any(secret in caplog.text for secret in SECRETS)


def test_a_bucket_that_cannot_be_written_ends_the_run_before_it_starts(
    monkeypatch: pytest.MonkeyPatch, nasa: tuple[Nasa, Server]
) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "b3arer")
    with (
        bucket_of_ours(monkeypatch, "lithops"),
        pytest.raises(StoreError, match=r"cannot write s3://another/maggjob\.private/"),
        private_object([GRANULE], "another"),
    ):
        pytest.fail("the block ran")
