"""What the calls of a run do, where some of them meet a fault: these wait for it once they have started."""

import os
import time
from pathlib import Path
from typing import Any

from maggjob.jobs.cells import map_call
from maggjob.jobs.granule_index import index_call
from maggjob.jobs.shards import ShardReport, shard_call
from maggjob.jobs.wire import WireTask
from tests.aws.faults import DOOMED


def wait_for_fault() -> None:
    """Wait for ever in a sandbox that is to meet a fault."""
    if Path(os.environ.get("TMPDIR", "/"), DOOMED).exists():
        time.sleep(3600)


def naps(task: int) -> int:
    wait_for_fault()
    return task


def maps(task: WireTask) -> Any:
    wait_for_fault()
    return map_call(task)


def indexes(task: WireTask) -> Any:
    wait_for_fault()
    return index_call(task)


def writes(task: WireTask) -> ShardReport:
    wait_for_fault()
    return shard_call(task)
