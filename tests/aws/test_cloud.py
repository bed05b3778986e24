"""``maggjob cloud``: from an empty account and an empty folder to a run, and back to nothing."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.aws.cloud import LITHOPS, MAPS, Cloud, empty_account
from tests.aws.world import World


# moto makes nothing of policies of buckets and of budgets, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")


@pytest.fixture
def cloud(aws: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with empty_account(aws, tmp_path, monkeypatch) as found:
        yield found


def test_setup(cloud: Cloud) -> None:
    done = cloud.setup()
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    done = cloud.setup()
    print(done.stdout, done.stderr)
    done = cloud.type("status")
    print(done.stdout, done.stderr)
    done = cloud.type("stop")
    print(done.stdout, done.stderr)
    done = cloud.type("status")
    print(done.stdout, done.stderr)
    done = cloud.type("stop", "--undo")
    print(done.stdout, done.stderr)
    done = cloud.type("teardown", "--yes")
    print(done.stdout, done.stderr)
    done = cloud.setup()
    print(done.stdout, done.stderr)
    assert 0
