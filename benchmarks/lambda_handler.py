"""Overhead of a call on Lambda: cold import of the handler, and a warm call with maggjob's and with Lithops' handler.

python -m benchmarks.lambda_handler

The emulator of tests/aws runs real awslambdaric processes, with moto's S3 in this process: a request takes 2 to 4 ms.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from maggjob.backend.executor import run_tasks
from tests import calls
from tests.aws.sandbox import Image
from tests.aws.world import ROOT, World, world

PLAIN = "lithops.serverless.backends.aws_lambda.entry_point.lambda_handler"
CALLS, IMPORTS = 30, 7


def import_seconds() -> float:
    """Return the median seconds from the start of an interpreter until maggjob's handler is imported."""
    code = "import maggjob.aws.handler as h; print(h.process_age())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True).stdout)
        for _ in range(IMPORTS)
    ]
    return statistics.median(times)


def warm_seconds(aws: World, handler: str, memory: int) -> tuple[float, int]:
    """Measure warm calls that do next to nothing.

    Parameters
    ----------
    aws : World
        The emulator.
    handler : str
        Name of the handler.
    memory : int
        Memory of the function in MB; another value makes another function.

    Returns
    -------
    tuple of (float, int)
        Median seconds of a warm call, and the size of its event in bytes.
    """
    aws.service.image = replace(aws.service.image, handler=handler)
    aws.service.runs.clear()
    config = aws.fresh_config(runtime_memory=memory)
    run_tasks(calls.square, list(range(CALLS)), backend="aws_lambda", config=config, deadline=300)
    warm = [run for run in aws.service.runs if run.calls and not run.cold]
    return statistics.median(run.seconds for run in warm), max(run.size for run in warm)


def main() -> None:
    """Print all figures."""
    print(f"cold import of the handler: {import_seconds():.2f} s (limit 1.5 s), median of {IMPORTS}")
    with tempfile.TemporaryDirectory() as cache, world(Path(cache), concurrency=1) as aws:
        taken: dict[str, list[float]] = {Image.handler: [], PLAIN: []}
        # Neither handler always goes first.
        for memory, handler in enumerate((Image.handler, PLAIN, PLAIN, Image.handler), 700):
            seconds, size = warm_seconds(aws, handler, memory)
            taken[handler].append(seconds)
    ours, plain = (statistics.mean(taken[handler]) for handler in (Image.handler, PLAIN))
    print(f"warm call, maggjob's handler: {ours:.3f} s (limit 0.3 s); event of {size} bytes (limit 2,000)")
    print(f"warm call, Lithops' handler: {plain:.3f} s; ratio {plain / ours:.1f}")
    print(f"single rounds: maggjob's {taken[Image.handler]}, Lithops' {taken[PLAIN]}")


if __name__ == "__main__":
    main()
