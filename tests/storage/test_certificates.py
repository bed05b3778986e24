"""Certificates: whichever variable names them, the search, the login and all reads obey it; and causes of failures."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from maggjob.catalog.cmr import Query, pages
from maggjob.errors import CatalogError, GranuleError, InputError
from maggjob.storage.archive import Archive, Ranges
from maggjob.storage.certificates import VARIABLES
from maggjob.storage.earthdata import fetch_s3
from maggjob.storage.stores import cause_of, plain_message
from tests.servers import Request, server


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """Return the certificate of an issuer that nobody knows, and what a server on this machine uses of it."""
    folder = tmp_path_factory.mktemp("certificates")
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    now = datetime.now(UTC)

    def certificate(number: int, name: str, *extensions: x509.ExtensionType) -> bytes:
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        built = x509.CertificateBuilder(issuer, subject, keys[number].public_key(), x509.random_serial_number())
        built = built.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        for extension in extensions:
            built = built.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return built.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    one = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")])
    (folder / "issuer.pem").write_bytes(certificate(0, "issuer", x509.BasicConstraints(ca=True, path_length=None)))
    own = certificate(1, "localhost", one, x509.BasicConstraints(ca=False, path_length=None))
    private = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(own + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return folder / "issuer.pem", context


def answer(request: Request) -> None:
    """Answer as CMR with no granule, or with a file."""
    if "granules" in request.path:
        request.reply(200, b'{"items": []}', CMR_Hits="0")
    else:
        request.serve(b"a file")


def search(url: str) -> list[Any]:
    """Ask CMR at a URL."""
    query = Query("ATL06", "007", "NSIDC_CPRD", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", -90.0, -60.0, url)
    return list(pages(query, "umm_json"))


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("other", [False, True], ids=["alone", "beside others"])
def test_search_and_reads_obey_each_variable(
    monkeypatch: pytest.MonkeyPatch, issued: tuple[Path, ssl.SSLContext], name: str, other: bool
) -> None:
    later = VARIABLES[VARIABLES.index(name) + 1 :] if other else ()
    for variable in (name, *later):
        monkeypatch.setenv(variable, str(issued[0] if variable == name else issued[0].with_name("gone.pem")))
    with server(answer, issued[1]) as there:
        assert search(f"https://127.0.0.1:{there.port}/search/") == [[]]
        assert bytes(Ranges(f"https://127.0.0.1:{there.port}/a.h5", Archive()).get(0, 6).content) == b"a file"


def test_without_a_variable_the_issuer_is_not_known(issued: tuple[Path, ssl.SSLContext]) -> None:
    with server(answer, issued[1]) as there:
        with pytest.raises(CatalogError, match=r"unknown issuer.*set REQUESTS_CA_BUNDLE"):
            search(f"https://127.0.0.1:{there.port}/search/")
        with pytest.raises(GranuleError, match=r"unknown issuer.*set REQUESTS_CA_BUNDLE") as caught:
            Ranges(f"https://127.0.0.1:{there.port}/a.h5", Archive()).get(0, 6)
        assert caught.value.reason == "network"


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_names_no_file_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv(name, str(tmp_path / "gone.pem"))
    with pytest.raises(InputError, match=f"{name} is .*gone.pem"):
        search("https://127.0.0.1:9/search/")
    with pytest.raises(GranuleError, match=f"{name} is .*gone.pem"):
        Ranges("https://127.0.0.1:9/a.h5", Archive()).get(0, 6)


@pytest.mark.parametrize("word", ["timed out", "unreachable", "407", "ProxyError", "dns error", "self signed"])
def test_words_in_paths_are_no_cause(tmp_path: Path, word: str) -> None:
    (tmp_path / word / "folder").mkdir(parents=True)
    for name in ("gone.h5", "folder"):
        with pytest.raises(GranuleError) as caught:
            Ranges(str(tmp_path / word / name), Archive()).get(0, 6)
        told = str(caught.value).replace(word, "")
        assert not any(said in told for said in ("no answer", "network cannot", "proxy", "host is not", "issuer"))
    with server(lambda request: request.reply(404)) as there, pytest.raises(GranuleError) as caught:
        Ranges(there.url(f"/{word}/gone.h5"), Archive()).get(0, 6)
    assert caught.value.reason == "missing"
    said = f"Pool(host='{word}', port=1): Max retries exceeded with url: /{word.replace(' ', '%20')}/x (Caused by X)"
    assert cause_of(requests.ConnectionError(said)) is None
    problem = PermissionError(13, "Permission denied", f"/data/{word}")
    assert plain_message(problem) == str(problem)


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (requests.exceptions.ProxyError("Cannot connect to proxy. (Caused by ProxyError('x'))"), "the proxy cannot"),
        (requests.exceptions.ConnectionError("(Caused by NameResolutionError('x'))"), "name of the host"),
        (requests.exceptions.ReadTimeout("Read timed out."), "no answer in time"),
    ],
)
def test_a_data_centre_that_is_not_reached_is_no_matter_of_licences(problem: Exception, said: str) -> None:
    class Auth:
        def get_s3_credentials(self, daac: str) -> None:
            raise problem

    with pytest.raises(GranuleError, match=said) as caught:
        fetch_s3("NSIDC", Auth())
    assert "licences" not in str(caught.value)
