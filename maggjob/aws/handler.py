"""Entry point of the Lambda image: imports what a worker needs, then hands over to Lithops.

Lithops forks a child per call and makes two S3 clients per call. What is imported here is imported once per sandbox,
while Lambda gives a whole core to its start, and no child imports it again. One client serves all calls of a sandbox.
"""

import json
import os
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from maggjob.aws.lazy import import_when_used

# Lithops' job runner imports it at its top, for queues that no worker of ours uses: a fourteenth of a cold start.
import_when_used("pika")
import_when_used("requests")

import lithops.monitoring.backends.storage  # noqa: E402
import lithops.storage.backends.aws_s3  # noqa: E402
import lithops.worker.handler  # noqa: E402
import mortie  # noqa: E402, F401
from lithops.serverless.backends.aws_lambda.entry_point import lambda_handler  # noqa: E402
from lithops.storage import InternalStorage  # noqa: E402

import maggjob.jobs.shards  # noqa: E402
import maggjob.jobs.wire  # noqa: E402, F401
from maggjob.backend.outcome import Activation  # noqa: E402


def process_age() -> float:
    """Return the seconds since this process started; 0 if the system does not tell."""
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return 0.0


@lru_cache(maxsize=1)
def _storage(config: str) -> Any:
    storage = InternalStorage(json.loads(config))
    if hasattr(client := storage.get_client(), "_endpoint"):
        # A child must not write to its parent's connections: it closes them and opens its own.
        os.register_at_fork(after_in_child=client._endpoint.http_session.close)  # noqa: SLF001
    return storage


def shared_storage(config: Mapping[str, Any]) -> Any:
    """Return Lithops' storage for a configuration: made once per sandbox, and again only for another configuration."""
    return _storage(json.dumps(config, sort_keys=True))


lithops.worker.handler.InternalStorage = shared_storage
# Used once: the sandbox was started for its first event.
_INIT = [process_age()]


def handler(event: dict[str, Any], context: Any) -> Any:
    """Run the calls of a Lithops event.

    Parameters
    ----------
    event : dict
        Lithops' payload.
    context : object
        Lambda's context. Lithops reads only its ``aws_request_id``, which is replaced by an `Activation`.
    """
    activation = Activation(
        context.aws_request_id,
        os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", ""),
        time.time(),
        _INIT.pop() if _INIT else 0.0,
    )
    return lambda_handler(event, SimpleNamespace(aws_request_id=activation.pack()))
