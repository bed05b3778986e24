"""The values of an account are written into lithops_config.yaml, and nothing else is changed."""

import difflib
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from maggjob.aws.lithops_file import AccountValues, check_writable, fill_in, read_own_file, write_file
from maggjob.backend.settings import check_filled_in, lithops_config, packaged_config
from maggjob.errors import InputError

ROLE = "arn:aws:iam::123456789012:role/maggjob-WorkerRole-1"
VALUES = AccountValues("us-west-2", "my-lithops", ROLE, "maggjob:1")
PACKAGED = packaged_config().read_text()


def test_a_new_file_is_the_packaged_one_with_the_values() -> None:
    filled = fill_in(None, VALUES)
    check_filled_in(lithops_config("aws_lambda", given=yaml.safe_load(filled.text)))
    changed = [line for line in difflib.ndiff(PACKAGED.splitlines(), filled.text.splitlines()) if line[0] in "+-"]
    assert [line for line in changed if line.startswith("+")] == [
        "+   storage_bucket: my-lithops",
        f"+   execution_role: {ROLE}",
        "+   runtime: maggjob:1",
    ]
    assert len(changed) == 6
    assert fill_in(filled.text, VALUES).changes == ()


def test_what_a_person_changed_stays_and_what_is_replaced_is_said() -> None:
    mine = PACKAGED.replace("max_workers: 400", "max_workers: 12   # our quota").replace(
        "runtime: maggjob:CHANGE-ME", "runtime: maggjob:0   # of last week"
    )
    mine += "# the end\n"
    filled = fill_in(mine, VALUES)
    assert "max_workers: 12   # our quota\n" in filled.text
    assert "runtime: maggjob:1   # of last week\n" in filled.text
    assert filled.text.endswith("# the end\n")
    assert filled.changes[-1] == "aws_lambda.runtime: maggjob:1, was maggjob:0"


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, PACKAGED.count("\n"))), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_files_with_lines_left_out_keep_all_others(gone: set[int], end: str, last: bool) -> None:
    """Whatever lines a person deleted: either exactly the values change, or the file is refused."""
    lines = ["# maggjob", *(line for number, line in enumerate(PACKAGED.splitlines()) if number not in gone)]
    text = end.join(lines) + (end if last else "")
    try:
        before = yaml.safe_load(text) or {}
    except yaml.YAMLError:
        return
    try:
        filled = fill_in(text, VALUES)
    except InputError:
        return
    after = yaml.safe_load(filled.text)
    written = {("aws", "region"), ("aws_s3", "storage_bucket"), ("aws_lambda", "execution_role")}
    written |= {("aws_lambda", "runtime"), ("aws_lambda", "architecture")}
    for section, content in before.items():
        for key, value in (content or {}).items() if isinstance(content, dict) else ():
            if (section, key) not in written:
                assert after[section][key] == value
    assert after["aws_lambda"]["execution_role"] == ROLE
    comments = [line for line in text.splitlines() if line.strip().startswith("#")]
    assert [line for line in comments if line not in filled.text.splitlines()] == []


@pytest.mark.parametrize(
    "text",
    [
        "# maggjob\naws: {region: us-east-1}\n",
        "# maggjob\naws_lambda:\n  runtime: >\n    a\n    b\n",
        "# maggjob\n  backend: aws_lambda\n",
    ],
)
def test_a_file_that_cannot_be_changed_by_lines_is_refused_with_the_values(text: str) -> None:
    with pytest.raises(InputError, match=r"write these values yourself: .*aws_lambda\.runtime: maggjob:1"):
        fill_in(text, VALUES)


def test_a_file_is_written_as_a_whole(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "lithops_config.yaml"
    real.write_text("# maggjob\n")
    real.chmod(0o600)
    link.symlink_to(real)
    write_file(link, "# maggjob: new\n")
    assert (link.is_symlink(), real.read_text(), real.stat().st_mode & 0o777) == (True, "# maggjob: new\n", 0o600)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lithops_config.yaml", "real.yaml"]


def test_what_cannot_be_written_is_said_before(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        check_writable(tmp_path / "no" / "file.yaml")
    with pytest.raises(InputError, match="is a folder"):
        check_writable(tmp_path)
    assert read_own_file(tmp_path / "none.yaml") is None
