"""What AWS says of credentials that it does not accept is told as such, and is no failure of the store."""

from datetime import UTC, datetime

import pytest

from maggjob.errors import RETRYABLE, ExpiredKeysError, StoreError
from maggjob.storage.expiry import expiry_message, refused_keys
from maggjob.storage.folder import Folder
from tests.servers import server, status

NOW = datetime(2026, 5, 4, 10, 2, tzinfo=UTC)
ANSWERS = {
    "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>": "have expired",
    '{"message":"The security token included in the request is expired"}': "have expired",
    "ExpiredTokenException: The security token included in the request is expired": "have expired",
    "<Error><Code>TokenRefreshRequired</Code></Error>": "have expired",
    "<Error><Code>InvalidToken</Code><Message>malformed</Message></Error>": "are not valid",
    "<Error><Code>InvalidAccessKeyId</Code></Error>": "are not valid",
    '{"message":"The security token included in the request is invalid."}': "are not valid",
    "An error occurred (InvalidClientTokenId) when calling the GetCallerIdentity operation": "are not valid",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_words_of_aws_are_understood(answer: str) -> None:
    word = refused_keys(answer)
    assert word is not None
    assert word in answer
    said = f"the AWS credentials of this machine {ANSWERS[answer]} ({word}, seen at 2026-05-04 10:02 UTC); renew them"
    assert expiry_message(word, NOW).startswith(said)


@pytest.mark.parametrize("answer", ["AccessDenied", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "SlowDown", ""])
def test_other_answers_are_not_about_the_credentials(answer: str) -> None:
    assert refused_keys(f"<Error><Code>{answer}</Code></Error>") is None


def test_a_login_that_cannot_be_renewed_is_told() -> None:
    said = expiry_message("Token has expired and refresh failed", NOW)
    assert said.startswith(
        "the AWS credentials of this machine cannot be renewed (Token has expired and refresh failed"
    )


@pytest.mark.parametrize("code", [400, 403])
@pytest.mark.parametrize(("word", "error"), [("ExpiredToken", ExpiredKeysError), ("AccessDenied", StoreError)])
def test_a_folder_tells_expired_keys_from_other_refusals(
    code: int, word: str, error: type[StoreError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    text = f"<Error><Code>{word}</Code><Message>no</Message></Error>"
    with server(status(code, text.encode())) as refusing:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{refusing.port}")
        folder = Folder("s3://ours/folder")
        for ask in (folder.keys, lambda: folder.get("a"), lambda: folder.put("a", b"1")):
            with pytest.raises(StoreError) as caught:
                ask()
            assert type(caught.value) is error
    assert len(refusing.seen) == 3  # none was asked again
    assert ExpiredKeysError.reason not in RETRYABLE
