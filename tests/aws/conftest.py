"""Fixtures: one world per module, without faults at the start of each test."""

from collections.abc import Iterator

import pytest

from tests.aws.front import Front, front
from tests.aws.world import World, world

KEY = "ASIACLIENT"
"""Access key of a client that asks through the front. Sandboxes have one of their own, and ask moto."""


@pytest.fixture(scope="module")
def aws_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world that a module's tests share."""
    with world(tmp_path_factory.mktemp("cache"), concurrency=2, retry_delays=(0.5, 0.5)) as made:
        yield made


@pytest.fixture
def aws(aws_world: World, clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The world, without faults, and with this process pointed at it."""
    for name, value in aws_world.variables.items():
        monkeypatch.setenv(name, value)
    aws_world.service.faults.clear()
    aws_world.service.settle()
    aws_world.service.faults.clear()  # the last events of another test may have left notes
    aws_world.empty()
    aws_world.service.runs.clear()
    aws_world.service.requests.clear()
    yield aws_world
    aws_world.service.faults.clear()


@pytest.fixture
def door(aws: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """What the client asks instead of moto."""
    with front(aws.endpoint) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        yield made
    aws.service.expired.clear()
