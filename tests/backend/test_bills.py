"""Bills of runs in a bucket: kept once a run, summed by user, and named after whoever ran it."""

import json
from dataclasses import replace

import boto3
import pytest

from maggjob.backend.bill import CostLine, join_bills
from maggjob.backend.bills import BILLS, NOBODY, Bill, aws_caller, bills_in, by_user, keep_bill, payer
from maggjob.errors import StoreError
from maggjob.show.bill_text import bill_lines, bills_text
from tests.servers import s3_server

ONE = Bill("ada", "2026-05-04T09:12:33.123+00:00", "s3://ours/map.zarr", True, 250, 21.4, 0.25, 0.3, {"compute": 0.2})


@pytest.mark.dear("imports boto3 and starts the emulator")
def test_bills_are_kept_and_summed(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server("lithops") as endpoint:
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-west-2",
        }.items():
            monkeypatch.setenv(name, value)
        assert bills_in("lithops", "us-west-2") == []
        others = [
            replace(ONE, started="2026-05-06T00:00:00.000+00:00", dollars=0.5),
            replace(ONE, started="2026-05-05T00:00:00.000+00:00", user=None, complete=False),
            replace(ONE, store="s3://ours/other.zarr", user="grace"),  # at the same moment
        ]
        for bill in (ONE, *others):
            keep_bill(bill, "lithops", "us-west-2")
        keep_bill(ONE, "lithops", "us-west-2")  # the same again: one object
        found = bills_in("lithops", "us-west-2")
        assert sorted(bill.started for bill in found) == [bill.started for bill in found]
        assert {(bill.user, bill.dollars) for bill in found} == {
            ("ada", 0.25),
            ("ada", 0.5),
            (None, 0.25),
            ("grace", 0.25),
        }
        assert {bill.started[:10] for bill in bills_in("lithops", "us-west-2", "2026-05-05")} == {
            "2026-05-05",
            "2026-05-06",
        }
        listed = boto3.client("s3").list_objects_v2(Bucket="lithops", Prefix=f"{BILLS}/")["Contents"]
        assert len(listed) == 4
        content = boto3.client("s3").get_object(Bucket="lithops", Key=listed[0]["Key"])["Body"].read()
        assert json.loads(content)["format"] == 1
        assert by_user(found) == {"ada": (2, 0.75), NOBODY: (1, 0.25), "grace": (1, 0.25)}
        assert bills_text(found).splitlines()[-1].split() == ["all", "4", "1.2500"]
        assert aws_caller() is not None
        with pytest.raises(StoreError, match="no-such-bucket"):
            keep_bill(ONE, "no-such-bucket", "us-west-2")
    assert "no bills" in bills_text([])


def test_whose_name_is_on_a_bill(monkeypatch: pytest.MonkeyPatch) -> None:
    assert payer({"MAGGJOB_USER": "team-1", "JUPYTERHUB_USER": "ada"}, lambda: "role") == "team-1"
    assert payer({"MAGGJOB_USER": "", "JUPYTERHUB_USER": "ada"}, lambda: "role") is None
    assert payer({"JUPYTERHUB_USER": "ada"}, lambda: "role") == "ada"
    assert payer({}, lambda: "role") == "role"
    monkeypatch.setattr("getpass.getuser", lambda: "login")
    assert payer({}, lambda: None) == "login"

    def unknown() -> str:
        raise KeyError(1234)

    monkeypatch.setattr("getpass.getuser", unknown)
    assert payer({}) is None


def test_a_caller_without_credentials_has_no_name(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert aws_caller() is None


def test_bills_of_stages_are_joined_line_by_line() -> None:
    first = (CostLine("compute", 10.0, "GB-s", 0.5), CostLine("logs", 1.0, "MB", 2.0))
    second = (CostLine("compute", 6.0, "GB-s", 0.5),)
    joined = join_bills([first, second], {"compute": 7.0})
    assert [(one.line.what, one.line.dollars, one.expected) for one in joined] == [
        ("compute", 8.0, 7.0),
        ("logs", 2.0, 0.0),
    ]
    plain = {"bill": [one.to_dict() for one in joined], "dollars": 10.0, "expected_dollars": 7.0, "user": "ada"}
    text = bill_lines(plain)
    assert text[0] == "bill          $10.0000 on Lambda, $7.0000 expected, ada"
    assert "($7.0000)" in text[1]
    assert bill_lines({}) == []
    unknown = bill_lines(plain | {"expected_dollars": None, "user": None})
    assert unknown[0] == "bill          $10.0000 on Lambda"
